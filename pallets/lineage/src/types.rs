// SPDX-License-Identifier: Apache-2.0

//! Values of the pool, of the consumed shards and of reports.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use pol_primitives::{
    BoundedVec, ConstU32, MAX_VALIDATORS,
    data::{ManifestId, ShardRecord},
    provider_draw::FreeShards,
};
use scale_info::TypeInfo;

/// Manifest in the pool.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct PoolEntry<AccountId> {
    /// Id of the manifest.
    pub manifest: ManifestId,
    /// Account that provides the manifest.
    pub provider: AccountId,
    /// Number of free shards, equal to that in [`Manifests`](crate::Manifests).
    pub free: u32,
}

impl<AccountId: Ord + Clone> FreeShards for PoolEntry<AccountId> {
    type Provider = AccountId;

    fn provider(&self) -> &AccountId {
        &self.provider
    }

    fn free(&self) -> u32 {
        self.free
    }
}

/// Reason why a manifest was paused.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum PauseReason {
    /// The shards consumed lately did not improve the model.
    #[codec(index = 0)]
    NoEffect,
    /// Validators with a quorum of the stake could not fetch its shards.
    #[codec(index = 1)]
    Unavailable,
    /// The origin of admissions paused it.
    #[codec(index = 2)]
    Governance,
}

/// Reports of validators that the shards of a manifest cannot be fetched.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct UnavailabilityReport<AccountId, BlockNumber> {
    /// Block of the first report.
    pub since: BlockNumber,
    /// Validators that reported. Their stakes count as they are when they are counted.
    pub validators: BoundedVec<AccountId, ConstU32<MAX_VALIDATORS>>,
}

/// Size of a full bitmap, in bytes.
const MAX_BITMAP_BYTES: u32 = 256;

/// Returns the chunk of bitmaps that holds shard `index`, and its bit there.
pub(crate) fn locate_in_bitmap(index: u32) -> (u32, u32) {
    (index >> 11, index & 2_047)
}

/// Set of up to 2,048 shards of a chunk. Bit `i` is the chunk's shard `i`, least significant bit
/// first. Trailing zero bytes are not stored.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct ShardBitmap(BoundedVec<u8, ConstU32<MAX_BITMAP_BYTES>>);

impl ShardBitmap {
    /// Returns `true` if the set contains `bit`.
    pub fn contains(&self, bit: u32) -> bool {
        self.0.get((bit >> 3) as usize).is_some_and(|byte| byte & (1 << (bit & 7)) != 0)
    }

    /// Adds `bit`. Returns `false` if it was there, or if it is out of range and not added.
    pub(crate) fn insert(&mut self, bit: u32) -> bool {
        let at = (bit >> 3) as usize;
        if self.contains(bit) || bit >> 3 >= MAX_BITMAP_BYTES {
            return false;
        }
        if self.0.len() <= at {
            self.0.bounded_resize(at.saturating_add(1), 0);
        }
        self.0.get_mut(at).is_some_and(|byte| {
            *byte |= 1 << (bit & 7);
            true
        })
    }

    /// Removes `bit`. Returns `true` if it was there.
    pub(crate) fn remove(&mut self, bit: u32) -> bool {
        if !self.contains(bit) {
            return false;
        }
        if let Some(byte) = self.0.get_mut((bit >> 3) as usize) {
            *byte &= !(1 << (bit & 7));
        }
        let used =
            self.0.iter().rposition(|&byte| byte != 0).map_or(0, |last| last.saturating_add(1));
        self.0.truncate(used);
        true
    }

    /// Returns `true` if the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of shards in the set.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}

/// Number of shards whose records are stored together. A record takes ten bytes, and reading one
/// at most 1.3 kB.
pub const RECORDS_PER_CHUNK: u32 = 128;

/// Records of up to 128 consumed shards of a chunk, sorted by their places in the chunk.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct ShardRecords(BoundedVec<(u8, ShardRecord), ConstU32<RECORDS_PER_CHUNK>>);

impl ShardRecords {
    /// Returns the chunk of records that holds shard `index`, and its place there.
    pub(crate) fn locate(index: u32) -> (u32, u8) {
        let [low, ..] = index.to_le_bytes();
        (index >> 7, low & 127)
    }

    /// Returns the record of the shard at `place`.
    pub fn get(&self, place: u8) -> Option<ShardRecord> {
        let at = self.0.binary_search_by_key(&place, |(other, _)| *other).ok()?;
        self.0.get(at).map(|(_, record)| *record)
    }

    /// Adds a record. Returns `false` if there is one, which is not changed.
    pub(crate) fn insert(&mut self, place: u8, record: ShardRecord) -> bool {
        match self.0.binary_search_by_key(&place, |(other, _)| *other) {
            Err(at) => self.0.try_insert(at, (place, record)).is_ok(),
            Ok(_) => false,
        }
    }

    /// Returns the indices of the shards with a record in the manifest, and the records. These are
    /// of chunk number `chunk`.
    pub(crate) fn iter(&self, chunk: u32) -> impl Iterator<Item = (u32, ShardRecord)> + '_ {
        let index = move |place: u8| (chunk << 7) | u32::from(place);
        self.0.iter().map(move |(place, record)| (index(*place), *record))
    }

    /// Returns the places with a record, in ascending order.
    pub fn places(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().map(|(place, _)| *place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn locations_are_distinct_and_in_range() {
        assert_eq!(locate_in_bitmap(0), (0, 0));
        assert_eq!(locate_in_bitmap(2_047), (0, 2_047));
        assert_eq!(locate_in_bitmap(2_048), (1, 0));
        assert_eq!(locate_in_bitmap(pol_primitives::data::MAX_SHARDS - 1), (511, 2_047));
        assert!(!ShardBitmap::default().insert(2_048));
    }

    #[test]
    fn a_record_takes_ten_bytes() {
        assert_eq!(ShardRecords::locate(127), (0, 127));
        assert_eq!(ShardRecords::locate(128), (1, 0));
        assert_eq!(ShardRecords::locate(pol_primitives::data::MAX_SHARDS - 1), (8_191, 127));
        let mut records = ShardRecords::default();
        let empty = records.encoded_size();
        records.insert(7, ShardRecord { round: u32::MAX, index: 63, delta: i32::MIN });
        assert_eq!(records.encoded_size() - empty, 10);
    }

    proptest! {
        #[test]
        fn records_are_never_changed(
            added in prop::collection::vec((0u8..128, any::<i32>()), 0..200),
        ) {
            let (mut records, mut map) = (ShardRecords::default(), BTreeMap::new());
            for (place, delta) in added {
                let record = ShardRecord { round: 1, index: 2, delta };
                prop_assert_eq!(records.insert(place, record), !map.contains_key(&place));
                map.entry(place).or_insert(delta);
            }
            prop_assert!(records.places().eq(map.keys().copied()));
            for place in 0..=u8::MAX {
                let delta = records.get(place).map(|record| record.delta);
                prop_assert_eq!(delta, map.get(&place).copied());
            }
        }

        #[test]
        fn a_bitmap_is_a_set(
            changes in prop::collection::vec((any::<bool>(), 0u32..2_048), 0..100),
        ) {
            let (mut bitmap, mut set) = (ShardBitmap::default(), BTreeSet::new());
            for (add, bit) in changes {
                if add {
                    prop_assert_eq!(bitmap.insert(bit), set.insert(bit));
                } else {
                    prop_assert_eq!(bitmap.remove(bit), set.remove(&bit));
                }
                prop_assert!(bitmap.contains(bit) == add);
                prop_assert_eq!(bitmap.len() as usize, set.len());
                prop_assert_eq!(bitmap.is_empty(), set.is_empty());
                prop_assert_ne!(bitmap.0.last(), Some(&0));
            }
        }
    }
}
