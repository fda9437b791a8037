// SPDX-License-Identifier: Apache-2.0

//! Rotary position embeddings (Su et al. 2021, "RoFormer").

use crate::Error;
use std::ops::Range;
use tch::{Device, Tensor};

/// Rotation rate of each pair of dimensions, in radians per position. Empty by default.
///
/// Angles are float64 and computed without the platform's mathematics, so they are the same on
/// every machine.
#[derive(Clone, Debug, Default)]
pub struct RotaryRates(Vec<f64>);

impl RotaryRates {
    /// Computes the rates `base^(−2i / dimensions)` of `dimensions / 2` pairs.
    pub fn new(dimensions: u16, base: u32) -> Self {
        let rate = |pair: u16| libm::pow(base.into(), -f64::from(2 * pair) / f64::from(dimensions));
        Self((0..dimensions / 2).map(rate).collect())
    }

    /// Returns the number of pairs.
    pub fn pairs(&self) -> usize {
        self.0.len()
    }

    /// Returns the sine and cosine of each pair's angle at `position`.
    pub fn at(&self, position: usize) -> impl Iterator<Item = (f32, f32)> + '_ {
        self.0.iter().map(move |rate| {
            let (sine, cosine) = libm::sincos(position as f64 * rate);
            (sine as f32, cosine as f32)
        })
    }
}

/// Sines and cosines for a range of positions, `[length, 1, dimensions / 2]`.
#[derive(Debug)]
pub(crate) struct RotaryTable {
    cosines: Tensor,
    sines: Tensor,
    dimensions: i64,
    interleaved: bool,
}

impl RotaryTable {
    /// Computes the table of `positions` on `device`.
    pub(crate) fn new(
        dimensions: u16,
        base: u32,
        interleaved: bool,
        positions: Range<usize>,
        device: Device,
    ) -> Result<Self, Error> {
        let rates = RotaryRates::new(dimensions, base);
        let length = positions.len() as i64;
        let (sines, cosines): (Vec<f32>, Vec<f32>) =
            positions.flat_map(|position| rates.at(position)).unzip();
        let table = |values: &[f32]| {
            Tensor::f_from_slice(values)?
                .f_view([length, 1, i64::from(dimensions / 2)])?
                .f_to(device)
        };
        Ok(Self {
            cosines: table(&cosines)?,
            sines: table(&sines)?,
            dimensions: dimensions.into(),
            interleaved,
        })
    }

    /// Rotates `x` `[batch, length, heads, head size]`.
    pub(crate) fn rotate(&self, x: &Tensor) -> Result<Tensor, Error> {
        let [batch, length, heads, size] = x.size()[..] else {
            return Err(Error::Length { expected: 4, found: x.dim() });
        };
        let half = self.dimensions / 2;
        let rotated = x.f_narrow(3, 0, self.dimensions)?;
        // Pairs (a, b) are neighbours, or one of each half.
        let (shape, pair) = if self.interleaved { ([half, 2], 4) } else { ([2, half], 3) };
        let pairs = rotated.f_reshape([batch, length, heads, shape[0], shape[1]])?;
        let (a, b) = (pairs.f_select(pair, 0)?, pairs.f_select(pair, 1)?);
        let (cosines, sines) = (&self.cosines, &self.sines);
        let first = a.f_mul(cosines)?.f_sub(&b.f_mul(sines)?)?;
        let second = a.f_mul(sines)?.f_add(&b.f_mul(cosines)?)?;
        let rotated = Tensor::f_stack(&[first, second], pair)?.f_reshape([
            batch,
            length,
            heads,
            self.dimensions,
        ])?;
        if self.dimensions == size {
            return Ok(rotated);
        }
        Ok(Tensor::f_cat(&[rotated, x.f_narrow(3, self.dimensions, size - self.dimensions)?], 3)?)
    }
}
