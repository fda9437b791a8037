use crate::Error;
use pol_primitives::recipe::Recipe;

/// The decoded shards of a lease, in its order, cut into training sequences.
#[derive(Clone, Debug)]
pub struct LeaseData {
    shards: Vec<Vec<u32>>,
    sequence: usize,
    per_shard: usize,
}

impl LeaseData {
    /// Takes shards of `shard_tokens + 1` tokens each and checks them against `recipe`.
    pub fn new(recipe: &Recipe, shards: Vec<Vec<u32>>) -> Result<Self, Error> {
        recipe.validate().map_err(Error::Recipe)?;
        let (expected, vocabulary) = (recipe.shard_tokens as usize + 1, recipe.model.vocabulary);
        for (shard, tokens) in shards.iter().enumerate() {
            if tokens.len() != expected {
                return Err(Error::ShardLength { shard, expected, found: tokens.len() });
            }
            if let Some(&token) = tokens.iter().find(|&&token| token >= vocabulary) {
                return Err(Error::Token { shard, token, vocabulary });
            }
        }
        Ok(Self {
            shards,
            sequence: recipe.sequence.into(),
            per_shard: recipe.sequences_per_shard() as usize,
        })
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> u32 {
        (self.shards.len() * self.per_shard) as u32
    }

    /// Sequence `index`: the recipe's sequence length and one more token, which the next sequence
    /// begins with. Sequences are counted through the shards in order.
    pub fn sequence(&self, index: u32) -> Option<&[u32]> {
        let (shard, within) = (index as usize / self.per_shard, index as usize % self.per_shard);
        let start = within * self.sequence;
        self.shards.get(shard)?.get(start..=start + self.sequence)
    }
}
