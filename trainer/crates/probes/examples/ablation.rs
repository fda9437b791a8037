// SPDX-License-Identifier: Apache-2.0

//! Measures the gain and the cost of each layer of the mind. Tiny decoders with and without it
//! learn the same batches of English text. They take turns step by step, so other load on the
//! machine slows all of them alike. Prints the table of `docs/mind.md`.
//!
//! `cargo run --release -p pol-probes --example ablation -- FOLDER_OF_TEXTS [STEPS] [SEED…]`

use pol_model::{Decoder, Layout, Weights, initial_parameters};
use pol_primitives::{
    model::{Mind, ModelSpec, PositionEncoding, Superposition},
    prf::Prf,
};
use pol_probes::measure;
use std::{env, error::Error, fs, path::Path, time::Instant};
use tch::Tensor;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CONTEXT: usize = 128;
const BATCH: usize = 8;
/// Number of batches of held-out text that every arm is measured on.
const HELD_OUT: usize = 32;
/// Peak learning rate.
const PEAK_RATE: f64 = 4e-3;

/// Returns the arms, the baseline first. Tokens are bytes.
fn arms() -> Vec<(&'static str, ModelSpec)> {
    let none = ModelSpec {
        positions: PositionEncoding::Rotary { dimensions: 24, base: 10_000, interleaved: false },
        ..ModelSpec::gpt2(256, 96, 4, 4, 384, CONTEXT as u32)
    };
    let superposition = Some(Superposition { branches: 4, rank: 16 });
    let with = |mind| ModelSpec { mind, ..none };
    let with_superposition = with(Mind { superposition, ..Mind::default() });
    // A wider feed-forward layer with as many parameters as the superposition.
    let more = (with_superposition.size() - none.size())
        / (u64::from(none.layers) * u64::from(2 * none.width + 1));
    vec![
        ("none", none),
        (
            "wider feed-forward (control)",
            ModelSpec { feed_forward: none.feed_forward + more as u32, ..none },
        ),
        ("superposition", with_superposition),
        ("introspection", with(Mind { introspection: true, ..Mind::default() })),
        (
            "second pass of the last 2 blocks",
            with(Mind { introspection: true, second_pass: 2, ..Mind::default() }),
        ),
        ("all of them", with(Mind { superposition, introspection: true, second_pass: 2 })),
    ]
}

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("give a folder of text files")?;
    let steps: u32 = arguments.next().map_or(Ok(1_200), |steps| steps.parse())?;
    let mut seeds =
        arguments.map(|seed| seed.parse()).collect::<std::result::Result<Vec<u8>, _>>()?;
    if seeds.is_empty() {
        seeds = vec![1, 2];
    }
    tch::set_num_threads(1);
    let (training, held_out) = texts(Path::new(&folder))?;
    println!(
        "{} bytes to learn from, {} held out, {steps} steps of {} tokens\n",
        training.len(),
        held_out.len(),
        BATCH * CONTEXT
    );
    let mut prf = Prf::new("held-out", &[0; 32], &[]);
    let held_out: Vec<_> = (0..HELD_OUT).flat_map(|_| draw(&held_out, &mut prf)).collect();
    let held_out: Vec<&[u32]> = held_out.iter().map(Vec::as_slice).collect();
    for seed in seeds {
        let mut all = arms()
            .into_iter()
            .map(|(name, spec)| Arm::new(name, spec, seed))
            .collect::<Result<Vec<_>>>()?;
        let mut prf = Prf::new("ablation", &[seed; 32], &[]);
        for step in 0..steps {
            let tokens = tensor(&draw(&training, &mut prf));
            for arm in &mut all {
                arm.step(&tokens, step, steps)?;
            }
        }
        println!(
            "seed {seed}\n\n| arm | parameters | held-out loss | tokens/s | AUROC \
             | calibration error | R² | coherence | second pass |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for arm in &all {
            println!("{}", arm.report(&held_out, steps)?);
        }
        println!();
    }
    Ok(())
}

/// Returns the bytes of the texts in `folder` for training, and those of one in sixteen held out.
fn texts(folder: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort_unstable();
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for (index, path) in paths.iter().filter(|path| path.is_file()).enumerate() {
        if index % 16 == 8 { &mut held_out } else { &mut training }.extend(fs::read(path)?);
    }
    if training.len().min(held_out.len()) <= CONTEXT {
        Err("too little text".into())
    } else {
        Ok((training, held_out))
    }
}

/// Draws `BATCH` random sequences of `text`.
fn draw(text: &[u8], prf: &mut Prf) -> Vec<Vec<u32>> {
    let sequence = |_| {
        let start = prf.below((text.len() - CONTEXT) as u32) as usize;
        text[start..=start + CONTEXT].iter().map(|&byte| byte.into()).collect()
    };
    (0..BATCH).map(sequence).collect()
}

/// Returns sequences as a tensor.
fn tensor(sequences: &[Vec<u32>]) -> Tensor {
    let tokens: Vec<i64> = sequences.iter().flatten().copied().map(i64::from).collect();
    Tensor::from_slice(&tokens).view([sequences.len() as i64, -1])
}

/// A model in training.
struct Arm {
    name: &'static str,
    layout: Layout,
    decoder: Decoder,
    parameters: Vec<f32>,
    moments: [Vec<f32>; 2],
    seconds: f64,
}

impl Arm {
    fn new(name: &'static str, spec: ModelSpec, seed: u8) -> Result<Self> {
        let layout = Layout::new(&spec)?;
        let parameters = initial_parameters(&spec, &[seed; 32]);
        let moments = [vec![0.0; layout.len()], vec![0.0; layout.len()]];
        Ok(Self { name, decoder: Decoder::new(&spec)?, layout, parameters, moments, seconds: 0.0 })
    }

    /// Takes one step of AdamW with warm-up and cosine decay.
    fn step(&mut self, tokens: &Tensor, step: u32, steps: u32) -> Result<()> {
        let start = Instant::now();
        let weights = Weights::new(&self.layout, &self.parameters)?.share(true)?;
        let mut gradient = vec![0.0; self.layout.len()];
        weights.gradient(&self.decoder.forward_loss(&weights, tokens)?.objective, &mut gradient)?;
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let clip = (1.0 / norm.max(1e-12)).min(1.0) as f32;
        let (done, count) = (f64::from(step) / f64::from(steps), f64::from(step + 1));
        let rate = PEAK_RATE
            * (count / 50.0).min(1.0)
            * (0.55 + 0.45 * (std::f64::consts::PI * done).cos());
        let bias = [1.0 - 0.9f64.powf(count), 1.0 - 0.95f64.powf(count)];
        let [first, second] = &mut self.moments;
        for slot in self.layout.tensors() {
            let decay = if slot.parameter.decays { 1.0 - 0.1 * rate as f32 } else { 1.0 };
            for i in slot.range() {
                let g = gradient[i] * clip;
                first[i] = 0.9 * first[i] + 0.1 * g;
                second[i] = 0.95 * second[i] + 0.05 * g * g;
                let step = first[i] / bias[0] as f32 / ((second[i] / bias[1] as f32).sqrt() + 1e-8);
                self.parameters[i] = decay * self.parameters[i] - rate as f32 * step;
            }
        }
        self.seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Returns a row of the table.
    fn report(&self, held_out: &[&[u32]], steps: u32) -> Result<String> {
        let measured = measure(self.decoder.spec(), &self.parameters, held_out)?;
        let format = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.3}"));
        let second_pass = measured.second_pass.map_or("–".into(), |effect| {
            format!(
                "{:.0} % of tokens, {:.4} → {:.4}",
                100.0 * effect.share,
                effect.before,
                effect.after
            )
        });
        Ok(format!(
            "| {} | {} | {:.4} | {:.0} | {} | {} | {} | {} | {second_pass} |",
            self.name,
            self.layout.len(),
            measured.loss,
            f64::from(steps) * (BATCH * CONTEXT) as f64 / self.seconds,
            format(measured.auroc),
            format(measured.calibration_error),
            format(measured.introspection),
            format(measured.coherence),
        ))
    }
}
