// SPDX-License-Identifier: Apache-2.0

//! A micro-batch: loss, and gradients of all parameters.

use crate::{
    Error, Plan,
    error::check,
    layers::{Run, angles, bound, rows_of},
    memory::Memory,
    plan,
};
use pol_kernels::{Extras, Kernels, RotaryTable, Scratch};
use pol_numerics::{Product, Summand};
use pol_primitives::model::ModelSpec;

/// Tokens of a chain.
const CHAIN: usize = pol_numerics::CHAIN as usize;

/// Forward and backward pass of micro-batches of one shape.
///
/// All tensors are planned when a step is created, and every micro-batch uses the same memory.
pub struct Step {
    plan: Plan,
    kernels: Kernels,
    tables: Vec<RotaryTable>,
    memory: Memory,
    scratch: Scratch,
    sequences: u32,
    length: u32,
    auxiliary_loss: f32,
}

impl Step {
    /// Plans micro-batches of `sequences` sequences, in each of which `length` tokens predict the
    /// next one.
    ///
    /// # Errors
    ///
    /// Fails if `spec` is invalid or has a part that is not covered, or if the sequences do not fit
    /// the context.
    pub fn new(spec: &ModelSpec, sequences: u32, length: u32) -> Result<Self, Error> {
        let plan = Plan::new(spec)?;
        let tables = tables(spec, sequences, length)?;
        let memory = Memory::new(&plan, sequences as usize, length as usize);
        let (kernels, scratch) = (Kernels::best(), Scratch::default());
        let auxiliary_loss = 0.0;
        Ok(Self { plan, kernels, tables, memory, scratch, sequences, length, auxiliary_loss })
    }

    /// Computes with other kernels than the fastest. They give the same bits.
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = kernels;
        self
    }

    /// Returns the plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the number of bytes of all planned tensors, which have room for all tokens at any
    /// expert. Packed sides of products are left out; they grow to those of the largest product.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Returns the loss of each token of the last micro-batch, in nats.
    pub fn token_losses(&self) -> &[f32] {
        &self.memory.losses
    }

    /// Returns the weighted sum of the auxiliary losses of experts and introspection in the last
    /// micro-batch, which the training objective adds to the loss; 0 for models without both.
    pub fn auxiliary_loss(&self) -> f32 {
        self.auxiliary_loss
    }

    /// Computes the mean loss of `tokens`, in nats per token.
    ///
    /// Each sequence has one token more than the length, and each token but the first is predicted
    /// from those before it.
    ///
    /// # Errors
    ///
    /// Fails if `parameters` or `tokens` are too many or too few, or if a token is not in the
    /// vocabulary.
    pub fn loss(&mut self, parameters: &[f32], tokens: &[u32]) -> Result<f32, Error> {
        self.run(parameters, tokens, None, false)
    }

    /// Computes the mean loss of `tokens`, as [`loss`](Self::loss) does, and the gradient of the
    /// training objective, which it writes over `gradient`. The objective is the loss plus the
    /// [`auxiliary_loss`](Self::auxiliary_loss).
    ///
    /// # Errors
    ///
    /// Fails if [`loss`](Self::loss) does, or if `gradient` has another length than `parameters`.
    pub fn gradient(
        &mut self,
        parameters: &[f32],
        tokens: &[u32],
        gradient: &mut [f32],
    ) -> Result<f32, Error> {
        self.run(parameters, tokens, Some(gradient), true)
    }

    /// Computes the mean loss of `tokens` as [`gradient`](Self::gradient) does, but the gradient of
    /// that loss alone. Both differ for models with experts.
    ///
    /// # Errors
    ///
    /// Fails if [`gradient`](Self::gradient) does.
    pub fn loss_gradient(
        &mut self,
        parameters: &[f32],
        tokens: &[u32],
        gradient: &mut [f32],
    ) -> Result<f32, Error> {
        self.run(parameters, tokens, Some(gradient), false)
    }

    fn run(
        &mut self,
        parameters: &[f32],
        tokens: &[u32],
        mut gradient: Option<&mut [f32]>,
        has_auxiliary: bool,
    ) -> Result<f32, Error> {
        if let Some(gradient) = &gradient {
            check("gradient", gradient, self.plan.len())?;
        }
        check("parameters", parameters, self.plan.len())?;
        let Self { plan, kernels, tables, memory, scratch, sequences, length, auxiliary_loss } =
            self;
        let count = *length as usize;
        check("tokens", tokens, (count + 1) * *sequences as usize)?;
        split(tokens, count, &mut memory.inputs, &mut memory.targets);
        let (plan, kernels) = (&*plan, *kernels);
        let (sequences, length) = (*sequences, *length);
        let mut run =
            Run { plan, kernels, tables, scratch, parameters, sequences, length, has_auxiliary };
        run.embed(&memory.inputs, &mut memory.streams[0])?;
        for (index, block) in plan.blocks.iter().enumerate() {
            let (before, after) = memory.streams.split_at_mut(index + 1);
            let (stream, out) = (&before[index], &mut after[0]);
            run.block(block, stream, &mut memory.blocks[index], &mut memory.work, out)?;
        }
        let stream = &memory.streams[plan.blocks.len()];
        run.norm(&plan.norm, stream, &mut memory.norm.statistics, &mut memory.norm.values)?;
        if let (Some(pass), Some(head)) = (&plan.second_pass, &plan.introspection) {
            run.second_pass(pass, head, memory)?;
            let (stream, norm) = (&memory.second_pass.out, &mut memory.norm);
            run.norm(&plan.norm, stream, &mut norm.statistics, &mut norm.values)?;
        }
        run.head(memory, gradient.as_deref_mut())?;
        if let Some(head) = &plan.introspection {
            let pair = [&memory.norm.values[..], &memory.losses];
            run.introspection(head, pair, &mut memory.introspection, gradient.as_deref_mut())?;
        }
        *auxiliary_loss = memory.auxiliary_loss();
        if let Some(gradient) = gradient {
            run.backward(memory, gradient)?;
        }
        let mut sum = [0.0];
        kernels.row_sums([1, run.tokens()], Summand::Values, &memory.losses, None, &mut sum)?;
        Ok(sum[0] / run.tokens() as f32)
    }
}

/// Returns the sines of all rotations of a batch.
pub(crate) fn tables(
    spec: &ModelSpec,
    sequences: u32,
    length: u32,
) -> Result<Vec<RotaryTable>, Error> {
    if !plan::fits(spec, sequences, length) {
        return Err(Error::Batch { sequences, length, context: spec.context });
    }
    let table = |rotation| RotaryTable::new(angles(rotation), length);
    Ok(spec.rotations().iter().flatten().map(table).collect::<Result<_, _>>()?)
}

/// Splits sequences into tokens that are read and tokens that are predicted, `length` of each.
pub(crate) fn split(tokens: &[u32], length: usize, inputs: &mut [u32], targets: &mut [u32]) {
    let places = inputs.chunks_mut(length).zip(targets.chunks_mut(length));
    for ((inputs, targets), row) in places.zip(tokens.chunks(length + 1)) {
        inputs.copy_from_slice(&row[..length]);
        targets.copy_from_slice(&row[1..]);
    }
}

impl Run<'_> {
    /// Computes the residual stream before the first block.
    pub(crate) fn embed(&self, inputs: &[u32], stream: &mut [f32]) -> Result<(), Error> {
        let ModelSpec { vocabulary, width, .. } = *self.spec();
        let table = &self.parameters[self.plan.embedding.clone()];
        let shape = [self.tokens(), vocabulary, width];
        self.kernels.embedding(shape, table, inputs, stream)?;
        if let Some(positions) = self.plan.positions.clone() {
            let len = self.length as usize * width as usize;
            let positions = &self.parameters[positions][..len];
            for sequence in stream.chunks_mut(len) {
                self.kernels.add(positions, sequence)?;
            }
        }
        Ok(())
    }

    /// Computes losses, and with a gradient that of the head and of the last norm's outputs,
    /// `memory.work.stream`. Logits exist for a part of the tokens at a time.
    fn head(&mut self, memory: &mut Memory, mut gradient: Option<&mut [f32]>) -> Result<(), Error> {
        let (kernels, plan) = (self.kernels, self.plan);
        let ModelSpec { vocabulary, width, caps, .. } = *self.spec();
        let cap = caps.logits.map(bound);
        let weight = &self.parameters[plan.head.clone()];
        for first in (0..self.tokens() as usize).step_by(memory.part) {
            let at = first..(first + memory.part).min(self.tokens() as usize);
            let rows = at.len() as u32;
            let stream = at.start * width as usize..at.end * width as usize;
            let normed = &memory.norm.values[stream.clone()];
            let logits = &mut memory.logits[..at.len() * vocabulary as usize];
            self.logits(normed, logits)?;
            let (shape, targets) = ([rows, vocabulary], &memory.targets[at.clone()]);
            let logarithms = &mut memory.logarithms[..at.len()];
            self.losses(logits, targets, logarithms, &mut memory.losses[at.clone()])?;
            let Some(gradient) = gradient.as_deref_mut() else { continue };
            let upstream = &memory.upstream[at];
            kernels.cross_entropy_gradient(shape, logits, logarithms, targets, upstream, cap)?;
            let of_weight = Product {
                rows: vocabulary,
                inner: rows,
                columns: width,
                left_transposed: true,
                right_transposed: false,
                bias: false,
            };
            let extras = Extras { continues: first > 0, ..Extras::default() };
            let out = &mut gradient[plan.head.clone()];
            kernels.product_with(&of_weight, logits, normed, extras, out, self.scratch)?;
            if let Some(bias) = plan.head_bias.clone() {
                let out = &mut gradient[bias];
                self.continue_column_sums(logits, first > 0, &mut memory.bias, out)?;
            }
            let of_normed = Product {
                rows,
                inner: vocabulary,
                columns: width,
                left_transposed: false,
                right_transposed: false,
                bias: false,
            };
            let out = &mut memory.work.stream[stream];
            kernels.product(&of_normed, logits, weight, None, out, self.scratch)?;
        }
        Ok(())
    }

    /// Computes logits from outputs of the last norm.
    pub(crate) fn logits(&mut self, normed: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let ModelSpec { vocabulary, width, caps, .. } = *self.spec();
        let weight = &self.parameters[self.plan.head.clone()];
        let bias = self.plan.head_bias.clone().map(|bias| &self.parameters[bias]);
        let shape = Product {
            rows: rows_of(normed, width),
            inner: width,
            columns: vocabulary,
            left_transposed: false,
            right_transposed: true,
            bias: bias.is_some(),
        };
        self.kernels.product(&shape, normed, weight, bias, out, self.scratch)?;
        if let Some(cap) = caps.logits {
            self.kernels.soft_cap(bound(cap), out);
        }
        Ok(())
    }

    /// Computes the loss of each token from its logits, and the logarithm of their sum of
    /// exponentials.
    pub(crate) fn losses(
        &self,
        logits: &[f32],
        targets: &[u32],
        logarithms: &mut [f32],
        losses: &mut [f32],
    ) -> Result<(), Error> {
        let shape = [targets.len() as u32, self.spec().vocabulary];
        self.kernels.log_sum_exp(shape, logits, logarithms)?;
        Ok(self.kernels.cross_entropy(shape, logits, logarithms, targets, losses)?)
    }

    /// Continues sums of columns over more rows. Parts end where chains do, so the sums of chains
    /// are added in order, as if all rows were there at once.
    fn continue_column_sums(
        &self,
        rows: &[f32],
        mut continues: bool,
        part: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        for rows in rows.chunks(CHAIN * out.len()) {
            let sums = if continues { &mut *part } else { &mut *out };
            self.column_sums(sums.len() as u32, rows, sums)?;
            if continues {
                self.kernels.add(part, out)?;
            }
            continues = true;
        }
        Ok(())
    }

    /// Computes the gradients of all parameters before the head's, from `memory.work.stream`.
    fn backward(&mut self, memory: &mut Memory, gradient: &mut [f32]) -> Result<(), Error> {
        let (plan, kernels) = (self.plan, self.kernels);
        let ModelSpec { vocabulary, width, context, .. } = *self.spec();
        let (work, again) = (&mut memory.work, &mut memory.second_pass);
        let last = &memory.streams[plan.blocks.len()][..];
        let stream = if plan.second_pass.is_some() { &again.out } else { last };
        let pair = [stream, &work.stream];
        let statistics = &memory.norm.statistics;
        self.norm_gradient(&plan.norm, pair, statistics, gradient, &mut work.other)?;
        std::mem::swap(&mut work.stream, &mut work.other);
        if let Some(pass) = &plan.second_pass {
            self.second_pass_gradient(pass, last, again, work, gradient)?;
        }
        for (index, block) in plan.blocks.iter().enumerate().rev() {
            let (stream, of_block) = (&memory.streams[index], &memory.blocks[index]);
            let first = plan.second_pass.as_ref().map_or(plan.blocks.len(), |pass| pass.first);
            let of_projected = index.checked_sub(first).map(|index| &again.projected[index][..]);
            self.block_gradient(block, stream, of_block, of_projected, work, gradient)?;
        }
        if let Some(pass) = &plan.second_pass {
            kernels.add(&again.tensors, &mut gradient[pass.tensors.clone()])?;
        }
        if let Some(positions) = plan.positions.clone() {
            let (shape, out) = ([self.tokens(), context, width], &mut gradient[positions]);
            kernels.embedding_gradient(shape, &work.stream, &memory.positions, false, out)?;
        }
        let (shape, out) =
            ([self.tokens(), vocabulary, width], &mut gradient[plan.embedding.clone()]);
        let adds = self.spec().tied;
        Ok(kernels.embedding_gradient(shape, &work.stream, &memory.inputs, adds, out)?)
    }
}
