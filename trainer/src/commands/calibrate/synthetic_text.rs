// SPDX-License-Identifier: Apache-2.0

//! Text for measurements of training.

use pol_primitives::prf::Prf;

/// Endless text with a rule to learn: three in four tokens follow from the token before. The others
/// are drawn at random, small ones more often than large ones.
pub(super) struct SyntheticText {
    prf: Prf,
    vocabulary: u32,
    token: u32,
}

impl SyntheticText {
    /// Creates the text of a vocabulary.
    pub(super) fn new(vocabulary: u32) -> Self {
        Self { prf: Prf::new("pol/calibrate/1", &[0; 32], &[]), vocabulary, token: 0 }
    }

    /// Returns the next `count` tokens.
    pub(super) fn tokens(&mut self, count: u32) -> Vec<u32> {
        let mut next = || {
            self.token = if self.prf.below(4) > 0 {
                (self.token.wrapping_mul(5).wrapping_add(3)) % self.vocabulary
            } else {
                let most = self.prf.below(self.vocabulary) + 1;
                self.prf.below(most)
            };
            self.token
        };
        (0..count).map(|_| next()).collect()
    }
}
