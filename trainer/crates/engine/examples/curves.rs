// SPDX-License-Identifier: Apache-2.0

//! Compares how a model learns on kernels and on stock libtorch, over 2,000 steps or as many as the
//! second argument says. Exits with status 1 if the two differ by more than chance.
//!
//! Both read the same bytes of the same files in the same order and start from the same parameters.
//! A second pair of runs draws parameters and order anew: how far it ends from the first is what
//! chance does. Held-out loss is measured after each twentieth of the steps, on the last sixteenth
//! of the text, by the same code for all.
//!
//! `cargo run --release -p pol-engine --example curves -- FOLDER [STEPS]` reads all files of a
//! folder, such as `$POL_CORPUS`, to which `scripts/setup.sh` fetches plays and poems.

use pol_engine::{
    LeaseData, LeaseJob, TrainingState,
    determinism::{self, NumericsMode},
    evaluate, train_segment,
};
use pol_model::initial_parameters;
use pol_primitives::{
    MILLION,
    data::ShardId,
    lease::Lease,
    model::ModelSpec,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, Tier, TierParameters},
};
use std::{env, error::Error, fs, path::Path, process::ExitCode, time::Instant};

/// Number of measurements of a run.
const SEGMENTS: u16 = 20;
/// Sequences of a step, and tokens of a sequence.
const BATCH: u16 = 8;
const SEQUENCE: u16 = 128;
/// Sequences on which a model is measured.
const HELD_OUT: usize = 128;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("usage: curves FOLDER [STEPS]")?;
    let steps: u16 = arguments.next().map_or(Ok(2_000), |count| count.parse())?;
    determinism::ensure(NumericsMode::Stock)?;
    let text = read(Path::new(&folder))?;
    let (text, held_out) = text.split_at(text.len() - text.len() / 16);
    let held_out: Vec<&[u32]> =
        held_out.chunks_exact(usize::from(SEQUENCE) + 1).take(HELD_OUT).collect();
    if held_out.len() < HELD_OUT {
        return Err("the folder has too little text: it takes 300 kB at least".into());
    }
    let run = |numerics, seed| learn(&recipe(numerics, seed, steps), text, &held_out);
    let stock = Numerics::Native { tolerance: 50_000 };
    let [exact, other] = [run(Numerics::Exact, 1)?, run(stock, 1)?];
    let [exact_again, other_again] = [run(Numerics::Exact, 2)?, run(stock, 2)?];

    println!("held-out loss in nats a byte, of runs that start from seeds 1 and 2");
    println!(" steps   exact 1   stock 1   exact 2   stock 2");
    let per_segment = usize::from(steps / SEGMENTS);
    for at in 0..exact.len() {
        let [a, b, c, d] = [&exact, &other, &exact_again, &other_again].map(|run| run[at]);
        println!("{:6} {a:9.4} {b:9.4} {c:9.4} {d:9.4}", (at + 1) * per_segment);
    }
    let between = distance(&exact, &other).max(distance(&exact_again, &other_again));
    let chance = distance(&exact, &exact_again).min(distance(&other, &other_again));
    println!("root of the mean square between exact and stock: {between:.5}, by seed: {chance:.5}");
    Ok(if between <= chance { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the bytes of all files of `folder` as tokens, in the order of their names.
fn read(folder: &Path) -> Result<Vec<u32>, Box<dyn Error>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort_unstable();
    let mut text = Vec::new();
    for path in paths.into_iter().filter(|path| path.is_file()) {
        text.extend(fs::read(path)?.into_iter().map(u32::from));
    }
    Ok(text)
}

/// Returns the recipe of a run of `steps` steps, a GPT-2 with 0.8 million parameters.
fn recipe(numerics: Numerics, seed: u8, steps: u16) -> Recipe {
    let tier =
        TierParameters { micro_batch: BATCH, accumulation: 1, inner_steps: steps, cadence: 1 };
    let tokens = u32::from(BATCH) * u32::from(SEQUENCE) * u32::from(steps);
    let sequence = u32::from(SEQUENCE);
    Recipe {
        model: ModelSpec::gpt2(256, 128, 4, 4, 512, sequence),
        tokenizer: [1; 32],
        seed: [seed; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: SEQUENCE,
        shard_tokens: tokens.div_ceil(sequence * 16) * sequence,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 1_000_000,
            warmup_steps: 100,
            decay_tokens: 0,
            floor: 100_000,
        },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 64, feedback: 950_000 },
        segments: SEGMENTS,
        numerics,
        arithmetic: None,
    }
}

/// Trains a lease on as much of `text` as it takes, and returns the held-out loss after each of its
/// segments. Text that is too short is read again.
fn learn(recipe: &Recipe, text: &[u32], held_out: &[&[u32]]) -> Result<Vec<f64>, Box<dyn Error>> {
    recipe.validate().map_err(|error| error.to_string())?;
    let workers = std::thread::available_parallelism()?.get();
    let mut state = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
    let count = recipe.shards_per_lease(Tier::Participant);
    let length = recipe.shard_tokens as usize;
    let shards = (0..count as usize)
        .map(|shard| text.iter().cycle().skip(shard * length).take(length + 1).copied().collect())
        .collect();
    let data = LeaseData::new(recipe, shards)?;
    let shards: Vec<ShardId> = (0..count).map(|index| ShardId { manifest: 0, index }).collect();
    let lease = Lease {
        nonce: 0,
        tier: Tier::Participant,
        round: 0,
        due_round: 0,
        seed: recipe.seed,
        base_root: state.root(),
        head_tokens: 0,
        recipe: recipe.hash(),
        carry: [0; 32],
        carry_round: 0,
        shards: shards.try_into().map_err(|_| "too many shards")?,
    };
    let job = LeaseJob { recipe, lease: &lease, account: &[7; 32], data: &data, workers };
    let name = if recipe.numerics == Numerics::Exact { "exact" } else { "stock" };
    let start = Instant::now();
    let mut losses = Vec::new();
    for segment in 0..recipe.segments {
        let report = train_segment(&job, &mut state, segment)?;
        let loss = evaluate(&recipe.model, &state.parameters, held_out, workers)?;
        let seconds = start.elapsed().as_secs_f64();
        eprintln!(
            "{name} {}, segment {segment}: loss {:.4}, held out {loss:.4}, {seconds:.0} s",
            recipe.seed[0], report.loss
        );
        losses.push(loss);
    }
    Ok(losses)
}

/// Returns the root of the mean square of the differences of two curves, which have one length.
fn distance(left: &[f64], right: &[f64]) -> f64 {
    let squares: f64 = left.iter().zip(right).map(|(a, b)| (a - b).powi(2)).sum();
    (squares / left.len() as f64).sqrt()
}
