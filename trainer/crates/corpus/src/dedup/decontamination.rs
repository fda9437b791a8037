// SPDX-License-Identifier: Apache-2.0

//! Documents that share a passage with text that nobody may train on.

use super::words::{ngrams, normalise};
use crate::error::CorpusError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes that a run of words of the references takes.
const GRAM_BYTES: u64 = 16;
/// Bits of a filter for each run of words.
const FILTER_BITS: usize = 16;

/// Options of decontamination.
///
/// Runs of 13 words are the practice of GPT-3 (arXiv 2005.14165, appendix C). Shorter references
/// are looked for as a whole, down to eight words as there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecontaminationConfig {
    /// Number of words in a run.
    pub ngram: u32,
    /// Fewest words of a reference.
    pub shortest: u32,
    /// Largest number of runs that a document may share with the references.
    pub allowed: u32,
    /// Memory for the runs of the references, in bytes. Each takes sixteen.
    pub memory: u64,
}

impl Default for DecontaminationConfig {
    fn default() -> Self {
        Self { ngram: 13, shortest: 8, allowed: 0, memory: 512 << 20 }
    }
}

/// Finder of documents that share runs of words with held-out text or probes. Many threads can
/// share one.
pub struct Decontaminator {
    allowed: u64,
    indices: Vec<GramIndex>,
    names: Vec<String>,
    ignored: u64,
}

/// Overlap of a document with the references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contamination {
    /// Name of the reference that the first run is in.
    pub reference: String,
    /// Number of runs of the document that are in references.
    pub shared: u64,
    /// Number of words of the document.
    pub words: u64,
}

/// Runs of `n` words of the references.
struct GramIndex {
    n: usize,
    /// Hashes in ascending order, and the reference that each is first in.
    hashes: Vec<u64>,
    references: Vec<u32>,
    /// Bits for the highest bits of the hashes: most runs are in no reference.
    filter: Vec<u64>,
    shift: u32,
}

impl Decontaminator {
    /// Reads the references, each with its name.
    ///
    /// # Errors
    ///
    /// Fails if an option is out of its range, a reference cannot be read, or the references do
    /// not fit in the memory for them.
    pub fn new(
        config: &DecontaminationConfig,
        references: impl IntoIterator<Item = Result<(String, String), CorpusError>>,
    ) -> Result<Self, CorpusError> {
        let (n, shortest) = (config.ngram as usize, config.shortest as usize);
        if !(1..=64).contains(&n) || !(1..=n).contains(&shortest) {
            return Err(CorpusError::InvalidOption(format!(
                "decontamination by runs of {n} words and at least {shortest} is impossible; \
                 choose 1 to 64 words, and a least number that is not above it"
            )));
        }
        let mut lists = BTreeMap::<usize, Vec<(u64, u32)>>::new();
        let (mut names, mut ignored, mut used) = (Vec::new(), 0, 0);
        for reference in references {
            let (name, text) = reference?;
            let normal = normalise(&text);
            let words = ngrams(&normal, 1, 0, |_| {});
            if words < shortest {
                ignored += 1;
                continue;
            }
            let (number, n) = (names.len() as u32, n.min(words));
            used += (words + 1 - n) as u64 * GRAM_BYTES + name.len() as u64;
            if used > config.memory || names.len() >= u32::MAX as usize {
                return Err(CorpusError::InvalidOption(format!(
                    "the references up to {name} take more than {} bytes; allow more memory or \
                     give less text",
                    config.memory
                )));
            }
            let list = lists.entry(n).or_default();
            ngrams(&normal, n, 0, |gram| list.push((gram, number)));
            names.push(name);
        }
        let indices = lists.into_iter().map(|(n, grams)| GramIndex::new(n, grams)).collect();
        Ok(Self { allowed: config.allowed.into(), indices, names, ignored })
    }

    /// Returns the number of references that are too short to be looked for.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Returns the overlap of a document if it is more than the options allow.
    pub fn check(&self, text: &str) -> Option<Contamination> {
        let normal = normalise(text);
        let (mut shared, mut words, mut first) = (0, 0, None);
        for index in &self.indices {
            words = ngrams(&normal, index.n, 0, |gram| {
                if let Some(reference) = index.get(gram) {
                    shared += 1;
                    first.get_or_insert(reference);
                }
            });
        }
        let name = self.names.get(first? as usize)?;
        (shared > self.allowed).then(|| Contamination {
            reference: name.clone(),
            shared,
            words: words as u64,
        })
    }
}

impl GramIndex {
    fn new(n: usize, mut grams: Vec<(u64, u32)>) -> Self {
        grams.sort_unstable();
        grams.dedup_by_key(|(hash, _)| *hash);
        let bits = (grams.len() * FILTER_BITS).next_power_of_two().max(64);
        let shift = 64 - bits.trailing_zeros();
        let mut filter = vec![0; bits / 64];
        for (hash, _) in &grams {
            let bit = hash >> shift;
            filter[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        let (hashes, references) = grams.into_iter().unzip();
        Self { n, hashes, references, filter, shift }
    }

    /// Returns the reference that a run is first in.
    fn get(&self, hash: u64) -> Option<u32> {
        let bit = hash >> self.shift;
        if self.filter[(bit / 64) as usize] >> (bit % 64) & 1 == 0 {
            return None;
        }
        self.hashes.binary_search(&hash).ok().map(|index| self.references[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decontaminator(config: &DecontaminationConfig, texts: &[&str]) -> Decontaminator {
        let references =
            texts.iter().zip(0..).map(|(t, n)| Ok((format!("probe {n}"), (*t).into())));
        Decontaminator::new(config, references).unwrap()
    }

    fn words(range: std::ops::Range<u32>) -> String {
        range.map(|n| format!("word{n} ")).collect()
    }

    #[test]
    fn a_shared_run_of_thirteen_words_is_found_whatever_its_marks() {
        let finder = decontaminator(
            &DecontaminationConfig::default(),
            &[&words(0..50), "What is the capital of the old kingdom of Bohemia?", "too short"],
        );
        assert_eq!(finder.ignored(), 1);
        assert_eq!(finder.check(&words(38..90)), None);
        assert_eq!(finder.check(""), None);
        let found = finder.check(&words(37..90).replace(' ', ",\n").to_uppercase()).unwrap();
        assert_eq!(found, Contamination { reference: "probe 0".into(), shared: 1, words: 53 });
        let quiz = "Q: what is the capital of the old kingdom of bohemia? A: Prague";
        assert_eq!(finder.check(quiz).unwrap().reference, "probe 1");
    }

    #[test]
    fn documents_may_share_as_much_as_is_allowed() {
        let config = DecontaminationConfig { allowed: 3, ..DecontaminationConfig::default() };
        let finder = decontaminator(&config, &[&words(0..50)]);
        assert_eq!(finder.check(&words(0..15)), None);
        assert_eq!(finder.check(&words(0..16)).unwrap().shared, 4);
    }

    #[test]
    fn impossible_options_and_too_many_references_are_refused() {
        for (ngram, shortest) in [(0, 0), (65, 1), (13, 14), (13, 0)] {
            let config = DecontaminationConfig { ngram, shortest, ..Default::default() };
            let error = Decontaminator::new(&config, []).err().unwrap().to_string();
            assert!(error.contains("choose 1 to 64"), "{error}");
        }
        let config = DecontaminationConfig { memory: 100, ..Default::default() };
        let error = Decontaminator::new(&config, [Ok(("big".into(), words(0..99)))]).err().unwrap();
        assert!(error.to_string().contains("allow more memory"), "{error}");
    }

    proptest! {
        #[test]
        fn runs_are_counted(
            reference in prop::collection::vec(0u8..4, 0..60),
            text in prop::collection::vec(0u8..4, 0..60),
        ) {
            let write = |words: &[u8]| words.iter().map(|n| format!("w{n} ")).collect::<String>();
            let config = DecontaminationConfig { ngram: 3, shortest: 3, ..Default::default() };
            let finder = decontaminator(&config, &[&write(&reference)]);
            let shared =
                text.windows(3).filter(|run| reference.windows(3).any(|r| r == *run)).count();
            let found = finder.check(&write(&text)).map_or(0, |found| found.shared);
            prop_assert_eq!(found, shared as u64);
        }
    }
}
