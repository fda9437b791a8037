// SPDX-License-Identifier: Apache-2.0

//! Softmax, cross-entropy, and their gradients.

use crate::{
    Error, Kernels, canonical,
    error::{check, check_entries},
    rows::{CHUNK, highest, larger, row_sum, rows_of_task},
    sets::Task,
    simd::Simd,
};
use pol_numerics::{
    Op,
    functions::{exp, log, soft_cap_slope},
};
use rayon::prelude::*;

impl Kernels {
    /// Computes logarithms of sums of exponentials of rows, [`Op::LogSumExp`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn log_sum_exp(
        self,
        [rows, columns]: [u32; 2],
        values: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::LogSumExp { rows, columns }.len()?;
        check("values", values, &[rows, columns])?;
        check("out", out, &[rows])?;
        let width = columns as usize;
        let count = rows_of_task(width);
        out.par_chunks_mut(count).enumerate().for_each(|(task, out)| {
            let values = &values[task * count * width..][..out.len() * width];
            self.run(LogSumExp { width, values, out });
        });
        Ok(())
    }

    /// Computes the loss of each token, [`Op::CrossEntropy`], from logits and their
    /// [`Kernels::log_sum_exp`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says, or a target is not in the
    /// vocabulary.
    pub fn cross_entropy(
        self,
        [rows, columns]: [u32; 2],
        logits: &[f32],
        logarithms: &[f32],
        targets: &[u32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::CrossEntropy { rows, columns }.len()?;
        check("logits", logits, &[rows, columns])?;
        check("logarithms", logarithms, &[rows])?;
        check("targets", targets, &[rows])?;
        check_entries("targets", targets, columns)?;
        check("out", out, &[rows])?;
        for (row, out) in out.iter_mut().enumerate() {
            let logit = logits[row * columns as usize + targets[row] as usize];
            *out = canonical(logarithms[row] - logit);
        }
        Ok(())
    }

    /// Turns logits into their gradient, [`Op::CrossEntropyGradient`]. `upstream` is that of the
    /// losses.
    ///
    /// With a `cap`, logits are those of [`Kernels::soft_cap`], and the gradient is that of the
    /// values before it: [`Function::SoftCapSlope`](pol_numerics::Function::SoftCapSlope) follows.
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says, or a target is not in the
    /// vocabulary.
    pub fn cross_entropy_gradient(
        self,
        [rows, columns]: [u32; 2],
        logits: &mut [f32],
        logarithms: &[f32],
        targets: &[u32],
        upstream: &[f32],
        cap: Option<f32>,
    ) -> Result<(), Error> {
        Op::CrossEntropyGradient { rows, columns }.len()?;
        check("logits", logits, &[rows, columns])?;
        check("logarithms", logarithms, &[rows])?;
        check("targets", targets, &[rows])?;
        check_entries("targets", targets, columns)?;
        check("upstream", upstream, &[rows])?;
        let width = (columns as usize).max(1);
        logits.par_chunks_mut(width).enumerate().for_each(|(row, logits)| {
            let (logarithm, upstream) = (logarithms[row], upstream[row]);
            self.run(LossGradient { logits, logarithm, target: targets[row], upstream, cap });
        });
        Ok(())
    }

    /// Computes shares of each row, [`Op::Softmax`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn softmax(
        self,
        [rows, columns]: [u32; 2],
        values: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::Softmax { rows, columns }.len()?;
        check("values", values, &[rows, columns])?;
        check("out", out, &[rows, columns])?;
        let width = (columns as usize).max(1);
        let count = rows_of_task(width) * width;
        out.par_chunks_mut(count).zip(values.par_chunks(count)).for_each(|(out, values)| {
            self.run(Softmax { width, values, out });
        });
        Ok(())
    }

    /// Computes the gradient of values from that of shares, [`Op::SoftmaxGradient`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn softmax_gradient(
        self,
        [rows, columns]: [u32; 2],
        gradient: &[f32],
        shares: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::SoftmaxGradient { rows, columns }.len()?;
        check("gradient", gradient, &[rows, columns])?;
        check("shares", shares, &[rows, columns])?;
        check("out", out, &[rows, columns])?;
        let width = (columns as usize).max(1);
        let count = rows_of_task(width) * width;
        out.par_chunks_mut(count).enumerate().for_each(|(task, out)| {
            let at = task * count..task * count + out.len();
            let (gradient, shares) = (&gradient[at.clone()], &shares[at]);
            self.run(SoftmaxGradient { width, gradient, shares, out });
        });
        Ok(())
    }
}

struct LogSumExp<'a> {
    width: usize,
    values: &'a [f32],
    out: &'a mut [f32],
}

impl Task for LogSumExp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { width, values, out } = self;
        let mut powers = [0f32; CHUNK];
        for row in 0..out.len() {
            let values = &values[row * width..][..width];
            let (mut best, mut total, mut first) = (f32::NEG_INFINITY, 0f32, 0);
            while first < width {
                let len = CHUNK.min(width - first);
                let chunk = &values[first..first + len];
                let raised = larger(best, highest(chunk));
                total *= exp(best - raised);
                best = raised;
                let powers = &mut powers[..len];
                for i in 0..len {
                    powers[i] = exp(chunk[i] - raised);
                }
                total += row_sum!(len, [power = powers], |sum| sum + power);
                first += len;
            }
            out[row] = canonical(best + log(total));
        }
    }
}

struct LossGradient<'a> {
    logits: &'a mut [f32],
    logarithm: f32,
    target: u32,
    upstream: f32,
    cap: Option<f32>,
}

impl Task for LossGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { logits, logarithm, target, upstream, cap } = self;
        let target = target as usize;
        let logit = logits[target];
        let error = (exp(logit - logarithm) - 1.0) * upstream;
        let Some(cap) = cap else {
            for i in 0..logits.len() {
                logits[i] = canonical(exp(logits[i] - logarithm) * upstream);
            }
            logits[target] = canonical(error);
            return;
        };
        for i in 0..logits.len() {
            let gradient = exp(logits[i] - logarithm) * upstream;
            logits[i] = canonical(gradient * soft_cap_slope(logits[i], cap));
        }
        logits[target] = canonical(error * soft_cap_slope(logit, cap));
    }
}

struct Softmax<'a> {
    width: usize,
    values: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { width, values, out } = self;
        for row in 0..out.len() / width {
            let values = &values[row * width..][..width];
            let out = &mut out[row * width..][..width];
            let best = highest(values);
            for i in 0..width {
                out[i] = exp(values[i] - best);
            }
            let total = row_sum!(width, [power = out], |sum| sum + power);
            for i in 0..width {
                out[i] = canonical(out[i] / total);
            }
        }
    }
}

struct SoftmaxGradient<'a> {
    width: usize,
    gradient: &'a [f32],
    shares: &'a [f32],
    out: &'a mut [f32],
}

impl Task for SoftmaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { width, gradient, shares, out } = self;
        for row in 0..out.len() / width {
            let gradient = &gradient[row * width..][..width];
            let shares = &shares[row * width..][..width];
            let out = &mut out[row * width..][..width];
            let mean = row_sum!(width, [g = gradient, p = shares], |sum| g.mul_add(p, sum));
            for i in 0..width {
                out[i] = canonical(shares[i] * (gradient[i] - mean));
            }
        }
    }
}
