//! How soon a trainer that skips segments is caught.

use crate::{
    Settings,
    network::{Conduct, Deed, Validators, audit, seed},
    statistics::Rate,
};
use pol_primitives::{audit::Verdict, prf::Prf};
use serde::Serialize;

/// A trainer that skips some segments of each update, after some updates.
#[derive(Clone, Debug, Serialize)]
pub struct Detection {
    /// Segments skipped of each update.
    pub skipped: u16,
    /// Updates made.
    pub updates: u32,
    /// Trainers caught by then.
    pub caught: Rate,
    /// The chance `1 − (1 − p)^n`.
    pub expected: f64,
}

/// Shares of segments that are tried, as numbers of skipped ones.
pub const SKIPPED: [u16; 4] = [1, 2, 5, 10];
/// Numbers of updates after which the caught are counted.
const UPDATES: [u32; 8] = [1, 2, 3, 5, 8, 12, 20, 30];

/// The chance that one audit of `drawn` of `segments` segments meets one of `skipped`.
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
    let validators = Validators::equal(settings.validators, 0, Conduct::Honest);
    let mut found = Vec::new();
    for skipped in SKIPPED {
        let mut caught_after = vec![u32::MAX; settings.trials as usize];
        for update in 1..=UPDATES.into_iter().max().unwrap_or(0) {
            let free: Vec<u32> = (0..settings.trials)
                .filter(|&trainer| caught_after[trainer as usize] == u32::MAX)
                .collect();
            for (batch, trainers) in free.chunks(64).enumerate() {
                let number = u64::from(skipped) << 48 | u64::from(update) << 32 | batch as u64;
                let deeds: Vec<_> = trainers
                    .iter()
                    .map(|&trainer| {
                        let random = Prf::new(
                            "skip",
                            &seed(settings.seed, "skip", number),
                            &[&trainer.to_le_bytes()],
                        );
                        (
                            trainer,
                            Deed {
                                forged: forge(random, settings.segments, skipped),
                                ..Deed::honest(settings.segments, 1)
                            },
                        )
                    })
                    .collect();
                let rulings = audit(
                    &settings.audit,
                    seed(settings.seed, "detect", number),
                    update,
                    &validators,
                    &deeds,
                );
                for (&trainer, _) in trainers
                    .iter()
                    .zip(rulings)
                    .filter(|(_, ruling)| ruling.verdict == Verdict::Invalid)
                {
                    caught_after[trainer as usize] = update;
                }
            }
        }
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

/// A set of `skipped` of the `segments` segments, drawn uniformly.
pub fn forge(mut random: Prf, segments: u16, skipped: u16) -> u64 {
    random
        .permutation(segments.into())
        .into_iter()
        .take(skipped.into())
        .fold(0, |set, segment| set | 1 << segment)
}
