// SPDX-License-Identifier: Apache-2.0

//! The device that a numerics profile computes on.

use crate::determinism::{self, NumericsError};
use pol_primitives::recipe::Numerics;
use tch::{Cuda, Device};

/// Returns `true` if this process computes recipes of the native profile on a CUDA device.
///
/// A program linked to the CPU's libtorch finds CUDA when a full libtorch of the same version is
/// loaded before it, with `LD_PRELOAD=libtorch_cuda.so` and its folder on `LD_LIBRARY_PATH`.
pub fn cuda_is_available() -> bool {
    Cuda::is_available()
}

/// Fails unless this process computes under `numerics`.
pub(crate) fn check_profile(numerics: Numerics) -> Result<(), NumericsError> {
    match numerics {
        Numerics::Exact => determinism::check(),
        Numerics::Native { .. } => Ok(()),
    }
}

/// Sets libtorch up for recipes of `numerics` and returns the device that computes them.
pub(crate) fn prepare_device(numerics: Numerics) -> Device {
    match numerics {
        Numerics::Exact => {
            // The number of intra-op threads changes bits; workers use the cores.
            tch::set_num_threads(1);
            Device::Cpu
        }
        Numerics::Native { .. } => Device::cuda_if_available(),
    }
}
