// SPDX-License-Identifier: Apache-2.0

//! Leases of 300 steps, whose last state has the same bits on every processor, instruction set, and
//! number of threads. Errors of a single bit, such as those of the constants of late steps, have
//! time to grow. `scripts/processors.sh` runs this program on emulated processors.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::LeaseSetup;
use pol_engine::{Trace, TrainingState, share_all_batches, train_segment};
use pol_kernels::Kernels;
use pol_model::initial_parameters;
use pol_primitives::{
    model::{
        Activation, Biases, Experts, LocalAttention, ModelSpec, Norm, PositionEncoding,
        QueryKeyNorm,
    },
    recipe::{Recipe, Tier, TierParameters},
};

/// Starts of the roots of the traces of [`recipes`].
const ROOTS: [&str; 2] = ["0c2648837e79504d", "6fdca82e607ca1c3"];

/// Returns recipes of leases of 300 steps with sizes that no vector divides: a GPT-2; and rotary
/// positions, grouped heads, gates, a window, and experts.
fn recipes() -> [Recipe; 2] {
    let plain = ModelSpec::gpt2(61, 18, 2, 3, 37, 15);
    let gated = ModelSpec {
        heads: 3,
        key_value_heads: 1,
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: PositionEncoding::Rotary { dimensions: 6, base: 10_000, interleaved: false },
        biases: Biases::default(),
        tied: false,
        local: Some(LocalAttention { window: 5, period: 2, layers: 0b10 }),
        query_key_norm: Some(QueryKeyNorm::Head),
        experts: Some(Experts::new(3, 2)),
        ..plain
    };
    let tier = TierParameters { micro_batch: 3, accumulation: 1, inner_steps: 300, cadence: 1 };
    [plain, gated].map(|model| Recipe {
        model,
        sequence: 15,
        shard_tokens: 900,
        tiers: [tier; 4],
        segments: 15,
        ..test_recipe::recipe()
    })
}

/// Returns the root of the trace of a whole lease.
fn root(recipe: &Recipe, threads: usize) -> String {
    share_all_batches();
    assert_eq!(recipe.validate(), Ok(()));
    let mut state = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
    let setup = LeaseSetup::new(recipe, Tier::Participant, [7; 32], &state, 1);
    let mut trace = Trace::new(state.leaf());
    for segment in 0..recipe.segments {
        trace.push(train_segment(&setup.job(threads), &mut state, segment).unwrap().leaf);
    }
    assert_eq!(state.steps, 300);
    blake3::Hash::from_bytes(trace.root()).to_hex()[..16].to_owned()
}

#[test]
fn whole_leases_have_the_bits_of_the_network() {
    println!("kernels: {}", Kernels::best().name());
    assert_eq!(recipes().map(|recipe| root(&recipe, 2)), ROOTS);
}

#[test]
fn every_instruction_set_and_number_of_threads_ends_in_the_same_bits() {
    for kernels in Kernels::all() {
        kernels.choose();
        // Portable code takes a quarter of a minute for each number.
        let all = if kernels.name() == "portable" { 6..=7 } else { 1..=7 };
        for threads in all {
            let found = recipes().map(|recipe| root(&recipe, threads));
            assert_eq!(found, ROOTS, "{} on {threads} threads", kernels.name());
        }
    }
}
