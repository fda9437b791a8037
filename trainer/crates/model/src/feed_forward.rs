// SPDX-License-Identifier: Apache-2.0

//! Dense feed-forward layer of a block.

use crate::{Error, linear::Linear};
use pol_primitives::model::{Activation, ModelSpec};
use tch::Tensor;

/// Tensors of a feed-forward layer. With experts there is a router, and all other tensors have a
/// leading dimension for the expert.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedForward<'a> {
    /// Weight `[width, count]` of the router, and bias `[count]` of its choice.
    pub(crate) router: Option<(&'a Tensor, &'a Tensor)>,
    /// Gate projection; `None` where the layer is not gated.
    pub(crate) gate: Option<Linear<'a>>,
    pub(crate) up: Linear<'a>,
    pub(crate) down: Linear<'a>,
}

impl FeedForward<'_> {
    /// Applies the layer without experts to `x` `[tokens, width]`; returns the same shape.
    pub(crate) fn apply_dense(&self, spec: &ModelSpec, x: &Tensor) -> Result<Tensor, Error> {
        let hidden = match &self.gate {
            Some(gate) => activate(spec.activation, &gate.apply(x)?)?.f_mul(&self.up.apply(x)?)?,
            None => activate(spec.activation, &self.up.apply(x)?)?,
        };
        self.down.apply(&hidden)
    }
}

fn activate(activation: Activation, x: &Tensor) -> Result<Tensor, Error> {
    Ok(match activation {
        Activation::GeluTanh => x.f_gelu("tanh")?,
        Activation::Gelu => x.f_gelu("none")?,
        Activation::Silu => x.f_silu()?,
        Activation::Relu => x.f_relu()?,
    })
}
