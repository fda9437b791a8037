// SPDX-License-Identifier: Apache-2.0

//! Repetition within a text: lines, paragraphs, and sequences of words.
//!
//! The measures are those of Gopher (arXiv 2112.11446, table A1). A sequence of `n + 1` words is
//! repeated only if the two sequences of `n` words in it are. Each length therefore looks only at
//! the places where the length before found a repetition, and few are left in ordinary prose.
//! Sequences are compared by the exact numbers of their parts, so that no hash decides.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use foldhash::fast::RandomState;
use memchr::memmem;

use super::{share::ppm, words::Words};

/// Lengths of which the most common sequence is measured.
pub(super) const TOP: Range<usize> = 2..5;
/// Lengths of which all repeated sequences are measured.
pub(super) const REPEATED: Range<usize> = 5..11;

/// Repeated lines and paragraphs.
#[derive(Debug)]
pub(super) struct Duplicates {
    /// Lines that are not blank.
    pub(super) lines: Repeats,
    /// Paragraphs, between blank lines.
    pub(super) paragraphs: Repeats,
}

impl Duplicates {
    /// Compares lines with lines, and paragraphs with paragraphs.
    pub(super) fn new(text: &str) -> Self {
        let lines = text.split('\n').filter(|line| !line.trim().is_empty());
        let cuts = memmem::find_iter(text.as_bytes(), "\n\n").chain([text.len()]);
        let mut start = 0;
        let paragraphs = cuts.map(|cut| text[std::mem::replace(&mut start, cut)..cut].trim());
        Self {
            lines: Repeats::new(lines),
            paragraphs: Repeats::new(paragraphs.filter(|paragraph| !paragraph.is_empty())),
        }
    }
}

/// Parts of a text that repeat earlier ones.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    parts: u64,
    characters: u64,
    repeated: u64,
    repeated_characters: u64,
}

impl Repeats {
    fn new<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let mut repeats = Self::default();
        let mut seen: HashSet<&str, RandomState> = HashSet::default();
        for part in parts {
            let characters = part.chars().count() as u64;
            repeats.parts += 1;
            repeats.characters += characters;
            if !seen.insert(part) {
                repeats.repeated += 1;
                repeats.repeated_characters += characters;
            }
        }
        repeats
    }

    /// Returns the share of parts that repeat an earlier one.
    pub(super) fn share(&self) -> u64 {
        ppm(self.repeated, self.parts)
    }

    /// Returns the share of characters in parts that repeat an earlier one.
    pub(super) fn character_share(&self) -> u64 {
        ppm(self.repeated_characters, self.characters)
    }
}

/// Shares of characters in repeated sequences of words.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    shares: [u64; REPEATED.end],
}

impl Repetition {
    /// Measures sequences of all lengths, as shares of the characters of the text.
    pub(super) fn new(words: &Words, characters: u64) -> Self {
        let mut repetition = Self::default();
        let mut places = Places::words(words);
        for length in TOP.start..REPEATED.end {
            places = places.longer();
            let repeated = if length < TOP.end {
                places.top_characters(words, length)
            } else {
                places.repeated_characters(words, length)
            };
            repetition.shares[length] = ppm(repeated, characters);
        }
        repetition
    }

    /// Returns the share of characters in the most common sequence of two to four words, or in all
    /// repetitions of sequences of five to ten.
    pub(super) fn share(&self, length: usize) -> u64 {
        self.shares.get(length).copied().unwrap_or(0)
    }
}

/// Starts of the sequences of one length that occur at least twice.
struct Places {
    /// Positions in the text, ascending, and the number of the sequence that starts there.
    /// Sequences are numbered from zero in the order of their first places.
    starts: Vec<(u32, u32)>,
    /// Number of places of each sequence.
    counts: Vec<u32>,
}

impl Places {
    /// Finds the words that occur at least twice.
    fn words(words: &Words) -> Self {
        let starts = words.ids.iter().zip(0..).map(|(&id, start)| (start, id)).collect();
        let distinct = words.ids.iter().max().map_or(0, |&id| id as usize + 1);
        Self::repeated(starts, distinct)
    }

    /// Keeps sequences that occur at least twice.
    fn repeated(mut starts: Vec<(u32, u32)>, distinct: usize) -> Self {
        let mut counts = vec![0; distinct];
        for &(_, sequence) in &starts {
            counts[sequence as usize] += 1;
        }
        starts.retain(|&(_, sequence)| counts[sequence as usize] > 1);
        Self { starts, counts }
    }

    /// Finds the sequences of one word more.
    fn longer(&self) -> Self {
        let mut numbers: HashMap<u64, u32, RandomState> =
            HashMap::with_capacity_and_hasher(self.starts.len() / 2, RandomState::default());
        let mut starts = Vec::with_capacity(self.starts.len());
        for pair in self.starts.windows(2) {
            let [(start, head), (next, tail)] = *pair else { continue };
            if start + 1 == next {
                let number = numbers.len() as u32;
                let pair = u64::from(head) << 32 | u64::from(tail);
                starts.push((start, *numbers.entry(pair).or_insert(number)));
            }
        }
        Self::repeated(starts, numbers.len())
    }

    /// Returns the characters in all places of the most common sequence, with the spaces between
    /// its words. The first of several decides.
    fn top_characters(&self, words: &Words, length: usize) -> u64 {
        let Some(top) = (0..self.counts.len()).rev().max_by_key(|&it| self.counts[it]) else {
            return 0;
        };
        let first = self.starts.iter().find(|&&(_, sequence)| sequence as usize == top);
        first.map_or(0, |&(start, _)| {
            let characters = characters(words, start as usize, length) + length as u64 - 1;
            u64::from(self.counts[top]) * characters
        })
    }

    /// Returns the characters of sequences that repeat an earlier one. No character counts twice:
    /// the search goes on behind each repetition.
    fn repeated_characters(&self, words: &Words, length: usize) -> u64 {
        let mut seen = vec![false; self.counts.len()];
        let (mut repeated, mut next) = (0, 0);
        for &(start, sequence) in &self.starts {
            if (start as usize) < next {
                continue;
            }
            if std::mem::replace(&mut seen[sequence as usize], true) {
                repeated += characters(words, start as usize, length);
                next = start as usize + length;
            }
        }
        repeated
    }
}

/// Returns the number of characters of some words.
fn characters(words: &Words, start: usize, length: usize) -> u64 {
    let end = |count: usize| count.checked_sub(1).map_or(0, |last| u64::from(words.ends[last]));
    end(start + length) - end(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(text: &str, length: usize) -> u64 {
        // A million characters make shares readable as counts of characters.
        Repetition::new(&Words::new(text), 1_000_000).share(length)
    }

    #[test]
    fn the_most_common_sequence_is_measured() {
        assert_eq!(measure("a b c d", 2), 0);
        assert_eq!(measure("aa b x aa b y aa b", 2), 3 * 4);
        // Two pairs occur twice: the first one counts.
        assert_eq!(measure("aaa b x c d y c d z aaa b", 2), 2 * 5);
        assert_eq!(measure("a b c d. a b c d!", 3), 2 * 5);
        assert_eq!(measure("a b c d. a b c d!", 4), 2 * 7);
    }

    #[test]
    fn repeated_sequences_count_each_character_once() {
        let five = "one two three four five";
        assert_eq!(measure(&format!("{five} x {five} y"), 5), 19);
        assert_eq!(measure(&format!("{five} x {five} y"), 6), 0);
        // Twelve equal words: the second to sixth and the seventh to eleventh repeat.
        assert_eq!(measure(&"w ".repeat(12), 5), 10);
        assert_eq!(measure(&"w ".repeat(12), 10), 10);
    }

    #[test]
    fn lines_and_paragraphs_are_compared() {
        let text = "same line\n\nother\nsame line\n\n\nsame line\n\n\n";
        let Duplicates { lines, paragraphs } = Duplicates::new(text);
        assert_eq!((lines.share(), lines.character_share()), (500_000, 562_500));
        assert_eq!((paragraphs.parts, paragraphs.repeated), (3, 1));
        assert_eq!(Duplicates::new("").paragraphs.share(), 0);
    }

    #[test]
    fn all_lengths_agree_with_the_definition() {
        let text =
            "a b a b c a b a b c d a b c d e a b c d e f a b c d e f g h a b a b c ".repeat(3);
        let words = Words::new(&text);
        for length in REPEATED {
            let (mut seen, mut repeated, mut at) = (HashSet::new(), 0, 0);
            while at + length <= words.ids.len() {
                if seen.insert(&words.ids[at..at + length]) {
                    at += 1;
                } else {
                    repeated += length as u64;
                    at += length;
                }
            }
            assert_eq!(measure(&text, length), repeated, "{length}");
        }
    }
}
