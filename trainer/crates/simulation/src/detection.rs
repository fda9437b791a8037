// SPDX-License-Identifier: Apache-2.0

//! Time until a trainer that skips segments is caught.

use crate::{
    Settings,
    audits::{SimulatedUpdate, ValidatorStrategy, Validators, audit, seed},
    statistics::Rate,
};
use pol_primitives::{audit::Verdict, prf::Prf};
use serde::Serialize;

/// Trainers that skip some segments of each update, counted after some updates.
#[derive(Clone, Debug, Serialize)]
pub struct Detection {
    /// Segments skipped in each update.
    pub skipped: u16,
    /// Number of updates.
    pub updates: u32,
    /// Trainers caught by then.
    pub caught: Rate,
    /// Exact chance `1 − (1 − p)^n`.
    pub expected: f64,
}

/// Numbers of skipped segments to simulate.
pub const SKIPPED: [u16; 4] = [1, 2, 5, 10];
/// Numbers of updates after which the caught are counted.
const UPDATES: [u32; 8] = [1, 2, 3, 5, 8, 12, 20, 30];

/// Returns the chance that one audit of `drawn` of `segments` segments meets one of `skipped`.
pub fn chance(segments: u16, skipped: u16, drawn: u8) -> f64 {
    1.0 - crate::statistics::hypergeometric(
        segments.into(),
        skipped.into(),
        u32::from(drawn).min(segments.into()),
        0,
    )
}

/// Follows many trainers through their updates until they are caught.
pub fn run(settings: &Settings) -> Vec<Detection> {
    let mut found = Vec::new();
    for skipped in SKIPPED {
        let caught_after = caught_after(settings, skipped);
        let p = chance(settings.segments, skipped, settings.audit.segments);
        found.extend(UPDATES.into_iter().map(|updates| Detection {
            skipped,
            updates,
            caught: Rate {
                hits: caught_after.iter().filter(|&&after| after <= updates).count() as u32,
                trials: settings.trials,
            },
            expected: 1.0 - (1.0 - p).powi(updates as i32),
        }));
    }
    found
}

/// Returns the update at which each trainer is caught; `u32::MAX` for those that never are.
fn caught_after(settings: &Settings, skipped: u16) -> Vec<u32> {
    let validators = Validators::equal(settings.validators, 0, ValidatorStrategy::Honest);
    let mut caught_after = vec![u32::MAX; settings.trials as usize];
    for update in 1..=UPDATES.into_iter().max().unwrap_or(0) {
        let free: Vec<u32> = (0..settings.trials)
            .filter(|&trainer| caught_after[trainer as usize] == u32::MAX)
            .collect();
        for (batch, trainers) in free.chunks(64).enumerate() {
            let number = u64::from(skipped) << 48 | u64::from(update) << 32 | batch as u64;
            let skip_seed = seed(settings.seed, "skip", number);
            let forged = |trainer: u32| {
                let random = Prf::new("skip", &skip_seed, &[&trainer.to_le_bytes()]);
                forge(random, settings.segments, skipped)
            };
            let honest = SimulatedUpdate::honest(settings.segments, 1);
            let updates: Vec<_> = trainers
                .iter()
                .map(|&trainer| (trainer, SimulatedUpdate { forged: forged(trainer), ..honest }))
                .collect();
            let seed = seed(settings.seed, "detect", number);
            let decisions = audit(&settings.audit, seed, update, &validators, &updates);
            for (&trainer, decision) in trainers.iter().zip(decisions) {
                if decision.verdict == Verdict::Invalid {
                    caught_after[trainer as usize] = update;
                }
            }
        }
    }
    caught_after
}

/// Returns a uniformly drawn set of `skipped` of the `segments` segments, as bits.
pub fn forge(mut random: Prf, segments: u16, skipped: u16) -> u64 {
    random
        .permutation(segments.into())
        .into_iter()
        .take(skipped.into())
        .fold(0, |set, segment| set | 1 << segment)
}
