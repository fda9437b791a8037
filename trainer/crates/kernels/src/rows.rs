// SPDX-License-Identifier: Apache-2.0

//! Sums of rows, and sums along other extents.
//!
//! Loops over values are plain, and functions in them are inlined. Those of iterators may stay
//! functions of their own, which are compiled for the least processor.

use crate::{
    Error, Kernels, canonical,
    error::{check, check_optional},
    sets::Task,
    simd::Simd,
};
use pol_numerics::{Chain, LANES, Op, ROW_CHUNK, Summand};
use rayon::prelude::*;

/// Terms that one set of lanes takes.
pub(crate) const CHUNK: usize = ROW_CHUNK as usize;
/// Values that a task handles, about.
const TASK: usize = 1 << 14;
/// Columns of a task of sums along rows.
pub(crate) const COLUMNS: usize = 64;

/// Returns the number of rows that a task handles.
pub(crate) fn rows_of_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// Adds lanes in pairs.
#[inline(always)]
pub(crate) fn reduce(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Sums a row as the definition does: `row_sum!(len, [a = slice, …], |sum| …)`, where each name is
/// the value of its slice, and the last part the sum with a term more. Rows of more than 2^20 terms
/// have no definition.
macro_rules! row_sum {
    ($len:expr, [$($value:ident = $slice:expr),+], |$sum:ident| $next:expr) => {{
        let (len, mut first, mut chunk) = ($len, 0, 0);
        let (mut outer, mut last) = ([0f32; pol_numerics::LANES], 0f32);
        $(let $value = &$slice[..len];)+
        while first < len {
            let end = len.min(first + $crate::rows::CHUNK);
            let mut sums = [0f32; pol_numerics::LANES];
            while first < end {
                let count = pol_numerics::LANES.min(end - first);
                $(let $value = &$value[first..first + count];)+
                // A variable bound: as a constant, it makes scalar code of the loop.
                for lane in 0..count {
                    let $sum = sums[lane];
                    $(let $value = $value[lane];)+
                    sums[lane] = $next;
                }
                first += count;
            }
            last = $crate::rows::reduce(sums);
            outer[chunk % pol_numerics::LANES] += last;
            chunk += 1;
        }
        if chunk > 1 { $crate::rows::reduce(outer) } else { last }
    }};
}
pub(crate) use row_sum;

/// Computes chains side by side into `$out`, of at most `COLUMNS` values: `$body` adds term `$k` to
/// each of `$sums`.
macro_rules! chains {
    ($length:expr, $out:ident, |$sums:ident, $k:ident| $body:block) => {{
        let (length, mut $k) = ($length, 0);
        $out.fill(0.0);
        let mut sums = [0f32; $crate::rows::COLUMNS];
        while $k < length {
            let is_first = $k == 0;
            let end = length.min($k + pol_numerics::CHAIN as usize);
            let $sums = &mut sums[..$out.len()];
            for i in 0..$sums.len() {
                $sums[i] = 0.0;
            }
            while $k < end {
                $body
                $k += 1;
            }
            for i in 0..$out.len() {
                // The first sum is not added to zero, which would take the sign of a zero.
                $out[i] = if is_first { $sums[i] } else { $out[i] + $sums[i] };
            }
        }
        for i in 0..$out.len() {
            $out[i] = canonical($out[i]);
        }
    }};
}
pub(crate) use chains;

/// Returns the largest value, minus infinity if there is none. NaN is left out. The sign of a zero
/// depends on the order of comparisons; nothing that is computed from it does.
#[inline(always)]
pub(crate) fn highest(values: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut first = 0;
    while first < values.len() {
        let count = LANES.min(values.len() - first);
        let part = &values[first..first + count];
        for lane in 0..count {
            best[lane] = larger(best[lane], part[lane]);
        }
        first += count;
    }
    let mut all = f32::NEG_INFINITY;
    for lane in 0..LANES {
        all = larger(all, best[lane]);
    }
    all
}

/// Returns `value` if it is larger than `best`, which is not NaN.
#[inline(always)]
pub(crate) fn larger(best: f32, value: f32) -> f32 {
    if best < value { value } else { best }
}

impl Kernels {
    /// Computes sums of rows, [`Op::Sum`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn row_sums(
        self,
        [rows, columns]: [u32; 2],
        of: Summand,
        values: &[f32],
        others: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::Sum { rows, columns, of }.len()?;
        check("values", values, &[rows, columns])?;
        check_optional("others", others, of == Summand::Products, &[rows, columns])?;
        check("out", out, &[rows])?;
        let width = columns as usize;
        let count = rows_of_task(width);
        let others = others.unwrap_or(values);
        out.par_chunks_mut(count).enumerate().for_each(|(task, out)| {
            let range = task * count * width..(task * count + out.len()) * width;
            let (values, others) = (&values[range.clone()], &others[range]);
            self.run(RowSums { of, width, values, others, out });
        });
        Ok(())
    }

    /// Computes sums along a middle extent, [`Op::Chain`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn chain(
        self,
        shape: &Chain,
        values: &[f32],
        weights: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::Chain(*shape).len()?;
        let Chain { outer, length, inner, weighted } = *shape;
        // Three extents of 2^20 fit into 64 bits.
        check("values", values, &[outer, length, inner])?;
        check_optional("weights", weights, weighted, &[outer, length])?;
        check("out", out, &[outer, inner])?;
        let (length, width) = (length as usize, inner as usize);
        out.par_chunks_mut(width.max(1)).enumerate().for_each(|(index, out)| {
            let values = &values[index * length * width..][..length * width];
            let weights = weights.map(|weights| &weights[index * length..][..length]);
            out.par_chunks_mut(COLUMNS).enumerate().for_each(|(task, out)| {
                self.run(Columns { values, weights, width, first: task * COLUMNS, out });
            });
        });
        Ok(())
    }

    /// Computes sums of each value with those before it in its row, [`Op::CumulativeSum`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn cumulative_sum(
        self,
        [rows, columns]: [u32; 2],
        values: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::CumulativeSum { rows, columns }.len()?;
        check("values", values, &[rows, columns])?;
        check("out", out, &[rows, columns])?;
        let width = (columns as usize).max(1);
        out.par_chunks_mut(width).zip(values.par_chunks(width)).for_each(|(out, values)| {
            let mut sum = 0.0;
            for (out, value) in out.iter_mut().zip(values) {
                sum += value;
                *out = canonical(sum);
            }
        });
        Ok(())
    }
}

struct RowSums<'a> {
    of: Summand,
    width: usize,
    values: &'a [f32],
    others: &'a [f32],
    out: &'a mut [f32],
}

impl Task for RowSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { of, width, values, others, out } = self;
        for row in 0..out.len() {
            let values = &values[row * width..][..width];
            let others = &others[row * width..][..width];
            out[row] = canonical(match of {
                Summand::Values => row_sum!(width, [a = values], |sum| sum + a),
                Summand::Squares => row_sum!(width, [a = values], |sum| a.mul_add(a, sum)),
                Summand::Products => {
                    row_sum!(width, [a = values, b = others], |sum| a.mul_add(b, sum))
                }
            });
        }
    }
}

/// Chains down some columns, with `COLUMNS` outputs at most.
struct Columns<'a> {
    values: &'a [f32],
    weights: Option<&'a [f32]>,
    width: usize,
    first: usize,
    out: &'a mut [f32],
}

impl Task for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { values, weights, width, first, out } = self;
        let length = values.len() / width.max(1);
        chains!(length, out, |sums, k| {
            let values = &values[k * width + first..][..sums.len()];
            match weights {
                Some(weights) => {
                    for i in 0..sums.len() {
                        sums[i] = values[i].mul_add(weights[k], sums[i]);
                    }
                }
                None => {
                    for i in 0..sums.len() {
                        sums[i] += values[i];
                    }
                }
            }
        });
    }
}
