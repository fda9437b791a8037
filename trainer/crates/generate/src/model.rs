//! What generation needs of a model.

use crate::Error;

/// What a model says after the last token of a sequence that it has read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// A score for every token of the vocabulary to be the next: logarithms of probabilities, up to
    /// a constant.
    pub scores: Vec<f32>,
    /// The loss, in nats, that the model expects of its own prediction, where it has an
    /// introspection head.
    pub expected_loss: Option<f32>,
}

/// A model that reads sequences of tokens piece by piece.
pub trait Model {
    /// What is kept of a sequence: keys and values of what was read.
    type Past: Past;

    /// Longest sequence, in tokens.
    fn context(&self) -> usize;

    /// Tokens there are.
    fn vocabulary(&self) -> usize;

    /// A sequence of which nothing has been read, with memory for `capacity` tokens, the context at
    /// most.
    fn begin(&self, capacity: usize) -> Result<Self::Past, Error>;

    /// Reads on in several sequences at once: behind each past its tokens, at least one. Gives what
    /// the model says after each.
    fn read(&self, jobs: &mut [Job<'_, Self::Past>]) -> Result<(), Error>;
}

/// One sequence to read on in.
pub struct Job<'a, P> {
    /// What was read before; what is read now is added.
    pub past: &'a mut P,
    /// What to read.
    pub tokens: &'a [u32],
    /// Where to put what the model says, in memory that is used again.
    pub reading: &'a mut Reading,
}

/// What is kept of a sequence.
pub trait Past: Sized {
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
pub(super) fn check<P: Past>(jobs: &[Job<'_, P>], vocabulary: usize) -> Result<(), Error> {
    for job in jobs {
        if let Some(&token) = job.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::Token { token, vocabulary });
        }
        let (tokens, capacity) = (job.past.len() + job.tokens.len(), job.past.capacity());
        if tokens > capacity || job.tokens.is_empty() {
            return Err(Error::Capacity { tokens, capacity });
        }
    }
    Ok(())
}
