// SPDX-License-Identifier: Apache-2.0

//! Choice of the decoder that generates text with a model.

use anyhow::Result;
use clap::ValueEnum;
use pol_generate::{NativeModel, PACKED_FILE, TorchModel};
use pol_import::OpenModel;
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

/// Parts of the folder of a model that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Packed parameters, if the folder has them. Whoever made the folder chose them, and nothing
    /// compares them with the root.
    Packed,
    /// Parameters, which are compared with the root: for whatever is claimed of the root to others.
    Verified,
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
        match choice.unwrap_or_else(|| usual_decoder(spec)) {
            DecoderOption::Native => {
                Ok(Self::Native(NativeModel::new(spec, parameters, threads)?.into()))
            }
            DecoderOption::Torch => Self::on_torch(spec, parameters, threads),
        }
    }

    /// Reads the parameters of an imported model into a decoder. Without a choice it is the native
    /// one if that supports the model. It keeps them in their own precision, and never all of them
    /// as float32.
    pub(crate) fn read(
        mut model: OpenModel,
        choice: Option<DecoderOption>,
        threads: usize,
        reading: Reading,
    ) -> Result<Self> {
        let spec = model.spec;
        match choice.unwrap_or_else(|| usual_decoder(&spec)) {
            DecoderOption::Native => {
                Ok(Self::Native(read_native(&mut model, threads, reading)?.into()))
            }
            DecoderOption::Torch => Self::on_torch(&spec, &model.read_all()?, threads),
        }
    }

    fn on_torch(spec: &ModelSpec, parameters: &[f32], threads: usize) -> Result<Self> {
        tch::set_num_threads(i32::try_from(threads)?);
        let layout = Layout::new(spec).map_err(pol_model::Error::from)?;
        let weights = Weights::new(&layout, parameters)?;
        Ok(Self::Torch(TorchModel::new(spec, weights, Device::Cpu)?.into()))
    }
}

/// Reads the parameters of an imported model into the native decoder. Packed parameters that are
/// unusable are left alone.
pub(crate) fn read_native(
    model: &mut OpenModel,
    threads: usize,
    reading: Reading,
) -> Result<NativeModel> {
    let (spec, path) = (model.spec, model.folder().join(PACKED_FILE));
    if reading == Reading::Packed && path.is_file() {
        match NativeModel::from_packed(&spec, &model.report.root, threads, &path) {
            Ok(native) => return Ok(native),
            Err(error) => tracing::warn!("{error}. The model's other file is read instead"),
        }
    }
    NativeModel::from_reader(&spec, threads, |values| Ok(model.read(values)?))
}

/// Returns the native decoder if it supports models of `spec`.
pub(crate) fn usual_decoder(spec: &ModelSpec) -> DecoderOption {
    if NativeModel::supports(spec) { DecoderOption::Native } else { DecoderOption::Torch }
}

/// Returns the requested number of threads, or the number of cores.
pub(crate) fn thread_count(requested: Option<u16>) -> Result<usize> {
    Ok(match requested {
        Some(threads) => threads.into(),
        None => std::thread::available_parallelism()?.get(),
    })
}
