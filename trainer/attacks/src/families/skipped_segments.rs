// SPDX-License-Identifier: Apache-2.0

//! Some segments of a lease left out.

use crate::{
    cheating::Cheat,
    offline::{TIER, TrainingHarness},
    scenario::{ExpectedOutcome, Family, Scenario, Setup},
    tally::{Tally, wilson},
};
use anyhow::{Context, Result, ensure};
use pol_engine::{LeaseJob, replay, train_segment};
use pol_primitives::{Hash, audit::draw_segments, recipe::Recipe};

pub(super) static FAMILY: Family = Family {
    name: "skipped-segments",
    scenarios: &[
        Scenario {
            name: "two-of-four-skipped",
            setup: Setup::Trainer {
                account: "attacker-skips",
                cheat: Cheat::SkippedSegments,
                outcome: ExpectedOutcome::InvalidIfDrawn,
            },
            act: "Leaves out the middle two of four segments.",
            expect: "Updates are found invalid, at 900 POL each, exactly where a skipped segment \
                     is drawn.",
        },
        Scenario {
            name: "skip-rate",
            setup: Setup::Offline(measure_skips),
            act: "Skips j of M segments in 4,000 audits of one segment, for three values of j.",
            expect: "Replay finds the skipped segments and no others; p = j/M lies in the 95 % \
                     interval of detections.",
        },
    ],
};

/// Audits of each share of skipped work.
const AUDITS: u32 = 4_000;

/// Measures how often audits meet skipped segments.
fn measure_skips(harness: &TrainingHarness) -> Result<Tally> {
    // Twice the segments of the network's recipe, for more shares to skip.
    let segments = harness.recipe.segments * 2;
    let recipe = Recipe { segments, ..harness.recipe.clone() };
    let account = [6u8; 32];
    let (mut drawn, mut caught, mut passed, mut rates) = (0u64, 0u64, true, Vec::new());
    let mut interval = [0.0, 1.0];
    for skipped in [1u16, 2, 4] {
        let false_ends = false_ends(harness, &recipe, &account, skipped)?;
        ensure!(
            false_ends == (0..skipped).collect::<Vec<_>>(),
            "replay finds {false_ends:?} of {skipped} skipped segments"
        );
        let is_caught = |audit: &u32| {
            let seed: Hash = pol_primitives::digest(b"pol/attacks/skips", &(skipped, audit));
            let segments = draw_segments(&seed, &account, segments, 1, &[]);
            segments.iter().any(|segment| false_ends.contains(segment))
        };
        let hits = (0..AUDITS).filter(is_caught).count() as u64;
        let share = f64::from(skipped) / f64::from(segments);
        interval = wilson(hits, AUDITS.into());
        passed &= interval[0] <= share && share <= interval[1];
        rates.push(format!("{skipped}/{segments}: {:.4}", hits as f64 / f64::from(AUDITS)));
        (drawn, caught) = (drawn + u64::from(AUDITS), caught + hits);
    }
    let note = format!("caught per audit {}; the interval is that of the last", rates.join(", "));
    Ok(Tally::counted(drawn, caught, caught).interval(interval).passed(passed, note))
}

/// Trains a lease without its first `skipped` segments; returns the segments whose replay gives
/// another end. Every draw of a segment has the same result.
fn false_ends(
    harness: &TrainingHarness,
    recipe: &Recipe,
    account: &[u8; 32],
    skipped: u16,
) -> Result<Vec<u16>> {
    let (lease, data) = harness.lease(recipe, 0)?;
    let job = LeaseJob { recipe, lease: &lease, account, data: &data, workers: 2 };
    let mut states = vec![harness.fresh_state()];
    for segment in 0..recipe.segments {
        let mut state = states.last().context("no start")?.clone();
        if segment < skipped {
            // Claimed as if it had been trained.
            state.steps += u64::from(recipe.steps_per_segment(TIER));
        } else {
            train_segment(&job, &mut state, segment)?;
        }
        states.push(state);
    }
    let mut false_ends = Vec::new();
    for (segment, pair) in (0..recipe.segments).zip(states.windows(2)) {
        if replay(&job, pair[0].clone(), segment)?.1 != pair[1].leaf() {
            false_ends.push(segment);
        }
    }
    Ok(false_ends)
}
