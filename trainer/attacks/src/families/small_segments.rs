// SPDX-License-Identifier: Apache-2.0

//! Honest large segments and forged small ones.

use crate::{
    monte_carlo::{DRAWS, seed},
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use pol_primitives::audit::draw_segments;

pub(super) static FAMILY: Family = Family {
    name: "small-segments",
    scenarios: &[Scenario {
        name: "forged-segments",
        setup: Setup::MonteCarlo(draw_forged_segments),
        act: "Forges 2 of 10 segments in 10,000 audits of one segment.",
        expect: "The share of the work that is forged lies in the 95 % interval of detections.",
    }],
};

/// Segments of a lease.
const SEGMENTS: u16 = 10;
/// Forged segments.
const FORGED: [u16; 2] = [3, 8];

/// Draws segments. All have equal numbers of steps, so that a forged one saves its share of the
/// work, and is drawn with just that probability.
fn draw_forged_segments() -> Tally {
    let trainer = [5u8; 32];
    let is_hit = |draw: &u32| {
        let seed = seed(b"pol/attacks/segments", *draw);
        let drawn = draw_segments(&seed, &trainer, SEGMENTS, 1, &[]);
        drawn.iter().any(|segment| FORGED.contains(segment))
    };
    let hits = (0..DRAWS).filter(is_hit).count() as u64;
    let share = FORGED.len() as f64 / f64::from(SEGMENTS);
    let tally = Tally::counted(DRAWS.into(), hits, hits);
    let interval = crate::tally::wilson(hits, DRAWS.into());
    let passed = (interval[0]..=interval[1]).contains(&share);
    let note = format!(
        "2 of {SEGMENTS} segments forged: drawn at {:.4}, their share is {share}",
        hits as f64 / f64::from(DRAWS)
    );
    tally.interval(interval).passed(passed, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_segments_are_drawn_at_their_share() {
        let tally = draw_forged_segments();
        assert!(tally.passed, "{tally:?}");
    }
}
