//! A model's tensors by what they are for.

use crate::{
    Error, Weights,
    feed_forward::FeedForward,
    mind::{SecondPass, Superposed},
};
use pol_primitives::model::{ModelSpec, Norm, Positions};
use std::slice;
use tch::{Kind, Tensor};

/// A linear map: weight `[in, out]`, bias `[out]`; with experts both have a leading dimension for
/// them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Projection<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: Option<&'a Tensor>,
}

impl Projection<'_> {
    /// The map of `x` `[tokens, in]`, for one without experts: `[tokens, out]`.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(match self.bias {
            Some(bias) => bias.f_addmm(x, self.weight)?,
            None => x.f_mm(self.weight)?,
        })
    }
}

/// Weight `[width]` of a norm, and bias `[width]` of a LayerNorm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normed<'a> {
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
}

impl Normed<'_> {
    /// The norm of `x` `[tokens, width]`.
    pub(crate) fn apply(&self, norm: Norm, x: &Tensor) -> Result<Tensor, Error> {
        let epsilon = f64::from(norm.epsilon()) / 1e9;
        Ok(match norm {
            Norm::Layer { .. } => {
                x.f_layer_norm(self.weight.size(), Some(self.weight), self.bias, epsilon, false)?
            }
            // Written out, so that it is the same sequence of operations everywhere.
            Norm::Rms { .. } => {
                let mean = x.f_square()?.f_mean_dim([-1].as_slice(), true, Kind::Float)?;
                x.f_mul(&mean.f_add_scalar(epsilon)?.f_rsqrt()?)?.f_mul(self.weight)?
            }
        })
    }
}

/// Tensors of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    pub(crate) norm1: Normed<'a>,
    pub(crate) query_key_value: Projection<'a>,
    pub(crate) out: Projection<'a>,
    /// None where the parts of a block are parallel.
    pub(crate) norm2: Option<Normed<'a>>,
    pub(crate) feed_forward: FeedForward<'a>,
    pub(crate) superposition: Option<Superposed<'a>>,
}

/// Tensors of a model.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) embedding: &'a Tensor,
    /// Learned positions.
    pub(crate) positions: Option<&'a Tensor>,
    pub(crate) blocks: Vec<Block<'a>>,
    pub(crate) norm: Normed<'a>,
    /// The output projection, `[vocabulary, width]`; the embedding where they are tied.
    pub(crate) head: &'a Tensor,
    pub(crate) head_bias: Option<&'a Tensor>,
    /// Weight `[width]` and bias `[1]` of the head that predicts the loss.
    pub(crate) introspection: Option<(&'a Tensor, &'a Tensor)>,
    pub(crate) second_pass: Option<SecondPass<'a>>,
}

impl<'a> Parts<'a> {
    /// Tells the tensors of `weights`, which must be a model of `spec`, apart.
    pub(crate) fn of(spec: &ModelSpec, weights: &'a Weights) -> Result<Self, Error> {
        let mut rest = Rest { spec, all: weights.tensors(), tensors: weights.tensors().iter() };
        let embedding = rest.next()?;
        let positions = rest.when(spec.positions == Positions::Learned)?;
        let blocks = (0..spec.layers).map(|_| rest.block()).collect::<Result<_, Error>>()?;
        let norm = rest.norm()?;
        let head = rest.when(!spec.tied)?.unwrap_or(embedding);
        let head_bias = rest.when(spec.biases.head)?;
        let introspection =
            if spec.mind.introspection { Some((rest.next()?, rest.next()?)) } else { None };
        let gate = rest.when(spec.mind.second_pass > 0)?;
        let second_pass =
            introspection.zip(gate).map(|((weight, bias), gate)| SecondPass { weight, bias, gate });
        match rest.tensors.next() {
            None => Ok(Self {
                embedding,
                positions,
                blocks,
                norm,
                head,
                head_bias,
                introspection,
                second_pass,
            }),
            Some(_) => Err(rest.mismatch()),
        }
    }
}

/// The tensors not yet told apart.
struct Rest<'a, 's> {
    spec: &'s ModelSpec,
    all: &'a [Tensor],
    tensors: slice::Iter<'a, Tensor>,
}

impl<'a> Rest<'a, '_> {
    fn next(&mut self) -> Result<&'a Tensor, Error> {
        self.tensors.next().ok_or_else(|| self.mismatch())
    }

    fn when(&mut self, present: bool) -> Result<Option<&'a Tensor>, Error> {
        present.then(|| self.next()).transpose()
    }

    fn norm(&mut self) -> Result<Normed<'a>, Error> {
        Ok(Normed {
            weight: self.next()?,
            bias: self.when(matches!(self.spec.norm, Norm::Layer { .. }))?,
        })
    }

    fn projection(&mut self, biased: bool) -> Result<Projection<'a>, Error> {
        Ok(Projection { weight: self.next()?, bias: self.when(biased)? })
    }

    fn block(&mut self) -> Result<Block<'a>, Error> {
        let ModelSpec { biases, gated, parallel, experts, mind, .. } = *self.spec;
        Ok(Block {
            norm1: self.norm()?,
            query_key_value: self.projection(biases.query_key_value)?,
            out: self.projection(biases.attention_output)?,
            norm2: if parallel { None } else { Some(self.norm()?) },
            feed_forward: FeedForward {
                router: if experts.is_some() { Some((self.next()?, self.next()?)) } else { None },
                gate: gated.then(|| self.projection(biases.feed_forward)).transpose()?,
                up: self.projection(biases.feed_forward)?,
                down: self.projection(biases.feed_forward)?,
            },
            superposition: match mind.superposition {
                Some(_) => Some(Superposed {
                    amplitudes: self.next()?,
                    branches: self.next()?,
                    query: self.next()?,
                    key: self.next()?,
                    out: self.next()?,
                    gate: self.next()?,
                }),
                None => None,
            },
        })
    }

    /// Weights of another model.
    fn mismatch(&self) -> Error {
        Error::Length {
            expected: self.spec.size() as usize,
            found: self.all.iter().map(Tensor::numel).sum(),
        }
    }
}
