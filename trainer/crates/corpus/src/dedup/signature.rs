// SPDX-License-Identifier: Apache-2.0

//! Signatures of documents: what is kept of a text to tell whether another one is like it.

use super::{
    config::DedupConfig,
    words::{mix, ngrams, normalise},
};
use crate::error::CorpusError;
use pol_primitives::{Hash, MILLION, Ppm};

/// Bytes of a sketch for each minimum in the bands.
const SKETCH_FACTOR: usize = 4;
/// Values of a byte of a sketch. Zero is kept for bins without a shingle.
const SKETCH_VALUES: u64 = 255;
/// Attempts to fill an empty bin from a random one before the first full one is taken.
const ATTEMPTS: u64 = 1 << 12;
/// Bytes of a key of a band.
const KEY: usize = 4;
/// Bytes of both hashes of a text.
const HASHES: usize = 64;

/// Maker of signatures. Many threads can share one.
#[derive(Clone, Debug)]
pub struct Signer {
    seed: u64,
    shingle: usize,
    bands: usize,
    rows: usize,
}

/// Layout of signatures as bytes: the BLAKE3 of the text, that of the normalised text, a key for
/// each band, and the sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    bands: usize,
    rows: usize,
}

/// Signature of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub(super) Vec<u8>);

/// Likeness of two documents that are duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    pub(super) exact: bool,
    pub(super) similarity: Ppm,
}

impl Signer {
    /// Creates a maker of signatures.
    ///
    /// # Errors
    ///
    /// Fails if an option is out of its range.
    pub fn new(config: &DedupConfig) -> Result<Self, CorpusError> {
        config.validate()?;
        Ok(Self {
            seed: mix(config.seed),
            shingle: config.shingle as usize,
            bands: config.bands as usize,
            rows: config.rows as usize,
        })
    }

    /// Returns the signature of a text.
    ///
    /// The shingles are spread over bins by their hashes, and each bin keeps its least hash: one
    /// permutation hashing (Li, Owen, Zhang, 2012). The sketch has a byte of each, as in b-bit
    /// minwise hashing (Li, König, 2010). The bands are made of bins four times as wide, of which
    /// the empty ones are filled from others by optimal densification (Shrivastava, 2017).
    pub fn sign(&self, text: &str) -> Signature {
        let normal = normalise(text);
        let layout = self.layout();
        let mut bytes = Vec::with_capacity(layout.width());
        bytes.extend(blake3::hash(text.as_bytes()).as_bytes());
        bytes.extend(blake3::hash(normal.as_bytes()).as_bytes());
        let mut bins = vec![u64::MAX; layout.sketch()];
        ngrams(&normal, self.shingle, self.seed, |gram| {
            let bin = &mut bins[scale(gram, layout.sketch())];
            *bin = gram.min(*bin);
        });
        // The wider bins in the same order: the least of a bin is that of its first part.
        let mut wide: Vec<u64> = bins
            .chunks(SKETCH_FACTOR)
            .map(|parts| parts.iter().copied().find(|bin| *bin != u64::MAX).unwrap_or(u64::MAX))
            .collect();
        if densify(&mut wide) {
            for (rows, band) in wide.chunks(self.rows).zip(0..) {
                let key = rows.iter().fold(band, |key, row| mix(key ^ row));
                bytes.extend(&key.to_be_bytes()[..KEY]);
            }
        } else {
            bytes.resize(HASHES + KEY * self.bands, 0);
        }
        bytes.extend(bins.into_iter().map(sketch_byte));
        Signature(bytes)
    }

    /// Returns the layout of the signatures.
    pub(super) fn layout(&self) -> Layout {
        Layout { bands: self.bands, rows: self.rows }
    }
}

impl Layout {
    /// Returns the number of bytes of a signature.
    pub(super) fn width(self) -> usize {
        HASHES + KEY * self.bands + self.sketch()
    }

    fn sketch(self) -> usize {
        SKETCH_FACTOR * self.bands * self.rows
    }

    /// Returns the keys by which duplicates of a document are found, each with the number of its
    /// kind. One of them finds exact duplicates. Documents shorter than a shingle have no other.
    pub(super) fn keys(self, signature: &[u8]) -> impl Iterator<Item = [u8; 1 + KEY]> {
        let (hashes, rest) = signature.split_at(HASHES);
        let (bands, sketch) = rest.split_at(KEY * self.bands);
        let short = sketch.iter().all(|byte| *byte == 0);
        let bands = bands.chunks_exact(KEY).filter(move |_| !short).zip(1u8..);
        [(&hashes[32..32 + KEY], 0)].into_iter().chain(bands).map(|(bytes, kind)| {
            let mut key = [kind; 1 + KEY];
            key[1..].copy_from_slice(bytes);
            key
        })
    }

    /// Returns the likeness of two documents if they are duplicates.
    pub(super) fn likeness(self, a: &[u8], b: &[u8], threshold: Ppm) -> Option<Likeness> {
        if a[32..HASHES] == b[32..HASHES] {
            return Some(Likeness { exact: true, similarity: MILLION });
        }
        let sketch = HASHES + KEY * self.bands;
        let similarity = similarity(&a[sketch..], &b[sketch..]);
        (similarity >= threshold).then_some(Likeness { exact: false, similarity })
    }
}

/// Returns the BLAKE3 of the text that a signature is of.
pub(super) fn name_of(signature: &[u8]) -> Hash {
    signature.first_chunk().copied().unwrap_or_default()
}

/// Fills empty bins, and returns `false` if all are empty.
fn densify(bins: &mut [u64]) -> bool {
    let full = |bins: &[u64], bin: usize| bins[bin] != u64::MAX;
    let Some(first) = (0..bins.len()).find(|bin| full(bins, *bin)) else { return false };
    let sparse = bins.to_vec();
    for (bin, value) in bins.iter_mut().enumerate() {
        if *value == u64::MAX {
            // The same choices in every document, so that equal bins are filled alike.
            let source = (0..ATTEMPTS)
                .map(|attempt| scale(mix((bin as u64) << 32 | attempt), sparse.len()))
                .find(|source| full(&sparse, *source));
            *value = sparse[source.unwrap_or(first)];
        }
    }
    true
}

/// Returns the part of `parts` equal ones of the range of hashes that a hash is in.
fn scale(hash: u64, parts: usize) -> usize {
    ((u128::from(hash) * parts as u128) >> 64) as usize
}

/// Returns the byte of a sketch for the least hash in a bin.
fn sketch_byte(bin: u64) -> u8 {
    if bin == u64::MAX { 0 } else { 1 + (mix(bin) % SKETCH_VALUES) as u8 }
}

/// Returns the Jaccard similarity estimated from two sketches.
///
/// Of the bins that are full in either, the share that is equal estimates it without bias, after
/// the bins that are equal by chance are taken off.
fn similarity(a: &[u8], b: &[u8]) -> Ppm {
    let (mut either, mut both, mut equal) = (0u64, 0u64, 0u64);
    for (a, b) in a.iter().zip(b) {
        either += u64::from(a | b != 0);
        both += u64::from(*a != 0 && *b != 0);
        equal += u64::from(a == b && *a != 0);
    }
    if either == 0 {
        return 0;
    }
    let same = (SKETCH_VALUES * equal).saturating_sub(both);
    (u64::from(MILLION) * same / ((SKETCH_VALUES - 1) * either)) as Ppm
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn signer() -> Signer {
        Signer::new(&DedupConfig::default()).unwrap()
    }

    fn estimate(a: &str, b: &str) -> Ppm {
        let signer = signer();
        let (a, b) = (signer.sign(a), signer.sign(b));
        signer.layout().likeness(&a.0, &b.0, 0).unwrap().similarity
    }

    fn jaccard(a: &str, b: &str) -> Ppm {
        let shingles = |text: &str| {
            let mut all = BTreeSet::new();
            ngrams(&normalise(text), 5, 0, |gram| {
                all.insert(gram);
            });
            all
        };
        let (a, b) = (shingles(a), shingles(b));
        (a.intersection(&b).count() * MILLION as usize / a.union(&b).count()) as Ppm
    }

    fn text(words: impl IntoIterator<Item = u64>) -> String {
        words.into_iter().map(|word| format!("w{word} ")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn estimates_are_close_to_the_similarity(
            start in 0u64..1 << 40, words in 20u64..1500, changed in 1u64..30,
        ) {
            let a = text(start..start + words);
            let every = words / changed + 1;
            let b = text((start..start + words).map(|w| w + u64::from(w % every == 0) * (1 << 50)));
            let (exact, estimate) = (jaccard(&a, &b), estimate(&a, &b));
            // Five standard deviations of a share of 504 bins.
            prop_assert!(exact.abs_diff(estimate) < 110_000, "{exact} {estimate}");
        }
    }

    #[test]
    fn equal_shingles_give_equal_signatures_but_for_the_hashes() {
        let (a, b) = (
            signer().sign("One, two three four five SIX."),
            signer().sign("one two: three four five six"),
        );
        assert_eq!(a.0[HASHES..], b.0[HASHES..]);
        assert_ne!(a.0[..HASHES], b.0[..HASHES]);
        let layout = signer().layout();
        assert_eq!(a.0.len(), layout.width());
        let likeness = layout.likeness(&a.0, &b.0, MILLION).unwrap();
        assert_eq!(likeness, Likeness { exact: false, similarity: MILLION });
        let c = signer().sign(" one, two THREE four  five six.\n");
        assert!(layout.likeness(&a.0, &c.0, MILLION).unwrap().exact);
        assert_ne!(name_of(&a.0), name_of(&c.0));
    }

    #[test]
    fn texts_shorter_than_a_shingle_are_compared_exactly() {
        let layout = signer().layout();
        let [a, b] = ["2 plus 2", "2, plus 2"].map(|text| signer().sign(text));
        assert_eq!(layout.keys(&a.0).count(), 1);
        assert_eq!(layout.likeness(&a.0, &b.0, 1), None);
        assert_eq!(layout.keys(&signer().sign("one two three four five").0).count(), 22);
    }

    #[test]
    fn seeds_change_keys_and_sketches() {
        let other = DedupConfig { seed: 1, ..DedupConfig::default() };
        let text = text(0..100);
        let (a, b) = (signer().sign(&text), Signer::new(&other).unwrap().sign(&text));
        assert!(signer().layout().likeness(&a.0[..], &b.0[..], 1).unwrap().exact);
        assert_ne!(a.0[HASHES..], b.0[HASHES..]);
    }

    #[test]
    fn options_out_of_range_are_named() {
        for (name, config) in [
            ("shingle", DedupConfig { shingle: 0, ..DedupConfig::default() }),
            ("bands", DedupConfig { bands: 129, ..DedupConfig::default() }),
            ("rows", DedupConfig { rows: 0, ..DedupConfig::default() }),
            ("similarity", DedupConfig { similarity: 0, ..DedupConfig::default() }),
        ] {
            let error = Signer::new(&config).unwrap_err().to_string();
            assert!(error.starts_with(name) && error.contains("choose"), "{error}");
        }
    }
}
