// SPDX-License-Identifier: Apache-2.0

//! Embeddings of texts.

use crate::{
    Error,
    language_model::{LanguageModel, Prediction, SequenceCache, SequenceInput},
};

/// Computation of the embedding of a text, piece by piece: the mean of the final hidden states of
/// its tokens, scaled to the length 1.
pub struct Embedding<P> {
    cache: P,
    tokens: Vec<u32>,
    prediction: Prediction,
    sum: Vec<f64>,
}

impl<P: SequenceCache> Embedding<P> {
    /// Starts the embedding of `tokens`.
    ///
    /// # Errors
    ///
    /// Fails if there is no token, if there are more than the context has, or if memory cannot be
    /// allocated.
    pub fn new<M: LanguageModel<Cache = P>>(model: &M, tokens: Vec<u32>) -> Result<Self, Error> {
        let (count, context) = (tokens.len(), model.context());
        if tokens.is_empty() {
            return Err(Error::Empty);
        }
        if count > context {
            return Err(Error::Prompt { tokens: count, context });
        }
        let prediction = Prediction::default();
        Ok(Self { cache: model.new_cache(count)?, tokens, prediction, sum: Vec::new() })
    }

    /// Processes up to `tokens` tokens, at least one, or all if the bits depend on the division.
    /// Returns the embedding after the last token.
    ///
    /// # Errors
    ///
    /// Fails if the model cannot be run, or if a token is outside the vocabulary.
    pub fn step<M: LanguageModel<Cache = P>>(
        &mut self,
        model: &M,
        tokens: usize,
    ) -> Result<Option<Vec<f32>>, Error> {
        let left = &self.tokens[self.cache.len()..];
        let count = if model.is_divisible() { left.len().min(tokens.max(1)) } else { left.len() };
        let (cache, prediction) = (&mut self.cache, &mut self.prediction);
        model.forward(&mut [SequenceInput { cache, tokens: &left[..count], prediction }])?;
        let part = &self.prediction.hidden_sum;
        self.sum.resize(part.len(), 0.0);
        self.sum.iter_mut().zip(part).for_each(|(sum, &part)| *sum += f64::from(part));
        if self.cache.len() < self.tokens.len() {
            return Ok(None);
        }
        let length = self.sum.iter().map(|value| value * value).sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        Ok(Some(self.sum.iter().map(|value| (value * scale) as f32).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NativeModel, TorchModel};
    use pol_model::{Layout, Weights, initial_parameters};
    use pol_primitives::model::ModelSpec;

    fn embed<M: LanguageModel>(model: &M, tokens: &[u32], piece: usize) -> Vec<f32> {
        let mut embedding = Embedding::new(model, tokens.to_vec()).unwrap();
        loop {
            if let Some(values) = embedding.step(model, piece).unwrap() {
                return values;
            }
        }
    }

    #[test]
    fn embeddings_have_length_one_in_every_decoder() {
        let spec = ModelSpec::gpt2(61, 32, 2, 4, 48, 64);
        let flat = initial_parameters(&spec, &[7; 32]);
        let native = NativeModel::new(&spec, &flat, 1).unwrap();
        let weights = Weights::new(&Layout::new(&spec).unwrap(), &flat).unwrap();
        let torch = TorchModel::new(&spec, weights, tch::Device::Cpu).unwrap();
        let tokens: Vec<u32> = (0..40).map(|i| i * 7 % 61).collect();
        let values = embed(&native, &tokens, 100);
        assert_eq!(values.len(), 32);
        let length: f32 = values.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5);
        let others = [embed(&native, &tokens, 7), embed(&torch, &tokens, 100)];
        for other in others {
            assert!(values.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4));
        }
        assert_ne!(values, embed(&native, &tokens[..20], 100));
    }

    #[test]
    fn texts_that_cannot_be_embedded_are_errors() {
        let spec = ModelSpec::gpt2(61, 32, 2, 4, 48, 64);
        let model = NativeModel::new(&spec, &initial_parameters(&spec, &[7; 32]), 1).unwrap();
        assert!(matches!(Embedding::new(&model, Vec::new()), Err(Error::Empty)));
        let long = vec![1; model.context() + 1];
        assert!(matches!(Embedding::new(&model, long), Err(Error::Prompt { .. })));
        let mut foreign = Embedding::new(&model, vec![61]).unwrap();
        assert!(matches!(foreign.step(&model, 9), Err(Error::Token { token: 61, .. })));
    }
}
