// SPDX-License-Identifier: Apache-2.0

//! Rotation of pairs by their position.

use crate::{Error, Kernels, canonical, rows::rows_of_task, sets::Task, simd::Simd};
use pol_numerics::{Angles, Op, Rotation, rotary};
use rayon::prelude::*;

/// Sines and cosines of all positions, which are the same in every layer and step.
pub struct RotaryTable {
    angles: Angles,
    length: u32,
    /// For each position, the sines of all pairs, and then their cosines.
    values: Vec<f32>,
}

impl RotaryTable {
    /// Computes `angles` at `length` positions.
    ///
    /// # Errors
    ///
    /// Fails for shapes that [`Op::Rotation`] does not have.
    pub fn new(angles: Angles, length: u32) -> Result<Self, Error> {
        let (dimensions, interleaved, inverse) = (angles.dimensions, false, false);
        let shape = Rotation { length, heads: 1, size: dimensions, angles, interleaved, inverse };
        Op::Rotation(shape).len()?;
        let pairs = dimensions / 2;
        let mut values = vec![0.0; length as usize * dimensions as usize];
        let rows = values.par_chunks_mut((dimensions as usize).max(1)).zip(0..length);
        rows.for_each(|(row, position)| {
            let (sines, cosines) = row.split_at_mut(pairs as usize);
            for (pair, (sine, cosine)) in sines.iter_mut().zip(cosines).enumerate() {
                // All arguments are in the function's range, as the shape has been checked.
                (*sine, *cosine) =
                    rotary(&angles, pair as u32, position).unwrap_or((f32::NAN, f32::NAN));
            }
        });
        Ok(Self { angles, length, values })
    }

    /// Returns the angles.
    pub fn angles(&self) -> Angles {
        self.angles
    }
}

impl Kernels {
    /// Rotates pairs of values by their positions, [`Op::Rotation`], in place. `rows` are tokens of
    /// some sequences, each with `width` values, of which the leading ones are the heads.
    ///
    /// # Errors
    ///
    /// Fails if `rows` are not whole sequences, if heads are wider than a row, or if the table is
    /// of other angles or too short.
    pub fn rotate(
        self,
        shape: &Rotation,
        table: &RotaryTable,
        width: u32,
        rows: &mut [f32],
    ) -> Result<(), Error> {
        Op::Rotation(*shape).len()?;
        let Rotation { length, heads, size, angles, interleaved, inverse } = *shape;
        if table.angles != angles || table.length < length {
            return Err(Error::Angles);
        }
        let [length, heads, size, width] =
            [length, heads, size, width].map(|extent| extent as usize);
        let sequence = length.saturating_mul(width);
        if heads * size > width || rows.len().checked_rem(sequence).unwrap_or(rows.len()) != 0 {
            let expected = rows.len().next_multiple_of(sequence.max(1)) as u64;
            return Err(Error::Length { tensor: "rows", expected, found: rows.len() });
        }
        let count = rows_of_task(width);
        rows.par_chunks_mut((count * width).max(1)).enumerate().for_each(|(task, rows)| {
            self.run(Rotate {
                shape,
                table,
                width,
                first: task * count,
                interleaved,
                inverse,
                rows,
            });
        });
        Ok(())
    }
}

/// Rotates all heads of some tokens.
struct Rotate<'a> {
    shape: &'a Rotation,
    table: &'a RotaryTable,
    width: usize,
    first: usize,
    interleaved: bool,
    inverse: bool,
    rows: &'a mut [f32],
}

impl Task for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { shape, table, width, first, interleaved, inverse, rows } = self;
        let [length, heads, size, dimensions] =
            [shape.length, shape.heads, shape.size, shape.angles.dimensions].map(|x| x as usize);
        let half = dimensions / 2;
        for row in 0..rows.len() / width {
            let angles = &table.values[(first + row) % length * dimensions..][..dimensions];
            let (sines, cosines) = (&angles[..half], &angles[half..][..half]);
            for head in 0..heads {
                let values = &mut rows[row * width + head * size..][..size];
                for i in half * 2..size {
                    values[i] = canonical(values[i]);
                }
                if interleaved {
                    let values = &mut values[..half * 2];
                    for i in 0..half {
                        let (a, b) = (values[i * 2], values[i * 2 + 1]);
                        let turned = turn(a, b, sines[i], cosines[i], inverse);
                        (values[i * 2], values[i * 2 + 1]) = turned;
                    }
                } else {
                    let (a, b) = values.split_at_mut(half);
                    let (a, b) = (&mut a[..half], &mut b[..half]);
                    for i in 0..half {
                        (a[i], b[i]) = turn(a[i], b[i], sines[i], cosines[i], inverse);
                    }
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
