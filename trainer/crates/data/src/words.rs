// SPDX-License-Identifier: Apache-2.0

//! GPT-2's splitting of text into words, by hand.
//!
//! The tokenizer library splits with a regular expression that looks ahead, at 5 MB a second. The
//! same rules on characters are ten times as fast, and the tests hold them against the library.

use crate::word_map::Word;
use regex_syntax::hir::{self, Hir, HirKind};
use std::sync::LazyLock;

/// Contractions that end a word, in the order of the expression.
const CONTRACTIONS: [&[u8]; 7] = [b"'s", b"'t", b"'re", b"'ve", b"'m", b"'ll", b"'d"];

/// Classes of characters that words consist of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Number,
    Other,
}

/// Class of each character below [`TABLE_END`].
static CLASSES: LazyLock<Box<[Class]>> = LazyLock::new(|| {
    let class = |code| char::from_u32(code).map_or(Class::Other, Class::compute);
    (0..TABLE_END).map(class).collect()
});

/// First character that has no entry in the table: those below are nearly all there are.
const TABLE_END: u32 = 0x1_0000;

/// Letters and numbers, as the expressions of the tokenizer library know them. The standard library
/// may know another version of Unicode.
static LETTERS: LazyLock<Ranges> = LazyLock::new(|| ranges(r"\p{L}"));
static NUMBERS: LazyLock<Ranges> = LazyLock::new(|| ranges(r"\p{N}"));

/// Ranges of characters, in order.
type Ranges = Vec<(char, char)>;

/// Returns the characters of a class, or none if the expression is not a class.
fn ranges(class: &str) -> Ranges {
    match regex_syntax::parse(class).map(Hir::into_kind) {
        Ok(HirKind::Class(hir::Class::Unicode(class))) => {
            class.ranges().iter().map(|range| (range.start(), range.end())).collect()
        }
        _ => Ranges::new(),
    }
}

fn contains(ranges: &Ranges, c: char) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= c);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|&(_, last)| c <= last)
}

impl Class {
    fn compute(c: char) -> Self {
        if c.is_whitespace() {
            Self::Space
        } else if contains(&LETTERS, c) {
            Self::Letter
        } else if contains(&NUMBERS, c) {
            Self::Number
        } else {
            Self::Other
        }
    }

    fn of(c: char, table: &[Self]) -> Self {
        table.get(c as usize).copied().unwrap_or_else(|| Self::compute(c))
    }
}

/// Words of a text, in order. Their concatenation is the text.
pub(crate) struct Words<'a> {
    rest: &'a str,
    table: &'static [Class],
}

/// Splits text into words: runs of letters, of numbers, or of other characters, each with the space
/// before it; contractions; and runs of white space.
pub(crate) fn words(text: &str) -> Words<'_> {
    Words { rest: text, table: &CLASSES }
}

impl<'a> Words<'a> {
    /// Returns the class of the character that begins at a byte, and its length in bytes.
    #[inline]
    fn class_at(&self, at: usize) -> Option<(Class, usize)> {
        let byte = *self.rest.as_bytes().get(at)?;
        // Nearly all characters are of ASCII, which need not be decoded.
        if byte.is_ascii() {
            return Some((*self.table.get(usize::from(byte))?, 1));
        }
        let c = self.rest.get(at..)?.chars().next()?;
        Some((Class::of(c, self.table), c.len_utf8()))
    }

    /// Returns the end of the run of characters of a class that begins at a byte.
    #[inline]
    fn run(&self, mut at: usize, class: Class) -> usize {
        while let Some((found, length)) = self.class_at(at) {
            if found != class {
                break;
            }
            at += length;
        }
        at
    }

    /// Returns the length in bytes of the next word.
    fn next_length(&self) -> usize {
        let bytes = self.rest.as_bytes();
        if bytes.first() == Some(&b'\'')
            && let Some(contraction) = CONTRACTIONS.iter().find(|end| bytes.starts_with(end))
        {
            return contraction.len();
        }
        let lead = usize::from(bytes.first() == Some(&b' '));
        match self.class_at(lead) {
            Some((class, length)) if class != Class::Space => self.run(lead + length, class),
            _ => self.space_length(),
        }
    }

    /// Returns the length in bytes of the white space that is a word of its own: all but the last
    /// character before a word, unless there is one only.
    fn space_length(&self) -> usize {
        let run = self.run(0, Class::Space);
        if run == self.rest.len() {
            return run;
        }
        let last = self.rest[..run].chars().next_back().map_or(0, char::len_utf8);
        if run > last { run - last } else { run }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let word = Word::at_start(self.rest, self.next_length());
        self.rest = &self.rest[word.text().len()..];
        Some(word)
    }
}

/// Returns the printable characters by which byte-level models write bytes: those of Latin-1 that
/// can be seen stand for themselves, and the others for characters from U+0100 on, in order
/// (Radford et al. 2019, `encoder.py` of GPT-2).
pub fn byte_characters() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    })
}

/// Returns the entry that stands for a byte in a vocabulary of SentencePiece, such as `<0x0A>`.
pub fn byte_entry(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// Returns the byte that an entry such as `<0x0A>` stands for. Decoders read digits of either case,
/// and text becomes the entries of [`byte_entry`] only.
pub fn entry_byte(entry: &str) -> Option<u8> {
    let code = entry.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_code = code.len() == 2 && code.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_code.then(|| u8::from_str_radix(code, 16).ok()).flatten()
}

/// Returns the characters by which byte-level models write `word`.
pub(crate) fn spell(word: &str, characters: &[char; 256]) -> impl Iterator<Item = char> {
    word.bytes().map(|byte| characters[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use tokenizers::{
        Decoder, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
        decoders::byte_fallback::ByteFallback, pre_tokenizers::byte_level::ByteLevel,
    };

    fn of_the_library(text: &str) -> Vec<String> {
        let mut split = PreTokenizedString::from(text);
        ByteLevel::new(false, true, true).pre_tokenize(&mut split).unwrap();
        split
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(_, (start, end), _)| text[start..end].to_owned())
            .collect()
    }

    #[test]
    fn bytes_are_written_as_the_library_writes_them() {
        let characters: HashSet<char> = byte_characters().into_iter().collect();
        assert_eq!(characters, ByteLevel::alphabet().into_iter().collect());
        assert_eq!(byte_characters()[usize::from(b' ')], '\u{120}');
    }

    #[test]
    fn entries_of_bytes_are_those_of_the_library() {
        let decoded = |entry: &str| {
            let texts = ByteFallback::new().decode_chain(vec![entry.to_owned()]).unwrap();
            texts.concat()
        };
        for byte in 0..=u8::MAX {
            let entry = byte_entry(byte);
            assert_eq!(entry_byte(&entry), Some(byte));
            assert_eq!(entry_byte(&format!("<0x{byte:02x}>")), Some(byte));
            let text = String::from_utf8_lossy(&[byte]).into_owned();
            assert_eq!(decoded(&entry), text, "{entry}");
        }
        for other in
            ["", "<0x>", "<0x0>", "<0x000>", "<0xGG>", "<0x\u{e9}>", "0x41", "<0x41", "<0X41>"]
        {
            assert_eq!((entry_byte(other), decoded(other).as_str()), (None, other));
        }
        // The library reads a sign as a digit, which no vocabulary has.
        assert_eq!(entry_byte("<0x+A>"), None);
    }

    #[test]
    fn every_character_has_the_class_of_the_library() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            // Beside a letter and a number, the class decides where words end.
            for text in [format!("a{c}b"), format!("1{c}2"), format!("-{c}-")] {
                if (c as u32).is_multiple_of(31) || (c as u32) < 0x800 {
                    let own: Vec<_> = words(&text).map(|word| word.text()).collect();
                    assert_eq!(own, of_the_library(&text), "U+{:04X}", c as u32);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn words_are_those_of_the_library(
            text in "(\\PC|\\s|[a-z' \n0-9]|'(s|t|re|ve|m|ll|d|S))*",
        ) {
            let own: Vec<_> = words(&text).map(|word| word.text()).collect();
            prop_assert_eq!(own.concat(), text.as_str());
            prop_assert_eq!(own, of_the_library(&text));
        }
    }
}
