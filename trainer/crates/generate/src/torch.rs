//! Reading tokens with the decoder that trains: every model, though not as fast.

use crate::{
    Error,
    model::{Job, Model, Past, check},
};
use pol_model::{Cache, Decoder, Weights};
use pol_primitives::model::ModelSpec;
use tch::{Device, Kind, Tensor, no_grad};

/// A model that is read by [`Decoder`].
pub struct Torch {
    spec: ModelSpec,
    decoder: Decoder,
    weights: Weights,
    device: Device,
}

impl Torch {
    /// The model of `spec` with `weights`, which lie on `device`.
    pub fn new(spec: &ModelSpec, weights: Weights, device: Device) -> Result<Self, Error> {
        let decoder =
            Decoder::new(spec).map_err(pol_model::Error::from)?.with_fused_attention(true);
        Ok(Self { spec: *spec, decoder, weights, device })
    }

    fn read_one(&self, job: &mut Job<'_, TorchPast>) -> Result<(), pol_model::Error> {
        let tokens: Vec<i64> = job.tokens.iter().copied().map(i64::from).collect();
        let length = tokens.len() as i64;
        let tokens = Tensor::f_from_slice(&tokens)?.f_view([1, length])?.f_to(self.device)?;
        let hidden = self.decoder.hidden(&self.weights, &tokens, Some(&mut job.past.cache))?;
        let last = hidden.f_narrow(1, length - 1, 1)?;
        let scores = self
            .decoder
            .head(&self.weights, &last)?
            .f_reshape([-1])?
            .f_to_kind(Kind::Float)?
            .f_to(Device::Cpu)?;
        job.reading.scores.resize(self.vocabulary(), 0.0);
        scores.f_copy_data(&mut job.reading.scores, self.vocabulary())?;
        let expected = self.decoder.introspect(&self.weights, &last)?;
        job.reading.expected_loss =
            expected.map(|loss| loss.f_double_value(&[0, 0])).transpose()?.map(|loss| loss as f32);
        Ok(())
    }
}

/// Keys and values of one sequence.
pub struct TorchPast {
    cache: Cache,
}

impl Model for Torch {
    type Past = TorchPast;

    fn context(&self) -> usize {
        self.spec.context as usize
    }

    fn vocabulary(&self) -> usize {
        self.spec.vocabulary as usize
    }

    fn begin(&self, capacity: usize) -> Result<TorchPast, Error> {
        let capacity = capacity.clamp(1, self.context()) as i64;
        Ok(TorchPast { cache: Cache::new(&self.spec, 1, capacity, self.device)? })
    }

    fn read(&self, jobs: &mut [Job<'_, TorchPast>]) -> Result<(), Error> {
        check(jobs, self.vocabulary())?;
        Ok(no_grad(|| jobs.iter_mut().try_for_each(|job| self.read_one(job)))?)
    }
}

impl Past for TorchPast {
    fn len(&self) -> usize {
        self.cache.len() as usize
    }

    fn capacity(&self) -> usize {
        self.cache.capacity() as usize
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { cache: self.cache.select(&[0])? })
    }
}
