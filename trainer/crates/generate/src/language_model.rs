//! What generation needs of a model.

use crate::Error;

/// What a model says after the last token of a sequence that it has read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// A score for every token of the vocabulary to be the next: logarithms of probabilities, up to
    /// a constant.
    pub logits: Vec<f32>,
    /// The loss, in nats, that the model expects of its own prediction, where it has an
    /// introspection head.
    pub expected_loss: Option<f32>,
}

/// A model that reads sequences of tokens piece by piece.
pub trait LanguageModel {
    /// What is kept of a sequence: keys and values of what was read.
    type Cache: SequenceCache;

    /// Longest sequence, in tokens.
    fn context(&self) -> usize;

    /// Tokens there are.
    fn vocabulary(&self) -> usize;

    /// A sequence of which nothing has been read, with memory for `capacity` tokens, the context at
    /// most.
    fn new_cache(&self, capacity: usize) -> Result<Self::Cache, Error>;

    /// Reads on in several sequences at once: behind each past its tokens, at least one. Gives what
    /// the model says after each.
    fn forward(&self, inputs: &mut [SequenceInput<'_, Self::Cache>]) -> Result<(), Error>;
}

/// One sequence to read on in.
pub struct SequenceInput<'a, P> {
    /// What was read before; what is read now is added.
    pub cache: &'a mut P,
    /// What to read.
    pub tokens: &'a [u32],
    /// Where to put what the model says, in memory that is used again.
    pub prediction: &'a mut Prediction,
}

/// What is kept of a sequence.
pub trait SequenceCache: Sized {
    /// Tokens read.
    fn len(&self) -> usize;

    /// Whether nothing has been read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens there is memory for.
    fn capacity(&self) -> usize;

    /// The same sequence once more, to go on in another way.
    fn fork(&self) -> Result<Self, Error>;
}

/// Fails unless every token is of the vocabulary and every sequence has memory for what it is to
/// read.
pub(super) fn check<P: SequenceCache>(
    inputs: &[SequenceInput<'_, P>],
    vocabulary: usize,
) -> Result<(), Error> {
    for input in inputs {
        if let Some(&token) = input.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::Token { token, vocabulary });
        }
        let (tokens, capacity) = (input.cache.len() + input.tokens.len(), input.cache.capacity());
        if tokens > capacity || input.tokens.is_empty() {
            return Err(Error::Capacity { tokens, capacity });
        }
    }
    Ok(())
}
