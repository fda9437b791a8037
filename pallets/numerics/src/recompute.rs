// SPDX-License-Identifier: Apache-2.0

//! The definition of every operator, element by element.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "Op::len has bounded extents by 2^20, so that products of three fit into 64 bits"
)]

use crate::{
    constants::rotary,
    functions::{
        exp, gelu, gelu_slope, gelu_tanh, gelu_tanh_slope, log, reciprocal_root, sigmoid, silu,
        silu_slope, soft_cap, soft_cap_slope,
    },
    op::{
        AdamW, AdamWPart, Attention, AttentionPart, Broadcast, Chain, Element, Error, Function,
        MAX_READS, Norm, NormKind, Op, Product, Rotation, Summand,
    },
    real::Single,
};
use core::cell::Cell;

/// Terms of a chain before its sum is put aside.
pub const CHAIN: u64 = 256;
/// Sums of a row that grow side by side.
pub const LANES: usize = 32;
/// Terms of a row that one set of lanes takes, and logits that one maximum serves.
pub const ROW_CHUNK: u64 = 1_024;
/// Keys that one maximum serves, and terms of a chain over keys or queries.
pub const KEY_CHUNK: u64 = 64;

/// Access to the inputs of an operator, of which only some values need be there.
pub trait Inputs {
    /// Returns the encoding of value `index` of input number `input`, or `None` if it is absent.
    fn get(&self, input: u8, index: u64) -> Option<u32>;
}

impl Inputs for [&[u32]] {
    fn get(&self, input: u8, index: u64) -> Option<u32> {
        <[&[u32]]>::get(self, usize::from(input))?.get(usize::try_from(index).ok()?).copied()
    }
}

/// Computes element `index` of the output of `op`, as an encoding, with the arithmetic of `F`.
///
/// It reads the inputs that the element depends on, at most [`MAX_READS`] times, and allocates
/// nothing. All `F` give the same bits.
///
/// # Errors
///
/// Fails for shapes that the operator does not have, for an index beyond the output, for elements
/// that depend on too much, and if `inputs` lacks a value.
pub fn recompute<F: Single>(
    op: &Op,
    inputs: &(impl Inputs + ?Sized),
    index: u64,
) -> Result<u32, Error> {
    if index >= op.len()? {
        return Err(Error::Index);
    }
    let reader = Reader { inputs, reads: Cell::new(0) };
    let value: F = match *op {
        Op::Product(product) => reader.product(product, index)?,
        Op::Chain(chain) => reader.chain(chain, index)?,
        Op::Sum { columns, of, .. } => reader.row_sum(columns.into(), of, index)?,
        Op::CumulativeSum { columns, .. } => {
            let first = index - index % u64::from(columns);
            (first..=index).try_fold(F::ZERO, |sum, i| Ok(sum.plus(reader.at(0, i)?)))?
        }
        Op::Element(element) => reader.element(element, index)?,
        Op::NormStatistics(norm) => reader.norm_statistic(norm, index)?,
        Op::Norm(norm) => reader.norm(norm, index)?,
        Op::NormGradient(norm) => reader.norm_gradient(norm, index)?,
        Op::NormWeightGradient(norm) => reader.norm_weight_gradient(norm, index)?,
        Op::LogSumExp { columns, .. } => reader.log_sum_exp(columns.into(), index)?,
        Op::CrossEntropy { columns, .. } => {
            let logit =
                reader.at(0, index * u64::from(columns) + reader.target(columns, index)?)?;
            reader.at::<F>(1, index)?.minus(logit)
        }
        Op::CrossEntropyGradient { columns, .. } => reader.loss_gradient(columns, index)?,
        Op::Softmax { columns, .. } => reader.softmax(columns.into(), index)?,
        Op::SoftmaxGradient { columns, .. } => reader.softmax_gradient(columns.into(), index)?,
        Op::Attention(attention) => reader.attention(attention, index)?,
        Op::Embedding { entries, width, .. } => {
            let (row, column) = (index / u64::from(width), index % u64::from(width));
            reader.at(0, reader.entry(1, row, entries)? * u64::from(width) + column)?
        }
        Op::EmbeddingGradient { rows, entries, width } => {
            let (entry, column) = (index / u64::from(width), index % u64::from(width));
            let mut sum = F::ZERO;
            for row in 0..u64::from(rows) {
                if reader.entry(1, row, entries)? == entry {
                    sum = sum.plus(reader.at(0, row * u64::from(width) + column)?);
                }
            }
            sum
        }
        Op::Rotation(rotation) => reader.rotation(rotation, index)?,
        Op::Choice { count, active, .. } => {
            return reader.choice::<F>(count.into(), active.into(), index);
        }
        Op::AdamW(step) => reader.adamw(step, index)?,
    };
    Ok(value.to_bits())
}

/// Inputs, and how often they were read.
struct Reader<'a, I: ?Sized> {
    inputs: &'a I,
    reads: Cell<u32>,
}

impl<I: Inputs + ?Sized> Reader<'_, I> {
    fn integer(&self, input: u8, index: u64) -> Result<u32, Error> {
        let reads = self.reads.get() + 1;
        if reads > MAX_READS {
            return Err(Error::TooLong);
        }
        self.reads.set(reads);
        self.inputs.get(input, index).ok_or(Error::Missing { input, index })
    }

    fn at<F: Single>(&self, input: u8, index: u64) -> Result<F, Error> {
        self.integer(input, index).map(F::from_bits)
    }

    /// Reads an integer below `bound`.
    fn entry(&self, input: u8, index: u64, bound: u32) -> Result<u64, Error> {
        let entry = self.integer(input, index)?;
        if entry < bound { Ok(entry.into()) } else { Err(Error::Shape) }
    }

    fn target(&self, columns: u32, row: u64) -> Result<u64, Error> {
        self.entry(2, row, columns)
    }

    fn product<F: Single>(&self, product: Product, index: u64) -> Result<F, Error> {
        let [rows, inner, columns] = [product.rows, product.inner, product.columns].map(u64::from);
        let (row, column) = (index / columns, index % columns);
        let sum = chained(inner, CHAIN, |sum: F, k| {
            let left = if product.left_transposed { k * rows + row } else { row * inner + k };
            let right =
                if product.right_transposed { column * inner + k } else { k * columns + column };
            Ok(self.at::<F>(0, left)?.fused(self.at(1, right)?, sum))
        })?;
        Ok(if product.bias { sum.plus(self.at(2, column)?) } else { sum })
    }

    fn chain<F: Single>(&self, chain: Chain, index: u64) -> Result<F, Error> {
        let (length, width) = (u64::from(chain.length), u64::from(chain.inner));
        let (outer, column) = (index / width, index % width);
        chained(length, CHAIN, |sum: F, k| {
            let place = outer * length + k;
            let value = self.at::<F>(0, place * width + column)?;
            Ok(if chain.weighted { value.fused(self.at(1, place)?, sum) } else { sum.plus(value) })
        })
    }

    fn row_sum<F: Single>(&self, columns: u64, of: Summand, row: u64) -> Result<F, Error> {
        summed(columns, |sum: F, i| {
            let value = self.at::<F>(0, row * columns + i)?;
            Ok(match of {
                Summand::Values => sum.plus(value),
                Summand::Squares => value.fused(value, sum),
                Summand::Products => value.fused(self.at(1, row * columns + i)?, sum),
            })
        })
    }

    fn element<F: Single>(&self, element: Element, index: u64) -> Result<F, Error> {
        let columns = u64::from(element.columns);
        let [a, b, c] = element.operands.map(|broadcast| match broadcast {
            Broadcast::Each => index,
            Broadcast::Row => index / columns,
            Broadcast::Column => index % columns,
            Broadcast::One => 0,
        });
        let first: F = self.at(0, a)?;
        let second = || self.at::<F>(1, b);
        Ok(match element.function {
            Function::Add => first.plus(second()?),
            Function::Subtract => first.minus(second()?),
            Function::Multiply => first.times(second()?),
            Function::Divide => first.over(second()?),
            Function::MultiplyAdd => first.fused(second()?, self.at(2, c)?),
            Function::Above => {
                if second()?.is_below(first) {
                    F::ONE
                } else {
                    F::ZERO
                }
            }
            Function::Exp => exp(first),
            Function::Log => log(first),
            Function::ReciprocalRoot => reciprocal_root(first),
            Function::Sigmoid => sigmoid(first),
            Function::Silu => silu(first),
            Function::SiluSlope => first.times(silu_slope(second()?)),
            Function::GeluTanh => gelu_tanh(first),
            Function::GeluTanhSlope => first.times(gelu_tanh_slope(second()?)),
            Function::Gelu => gelu(first),
            Function::GeluSlope => first.times(gelu_slope(second()?)),
            Function::SoftCap => soft_cap(first, second()?),
            Function::SoftCapSlope => first.times(soft_cap_slope(second()?, self.at(2, c)?)),
        })
    }

    fn norm_statistic<F: Single>(&self, norm: Norm, index: u64) -> Result<F, Error> {
        let width = u64::from(norm.width);
        let (row, count) = (index / 2, integer::<F>(width));
        let mean = match norm.kind {
            NormKind::Layer => self.row_sum::<F>(width, Summand::Values, row)?.over(count),
            NormKind::MeanSquare | NormKind::SumOfSquares => F::ZERO,
        };
        if index.is_multiple_of(2) {
            return Ok(mean);
        }
        let squares = summed(width, |sum: F, i| {
            let centred = self.at::<F>(0, row * width + i)?.minus(mean);
            Ok(centred.fused(centred, sum))
        })?;
        let mean_square =
            if norm.kind == NormKind::SumOfSquares { squares } else { squares.over(count) };
        Ok(reciprocal_root(mean_square.plus(F::from_bits(norm.epsilon))))
    }

    /// Value `index` of input `values`, normed by the statistics that follow it.
    fn normed<F: Single>(&self, values: u8, width: u64, index: u64) -> Result<F, Error> {
        let row = index / width;
        let centred = self.at::<F>(values, index)?.minus(self.at(values + 1, row * 2)?);
        Ok(centred.times(self.at(values + 1, row * 2 + 1)?))
    }

    fn norm<F: Single>(&self, norm: Norm, index: u64) -> Result<F, Error> {
        let width = u64::from(norm.width);
        let normed = self.normed::<F>(0, width, index)?;
        let weight = || self.at::<F>(2, index % width);
        let bias = || self.at::<F>(2 + u8::from(norm.weight), index % width);
        Ok(match (norm.weight, norm.bias) {
            (true, true) => normed.fused(weight()?, bias()?),
            (true, false) => normed.times(weight()?),
            (false, true) => normed.plus(bias()?),
            (false, false) => normed,
        })
    }

    fn norm_gradient<F: Single>(&self, norm: Norm, index: u64) -> Result<F, Error> {
        let width = u64::from(norm.width);
        let (row, count) = (index / width, integer::<F>(width));
        let gradient = |i: u64| {
            let gradient = self.at::<F>(0, row * width + i)?;
            Ok(if norm.weight { gradient.times(self.at(3, i)?) } else { gradient })
        };
        let normed = |i: u64| self.normed::<F>(1, width, row * width + i);
        let along = summed(width, |sum: F, i| Ok(gradient(i)?.fused(normed(i)?, sum)))?;
        let along = if norm.kind == NormKind::SumOfSquares { along } else { along.over(count) };
        let own = gradient(index % width)?;
        let centred = if norm.kind == NormKind::Layer {
            own.minus(summed(width, |sum: F, i| Ok(sum.plus(gradient(i)?)))?.over(count))
        } else {
            own
        };
        let change = normed(index % width)?.negated().fused(along, centred);
        Ok(change.times(self.at(2, row * 2 + 1)?))
    }

    fn norm_weight_gradient<F: Single>(&self, norm: Norm, column: u64) -> Result<F, Error> {
        let width = u64::from(norm.width);
        chained(norm.rows.into(), CHAIN, |sum: F, row| {
            let place = row * width + column;
            Ok(self.at::<F>(0, place)?.fused(self.normed(1, width, place)?, sum))
        })
    }

    fn log_sum_exp<F: Single>(&self, columns: u64, row: u64) -> Result<F, Error> {
        let mut running = Running::new();
        for first in (0..columns).step_by(ROW_CHUNK as usize) {
            let len = ROW_CHUNK.min(columns - first);
            let value = |i: u64| self.at::<F>(0, row * columns + first + i);
            let (highest, _) = running.raise(highest(len, value)?);
            let sum = summed(len, |sum: F, i| Ok(sum.plus(exp(value(i)?.minus(highest)))))?;
            running.sum = running.sum.plus(sum);
        }
        Ok(running.highest.plus(log(running.sum)))
    }

    fn loss_gradient<F: Single>(&self, columns: u32, index: u64) -> Result<F, Error> {
        let (row, column) = (index / u64::from(columns), index % u64::from(columns));
        let share = exp(self.at::<F>(0, index)?.minus(self.at(1, row)?));
        let is_target = self.target(columns, row)? == column;
        let error = if is_target { share.minus(F::ONE) } else { share };
        Ok(error.times(self.at(3, row)?))
    }

    fn softmax<F: Single>(&self, columns: u64, index: u64) -> Result<F, Error> {
        let first = index - index % columns;
        let highest = highest(columns, |i| self.at::<F>(0, first + i))?;
        let power = |i: u64| Ok(exp(self.at::<F>(0, i)?.minus(highest)));
        let sum = summed(columns, |sum: F, i| Ok(sum.plus(power(first + i)?)))?;
        Ok(power(index)?.over(sum))
    }

    fn softmax_gradient<F: Single>(&self, columns: u64, index: u64) -> Result<F, Error> {
        let mean = self.row_sum::<F>(columns, Summand::Products, index / columns)?;
        Ok(self.at::<F>(1, index)?.times(self.at::<F>(0, index)?.minus(mean)))
    }

    fn rotation<F: Single>(&self, rotation: Rotation, index: u64) -> Result<F, Error> {
        let (size, dimensions) = (u64::from(rotation.size), u64::from(rotation.angles.dimensions));
        let (start, place) = (index - index % size, index % size);
        if place >= dimensions {
            return self.at(0, index);
        }
        let half = dimensions / 2;
        let (pair, is_second) = if rotation.interleaved {
            (place / 2, place % 2 == 1)
        } else {
            (place % half, place >= half)
        };
        let (a, b) =
            if rotation.interleaved { (pair * 2, pair * 2 + 1) } else { (pair, pair + half) };
        let (a, b) = (self.at::<F>(0, start + a)?, self.at::<F>(0, start + b)?);
        let position = (start / size / u64::from(rotation.heads)) as u32;
        let (sine, cosine) =
            rotary::<F>(&rotation.angles, pair as u32, position).ok_or(Error::Shape)?;
        let sine = if rotation.inverse { sine.negated() } else { sine };
        Ok(if is_second {
            b.fused(cosine, a.times(sine))
        } else {
            b.negated().fused(sine, a.times(cosine))
        })
    }

    fn choice<F: Single>(&self, count: u64, active: u64, index: u64) -> Result<u32, Error> {
        let (row, place) = (index / active, index % active);
        // At most 255 experts.
        let mut ranks = [F::ZERO; 256];
        for (rank, expert) in ranks.iter_mut().zip(0..count) {
            let score = self.at::<F>(0, row * count + expert)?;
            let size = if score.is_below(F::ZERO) { score.negated() } else { score };
            *rank = score.over(size.plus(F::ONE)).plus(self.at(1, expert)?);
        }
        let ranks = ranks.get(..count as usize).unwrap_or_default();
        // The expert before which as many stand as the place says.
        let before = |(a, at): (&F, usize), (b, bt): (&F, usize)| {
            let is_nan = |x: &F| x.to_bits() == crate::NAN;
            match (is_nan(a), is_nan(b)) {
                (false, true) => true,
                (true, false) => false,
                _ => b.is_below(*a) || (!a.is_below(*b) && at < bt),
            }
        };
        let found = ranks.iter().zip(0..).position(|own| {
            ranks.iter().zip(0..).filter(|&other| before(other, own)).count() as u64 == place
        });
        found.map(|expert| expert as u32).ok_or(Error::Shape)
    }

    fn adamw<F: Single>(&self, step: AdamW, index: u64) -> Result<F, Error> {
        let factors = step.factors;
        let of = F::from_bits;
        let gradient = self.at::<F>(3, index)?.times(self.at(4, 0)?);
        let first = || {
            Ok(self.at::<F>(1, index)?.fused(of(factors.beta1), gradient.times(of(factors.share1))))
        };
        let second = || {
            let square = gradient.times(gradient).times(of(factors.share2));
            Ok(self.at::<F>(2, index)?.fused(of(factors.beta2), square))
        };
        match step.part {
            AdamWPart::First => first(),
            AdamWPart::Second => second(),
            AdamWPart::Parameters => {
                let deviation =
                    second()?.root().fused(of(factors.correction2), of(factors.epsilon));
                let parameter = self.at::<F>(0, index)?;
                let kept = if step.decays { parameter.times(of(factors.decay)) } else { parameter };
                Ok(of(factors.rate).negated().fused(first()?.over(deviation), kept))
            }
        }
    }

    fn attention<F: Single>(&self, shape: Attention, index: u64) -> Result<F, Error> {
        let (size, heads) = (u64::from(shape.size), u64::from(shape.heads));
        let head = Head { reader: self, shape };
        match shape.part {
            AttentionPart::LogSumExp => head
                .forward::<F>(index / heads, index % heads, None)
                .map(|(_, logarithm)| logarithm),
            AttentionPart::Output => {
                let (place, column) = (index / size, index % size);
                head.forward::<F>(place / heads, place % heads, Some(column))
                    .map(|(mixed, _)| mixed)
            }
            AttentionPart::QueryGradient => {
                let (place, column) = (index / size, index % size);
                head.query_gradient(place / heads, place % heads, column)
            }
            AttentionPart::KeyGradient | AttentionPart::ValueGradient => {
                let (place, column) = (index / size, index % size);
                let shared = u64::from(shape.shared);
                head.key_or_value_gradient(place / shared, place % shared, column)
            }
        }
    }
}

/// The attention of one operator.
struct Head<'a, 'b, I: ?Sized> {
    reader: &'a Reader<'b, I>,
    shape: Attention,
}

impl<I: Inputs + ?Sized> Head<'_, '_, I> {
    fn first_seen(&self, query: u64) -> u64 {
        self.shape.window.map_or(0, |window| (query + 1).saturating_sub(window.into()))
    }

    /// Place of a vector of a query's head.
    fn query(&self, query: u64, head: u64) -> u64 {
        (query * u64::from(self.shape.heads) + head) * u64::from(self.shape.size)
    }

    /// Place of a vector of the head of keys and values that serves a query's head.
    fn key(&self, key: u64, head: u64) -> u64 {
        let group = u64::from(self.shape.heads) / u64::from(self.shape.shared);
        (key * u64::from(self.shape.shared) + head / group) * u64::from(self.shape.size)
    }

    /// Product of two vectors, as an element of a product of matrices.
    fn dot<F: Single>(&self, left: (u8, u64), right: (u8, u64)) -> Result<F, Error> {
        chained(self.shape.size.into(), CHAIN, |sum: F, i| {
            let a = self.reader.at::<F>(left.0, left.1 + i)?;
            Ok(a.fused(self.reader.at(right.0, right.1 + i)?, sum))
        })
    }

    fn cap<F: Single>(&self) -> Option<F> {
        self.shape.cap.map(F::from_bits)
    }

    fn score<F: Single>(&self, query: u64, key: u64, head: u64) -> Result<F, Error> {
        let dot = self.dot::<F>((0, self.query(query, head)), (1, self.key(key, head)))?;
        let score = dot.times(F::from_bits(self.shape.scale));
        Ok(self.cap().map_or(score, |cap| soft_cap(score, cap)))
    }

    /// Returns value `column` of the output of a query, zero without one, and the logarithm of its
    /// sum of exponentials.
    fn forward<F: Single>(
        &self,
        query: u64,
        head: u64,
        column: Option<u64>,
    ) -> Result<(F, F), Error> {
        let (mut running, mut mixed) = (Running::<F>::new(), F::ZERO);
        for (first, len) in key_chunks(self.first_seen(query), query + 1) {
            let mut scores = [F::ZERO; KEY_CHUNK as usize];
            for (score, key) in scores.iter_mut().zip(first..first + len) {
                *score = self.score(query, key, head)?;
            }
            let scores = || scores.iter().copied().zip(first..first + len);
            let mut best = F::ONE.negated().over(F::ZERO);
            for (score, _) in scores() {
                best = if best.is_below(score) { score } else { best };
            }
            let (highest, shrink) = running.raise(best);
            let (mut sum, mut part) = (F::ZERO, F::ZERO);
            for (score, key) in scores() {
                let weight = exp(score.minus(highest));
                sum = sum.plus(weight);
                if let Some(column) = column {
                    part = weight.fused(self.reader.at(2, self.key(key, head) + column)?, part);
                }
            }
            running.sum = running.sum.plus(sum);
            mixed = mixed.fused(shrink, part);
        }
        Ok((mixed.over(running.sum), running.highest.plus(log(running.sum))))
    }

    /// Returns the weight of a pair, and the gradient of its score before a bound.
    fn pair<F: Single>(&self, query: u64, key: u64, head: u64) -> Result<(F, F), Error> {
        let row = query * u64::from(self.shape.heads) + head;
        let score = self.score::<F>(query, key, head)?;
        let weight = exp(score.minus(self.reader.at(4, row)?));
        if self.shape.part == AttentionPart::ValueGradient {
            return Ok((weight, F::ZERO));
        }
        let gradient = self.dot::<F>((3, self.query(query, head)), (2, self.key(key, head)))?;
        let gradient = weight.times(gradient.minus(self.reader.at(5, row)?));
        let bounded = |cap| gradient.times(soft_cap_slope(score, cap));
        Ok((weight, self.cap().map_or(gradient, bounded)))
    }

    fn query_gradient<F: Single>(&self, query: u64, head: u64, column: u64) -> Result<F, Error> {
        let mut total = None;
        for (first, len) in key_chunks(self.first_seen(query), query + 1) {
            let sum = (first..first + len).try_fold(F::ZERO, |sum, key| {
                let (_, gradient) = self.pair::<F>(query, key, head)?;
                Ok(gradient.fused(self.reader.at(1, self.key(key, head) + column)?, sum))
            })?;
            total = Some(total.map_or(sum, |total: F| total.plus(sum)));
        }
        Ok(total.unwrap_or(F::ZERO).times(F::from_bits(self.shape.scale)))
    }

    fn key_or_value_gradient<F: Single>(
        &self,
        key: u64,
        shared: u64,
        column: u64,
    ) -> Result<F, Error> {
        let Attention { length, heads, shared: all, part, window, scale, .. } = self.shape;
        let (length, group) = (u64::from(length), u64::from(heads) / u64::from(all));
        let end = window.map_or(length, |window| length.min(key + u64::from(window)));
        let is_key = part == AttentionPart::KeyGradient;
        let mut total = None;
        for head in shared * group..(shared + 1) * group {
            for (first, len) in key_chunks(key, end) {
                let sum = (first..first + len).try_fold(F::ZERO, |sum, query| {
                    let (weight, gradient) = self.pair::<F>(query, key, head)?;
                    let place = self.query(query, head) + column;
                    Ok(if is_key {
                        gradient.fused(self.reader.at(0, place)?, sum)
                    } else {
                        weight.fused(self.reader.at(3, place)?, sum)
                    })
                })?;
                total = Some(total.map_or(sum, |total: F| total.plus(sum)));
            }
        }
        let total = total.unwrap_or(F::ZERO);
        Ok(if is_key { total.times(F::from_bits(scale)) } else { total })
    }
}

/// A sum of exponentials below a maximum that may still rise.
struct Running<F> {
    highest: F,
    sum: F,
}

impl<F: Single> Running<F> {
    fn new() -> Self {
        Self { highest: F::ONE.negated().over(F::ZERO), sum: F::ZERO }
    }

    /// Takes a maximum of further terms into account. Returns the maximum, and the factor on sums
    /// so far.
    fn raise(&mut self, highest: F) -> (F, F) {
        let raised = if self.highest.is_below(highest) { highest } else { self.highest };
        let shrink = exp(self.highest.minus(raised));
        (self.highest, self.sum) = (raised, self.sum.times(shrink));
        (raised, shrink)
    }
}

/// Returns start and length of the parts of a range between multiples of [`KEY_CHUNK`].
fn key_chunks(first: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    (first / KEY_CHUNK..end.div_ceil(KEY_CHUNK)).map(move |chunk| {
        let start = first.max(chunk * KEY_CHUNK);
        (start, end.min((chunk + 1) * KEY_CHUNK).saturating_sub(start))
    })
}

fn integer<F: Single>(value: u64) -> F {
    use crate::real::Double;
    F::Wide::from_integer(value).narrow()
}

/// Returns the largest of `len` values, minus infinity if there are none. NaN is left out.
fn highest<F: Single>(len: u64, value: impl Fn(u64) -> Result<F, Error>) -> Result<F, Error> {
    (0..len).try_fold(F::ONE.negated().over(F::ZERO), |highest, i| {
        let value = value(i)?;
        Ok(if highest.is_below(value) { value } else { highest })
    })
}

/// Returns a sum of `len` terms that `add` adds one after the other: from zero for each `chunk` of
/// them, whose sums are added in order.
fn chained<F: Single>(
    len: u64,
    chunk: u64,
    add: impl Fn(F, u64) -> Result<F, Error>,
) -> Result<F, Error> {
    let mut total = None;
    for first in (0..len).step_by(chunk as usize) {
        let sum = (first..len.min(first + chunk)).try_fold(F::ZERO, &add)?;
        total = Some(total.map_or(sum, |total: F| total.plus(sum)));
    }
    Ok(total.unwrap_or(F::ZERO))
}

/// Returns a sum of `len` terms of a row: in [`LANES`] that are added in pairs, for each
/// [`ROW_CHUNK`] of terms, and the same way for the sums of chunks.
fn summed<F: Single>(len: u64, add: impl Fn(F, u64) -> Result<F, Error>) -> Result<F, Error> {
    sum_range(0, len, &add)
}

fn sum_range<F: Single>(
    first: u64,
    len: u64,
    add: &impl Fn(F, u64) -> Result<F, Error>,
) -> Result<F, Error> {
    if len <= ROW_CHUNK {
        return lanes(len, |sum, i| add(sum, first + i));
    }
    let mut span = ROW_CHUNK;
    while span * ROW_CHUNK < len {
        span *= ROW_CHUNK;
    }
    lanes(len.div_ceil(span), |sum: F, i| {
        let start = i * span;
        Ok(sum.plus(sum_range(first + start, span.min(len - start), add)?))
    })
}

fn lanes<F: Single>(len: u64, add: impl Fn(F, u64) -> Result<F, Error>) -> Result<F, Error> {
    let mut sums = [F::ZERO; LANES];
    for first in (0..len).step_by(LANES) {
        for (sum, i) in sums.iter_mut().zip(first..len) {
            *sum = add(*sum, i)?;
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = sums.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low = low.plus(*high);
        }
        half /= 2;
    }
    Ok(sums.first().copied().unwrap_or(F::ZERO))
}
