// SPDX-License-Identifier: Apache-2.0

//! Compares what a model learns from several data folders: the same recipe and initial model, equal
//! numbers of tokens, and the same held-out texts, which none of the folders may hold.
//!
//! `cargo run --release -p pol-trainer --example learning -- RECIPE HELD_OUT TOKENS FOLDER…`
//!
//! `RECIPE` is a file of `pol-trainer recipe new`, and each `FOLDER` was made by `data ingest` with
//! the recipe's tokenizer and lengths. So were those in `HELD_OUT`, with commas between them.
//! Prints the loss on each of these in nats per token, after each tenth of the tokens. Data that
//! run out begin again.

use anyhow::{Context, Result, ensure};
use pol_data::ShardFolder;
use pol_engine::{LeaseData, LeaseJob, TrainingState, determinism, evaluate, train_segment};
use pol_model::initial_parameters;
use pol_primitives::{
    data::ShardId,
    lease::Lease,
    prf::Prf,
    recipe::{Recipe, Tier},
};
use pol_trainer::held_out_eval::evenly_spaced;
use std::{env, fs, path::Path, thread};

/// Tier by whose lengths all folders are read.
const TIER: Tier = Tier::Participant;
/// Number of held-out sequences that a loss is the mean of.
const HELD_OUT_SEQUENCES: usize = 256;
/// Number of losses that are printed for a folder.
const LOSSES: u64 = 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [recipe, held_out, tokens, folders @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: learning RECIPE HELD_OUT TOKENS FOLDER…");
    };
    let recipe: Recipe = serde_json::from_slice(&fs::read(recipe).context(recipe.clone())?)
        .with_context(|| format!("{recipe} is no recipe"))?;
    if let Some(mode) = determinism::mode(&recipe) {
        determinism::ensure(mode)?;
    }
    let mut texts = Vec::new();
    for name in held_out.split(',') {
        let text = Text::of_folder(&recipe, name)?;
        texts.push((name, text.shards(&recipe, 0..text.0.len())?));
    }
    let held_out: Vec<_> = texts
        .iter()
        .map(|(name, text)| HeldOut { name, sequences: evenly_spaced(text, HELD_OUT_SEQUENCES) })
        .collect();
    let tokens: u64 = tokens.parse().context("TOKENS is a number")?;
    ensure!(tokens > 0, "TOKENS is a positive number");
    for folder in folders {
        let text = Text::of_folder(&recipe, folder)?;
        println!("{folder}: {} shards", text.0.len());
        learn(&recipe, &text, &held_out, tokens).with_context(|| folder.clone())?;
    }
    Ok(())
}

/// Held-out text.
struct HeldOut<'a> {
    name: &'a str,
    sequences: Vec<&'a [u32]>,
}

/// Trains the recipe's initial model on so many tokens, and prints held-out losses meanwhile.
fn learn(recipe: &Recipe, text: &Text, held_out: &[HeldOut<'_>], tokens: u64) -> Result<()> {
    let workers = thread::available_parallelism()?.get();
    let mut state = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
    let print = |trained: u64, state: &TrainingState| -> Result<()> {
        let mut line = format!("  {trained:>10} tokens:");
        for HeldOut { name, sequences } in held_out {
            let loss = evaluate(&recipe.model, &state.parameters, sequences, workers)?;
            line += &format!(" {name} {loss:.4}");
        }
        println!("{line}");
        Ok(())
    };
    print(0, &state)?;
    let shards = recipe.shards_per_lease(TIER);
    ensure!(text.0.len() >= shards, "a lease takes {shards} shards");
    let (mut trained, mut printed) = (0, 0);
    for number in 0.. {
        let lease = lease(recipe, text, number, trained)?;
        let indices = lease.shards.iter().map(|shard| shard.index);
        let data = text.shards(recipe, indices)?;
        let job = LeaseJob { recipe, lease: &lease, account: &[7; 32], data: &data, workers };
        for segment in 0..recipe.segments {
            trained += train_segment(&job, &mut state, segment)?.tokens;
        }
        if trained * LOSSES / tokens > printed {
            printed = trained * LOSSES / tokens;
            print(trained, &state)?;
        }
        if trained >= tokens {
            break;
        }
    }
    Ok(())
}

/// Returns a lease of the next shards in an order that is drawn for each pass over the data.
fn lease(recipe: &Recipe, text: &Text, number: u32, trained: u64) -> Result<Lease> {
    let (length, per_lease) = (text.0.len(), recipe.shards_per_lease(TIER));
    let per_pass = length / per_lease;
    let pass = (number / per_pass).to_le_bytes();
    let order = Prf::new("learning/order", &recipe.seed, &[&pass]).permutation(length);
    let first = (number % per_pass * per_lease) as usize;
    let shards: Vec<_> = order[first..first + per_lease as usize]
        .iter()
        .map(|&index| ShardId { manifest: 0, index })
        .collect();
    Ok(Lease {
        nonce: number,
        tier: TIER,
        round: number,
        due_round: number,
        seed: *blake3::hash(&number.to_le_bytes()).as_bytes(),
        base_root: [0; 32],
        head_tokens: trained,
        recipe: recipe.hash(),
        carry: [0; 32],
        carry_round: 0,
        shards: shards.try_into().ok().context("a lease takes fewer shards")?,
    })
}

/// Text that was cut for a recipe.
struct Text(ShardFolder);

impl Text {
    /// Opens the text to train on in a folder of `data ingest`.
    fn of_folder(recipe: &Recipe, folder: &str) -> Result<Self> {
        let path = Path::new(folder).join(pol_data::TRAIN);
        let folder = ShardFolder::open(&path)?;
        ensure!(
            folder.shard_tokens() == recipe.shard_tokens,
            "{} has shards of {} tokens, and the recipe of {}",
            path.display(),
            folder.shard_tokens(),
            recipe.shard_tokens
        );
        Ok(Self(folder))
    }

    fn shards(&self, recipe: &Recipe, indices: impl IntoIterator<Item = u32>) -> Result<LeaseData> {
        let step = u64::from(recipe.shard_tokens);
        let shards = indices
            .into_iter()
            .map(|index| {
                let start = u64::from(index) * step;
                self.0.tokens(start..start + step + 1)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(LeaseData::new(recipe, shards)?)
    }
}
