// SPDX-License-Identifier: Apache-2.0

//! Demand of the network for text of a kind.

use super::config::Kind;
use pol_primitives::data::{ManifestId, ManifestStatus};
use std::collections::{BTreeMap, BTreeSet};

/// Text that a network still has to lease, and what it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Supply {
    /// Shards of the pool that can be leased, by kind.
    pub(super) free: BTreeMap<Kind, u32>,
    /// Shards that a round uses.
    pub(super) per_round: u32,
    /// Stages of the provider's own manifests.
    pub(super) own: BTreeMap<ManifestId, ManifestStatus>,
}

/// Manifest that the provider registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Kind of its text.
    pub(super) kind: Kind,
    /// Shards to train on.
    pub(super) shards: u32,
}

impl Supply {
    /// Returns the shards of `kind` and of the kinds before it that the network has, with those of
    /// `offers` that wait for their admission.
    pub(super) fn up_to(&self, kind: Kind, offers: &BTreeMap<ManifestId, Offer>) -> u64 {
        let pool = self.free.range(..=kind).map(|(_, free)| u64::from(*free));
        let waits = |id: &ManifestId| {
            self.own.get(id).is_none_or(|status| *status == ManifestStatus::Proposed)
        };
        let waiting = offers.iter().filter(|(id, offer)| offer.kind <= kind && waits(id));
        pool.chain(waiting.map(|(_, offer)| offer.shards.into())).sum()
    }
}

/// Decision to draw from sources, by kind. Once it has ended, the supply has to run low before it
/// begins again, so that batches do not become small.
#[derive(Debug, Default)]
pub(super) struct Demand {
    held: BTreeSet<Kind>,
}

impl Demand {
    /// Returns `true` if sources of `kind` are to be drawn from, with `supply` shards where
    /// `enough` are.
    pub(super) fn wants(&mut self, kind: Kind, supply: u64, enough: u64) -> bool {
        let limit = if self.held.contains(&kind) { enough.div_ceil(2) } else { enough };
        let wants = supply < limit;
        if wants {
            self.held.remove(&kind);
        } else {
            self.held.insert(kind);
        }
        wants
    }

    /// Returns `true` if sources of `kind` are not drawn from.
    pub(super) fn is_held(&self, kind: Kind) -> bool {
        self.held.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_earlier_kinds_counts_and_later_does_not() {
        let free = [(Kind::Pretrained, 3), (Kind::Dataset, 20), (Kind::Synthetic, 100)];
        let own = [(7, ManifestStatus::Proposed), (8, ManifestStatus::Admitted)];
        let supply =
            Supply { free: free.into_iter().collect(), own: own.into(), ..Supply::default() };
        let offer = |kind| Offer { kind, shards: 1_000 };
        // Number 9 was registered a moment ago; number 8 is in the pool.
        let offers = [(7, offer(Kind::Web)), (8, offer(Kind::Dataset)), (9, offer(Kind::Dataset))];
        let offers = offers.into();
        assert_eq!(supply.up_to(Kind::Pretrained, &offers), 3);
        assert_eq!(supply.up_to(Kind::Dataset, &offers), 1_023);
        assert_eq!(supply.up_to(Kind::Web, &offers), 2_023);
        assert_eq!(supply.up_to(Kind::Synthetic, &offers), 2_123);
    }

    #[test]
    fn drawing_begins_again_when_the_supply_runs_low() {
        let mut demand = Demand::default();
        assert!(demand.wants(Kind::Web, 99, 100));
        assert!(!demand.wants(Kind::Web, 100, 100) && demand.is_held(Kind::Web));
        assert!(!demand.wants(Kind::Web, 51, 100) && demand.wants(Kind::Synthetic, 51, 100));
        assert!(demand.wants(Kind::Web, 49, 100) && !demand.is_held(Kind::Web));
        assert!(demand.wants(Kind::Web, 99, 100));
        assert!(!demand.wants(Kind::Web, 1, 1) && demand.wants(Kind::Web, 0, 1));
    }
}
