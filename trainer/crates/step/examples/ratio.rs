// SPDX-License-Identifier: Apache-2.0

//! Compares training steps on kernels with the same steps on libtorch, at its best settings, in one
//! process and in turns.
//!
//! ```sh
//! cargo run --release -p pol-step --example ratio -- [ROUNDS] [NAME] [cpu|wall|losses|pinned]
//! ```
//!
//! The first table has the time that one core spends on a micro-batch forward and backward. Other
//! processes change it little, so it is of use on a busy machine. The second table has whole steps
//! by the clock. With `losses` the only table has the losses of 1,024 tokens without gradients, by
//! the core's time, and with `pinned` the same beside libtorch under the settings that give it the
//! same bits on every processor.
//!
//! A step is two micro-batches of 1,024 tokens forward and backward, the clipped sum of their
//! gradients, and AdamW. libtorch computes with its fastest kernels, fused attention, and both
//! micro-batches as one batch where it has several threads. Under the exact profile it is slower.

use pol_engine::{
    bench::measure_throughput,
    determinism::{self, NumericsMode},
};
use pol_kernels::{AdamWState, Kernels};
use pol_model::{Decoder, Layout, Weights, initial_parameters};
use pol_numerics::{AdamWFactors, AdamWSettings, Summand, clip_factor};
use pol_primitives::{
    MILLION,
    model::{Activation, Biases, Mind, ModelSpec, Norm, PositionEncoding, Superposition},
    prf::Prf,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, Tier, TierParameters},
};
use pol_step::{Evaluation, Step};
use std::{
    env,
    error::Error,
    fs,
    time::{Duration, Instant},
};
use tch::Tensor;

/// Tokens of a micro-batch.
const TOKENS: u32 = 1_024;
/// Micro-batches of a step.
const ACCUMULATION: u16 = 2;
/// Time of a turn.
const TURN: Duration = Duration::from_millis(1_500);

fn models(context: u32) -> [(&'static str, ModelSpec); 7] {
    let llama = ModelSpec {
        key_value_heads: 4,
        feed_forward: 1_408,
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: PositionEncoding::Rotary { dimensions: 64, base: 10_000, interleaved: false },
        biases: Biases::default(),
        ..ModelSpec::gpt2(8_192, 512, 8, 8, 2_048, context)
    };
    let small = ModelSpec::gpt2(2_048, 192, 4, 6, 768, context);
    let superposition = Some(Superposition { branches: 4, rank: 16 });
    let minded = |superposition, introspection, second_pass| {
        let mind = Mind { superposition, introspection, second_pass };
        ModelSpec { mind, ..small }
    };
    [
        ("gpt2-2M", small),
        ("gpt2-30M", ModelSpec::gpt2(8_192, 512, 8, 8, 2_048, context)),
        ("llama-28M", llama),
        ("mind-superposition", minded(superposition, false, 0)),
        ("mind-introspection", minded(None, true, 0)),
        ("mind-second-pass", minded(None, true, 2)),
        ("mind-all", minded(superposition, true, 2)),
    ]
}

fn recipe(model: ModelSpec) -> Recipe {
    let micro_batch = (TOKENS / model.context) as u16;
    let tier =
        TierParameters { micro_batch, accumulation: ACCUMULATION, inner_steps: 4, cadence: 1 };
    Recipe {
        model,
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: model.context as u16,
        shard_tokens: TOKENS,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 1_000_000,
            warmup_steps: 4,
            decay_tokens: 0,
            floor: 100_000,
        },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 64, feedback: 950_000 },
        segments: 4,
        numerics: Numerics::Native { tolerance: 50_000 },
        arithmetic: None,
    }
}

/// Training on kernels.
struct Training {
    step: Step,
    kernels: Kernels,
    parameters: Vec<f32>,
    moments: [Vec<f32>; 2],
    /// Gradient of a micro-batch, and the sum of a step.
    gradient: Vec<f32>,
    sum: Vec<f32>,
    draw: Prf,
    count: u64,
}

impl Training {
    fn new(spec: &ModelSpec) -> Result<Self, Box<dyn Error>> {
        let step = Step::new(spec, TOKENS / spec.context, spec.context)?;
        let zeros = || vec![0.0; step.plan().len()];
        Ok(Self {
            kernels: Kernels::best(),
            parameters: initial_parameters(spec, &[2; 32]),
            moments: [zeros(), zeros()],
            gradient: zeros(),
            sum: zeros(),
            draw: Prf::new("pol/ratio/1", &[0; 32], &[]),
            count: 0,
            step,
        })
    }

    /// Takes a step, and returns its mean loss.
    fn step(&mut self) -> Result<f32, Box<dyn Error>> {
        let (mut losses, spec) = (0.0, *self.step.plan().spec());
        let tokens = TOKENS / spec.context * (spec.context + 1);
        for micro in 0..ACCUMULATION {
            let tokens: Vec<u32> = (0..tokens).map(|_| self.draw.below(spec.vocabulary)).collect();
            let out = if micro == 0 { &mut self.sum } else { &mut self.gradient };
            losses += self.step.gradient(&self.parameters, &tokens, out)?;
            if micro > 0 {
                self.kernels.add(&self.gradient, &mut self.sum)?;
            }
        }
        self.optimise()?;
        Ok(losses / f32::from(ACCUMULATION))
    }

    fn optimise(&mut self) -> Result<(), pol_kernels::Error> {
        let kernels = self.kernels;
        let mut squares = 0f32;
        for part in self.sum.chunks(1 << 20) {
            let mut sum = [0.0];
            kernels.row_sums([1, part.len() as u32], Summand::Squares, part, None, &mut sum)?;
            squares += sum[0];
        }
        let factor = clip_factor(squares, ACCUMULATION.into(), MILLION);
        self.count += 1;
        let settings = AdamWSettings {
            beta1: 900_000,
            beta2: 950_000,
            epsilon: 10,
            weight_decay: 100_000,
            rate: 1_000_000,
            step: self.count,
        };
        let factors = AdamWFactors::new::<f32>(&settings);
        let [first, second] = &mut self.moments;
        for slot in self.step.plan().slots() {
            let state = AdamWState {
                parameters: &mut self.parameters[slot.range.clone()],
                first: &mut first[slot.range.clone()],
                second: &mut second[slot.range.clone()],
            };
            let gradient = &self.sum[slot.range.clone()];
            kernels.adamw(&factors, slot.parameter.decays, state, gradient, factor)?;
        }
        Ok(())
    }

    /// Returns tokens in a second, over a turn.
    fn speed(&mut self) -> Result<f64, Box<dyn Error>> {
        self.step()?;
        let (start, mut steps) = (Instant::now(), 0);
        while steps == 0 || start.elapsed() < TURN {
            self.step()?;
            steps += 1;
        }
        let tokens = f64::from(TOKENS) * f64::from(ACCUMULATION) * f64::from(steps);
        Ok(tokens / start.elapsed().as_secs_f64())
    }
}

/// Returns the seconds that this thread has spent on a core.
fn seconds_of_thread() -> Result<f64, Box<dyn Error>> {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: u64 = statistics.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds as f64 / 1e9)
}

/// Returns the core's seconds of the fastest of several runs.
fn fastest(
    runs: usize,
    mut run: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = seconds_of_thread()?;
        run()?;
        best = best.min(seconds_of_thread()? - start);
    }
    Ok(best)
}

/// Draws the tokens of a micro-batch, also as a tensor.
fn micro_batch(spec: &ModelSpec) -> Result<(Vec<u32>, Tensor), Box<dyn Error>> {
    let sequences = TOKENS / spec.context;
    let mut draw = Prf::new("pol/ratio/1", &[0; 32], &[]);
    let count = sequences * (spec.context + 1);
    let tokens: Vec<u32> = (0..count).map(|_| draw.below(spec.vocabulary)).collect();
    let wide: Vec<i64> = tokens.iter().copied().map(i64::from).collect();
    Ok((tokens, Tensor::f_from_slice(&wide)?.f_view([sequences.into(), -1])?))
}

/// Prints the time of a micro-batch forward and backward on one core.
fn compare_cores(name: &str, spec: &ModelSpec, rounds: usize) -> Result<(), Box<dyn Error>> {
    let (tokens, wide) = micro_batch(spec)?;
    let parameters = initial_parameters(spec, &[2; 32]);
    let (mut gradient, mut other) = (vec![0.0; parameters.len()], vec![0.0; parameters.len()]);
    let mut step = Step::new(spec, TOKENS / spec.context, spec.context)?;
    let weights = Weights::new(&Layout::new(spec)?, &parameters)?;
    let decoder = Decoder::new(spec)?.with_fused_attention(true);
    let own = || {
        step.gradient(&parameters, &tokens, &mut gradient)?;
        Ok(())
    };
    let libtorch = || {
        let weights = weights.share(true)?;
        let output = decoder.forward_loss(&weights, &wide)?;
        Ok(weights.gradient(&output.objective, &mut other)?)
    };
    compare(name, spec, rounds, own, libtorch)
}

/// Prints the time of the losses of as many tokens on one core. libtorch uses its fastest attention
/// unless its settings are pinned.
fn compare_losses(
    name: &str,
    spec: &ModelSpec,
    rounds: usize,
    is_pinned: bool,
) -> Result<(), Box<dyn Error>> {
    let (tokens, wide) = micro_batch(spec)?;
    let parameters = initial_parameters(spec, &[2; 32]);
    let mut evaluation = Evaluation::new(spec, TOKENS / spec.context, spec.context)?;
    let weights = Weights::new(&Layout::new(spec)?, &parameters)?.share(false)?;
    let decoder = Decoder::new(spec)?.with_fused_attention(!is_pinned);
    let own = || {
        evaluation.losses(&parameters, &tokens)?;
        Ok(())
    };
    let libtorch = || {
        let _ = decoder.loss(&weights, &wide)?;
        Ok(())
    };
    compare(name, spec, rounds, own, libtorch)
}

/// Prints tokens in a second of a core of two ways to compute a micro-batch, in turns.
fn compare(
    name: &str,
    spec: &ModelSpec,
    rounds: usize,
    mut on_kernels: impl FnMut() -> Result<(), Box<dyn Error>>,
    mut on_libtorch: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let (mut own, mut other) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        own = own.min(fastest(3, &mut on_kernels)?);
        other = other.min(fastest(3, &mut on_libtorch)?);
    }
    let speed = |seconds: f64| f64::from(TOKENS) / seconds;
    let (context, ratio) = (spec.context, other / own);
    println!("{name:18} {context:4}: {:9.0} {:9.0} {ratio:5.2}", speed(own), speed(other));
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints tokens in a second of whole steps.
fn compare_steps(
    name: &str,
    spec: &ModelSpec,
    threads: usize,
    rounds: usize,
) -> Result<(), Box<dyn Error>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let mut training = Training::new(spec)?;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let own = pool.install(|| training.speed().map_err(|error| error.to_string()))?;
        tch::set_num_threads(threads as i32);
        let other = measure_throughput(&recipe(*spec), Tier::ALL[0], threads, TURN)?;
        ratios.push(own / other.tokens_per_second());
        ours.push(own);
        theirs.push(other.tokens_per_second());
    }
    let (own, other, ratio) = (median(&mut ours), median(&mut theirs), median(&mut ratios));
    let (context, low, high) = (spec.context, ratios[0], ratios[ratios.len() - 1]);
    println!(
        "{name:18} {context:4} {threads:2}: {own:9.0} {other:9.0} {ratio:5.2} {low:5.2} {high:5.2}"
    );
    Ok(())
}

/// Compares both on one model, by its name and specification.
type Comparison<'a> = &'a dyn Fn(&str, &ModelSpec) -> Result<(), Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = env::args().nth(1).map_or(Ok(5), |count| count.parse())?;
    let [wanted, table] = [2, 3].map(|place| env::args().nth(place).unwrap_or_default());
    let is_pinned = table == "pinned";
    determinism::ensure(if is_pinned { NumericsMode::Exact } else { NumericsMode::Stock })?;
    let cores = std::thread::available_parallelism()?.get();
    let each = |run: Comparison<'_>| {
        let models = [128, 512].into_iter().flat_map(models);
        let mut wanted = models.filter(|(name, _)| name.starts_with(&wanted));
        wanted.try_for_each(|(name, spec)| run(name, &spec))
    };
    println!("{}", Kernels::best().name());
    let has_losses = is_pinned || table == "losses";
    if table != "wall" {
        println!("model, context: tokens in a second of a core, kernels and libtorch, ratio");
        tch::set_num_threads(1);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        each(&|name, spec| {
            let compare = || match has_losses {
                true => compare_losses(name, spec, rounds, is_pinned),
                false => compare_cores(name, spec, rounds),
            };
            // In the pool's only thread, whose time is taken.
            Ok(pool.install(|| compare().map_err(|error| error.to_string()))?)
        })?;
    }
    if table != "cpu" && !has_losses {
        println!("model, context, threads: tokens/s, ratio (median, lowest, highest of {rounds})");
        each(&|name, spec| {
            [1, cores]
                .into_iter()
                .try_for_each(|threads| compare_steps(name, spec, threads, rounds))
        })?;
    }
    Ok(())
}
