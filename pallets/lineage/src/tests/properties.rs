// SPDX-License-Identifier: Apache-2.0

//! The invariants hold after any sequence of leases, releases and consumptions.

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
    Retire(Index, bool),
    Pause(Index),
    Resume(Index),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0u32..20, any::<u8>()).prop_map(|(count, seed)| Action::Lease(count, seed)),
        2 => any::<Index>().prop_map(Action::Release),
        2 => any::<Index>().prop_map(Action::Consume),
        2 => (0u32..20, any::<u8>()).prop_map(|(count, seed)| Action::Sample(count, seed)),
        1 => (prop::sample::select(&SourceKind::ALL[..]), 1u32..30)
            .prop_map(|(kind, shards)| Action::Register(kind, shards)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(id, cause)| Action::Retire(id, cause)),
        1 => any::<Index>().prop_map(Action::Pause),
        1 => any::<Index>().prop_map(Action::Resume),
    ]
}

/// Returns a registered manifest.
fn choose(which: Index) -> Option<ManifestId> {
    let count = Lineage::manifest_count() as usize;
    (count > 0).then(|| which.index(count) as ManifestId)
}

/// Returns the number of free shards of manifests that are not in the pool.
fn unpooled() -> usize {
    Manifests::<Test>::iter_values()
        .filter(|record| record.status != ManifestStatus::Admitted)
        .map(|record| record.free as usize)
        .sum()
}

/// States of all shards as the tests expect them.
#[derive(Default)]
struct Model {
    shards: u32,
    leased: BTreeSet<(ManifestId, u32)>,
    consumed: BTreeSet<(ManifestId, u32)>,
    leases: Vec<Vec<ShardId>>,
}

impl Model {
    /// Performs an action in round `round`, and checks its result.
    fn apply(&mut self, round: u32, action: Action) {
        match action {
            Action::Register(kind, shards) => {
                manifest_of(1 + u64::from(round) % 3, kind, shards);
                self.shards += shards;
            }
            Action::Lease(count, seed) => self.lease(count, seed),
            Action::Release(which) => self.release(which),
            Action::Consume(which) => self.consume(round, which),
            Action::Sample(count, seed) => self.sample(count, seed),
            // Each of these is refused in some stages.
            Action::Retire(which, for_cause) if Lineage::manifest_count() > 4 => {
                let Some(id) = choose(which) else { return };
                let _ = Lineage::retire_manifest(Origin::root(), id, retirement(for_cause));
            }
            Action::Retire(..) => (),
            Action::Pause(which) => {
                let Some(id) = choose(which) else { return };
                let _ = Lineage::pause_manifest(Origin::root(), id);
            }
            Action::Resume(which) => {
                let Some(id) = choose(which) else { return };
                let _ = Lineage::resume_manifest(Origin::root(), id);
            }
        }
    }

    fn lease(&mut self, count: u32, seed: u8) {
        let free = Lineage::free_shards();
        let lease = Lineage::lease(count, &mut prf(seed));
        assert_eq!(lease.len() as u32, count.min(free));
        for shard in &lease {
            let key = (shard.manifest, shard.index);
            assert!(!self.consumed.contains(&key), "leased after consumption: {shard:?}");
            assert!(self.leased.insert(key), "leased twice: {shard:?}");
        }
        self.leases.push(lease);
    }

    fn take_lease(&mut self, which: Index) -> Option<Vec<ShardId>> {
        let open = self.leases.len();
        (open > 0).then(|| self.leases.swap_remove(which.index(open)))
    }

    fn release(&mut self, which: Index) {
        let Some(lease) = self.take_lease(which) else { return };
        Lineage::release(&lease);
        for shard in lease {
            assert!(self.leased.remove(&(shard.manifest, shard.index)));
        }
    }

    fn consume(&mut self, round: u32, which: Index) {
        let Some(lease) = self.take_lease(which) else { return };
        let deltas: Vec<_> = lease.iter().map(|shard| shard.index as i32 - 7).collect();
        let index = round as u8;
        Lineage::consume(&lease, round, index, &deltas);
        for (shard, delta) in lease.iter().zip(deltas) {
            let key = (shard.manifest, shard.index);
            assert!(self.leased.remove(&key) && self.consumed.insert(key));
            assert_eq!(Lineage::shard_record(*shard), Some(ShardRecord { round, index, delta }));
        }
    }

    fn sample(&self, count: u32, seed: u8) {
        let (free, mut seen) = (Lineage::free_shards(), BTreeSet::new());
        let sample = Lineage::sample(count, &mut prf(seed));
        assert_eq!((sample.len() as u32, Lineage::free_shards()), (count.min(free), free));
        for shard in sample {
            let key = (shard.manifest, shard.index);
            assert!(!self.leased.contains(&key) && !self.consumed.contains(&key), "{shard:?}");
            assert!(status(shard.manifest) == ManifestStatus::Admitted && seen.insert(key));
        }
    }

    /// Returns the number of shards that are free and in the pool.
    fn leasable(&self) -> usize {
        self.shards as usize - self.leased.len() - self.consumed.len() - unpooled()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_shard_has_one_state(actions in prop::collection::vec(action(), 1..50)) {
        run(|| {
            let mut model = Model::default();
            for (round, action) in (0..).zip(actions) {
                model.apply(round, action);
                assert_eq!(Lineage::free_shards() as usize, model.leasable());
                Lineage::do_try_state().unwrap();
            }
            // All other shards can still be leased, each once, except those of manifests that are
            // paused or retired.
            for seed in 0.. {
                if Lineage::free_shards() == 0 {
                    break;
                }
                model.lease(64, seed);
            }
            assert_eq!(model.leasable(), 0);
        });
    }
}
