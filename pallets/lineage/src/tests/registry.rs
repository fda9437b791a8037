// SPDX-License-Identifier: Apache-2.0

//! Sources and manifests.

use super::*;

#[test]
fn a_source_is_registered_and_withdrawn() {
    run(|| {
        assert_eq!((source(), source()), (0, 1));
        assert_eq!(held(1), 2 * DEPOSIT);
        let stored = Lineage::source(0).unwrap();
        assert_eq!((stored.owner, stored.licence), (1, text("CC0-1.0")));
        assert_eq!(stored.address, text("https://example.org"));
        assert_eq!(
            take_events(),
            [
                Event::SourceRegistered { source: 0, owner: 1 },
                Event::SourceRegistered { source: 1, owner: 1 },
            ]
        );
        assert_noop!(Lineage::withdraw_source(Origin::signed(2), 0), PalletError::NotOwner);
        assert_noop!(Lineage::withdraw_source(Origin::signed(1), 9), PalletError::UnknownSource);
        assert_ok!(Lineage::register_manifest(Origin::signed(1), Box::new(info(0, 4))));
        assert_noop!(Lineage::withdraw_source(Origin::signed(1), 0), PalletError::HasManifests);
        assert_ok!(Lineage::withdraw_manifest(Origin::signed(1), 0));
        take_events();
        assert_ok!(Lineage::withdraw_source(Origin::signed(1), 0));
        assert_eq!(take_events(), [Event::SourceWithdrawn { source: 0 }]);
        assert_eq!((held(1), Lineage::source(0)), (DEPOSIT, None));
        assert_eq!(source(), 2, "ids are not reused");
    });
}

#[test]
fn a_deposit_requires_funds() {
    run(|| {
        let register =
            |who| Lineage::register_source(Origin::signed(who), text("here"), text("CC0-1.0"));
        assert_noop!(register(9), PalletError::InsufficientFunds);
        assert_ok!(register(2));
        let rest = DEPOSIT + deposit(4) - 1;
        assert_ok!(Balances::transfer_allow_death(Origin::signed(2), 1, WEALTH - rest - POL));
        assert_noop!(
            Lineage::register_manifest(Origin::signed(2), Box::new(info(0, 4))),
            PalletError::InsufficientFunds
        );
    });
}

#[test]
fn a_manifest_is_only_proposed() {
    run(|| {
        Round::set(12);
        let source = source();
        take_events();
        assert_eq!(propose(info(source, 40)), 0);
        assert_eq!(
            take_events(),
            [Event::ManifestRegistered { manifest: 0, source, shards: 40, held_out: false }]
        );
        let record = Lineage::manifest(0).unwrap();
        assert_eq!((record.owner, record.registered, counts(0)), (1, 12, (40, 0, 0)));
        assert_eq!((record.status, record.kind), (ManifestStatus::Proposed, None));
        assert_eq!((Lineage::free_shards(), Lineage::manifest_count()), (0, 1));
        assert_eq!(held(1), DEPOSIT + deposit(40), "the deposit grows with the shards");
        assert_eq!(Pool::<Test>::iter().count(), 0);
        assert_eq!(Lineage::manifest_of_content(record.info.content_hash), None);
    });
}

#[test]
fn invalid_manifests_are_rejected() {
    run(|| {
        let source = source();
        let refuse = |info: ManifestInfo, error: PalletError| {
            assert_noop!(Lineage::register_manifest(Origin::signed(1), Box::new(info)), error);
        };
        let good = || info(source, 4);
        refuse(info(9, 4), PalletError::UnknownSource);
        assert_noop!(
            Lineage::register_manifest(Origin::signed(2), Box::new(good())),
            PalletError::NotOwner
        );
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
        admit(propose(good()), SourceKind::Web);
        refuse(ManifestInfo { content_hash: content(0), ..good() }, PalletError::AlreadyAdmitted);
        assert_ok!(Lineage::register_manifest(
            Origin::signed(1),
            Box::new(ManifestInfo {
                parents: BoundedVec::truncate_from(vec![0]),
                ..info(source, MAX_SHARDS)
            })
        ));
    });
}

#[test]
fn the_pool_is_limited_by_kind() {
    run(|| {
        let source = source();
        for _ in 0..MAX_POOL_MANIFESTS {
            admit(propose(info(source, 1)), SourceKind::Web);
        }
        let id = propose(info(source, 1));
        assert_noop!(
            Lineage::admit_manifest(Origin::root(), id, SourceKind::Web),
            PalletError::PoolIsFull
        );
        admit(id, SourceKind::Dataset);
        admit(propose(ManifestInfo { held_out: true, ..info(source, 1) }), SourceKind::Web);
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
            (8, 2 * DEPOSIT + deposit(8), None)
        );
        assert!(Pool::<Test>::get(SourceKind::Synthetic).is_empty());
        // A withdrawn manifest can be registered and admitted again, with a new id.
        assert_ok!(Lineage::register_manifest(Origin::signed(1), Box::new(info)));
        admit(2, SourceKind::Synthetic);
        // One that was paused before anything was leased is as untouched.
        assert_ok!(Lineage::pause_manifest(Origin::root(), 2));
        assert_ok!(Lineage::withdraw_manifest(Origin::signed(1), 2));
        assert_eq!((Lineage::free_shards(), held(1)), (8, 2 * DEPOSIT + deposit(8)));
    });
}

#[test]
fn calls_keep_their_indices() {
    use codec::Encode;
    let index = |call: Call<Test>| call.encode()[0];
    assert_eq!(index(Call::register_source { address: text(""), licence: text("") }), 0);
    run(|| assert_eq!(index(Call::register_manifest { info: Box::new(info(0, 1)) }), 1));
    assert_eq!(index(Call::withdraw_manifest { manifest: 0 }), 2);
    assert_eq!(index(Call::withdraw_source { source: 0 }), 3);
    assert_eq!(index(Call::retire_manifest { manifest: 0, retirement: retirement(true) }), 4);
    assert_eq!(index(Call::admit_manifest { manifest: 0, kind: SourceKind::Web }), 5);
    assert_eq!(index(Call::pause_manifest { manifest: 0 }), 6);
    assert_eq!(index(Call::resume_manifest { manifest: 0 }), 7);
    assert_eq!(index(Call::report_manifest { manifest: 0 }), 8);
}
