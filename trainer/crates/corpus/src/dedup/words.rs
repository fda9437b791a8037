// SPDX-License-Identifier: Apache-2.0

//! Words of a text, and the hashes of runs of them.

use std::ops::RangeInclusive;

/// Multiplier of the rolling hash: odd, as are the ones of FNV and of PCG.
const ROLL: u64 = 0x5851_f42d_4c95_7f2d;
/// Offset basis and prime of FNV-1a (Fowler, Noll, Vo).
const FNV: [u64; 2] = [0xcbf2_9ce4_8422_2325, 0x0000_0100_0000_01b3];
/// Scripts that put no space between words. Each character of theirs counts as a word.
const UNSPACED: [RangeInclusive<char>; 9] = [
    '\u{e00}'..='\u{eff}',     // Thai, Lao
    '\u{1000}'..='\u{109f}',   // Myanmar
    '\u{1780}'..='\u{17ff}',   // Khmer
    '\u{3040}'..='\u{30ff}',   // Hiragana, Katakana
    '\u{31f0}'..='\u{31ff}',   // Katakana, extended
    '\u{3400}'..='\u{9fff}',   // Han
    '\u{f900}'..='\u{faff}',   // Han, for compatibility
    '\u{ff66}'..='\u{ff9f}',   // Katakana of half width
    '\u{20000}'..='\u{3ffff}', // Han, other planes
];

/// Part that a character has in a text.
enum Class {
    /// Letter or digit: goes on with a word.
    Part,
    /// Word of its own.
    Word,
    /// Mark between words.
    Gap,
}

/// Returns a text in lower case, with one space for any run of white space and none at its ends.
pub(super) fn normalise(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        let start = normal.len();
        if word.is_ascii() {
            normal.push_str(word);
            normal[start..].make_ascii_lowercase();
        } else {
            normal.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    normal
}

/// Returns `true` for signs of arithmetic, which tell one formula from another.
pub(super) fn is_sign(character: char) -> bool {
    matches!(character, '+' | '*' | '/' | '=' | '<' | '>' | '^' | '%')
}

fn class(character: char) -> Class {
    match character {
        'a'..='z' | '0'..='9' => Class::Part,
        _ if is_sign(character) => Class::Word,
        _ if character.is_ascii() || !character.is_alphanumeric() => Class::Gap,
        _ if UNSPACED.iter().any(|range| range.contains(&character)) => Class::Word,
        _ => Class::Part,
    }
}

/// Returns the end of a normalised text from its last `count` words on: all of it if it has fewer.
pub(super) fn last_words(text: &str, count: usize) -> &str {
    let (mut found, mut inside) = (0, false);
    for (at, character) in text.char_indices().rev() {
        let class = class(character);
        let ends = match class {
            Class::Part => !inside,
            Class::Word => true,
            Class::Gap => false,
        };
        if ends && found == count {
            return &text[at + character.len_utf8()..];
        }
        found += usize::from(ends);
        inside = matches!(class, Class::Part);
    }
    text
}

/// Calls `each` with the hash of every word of a normalised text.
fn words(text: &str, mut each: impl FnMut(u64)) {
    let mut word = None;
    for character in text.chars() {
        let class = class(character);
        if let Class::Part = class {
            word = Some(fnv(word.unwrap_or(FNV[0]), character));
            continue;
        }
        if let Some(word) = word.take() {
            each(mix(word));
        }
        if let Class::Word = class {
            each(mix(fnv(FNV[0], character)));
        }
    }
    if let Some(word) = word {
        each(mix(word));
    }
}

/// Calls `each` with the hash of every run of `n` words of a normalised text, and returns the
/// number of words.
pub(super) fn ngrams(text: &str, n: usize, seed: u64, mut each: impl FnMut(u64)) -> usize {
    let oldest = (0..n).fold(1u64, |power, _| power.wrapping_mul(ROLL));
    let (mut ring, mut count, mut rolling) = (vec![0u64; n], 0, 0u64);
    words(text, |word| {
        let slot = &mut ring[count % n];
        rolling =
            rolling.wrapping_mul(ROLL).wrapping_add(word).wrapping_sub(slot.wrapping_mul(oldest));
        *slot = word;
        count += 1;
        if count >= n {
            each(mix(rolling ^ seed));
        }
    });
    count
}

/// Returns a number from which each bit of `value` can be told only by all bits: the finaliser of
/// SplitMix64 (Steele, Lea, Flood, 2014).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn fnv(hash: u64, character: char) -> u64 {
    (hash ^ u64::from(character)).wrapping_mul(FNV[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(text: &str) -> usize {
        ngrams(&normalise(text), 1, 0, |_| {})
    }

    fn grams(text: &str, n: usize) -> Vec<u64> {
        let mut grams = Vec::new();
        ngrams(&normalise(text), n, 7, |gram| grams.push(gram));
        grams
    }

    #[test]
    fn words_are_those_of_the_script() {
        assert_eq!(normalise("  A\u{a0}\tÉtude\n\nof  İ "), "a étude of i\u{307}");
        for (text, words) in [
            ("", 0),
            ("  --- ", 0),
            ("It's 3.5 km", 5),
            ("2 + 3 = 5", 5),
            ("東京は日本の首都です。", 10),
            ("GPT模型", 3),
            ("день за днём", 3),
        ] {
            assert_eq!(count(text), words, "{text}");
        }
        assert_ne!(grams("2 + 3", 3), grams("2 * 3", 3));
        assert_eq!(grams("One, two:\nTHREE", 3), grams("one two three", 3));
    }

    proptest! {
        #[test]
        fn rolling_hashes_depend_on_their_words_alone(
            words in prop::collection::vec("[a-z]{1,4}", 1..30),
            n in 1usize..9,
        ) {
            let all = grams(&words.join(" "), n);
            prop_assert_eq!(all.len(), (words.len() + 1).saturating_sub(n));
            for (window, gram) in words.windows(n).zip(all) {
                prop_assert_eq!(grams(&window.join(" "), n), vec![gram]);
            }
        }

        #[test]
        fn any_text_is_taken(text in any::<String>(), last in 0usize..9) {
            let normal = normalise(&text);
            prop_assert_eq!(normalise(&normal), normal.as_str());
            let words = count(&text);
            let end = last_words(&normal, last);
            prop_assert!(normal.ends_with(end));
            prop_assert_eq!(ngrams(end, 1, 0, |_| {}), words.min(last));
        }
    }
}
