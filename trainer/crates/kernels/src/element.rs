// SPDX-License-Identifier: Apache-2.0

//! Functions of each element.

use crate::{
    Error, Kernels, canonical,
    error::{check, check_optional, same_len},
    rows::rows_of_task,
    sets::Task,
    simd::Simd,
};
use pol_numerics::{Broadcast, Element, Function, Op, functions::*};
use rayon::prelude::*;

/// Elements that are computed at a time.
const PART: usize = 256;

/// An operand, and where its values are.
#[derive(Clone, Copy)]
struct Operand<'a> {
    values: &'a [f32],
    broadcast: Broadcast,
}

impl Operand<'_> {
    /// Copies the values for a part of a row. Without values, any will do.
    #[inline(always)]
    fn load(self, row: usize, first: usize, columns: usize, part: &mut [f32]) {
        let Self { values, broadcast } = self;
        if values.is_empty() {
            return;
        }
        let start = match broadcast {
            Broadcast::Each => row * columns + first,
            Broadcast::Column => first,
            Broadcast::Row => return splat(part, values[row]),
            Broadcast::One => return splat(part, values[0]),
        };
        part.copy_from_slice(&values[start..start + part.len()]);
    }
}

#[inline(always)]
fn splat(part: &mut [f32], value: f32) {
    for i in 0..part.len() {
        part[i] = value;
    }
}

/// Returns the number of operands of a function.
fn arity(function: Function) -> usize {
    match function {
        Function::Add
        | Function::Subtract
        | Function::Multiply
        | Function::Divide
        | Function::Above
        | Function::SiluSlope
        | Function::GeluTanhSlope
        | Function::GeluSlope
        | Function::SoftCap => 2,
        Function::MultiplyAdd | Function::SoftCapSlope => 3,
        Function::Exp
        | Function::Log
        | Function::ReciprocalRoot
        | Function::Sigmoid
        | Function::Silu
        | Function::GeluTanh
        | Function::Gelu => 1,
    }
}

impl Kernels {
    /// Computes a function of each element, [`Op::Element`]. Operands are as many as the function
    /// has; the others are `None`.
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn element(
        self,
        shape: &Element,
        operands: [Option<&[f32]>; 3],
        out: &mut [f32],
    ) -> Result<(), Error> {
        Op::Element(*shape).len()?;
        let Element { function, rows, columns, operands: broadcasts } = *shape;
        check("out", out, &[rows, columns])?;
        let names = ["the first operand", "the second operand", "the third operand"];
        for (i, name) in names.into_iter().enumerate() {
            let extents = match broadcasts[i] {
                Broadcast::Each => [rows, columns],
                Broadcast::Row => [rows, 1],
                Broadcast::Column => [1, columns],
                Broadcast::One => [1, 1],
            };
            check_optional(name, operands[i], i < arity(function), &extents)?;
        }
        let operand = |i: usize| Operand {
            values: operands[i].unwrap_or_default(),
            broadcast: broadcasts[i],
        };
        let operands = [operand(0), operand(1), operand(2)];
        let columns = (columns as usize).max(1);
        let count = rows_of_task(columns);
        out.par_chunks_mut(count * columns).enumerate().for_each(|(task, out)| {
            self.run(Elements { function, operands, row: task * count, columns, out });
        });
        Ok(())
    }
}

impl Kernels {
    /// Adds `others` to `out`, as [`Function::Add`] does.
    ///
    /// # Errors
    ///
    /// Fails if both are not equally long.
    pub fn add(self, others: &[f32], out: &mut [f32]) -> Result<(), Error> {
        same_len("others", others, out)?;
        let parts = out.par_chunks_mut(rows_of_task(1)).zip(others.par_chunks(rows_of_task(1)));
        parts.for_each(|(out, others)| self.run(Sum { others, out }));
        Ok(())
    }
}

impl Kernels {
    /// Bounds values in place, as [`Function::SoftCap`] does.
    pub fn soft_cap(self, cap: f32, values: &mut [f32]) {
        let parts = values.par_chunks_mut(rows_of_task(1));
        parts.for_each(|values| self.run(SoftCap { cap, values }));
    }
}

struct SoftCap<'a> {
    cap: f32,
    values: &'a mut [f32],
}

impl Task for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { cap, values } = self;
        for i in 0..values.len() {
            values[i] = canonical(soft_cap(values[i], cap));
        }
    }
}

struct Sum<'a> {
    others: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { others, out } = self;
        let others = &others[..out.len()];
        for i in 0..out.len() {
            out[i] = canonical(out[i] + others[i]);
        }
    }
}

/// Computes some rows.
struct Elements<'a> {
    function: Function,
    operands: [Operand<'a>; 3],
    row: usize,
    columns: usize,
    out: &'a mut [f32],
}

/// Computes an expression of the operands for each element of a part.
macro_rules! each {
    ($out:ident, [$a:ident, $b:ident, $c:ident], $value:expr) => {
        for i in 0..$out.len().min(PART) {
            let ($a, $b, $c) = ($a[i], $b[i], $c[i]);
            let _ = ($b, $c);
            $out[i] = canonical($value);
        }
    };
}

impl Task for Elements<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { function, operands, row, columns, out } = self;
        let (mut a, mut b, mut c) = ([0f32; PART], [0f32; PART], [0f32; PART]);
        let mut done = 0;
        while done < out.len() {
            let (row, first) = (row + done / columns, done % columns);
            let len = PART.min(columns - first);
            operands[0].load(row, first, columns, &mut a[..len]);
            operands[1].load(row, first, columns, &mut b[..len]);
            operands[2].load(row, first, columns, &mut c[..len]);
            let out = &mut out[done..done + len];
            match function {
                Function::Add => each!(out, [a, b, c], a + b),
                Function::Subtract => each!(out, [a, b, c], a - b),
                Function::Multiply => each!(out, [a, b, c], a * b),
                Function::Divide => each!(out, [a, b, c], a / b),
                Function::MultiplyAdd => each!(out, [a, b, c], a.mul_add(b, c)),
                Function::Above => each!(out, [a, b, c], if b < a { 1.0 } else { 0.0 }),
                Function::Exp => each!(out, [a, b, c], exp(a)),
                Function::Log => each!(out, [a, b, c], log(a)),
                Function::ReciprocalRoot => each!(out, [a, b, c], reciprocal_root(a)),
                Function::Sigmoid => each!(out, [a, b, c], sigmoid(a)),
                Function::Silu => each!(out, [a, b, c], silu(a)),
                Function::SiluSlope => each!(out, [a, b, c], a * silu_slope(b)),
                Function::GeluTanh => each!(out, [a, b, c], gelu_tanh(a)),
                Function::GeluTanhSlope => each!(out, [a, b, c], a * gelu_tanh_slope(b)),
                Function::Gelu => each!(out, [a, b, c], gelu(a)),
                Function::GeluSlope => each!(out, [a, b, c], a * gelu_slope(b)),
                Function::SoftCap => each!(out, [a, b, c], soft_cap(a, b)),
                Function::SoftCapSlope => each!(out, [a, b, c], a * soft_cap_slope(b, c)),
            }
            done += len;
        }
    }
}
