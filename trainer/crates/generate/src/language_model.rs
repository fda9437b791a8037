// SPDX-License-Identifier: Apache-2.0

//! Interface of language models to generation.

use crate::Error;

/// Prediction of a model after the last token of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Logits of the next token, one for each token of the vocabulary.
    pub logits: Vec<f32>,
    /// Loss, in nats, that the model expects of its own prediction; `None` without an introspection
    /// head.
    pub expected_loss: Option<f32>,
    /// Sum of the final hidden states of the tokens that were processed together, as wide as the
    /// model.
    pub hidden_sum: Vec<f32>,
}

/// Language models that process sequences of tokens piece by piece.
pub trait LanguageModel {
    /// Keys and values of the tokens that were processed.
    type Cache: SequenceCache;

    /// Returns the length of the longest sequence, in tokens.
    fn context(&self) -> usize;

    /// Returns the number of tokens of the vocabulary.
    fn vocabulary(&self) -> usize;

    /// Returns `true` if the division of a sequence into pieces changes no bit of a prediction.
    fn is_divisible(&self) -> bool {
        false
    }

    /// Creates an empty cache with memory for `capacity` tokens, at most the context.
    ///
    /// # Errors
    ///
    /// Fails if memory cannot be allocated.
    fn new_cache(&self, capacity: usize) -> Result<Self::Cache, Error>;

    /// Appends tokens to several sequences at once and predicts the token after each. Each input
    /// has at least one token.
    ///
    /// # Errors
    ///
    /// Fails if a token is outside the vocabulary, if a cache has no room, or if the model cannot
    /// be run. Caches are then unspecified.
    fn forward(&self, inputs: &mut [SequenceInput<'_, Self::Cache>]) -> Result<(), Error>;

    /// Appends tokens to one sequence, and predicts the token after each of them.
    ///
    /// # Errors
    ///
    /// Fails as [`forward`](Self::forward) does.
    fn forward_each(
        &self,
        cache: &mut Self::Cache,
        tokens: &[u32],
        predictions: &mut [Prediction],
    ) -> Result<(), Error> {
        for (token, prediction) in tokens.iter().zip(predictions) {
            let (cache, tokens) = (&mut *cache, std::slice::from_ref(token));
            self.forward(&mut [SequenceInput { cache, tokens, prediction }])?;
        }
        Ok(())
    }
}

/// Tokens that continue one sequence.
pub struct SequenceInput<'a, P> {
    /// Cache of the tokens before, to which the new ones are added.
    pub cache: &'a mut P,
    /// Tokens to process.
    pub tokens: &'a [u32],
    /// Receives the prediction. Its memory is reused.
    pub prediction: &'a mut Prediction,
}

/// Caches of the keys and values of a sequence.
pub trait SequenceCache: Sized {
    /// Returns the number of processed tokens.
    fn len(&self) -> usize;

    /// Returns `true` if no token was processed.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of tokens that fit into the cache.
    fn capacity(&self) -> usize;

    /// Copies the cache, to continue the sequence in another way.
    ///
    /// # Errors
    ///
    /// Fails if memory cannot be allocated.
    fn fork(&self) -> Result<Self, Error>;

    /// Takes over the tokens of `other`, which has the same capacity, in place of its own. A cache
    /// that takes all its memory at once overrides this, so that there are never three.
    ///
    /// # Errors
    ///
    /// Fails if memory cannot be allocated.
    fn copy_from(&mut self, other: &Self) -> Result<(), Error> {
        *self = other.fork()?;
        Ok(())
    }

    /// Returns a cache for `capacity` tokens that shares the memory of the first `tokens` tokens of
    /// this one. Returns `None` if this cache cannot be divided, or has fewer tokens.
    fn prefix(&self, tokens: usize, capacity: usize) -> Option<Self> {
        let _ = (tokens, capacity);
        None
    }

    /// Sets the number of processed tokens that count. Those behind them stay until others take
    /// their places, so the number may grow to them again. Returns `false`, and changes nothing, if
    /// the cache cannot do this.
    fn set_len(&mut self, len: usize) -> bool {
        let _ = len;
        false
    }
}

/// Checks that every token is in the vocabulary and that every cache has room for its tokens.
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
