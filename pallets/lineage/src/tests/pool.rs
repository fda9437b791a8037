// SPDX-License-Identifier: Apache-2.0

//! Leasing, releasing and consuming shards.

use super::*;
use std::collections::BTreeSet;

#[test]
fn every_shard_is_leased_once() {
    run(|| {
        let id = manifest(SourceKind::Web, 100);
        let mut prf = prf(1);
        let mut all = BTreeSet::new();
        for expected in [64, 36, 0] {
            let shards = Lineage::lease(1_000, &mut prf);
            assert_eq!(shards.len(), expected, "a lease is limited to 64 shards");
            assert!(shards.iter().all(|shard| shard.manifest == id && all.insert(shard.index)));
        }
        assert_eq!((all.first(), all.last(), all.len()), (Some(&0), Some(&99), 100));
        assert_eq!((Lineage::free_shards(), counts(id)), (0, (0, 100, 0)));
        assert_eq!(Slots::<Test>::iter().count(), 0);
        assert_eq!(Pool::<Test>::get(SourceKind::Web).len(), 1, "leased shards may come back");
    });
}

#[test]
fn the_seed_determines_the_draw() {
    run(|| {
        manifest(SourceKind::Web, 1_000);
        let draw = |seed| {
            let shards = Lineage::lease(5, &mut prf(seed));
            Lineage::do_try_state().unwrap();
            shards.iter().map(|shard| shard.index).collect::<Vec<_>>()
        };
        assert_ne!(draw(1), draw(2));
    });
}

#[test]
fn all_shards_are_equally_likely() {
    // Chi-squared with 9 degrees of freedom; 27.9 is its 0.999 quantile, and the draws are fixed.
    let mut drawn = [0u32; 10];
    run(|| {
        let (first, second) = (manifest(SourceKind::Web, 3), manifest(SourceKind::Web, 7));
        let mut prf = prf(3);
        for _ in 0..1_000 {
            let shards = Lineage::lease(2, &mut prf);
            for shard in &shards {
                drawn[shard.index as usize + if shard.manifest == second { 3 } else { 0 }] += 1;
            }
            Lineage::release(&shards);
        }
        assert_eq!((counts(first), counts(second)), ((3, 0, 0), (7, 0, 0)));
    });
    let chi: f64 = drawn.iter().map(|&count| (f64::from(count) - 200.0).powi(2) / 200.0).sum();
    assert!(chi < 27.9, "chi-squared {chi} of {drawn:?}");
}

#[test]
fn kinds_are_leased_in_order() {
    run(|| {
        let synthetic = manifest(SourceKind::Synthetic, 4);
        let web = manifest(SourceKind::Web, 4);
        let dataset = manifest(SourceKind::Dataset, 4);
        let pretrained = manifest(SourceKind::Pretrained, 4);
        let leased: Vec<_> =
            Lineage::lease(14, &mut prf(1)).iter().map(|shard| shard.manifest).collect();
        let expected: Vec<_> = [pretrained, dataset, web]
            .into_iter()
            .flat_map(|id| [id; 4])
            .chain([synthetic; 2])
            .collect();
        assert_eq!(leased, expected);
        assert_eq!(FreeShards::<Test>::get(), 2);
    });
}

#[test]
fn released_shards_are_leased_again() {
    run(|| {
        let id = manifest(SourceKind::Web, 10);
        let shards = Lineage::lease(10, &mut prf(1));
        Lineage::release(&shards[..4]);
        assert_eq!((Lineage::free_shards(), counts(id)), (4, (4, 6, 0)));
        let again: BTreeSet<_> =
            Lineage::lease(10, &mut prf(2)).iter().map(|shard| shard.index).collect();
        assert_eq!(again, shards[..4].iter().map(|shard| shard.index).collect());
    });
}

#[test]
fn consumption_is_recorded_and_final() {
    run(|| {
        let id = manifest(SourceKind::Web, 4_100);
        let mut prf = prf(1);
        let first = Lineage::lease(60, &mut prf);
        let second = Lineage::lease(3, &mut prf);
        let deltas: Vec<i32> = (-8..0).chain(1..53).collect();
        Lineage::consume(&first, 7, 4, &deltas);
        // A missing delta counts as zero.
        Lineage::consume(&second, 9, 0, &[i32::MIN]);
        assert_eq!(counts(id), (4_037, 0, 63));
        for (shard, delta) in first.iter().zip(deltas) {
            assert_eq!(
                Lineage::shard_record(*shard),
                Some(ShardRecord { round: 7, index: 4, delta })
            );
        }
        let deltas: Vec<_> =
            second.iter().map(|shard| Lineage::shard_record(*shard).unwrap().delta).collect();
        assert_eq!(deltas, [i32::MIN, 0, 0]);
        assert_eq!(LeasedShards::<Test>::iter_prefix(id).count(), 0);
        assert!(ConsumedShards::<Test>::iter_prefix(id).count() <= 33);
        assert_eq!(Pool::<Test>::get(SourceKind::Web)[0].free, 4_037);
        let free = (0..4_100)
            .map(|index| ShardId { manifest: id, index })
            .filter(|shard| Lineage::shard_record(*shard).is_none());
        assert_eq!(free.count(), 4_037);
        assert_eq!(Lineage::shard_record(ShardId { manifest: 9, index: 0 }), None);
        assert_eq!(Lineage::shard_record(ShardId { manifest: id, index: u32::MAX }), None);
    });
}

#[test]
fn a_consumed_manifest_leaves_the_pool() {
    run(|| {
        let id = manifest(SourceKind::Web, 4);
        let other = manifest(SourceKind::Web, 60);
        let shards = Lineage::lease(64, &mut prf(1));
        let of =
            |id| shards.iter().copied().filter(|shard| shard.manifest == id).collect::<Vec<_>>();
        take_events();
        Lineage::consume(&of(id)[..3], 1, 0, &[]);
        assert_eq!(take_events(), []);
        Lineage::consume(&of(id)[3..], 2, 0, &[]);
        assert_eq!(take_events(), [Event::ManifestConsumed { manifest: id }]);
        assert_eq!(status(id), ManifestStatus::Consumed);
        assert_eq!(held(1), 2 * DEPOSIT + deposit(60), "its deposit came back");
        Lineage::release(&of(other));
        assert_eq!(*Pool::<Test>::get(SourceKind::Web), [entry(other, 60)]);
        assert_eq!(counts(id), (0, 0, 4));
        assert!(Manifests::<Test>::contains_key(id), "the lineage of the model is kept");
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(1), id), PalletError::InUse);
    });
}

#[test]
fn shards_that_are_not_leased_are_ignored() {
    run(|| {
        let id = manifest(SourceKind::Web, 10);
        let shards = Lineage::lease(4, &mut prf(1));
        Lineage::consume(&shards[..2], 1, 5, &[10, 20]);
        let before = (counts(id), Lineage::free_shards());
        let free = (0..10).find(|&index| shards.iter().all(|shard| shard.index != index)).unwrap();
        let wrong = [
            shards[0],
            ShardId { manifest: id, index: free },
            ShardId { manifest: id, index: 10 },
            ShardId { manifest: id, index: u32::MAX },
            ShardId { manifest: 9, index: 0 },
        ];
        Lineage::release(&wrong);
        Lineage::consume(&wrong, 2, 6, &[30; 5]);
        assert_eq!((counts(id), Lineage::free_shards()), before);
        assert_eq!(
            Lineage::shard_record(shards[0]),
            Some(ShardRecord { round: 1, index: 5, delta: 10 })
        );
        assert!(wrong[1..].iter().all(|shard| Lineage::shard_record(*shard).is_none()));
        // A repeated shard counts once.
        Lineage::release(&[shards[2], shards[2]]);
        Lineage::consume(&[shards[3], shards[3]], 2, 0, &[40, 50]);
        assert_eq!((counts(id), Lineage::shard_record(shards[3]).unwrap().delta), ((7, 0, 3), 40));
    });
}

#[test]
fn a_sample_changes_nothing() {
    run(|| {
        let id = manifest(SourceKind::Web, 20);
        let leased = Lineage::lease(6, &mut prf(1));
        Lineage::release(&leased[..2]);
        Lineage::consume(&leased[2..4], 1, 0, &[]);
        let before = (
            counts(id),
            Lineage::free_shards(),
            Slots::<Test>::iter_prefix(id).collect::<BTreeSet<_>>(),
        );
        let sample: BTreeSet<_> =
            Lineage::sample(16, &mut prf(2)).iter().map(|shard| shard.index).collect();
        let free: BTreeSet<_> =
            (0..20).filter(|index| leased[2..].iter().all(|shard| shard.index != *index)).collect();
        assert_eq!(sample, free, "16 distinct shards of the 16 free ones");
        assert_eq!(
            (counts(id), Lineage::free_shards(), Slots::<Test>::iter_prefix(id).collect()),
            before
        );
        assert_eq!(Lineage::sample(100, &mut prf(3)).len(), 16);
        assert_eq!(Lineage::sample(0, &mut prf(3)), []);
        assert_eq!(Lineage::sample(5, &mut prf(4)), Lineage::sample(5, &mut prf(4)));
        assert_ne!(Lineage::sample(5, &mut prf(4)), Lineage::sample(5, &mut prf(5)));
    });
}

#[test]
fn samples_use_the_kinds_in_order() {
    run(|| {
        assert_eq!(Lineage::sample(4, &mut prf(1)), []);
        let synthetic = manifest(SourceKind::Synthetic, 4);
        let web = manifest(SourceKind::Web, 3);
        let dataset = manifest(SourceKind::Dataset, 4);
        assert_ok!(Lineage::retire_manifest(Origin::root(), dataset, retirement(false)));
        let sampled: Vec<_> =
            Lineage::sample(5, &mut prf(1)).iter().map(|shard| shard.manifest).collect();
        assert_eq!(sampled, [web, web, web, synthetic, synthetic]);
    });
}

#[test]
fn every_free_shard_is_equally_likely_in_a_sample() {
    // Chi-squared with 9 degrees of freedom; 27.9 is its 0.999 quantile, and the draws are fixed.
    let mut drawn = [0u32; 10];
    run(|| {
        let (_, second) = (manifest(SourceKind::Web, 3), manifest(SourceKind::Web, 7));
        let mut prf = prf(9);
        for _ in 0..500 {
            for shard in Lineage::sample(4, &mut prf) {
                drawn[shard.index as usize + if shard.manifest == second { 3 } else { 0 }] += 1;
            }
        }
    });
    let chi: f64 = drawn.iter().map(|&count| (f64::from(count) - 200.0).powi(2) / 200.0).sum();
    assert!(chi < 27.9, "chi-squared {chi} of {drawn:?}");
}
