// SPDX-License-Identifier: Apache-2.0

//! Map from words, of which nearly all are short.

use foldhash::fast::RandomState;
use std::collections::HashMap;

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
