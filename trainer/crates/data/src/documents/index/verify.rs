// SPDX-License-Identifier: Apache-2.0

//! Verification of records against their tree.

use super::{DocumentIndex, leaf_of_row};
use crate::{
    DataError,
    documents::{INDEX_FOLDER, RECORDS_FILE, encode_record, record::leaf},
};
use pol_primitives::{Hash, lineage::Documents};

impl DocumentIndex {
    /// Checks that the tree is `documents`, and that the table of leaves and the records give it.
    /// Its memory is bounded, whatever the number of records.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or is damaged.
    pub(crate) fn verify(&self, documents: &Documents) -> Result<(), DataError> {
        if self.documents != *documents {
            let path = self.folder.join(INDEX_FOLDER);
            let reason = "its tree has another root than the record names".into();
            return Err(DataError::DamagedFile { path, reason });
        }
        let mut leaves = LeafSum::default();
        self.tree.verify(self.raw.rows()?.map(|row| {
            let hash = leaf_of_row(&row?).hash();
            leaves.add(&hash, u64::wrapping_add);
            Ok(hash)
        }))?;
        let path = self.folder.join(RECORDS_FILE);
        let damaged = |reason: String| DataError::DamagedFile { path: path.clone(), reason };
        for record in self.records()? {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let leaf = leaf(record.raw, &encode_record(&record)?);
            leaves.add(&leaf.hash(), u64::wrapping_sub);
        }
        if leaves == LeafSum::default() {
            Ok(())
        } else {
            Err(damaged("its records are not those of the tree".into()))
        }
    }
}

/// Sum of hashes, which tells two multisets apart that nobody chose.
#[derive(Debug, Default, PartialEq, Eq)]
struct LeafSum([u64; 4]);

impl LeafSum {
    fn add(&mut self, hash: &Hash, operation: fn(u64, u64) -> u64) {
        let (parts, _) = hash.as_chunks();
        for (sum, part) in self.0.iter_mut().zip(parts) {
            *sum = operation(*sum, u64::from_le_bytes(*part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_order(hashes in prop::collection::vec(any::<Hash>(), 0..9)) {
            let mut sum = LeafSum::default();
            hashes.iter().for_each(|hash| sum.add(hash, u64::wrapping_add));
            prop_assert_eq!(sum == LeafSum::default(), hashes.is_empty());
            hashes.iter().rev().for_each(|hash| sum.add(hash, u64::wrapping_sub));
            prop_assert_eq!(sum, LeafSum::default());
        }
    }
}
