//! The feed-forward part of a block.

use crate::{Error, parts::Projection};
use pol_primitives::model::{Activation, ModelSpec};
use tch::Tensor;

/// Tensors of a feed-forward part; with experts, there is a router and all others have a leading
/// dimension for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedForward<'a> {
    /// Weight `[width, count]`, and bias `[count]` of its choice.
    pub(crate) router: Option<(&'a Tensor, &'a Tensor)>,
    /// Present where the part is gated.
    pub(crate) gate: Option<Projection<'a>>,
    pub(crate) up: Projection<'a>,
    pub(crate) down: Projection<'a>,
}

impl FeedForward<'_> {
    /// The part without experts, of `x` `[tokens, width]`: `[tokens, width]`.
    pub(crate) fn dense(&self, spec: &ModelSpec, x: &Tensor) -> Result<Tensor, Error> {
        let hidden = match &self.gate {
            Some(gate) => activate(spec.activation, &gate.apply(x)?)?.f_mul(&self.up.apply(x)?)?,
            None => activate(spec.activation, &self.up.apply(x)?)?,
        };
        self.down.apply(&hidden)
    }
}

/// The non-linearity of every value.
pub(crate) fn activate(activation: Activation, x: &Tensor) -> Result<Tensor, Error> {
    Ok(match activation {
        Activation::GeluTanh => x.f_gelu("tanh")?,
        Activation::Gelu => x.f_gelu("none")?,
        Activation::Silu => x.f_silu()?,
    })
}
