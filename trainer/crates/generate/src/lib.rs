//! Writing text with a model.
//!
//! [`NativeModel`] or [`TorchModel`] reads tokens ([`LanguageModel`]); a [`Sampler`] draws the next one of its
//! scores; [`TextTokenizer`] turns text into tokens and tokens into bytes, of which a [`TextStream`] makes whole
//! characters up to a stop string. [`generate()`] does all that for one prompt or several, and runs
//! the [tools](Tool) that the model calls; [`reason()`] makes it write steps, as a chain or a tree.
//!
//! Draws come from an integer generator and arithmetic that is the same on every machine. So are
//! [`NativeModel`]'s scores wherever there are fused multiply-add instructions, in any batch and on any
//! number of threads: a seed then fixes the text.

mod affect;
pub mod bench;
mod language_model;
mod native;
mod reason;
mod sampler;
mod sequence;
mod stream;
mod text;
mod tools;
mod torch;

pub use affect::Affect;
pub use language_model::{LanguageModel, Prediction, SequenceCache, SequenceInput};
pub use native::{NativeCache, NativeModel};
pub use reason::{
    REASONING_INSTRUCTION, ReasoningResult, ReasoningStep, SearchEvent, SearchOptions,
    TOOL_INSTRUCTION, reason,
};
pub use sampler::{Sampler, Sampling, SamplingError, entropy, log_probability};
pub use sequence::{Completion, Event, FinishReason, Request, generate};
pub use stream::TextStream;
pub use text::{ChatTurn, TextTokenizer};
pub use tools::{MAX_TOOL_INPUT_BYTES, Tool, ToolCall, ToolCallDetector, ToolError};
pub use torch::{TorchCache, TorchModel};

/// Why no text can be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model cannot be run.
    #[error(transparent)]
    Model(#[from] pol_model::Error),
    /// The tokenizer is of no use.
    #[error("the tokenizer cannot be used: {0}")]
    Tokenizer(String),
    /// A control is out of range, or scores are no numbers.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Nothing to continue.
    #[error(
        "the prompt is empty and the tokenizer has no token that starts a text; give at least one word"
    )]
    Empty,
    /// The prompt leaves no room.
    #[error(
        "the prompt has {tokens} tokens and the model's context is {context}, of which at least one is needed to answer; shorten it"
    )]
    Prompt {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that the model can read.
        context: usize,
    },
    /// More tokens than a sequence was begun for.
    #[error("a sequence begun for {capacity} tokens cannot hold {tokens}")]
    Capacity {
        /// Tokens it would hold.
        tokens: usize,
        /// Tokens it has memory for.
        capacity: usize,
    },
    /// A token of another vocabulary.
    #[error(
        "token {token} is not of the model's vocabulary of {vocabulary}; the tokenizer belongs to another model"
    )]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
    /// A model or processor that [`NativeModel`] cannot serve.
    #[error("this model or processor needs the decoder of libtorch; use Torch")]
    Unsupported,
    /// No threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(String),
}
