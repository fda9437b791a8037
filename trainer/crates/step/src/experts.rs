// SPDX-License-Identifier: Apache-2.0

//! A feed-forward layer of experts, forward and backward.
//!
//! A row is a token at one of its experts. Rows are in order of experts, and those of an expert in
//! order of tokens, so that an expert's products are those of any feed-forward layer. An expert
//! without tokens has products without terms, which are zero.

use crate::{
    Error,
    layers::Run,
    memory::{FeedForwardMemory, FeedForwardWork, Routing},
    plan::{FeedForward, Router},
};
use pol_numerics::{Broadcast, Chain, Element, Function, Summand};
use pol_primitives::{MILLION, model::Experts};
use std::ops::Range;

impl Run<'_> {
    /// Computes `addend` plus what the experts make of the rows of `x`.
    pub(crate) fn experts(
        &mut self,
        (layer, router): (&FeedForward, &Router),
        x: &[f32],
        memory: &mut FeedForwardMemory,
        work: &mut FeedForwardWork,
        addend: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.route(router, x, &mut memory.routing, work)?;
        let (kernels, tokens, width) = (self.kernels, self.tokens(), self.spec().width);
        for (index, rows) in experts_of(&memory.routing.loads) {
            let values = values_of(&rows, width);
            let inputs = &mut work.rows[0][..values.len()];
            let shape = [rows.len() as u32, tokens, width];
            kernels.embedding(shape, x, &memory.routing.tokens[rows.clone()], inputs)?;
            let expert = layer.expert(index);
            let inner = memory.inner.rows_mut(&rows, self.spec().feed_forward);
            self.feed_forward(&expert, inputs, inner, None, &mut memory.outputs[values])?;
        }
        let Routing { gates, rows, .. } = &memory.routing;
        let count = rows.len() as u32;
        kernels.embedding([count, count, width], &memory.outputs, rows, &mut work.choices)?;
        let length = router.experts.active.into();
        let shape = Chain { outer: tokens, length, inner: width, weighted: true };
        kernels.chain(&shape, &work.choices, Some(gates), out)?;
        addend.map_or(Ok(()), |addend| Ok(kernels.add(addend, out)?))
    }

    /// Chooses the experts of each token, and computes their gates and the auxiliary losses.
    fn route(
        &mut self,
        router: &Router,
        x: &[f32],
        routing: &mut Routing,
        work: &mut FeedForwardWork,
    ) -> Result<(), Error> {
        let (kernels, tokens) = (self.kernels, self.tokens());
        let Experts { count, active, .. } = router.experts;
        let [count, active] = [count, active].map(u32::from);
        let FeedForwardWork { scores, picked, .. } = work;
        self.linear(&router.scores, x, None, scores)?;
        let bias = &self.parameters[router.bias.clone()];
        kernels.choice([tokens, count, active], scores, bias, &mut routing.chosen)?;
        for (place, (picked, &expert)) in picked.iter_mut().zip(&routing.chosen).enumerate() {
            *picked = scores[place / active as usize * count as usize + expert as usize];
        }
        kernels.softmax([tokens, active], picked, &mut routing.gates)?;
        routing.sort(active);
        kernels.softmax([tokens, count], scores, &mut routing.probabilities)?;
        kernels.log_sum_exp([tokens, count], scores, &mut routing.logarithms)?;
        routing.auxiliary_loss = self.auxiliary_loss(router, routing, &mut work.means)?;
        Ok(())
    }

    /// Returns the weighted sum of the auxiliary losses.
    fn auxiliary_loss(
        &self,
        router: &Router,
        routing: &Routing,
        means: &mut [f32],
    ) -> Result<f32, Error> {
        let (kernels, tokens) = (self.kernels, self.tokens());
        let Experts { count, balance, z, .. } = router.experts;
        let Routing { probabilities, logarithms, shares, excesses, .. } = routing;
        self.column_sums(count.into(), probabilities, means)?;
        means.iter_mut().for_each(|sum| *sum /= tokens as f32);
        let along = |a: &[f32], b: &[f32]| {
            let mut sum = [0.0];
            let shape = [1, count.into()];
            kernels.row_sums(shape, Summand::Products, a, Some(b), &mut sum).map(|()| sum[0])
        };
        let bias = &self.parameters[router.bias.clone()];
        let spread = along(means, shares)? * f32::from(count) + along(bias, excesses)?;
        let mut squares = [0.0];
        kernels.row_sums([1, tokens], Summand::Squares, logarithms, None, &mut squares)?;
        let mean = squares[0] / tokens as f32;
        Ok(spread * constant(balance, 1.0) + mean * constant(z, 1.0))
    }

    /// Computes the gradient of the layer's inputs `x` from that of its outputs, `dy`.
    pub(crate) fn experts_gradient(
        &mut self,
        (layer, router): (&FeedForward, &Router),
        [x, dy]: [&[f32]; 2],
        memory: &FeedForwardMemory,
        gradient: &mut [f32],
        work: &mut FeedForwardWork,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let (kernels, tokens, width) = (self.kernels, self.tokens(), self.spec().width);
        let Routing { gates, tokens: of_rows, rows: of_choices, loads, .. } = &memory.routing;
        for (&gate, &row) in gates.iter().zip(of_choices) {
            work.gates[row as usize] = gate;
        }
        for (index, rows) in experts_of(loads) {
            self.expert_gradient(layer, (index, rows), [x, dy], memory, gradient, work)?;
        }
        self.scores_gradient(router, &memory.routing, work)?;
        if self.has_auxiliary {
            self.auxiliary_gradient(router, &memory.routing, work)?;
        }
        let balance = if self.has_auxiliary { router.experts.balance } else { 0 };
        let of_bias = gradient[router.bias.clone()].iter_mut().zip(&memory.routing.excesses);
        of_bias.for_each(|(out, excess)| *out = excess * constant(balance, 1.0));
        self.linear_gradient(&router.scores, [x, &work.scores], gradient, None, out)?;
        let shape = [of_rows.len() as u32, tokens, width];
        Ok(kernels.embedding_gradient(shape, &work.choices, of_rows, true, out)?)
    }

    /// Computes the gradients of an expert's parameters, of its inputs, `work.choices`, and of its
    /// gates, `work.products`, at its rows.
    fn expert_gradient(
        &mut self,
        layer: &FeedForward,
        (index, rows): (usize, Range<usize>),
        [x, dy]: [&[f32]; 2],
        memory: &FeedForwardMemory,
        gradient: &mut [f32],
        work: &mut FeedForwardWork,
    ) -> Result<(), Error> {
        let (kernels, width) = (self.kernels, self.spec().width);
        let (expert, values) = (layer.expert(index), values_of(&rows, width));
        let [first, second] = work.rows.each_mut().map(|rows| &mut rows[..values.len()]);
        let tokens = &memory.routing.tokens[rows.clone()];
        let count = rows.len() as u32;
        let shape = [count, self.tokens(), width];
        kernels.embedding(shape, dy, tokens, first)?;
        let (outputs, products) =
            (&memory.outputs[values.clone()], &mut work.products[rows.clone()]);
        kernels.row_sums([count, width], Summand::Products, outputs, Some(first), products)?;
        let operands = [Broadcast::Each, Broadcast::Row, Broadcast::One];
        let scaled =
            Element { function: Function::Multiply, rows: count, columns: width, operands };
        kernels.element(&scaled, [Some(first), Some(&work.gates[rows.clone()]), None], second)?;
        let of_hidden = self.spec().feed_forward;
        let inner = memory.inner.rows(&rows, of_hidden);
        let of_inner = work.inner.rows_mut(&(0..rows.len()), of_hidden);
        self.inner_gradient(&expert, inner, second, gradient, of_inner)?;
        kernels.embedding(shape, x, tokens, first)?;
        let of_inner = work.inner.rows(&(0..rows.len()), of_hidden);
        let out = &mut work.choices[values];
        self.input_gradient(&expert, first, of_inner, gradient, second, out)
    }

    /// Computes the gradient of scores, `work.scores`, from that of gates, `work.products`.
    fn scores_gradient(
        &self,
        router: &Router,
        routing: &Routing,
        work: &mut FeedForwardWork,
    ) -> Result<(), Error> {
        let [count, active] = [router.experts.count, router.experts.active].map(u32::from);
        let FeedForwardWork { products, gates: of_gates, picked, scores, .. } = work;
        for (gate, &row) in of_gates.iter_mut().zip(&routing.rows) {
            *gate = products[row as usize];
        }
        let shape = [self.tokens(), active];
        self.kernels.softmax_gradient(shape, of_gates, &routing.gates, picked)?;
        scores.fill(0.0);
        for (place, (&picked, &expert)) in picked.iter().zip(&routing.chosen).enumerate() {
            scores[place / active as usize * count as usize + expert as usize] = picked;
        }
        Ok(())
    }

    /// Adds the gradient of the auxiliary losses to that of scores, `work.scores`.
    fn auxiliary_gradient(
        &self,
        router: &Router,
        routing: &Routing,
        work: &mut FeedForwardWork,
    ) -> Result<(), Error> {
        let (kernels, tokens) = (self.kernels, self.tokens());
        let Experts { count, balance, z, .. } = router.experts;
        let shape = [tokens, count.into()];
        let FeedForwardWork { scores, means, spread: [first, second], logarithms, .. } = work;
        let of_share = constant(balance, f64::from(count) / f64::from(tokens));
        for (out, share) in means.iter_mut().zip(&routing.shares) {
            *out = share * of_share;
        }
        first.chunks_mut(means.len()).for_each(|row| row.copy_from_slice(means));
        kernels.softmax_gradient(shape, first, &routing.probabilities, second)?;
        let of_logarithm = constant(z, 2.0 / f64::from(tokens));
        for (out, logarithm) in logarithms.iter_mut().zip(&routing.logarithms) {
            *out = logarithm * of_logarithm;
        }
        let operands = [Broadcast::Each, Broadcast::Row, Broadcast::Each];
        let [rows, columns] = shape;
        let sum = Element { function: Function::MultiplyAdd, rows, columns, operands };
        let values = [&routing.probabilities, logarithms, second].map(|values| Some(&values[..]));
        kernels.element(&sum, values, first)?;
        Ok(kernels.add(first, scores)?)
    }
}

impl Routing {
    /// Orders choices, `active` of each token, by expert.
    fn sort(&mut self, active: u32) {
        let Self { chosen, tokens, rows, loads, shares, excesses, .. } = self;
        loads.fill(0);
        chosen.iter().for_each(|&expert| loads[expert as usize] += 1);
        let mut next = [0u32; Experts::MAX_COUNT as usize];
        let mut first = 0;
        for (next, load) in next.iter_mut().zip(&*loads) {
            *next = first;
            first += load;
        }
        for (place, (row, &expert)) in rows.iter_mut().zip(&*chosen).enumerate() {
            let next = &mut next[expert as usize];
            *row = *next;
            tokens[*row as usize] = place as u32 / active;
            *next += 1;
        }
        let even = 1.0 / loads.len() as f32;
        for ((share, excess), &load) in shares.iter_mut().zip(excesses).zip(&*loads) {
            *share = load as f32 / first as f32;
            *excess = *share - even;
        }
    }
}

/// Returns each expert and its rows.
fn experts_of(loads: &[u32]) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut first = 0;
    loads.iter().enumerate().map(move |(index, &load)| {
        let rows = first..first + load as usize;
        first = rows.end;
        (index, rows)
    })
}

/// Returns the values of some rows.
fn values_of(rows: &Range<usize>, width: u32) -> Range<usize> {
    rows.start * width as usize..rows.end * width as usize
}

/// Returns a number of millionths times `factor`.
fn constant(millionths: u32, factor: f64) -> f32 {
    (f64::from(millionths) / f64::from(MILLION) * factor) as f32
}

#[cfg(test)]
mod tests;
