// SPDX-License-Identifier: Apache-2.0

//! Sequences of tokens that a text repeats.

use crate::controls::Dry;
use std::{collections::BTreeMap, sync::Arc};

/// Longest sequence that is compared, which bounds the time and the penalty.
const MAX_SEQUENCE: usize = 128;

/// Tokens of a text, in which sequences are found that came before.
#[derive(Clone, Debug)]
pub(super) struct Repeats {
    /// Set for each token across which no sequence goes.
    breaks: Arc<[bool]>,
    tokens: Vec<u32>,
    /// Place of the first token that a repeated sequence may have.
    start: usize,
}

impl Repeats {
    /// Creates an empty text. `breaks` has for each token if no sequence goes across it.
    pub(super) fn new(breaks: impl Iterator<Item = bool>) -> Self {
        Self { breaks: breaks.collect(), tokens: Vec::new(), start: 0 }
    }

    /// Appends a token.
    pub(super) fn push(&mut self, token: u32) {
        self.tokens.push(token);
        if self.is_break(token) {
            self.break_sequence();
        }
    }

    /// Lets no sequence that is repeated begin before the next token.
    pub(super) fn break_sequence(&mut self) {
        self.start = self.tokens.len();
    }

    fn is_break(&self, token: u32) -> bool {
        self.breaks.get(token as usize).copied().unwrap_or(true)
    }

    /// Lowers the logit of each token that followed an earlier occurrence of the last tokens.
    pub(super) fn penalise(&self, dry: &Dry, logits: &mut [f32]) {
        let tokens = self.tokens.as_slice();
        let longest = (tokens.len() - self.start).min(MAX_SEQUENCE);
        if longest < dry.allowed_length || dry.multiplier == 0.0 {
            return;
        }
        // Length of the longest sequence before each token.
        let mut lengths: BTreeMap<u32, usize> = BTreeMap::new();
        for (end, pair) in tokens.windows(2).enumerate() {
            let next = pair[1];
            let before = tokens[..=end].iter().rev().zip(tokens.iter().rev());
            let length = before.take(longest).take_while(|(earlier, last)| earlier == last).count();
            if length >= dry.allowed_length && !self.is_break(next) {
                let known = lengths.entry(next).or_default();
                *known = length.max(*known);
            }
        }
        for (token, length) in lengths {
            let power =
                (dry.allowed_length..length).fold(1.0, |power, _| f32::MAX.min(power * dry.base));
            if let Some(logit) = logits.get_mut(token as usize) {
                // A number, however long the sequence is.
                *logit -= (dry.multiplier * power).min(f32::MAX / 4.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_sequence_counts() {
        let mut repeats = Repeats::new((0..9).map(|token| token == 8));
        // Token 4 followed tokens 1, 2, 3, and token 5 only tokens 2, 3.
        [1, 2, 3, 4, 7, 2, 3, 5, 6, 1, 2, 3].into_iter().for_each(|token| repeats.push(token));
        let penalties = |repeats: &Repeats, dry: Dry| {
            let mut logits = [0.0; 9];
            repeats.penalise(&dry, &mut logits);
            logits.map(|logit| -logit)
        };
        let dry = Dry { multiplier: 1.0, base: 2.0, allowed_length: 2 };
        let mut expected = [0.0; 9];
        (expected[4], expected[5]) = (2.0, 1.0);
        assert_eq!(penalties(&repeats, dry), expected);
        expected[5] = 0.0;
        expected[4] = 1.0;
        assert_eq!(penalties(&repeats, Dry { allowed_length: 3, ..dry }), expected);
        assert_eq!(penalties(&repeats, Dry { allowed_length: 4, ..dry }), [0.0; 9]);
        // No sequence goes across a break, and no break is penalised.
        repeats.push(8);
        assert_eq!(penalties(&repeats, dry), [0.0; 9]);
        [2, 3].into_iter().for_each(|token| repeats.push(token));
        assert_eq!(penalties(&repeats, dry)[8], 0.0);
        repeats.break_sequence();
        assert_eq!(penalties(&repeats, dry), [0.0; 9]);
    }

    #[test]
    fn long_repetitions_stay_numbers() {
        let mut repeats = Repeats::new([false; 2].into_iter());
        (0..2_000).for_each(|_| repeats.push(1));
        let mut logits = [0.0; 2];
        let dry = Dry { multiplier: 100.0, base: 4.0, allowed_length: 1 };
        repeats.penalise(&dry, &mut logits);
        assert!(logits[1].is_finite() && logits[1] < -1e6, "{}", logits[1]);
        let mut logits = [0.0; 2];
        repeats.penalise(&Dry { multiplier: 0.0, ..dry }, &mut logits);
        assert_eq!(logits, [0.0; 2]);
    }
}
