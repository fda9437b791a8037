// SPDX-License-Identifier: Apache-2.0

//! Measures the cost of experts: tokens/s of a dense model, of models of experts with as many
//! active parameters, and of a dense model with as many parameters in total. The models take turns
//! step by step, so other load on the machine slows all of them alike. Prints the table of
//! `docs/benchmarks.md`.
//!
//! `cargo run --release -p pol-model --example experts -- [ROUNDS] [WIDTH]`

use pol_model::{Decoder, Layout, Weights, initial_parameters};
use pol_primitives::{
    model::{Experts, ModelSpec},
    prf::Prf,
};
use std::{env, error::Error, time::Instant};
use tch::Tensor;

const BATCH: u32 = 8;
const CONTEXT: u32 = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(15), |rounds| rounds.parse())?;
    let width: u32 = arguments.next().map_or(Ok(256), |width| width.parse())?;
    tch::set_num_threads(1);
    let dense = |feed_forward| ModelSpec::gpt2(4_096, width, 4, 4, feed_forward, CONTEXT);
    let experts = |count: u8, active: u8| ModelSpec {
        experts: Some(Experts::new(count, active)),
        ..dense(4 * width / u32::from(active))
    };
    let models = [
        ("dense", dense(4 * width)),
        ("5 experts, 1 active", experts(5, 1)),
        ("5 experts, 2 active", experts(5, 2)),
        ("16 experts, 2 active", experts(16, 2)),
        ("dense, as wide as 5 experts of which 2 are active", dense(10 * width)),
    ];
    let mut arms = models
        .into_iter()
        .map(|(name, spec)| Arm::new(name, &spec))
        .collect::<Result<Vec<_>, _>>()?;
    let mut prf = Prf::new("experts", &[1; 32], &[]);
    // The first round is a warm-up and not counted.
    for round in 0..=rounds {
        let tokens: Vec<i64> =
            (0..BATCH * (CONTEXT + 1)).map(|_| prf.below(4_096).into()).collect();
        let tokens = Tensor::from_slice(&tokens).view([i64::from(BATCH), i64::from(CONTEXT) + 1]);
        for arm in &mut arms {
            arm.step(&tokens, round > 0)?;
        }
    }
    println!(
        "| model, {width} wide | parameters | active a token | reading, tokens/s \
         | training, tokens/s | to dense |"
    );
    println!("|---|---|---|---|---|---|");
    let reference = arms.first().map_or(1.0, |arm| median(&arm.training));
    for arm in &arms {
        let rate = |seconds: &[f64]| f64::from(BATCH * CONTEXT) / median(seconds);
        let (reading, training) = (rate(&arm.reading), rate(&arm.training));
        let share = reference / median(&arm.training);
        println!(
            "| {} | {:.2} M | {:.2} M | {reading:.0} | {training:.0} | {share:.2} |",
            arm.name, arm.parameters, arm.active
        );
    }
    Ok(())
}

/// A model under measurement.
struct Arm {
    name: &'static str,
    decoder: Decoder,
    weights: Weights,
    gradient: Vec<f32>,
    /// Parameters in millions, without the embedding.
    parameters: f64,
    /// Active parameters per token in millions, without the embedding.
    active: f64,
    /// Seconds of the forward pass of each round.
    reading: Vec<f64>,
    /// Seconds of the training step of each round.
    training: Vec<f64>,
}

impl Arm {
    fn new(name: &'static str, spec: &ModelSpec) -> Result<Self, Box<dyn Error>> {
        let layout = Layout::new(spec)?;
        let weights = Weights::new(&layout, &initial_parameters(spec, &[7; 32]))?;
        let size = |spec: &ModelSpec| {
            (spec.size() - u64::from(spec.vocabulary) * u64::from(spec.width)) as f64 / 1e6
        };
        let experts = spec.experts.map(|experts| Experts { count: experts.active, ..experts });
        let active = ModelSpec { experts, ..*spec };
        Ok(Self {
            name,
            decoder: Decoder::new(spec)?,
            weights,
            gradient: vec![0.0; layout.len()],
            parameters: size(spec),
            active: size(&active),
            reading: Vec::new(),
            training: Vec::new(),
        })
    }

    fn step(&mut self, tokens: &Tensor, counts: bool) -> Result<(), pol_model::Error> {
        let start = Instant::now();
        let _ = tch::no_grad(|| self.decoder.loss(&self.weights, tokens))?;
        let reading = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let weights = self.weights.share(true)?;
        let objective = self.decoder.forward_loss(&weights, tokens)?.objective;
        weights.gradient(&objective, &mut self.gradient)?;
        if counts {
            self.reading.push(reading);
            self.training.push(start.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
