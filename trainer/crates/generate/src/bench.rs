// SPDX-License-Identifier: Apache-2.0

//! Measurement of generation speed on this machine.

use crate::{
    Error,
    language_model::{LanguageModel, Prediction, SequenceInput},
    sampler::{Sampler, Sampling},
};
use pol_primitives::prf::Prf;
use std::time::Instant;

pub use crate::native::memory_bandwidth;

/// Workload of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationLoad {
    /// Tokens of each prompt.
    pub prompt: usize,
    /// Tokens generated after each prompt.
    pub tokens: usize,
    /// Number of sequences in the batch.
    pub batch: usize,
}

/// Measured speed.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DecodingSpeed {
    /// Tokens of prompts processed per second, over all sequences.
    pub prompt_tokens_per_second: f64,
    /// Tokens generated per second, over all sequences, greedily.
    pub tokens_per_second: f64,
    /// Duration in seconds.
    pub seconds: f64,
}

/// Generates greedily after random prompts and measures the speed. Sequences do not end early.
///
/// # Errors
///
/// Fails if prompt and tokens exceed the context, or if the model cannot be run.
pub fn measure<M: LanguageModel>(model: &M, load: GenerationLoad) -> Result<DecodingSpeed, Error> {
    let (context, needed) = (model.context(), load.prompt.max(1) + load.tokens);
    if needed > context {
        return Err(Error::Prompt { tokens: needed, context });
    }
    let mut draws = Prf::new("pol/bench/1", &[0; 32], &[]);
    let vocabulary = u32::try_from(model.vocabulary()).unwrap_or(u32::MAX);
    let mut rows = Vec::new();
    for _ in 0..load.batch.max(1) {
        let prompt: Vec<u32> = (0..load.prompt.max(1)).map(|_| draws.below(vocabulary)).collect();
        rows.push((model.new_cache(needed)?, prompt, Prediction::default()));
    }
    let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() }, 0)?;
    let start = Instant::now();
    let mut read = None;
    for _ in 0..=load.tokens {
        let mut inputs: Vec<_> = rows
            .iter_mut()
            .map(|(cache, tokens, prediction)| SequenceInput { cache, tokens, prediction })
            .collect();
        model.forward(&mut inputs)?;
        for (_, tokens, prediction) in &mut rows {
            tokens.clear();
            tokens.push(sampler.sample(&mut prediction.logits)?);
        }
        read.get_or_insert_with(|| start.elapsed().as_secs_f64());
    }
    let (seconds, read) = (start.elapsed().as_secs_f64(), read.unwrap_or_default());
    let rows = rows.len() as f64;
    Ok(DecodingSpeed {
        prompt_tokens_per_second: rows * load.prompt.max(1) as f64 / read,
        tokens_per_second: rows * load.tokens as f64 / (seconds - read),
        seconds,
    })
}
