// SPDX-License-Identifier: Apache-2.0

//! Rotation of pairs by their position.

use crate::{Error, Kernels, canonical, error::check, sets::Task, simd::Simd};
use pol_numerics::{Op, Rotation, rotary};
use rayon::prelude::*;

/// Sines and cosines of all positions, which are the same in every layer and step.
pub struct RotaryTable {
    dimensions: u32,
    base: u32,
    length: u32,
    /// For each position, the sines of all pairs, and then their cosines.
    values: Vec<f32>,
}

impl RotaryTable {
    /// Computes the angles of `dimensions` values at `length` positions.
    ///
    /// # Errors
    ///
    /// Fails for shapes that [`Op::Rotation`] does not have.
    pub fn new(dimensions: u32, base: u32, length: u32) -> Result<Self, Error> {
        let (interleaved, inverse) = (false, false);
        let shape =
            Rotation { length, heads: 1, size: dimensions, dimensions, base, interleaved, inverse };
        Op::Rotation(shape).len()?;
        let pairs = dimensions / 2;
        let mut values = vec![0.0; length as usize * dimensions as usize];
        let rows = values.par_chunks_mut((dimensions as usize).max(1)).zip(0..length);
        rows.for_each(|(row, position)| {
            let (sines, cosines) = row.split_at_mut(pairs as usize);
            for (pair, (sine, cosine)) in sines.iter_mut().zip(cosines).enumerate() {
                // All arguments are in the function's range, as the shape has been checked.
                (*sine, *cosine) =
                    rotary(dimensions, base, pair as u32, position).unwrap_or((f32::NAN, f32::NAN));
            }
        });
        Ok(Self { dimensions, base, length, values })
    }
}

impl Kernels {
    /// Rotates pairs of values by their positions, [`Op::Rotation`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says, or the table is of other
    /// angles or too short.
    pub fn rotation(
        self,
        shape: &Rotation,
        table: &RotaryTable,
        values: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::Rotation(*shape).len()?;
        let Rotation { length, heads, size, dimensions, base, interleaved, inverse } = *shape;
        if (table.dimensions, table.base) != (dimensions, base) || table.length < length {
            return Err(Error::Angles);
        }
        check("values", values, &[length, heads, size])?;
        check("out", out, &[length, heads, size])?;
        let (size, dimensions) = ((size as usize).max(1), dimensions as usize);
        let width = size * (heads as usize).max(1);
        out.par_chunks_mut(width).zip(values.par_chunks(width)).enumerate().for_each(
            |(position, (out, values))| {
                let angles = &table.values[position * dimensions..][..dimensions];
                self.run(Rotate { size, interleaved, inverse, angles, values, out });
            },
        );
        Ok(())
    }
}

/// Rotates all heads of a position.
struct Rotate<'a> {
    size: usize,
    interleaved: bool,
    inverse: bool,
    angles: &'a [f32],
    values: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { size, interleaved, inverse, angles, values, out } = self;
        let half = angles.len() / 2;
        let (sines, cosines) = (&angles[..half], &angles[half..][..half]);
        for head in 0..values.len() / size {
            let values = &values[head * size..][..size];
            let out = &mut out[head * size..][..size];
            for i in half * 2..size {
                out[i] = canonical(values[i]);
            }
            if interleaved {
                let (values, out) = (&values[..half * 2], &mut out[..half * 2]);
                for i in 0..half {
                    let turned =
                        turn(values[i * 2], values[i * 2 + 1], sines[i], cosines[i], inverse);
                    (out[i * 2], out[i * 2 + 1]) = turned;
                }
            } else {
                let (a, b) = (&values[..half], &values[half..][..half]);
                let (out_a, out_b) = out.split_at_mut(half);
                let (out_a, out_b) = (&mut out_a[..half], &mut out_b[..half]);
                for i in 0..half {
                    let turned = turn(a[i], b[i], sines[i], cosines[i], inverse);
                    (out_a[i], out_b[i]) = turned;
                }
            }
        }
    }
}

#[inline(always)]
fn turn(a: f32, b: f32, sine: f32, cosine: f32, inverse: bool) -> (f32, f32) {
    let sine = if inverse { -sine } else { sine };
    (canonical((-b).mul_add(sine, a * cosine)), canonical(b.mul_add(cosine, a * sine)))
}
