//! The equations hold whatever is leased, released and consumed, in whatever order.

use super::*;
use proptest::{prelude::*, sample::Index};
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Action {
    Lease(u32, u8),
    Release(Index),
    Consume(Index),
    Sample(u32, u8),
    Register(SourceKind, u32),
    Retire(Index),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0u32..20, any::<u8>()).prop_map(|(count, seed)| Action::Lease(count, seed)),
        2 => any::<Index>().prop_map(Action::Release),
        2 => any::<Index>().prop_map(Action::Consume),
        2 => (0u32..20, any::<u8>()).prop_map(|(count, seed)| Action::Sample(count, seed)),
        1 => (prop::sample::select(&SourceKind::ALL[..]), 1u32..30).prop_map(|(kind, shards)| Action::Register(kind, shards)),
        1 => any::<Index>().prop_map(Action::Retire),
    ]
}

/// Free shards of retired manifests.
fn retired() -> usize {
    Retired::<Test>::iter_keys().map(|id| counts(id).0 as usize).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_shard_is_in_one_place(actions in prop::collection::vec(action(), 1..50)) {
        run(|| {
            let mut total = 0;
            let mut out = BTreeSet::new();
            let mut consumed = BTreeSet::new();
            let mut leases: Vec<Vec<ShardId>> = Vec::new();
            for (round, action) in (0..).zip(actions) {
                match action {
                    Action::Register(kind, shards) => {
                        manifest(kind, shards);
                        total += shards;
                    }
                    Action::Lease(count, seed) => {
                        let free = Lineage::free();
                        let lease = Lineage::lease(count, &mut prf(seed));
                        assert_eq!(lease.len() as u32, count.min(free));
                        for shard in &lease {
                            let key = (shard.manifest, shard.index);
                            assert!(!consumed.contains(&key) && out.insert(key), "leased twice: {shard:?}");
                        }
                        leases.push(lease);
                    }
                    Action::Release(which) if !leases.is_empty() => {
                        let lease = leases.swap_remove(which.index(leases.len()));
                        Lineage::release(&lease);
                        lease.iter().for_each(|shard| assert!(out.remove(&(shard.manifest, shard.index))));
                    }
                    Action::Consume(which) if !leases.is_empty() => {
                        let lease = leases.swap_remove(which.index(leases.len()));
                        let deltas: Vec<_> = lease.iter().map(|shard| shard.index as i32 - 7).collect();
                        Lineage::consume(&lease, round, round as u8, &deltas);
                        for (shard, delta) in lease.iter().zip(deltas) {
                            let key = (shard.manifest, shard.index);
                            assert!(out.remove(&key) && consumed.insert(key));
                            assert_eq!(Lineage::shard(*shard), Some(ShardRecord { round, index: round as u8, delta }));
                        }
                    }
                    Action::Sample(count, seed) => {
                        let (free, mut seen) = (Lineage::free(), BTreeSet::new());
                        let sample = Lineage::sample(count, &mut prf(seed));
                        assert_eq!((sample.len() as u32, Lineage::free()), (count.min(free), free));
                        for shard in sample {
                            let key = (shard.manifest, shard.index);
                            assert!(!out.contains(&key) && !consumed.contains(&key), "somebody has {shard:?}");
                            assert!(!Retired::<Test>::contains_key(shard.manifest) && seen.insert(key));
                        }
                    }
                    Action::Retire(which) if Lineage::manifest_count() > 4 => {
                        let id = which.index(Lineage::manifest_count() as usize) as ManifestId;
                        // Refused where it is consumed or retired.
                        let _ = Lineage::retire_manifest(Origin::root(), id);
                    }
                    Action::Release(_) | Action::Consume(_) | Action::Retire(_) => (),
                }
                assert_eq!(Lineage::free() as usize, total as usize - out.len() - consumed.len() - retired());
                Lineage::do_try_state().unwrap();
            }
            // Whatever happened, the rest can still be leased, each shard once, except what was
            // retired.
            loop {
                let rest = Lineage::lease(64, &mut prf(0));
                if rest.is_empty() {
                    break;
                }
                rest.iter().for_each(|shard| assert!(out.insert((shard.manifest, shard.index))));
            }
            assert_eq!(out.len() + consumed.len() + retired(), total as usize);
        });
    }
}
