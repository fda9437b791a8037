// SPDX-License-Identifier: Apache-2.0

//! Options of near-duplicate detection.

use crate::error::CorpusError;
use pol_primitives::{MILLION, Ppm};
use serde::{Deserialize, Serialize};

/// Version of the signatures. A change of any of the hashes in them raises it.
const VERSION: u64 = 1;

/// Options of the search for near duplicates.
///
/// Two documents whose shingles have the Jaccard similarity *s* become candidates with probability
/// 1 − (1 − *s*^rows)^bands: 0.9983 at 0.8 and 0.28 at 0.5 with the defaults. Signatures of the
/// candidates then decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupConfig {
    /// Seed of the hashes. Signatures made with another seed cannot be compared.
    pub seed: u64,
    /// Number of words in a shingle.
    pub shingle: u32,
    /// Number of bands. Documents that agree in one of them are candidates.
    pub bands: u32,
    /// Number of minima in a band.
    pub rows: u32,
    /// Estimated Jaccard similarity from which two documents are near duplicates.
    pub similarity: Ppm,
    /// Memory to sort in, in bytes. The result does not depend on it.
    pub memory: u64,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self { seed: 0, shingle: 5, bands: 21, rows: 6, similarity: 800_000, memory: 256 << 20 }
    }
}

impl DedupConfig {
    /// Returns an error that names the first option out of its range.
    pub(super) fn validate(&self) -> Result<(), CorpusError> {
        let ranges = [
            ("shingle", u64::from(self.shingle), 1, 64),
            ("bands", u64::from(self.bands), 1, 128),
            ("rows", u64::from(self.rows), 1, 64),
            ("similarity", u64::from(self.similarity), 1, u64::from(MILLION)),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(CorpusError::InvalidOption(format!(
                    "{name} of the deduplication is {value}; choose {low} to {high}"
                )));
            }
        }
        Ok(())
    }

    /// Returns the options that make a signature what it is. Signatures are comparable if these
    /// are equal.
    pub(super) fn scheme(&self) -> [u64; 5] {
        let Self { seed, shingle, bands, rows, .. } = *self;
        [VERSION, seed, shingle.into(), bands.into(), rows.into()]
    }

    /// Returns the number of bytes to sort in.
    pub(super) fn memory(&self) -> usize {
        usize::try_from(self.memory).unwrap_or(usize::MAX)
    }
}
