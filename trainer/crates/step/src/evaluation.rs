// SPDX-License-Identifier: Apache-2.0

//! Losses of sequences, and what a model tells of itself, without gradients.
//!
//! The forward pass is that of a [`Step`](crate::Step), in the memory of a single block. Nothing in
//! it depends on other sequences of a batch, so neither do results.

use crate::{
    Error, Plan,
    error::check,
    layers::Run,
    memory::{BlockMemory, Choice, Normed, Work, logits_at_once},
    plan::{self, Linear},
    second_pass::Again,
    step::{split, tables},
};
use pol_kernels::{Kernels, RotaryTable, Scratch};
use pol_numerics::{Broadcast, Function, MAX_EXTENT, Summand};
use pol_primitives::model::ModelSpec;

/// Forward pass of batches of one shape.
pub struct Evaluation {
    plan: Plan,
    kernels: Kernels,
    tables: Vec<RotaryTable>,
    memory: Memory,
    scratch: Scratch,
    sequences: u32,
    length: u32,
}

/// Observations of the tokens of a batch. All but the first three are empty if the model lacks the
/// part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    /// Loss of each token, in nats.
    pub losses: Vec<f32>,
    /// Likeliest token in the place of each, the first among equals.
    pub likeliest: Vec<u32>,
    /// Probability of that token, which NaN among logits makes NaN.
    pub confidence: Vec<f32>,
    /// Loss of each token that introspection predicts.
    pub predicted_losses: Vec<f32>,
    /// Set for tokens that take the second pass.
    pub chosen: Vec<bool>,
    /// Loss of each token before the second pass.
    pub first_losses: Vec<f32>,
    /// Amplitudes of branches, block by block: for each token, all real parts and then all
    /// imaginary ones.
    pub amplitudes: Vec<Vec<f32>>,
    /// Number of tokens of each expert, block by block. Those of a second pass do not count.
    pub loads: Vec<Vec<u32>>,
}

/// Prediction of the token after some others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NextToken {
    /// Logits of all tokens.
    pub logits: Vec<f32>,
    /// Loss that introspection predicts; `None` if the model does not introspect.
    pub predicted_loss: Option<f32>,
    /// Outputs of the last norm for each token so far.
    pub hidden: Vec<f32>,
}

/// Tensors of a batch. Blocks share them.
struct Memory {
    inputs: Vec<u32>,
    targets: Vec<u32>,
    /// The residual stream before and after a block. For a second pass also two more, and the first
    /// stays.
    streams: [Vec<f32>; 4],
    block: BlockMemory,
    work: Work,
    norm: Normed,
    predicted: Vec<f32>,
    choice: Choice,
    /// Queries, keys, and values of the blocks that run again.
    projected: Vec<Vec<f32>>,
    /// Part of a block's projection that gives queries.
    query: [Vec<f32>; 2],
    /// Tokens whose logits are computed together.
    part: usize,
    logits: Vec<f32>,
    logarithms: Vec<f32>,
    losses: Vec<f32>,
    sums: Vec<f32>,
}

/// Returns the largest number of sequences of `length` tokens in a batch of a model, 0 if not even
/// one is computed.
pub fn most_sequences(spec: &ModelSpec, length: u32) -> u32 {
    if length > spec.context { 0 } else { MAX_EXTENT / plan::rows(spec, length).max(1) }
}

impl Evaluation {
    /// Plans batches of `sequences` sequences, in each of which `length` tokens predict the next
    /// one.
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
        Ok(Self { plan, kernels, tables, memory, scratch, sequences, length })
    }

    /// Calls `visit` with each batch of up to `size` of `sequences`, which have one length, in
    /// order, and an evaluation of its shape.
    ///
    /// # Errors
    ///
    /// Fails if a sequence is too long or too short for the model, and if `visit` fails.
    pub fn in_batches<E: From<Error>>(
        spec: &ModelSpec,
        sequences: &[&[u32]],
        size: usize,
        mut visit: impl FnMut(&mut Self, &[u32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let length = sequences.first().map_or(0, |first| first.len().saturating_sub(1));
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let most = size.min(most_sequences(spec, length) as usize).max(1);
        // The last batch may be smaller, and takes the place of the others in memory.
        let (whole, rest) = sequences.split_at(sequences.len() - sequences.len() % most);
        for part in [whole, rest] {
            let count = part.len().min(most);
            if count == 0 {
                continue;
            }
            let mut evaluation = Self::new(spec, count as u32, length)?;
            for batch in part.chunks(count) {
                visit(&mut evaluation, &batch.concat())?;
            }
        }
        Ok(())
    }

    /// Computes with other kernels than the fastest. They give the same bits.
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = kernels;
        self
    }

    /// Returns the number of bytes of all planned tensors. Packed sides of products are left out;
    /// they grow to those of the largest product.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Returns the loss of each token of the last batch, in nats.
    pub fn token_losses(&self) -> &[f32] {
        &self.memory.losses
    }

    /// Computes the mean loss of each sequence of `tokens`, in nats per token: the sum of a row of
    /// its tokens' losses, divided by their number.
    ///
    /// Each sequence has one token more than the length, and each token but the first is predicted
    /// from those before it.
    ///
    /// # Errors
    ///
    /// Fails if `parameters` or `tokens` are too many or too few, or if a token is not in the
    /// vocabulary.
    pub fn losses(&mut self, parameters: &[f32], tokens: &[u32]) -> Result<&[f32], Error> {
        self.read(parameters, tokens, None)?;
        let Self { kernels, memory: Memory { losses, sums, .. }, sequences, length, .. } = self;
        kernels.row_sums([*sequences, *length], Summand::Values, losses, None, sums)?;
        sums.iter_mut().for_each(|sum| *sum /= *length as f32);
        Ok(sums)
    }

    /// Computes the loss of each token as [`losses`](Self::losses) does, and what the model tells
    /// beside it.
    ///
    /// # Errors
    ///
    /// Fails if [`losses`](Self::losses) does.
    pub fn observe(&mut self, parameters: &[f32], tokens: &[u32]) -> Result<Observations, Error> {
        let mut observations = Observations::default();
        self.read(parameters, tokens, Some(&mut observations))?;
        Ok(observations)
    }

    /// Predicts the token after `tokens`, of which there are at most as many as the length of a
    /// sequence. Tokens after them do not change a prediction, so the rest of the sequence is
    /// filled with any.
    ///
    /// # Errors
    ///
    /// Fails for a batch of several sequences, if `parameters` or `tokens` are too many or too few,
    /// or if a token is not in the vocabulary.
    pub fn predict(&mut self, parameters: &[f32], tokens: &[u32]) -> Result<NextToken, Error> {
        let (sequences, length, context) = (self.sequences, self.length, self.plan.spec().context);
        if sequences != 1 || tokens.is_empty() || tokens.len() > length as usize {
            return Err(Error::Batch { sequences, length: tokens.len() as u32, context });
        }
        let (read, rest) = self.memory.inputs.split_at_mut(tokens.len());
        read.copy_from_slice(tokens);
        rest.fill(0);
        let (mut run, memory) = self.run(parameters)?;
        run.forward(memory, None)?;
        let width = run.spec().width as usize;
        let hidden = &memory.norm.values[..tokens.len() * width];
        let last = &hidden[hidden.len() - width..];
        let mut logits = vec![0.0; run.spec().vocabulary as usize];
        run.logits(last, &mut logits)?;
        let mut predicted = [0.0];
        let head = run.plan.introspection.as_ref();
        let predicted_loss = head.map(|head| {
            run.linear(head, last, None, &mut predicted)?;
            Ok::<_, Error>(predicted[0])
        });
        let predicted_loss = predicted_loss.transpose()?;
        Ok(NextToken { logits, predicted_loss, hidden: hidden.to_vec() })
    }

    /// Computes the losses of all tokens.
    fn read(
        &mut self,
        parameters: &[f32],
        tokens: &[u32],
        mut observations: Option<&mut Observations>,
    ) -> Result<(), Error> {
        let length = self.length as usize;
        check("tokens", tokens, (length + 1) * self.sequences as usize)?;
        split(tokens, length, &mut self.memory.inputs, &mut self.memory.targets);
        let (mut run, memory) = self.run(parameters)?;
        run.forward(memory, observations.as_deref_mut())?;
        run.token_losses(memory, observations.as_deref_mut())?;
        let Some(observations) = observations else { return Ok(()) };
        observations.losses.clone_from(&memory.losses);
        if let Some(head) = &run.plan.introspection {
            run.linear(head, &memory.norm.values, None, &mut memory.predicted)?;
            observations.predicted_losses.clone_from(&memory.predicted);
        }
        Ok(())
    }

    /// Begins a run over the tokens in memory.
    fn run<'a>(&'a mut self, parameters: &'a [f32]) -> Result<(Run<'a>, &'a mut Memory), Error> {
        check("parameters", parameters, self.plan.len())?;
        let Self { plan, kernels, tables, memory, scratch, sequences, length } = self;
        let run = Run {
            plan,
            kernels: *kernels,
            tables,
            scratch,
            parameters,
            sequences: *sequences,
            length: *length,
            has_auxiliary: false,
        };
        Ok((run, memory))
    }
}

impl Run<'_> {
    /// Computes outputs of the last norm from `memory.inputs`.
    fn forward(
        &mut self,
        memory: &mut Memory,
        mut observations: Option<&mut Observations>,
    ) -> Result<(), Error> {
        let plan = self.plan;
        self.embed(&memory.inputs, &mut memory.streams[0])?;
        let first = plan.blocks.len() - memory.projected.len();
        for (index, block) in plan.blocks.iter().enumerate() {
            let [stream, out, ..] = &mut memory.streams;
            self.block(block, stream, &mut memory.block, &mut memory.work, out)?;
            memory.streams.swap(0, 1);
            if let Some(observations) = &mut observations {
                observations.add_block(&memory.block);
            }
            if index >= first {
                std::mem::swap(&mut memory.block.projected, &mut memory.projected[index - first]);
            }
        }
        let Memory { streams, norm, .. } = memory;
        self.norm(&plan.norm, &streams[0], &mut norm.statistics, &mut norm.values)?;
        match &plan.introspection {
            Some(head) => self.pass_again(head, memory, observations),
            None => Ok(()),
        }
    }

    /// Runs the last blocks again, if the model does.
    fn pass_again(
        &mut self,
        head: &Linear,
        memory: &mut Memory,
        observations: Option<&mut Observations>,
    ) -> Result<(), Error> {
        let plan = self.plan;
        let Some(pass) = &plan.second_pass else { return Ok(()) };
        self.linear(head, &memory.norm.values, None, &mut memory.predicted)?;
        self.choose(pass, &memory.predicted, &mut memory.choice)?;
        if let Some(observations) = observations {
            self.token_losses(memory, None)?;
            observations.first_losses.clone_from(&memory.losses);
            observations.chosen = memory.choice.chosen.iter().map(|&chosen| chosen > 0.0).collect();
        }
        for (index, block) in plan.blocks[pass.first..].iter().enumerate() {
            let Memory { streams: [last, before, after, _], query, .. } = memory;
            let stream = if index == 0 { &last[..] } else { &before[..] };
            std::mem::swap(&mut memory.block.projected, &mut memory.projected[index]);
            let again = Again { block, stream, query };
            self.block_again(again, &mut memory.block, &mut memory.work, after)?;
            memory.streams.swap(1, 2);
        }
        let Memory { streams: [last, again, change, out], norm, choice, .. } = memory;
        self.add_change([again, last], &choice.factors, change, out)?;
        self.norm(&plan.norm, out, &mut norm.statistics, &mut norm.values)
    }

    /// Computes losses from outputs of the last norm. Logits exist for a part of the tokens at a
    /// time.
    fn token_losses(
        &mut self,
        memory: &mut Memory,
        mut observations: Option<&mut Observations>,
    ) -> Result<(), Error> {
        let [width, vocabulary] = [self.spec().width, self.spec().vocabulary].map(|n| n as usize);
        let tokens = self.tokens() as usize;
        for first in (0..tokens).step_by(memory.part) {
            let at = first..(first + memory.part).min(tokens);
            let normed = &memory.norm.values[at.start * width..at.end * width];
            let logits = &mut memory.logits[..at.len() * vocabulary];
            let logarithms = &mut memory.logarithms[..at.len()];
            let losses = &mut memory.losses[at.clone()];
            self.logits(normed, logits)?;
            self.losses(logits, &memory.targets[at], logarithms, losses)?;
            if let Some(observations) = &mut observations {
                self.add_likeliest(logits, logarithms, observations)?;
            }
        }
        Ok(())
    }

    /// Adds the likeliest tokens, and their probabilities.
    fn add_likeliest(
        &self,
        logits: &[f32],
        logarithms: &[f32],
        observations: &mut Observations,
    ) -> Result<(), Error> {
        let vocabulary = self.spec().vocabulary;
        let likeliest: Vec<u32> = logits.chunks(vocabulary as usize).map(highest).collect();
        let highest = pick(logits, vocabulary, &likeliest);
        let mut differences = vec![0.0; highest.len()];
        let operands = [(Broadcast::Each, &highest[..]), (Broadcast::Each, logarithms)];
        self.element(Function::Subtract, 1, operands, &mut differences)?;
        let mut confidence = vec![0.0; highest.len()];
        let operands = [(Broadcast::Each, &differences[..])];
        self.element(Function::Exp, 1, operands, &mut confidence)?;
        observations.likeliest.extend(likeliest);
        // A logarithm may be rounded to below the logit.
        let probability = |value: f32| if value > 1.0 { 1.0 } else { value };
        observations.confidence.extend(confidence.into_iter().map(probability));
        Ok(())
    }
}

impl Observations {
    fn add_block(&mut self, block: &BlockMemory) {
        let (amplitudes, loads) =
            (block.superposition.amplitudes(), &block.feed_forward.routing.loads);
        if !amplitudes.is_empty() {
            self.amplitudes.push(amplitudes.to_vec());
        }
        if !loads.is_empty() {
            self.loads.push(loads.clone());
        }
    }
}

/// Returns the place of the highest value, the first among equals. NaN is left out.
fn highest(values: &[f32]) -> u32 {
    let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter().position(|&value| value == highest).unwrap_or(0) as u32
}

/// Returns a value of each row.
fn pick(values: &[f32], width: u32, places: &[u32]) -> Vec<f32> {
    let rows = values.chunks(width as usize).zip(places);
    rows.map(|(row, &place)| row[place as usize]).collect()
}

impl Memory {
    fn new(plan: &Plan, sequences: usize, length: usize) -> Self {
        let (spec, tokens) = (&plan.spec, sequences * length);
        let again = plan.second_pass.as_ref();
        let stream = |is_used| vec![0.0; if is_used { tokens * spec.width as usize } else { 0 }];
        let block = plan.blocks.first().map(|block| BlockMemory::new(plan, block, tokens));
        let block = block.unwrap_or_default();
        let projected = |_| vec![0.0; block.projected.len()];
        let part = logits_at_once(spec, tokens);
        let query = again.map_or(0, |_| spec.width as usize * spec.attention_width() as usize);
        Self {
            inputs: vec![0; tokens],
            targets: vec![0; tokens],
            streams: [true, true, again.is_some(), again.is_some()].map(stream),
            work: Work::new(plan, Some(&block), sequences, length).without_gradients(),
            norm: Normed::new(true, tokens, spec.width as usize),
            predicted: vec![0.0; if plan.introspection.is_some() { tokens } else { 0 }],
            choice: again.map_or_else(Choice::default, |_| Choice::new(tokens, length)),
            projected: again
                .map_or(0..0, |pass| pass.first..plan.blocks.len())
                .map(projected)
                .collect(),
            query: [vec![0.0; query], Vec::new()],
            part,
            logits: vec![0.0; part * spec.vocabulary as usize],
            logarithms: vec![0.0; part],
            losses: vec![0.0; tokens],
            sums: vec![0.0; sequences],
            block,
        }
    }

    fn bytes(&self) -> usize {
        let Self { inputs, targets, streams, block, work, norm, predicted, choice, .. } = self;
        let Self { projected, query, logits, logarithms, losses, sums, .. } = self;
        let lists = streams.iter().chain(projected).chain(query);
        let lists = lists.chain([&norm.statistics, &norm.values, predicted]);
        let lists = lists.chain([logits, logarithms, losses, sums]).map(Vec::as_slice);
        let all = lists.chain(block.tensors()).chain(work.tensors()).chain(choice.tensors());
        let integers = inputs.len() + targets.len() + block.feed_forward.routing.integers();
        (all.map(<[f32]>::len).sum::<usize>() + integers) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_highest_is_the_likeliest() {
        let nan = f32::NAN;
        for (values, place) in [
            (vec![1.0, 3.0, 3.0], 1),
            (vec![nan, -2.0, -1.0], 2),
            (vec![nan, nan], 0),
            (vec![-0.0, 0.0], 0),
            (vec![f32::NEG_INFINITY; 3], 0),
            (vec![0.0, f32::INFINITY], 1),
        ] {
            assert_eq!(highest(&values), place, "{values:?}");
        }
    }
}
