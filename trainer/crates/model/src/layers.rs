// SPDX-License-Identifier: Apache-2.0

//! Layers of a model as references to its tensors.

use crate::{
    Error, Weights,
    feed_forward::FeedForward,
    linear::{Linear, NormLayer},
    mind::{SecondPassTensors, SuperpositionTensors},
};
use pol_primitives::model::{ModelSpec, Norm, PositionEncoding};
use std::slice;
use tch::Tensor;

/// Layers of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    /// Norm before attention.
    pub(crate) norm1: Option<NormLayer<'a>>,
    pub(crate) query_key_value: Linear<'a>,
    /// Norms of queries and of keys.
    pub(crate) query_key_norms: Option<[NormLayer<'a>; 2]>,
    pub(crate) out: Linear<'a>,
    /// Norm of the output of attention.
    pub(crate) behind1: Option<NormLayer<'a>>,
    /// Norm before the feed-forward layer, unless it shares that of attention.
    pub(crate) norm2: Option<NormLayer<'a>>,
    pub(crate) feed_forward: FeedForward<'a>,
    /// Norm of the output of the feed-forward layer.
    pub(crate) behind2: Option<NormLayer<'a>>,
    pub(crate) superposition: Option<SuperpositionTensors<'a>>,
}

/// Layers of a model.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    pub(crate) embedding: &'a Tensor,
    /// Learned positions.
    pub(crate) positions: Option<&'a Tensor>,
    pub(crate) blocks: Vec<Block<'a>>,
    pub(crate) norm: NormLayer<'a>,
    /// Output projection, `[vocabulary, width]`; the embedding where they are tied.
    pub(crate) head: &'a Tensor,
    pub(crate) head_bias: Option<&'a Tensor>,
    /// Bound of the logits.
    pub(crate) cap: Option<u32>,
    /// Weight `[width]` and bias `[1]` of the introspection head.
    pub(crate) introspection: Option<(&'a Tensor, &'a Tensor)>,
    pub(crate) second_pass: Option<SecondPassTensors<'a>>,
}

impl<'a> Layers<'a> {
    /// Assigns the tensors of `weights` to the layers of `spec`.
    ///
    /// # Errors
    ///
    /// Fails if `weights` belong to a model with another number of tensors.
    pub(crate) fn new(spec: &ModelSpec, weights: &'a Weights) -> Result<Self, Error> {
        let mut reader =
            TensorReader { spec, all: weights.tensors(), remaining: weights.tensors().iter() };
        let embedding = reader.next()?;
        let positions = reader.next_if(spec.positions == PositionEncoding::Learned)?;
        let blocks = (0..spec.layers).map(|_| reader.block()).collect::<Result<_, Error>>()?;
        let norm = reader.norm()?;
        let head = reader.next_if(!spec.tied)?.unwrap_or(embedding);
        let head_bias = reader.next_if(spec.biases.head)?;
        let introspection =
            if spec.mind.introspection { Some((reader.next()?, reader.next()?)) } else { None };
        let gate = reader.next_if(spec.mind.second_pass > 0)?;
        let second_pass = introspection.zip(gate).map(|((weight, bias), gate)| SecondPassTensors {
            weight,
            bias,
            gate,
        });
        match reader.remaining.next() {
            None => Ok(Self {
                embedding,
                positions,
                blocks,
                norm,
                head,
                head_bias,
                cap: spec.caps.logits,
                introspection,
                second_pass,
            }),
            Some(_) => Err(reader.mismatch()),
        }
    }
}

/// Reads tensors in canonical order.
struct TensorReader<'a, 's> {
    spec: &'s ModelSpec,
    all: &'a [Tensor],
    remaining: slice::Iter<'a, Tensor>,
}

impl<'a> TensorReader<'a, '_> {
    fn next(&mut self) -> Result<&'a Tensor, Error> {
        self.remaining.next().ok_or_else(|| self.mismatch())
    }

    fn next_if(&mut self, present: bool) -> Result<Option<&'a Tensor>, Error> {
        present.then(|| self.next()).transpose()
    }

    fn norm(&mut self) -> Result<NormLayer<'a>, Error> {
        Ok(NormLayer {
            weight: self.next()?,
            bias: self.next_if(matches!(self.spec.norm, Norm::Layer { .. }))?,
        })
    }

    fn norm_if(&mut self, present: bool) -> Result<Option<NormLayer<'a>>, Error> {
        present.then(|| self.norm()).transpose()
    }

    fn query_key_norms(&mut self) -> Result<Option<[NormLayer<'a>; 2]>, Error> {
        let is_present = self.spec.query_key_norm.is_some();
        is_present.then(|| Ok([self.norm()?, self.norm()?])).transpose()
    }

    fn linear(&mut self, has_bias: bool) -> Result<Linear<'a>, Error> {
        Ok(Linear { weight: self.next()?, bias: self.next_if(has_bias)? })
    }

    fn block(&mut self) -> Result<Block<'a>, Error> {
        let ModelSpec { biases, gated, norms, experts, mind, .. } = *self.spec;
        Ok(Block {
            norm1: self.norm_if(norms.is_before())?,
            query_key_value: self.linear(biases.query_key_value)?,
            query_key_norms: self.query_key_norms()?,
            out: self.linear(biases.attention_output)?,
            behind1: self.norm_if(norms.is_behind())?,
            norm2: self.norm_if(self.spec.has_second_norm())?,
            feed_forward: FeedForward {
                router: if experts.is_some() { Some((self.next()?, self.next()?)) } else { None },
                gate: gated.then(|| self.linear(biases.feed_forward)).transpose()?,
                up: self.linear(biases.feed_forward)?,
                down: self.linear(biases.feed_forward)?,
            },
            behind2: self.norm_if(norms.is_behind())?,
            superposition: match mind.superposition {
                Some(_) => Some(SuperpositionTensors {
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

    fn mismatch(&self) -> Error {
        Error::Length {
            expected: self.spec.size() as usize,
            found: self.all.iter().map(Tensor::numel).sum(),
        }
    }
}
