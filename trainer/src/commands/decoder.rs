// SPDX-License-Identifier: Apache-2.0

//! Choice of the decoder that generates text with a model.

use anyhow::Result;
use clap::ValueEnum;
use pol_generate::{NativeModel, TorchModel};
use pol_model::{Layout, Weights};
use pol_primitives::model::ModelSpec;
use tch::Device;

/// Decoder of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecoderOption {
    /// Made for generation on CPUs; serves models without experts and mind.
    Native,
    /// libtorch's; serves all models.
    Torch,
}

/// A model in the decoder that was chosen for it.
pub(crate) enum AnyDecoder {
    /// Decoder made for generation on CPUs.
    Native(Box<NativeModel>),
    /// Decoder of libtorch.
    Torch(Box<TorchModel>),
}

impl AnyDecoder {
    /// Loads the parameters of a model of `spec` into a decoder. Without a choice it is the native
    /// one if that supports the model.
    pub(crate) fn new(
        spec: &ModelSpec,
        parameters: &[f32],
        choice: Option<DecoderOption>,
        threads: usize,
    ) -> Result<Self> {
        let decoder = choice.unwrap_or(if NativeModel::supports(spec) {
            DecoderOption::Native
        } else {
            DecoderOption::Torch
        });
        Ok(match decoder {
            DecoderOption::Native => {
                Self::Native(NativeModel::new(spec, parameters, threads)?.into())
            }
            DecoderOption::Torch => {
                tch::set_num_threads(i32::try_from(threads)?);
                let layout = Layout::new(spec).map_err(pol_model::Error::from)?;
                let weights = Weights::new(&layout, parameters)?;
                Self::Torch(TorchModel::new(spec, weights, Device::Cpu)?.into())
            }
        })
    }
}

/// Returns the requested number of threads, or the number of cores.
pub(crate) fn thread_count(requested: Option<u16>) -> Result<usize> {
    Ok(match requested {
        Some(threads) => threads.into(),
        None => std::thread::available_parallelism()?.get(),
    })
}
