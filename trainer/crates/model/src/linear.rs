// SPDX-License-Identifier: Apache-2.0

//! Linear and normalisation layers.

use crate::Error;
use pol_primitives::model::Norm;
use tch::{Kind, Tensor};

/// A linear layer: weight `[in, out]` and bias `[out]`. With experts, both have a leading dimension
/// for the expert.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: Option<&'a Tensor>,
}

impl Linear<'_> {
    /// Maps `x` `[tokens, in]` to `[tokens, out]`. The layer must be one without experts.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(match self.bias {
            Some(bias) => bias.f_addmm(x, self.weight)?,
            None => x.f_mm(self.weight)?,
        })
    }
}

/// A normalisation layer: weight `[width]`, and bias `[width]` of a LayerNorm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormLayer<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: Option<&'a Tensor>,
}

impl NormLayer<'_> {
    /// Normalises `x` `[tokens, width]`.
    pub(crate) fn apply(&self, norm: Norm, x: &Tensor) -> Result<Tensor, Error> {
        let epsilon = f64::from(norm.epsilon()) / 1e9;
        Ok(match norm {
            Norm::Layer { .. } => {
                x.f_layer_norm(self.weight.size(), Some(self.weight), self.bias, epsilon, false)?
            }
            // Written out to be the same sequence of operations everywhere.
            Norm::Rms { .. } => {
                let mean = x.f_square()?.f_mean_dim([-1].as_slice(), true, Kind::Float)?;
                x.f_mul(&mean.f_add_scalar(epsilon)?.f_rsqrt()?)?.f_mul(self.weight)?
            }
        })
    }
}
