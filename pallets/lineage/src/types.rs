//! What the pool and its history are made of.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use pol_primitives::{
    BoundedVec, ConstU32,
    data::{ManifestId, ShardRecord},
};
use scale_info::TypeInfo;

/// A manifest in the pool.
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
pub struct PoolEntry {
    /// Its number.
    pub manifest: ManifestId,
    /// Its shards nobody has; the same as in its record.
    pub free: u32,
}

/// Bytes of a full bitmap.
const BITMAP_BYTES: u32 = 256;

/// The chunk that shard `index` is in, and its bit there.
pub(crate) fn locate(index: u32) -> (u32, u32) {
    (index >> 11, index & 2_047)
}

/// A set of up to 2,048 shards: bit `i` stands for the chunk's shard `i`, least significant first,
/// without trailing zero bytes.
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
pub struct Bitmap(BoundedVec<u8, ConstU32<BITMAP_BYTES>>);

impl Bitmap {
    /// Whether it holds `bit`.
    pub fn contains(&self, bit: u32) -> bool {
        self.0.get((bit >> 3) as usize).is_some_and(|byte| byte & (1 << (bit & 7)) != 0)
    }

    /// Adds `bit`; whether it was missing. A bit beyond the last is not added.
    pub(crate) fn insert(&mut self, bit: u32) -> bool {
        let at = (bit >> 3) as usize;
        if self.contains(bit) || bit >> 3 >= BITMAP_BYTES {
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

    /// Takes `bit` out; whether it was there.
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

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many shards it holds.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}

/// Shards whose records are stored together: a shard costs ten bytes, and reading one at most 1.3
/// kB.
pub const RECORDS: u32 = 128;

/// What became of up to 128 shards: place in the chunk and record, by place.
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
pub struct Records(BoundedVec<(u8, ShardRecord), ConstU32<RECORDS>>);

impl Records {
    /// The chunk that shard `index` is in, and its place there.
    pub(crate) fn locate(index: u32) -> (u32, u8) {
        let [low, ..] = index.to_le_bytes();
        (index >> 7, low & 127)
    }

    /// The record of the shard at `place`.
    pub fn get(&self, place: u8) -> Option<ShardRecord> {
        let at = self.0.binary_search_by_key(&place, |(other, _)| *other).ok()?;
        self.0.get(at).map(|(_, record)| *record)
    }

    /// Adds a record; whether there was none. What is recorded is never changed.
    pub(crate) fn insert(&mut self, place: u8, record: ShardRecord) -> bool {
        match self.0.binary_search_by_key(&place, |(other, _)| *other) {
            Err(at) => self.0.try_insert(at, (place, record)).is_ok(),
            Ok(_) => false,
        }
    }

    /// The places that have a record, ascending.
    pub fn places(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().map(|(place, _)| *place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn locations_are_distinct_and_in_range() {
        assert_eq!(locate(0), (0, 0));
        assert_eq!(locate(2_047), (0, 2_047));
        assert_eq!(locate(2_048), (1, 0));
        assert_eq!(locate(pol_primitives::data::MAX_SHARDS - 1), (511, 2_047));
        assert!(!Bitmap::default().insert(2_048));
    }

    #[test]
    fn a_record_of_a_shard_costs_ten_bytes() {
        assert_eq!(Records::locate(127), (0, 127));
        assert_eq!(Records::locate(128), (1, 0));
        assert_eq!(Records::locate(pol_primitives::data::MAX_SHARDS - 1), (8_191, 127));
        let mut records = Records::default();
        let empty = records.encoded_size();
        records.insert(7, ShardRecord { round: u32::MAX, index: 63, delta: i32::MIN });
        assert_eq!(records.encoded_size() - empty, 10);
    }

    proptest! {
        #[test]
        fn records_are_kept_once(added in prop::collection::vec((0u8..128, any::<i32>()), 0..200)) {
            let (mut records, mut map) = (Records::default(), std::collections::BTreeMap::new());
            for (place, delta) in added {
                prop_assert_eq!(records.insert(place, ShardRecord { round: 1, index: 2, delta }), !map.contains_key(&place));
                map.entry(place).or_insert(delta);
            }
            prop_assert!(records.places().eq(map.keys().copied()));
            for place in 0..=u8::MAX {
                prop_assert_eq!(records.get(place).map(|record| record.delta), map.get(&place).copied());
            }
        }

        #[test]
        fn it_is_a_set(changes in prop::collection::vec((any::<bool>(), 0u32..2_048), 0..100)) {
            let (mut bitmap, mut set) = (Bitmap::default(), BTreeSet::new());
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
