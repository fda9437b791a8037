// SPDX-License-Identifier: Apache-2.0

//! Map from words, of which nearly all are short.

use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap};

/// Longest word that is held as a number, in bytes.
const MAX_SHORT_BYTES: usize = 15;
const NUMBER_BYTES: usize = size_of::<u128>();

/// Word of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    text: &'a str,
    /// Its bytes, with their number in the highest byte, unless there are too many.
    number: Option<u128>,
}

impl<'a> Word<'a> {
    /// Returns the first `length` bytes of `rest` as a word.
    pub(crate) fn at_start(rest: &'a str, length: usize) -> Self {
        let text = &rest[..length];
        let number = (length <= MAX_SHORT_BYTES).then(|| {
            // What follows the word is masked, which is faster than a copy of some bytes.
            let bytes = rest.as_bytes().first_chunk().copied().unwrap_or_else(|| {
                let mut bytes = [0; NUMBER_BYTES];
                bytes[..length].copy_from_slice(text.as_bytes());
                bytes
            });
            let mask = (1u128 << (u8::BITS as usize * length)) - 1;
            (u128::from_le_bytes(bytes) & mask) | (length as u128) << (u128::BITS - u8::BITS)
        });
        Self { text, number }
    }

    /// Returns the word.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }
}

/// Map from words. Short ones are numbers, which are hashed and compared at once, where they are.
/// The hash is seeded at random: nobody can choose words that collide.
pub(crate) struct WordMap<Value> {
    short: HashMap<u128, Value, RandomState>,
    long: HashMap<Box<str>, Value, RandomState>,
}

impl<Value> Default for WordMap<Value> {
    fn default() -> Self {
        Self { short: HashMap::default(), long: HashMap::default() }
    }
}

impl<Value> WordMap<Value> {
    /// Returns the number of words.
    pub(crate) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Returns the value of a word.
    pub(crate) fn get(&self, word: Word<'_>) -> Option<&Value> {
        match word.number {
            Some(number) => self.short.get(&number),
            None => self.long.get(word.text),
        }
    }

    /// Sets the value of a word.
    pub(crate) fn insert(&mut self, word: Word<'_>, value: Value) {
        match word.number {
            Some(number) => self.short.insert(number, value),
            None => self.long.insert(word.text.into(), value),
        };
    }

    /// Returns all words with their values, in no order.
    pub(crate) fn into_words(self) -> impl Iterator<Item = (Box<str>, Value)> {
        let short = self.short.into_iter().map(|(number, value)| {
            let [bytes @ .., length] = number.to_le_bytes();
            let word = bytes.get(..usize::from(length)).unwrap_or_default();
            (String::from_utf8_lossy(word).into(), value)
        });
        short.chain(self.long)
    }
}

impl WordMap<u64> {
    /// Counts a word once more.
    pub(crate) fn count(&mut self, word: Word<'_>) {
        match word.number {
            Some(number) => *self.short.entry(number).or_default() += 1,
            None => match self.long.get_mut(word.text) {
                Some(count) => *count += 1,
                None => drop(self.long.insert(word.text.into(), 1)),
            },
        }
    }

    /// Returns the sizes of all words with their counts, in no order.
    fn sizes(&self) -> impl Iterator<Item = (usize, u64)> {
        let short = self.short.iter().map(|(number, count)| (size_of_short(*number), *count));
        short.chain(self.long.iter().map(|(word, count)| (size_of_long(word), *count)))
    }

    /// Returns the size of all words: their bytes, and one more for each.
    pub(crate) fn size(&self) -> usize {
        self.sizes().map(|(size, _)| size).sum()
    }

    /// Drops the rarest words, so that the [size](Self::size) of the others is at most `most`.
    ///
    /// Of the words of one count that fit in part only, those with the least hashes stay. So words
    /// and counts alone decide, and something stays if all words are equally rare.
    pub(crate) fn keep_frequent(&mut self, most: usize) {
        let mut of_count = BTreeMap::<u64, usize>::new();
        for (size, count) in self.sizes() {
            *of_count.entry(count).or_default() += size;
        }
        let mut room = most;
        let partly = of_count.into_iter().rev().find(|(_, size)| match room.checked_sub(*size) {
            Some(left) => {
                room = left;
                false
            }
            None => true,
        });
        let Some((rarest, _)) = partly else { return };
        let short = self
            .short
            .iter()
            .filter(|(_, count)| **count == rarest)
            .map(|(number, _)| (stable_hash(&number.to_le_bytes()), size_of_short(*number)));
        let long = self
            .long
            .iter()
            .filter(|(_, count)| **count == rarest)
            .map(|(word, _)| (stable_hash(word.as_bytes()), size_of_long(word)));
        let mut candidates: Vec<_> = short.chain(long).collect();
        candidates.sort_unstable();
        let mut end = 0;
        for (hash, size) in candidates {
            end = hash;
            let Some(left) = room.checked_sub(size) else { break };
            room = left;
        }
        let stays = |word: &[u8], count: u64| {
            count > rarest || (count == rarest && stable_hash(word) < end)
        };
        self.short.retain(|number, count| stays(&number.to_le_bytes(), *count));
        self.long.retain(|word, count| stays(word.as_bytes(), *count));
    }

    /// Adds the counts of another map.
    pub(crate) fn add(&mut self, other: Self) {
        for (number, count) in other.short {
            *self.short.entry(number).or_default() += count;
        }
        for (word, count) in other.long {
            *self.long.entry(word).or_default() += count;
        }
    }
}

/// Returns the size of a word that is held as a number.
fn size_of_short(number: u128) -> usize {
    let [.., length] = number.to_le_bytes();
    usize::from(length) + 1
}

/// Returns the size of a word that is held as text.
fn size_of_long(word: &str) -> usize {
    word.len() + 1
}

/// Returns a hash that is the same on every machine.
fn stable_hash(word: &[u8]) -> u64 {
    blake3::hash(word).as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn words_are_told_apart(words in prop::collection::vec("[a\u{0}é]{0,20}", 0..60)) {
            let (mut counts, mut expected) = (WordMap::default(), BTreeMap::new());
            let mut other = WordMap::default();
            for (number, word) in words.iter().enumerate() {
                let text = format!("{word}{}", " behind it".repeat(number % 3));
                let word = Word::at_start(&text, word.len());
                if number % 2 == 0 { counts.count(word) } else { other.count(word) }
                *expected.entry(Box::from(word.text())).or_insert(0) += 1;
            }
            counts.add(other);
            prop_assert_eq!(counts.len(), expected.len());
            for word in &words {
                let found = counts.get(Word::at_start(word, word.len()));
                prop_assert_eq!(found, expected.get(word.as_str()));
            }
            prop_assert_eq!(counts.into_words().collect::<BTreeMap<_, _>>(), expected);
        }
    }

    fn counted<'a>(words: impl IntoIterator<Item = &'a str>) -> WordMap<u64> {
        let mut counts = WordMap::default();
        words.into_iter().for_each(|word| counts.count(Word::at_start(word, word.len())));
        counts
    }

    proptest! {
        #[test]
        fn the_most_frequent_words_stay_whatever_their_order(
            words in prop::collection::vec("[ab]{1,3}|[ab]{16,18}", 0..60),
            most in 0usize..200,
        ) {
            let mut counts = counted(words.iter().map(String::as_str));
            let mut turned = counted(words.iter().rev().map(String::as_str));
            let (size, all) = (counts.size(), turned.size());
            prop_assert_eq!(size, all);
            counts.keep_frequent(most);
            turned.keep_frequent(most);
            prop_assert!(counts.size() <= most);
            prop_assert!(size > most || counts.size() == size, "nothing need go");
            let stayed = counts.into_words().collect::<BTreeMap<_, _>>();
            prop_assert_eq!(&stayed, &turned.into_words().collect::<BTreeMap<_, _>>());
            let whole = counted(words.iter().map(String::as_str));
            let gone = whole.into_words().filter(|(word, _)| !stayed.contains_key(word));
            let most_frequent = gone.map(|(_, count)| count).max().unwrap_or(0);
            prop_assert!(stayed.values().all(|count| *count >= most_frequent));
        }
    }

    #[test]
    fn of_equally_rare_words_as_many_stay_as_fit() {
        let words: Vec<String> = (1_000..2_000).map(|number| number.to_string()).collect();
        let mut counts = counted(words.iter().map(String::as_str));
        assert_eq!((counts.len(), counts.size()), (1_000, 5_000));
        counts.keep_frequent(504);
        assert_eq!((counts.len(), counts.size()), (100, 500));
        let first = counts.into_words().filter(|(word, _)| word.as_bytes()[1] < b'5').count();
        assert!((25..=75).contains(&first), "a sample, not the first in order: {first}");
    }

    #[test]
    fn values_are_set_anew() {
        let mut map = WordMap::default();
        for word in ["short", "a word that is longer than a number"] {
            map.insert(Word::at_start(word, word.len()), 1);
            map.insert(Word::at_start(word, word.len()), 2);
            assert_eq!(map.get(Word::at_start(word, word.len())), Some(&2));
        }
        assert_eq!(map.len(), 2);
    }
}
