// SPDX-License-Identifier: Apache-2.0

//! Selection among the texts that a model wrote.

use crate::error::{SynthesisError, in_range};
use pol_primitives::Ppm;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet, VecDeque};

/// Number of n-grams that novelty is measured against, the latest ones.
const REMEMBERED: usize = 1 << 22;
/// One, in millionths.
const ONE: Ppm = 1_000_000;

/// Agreement that a text needs among samples of the same prompt (Wang et al. 2022,
/// "Self-Consistency Improves Chain of Thought Reasoning in Language Models").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// Number of samples.
    pub samples: u8,
    /// Number of samples that must agree, the chosen one included.
    pub agree: u8,
    /// Share of common words above which two samples agree, in millionths. Samples with an
    /// `Answer:` are compared by what follows it.
    pub min_overlap: Ppm,
}

impl Consistency {
    /// One sample, which needs no other to agree.
    pub const NONE: Self = Self { samples: 1, agree: 1, min_overlap: ONE };

    pub(crate) fn validate(&self) -> Result<(), SynthesisError> {
        in_range("consistency.samples", self.samples.into(), 1, 64)?;
        in_range("consistency.agree", self.agree.into(), 1, self.samples.into())?;
        in_range("consistency.min_overlap", self.min_overlap, 1, ONE)
    }

    /// Returns the position of the sample that most samples agree with, and of several the first.
    /// Returns `None` if too few agree.
    pub(crate) fn choose(&self, samples: &[&str]) -> Option<usize> {
        let words: Vec<BTreeSet<String>> =
            samples.iter().map(|text| words(essence(text)).collect()).collect();
        let agreeing = |at: usize| {
            let agrees = |other: &&BTreeSet<String>| overlap(&words[at], other) >= self.min_overlap;
            words.iter().filter(agrees).count()
        };
        let (at, count) = (0..samples.len())
            .map(|at| (at, agreeing(at)))
            .max_by_key(|&(at, count)| (count, std::cmp::Reverse(at)))?;
        (count >= self.agree.into()).then_some(at)
    }
}

/// Returns the part of a text that samples have to agree on.
fn essence(text: &str) -> &str {
    text.rsplit_once("Answer:").map_or(text, |(_, answer)| answer)
}

/// Returns the words of a text in lower case, without punctuation.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Returns the share of common words among all words of both, in millionths (Jaccard).
fn overlap(a: &BTreeSet<String>, b: &BTreeSet<String>) -> Ppm {
    share(a.intersection(b).count(), a.union(b).count())
}

/// Returns `part / whole` in millionths; everything of nothing is one.
fn share(part: usize, whole: usize) -> Ppm {
    let ppm = (part as u64 * u64::from(ONE)).checked_div(whole as u64).unwrap_or(ONE.into());
    Ppm::try_from(ppm).unwrap_or(ONE)
}

/// Bounds on the texts that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(deny_unknown_fields, default)]
pub struct TextFilter {
    /// Smallest size of the text that the model wrote, in bytes.
    pub min_bytes: u32,
    /// Largest size of it, in bytes.
    pub max_bytes: u32,
    /// Number of words of the n-grams by which novelty is measured.
    pub ngram_words: u8,
    /// Largest share of n-grams that occurred in earlier texts of the recipe, in millionths.
    pub max_overlap: Ppm,
}

impl Default for TextFilter {
    /// Returns bounds that leave out very short texts, and texts of which half has been said.
    fn default() -> Self {
        Self { min_bytes: 64, max_bytes: 1 << 20, ngram_words: 5, max_overlap: ONE / 2 }
    }
}

impl TextFilter {
    pub(crate) fn validate(&self) -> Result<(), SynthesisError> {
        in_range("filter.max_bytes", self.max_bytes, 1, 1 << 20)?;
        in_range("filter.min_bytes", self.min_bytes, 0, self.max_bytes)?;
        in_range("filter.ngram_words", self.ngram_words.into(), 1, 32)?;
        in_range("filter.max_overlap", self.max_overlap, 0, ONE)
    }

    /// Returns the reason to refuse a text for its length.
    pub(crate) fn refuses_length(&self, text: &str) -> Option<String> {
        let bytes = text.len();
        (bytes < self.min_bytes as usize || bytes > self.max_bytes as usize).then(|| {
            let Self { min_bytes, max_bytes, .. } = self;
            format!("the text has {bytes} bytes, and {min_bytes} to {max_bytes} are wanted")
        })
    }
}

/// Memory of the n-grams of the texts so far.
#[derive(Default)]
pub(crate) struct Novelty {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Novelty {
    /// Returns the share of n-grams of `text` that are known, in millionths. A text that is shorter
    /// than an n-gram is one.
    fn measure(&self, grams: &BTreeSet<u64>) -> Ppm {
        share(grams.iter().filter(|gram| self.known.contains(gram)).count(), grams.len())
    }

    /// Remembers a text, unless too much of it is known. Returns the reason to refuse it then.
    pub(crate) fn refuses(&mut self, text: &str, filter: &TextFilter) -> Option<String> {
        let grams = ngrams(text, filter.ngram_words.into());
        let known = self.measure(&grams);
        if known > filter.max_overlap {
            let percent = known / 10_000;
            return Some(format!("{percent} % of the text occurred in earlier texts"));
        }
        self.remember(grams);
        None
    }

    fn remember(&mut self, grams: BTreeSet<u64>) {
        for gram in grams {
            if self.known.insert(gram) {
                self.order.push_back(gram);
            }
        }
        while self.order.len() > REMEMBERED {
            self.order.pop_front().map(|oldest| self.known.remove(&oldest));
        }
    }
}

/// Returns the hashes of the n-grams of `text`.
fn ngrams(text: &str, length: usize) -> BTreeSet<u64> {
    let words: Vec<String> = words(text).collect();
    let hash = |words: &[String]| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&blake3::hash(words.join(" ").as_bytes()).as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    };
    if words.len() <= length {
        [hash(&words)].into()
    } else {
        words.windows(length).map(hash).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_the_majority_is_chosen() {
        let consistency = Consistency { samples: 4, agree: 2, min_overlap: 900_000 };
        let samples = ["9 because. Answer: 9", "Answer: 12.", "so\nAnswer: 12", "Answer: 7"];
        assert_eq!(consistency.choose(&samples), Some(1));
        assert_eq!(Consistency { agree: 3, ..consistency.clone() }.choose(&samples), None);
        assert_eq!(consistency.choose(&[]), None);
        assert_eq!(Consistency::NONE.choose(&["any text"]), Some(0));
    }

    #[test]
    fn texts_without_an_answer_agree_by_their_words() {
        let consistency = Consistency { samples: 3, agree: 2, min_overlap: 700_000 };
        let samples =
            ["entirely different", "Bees make honey in hives", "bees make honey, in hives!"];
        assert_eq!(consistency.choose(&samples), Some(1));
    }

    #[test]
    fn repeated_texts_are_refused() {
        let mut novelty = Novelty::default();
        let filter = TextFilter { ngram_words: 3, ..TextFilter::default() };
        let text = "one two three four five six seven eight";
        assert_eq!(novelty.refuses(text, &filter), None);
        let reason = novelty.refuses("ONE, two three four five six seven eight!", &filter);
        assert_eq!(reason.unwrap(), "100 % of the text occurred in earlier texts");
        // A refused text is not remembered, and half of a text may be known.
        assert_eq!(novelty.refuses("one two three four five and now for something", &filter), None);
        assert_eq!(novelty.refuses("", &filter), None);
        assert!(novelty.refuses("?!", &filter).is_some());
    }

    #[test]
    fn lengths_are_bounded() {
        let filter = TextFilter { min_bytes: 2, max_bytes: 3, ..TextFilter::default() };
        assert!(filter.refuses_length("a").unwrap().contains("1 bytes"));
        assert_eq!(filter.refuses_length("ab"), None);
        assert!(filter.refuses_length("abcd").is_some());
    }
}
