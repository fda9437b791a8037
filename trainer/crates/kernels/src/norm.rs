// SPDX-License-Identifier: Apache-2.0

//! Norms of rows, and their gradients.

use crate::{
    Error, Kernels, canonical,
    error::{check, check_optional},
    rows::{COLUMNS, chains, row_sum, rows_of_task},
    sets::Task,
    simd::Simd,
};
use pol_numerics::{Norm, NormKind, Op};
use rayon::prelude::*;

impl Kernels {
    /// Computes mean and factor of each row, [`Op::NormStatistics`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn norm_statistics(
        self,
        shape: &Norm,
        values: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::NormStatistics(*shape).len()?;
        check("values", values, &[shape.rows, shape.width])?;
        check("out", out, &[shape.rows, 2])?;
        let width = shape.width as usize;
        let count = rows_of_task(width);
        out.par_chunks_mut(count * 2).enumerate().for_each(|(task, out)| {
            let values = &values[task * count * width..][..out.len() / 2 * width];
            self.run(Statistics { shape, values, out });
        });
        Ok(())
    }

    /// Norms each row by its statistics, [`Op::Norm`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn norm(
        self,
        shape: &Norm,
        values: &[f32],
        statistics: &[f32],
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::Norm(*shape).len()?;
        check("values", values, &[shape.rows, shape.width])?;
        check("statistics", statistics, &[shape.rows, 2])?;
        check_optional("weight", weight, shape.weight, &[shape.width])?;
        check_optional("bias", bias, shape.bias, &[shape.width])?;
        check("out", out, &[shape.rows, shape.width])?;
        let width = (shape.width as usize).max(1);
        let count = rows_of_task(width);
        out.par_chunks_mut(count * width).enumerate().for_each(|(task, out)| {
            let values = &values[task * count * width..][..out.len()];
            let statistics = &statistics[task * count * 2..];
            self.run(Normed { width, values, statistics, weight, bias, out });
        });
        Ok(())
    }

    /// Computes the gradient of the values, [`Op::NormGradient`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn norm_gradient(
        self,
        shape: &Norm,
        gradient: &[f32],
        values: &[f32],
        statistics: &[f32],
        weight: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::NormGradient(*shape).len()?;
        check("gradient", gradient, &[shape.rows, shape.width])?;
        check("values", values, &[shape.rows, shape.width])?;
        check("statistics", statistics, &[shape.rows, 2])?;
        check_optional("weight", weight, shape.weight, &[shape.width])?;
        check("out", out, &[shape.rows, shape.width])?;
        let width = (shape.width as usize).max(1);
        let count = rows_of_task(width);
        out.par_chunks_mut(count * width).enumerate().for_each(|(task, out)| {
            let at = task * count * width..task * count * width + out.len();
            let (gradient, values) = (&gradient[at.clone()], &values[at]);
            let statistics = &statistics[task * count * 2..];
            self.run(Gradient { shape, gradient, values, statistics, weight, out });
        });
        Ok(())
    }

    /// Computes the gradient of the weight, [`Op::NormWeightGradient`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn norm_weight_gradient(
        self,
        shape: &Norm,
        gradient: &[f32],
        values: &[f32],
        statistics: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::NormWeightGradient(*shape).len()?;
        check("gradient", gradient, &[shape.rows, shape.width])?;
        check("values", values, &[shape.rows, shape.width])?;
        check("statistics", statistics, &[shape.rows, 2])?;
        check("out", out, &[shape.width])?;
        let width = shape.width as usize;
        out.par_chunks_mut(COLUMNS).enumerate().for_each(|(task, out)| {
            let first = task * COLUMNS;
            self.run(WeightGradient { width, gradient, values, statistics, first, out });
        });
        Ok(())
    }
}

struct Statistics<'a> {
    shape: &'a Norm,
    values: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Statistics<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { shape, values, out } = self;
        let (width, count) = (shape.width as usize, shape.width as f32);
        for row in 0..out.len() / 2 {
            let values = &values[row * width..][..width];
            let mean = if shape.kind == NormKind::Layer {
                row_sum!(width, [x = values], |sum| sum + x) / count
            } else {
                0.0
            };
            let squares = row_sum!(width, [x = values], |sum| (x - mean).mul_add(x - mean, sum));
            let is_mean = shape.kind != NormKind::SumOfSquares;
            let square = if is_mean { squares / count } else { squares };
            let factor = 1.0 / (square + f32::from_bits(shape.epsilon)).sqrt();
            out[row * 2] = canonical(mean);
            out[row * 2 + 1] = canonical(factor);
        }
    }
}

struct Normed<'a> {
    width: usize,
    values: &'a [f32],
    statistics: &'a [f32],
    weight: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Task for Normed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { width, values, statistics, weight, bias, out } = self;
        for row in 0..out.len() / width {
            let (mean, factor) = (statistics[row * 2], statistics[row * 2 + 1]);
            let values = &values[row * width..][..width];
            let out = &mut out[row * width..][..width];
            for i in 0..width {
                out[i] = (values[i] - mean) * factor;
            }
            match (weight.map(|weight| &weight[..width]), bias.map(|bias| &bias[..width])) {
                (Some(weight), Some(bias)) => {
                    for i in 0..width {
                        out[i] = out[i].mul_add(weight[i], bias[i]);
                    }
                }
                (Some(factors), None) => {
                    for i in 0..width {
                        out[i] *= factors[i];
                    }
                }
                (None, Some(bias)) => {
                    for i in 0..width {
                        out[i] += bias[i];
                    }
                }
                (None, None) => {}
            }
            for i in 0..width {
                out[i] = canonical(out[i]);
            }
        }
    }
}

struct Gradient<'a> {
    shape: &'a Norm,
    gradient: &'a [f32],
    values: &'a [f32],
    statistics: &'a [f32],
    weight: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Task for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { shape, gradient, values, statistics, weight, out } = self;
        let (width, count) = (shape.width as usize, shape.width as f32);
        for row in 0..out.len() / width {
            let (mean, factor) = (statistics[row * 2], statistics[row * 2 + 1]);
            let gradient = &gradient[row * width..][..width];
            let values = &values[row * width..][..width];
            let out = &mut out[row * width..][..width];
            // The weighted gradient, which the sums read from here.
            match weight.map(|weight| &weight[..width]) {
                Some(weight) => {
                    for i in 0..width {
                        out[i] = gradient[i] * weight[i];
                    }
                }
                None => out.copy_from_slice(gradient),
            }
            let along = row_sum!(width, [g = out, x = values], |sum| {
                g.mul_add((x - mean) * factor, sum)
            });
            let along = if shape.kind == NormKind::SumOfSquares { along } else { along / count };
            let is_layer = shape.kind == NormKind::Layer;
            let mean_gradient =
                if is_layer { row_sum!(width, [g = out], |sum| sum + g) / count } else { 0.0 };
            for i in 0..width {
                // Other norms subtract nothing, which keeps the sign of a zero.
                let own = if is_layer { out[i] - mean_gradient } else { out[i] };
                let normed = (values[i] - mean) * factor;
                out[i] = canonical((-normed).mul_add(along, own) * factor);
            }
        }
    }
}

struct WeightGradient<'a> {
    width: usize,
    gradient: &'a [f32],
    values: &'a [f32],
    statistics: &'a [f32],
    first: usize,
    out: &'a mut [f32],
}

impl Task for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { width, gradient, values, statistics, first, out } = self;
        chains!(statistics.len() / 2, out, |sums, row| {
            let (mean, factor) = (statistics[row * 2], statistics[row * 2 + 1]);
            let gradient = &gradient[row * width + first..][..sums.len()];
            let values = &values[row * width + first..][..sums.len()];
            for i in 0..sums.len() {
                sums[i] = gradient[i].mul_add((values[i] - mean) * factor, sums[i]);
            }
        });
    }
}
