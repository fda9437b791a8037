// SPDX-License-Identifier: Apache-2.0

//! Units of a text: lines and sentences, which are removed whole or not at all.
//!
//! The ends of units depend on the text near them. A passage in two documents therefore has the
//! same units in both, but for a few at its ends.

use pol_primitives::Hash;

/// Fewest bytes in a line or sentence that is a unit of its own, white space aside.
const SHORTEST: usize = 16;
/// Bytes from which a unit without the end of a sentence may end at any word.
const LONG: usize = 256;

/// Unit of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Offset of its end in the text, after the white space that follows it. The next one begins
    /// there.
    pub(super) end: usize,
    /// Number of bytes, white space aside.
    pub(super) solid: usize,
    /// BLAKE3 of the unit without the white space around it.
    pub(super) hash: Hash,
}

/// Counts and hash of a part of a text.
#[derive(Clone, Copy, Default)]
struct Part {
    solid: usize,
    hash: u32,
}

impl Part {
    fn add(&mut self, character: char) {
        self.solid += character.len_utf8();
        self.hash = (self.hash ^ u32::from(character)).wrapping_mul(0x0100_0193);
    }

    /// Decides by the hash, in one of `2^bits` cases.
    fn draw(self, bits: u32) -> bool {
        self.hash.wrapping_mul(0x9e37_79b1) >> (32 - bits) == 0
    }
}

/// Returns the units of a text. Of two that follow each other, one at least is not short.
pub(super) fn units(text: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    let (mut start, mut segment_start) = (0, 0);
    let (mut unit, mut segment, mut word) = (Part::default(), Part::default(), Part::default());
    let mut stopped = false;
    for (offset, character) in text.char_indices() {
        let space = character.is_whitespace();
        if !space {
            for part in [&mut unit, &mut segment, &mut word] {
                part.add(character);
            }
        }
        let end = offset + character.len_utf8();
        let sentence = matches!(character, '。' | '！' | '？') || space && stopped;
        stopped = matches!(character, '.' | '!' | '?' | '…')
            || stopped && matches!(character, '"' | '\'' | ')' | '”' | '’' | '»');
        let ends = sentence || character == '\n';
        if ends && segment.solid >= SHORTEST && unit.solid > segment.solid {
            // Short lines before a long one are no part of it.
            units.push(finished(text, start, segment_start, unit.solid - segment.solid));
            (unit, start) = (segment, segment_start);
        }
        // Short lines end a unit by their hash, so that tables are cut alike after a change.
        let cut = if ends {
            segment.solid >= SHORTEST || unit.solid >= SHORTEST && segment.draw(2)
        } else {
            space && unit.solid >= LONG && word.solid > 0 && word.draw(3)
        };
        if space {
            word = Part::default();
        }
        if cut {
            units.push(finished(text, start, end, unit.solid));
            (unit, word, start) = (Part::default(), Part::default(), end);
        }
        if ends || cut {
            (segment, segment_start) = (Part::default(), end);
        }
    }
    if start < text.len() {
        units.push(finished(text, start, text.len(), unit.solid));
    }
    units
}

fn finished(text: &str, start: usize, end: usize, solid: usize) -> Unit {
    Unit { end, solid, hash: *blake3::hash(text[start..end].trim().as_bytes()).as_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(text: &str) -> Vec<&str> {
        let mut start = 0;
        units(text)
            .into_iter()
            .map(|unit| {
                let part = &text[start..unit.end];
                start = unit.end;
                part
            })
            .collect()
    }

    #[test]
    fn units_are_lines_and_sentences() {
        assert_eq!(
            parts(
                "The first sentence is here. \"Is this the second?\" Yes.\nA line without a stop\n"
            ),
            [
                "The first sentence is here. ",
                "\"Is this the second?\" ",
                "Yes.\n",
                "A line without a stop\n",
            ]
        );
        assert_eq!(
            parts("これは最初の文です。これは二番目の文です。"),
            ["これは最初の文です。", "これは二番目の文です。"]
        );
        assert_eq!(
            parts("Version 3.1415 of the program was good"),
            ["Version 3.1415 of the program was good"]
        );
        let words: String = (0..2000).map(|n| format!("w{n} ")).collect();
        let long = parts(&words);
        assert!(long.len() > 10 && long.iter().all(|part| part.len() < 2000), "{}", long.len());
    }

    #[test]
    fn tables_of_short_lines_are_cut_alike_after_a_change() {
        let table: String = (0..400).map(|n| format!("{}\n", n * n)).collect();
        let other = format!("1\n2\n3\n{table}");
        let (table, other) = (parts(&table), parts(&other));
        let common = table.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b);
        assert!(common.count() + 4 > table.len(), "{}", table.len());
    }

    proptest! {
        #[test]
        fn units_cover_the_text_and_are_not_many(text in "([a-z]{0,9}[ .\n\u{3002}]{1,3}){0,60}") {
            let units = units(&text);
            prop_assert_eq!(units.last().map_or(0, |unit| unit.end), text.len());
            let solid = text.chars().filter(|c| !c.is_whitespace());
            let solid: usize = solid.map(char::len_utf8).sum();
            prop_assert_eq!(units.iter().map(|unit| unit.solid).sum::<usize>(), solid);
            for pair in units.windows(2).rev().skip(1) {
                prop_assert!(pair.iter().any(|unit| unit.solid >= SHORTEST));
            }
        }
    }
}
