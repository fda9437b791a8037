// SPDX-License-Identifier: Apache-2.0

//! Training of a model on one text, without the network: each token is learned from once, by the
//! steps that leases are trained with.

use crate::preset::{FINE_TUNING_DIVISOR, RecipeSizes};
use anyhow::{Context, Result, ensure};
use pol_engine::{LeaseData, LeaseJob, TrainingState, determinism, device, train_segment};
use pol_generate::TextTokenizer;
use pol_hardware::{Machine, max_workers, memory_needed};
use pol_import::ImportedModel;
use pol_primitives::{
    data::ShardId,
    lease::Lease,
    prf::Prf,
    recipe::{MIN_TOLERANCE, Recipe, Tier},
};

/// Tier of the steps. All tiers of the recipe are the same.
const TIER: Tier = Tier::Mobile;
/// Longest training sequence, in tokens.
const MAX_SEQUENCE: usize = 128;
/// Sequences of an optimiser step.
const BATCH: u32 = 4;
/// Steps over which the learning rate rises, at most; a tenth of those of a short text.
const MAX_WARMUP: u32 = 20;
/// Owner of the steps, who has no account.
const NOBODY: [u8; 32] = [0; 32];

/// An epoch over a text, cut for a model.
pub(super) struct Epoch {
    recipe: Recipe,
    /// Sequences in the order in which they are learned from.
    sequences: Vec<Vec<u32>>,
    /// Tokens of the text.
    pub(super) tokens: usize,
}

impl Epoch {
    /// Cuts `text` for `model`.
    ///
    /// # Errors
    ///
    /// Fails if the model has no tokenizer, or if the text has fewer than two tokens.
    pub(super) fn new(model: &ImportedModel, text: &str) -> Result<Self> {
        let json = model.tokenizer.as_deref().context(
            "the model has no tokenizer; import it again with `pol-trainer model import \
             --tokenizer FILE`",
        )?;
        let mut tokens: Vec<u32> = model.report.special.begin.into_iter().collect();
        tokens.extend(TextTokenizer::parse(json)?.encode(text)?);
        ensure!(tokens.len() > 1, "the text has fewer than two tokens; send a longer one");
        let length = MAX_SEQUENCE.min(model.spec.context as usize).min(tokens.len() - 1);
        let mut sequences = cut(&tokens, length);
        let order = Prf::new("pol/local-epoch/1", &model.root, &[text.as_bytes()])
            .permutation(u32::try_from(sequences.len())?);
        sequences = order
            .into_iter()
            .filter_map(|index| sequences.get_mut(index as usize).map(std::mem::take))
            .collect();
        let recipe = recipe(model, length, sequences.len())?;
        Ok(Self { recipe, sequences, tokens: tokens.len() })
    }

    fn batch(&self) -> usize {
        self.recipe.tier(TIER).accumulation.into()
    }

    /// Returns the number of optimiser steps.
    pub(super) fn steps(&self) -> u32 {
        // A text of a request has far fewer sequences than that.
        u32::try_from(self.sequences.len().div_ceil(self.batch())).unwrap_or(u32::MAX)
    }

    /// Returns the number of threads that `machine` has the cores and `available` bytes of memory
    /// for.
    ///
    /// # Errors
    ///
    /// Fails if the memory is too small for one thread.
    pub(super) fn workers(&self, machine: &Machine, available: u64) -> Result<usize> {
        let needed = |workers| memory_needed(&self.recipe, TIER, workers);
        let most = max_workers(machine, &self.recipe, TIER);
        (1..=most).rev().find(|&workers| needed(workers) <= available).with_context(|| {
            format!(
                "training this model takes {} MiB of memory, and {} are free; take a smaller \
                 model, or end other programs",
                needed(1) >> 20,
                available >> 20
            )
        })
    }

    /// Trains from `parameters`, and returns the new ones. Calls `note` after each step with the
    /// number of steps and the loss, and returns `None` as soon as that is `false`.
    ///
    /// # Errors
    ///
    /// Fails if the training diverges.
    pub(super) fn train(
        &self,
        parameters: Vec<f32>,
        workers: usize,
        mut note: impl FnMut(u32, f64) -> bool,
    ) -> Result<Option<Vec<f32>>> {
        let mut state = TrainingState::fresh(parameters);
        for step in 0..self.steps() {
            let lease = self.lease(step)?;
            let data = LeaseData::new(&self.recipe, self.step_sequences(step))?;
            let job = LeaseJob {
                recipe: &self.recipe,
                lease: &lease,
                account: &NOBODY,
                data: &data,
                workers,
            };
            let report = train_segment(&job, &mut state, 0)?;
            if !note(step + 1, report.loss) {
                return Ok(None);
            }
        }
        Ok(Some(state.parameters))
    }

    /// Returns the sequences of a step. The last step is filled up from the beginning.
    fn step_sequences(&self, step: u32) -> Vec<Vec<u32>> {
        let first = step as usize * self.batch();
        self.sequences.iter().cycle().skip(first).take(self.batch()).cloned().collect()
    }

    /// Returns a lease of one step.
    fn lease(&self, step: u32) -> Result<Lease> {
        let shards = (0..).take(self.batch()).map(|index| ShardId { manifest: 0, index });
        let shards = shards.collect::<Vec<_>>().try_into();
        Ok(Lease {
            nonce: step,
            tier: TIER,
            round: 0,
            due_round: 0,
            seed: self.recipe.seed,
            base_root: Default::default(),
            head_tokens: 0,
            recipe: self.recipe.hash(),
            carry: Default::default(),
            carry_round: 0,
            shards: shards.ok().context("a step has more sequences than a lease")?,
        })
    }
}

/// Cuts tokens into sequences of `length` and the token after it. The last one begins early enough
/// to end with the text.
fn cut(tokens: &[u32], length: usize) -> Vec<Vec<u32>> {
    let last = tokens.len().saturating_sub(length + 1);
    let count = tokens.len().saturating_sub(1).div_ceil(length.max(1));
    (0..count)
        .filter_map(|index| {
            let start = (index * length).min(last);
            Some(tokens.get(start..=start + length)?.to_vec())
        })
        .collect()
}

/// Returns the recipe of an epoch over so many `sequences` of `length` tokens, one to a shard.
fn recipe(model: &ImportedModel, length: usize, sequences: usize) -> Result<Recipe> {
    let batch = BATCH.min(u32::try_from(sequences)?);
    let sequence = u16::try_from(length)?;
    let sizes = RecipeSizes {
        vocabulary: model.spec.vocabulary,
        width: model.spec.width,
        layers: model.spec.layers,
        heads: model.spec.heads,
        sequence,
        shard_tokens: sequence.into(),
        // One sequence at a time takes the least memory.
        tiers: [(1, u16::try_from(batch)?, 1, 1); 4],
        segments: 1,
    };
    let mut recipe = sizes.recipe([0; 32]);
    recipe.model = model.spec;
    recipe.schedule.peak /= FINE_TUNING_DIVISOR;
    recipe.schedule.warmup_steps = MAX_WARMUP.min(u32::try_from(sequences)? / batch.max(1) / 10);
    // A GPU computes under the native profile alone.
    if device::cuda_is_available() || determinism::mode(&recipe).is_some() {
        recipe = recipe.into_native(MIN_TOLERANCE);
    }
    recipe.validate()?;
    Ok(recipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_cover_all_tokens() {
        let tokens: Vec<u32> = (0..11).collect();
        let sequences = cut(&tokens, 4);
        assert_eq!(sequences, [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [6, 7, 8, 9, 10]]);
        assert_eq!(cut(&tokens[..5], 4).len(), 1);
        assert_eq!(cut(&tokens[..2], 1), [[0, 1]]);
        assert!(cut(&[], 4).is_empty() && cut(&[1], 4).is_empty());
    }
}
