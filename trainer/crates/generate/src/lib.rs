// SPDX-License-Identifier: Apache-2.0

//! Text generation with a language model.
//!
//! | task | items |
//! |---|---|
//! | run a model | [`LanguageModel`], [`NativeModel`] (own kernels), [`TorchModel`] (libtorch) |
//! | convert between text and tokens | [`TextTokenizer`], [`TextStream`] |
//! | choose the next token | [`Sampling`], [`Controls`], [`Sampler`] |
//! | generate | [`generate()`] for prompts, [`Batch`] for those that come and go, [`reason()`] |
//! | converse | [`ChatMessage`], [`ChatTemplate`] |
//! | generate JSON | [`Constraint`] |
//! | compare texts | [`Embedding`] |
//! | compute on the way | [`Tool`], [`ToolCall`] |
//!
//! Draws come from an integer generator and from arithmetic that is the same on every machine. The
//! logits of [`NativeModel`] are the same wherever fused multiply-add instructions exist, in any
//! batch and on any number of threads. A seed therefore fixes the text.
//!
//! Terms of the protocol are defined in `docs/glossary.md`.
//!
//! # Examples
//!
//! ```
//! use pol_generate::{LanguageModel, NativeModel, Prediction, Sampler, Sampling, SequenceInput};
//! use pol_model::initial_parameters;
//! use pol_primitives::model::ModelSpec;
//!
//! // A random model with 61 tokens, width 32, 2 blocks, and 4 heads.
//! let spec = ModelSpec::gpt2(61, 32, 2, 4, 48, 64);
//! let model = NativeModel::new(&spec, &initial_parameters(&spec, &[7; 32]), 1)?;
//!
//! let (mut cache, mut prediction) = (model.new_cache(16)?, Prediction::default());
//! let input = SequenceInput { cache: &mut cache, tokens: &[3, 1, 4], prediction: &mut prediction
//! };
//! model.forward(&mut [input])?;
//! let next = Sampler::new(Sampling::default(), 0)?.sample(&mut prediction.logits)?;
//! assert!((next as usize) < model.vocabulary());
//! # Ok::<(), pol_generate::Error>(())
//! ```

mod affect;
mod batch;
pub mod bench;
mod candidates;
mod chat;
mod constraint;
mod controls;
mod embedding;
mod language_model;
mod native;
mod prompt;
mod reason;
mod receipt;
mod repeats;
mod report;
mod sampler;
mod sequence;
mod stream;
mod text;
mod tools;
mod torch;

pub use affect::Affect;
pub use batch::{Batch, Ended, generate};
pub use chat::{ChatMessage, ChatTemplate, FunctionCall};
pub use constraint::{Constraint, MAX_SCHEMA_BYTES};
pub use controls::{Controls, Dry, Mirostat, SamplingError, Xtc};
pub use embedding::Embedding;
pub use language_model::{LanguageModel, Prediction, SequenceCache, SequenceInput};
pub use native::{NativeCache, NativeModel, PACKED_FILE};
pub use prompt::Prompt;
pub use reason::{
    REASONING_INSTRUCTION, ReasoningResult, ReasoningStep, SearchEvent, SearchOptions,
    TOOL_INSTRUCTION, reason,
};
pub use report::TokenReport;
pub use sampler::{Sampler, Sampling, entropy, log_probability};
pub use sequence::{Completion, Event, FinishReason, MAX_READ_AHEAD, Request};
pub use stream::TextStream;
pub use text::TextTokenizer;
pub use tools::{MAX_TOOL_INPUT_BYTES, Tool, ToolCall, ToolCallDetector, ToolError};
pub use torch::{TorchCache, TorchModel};

use std::path::PathBuf;

/// Error of text generation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model cannot be built or run.
    #[error(transparent)]
    Model(#[from] pol_model::Error),
    /// The tokenizer is of no use.
    #[error("the tokenizer cannot be used: {0}")]
    Tokenizer(String),
    /// The template of conversations is of no use, or refuses one.
    #[error("{0}")]
    Chat(String),
    /// The template of conversations quotes no documents.
    #[error("the model's chat template has no place for `documents`; put them into a message")]
    Documents,
    /// Texts of this form cannot be generated.
    #[error("the JSON Schema cannot be used: {0}")]
    Schema(String),
    /// The model cannot go on in the form of the text.
    #[error("the text cannot be kept in its form: {0}; simplify the JSON Schema")]
    Form(String),
    /// A control is out of range, or scores are no numbers.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Nothing to continue.
    #[error(
        "the prompt is empty, and the tokenizer has no token that starts a text; \
         give at least one word"
    )]
    Empty,
    /// The prompt leaves no room.
    #[error(
        "the prompt has {tokens} tokens, and the model's context of {context} needs room for at \
         least one more; shorten the prompt"
    )]
    Prompt {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that the model can read.
        context: usize,
    },
    /// More tokens than a sequence was begun for.
    #[error("a cache for {capacity} tokens cannot hold {tokens}")]
    Capacity {
        /// Tokens it would hold.
        tokens: usize,
        /// Tokens it has memory for.
        capacity: usize,
    },
    /// A token of another vocabulary.
    #[error(
        "token {token} is outside the model's vocabulary of {vocabulary}; the tokenizer belongs to \
         another model"
    )]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
    /// A model or processor that [`NativeModel`] cannot serve.
    #[error("this model or processor needs the decoder of libtorch; use TorchModel")]
    Unsupported,
    /// The model could not be run for another sequence of the batch.
    #[error("the model cannot be run: {0}")]
    Batch(String),
    /// Nobody waits for the result any more.
    #[error("nobody waits for the result")]
    Cancelled,
    /// A file of packed parameters that cannot be read or written.
    #[error(
        "the packed parameters in {} cannot be used: {reason}; write them again with \
         `pol-trainer model pack`",
        .path.display()
    )]
    Packed {
        /// The file.
        path: PathBuf,
        /// Reason for which it is refused.
        reason: String,
    },
    /// No threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(String),
}
