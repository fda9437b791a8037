// SPDX-License-Identifier: Apache-2.0

//! Sources and manifests.

use super::*;

#[test]
fn a_source_is_registered_and_withdrawn() {
    run(|| {
        assert_eq!(source(SourceKind::Web), 0);
        assert_eq!(source(SourceKind::Dataset), 1);
        assert_eq!(held(1), 2 * DEPOSIT);
        let stored = Lineage::source(0).unwrap();
        assert_eq!(
            (stored.owner, stored.kind, stored.licence),
            (1, SourceKind::Web, text("CC0-1.0"))
        );
        assert_eq!(stored.address, text("https://example.org"));
        assert_eq!(
            take_events(),
            [
                Event::SourceRegistered { source: 0, owner: 1, kind: SourceKind::Web },
                Event::SourceRegistered { source: 1, owner: 1, kind: SourceKind::Dataset },
            ]
        );
        assert_noop!(Lineage::withdraw_source(Origin::signed(2), 0), PalletError::NotOwner);
        assert_noop!(Lineage::withdraw_source(Origin::signed(1), 9), PalletError::UnknownSource);
        assert_ok!(Lineage::register_manifest(Origin::signed(1), info(0, 4)));
        assert_noop!(Lineage::withdraw_source(Origin::signed(1), 0), PalletError::HasManifests);
        assert_ok!(Lineage::withdraw_manifest(Origin::signed(1), 0));
        take_events();
        assert_ok!(Lineage::withdraw_source(Origin::signed(1), 0));
        assert_eq!(take_events(), [Event::SourceWithdrawn { source: 0 }]);
        assert_eq!((held(1), Lineage::source(0)), (DEPOSIT, None));
        assert_eq!(source(SourceKind::Web), 2, "ids are not reused");
    });
}

#[test]
fn a_deposit_requires_funds() {
    run(|| {
        let register = |who| {
            Lineage::register_source(
                Origin::signed(who),
                SourceKind::Web,
                text("here"),
                text("CC0-1.0"),
            )
        };
        assert_noop!(register(9), PalletError::InsufficientFunds);
        assert_ok!(register(2));
        assert_ok!(Balances::transfer_allow_death(Origin::signed(2), 1, WEALTH - DEPOSIT - POL));
        assert_noop!(
            Lineage::register_manifest(Origin::signed(2), info(0, 4)),
            PalletError::InsufficientFunds
        );
    });
}

#[test]
fn a_manifest_enters_the_pool() {
    run(|| {
        Round::set(12);
        let source = source(SourceKind::Dataset);
        take_events();
        assert_ok!(Lineage::register_manifest(Origin::signed(1), info(source, 40)));
        assert_eq!(
            take_events(),
            [Event::ManifestRegistered { manifest: 0, source, shards: 40, held_out: false }]
        );
        let record = Lineage::manifest(0).unwrap();
        assert_eq!((record.owner, record.registered, counts(0)), (1, 12, (40, 0, 0)));
        assert_eq!(
            (Lineage::free_shards(), Lineage::manifest_count(), held(1)),
            (40, 1, 2 * DEPOSIT)
        );
        assert_eq!(*Pool::<Test>::get(SourceKind::Dataset), [PoolEntry { manifest: 0, free: 40 }]);
        assert_eq!(ManifestOfContent::<Test>::get(record.info.content_hash), Some(0));
    });
}

#[test]
fn held_out_data_is_never_leased() {
    run(|| {
        let source = source(SourceKind::Dataset);
        assert_ok!(Lineage::register_manifest(
            Origin::signed(1),
            ManifestInfo { held_out: true, ..info(source, 40) }
        ));
        assert_eq!((Lineage::free_shards(), counts(0)), (0, (0, 0, 0)));
        assert!(Lineage::lease(5, &mut prf(1)).is_empty());
        assert_ok!(Lineage::withdraw_manifest(Origin::signed(1), 0));
        assert_eq!(held(1), DEPOSIT);
    });
}

#[test]
fn invalid_manifests_are_rejected() {
    run(|| {
        let source = source(SourceKind::Web);
        let refuse = |info: ManifestInfo, error: PalletError| {
            assert_noop!(Lineage::register_manifest(Origin::signed(1), info), error);
        };
        let good = || info(source, 4);
        refuse(info(9, 4), PalletError::UnknownSource);
        assert_noop!(Lineage::register_manifest(Origin::signed(2), good()), PalletError::NotOwner);
        refuse(info(source, 0), PalletError::InvalidShards);
        refuse(info(source, MAX_SHARDS + 1), PalletError::InvalidShards);
        refuse(ManifestInfo { quality: MILLION + 1, ..good() }, PalletError::InvalidQuality);
        refuse(ManifestInfo { shard_tokens: 2_048, ..good() }, PalletError::WrongFormat);
        refuse(
            ManifestInfo { tokenizer: [2; 32], held_out: true, ..good() },
            PalletError::WrongFormat,
        );
        refuse(
            ManifestInfo { parents: BoundedVec::truncate_from(vec![0]), ..good() },
            PalletError::UnknownParent,
        );
        RecipeFormat::set(None);
        refuse(good(), PalletError::NoRecipe);
        RecipeFormat::set(Some(FORMAT));
        assert_ok!(Lineage::register_manifest(Origin::signed(1), good()));
        refuse(ManifestInfo { content_hash: content(0), ..good() }, PalletError::AlreadyRegistered);
        assert_ok!(Lineage::register_manifest(
            Origin::signed(1),
            ManifestInfo {
                parents: BoundedVec::truncate_from(vec![0]),
                ..info(source, MAX_SHARDS)
            }
        ));
    });
}

#[test]
fn the_pool_is_limited_by_kind() {
    run(|| {
        let source = source(SourceKind::Web);
        for _ in 0..MAX_POOL_MANIFESTS {
            assert_ok!(Lineage::register_manifest(Origin::signed(1), info(source, 1)));
        }
        assert_noop!(
            Lineage::register_manifest(Origin::signed(1), info(source, 1)),
            PalletError::PoolIsFull
        );
        assert_ok!(Lineage::register_manifest(
            Origin::signed(1),
            ManifestInfo { held_out: true, ..info(source, 1) }
        ));
        manifest(SourceKind::Dataset, 1);
        assert_eq!(Lineage::free_shards(), MAX_POOL_MANIFESTS + 1);
    });
}

#[test]
fn only_an_untouched_manifest_can_be_withdrawn() {
    run(|| {
        let first = manifest(SourceKind::Web, 8);
        let second = manifest(SourceKind::Synthetic, 8);
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(2), first), PalletError::NotOwner);
        assert_noop!(
            Lineage::withdraw_manifest(Origin::signed(1), 9),
            PalletError::UnknownManifest
        );
        let shards = Lineage::lease(3, &mut prf(1));
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(1), first), PalletError::InUse);
        Lineage::release(&shards);
        assert_eq!(counts(first), (8, 0, 0));
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(1), first), PalletError::InUse);

        let info = Lineage::manifest(second).unwrap().info;
        take_events();
        assert_ok!(Lineage::withdraw_manifest(Origin::signed(1), second));
        assert_eq!(take_events(), [Event::ManifestWithdrawn { manifest: second }]);
        assert_eq!(
            (Lineage::free_shards(), held(1), Lineage::manifest(second)),
            (8, 3 * DEPOSIT, None)
        );
        assert!(Pool::<Test>::get(SourceKind::Synthetic).is_empty());
        // A withdrawn manifest can be registered again, with a new id.
        assert_ok!(Lineage::register_manifest(Origin::signed(1), info));
        assert_eq!(Lineage::manifest_count(), 3);
    });
}

#[test]
fn a_retired_manifest_is_not_leased() {
    run(|| {
        let retire = |id| Lineage::retire_manifest(Origin::root(), id);
        let bad = manifest(SourceKind::Pretrained, 8);
        let good = manifest(SourceKind::Web, 8);
        let shards = Lineage::lease(5, &mut prf(1));
        assert!(shards.iter().all(|shard| shard.manifest == bad));
        assert_noop!(
            Lineage::retire_manifest(Origin::signed(1), bad),
            polkadot_sdk::sp_runtime::DispatchError::BadOrigin
        );
        assert_noop!(retire(9), PalletError::UnknownManifest);
        take_events();
        assert_ok!(retire(bad));
        assert_eq!(take_events(), [Event::ManifestRetired { manifest: bad }]);
        assert_noop!(retire(bad), PalletError::NotPooled);
        assert_eq!((Lineage::free_shards(), counts(bad)), (8, (3, 5, 0)));
        // Open leases end as usual, and released shards stay free.
        Lineage::release(&shards[..3]);
        Lineage::consume(&shards[3..], 1, 0, &[]);
        assert_eq!((Lineage::free_shards(), counts(bad)), (8, (6, 0, 2)));
        assert!(Lineage::lease(9, &mut prf(2)).iter().all(|shard| shard.manifest == good));
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(1), bad), PalletError::InUse);
        // An untouched manifest cannot be withdrawn either, so it cannot be registered again.
        let untouched = manifest(SourceKind::Dataset, 8);
        assert_ok!(retire(untouched));
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(1), untouched), PalletError::InUse);
        assert_eq!(Lineage::free_shards(), 0);
    });
}

#[test]
fn calls_keep_their_indices() {
    use codec::Encode;
    let index = |call: Call<Test>| call.encode()[0];
    assert_eq!(
        index(Call::register_source {
            kind: SourceKind::Web,
            address: text(""),
            licence: text("")
        }),
        0
    );
    run(|| assert_eq!(index(Call::register_manifest { info: info(0, 1) }), 1));
    assert_eq!(index(Call::withdraw_manifest { manifest: 0 }), 2);
    assert_eq!(index(Call::withdraw_source { source: 0 }), 3);
    assert_eq!(index(Call::retire_manifest { manifest: 0 }), 4);
}
