// SPDX-License-Identifier: Apache-2.0

//! Removal of manifests that ended long ago.

use super::*;
use crate::{ManifestOfContent, ManifestsOf, impls::MAX_CHUNKS};
use polkadot_sdk::frame_support::traits::Hooks;

/// Runs a block, and checks the invariants after it.
fn block() {
    let now = System::block_number() + 1;
    System::set_block_number(now);
    Lineage::on_initialize(now);
    Lineage::do_try_state().unwrap();
}

/// Leases and consumes all shards of the pool.
fn consume_all() {
    loop {
        let shards = Lineage::lease(64, &mut prf(1));
        if shards.is_empty() {
            break;
        }
        Lineage::consume(&shards, Round::get(), 0, &[]);
    }
}

#[test]
fn a_consumed_manifest_is_kept_for_a_time_and_then_removed() {
    run(|| {
        let id = manifest(SourceKind::Web, 200);
        let hash = Lineage::manifest(id).unwrap().info.content_hash;
        Round::set(5);
        consume_all();
        assert_eq!(Lineage::manifest(id).unwrap().ended, Some(5));
        Round::set(5 + KEPT_ROUNDS);
        (0..4).for_each(|_| block());
        assert!(Lineage::shard_record(ShardId { manifest: id, index: 150 }).is_some());
        Round::set(6 + KEPT_ROUNDS);
        take_events();
        (0..4).for_each(|_| block());
        assert_eq!(take_events(), [Event::ManifestForgotten { manifest: id }]);
        assert_eq!((Lineage::manifest(id), ConsumedShards::<Test>::iter().count()), (None, 0));
        // Its text is not admitted again, and its source can be withdrawn.
        assert_eq!(ManifestOfContent::<Test>::get(hash), Some(id));
        assert_eq!(ManifestsOf::<Test>::iter().count(), 0);
        let again = ManifestInfo { content_hash: hash, ..info(0, 200) };
        let refused = Lineage::register_manifest(Origin::signed(1), Box::new(again));
        assert_noop!(refused, PalletError::AlreadyAdmitted);
        let again = ManifestInfo { documents: Some(documents(id)), ..info(0, 200) };
        let refused = Lineage::register_manifest(Origin::signed(1), Box::new(again.clone()));
        assert_noop!(refused, PalletError::DocumentsAlreadyAdmitted);
        // Nobody knows any more with which text the held-out side was made.
        let again = ManifestInfo { held_out: true, ..again };
        let refused = Lineage::register_manifest(Origin::signed(1), Box::new(again));
        assert_noop!(refused, PalletError::ForeignDocuments);
        assert_ok!(Lineage::withdraw_source(Origin::signed(1), 0));
    });
}

#[test]
fn a_block_removes_a_bounded_number_of_records() {
    run(|| {
        let shards = (MAX_CHUNKS + 1) * crate::RECORDS_PER_CHUNK;
        let id = manifest(SourceKind::Web, shards);
        consume_all();
        Round::set(1 + KEPT_ROUNDS);
        block();
        assert_eq!(crate::LeavingManifest::<Test>::get(), Some(id));
        block();
        assert_eq!(ConsumedShards::<Test>::iter().count(), 1);
        block();
        assert_eq!(ConsumedShards::<Test>::iter().count(), 0);
        assert_eq!(crate::LeavingManifest::<Test>::get(), None);
    });
}

#[test]
fn a_retired_manifest_is_removed_after_its_leases() {
    run(|| {
        let id = manifest(SourceKind::Web, 100);
        let shards = Lineage::lease(10, &mut prf(1));
        assert_ok!(Lineage::retire_manifest(Origin::root(), id, retirement(false)));
        Round::set(1 + KEPT_ROUNDS);
        block();
        block();
        assert!(Lineage::manifest(id).is_some(), "a lease is open");
        let (kept, lost) = shards.split_at(5);
        Lineage::consume(kept, Round::get(), 0, &[]);
        Lineage::release(lost);
        (0..4).for_each(|_| block());
        assert_eq!(Lineage::manifest(id), None);
        let left = ConsumedShards::<Test>::iter().count() + Slots::<Test>::iter().count();
        assert_eq!(left, 0);
    });
}

#[test]
fn manifests_in_use_stay_and_each_gets_its_turn() {
    run(|| {
        let used = manifest(SourceKind::Web, 3);
        let proposed = propose(info(0, 3));
        let retired = manifest(SourceKind::Dataset, 3);
        assert_ok!(Lineage::retire_manifest(Origin::root(), retired, retirement(true)));
        Round::set(100);
        (0..8).for_each(|_| block());
        let kept = [used, proposed, retired].map(|id| Lineage::manifest(id).is_some());
        assert_eq!(kept, [true, true, false]);
    });
}
