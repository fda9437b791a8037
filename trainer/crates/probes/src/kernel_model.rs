// SPDX-License-Identifier: Apache-2.0

//! Text generation on the kernels of training steps.

use pol_generate::{Error, LanguageModel, SequenceCache, SequenceInput};
use pol_primitives::model::ModelSpec;
use pol_step::{Evaluation, NextToken, Plan, most_sequences};
use std::sync::{Mutex, PoisonError};

/// Language model of any specification whose predictions have the same bits on every machine.
///
/// It reads a sequence from its beginning for every token, so it is for short texts of models that
/// [`NativeModel`](pol_generate::NativeModel) does not support. Kernels compute on the threads of
/// the pool that a call comes from.
pub struct KernelModel<'a> {
    spec: ModelSpec,
    parameters: &'a [f32],
    /// Longest sequence.
    context: u32,
    /// Memory of the last sequence, and its length.
    evaluation: Mutex<Option<(u32, Evaluation)>>,
}

/// Tokens of a sequence. There are no keys and values, as they are computed again.
pub struct KernelCache {
    tokens: Vec<u32>,
    capacity: u32,
}

impl<'a> KernelModel<'a> {
    /// Creates a model of `spec` from parameters in canonical order. Its context is shorter than
    /// that of the specification if kernels have no extents for so long a sequence.
    ///
    /// # Errors
    ///
    /// Fails if the specification is invalid, or if `parameters` belong to another model.
    pub fn new(spec: &ModelSpec, parameters: &'a [f32]) -> Result<Self, crate::Error> {
        let (expected, found) = (Plan::new(spec)?.len(), parameters.len());
        if expected != found {
            return Err(pol_model::Error::Length { expected, found }.into());
        }
        let context = spec.context.min(most_sequences(spec, 1));
        Ok(Self { spec: *spec, parameters, context, evaluation: Mutex::default() })
    }

    /// Predicts the token after those of `cache`.
    fn predict(&self, cache: &KernelCache) -> Result<NextToken, pol_step::Error> {
        let mut kept = self.evaluation.lock().unwrap_or_else(PoisonError::into_inner);
        let length = cache.capacity;
        // Memory of another length goes before the new one is there.
        let (_, evaluation) = match kept.take().filter(|(of, _)| *of == length) {
            Some(same) => kept.insert(same),
            None => kept.insert((length, Evaluation::new(&self.spec, 1, length)?)),
        };
        evaluation.predict(self.parameters, &cache.tokens)
    }

    fn read_one(&self, input: &mut SequenceInput<'_, KernelCache>) -> Result<(), Error> {
        let (cache, vocabulary) = (&mut *input.cache, self.vocabulary());
        if let Some(&token) = input.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::Token { token, vocabulary });
        }
        let (tokens, capacity) = (cache.len() + input.tokens.len(), cache.capacity());
        if tokens > capacity || input.tokens.is_empty() {
            return Err(Error::Capacity { tokens, capacity });
        }
        let past = cache.tokens.len();
        cache.tokens.extend(input.tokens);
        let next = self.predict(cache).map_err(|error| Error::Batch(error.to_string()))?;
        let width = self.spec.width as usize;
        let sum = &mut input.prediction.hidden_sum;
        sum.clear();
        sum.resize(width, 0.0);
        for hidden in next.hidden.chunks(width).skip(past) {
            sum.iter_mut().zip(hidden).for_each(|(sum, &value)| *sum += value);
        }
        input.prediction.logits = next.logits;
        input.prediction.expected_loss = next.predicted_loss;
        Ok(())
    }
}

impl LanguageModel for KernelModel<'_> {
    type Cache = KernelCache;

    fn context(&self) -> usize {
        self.context as usize
    }

    fn vocabulary(&self) -> usize {
        self.spec.vocabulary as usize
    }

    fn is_divisible(&self) -> bool {
        true
    }

    fn new_cache(&self, capacity: usize) -> Result<KernelCache, Error> {
        let capacity = capacity.clamp(1, self.context()) as u32;
        Ok(KernelCache { tokens: Vec::new(), capacity })
    }

    fn forward(&self, inputs: &mut [SequenceInput<'_, KernelCache>]) -> Result<(), Error> {
        inputs.iter_mut().try_for_each(|input| self.read_one(input))
    }
}

impl SequenceCache for KernelCache {
    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { tokens: self.tokens.clone(), capacity: self.capacity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_generate::{Prediction, TorchModel};
    use pol_model::{Layout, Weights, initial_parameters};
    use pol_primitives::model::{Experts, Mind, Superposition};
    use tch::Device;

    /// Returns a model of which no other decoder on kernels has all parts, and its parameters.
    fn model() -> (ModelSpec, Vec<f32>) {
        let superposition = Some(Superposition { branches: 3, rank: 4 });
        let mind = Mind { superposition, introspection: true, second_pass: 1 };
        let spec = ModelSpec {
            experts: Some(Experts::new(3, 2)),
            mind,
            ..ModelSpec::gpt2(13, 8, 2, 2, 12, 20)
        };
        let enlarged = |(i, value): (usize, f32)| value * 8.0 + (i % 7) as f32 * 0.02;
        let parameters = initial_parameters(&spec, &[3; 32]).into_iter().enumerate();
        (spec, parameters.map(enlarged).collect())
    }

    /// Returns the prediction after `pieces` of a sequence.
    fn predict<M: LanguageModel>(model: &M, capacity: usize, pieces: &[&[u32]]) -> Prediction {
        let mut cache = model.new_cache(capacity).unwrap();
        let mut prediction = Prediction::default();
        for tokens in pieces {
            let cache = &mut cache;
            model
                .forward(&mut [SequenceInput { cache, tokens, prediction: &mut prediction }])
                .unwrap();
        }
        prediction
    }

    #[test]
    fn predictions_are_near_those_of_libtorch() {
        let (spec, parameters) = model();
        let own = KernelModel::new(&spec, &parameters).unwrap();
        let weights = Weights::new(&Layout::new(&spec).unwrap(), &parameters).unwrap();
        let torch = TorchModel::new(&spec, weights, Device::Cpu).unwrap();
        assert_eq!((own.context(), own.vocabulary()), (20, 13));
        let pieces: [&[u32]; 3] = [&[1, 2, 3, 4], &[12], &[0, 5]];
        for count in 1..=3 {
            let [found, other] =
                [predict(&own, 20, &pieces[..count]), predict(&torch, 20, &pieces[..count])];
            let near = |a: &[f32], b: &[f32]| {
                assert_eq!(a.len(), b.len());
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
            };
            assert!(near(&found.logits, &other.logits), "{found:?} {other:?}");
            assert!(near(&found.hidden_sum, &other.hidden_sum), "{found:?} {other:?}");
            let expected = [found.expected_loss, other.expected_loss].map(Option::unwrap);
            assert!(near(&expected[..1], &expected[1..]), "{expected:?}");
        }
    }

    #[test]
    fn neither_pieces_nor_room_change_a_bit() {
        let (spec, parameters) = model();
        let model = KernelModel::new(&spec, &parameters).unwrap();
        let whole = predict(&model, 7, &[&[1, 2, 3, 4, 12, 0, 5]]);
        let pieces = predict(&model, 20, &[&[1, 2, 3], &[4, 12, 0], &[5]]);
        assert_eq!((whole.logits, whole.expected_loss), (pieces.logits, pieces.expected_loss));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (spec, parameters) = model();
        assert!(KernelModel::new(&spec, &parameters[1..]).is_err());
        let model = KernelModel::new(&spec, &parameters).unwrap();
        let refusal = |capacity, tokens: &[u32]| {
            let (mut cache, mut prediction) =
                (model.new_cache(capacity).unwrap(), Prediction::default());
            let (cache, prediction) = (&mut cache, &mut prediction);
            model.forward(&mut [SequenceInput { cache, tokens, prediction }]).unwrap_err()
        };
        assert!(matches!(refusal(4, &[1, 13]), Error::Token { token: 13, vocabulary: 13 }));
        assert!(matches!(refusal(2, &[1, 2, 3]), Error::Capacity { tokens: 3, capacity: 2 }));
        assert!(matches!(refusal(2, &[]), Error::Capacity { tokens: 0, capacity: 2 }));
        // A fork goes on alone.
        let mut cache = model.new_cache(99).unwrap();
        assert_eq!((cache.capacity(), cache.is_empty()), (20, true));
        let mut prediction = Prediction::default();
        let (tokens, of) = (&[1, 2][..], &mut prediction);
        model.forward(&mut [SequenceInput { cache: &mut cache, tokens, prediction: of }]).unwrap();
        let mut other = cache.fork().unwrap();
        let of = &mut prediction;
        model.forward(&mut [SequenceInput { cache: &mut other, tokens, prediction: of }]).unwrap();
        assert_eq!((cache.len(), other.len()), (2, 4));
    }
}
