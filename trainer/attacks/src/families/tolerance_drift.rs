// SPDX-License-Identifier: Apache-2.0

//! Deviations that hide in the native profile's tolerance.

use crate::{
    heterogeneous,
    offline::TrainingHarness,
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use anyhow::Result;
use futures::FutureExt;
use pol_engine::{
    LeaseJob, TrainingState,
    deviation::{Deviation, train_with_deviation},
    replay, sketch_segment,
};
use pol_primitives::recipe::{MIN_TOLERANCE, Recipe};

pub(super) static FAMILY: Family = Family {
    name: "tolerance-drift",
    scenarios: &[
        Scenario {
            name: "hidden-drift",
            setup: Setup::Offline(measure_drift),
            act: "Drifts in every segment by the whole tolerance, or by four times as much, in the \
                  direction in which the loss grows fastest.",
            expect: "The hidden drift costs less than 1 % of the lease's improvement; four times \
                     the tolerance is found in every segment, and an honest lease in none.",
        },
        Scenario {
            name: "mixed-machines",
            setup: Setup::Heterogeneous(|logs| heterogeneous::run(logs).boxed_local()),
            act: "Raises the learning rate by 1 % or halves the batches, among honest machines \
                  with other kernels and numbers of threads.",
            expect: "Every cheated update is invalid and every cheat loses part of its bond; no \
                     honest machine is wronged.",
        },
    ],
};

/// Share of a lease's improvement that a drift may cost which no audit can tell from rounding.
const MAX_HARM: f64 = 0.01;
/// Drift that every audit has to find, as a multiple of the tolerance.
const PLAIN_DRIFT: u32 = 4;
const ACCOUNT: [u8; 32] = [11; 32];

/// A lease that drifts, and the number of segments in which sketches find it.
struct DriftedLease {
    end: TrainingState,
    found: u64,
}

/// Measures the harm of drifts, and whether sketches find them.
fn measure_drift(harness: &TrainingHarness) -> Result<Tally> {
    let recipe = harness.recipe.clone().into_native(MIN_TOLERANCE);
    let honest = train_drifting(harness, &recipe, 0)?;
    let hidden = train_drifting(harness, &recipe, MIN_TOLERANCE)?;
    let plain = train_drifting(harness, &recipe, MIN_TOLERANCE * PLAIN_DRIFT)?;
    let loss = |state: &TrainingState| harness.held_out_loss(&recipe, &state.parameters);
    let before = loss(&harness.fresh_state())?;
    let harm = (loss(&hidden.end)? - loss(&honest.end)?) / (before - loss(&honest.end)?);
    let segments = u64::from(recipe.segments);
    let passed = plain.found == segments && honest.found == 0 && harm < MAX_HARM;
    let note = format!(
        "native profile: {MIN_TOLERANCE} millionths in every segment cost {:+.2} % of the lease's \
         improvement; {PLAIN_DRIFT} times that is found in {} of {segments} segments",
        harm * 100.0,
        plain.found
    );
    Ok(Tally::tried(segments, plain.found).false_positives(honest.found).passed(passed, note))
}

/// Trains a lease that drifts in each segment by this share of its change, in millionths.
fn train_drifting(harness: &TrainingHarness, recipe: &Recipe, drift: u32) -> Result<DriftedLease> {
    let (lease, data) = harness.lease(recipe, 0)?;
    let job = LeaseJob { recipe, lease: &lease, account: &ACCOUNT, data: &data, workers: 1 };
    let (mut state, mut found) = (harness.fresh_state(), 0);
    for segment in 0..recipe.segments {
        let start = state.clone();
        train_with_deviation(&job, &mut state, segment, Deviation::Drift(drift))?;
        let replayed = replay(&job, start.clone(), segment)?.0;
        let sketch = |end| sketch_segment(&recipe.model, &[11; 32], &ACCOUNT, segment, &start, end);
        let distances = sketch(&state)?.distance(&sketch(&replayed)?);
        found += u64::from(distances.into_iter().any(|distance| distance > MIN_TOLERANCE));
    }
    Ok(DriftedLease { end: state, found })
}
