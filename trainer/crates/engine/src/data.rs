// SPDX-License-Identifier: Apache-2.0

use crate::EngineError;
use pol_primitives::recipe::Recipe;

/// Decoded shards of a lease, in its order, cut into training sequences.
#[derive(Clone, Debug)]
pub struct LeaseData {
    shards: Vec<Vec<u32>>,
    sequence: usize,
    per_shard: usize,
}

impl LeaseData {
    /// Creates the data of a lease from shards of `shard_tokens + 1` tokens each.
    ///
    /// # Errors
    ///
    /// Fails if `recipe` is invalid, if a shard has another length, and for tokens outside the
    /// recipe's vocabulary.
    pub fn new(recipe: &Recipe, shards: Vec<Vec<u32>>) -> Result<Self, EngineError> {
        recipe.validate().map_err(EngineError::Recipe)?;
        let (expected, vocabulary) = (recipe.shard_tokens as usize + 1, recipe.model.vocabulary);
        for (shard, tokens) in shards.iter().enumerate() {
            if tokens.len() != expected {
                return Err(EngineError::ShardLength { shard, expected, found: tokens.len() });
            }
            if let Some(&token) = tokens.iter().find(|&&token| token >= vocabulary) {
                return Err(EngineError::TokenOutOfRange { shard, token, vocabulary });
            }
        }
        Ok(Self {
            shards,
            sequence: recipe.sequence.into(),
            per_shard: recipe.sequences_per_shard() as usize,
        })
    }

    /// Returns the number of shards.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Returns the number of sequences.
    pub fn sequences(&self) -> u32 {
        (self.shards.len() * self.per_shard) as u32
    }

    /// Returns sequence `index`, counted through the shards in order.
    ///
    /// It has the recipe's sequence length and one more token, which the next sequence begins with.
    pub fn sequence(&self, index: u32) -> Option<&[u32]> {
        let (shard, within) = (index as usize / self.per_shard, index as usize % self.per_shard);
        let start = within * self.sequence;
        self.shards.get(shard)?.get(start..=start + self.sequence)
    }
}
