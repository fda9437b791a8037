// SPDX-License-Identifier: Apache-2.0

//! Choice of the text that is held out.

use crate::error::CorpusError;
use pol_primitives::{Hash, MILLION, Ppm};
use std::collections::BTreeSet;

/// Separates this use of a hash from all others.
const CONTEXT: &str = "pol-corpus 2026 split into training and held-out text by cluster";
/// Clusters that are passed over at most, until the share is taken as met. Memory is bounded.
const MAX_PASSED: usize = 1 << 16;

/// Returns the place of a cluster in the order in which clusters are held out.
pub fn draw(cluster: &Hash) -> u64 {
    let hash = blake3::derive_key(CONTEXT, cluster);
    u64::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 8]))
}

/// Clusters that are held out: a range of their order, without those that were too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOut {
    first: u64,
    last: u64,
    passed: BTreeSet<u64>,
}

impl HeldOut {
    /// Chooses among `clusters`, which are places in their order with bytes, by rising place. They
    /// have `total` bytes. Returns `None` if there are fewer than two.
    ///
    /// A cluster is held out if that brings the held-out bytes nearer to `share` of all, and does
    /// not leave nothing to train on. If none is so small, the smallest one is held out. Nothing
    /// but places and bytes decides, so all editions of a text and all pieces of a document are on
    /// one side, whatever the order of the inputs.
    ///
    /// # Errors
    ///
    /// Fails if an item does.
    pub fn choose(
        clusters: impl IntoIterator<Item = Result<(u64, u64), CorpusError>>,
        total: u64,
        share: Ppm,
    ) -> Result<Option<Self>, CorpusError> {
        let wanted = u128::from(total) * u128::from(share) / u128::from(MILLION);
        let (total, mut taken) = (u128::from(total), 0u128);
        let mut passed = BTreeSet::new();
        let (mut range, mut smallest, mut count) = (None, None, 0u64);
        for cluster in clusters {
            let (place, bytes) = cluster?;
            count += 1;
            let sum = taken + u128::from(bytes);
            if sum < total && sum.abs_diff(wanted) < wanted.abs_diff(taken) {
                taken = sum;
                let (first, _) = range.unwrap_or((place, place));
                range = Some((first, place));
            } else if range.is_some() {
                passed.insert(place);
            } else {
                let other = smallest.unwrap_or((bytes, place));
                smallest = Some(other.min((bytes, place)));
            }
            if range.is_some() && (taken >= wanted || passed.len() >= MAX_PASSED) {
                break;
            }
        }
        let smallest = smallest.filter(|_| count > 1).map(|(_, place)| (place, place));
        Ok(range.or(smallest).map(|(first, last)| {
            passed.split_off(&last);
            Self { first, last, passed }
        }))
    }

    /// Returns `true` if a cluster is held out.
    pub fn contains(&self, cluster: &Hash) -> bool {
        let place = draw(cluster);
        (self.first..=self.last).contains(&place) && !self.passed.contains(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Returns the sizes by the places of the clusters that have them.
    fn placed(sizes: &[u32]) -> BTreeMap<u64, (Hash, u64)> {
        let cluster = |(number, bytes): (usize, &u32)| {
            let hash = *blake3::hash(&number.to_be_bytes()).as_bytes();
            (draw(&hash), (hash, u64::from(*bytes)))
        };
        sizes.iter().enumerate().map(cluster).collect()
    }

    fn choose(clusters: &BTreeMap<u64, (Hash, u64)>, share: Ppm) -> Option<HeldOut> {
        let total = clusters.values().map(|(_, bytes)| bytes).sum();
        let items = clusters.iter().map(|(place, (_, bytes))| Ok((*place, *bytes)));
        HeldOut::choose(items, total, share).unwrap()
    }

    #[test]
    fn many_small_clusters_meet_the_share() {
        let clusters = placed(&[100; 20_000]);
        let held_out = choose(&clusters, 20_000).unwrap();
        let count = clusters.values().filter(|(hash, _)| held_out.contains(hash)).count();
        assert_eq!((count, held_out.passed.len()), (400, 0));
        assert_eq!(choose(&placed(&[7]), 20_000), None);
        assert_eq!(choose(&placed(&[]), 20_000), None);
    }

    #[test]
    fn errors_of_the_disk_end_the_choice() {
        let items = [Ok((1, 1)), Err(CorpusError::InvalidOption("lost".into()))];
        assert!(HeldOut::choose(items, 100, 500_000).is_err());
    }

    proptest! {
        #[test]
        fn the_share_is_met_as_nearly_as_one_more_cluster_could(
            sizes in proptest::collection::vec(prop_oneof![1..100u32, 1..1_000_000u32], 2..60),
            share in 1..MILLION,
        ) {
            let clusters = placed(&sizes);
            let held_out = choose(&clusters, share).unwrap();
            let (held, trained): (Vec<_>, Vec<_>) =
                clusters.values().partition(|(hash, _)| held_out.contains(hash));
            let sum = |side: &[&(Hash, u64)]| side.iter().map(|(_, bytes)| bytes).sum::<u64>();
            let (taken, total) = (sum(&held), sum(&held) + sum(&trained));
            let wanted =
                (u128::from(total) * u128::from(share) / u128::from(MILLION)) as u64;
            prop_assert!(!held.is_empty() && !trained.is_empty());
            let least = *sizes.iter().min().unwrap();
            if taken > 2 * wanted {
                prop_assert_eq!((held.len(), taken), (1, u64::from(least)));
            } else if taken.abs_diff(wanted) < wanted {
                for (_, bytes) in trained {
                    let with = taken + bytes;
                    prop_assert!(with.abs_diff(wanted) >= taken.abs_diff(wanted) || with == total);
                }
            }
        }
    }
}
