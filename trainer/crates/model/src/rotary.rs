// SPDX-License-Identifier: Apache-2.0

//! Rotary position embeddings (Su et al. 2021, "RoFormer").

use crate::Error;
use pol_primitives::model::{RotaryScaling, Rotation, ScalingRamp};
use std::{f64::consts::TAU, ops::Range};
use tch::{Device, Tensor};

/// Rotation rate of each pair of dimensions, in radians per position. Empty by default.
///
/// Angles are float64 and computed without the platform's mathematics, so they are the same on
/// every machine.
#[derive(Clone, Debug, Default)]
pub struct RotaryRates {
    rates: Vec<f64>,
    /// Factor of sines and cosines.
    amplitude: f64,
}

impl RotaryRates {
    /// Computes the rates `base^(−2i / dimensions)` of `dimensions / 2` pairs, scaled where the
    /// rotation says so.
    pub fn new(rotation: &Rotation) -> Self {
        let Rotation { dimensions, base, scaling, .. } = *rotation;
        let rate = |pair: u16| {
            let rate = libm::pow(base.into(), -f64::from(2 * pair) / f64::from(dimensions));
            scaling.map_or(rate, |scaling| scaled_rate(&scaling, pair, rate))
        };
        let amplitude = scaling.map_or(RotaryScaling::AMPLITUDE_UNIT, |scaling| scaling.amplitude);
        Self {
            rates: (0..dimensions / 2).map(rate).collect(),
            amplitude: f64::from(amplitude) / f64::from(RotaryScaling::AMPLITUDE_UNIT),
        }
    }

    /// Returns the number of pairs.
    pub fn pairs(&self) -> usize {
        self.rates.len()
    }

    /// Returns the sine and cosine of each pair's angle at `position`, times the amplitude.
    pub fn at(&self, position: usize) -> impl Iterator<Item = (f32, f32)> + '_ {
        self.rates.iter().map(move |rate| {
            let (sine, cosine) = libm::sincos(position as f64 * rate);
            ((sine * self.amplitude) as f32, (cosine * self.amplitude) as f32)
        })
    }
}

/// Returns the scaled rate of a pair.
fn scaled_rate(scaling: &RotaryScaling, pair: u16, rate: f64) -> f64 {
    let kept = match scaling.ramp {
        ScalingRamp::All => 0.0,
        ScalingRamp::Wavelengths { short, long } => {
            let unit = f64::from(RotaryScaling::WAVELENGTH_UNIT);
            let [short, long] = [short, long].map(|wavelength| unit / f64::from(wavelength));
            (rate / TAU - long) / (short - long)
        }
        ScalingRamp::Pairs { first, last } => {
            let [first, last] =
                [first, last].map(|pair| f64::from(pair) / f64::from(RotaryScaling::PAIR_UNIT));
            (last - f64::from(pair)) / (last - first)
        }
    };
    let kept = kept.clamp(0.0, 1.0);
    let factor = f64::from(scaling.factor) / f64::from(RotaryScaling::FACTOR_UNIT);
    rate * kept + rate / factor * (1.0 - kept)
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
        rotation: &Rotation,
        positions: Range<usize>,
        device: Device,
    ) -> Result<Self, Error> {
        let rates = RotaryRates::new(rotation);
        let Rotation { dimensions, interleaved, .. } = *rotation;
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
