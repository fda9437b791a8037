// SPDX-License-Identifier: Apache-2.0

//! Inference with the training decoder, which serves every model.

use crate::{
    Error,
    language_model::{LanguageModel, SequenceCache, SequenceInput, check},
};
use pol_model::{Decoder, KvCache, Weights};
use pol_primitives::model::ModelSpec;
use tch::{Device, Kind, Tensor, no_grad};

/// Language model that runs on libtorch.
pub struct TorchModel {
    spec: ModelSpec,
    decoder: Decoder,
    weights: Weights,
    device: Device,
}

impl TorchModel {
    /// Creates a model of `spec`. The weights are on `device`.
    ///
    /// # Errors
    ///
    /// Fails if the specification is invalid.
    pub fn new(spec: &ModelSpec, weights: Weights, device: Device) -> Result<Self, Error> {
        let decoder =
            Decoder::new(spec).map_err(pol_model::Error::from)?.with_fused_attention(true);
        Ok(Self { spec: *spec, decoder, weights, device })
    }

    fn read_one(&self, input: &mut SequenceInput<'_, TorchCache>) -> Result<(), pol_model::Error> {
        let tokens: Vec<i64> = input.tokens.iter().copied().map(i64::from).collect();
        let length = tokens.len() as i64;
        let tokens = Tensor::f_from_slice(&tokens)?.f_view([1, length])?.f_to(self.device)?;
        let hidden =
            self.decoder.hidden_states(&self.weights, &tokens, Some(&mut input.cache.cache))?;
        let last = hidden.f_narrow(1, length - 1, 1)?;
        let logits = self
            .decoder
            .lm_head(&self.weights, &last)?
            .f_reshape([-1])?
            .f_to_kind(Kind::Float)?
            .f_to(Device::Cpu)?;
        input.prediction.logits.resize(self.vocabulary(), 0.0);
        logits.f_copy_data(&mut input.prediction.logits, self.vocabulary())?;
        let width = self.spec.width as usize;
        input.prediction.hidden_sum.resize(width, 0.0);
        hidden
            .f_sum_dim_intlist([0i64, 1].as_slice(), false, Kind::Float)?
            .f_to(Device::Cpu)?
            .f_copy_data(&mut input.prediction.hidden_sum, width)?;
        let expected = self.decoder.introspect(&self.weights, &last)?;
        input.prediction.expected_loss =
            expected.map(|loss| loss.f_double_value(&[0, 0])).transpose()?.map(|loss| loss as f32);
        Ok(())
    }
}

/// Keys and values of one sequence.
pub struct TorchCache {
    cache: KvCache,
}

impl LanguageModel for TorchModel {
    type Cache = TorchCache;

    fn context(&self) -> usize {
        self.spec.context as usize
    }

    fn vocabulary(&self) -> usize {
        self.spec.vocabulary as usize
    }

    fn new_cache(&self, capacity: usize) -> Result<TorchCache, Error> {
        let capacity = capacity.clamp(1, self.context()) as i64;
        Ok(TorchCache { cache: KvCache::new(&self.spec, 1, capacity, self.device)? })
    }

    fn forward(&self, inputs: &mut [SequenceInput<'_, TorchCache>]) -> Result<(), Error> {
        check(inputs, self.vocabulary())?;
        Ok(no_grad(|| inputs.iter_mut().try_for_each(|input| self.read_one(input)))?)
    }
}

impl SequenceCache for TorchCache {
    fn len(&self) -> usize {
        self.cache.len() as usize
    }

    fn capacity(&self) -> usize {
        self.cache.capacity() as usize
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { cache: self.cache.select(&[0])? })
    }

    fn copy_from(&mut self, other: &Self) -> Result<(), Error> {
        Ok(self.cache.copy_from(&other.cache)?)
    }
}
