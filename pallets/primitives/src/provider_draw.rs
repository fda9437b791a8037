// SPDX-License-Identifier: Apache-2.0

//! Draws of shards in which no provider has more than its share while others have data.

use crate::{MILLION, Ppm, prf::Prf};
use alloc::collections::BTreeMap;

/// Free shards of a manifest, as a draw sees them.
pub trait FreeShards {
    /// Account of the provider.
    type Provider: Ord + Clone;
    /// Returns the provider of the manifest.
    fn provider(&self) -> &Self::Provider;
    /// Returns the number of free shards.
    fn free(&self) -> u32;
}

/// Place of a drawn shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawnPlace {
    /// Index of the kind.
    pub kind: usize,
    /// Index of the manifest among those of its kind.
    pub manifest: usize,
    /// Position among the free shards of the manifest.
    pub position: u32,
}

/// A draw of several shards, one after the other.
///
/// Each shard comes from the first kind in which a provider below the quota has data: from one of
/// these providers, each equally likely, and there from any of its free shards. If no provider with
/// data is below the quota, the quota rises by one.
#[derive(Clone, Debug)]
pub struct ProviderDraw<Provider> {
    quota: u32,
    drawn: BTreeMap<Provider, u32>,
}

impl<Provider: Ord + Clone> ProviderDraw<Provider> {
    /// Creates a draw of `count` shards, of which a provider has at most `share`, but at least one.
    pub fn new(count: u32, share: Ppm) -> Self {
        let quota = u64::from(count)
            .saturating_mul(share.into())
            .checked_div(MILLION.into())
            .and_then(|quota| u32::try_from(quota).ok())
            .unwrap_or(count);
        Self { quota: quota.max(1), drawn: BTreeMap::new() }
    }

    /// Draws the next shard from the manifests of each kind. Returns `None` if no shard is free.
    ///
    /// The caller takes the shard out of its manifest before the next draw.
    pub fn next<M: FreeShards<Provider = Provider>>(
        &mut self,
        kinds: &[impl AsRef<[M]>],
        prf: &mut Prf,
    ) -> Option<DrawnPlace> {
        let mut candidates = self.candidates(kinds);
        if candidates.is_none() {
            let drawn = |entry: &M| self.drawn_from(entry.provider());
            let free = kinds.iter().flat_map(AsRef::as_ref).filter(|entry| entry.free() > 0);
            self.quota = free.map(drawn).min()?.saturating_add(1);
            candidates = self.candidates(kinds);
        }
        let (kind, providers) = candidates?;
        let which = prf.below(u32::try_from(providers.len()).unwrap_or(u32::MAX));
        let (provider, free) = providers.into_iter().nth(which as usize)?;
        let mut position = prf.below(free);
        let mut entries = kinds.get(kind)?.as_ref().iter().enumerate();
        let (manifest, _) = entries.find(|(_, entry)| {
            let is_own = entry.provider() == provider;
            let here = is_own && position < entry.free();
            if is_own && !here {
                position = position.saturating_sub(entry.free());
            }
            here
        })?;
        let count = self.drawn.entry(provider.clone()).or_default();
        *count = count.saturating_add(1);
        Some(DrawnPlace { kind, manifest, position })
    }

    fn drawn_from(&self, provider: &Provider) -> u32 {
        self.drawn.get(provider).copied().unwrap_or(0)
    }

    /// Returns the first kind with data of a provider below the quota, and the number of free
    /// shards of that kind of each such provider.
    fn candidates<'a, M: FreeShards<Provider = Provider> + 'a>(
        &self,
        kinds: &'a [impl AsRef<[M]>],
    ) -> Option<(usize, BTreeMap<&'a Provider, u32>)> {
        kinds
            .iter()
            .map(|entries| {
                let mut free: BTreeMap<&Provider, u32> = BTreeMap::new();
                for entry in entries.as_ref() {
                    if entry.free() > 0 && self.drawn_from(entry.provider()) < self.quota {
                        let sum = free.entry(entry.provider()).or_default();
                        *sum = sum.saturating_add(entry.free());
                    }
                }
                free
            })
            .enumerate()
            .find(|(_, free)| !free.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl FreeShards for (u8, u32) {
        type Provider = u8;
        fn provider(&self) -> &u8 {
            &self.0
        }
        fn free(&self) -> u32 {
            self.1
        }
    }

    /// Draws `count` shards and returns the kind and the provider of each.
    fn draw(kinds: &mut [Vec<(u8, u32)>], count: u32, share: Ppm, seed: u8) -> Vec<(usize, u8)> {
        let mut draw = ProviderDraw::new(count, share);
        let mut prf = Prf::new("test", &[seed; 32], &[]);
        let mut drawn = Vec::new();
        while drawn.len() < count as usize {
            let Some(place) = draw.next(kinds, &mut prf) else { break };
            let entry = &mut kinds[place.kind][place.manifest];
            assert!(place.position < entry.1, "{place:?} of {entry:?}");
            entry.1 -= 1;
            drawn.push((place.kind, entry.0));
        }
        drawn
    }

    fn count_of(drawn: &[(usize, u8)], provider: u8) -> usize {
        drawn.iter().filter(|(_, other)| *other == provider).count()
    }

    #[test]
    fn a_flood_of_shards_is_no_more_than_a_share() {
        let mut kinds = [vec![(1, 1 << 20)], vec![], vec![(2, 40)], vec![]];
        for seed in 0..4 {
            let drawn = draw(&mut kinds, 10, MILLION / 2, seed);
            assert_eq!((count_of(&drawn, 1), count_of(&drawn, 2)), (5, 5));
        }
        assert_eq!(kinds[2], [(2, 20)]);
    }

    #[test]
    fn one_provider_gives_what_others_do_not_have() {
        let drawn = draw(&mut [vec![(1, 100)]], 10, MILLION / 2, 1);
        assert_eq!(count_of(&drawn, 1), 10);
        let drawn = draw(&mut [vec![(1, 100)], vec![(2, 2)]], 10, MILLION / 2, 1);
        assert_eq!((count_of(&drawn, 1), count_of(&drawn, 2)), (8, 2));
        assert_eq!(draw(&mut [vec![(1, 0)]], 3, MILLION, 1), []);
    }

    #[test]
    fn kinds_are_drawn_in_order_below_the_quota() {
        let mut kinds = [vec![(1, 2)], vec![(1, 2), (2, 9)]];
        let kinds: Vec<_> = draw(&mut kinds, 6, MILLION, 1).into_iter().map(|(k, _)| k).collect();
        assert_eq!(kinds, [0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn a_provider_gains_nothing_by_more_manifests() {
        let mut split: Vec<_> = (0..20).map(|_| (1, 1_000)).collect();
        split.push((2, 20_000));
        let mut kinds = [split];
        let first: usize =
            (0..100).map(|seed| count_of(&draw(&mut kinds, 2, MILLION, seed), 1)).sum();
        // Of 200 draws with an even chance, 71 to 129 are within four standard deviations.
        assert!((71..=129).contains(&first), "{first}");
    }

    proptest! {
        #[test]
        fn no_provider_has_more_than_its_share_while_others_have_data(
            kinds in prop::collection::vec(
                prop::collection::vec((0u8..4, 0u32..30), 0..6), 1..5),
            count in 0u32..64,
            share in 0u32..=MILLION,
            seed: u8,
        ) {
            let total: u32 = kinds.iter().flatten().map(|entry| entry.1).sum();
            let mut left = kinds.clone();
            let drawn = draw(&mut left, count, share, seed);
            prop_assert_eq!(drawn.len() as u32, count.min(total));
            let quota = (u64::from(count) * u64::from(share) / u64::from(MILLION)).max(1) as usize;
            for provider in 0..4 {
                let most = count_of(&drawn, provider);
                let others = left
                    .iter()
                    .flatten()
                    .filter(|(other, free)| *other != provider && *free > 0)
                    .all(|(other, _)| count_of(&drawn, *other) + 1 >= most);
                prop_assert!(most <= quota || others, "{} of {:?}", most, drawn);
            }
        }
    }
}
