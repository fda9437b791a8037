// SPDX-License-Identifier: Apache-2.0

//! Interface of language models to synthesis.

use crate::error::{ModelError, SynthesisError, in_range};
use pol_corpus::MAX_PIECE_BYTES;
use pol_primitives::{Hash, Ppm};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One, in millionths.
const ONE: Ppm = 1_000_000;
/// Number of requests that a model gets at a time, which is faster than one by one.
const REQUESTS_AT_ONCE: u32 = 32;
/// Reason to refuse a text that the model cannot continue.
pub(crate) const NO_FIT: &str = "the model cannot continue the text: it is too long, or empty";

/// Facts that fix which text a model writes for a prompt and a seed.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct ModelIdentity {
    /// Root of the model's state.
    #[serde(with = "pol_primitives::hex_hash")]
    pub root: Hash,
    /// BLAKE3 of the tokenizer's file.
    #[serde(with = "pol_primitives::hex_hash")]
    pub tokenizer: Hash,
    /// Name and version of the program that runs the model, such as `pol-generate/native/1`. A
    /// change of its arithmetic needs another version.
    pub decoder: String,
    /// Digest of the architecture, and of the tokens that begin and end texts. Equal parameters
    /// compute something else with another number of heads, for one.
    #[serde(with = "pol_primitives::hex_hash")]
    pub spec: Hash,
}

impl fmt::Display for ModelIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, tokenizer, decoder, spec } = self;
        let [root, tokenizer, spec] = [root, tokenizer, spec].map(hex::encode);
        write!(f, "0x{root} (tokenizer 0x{tokenizer}, specification 0x{spec}, {decoder})")
    }
}

/// Sampling parameters. They mean the same as those of `pol-generate`, as integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingParameters {
    /// Largest number of tokens of a text.
    pub max_tokens: u32,
    /// Divisor of the logits, in millionths; 0 takes the likeliest token.
    pub temperature: Ppm,
    /// Number of likeliest tokens to draw from; 0 for all.
    pub top_k: u32,
    /// Total probability of the likeliest tokens to draw from, in millionths.
    pub top_p: Ppm,
    /// Smallest probability to draw, relative to the likeliest token, in millionths.
    pub min_p: Ppm,
    /// Divisor of the positive logits of tokens that occurred, in millionths.
    pub repetition_penalty: Ppm,
}

impl Default for SamplingParameters {
    /// Returns parameters that draw up to 256 tokens from the model's own distribution.
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: ONE,
            top_k: 0,
            top_p: ONE,
            min_p: 0,
            repetition_penalty: ONE,
        }
    }
}

impl SamplingParameters {
    /// Checks every parameter against its range.
    pub(crate) fn validate(&self) -> Result<(), SynthesisError> {
        in_range("sampling.max_tokens", self.max_tokens, 1, 65_536)?;
        in_range("sampling.temperature", self.temperature, 0, 100 * ONE)?;
        in_range("sampling.top_p", self.top_p, 1, ONE)?;
        in_range("sampling.min_p", self.min_p, 0, ONE)?;
        in_range("sampling.repetition_penalty", self.repetition_penalty, ONE / 100, 100 * ONE)
    }
}

/// Request for a text.
#[derive(Clone, Copy, Debug)]
pub struct TextRequest<'a> {
    /// Text to continue.
    pub prompt: &'a str,
    /// Sampling parameters.
    pub sampling: &'a SamplingParameters,
    /// Seed of all draws.
    pub seed: u64,
    /// Number that separates the draws of requests with the same seed.
    pub stream: u64,
    /// Strings before which the text ends.
    pub stop: &'a [String],
}

/// Text that a model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedText {
    /// Text, without the prompt and without a stop string.
    pub text: String,
    /// `true` if the model ended the text or reached a stop string, `false` if it was cut off.
    pub ended: bool,
}

/// Language models that write text for synthesis.
///
/// Results depend only on the identity and the request: not on the batch, the number of threads, or
/// the machine. Nobody could draw the same text again otherwise.
pub trait TextModel {
    /// Returns the identity of the model.
    fn identity(&self) -> ModelIdentity;

    /// Returns `true` if the model can continue `prompt`. It cannot if the prompt is too long, or
    /// if it has no token.
    ///
    /// # Errors
    ///
    /// Fails if the prompt cannot be encoded.
    fn fits(&self, prompt: &str) -> Result<bool, ModelError> {
        let _ = prompt;
        Ok(true)
    }

    /// Writes a text for each request.
    ///
    /// # Errors
    ///
    /// Fails if a prompt does not fit the model, or if the model cannot be run.
    fn generate(&self, requests: &[TextRequest<'_>]) -> Result<Vec<GeneratedText>, ModelError>;

    /// Returns the natural logarithm of the probability of each token of `continuation` after
    /// `prompt`, in millionths, rounded towards zero. Tokens at the end that are too many for the
    /// model have none.
    ///
    /// # Errors
    ///
    /// Fails if the prompt does not fit the model, or if the model cannot be run.
    fn log_probabilities(&self, prompt: &str, continuation: &str) -> Result<Vec<i64>, ModelError>;
}

/// Returns the number of prompts with so many samples each that a model gets at a time.
pub(crate) fn prompts_at_once(samples: u8) -> u32 {
    (REQUESTS_AT_ONCE / u32::from(samples.max(1))).max(1)
}

/// Asks the model for texts, and checks their number and sizes. Control characters other than tabs
/// and line breaks are removed, as they make a text look like binary data.
pub(crate) fn generate(
    model: &dyn TextModel,
    requests: &[TextRequest<'_>],
) -> Result<Vec<GeneratedText>, ModelError> {
    let mut texts = model.generate(requests)?;
    if texts.len() != requests.len() {
        let (found, asked) = (texts.len(), requests.len());
        return Err(ModelError(format!("it wrote {found} texts where {asked} were asked for")));
    }
    if texts.iter().any(|text| text.text.len() > MAX_PIECE_BYTES) {
        return Err(ModelError(format!("it wrote a text of more than {MAX_PIECE_BYTES} bytes")));
    }
    for GeneratedText { text, .. } in &mut texts {
        text.retain(|letter| !letter.is_control() || matches!(letter, '\t' | '\n'));
    }
    Ok(texts)
}
