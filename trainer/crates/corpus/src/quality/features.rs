// SPDX-License-Identifier: Apache-2.0

//! Features of a text: buckets that its words, pairs of words, and runs of characters hash to.

use pol_primitives::{Hash, prf::Prf};
use std::iter;

/// Fewest and most bits of a bucket's number.
pub(super) const BUCKET_BITS: std::ops::RangeInclusive<u8> = 8..=20;
/// Prime of FNV-1a (Fowler, Noll, Vo), which hashes the bytes of a word.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// Pairs of words that are remembered, to tell those that come again.
const RECENT: usize = 1 << 10;
/// Bytes of a run of characters, and classes of a run of shapes.
const GRAM: u64 = u64::MAX >> (64 - 4 * 8);
const SHAPES: u64 = u64::MAX >> (64 - 6 * 8);

/// Seeded map from n-grams to buckets.
///
/// Everything is decided byte by byte: letters are those of ASCII, and each byte of another
/// character counts as a letter. So no table of Unicode, which differs between versions, has a say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Features {
    /// Odd multipliers of multiply-shift hashing (Dietzfelbinger et al., 1997): of words, pairs of
    /// words, runs of characters, and runs of shapes.
    multipliers: [u64; 4],
    shift: u32,
}

impl Features {
    /// Creates the map to `1 << bits` buckets that a seed draws.
    pub(super) fn new(seed: u64, bits: u8) -> Self {
        let mut key = Hash::default();
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut prf = Prf::new("quality/features", &key, &[]);
        Self {
            multipliers: std::array::from_fn(|_| prf.next_u64() | 1),
            shift: 64 - u32::from(bits.clamp(*BUCKET_BITS.start(), *BUCKET_BITS.end())),
        }
    }

    /// Calls `visit` with the bucket of each feature of a text, in order: at most five a byte.
    pub(super) fn visit(&self, text: &str, mut visit: impl FnMut(usize)) {
        let [of_words, of_pairs, of_grams, of_shapes] = self.multipliers;
        let mut bucket = |multiplier: u64, key: u64| {
            visit((key.wrapping_mul(multiplier) >> self.shift) as usize);
        };
        let (mut gram, mut shapes, mut word, mut before) = (0, 0, 0u64, 0u64);
        let mut recent = [0; RECENT];
        let (mut last, mut last_shape) = (b' ', b' ');
        for byte in text.bytes().chain(iter::once(b' ')).map(fold) {
            // Any run of white space is one space: extractors break lines as they like.
            if byte == b' ' && last == b' ' {
                continue;
            }
            gram = ((gram << 8) | u64::from(byte)) & GRAM;
            bucket(of_grams, gram);
            let shape = shape(byte);
            if shape != last_shape || !matches!(shape, b'a' | b'A' | b'0' | b'u') {
                shapes = ((shapes << 8) | u64::from(shape)) & SHAPES;
                bucket(of_shapes, shapes);
            }
            if is_of_word(byte) {
                // Numbers are alike, whatever their digits and lengths.
                if byte != b'0' || last != b'0' {
                    word = (word ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(FNV_PRIME);
                }
            } else {
                for token in [word, u64::from(byte)] {
                    if token != 0 && token != u64::from(b' ') {
                        bucket(of_words, token);
                        let pair = token ^ before.rotate_left(32);
                        bucket(of_pairs, pair);
                        // Loops and stuffed keywords are pairs that came before.
                        let place = (pair.wrapping_mul(of_pairs) >> (64 - RECENT.ilog2())) as usize;
                        let again = std::mem::replace(&mut recent[place], pair) == pair;
                        bucket(of_words, u64::from(again));
                        before = token;
                    }
                }
                word = 0;
            }
            (last, last_shape) = (byte, shape);
        }
    }
}

/// Maps all digits to one, and all white space to one.
fn fold(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => b'0',
        b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => b' ',
        byte => byte,
    }
}

/// Maps a folded byte to its class: small and capital letters, digits, bytes outside ASCII, and
/// each mark for itself.
fn shape(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => b'a',
        b'A'..=b'Z' => b'A',
        0x80.. => b'u',
        byte => byte,
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets(text: &str) -> Vec<usize> {
        let mut found = Vec::new();
        Features::new(7, 16).visit(text, |bucket| found.push(bucket));
        found
    }

    #[test]
    fn buckets_are_the_same_everywhere() {
        // A change of any of these makes every trained model worthless.
        let expected = [
            26234, 21466, 47644, 47571, 15942, 13294, 1350, 55303, 0, 2288, 43579, 0, 54140, 31313,
            58070, 41715, 14077, 11604, 32689, 150, 32603, 0,
        ];
        assert_eq!(buckets("Ab, 12"), expected);
        assert_ne!(Features::new(8, 16), Features::new(7, 16));
    }

    #[test]
    fn line_breaks_and_digits_do_not_matter() {
        assert_eq!(buckets("one two 1999"), buckets(" one\r\n\t two\n\n2024 "));
        assert_ne!(buckets("one two"), buckets("one Two"));
        assert!(buckets("").is_empty());
        assert!(buckets(" \n ").is_empty());
    }

    proptest! {
        #[test]
        fn work_is_bounded_by_the_text(text in ".{0,200}", bits in BUCKET_BITS) {
            let mut count = 0;
            Features::new(1, bits).visit(&text, |bucket| {
                assert!(bucket < 1 << bits);
                count += 1;
            });
            prop_assert!(count <= 5 * (text.len() + 1));
        }
    }
}
