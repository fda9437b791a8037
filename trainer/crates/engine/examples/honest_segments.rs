// SPDX-License-Identifier: Apache-2.0

//! Counts false positives of audits: audits honest leases until ten thousand segments have been
//! replayed, or as many as the first argument says. Exits with status 1 if a segment is found
//! invalid.
//!
//! A fleet of trainers of all tiers trains one head after the other, from fresh and carried states,
//! whole leases and leases stopped early, some late for their round, with one to four workers.
//! Every segment of every lease is audited, alone or in a draw of up to four, by a seat with
//! another number of workers. Trainers and seats draw from the instruction sets of this machine, or
//! from those that are named, and a seat has another one than the trainer if there are two.
//!
//! `cargo run --release -p pol-engine --example honest_segments -- [SEGMENTS [SET ...]]`
//!
//! A `SET` is `portable`, `avx2`, `avx-512`, or `neon`.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use fixture::LeaseSetup;
use pol_engine::{RoundUpdate, TrainingState, aggregate, share_all_batches};
use pol_kernels::Kernels;
use pol_model::initial_parameters;
use pol_primitives::{
    MILLION,
    audit::Verdict,
    model::ModelSpec,
    payload::Payload,
    prf::Prf,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, Tier, TierParameters},
};
use std::{collections::BTreeMap, env, error::Error, process::ExitCode, time::Instant};

/// Number of trainers in a fleet: two of each tier.
const TRAINERS: u8 = 8;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let target: u32 = arguments.next().map_or(Ok(10_000), |count| count.parse())?;
    let sets = instruction_sets(arguments)?;
    share_all_batches();
    let start = Instant::now();
    let count = run_fleet(target, &sets);
    let Counts { segments, leases, wrong, pairs } = &count;
    // Rule of three: (1 - 3/n)^n is about 1/20, so none in n bounds the rate by 3/n with 95 %.
    println!(
        "{segments} honest segments of {leases} leases audited in {:.0} s: {wrong} false positives \
         (95 % bound {:.1e})",
        start.elapsed().as_secs_f64(),
        (f64::from(*wrong) + 3.0) / f64::from((*segments).max(1)),
    );
    for ([trainer, seat], segments) in pairs {
        println!("  trained on {trainer}, replayed on {seat}: {segments}");
    }
    Ok(if *wrong == 0 && *segments >= target { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Counts {
    segments: u32,
    leases: u32,
    wrong: u32,
    /// Segments by the instruction sets of trainer and seat.
    pairs: BTreeMap<[&'static str; 2], u32>,
}

/// Returns the named instruction sets, or all of this machine if none is named.
fn instruction_sets(names: impl Iterator<Item = String>) -> Result<Vec<Kernels>, String> {
    let all = Kernels::all();
    let find = |name: String| {
        let found = all.iter().find(|set| set.name().eq_ignore_ascii_case(&name)).copied();
        found.ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|set| set.name()).collect();
            format!("this machine has no instruction set {name:?}, only {}", known.join(", "))
        })
    };
    let named = names.map(find).collect::<Result<Vec<_>, _>>()?;
    Ok(if named.is_empty() { all } else { named })
}

/// Has this process compute on a drawn one of `sets`: another one than `avoided` if there is one.
fn choose(prf: &mut Prf, sets: &[Kernels], avoided: Option<Kernels>) -> Kernels {
    let others: Vec<Kernels> = sets.iter().copied().filter(|&set| Some(set) != avoided).collect();
    let drawn = if others.is_empty() { sets } else { &others };
    let kernels = drawn[prf.below(drawn.len() as u32) as usize];
    kernels.choose();
    kernels
}

/// Audits leases of a fleet on `sets` until `target` segments were replayed.
fn run_fleet(target: u32, sets: &[Kernels]) -> Counts {
    let recipe = recipe();
    let mut count = Counts::default();
    let mut prf = Prf::new("honest segments", &[0; 32], &[]);
    let mut carried: Vec<TrainingState> = (0..TRAINERS)
        .map(|_| TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed)))
        .collect();
    let mut heads = [carried[0].parameters.clone(), carried[0].parameters.clone()];
    for round in 0.. {
        let mut updates = Vec::new();
        for (place, carried) in carried.iter_mut().enumerate() {
            if count.segments >= target {
                return count;
            }
            let staleness = u8::from(prf.below(8) == 0);
            let start = TrainingState {
                parameters: heads[usize::from(1 - staleness)].clone(),
                ..carried.clone()
            };
            let tier = Tier::ALL[place % Tier::ALL.len()];
            let setup = LeaseSetup::new(&recipe, tier, [place as u8; 32], &start, round);
            let stop = if prf.below(4) == 0 {
                1 + prf.below(recipe.segments.into()) as u16
            } else {
                recipe.segments
            };
            let trainer = choose(&mut prf, sets, None);
            let submitted = setup.honest(start, stop, 1 + prf.below(4) as usize);
            let mut order: Vec<u16> =
                prf.permutation(stop.into()).into_iter().map(|segment| segment as u16).collect();
            while !order.is_empty() {
                let mut drawn =
                    order.split_off(order.len().saturating_sub(1 + prf.below(4) as usize));
                drawn.sort_unstable();
                let seat = choose(&mut prf, sets, Some(trainer));
                let workers = 1 + prf.below(4) as usize;
                let verdict = submitted.verdict(&setup, &drawn, workers);
                let drawn_count = drawn.len() as u32;
                let names = [trainer, seat].map(Kernels::name);
                if verdict != Verdict::Valid {
                    count.wrong += drawn_count;
                    eprintln!(
                        "round {round}, {tier:?}, segments {drawn:?} of {stop}, trained on \
                         {}, replayed on {} with {workers} workers: {verdict:?}",
                        names[0], names[1]
                    );
                }
                *count.pairs.entry(names).or_default() += drawn_count;
                report(count.segments, drawn_count, target);
                count.segments += drawn_count;
            }
            count.leases += 1;
            let payload =
                Payload::decode(&submitted.payload, recipe.compression.top_k, recipe.model.size());
            let payload = payload.expect("the payload was encoded here");
            updates.push(RoundUpdate { payload, staleness, tokens: stop.into() });
            *carried = submitted.carried;
        }
        let next = aggregate(&recipe, &heads[1], &updates, &[]).expect("honest updates");
        heads = [std::mem::take(&mut heads[1]), next];
    }
    count
}

/// Reports progress at every twentieth of `target`.
fn report(before: u32, more: u32, target: u32) {
    let twentieths = |segments: u32| u64::from(segments) * 20 / u64::from(target.max(1));
    if twentieths(before + more) > twentieths(before) {
        eprintln!("{} of {target} segments", before + more);
    }
}

/// Returns a recipe of 4,672 parameters, with leases of 6 segments of one to three steps.
fn recipe() -> Recipe {
    let tier = |micro_batch, accumulation, inner_steps, cadence| TierParameters {
        micro_batch,
        accumulation,
        inner_steps,
        cadence,
    };
    Recipe {
        model: ModelSpec::gpt2(64, 16, 1, 2, 32, 16),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: 16,
        shard_tokens: 64,
        tiers: [tier(1, 1, 6, 2), tier(2, 1, 12, 1), tier(2, 2, 6, 1), tier(2, 3, 18, 1)],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 5_000_000,
            warmup_steps: 4,
            decay_tokens: 0,
            floor: MILLION,
        },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 512, feedback: 950_000 },
        segments: 6,
        numerics: Numerics::Exact,
        arithmetic: None,
    }
}
