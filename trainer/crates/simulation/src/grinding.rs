// SPDX-License-Identifier: Apache-2.0

//! Influence of block authors, who know the randomness of their own blocks, on audits.
//!
//! The seed of an audit mixes the VRF outputs of the block that adopted the head and of `mix` more.
//! An author cannot choose its output, but knows it and can withhold its block. Another slot's
//! block is then mixed in its place. A choice matters only while nobody else's block is mixed
//! after it, so only runs of own slots at the end count.
//!
//! With a beacon, the mixture is sealed before the pulse that completes the seed is known. An
//! author can then only keep a pulse out that it does not like, which takes every block until the
//! draw is made without it.

use crate::{
    Settings,
    audits::{FIRST_VALIDATOR, ValidatorStrategy, Validators, seed},
    collusion::{Chances, Estimate},
    detection::{chance, forge},
    statistics::choose,
};
use pol_primitives::{
    Balance, Hash,
    audit::{draw_seats, draw_segments},
    prf::Prf,
    round::RoundConfig,
};
use serde::Serialize;

/// Shares of slots to simulate, in percent.
pub const SHARES: [u32; 5] = [5, 10, 20, 33, 50];
/// Shares of stake that can block a quorum, in percent.
const BLOCKING: [u32; 4] = [34, 40, 50, 60];
/// Blocks between the time of a pulse and the end of the wait for it, in the presets.
const PULSE_BLOCKS: i32 = 7;
/// Slots simulated after the last one in which the head can be adopted.
const BEYOND: usize = 100;

/// An accomplice with a share of the slots, without influence on when there is a quorum.
#[derive(Clone, Debug, Serialize)]
pub struct Author {
    /// Its share of the slots.
    pub share: f64,
    /// Segments that the cheat skips.
    pub skipped: u16,
    /// Chance of being caught without an accomplice.
    pub alone: f64,
    /// Caught with an accomplice that withholds the last block where that helps:
    /// `p · (1 − a) / (1 − a · p)`.
    pub caught: Estimate,
    /// Caught with an accomplice that knows all its slots in advance and plays optimally.
    pub best: f64,
    /// Caught where a beacon completes the seed, and the accomplice keeps pulses out that it does
    /// not like: `p · (1 − a⁷ · (1 − q))`, where `q` is the chance without the pulse.
    pub beacon: Estimate,
}

/// A group with so much stake that there is no quorum without it, and the same share of the slots:
/// it chooses the block in which the head is adopted.
#[derive(Clone, Debug, Serialize)]
pub struct Blocking {
    /// Its share of stake and slots.
    pub share: f64,
    /// Segments that the cheat skips.
    pub skipped: u16,
    /// Caught if it chooses the block within one attest phase, knows all its slots in advance and
    /// plays optimally.
    pub best: f64,
    /// Caught if the seed were the output of that block alone.
    pub unmixed: f64,
    /// Caught where a beacon completes the seed, and the group keeps pulses out that it does not
    /// like.
    pub beacon: f64,
}

/// Results for both kinds of groups.
#[derive(Clone, Debug, Serialize)]
pub struct Grinding {
    /// Groups without influence on the quorum.
    pub author: Vec<Author>,
    /// Groups that can block the quorum.
    pub blocking: Vec<Blocking>,
}

/// Simulates every share.
pub fn run(settings: &Settings) -> Grinding {
    let skips = [settings.segments.div_ceil(10), settings.segments.div_ceil(2), settings.segments];
    let pairs = |shares: &[u32]| -> Vec<(u32, u16)> {
        shares.iter().flat_map(|&percent| skips.map(|skipped| (percent, skipped))).collect()
    };
    let author =
        pairs(&SHARES).into_iter().map(|(percent, skipped)| author(settings, percent, skipped));
    let blocking =
        pairs(&BLOCKING).into_iter().map(|(percent, skipped)| blocking(settings, percent, skipped));
    Grinding { author: author.collect(), blocking: blocking.collect() }
}

/// Returns the number of blocks mixed into a seed.
fn mixed_blocks(settings: &Settings) -> usize {
    settings.audit.mix as usize + 1
}

fn author(settings: &Settings, percent: u32, skipped: u16) -> Author {
    let a = f64::from(percent) / 100.0;
    let p = chance(settings.segments, skipped, settings.audit.segments);
    let mut caught = Estimate { expected: p * (1.0 - a) / (1.0 - a * p), ..Default::default() };
    let author_seed = seed(settings.seed, "author", percent.into());
    let mut random = Prf::new("author", &author_seed, &[&skipped.to_le_bytes()]);
    for trainer in 0..settings.trials {
        caught.rate.count(is_caught(settings, &mut random, trainer, skipped, percent));
    }
    let best = best(settings, percent, p, mixed_blocks(settings), 1);
    let beacon = with_beacon(settings, percent, skipped, p, caught.expected);
    Author { share: a, skipped, alone: p, caught, best, beacon }
}

fn blocking(settings: &Settings, percent: u32, skipped: u16) -> Blocking {
    let colluding = settings.validators.saturating_mul(percent).div_ceil(100);
    let p = chance(settings.segments, skipped, settings.audit.segments);
    let found = p * (1.0 - Chances::new(settings, settings.validators, colluding).passes());
    let (share, slots) = (f64::from(percent) / 100.0, RoundConfig::default().attest);
    let unmixed = (1.0 - share * (1.0 - found)).powi(slots as i32);
    let best = best(settings, percent, found, mixed_blocks(settings), slots as usize);
    let beacon = found * pulse_counts(share, best);
    Blocking { share, skipped, best, unmixed, beacon }
}

/// Returns the share of bad pulses that count although a group with a `share` of the slots keeps
/// them out where it can, if a draw without a pulse is bad with the chance `without`.
fn pulse_counts(share: f64, without: f64) -> f64 {
    1.0 - share.powi(PULSE_BLOCKS) * (1.0 - without)
}

/// Simulates draws whose seed a beacon completes. `p` is the chance of being caught in a draw that
/// nobody chose, and `without` that in a draw without the pulse.
fn with_beacon(settings: &Settings, percent: u32, skipped: u16, p: f64, without: f64) -> Estimate {
    let share = f64::from(percent) / 100.0;
    let expected = p * pulse_counts(share, without);
    let mut estimate = Estimate { expected, ..Default::default() };
    let beacon_seed = seed(settings.seed, "beacon", percent.into());
    let mut random = Prf::new("beacon", &beacon_seed, &[&skipped.to_le_bytes()]);
    for trainer in 0..settings.trials {
        // Nobody withholds a block of the mixture, since no draw is known before the pulse.
        let is_bad = is_caught(settings, &mut random, trainer, skipped, 0);
        let is_kept_out = is_bad && (0..PULSE_BLOCKS).all(|_| happens(&mut random, percent));
        let is_found = if is_kept_out {
            is_caught(settings, &mut random, trainer, skipped, percent)
        } else {
            is_bad
        };
        estimate.rate.count(is_found);
    }
    estimate
}

/// Returns `true` with a chance of `percent`.
fn happens(random: &mut Prf, percent: u32) -> bool {
    random.below(100) < percent
}

/// Returns `true` if a cheat that skips `skipped` segments is caught. Its accomplice authors
/// `percent` of the blocks and withholds the last mixed one where that would catch the cheat.
/// Draws as the chain does.
fn is_caught(
    settings: &Settings,
    random: &mut Prf,
    trainer: u32,
    skipped: u16,
    percent: u32,
) -> bool {
    let forged = forge(random.clone(), settings.segments, skipped);
    loop {
        let mut block = Hash::default();
        random.fill(&mut block);
        let drawn =
            draw_segments(&block, &trainer, settings.segments, settings.audit.segments.into(), &[]);
        let is_clean = drawn.iter().all(|segment| forged >> segment & 1 == 0);
        if is_clean || !happens(random, percent) {
            return !is_clean;
        }
    }
}

/// Returns the mean chance of being caught over random slots, for a group that plays optimally.
///
/// The group authors `percent` of the slots and knows which. It may place the first of the `mixed`
/// blocks in any of `starts` slots. `found` is the chance in a draw that nobody chose.
pub fn best(settings: &Settings, percent: u32, found: f64, mixed: usize, starts: usize) -> f64 {
    let trials = settings.trials.min(1_000);
    let mut random = Prf::new("slots", &seed(settings.seed, "slots", percent.into()), &[]);
    let sum: f64 = (0..trials)
        .map(|_| {
            let own: Vec<bool> =
                (0..starts + BEYOND).map(|_| happens(&mut random, percent)).collect();
            caught(&own, found, mixed, starts)
        })
        .sum();
    sum / f64::from(trials)
}

/// Returns the chance of being caught for a group that knows its slots `own`, with the first of
/// the `mixed` blocks in any of the first `starts` slots.
///
/// It may publish any `t` of its `k` slots before the next slot of somebody else. If `t` is less
/// than the `m` missing blocks, the other's block makes the mix unpredictable again. If `t` is `m`,
/// the draw is known in advance: there are `C(k, m)` draws to choose from. If all are bad, the
/// group can still leave the last block to the other.
fn caught(own: &[bool], found: f64, mixed: usize, starts: usize) -> f64 {
    // Chances by slot and number of missing blocks.
    let mut from = vec![vec![found; mixed + 1]; own.len() + 2];
    let (mut run, mut draws, mut at_best) = (0, 0.0, found);
    for at in (0..own.len()).rev() {
        run = if own[at] { run + 1 } else { 0 };
        let after = (at + run + 1).min(own.len() + 1);
        for missing in 1..=mixed {
            let left = |published: usize| from[after][missing - published - 1];
            let leaving = (0..=run.min(missing - 1)).map(left).fold(1.0, f64::min);
            let known = choose(run as u32, missing as u32);
            from[at][missing] = found.powf(known) * leaving;
            if missing == mixed && at < starts {
                at_best = f64::min(at_best, leaving);
                // Runs are counted where they begin.
                let begins = at == 0 || !own[at - 1];
                draws += if begins { known } else { 0.0 };
            }
        }
    }
    found.powf(draws) * at_best
}

/// Seats of a validator that holds its stake in one account, or in as many accounts as the
/// smallest bond allows.
#[derive(Clone, Debug, Serialize)]
pub struct Split {
    /// Its share of the stake.
    pub share: f64,
    /// Seats per update with one account.
    pub one: f64,
    /// Seats per update with many accounts, for all of which one replay is enough.
    pub many: f64,
    /// Replays per update with many accounts.
    pub replays: f64,
}

/// Simulates some shares.
pub fn split(settings: &Settings) -> Vec<Split> {
    let trials = settings.trials.min(4_000);
    [1, 10, 20, 30]
        .into_iter()
        .filter(|percent| settings.validators * percent >= 100)
        .map(|percent| {
            let whole = Validators::equal(settings.validators, 0, ValidatorStrategy::Honest).stakes;
            let own = settings.validators * percent / 100;
            let (mine, others) = whole.split_at(own as usize);
            let mut merged = others.to_vec();
            merged.insert(0, (FIRST_VALIDATOR, mine.iter().map(|(_, stake)| stake).sum()));
            let held = |trial: u32, stakes: &[(u32, Balance)], own: usize| {
                let block = seed(settings.seed, "split", trial.into());
                draw_seats(&block, &trial, stakes, settings.audit.seats.into())
                    .into_iter()
                    .filter(|&at| at < own)
                    .count()
            };
            let (mut one, mut many, mut replays) = (0, 0, 0);
            for trial in 0..trials {
                one += held(trial, &merged, 1);
                let seats = held(trial, &whole, own as usize);
                many += seats;
                replays += usize::from(seats > 0);
            }
            let mean = |sum: usize| sum as f64 / f64::from(trials);
            Split {
                share: f64::from(own) / f64::from(settings.validators),
                one: mean(one),
                many: mean(many),
                replays: mean(replays),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playing_one_block_in_the_best_way_is_the_formula() {
        let settings = Settings { trials: 1_000, ..Settings::quick(2) };
        for (percent, found) in [(10, 0.5), (33, 0.1), (50, 0.5)] {
            let a = f64::from(percent) / 100.0;
            let (formula, best) =
                (found * (1.0 - a) / (1.0 - a * found), best(&settings, percent, found, 1, 1));
            assert!((best - formula).abs() < 0.1 * formula, "{percent} %: {best}, not {formula}");
        }
    }

    #[test]
    fn known_patterns_have_known_chances() {
        // An own slot, then others': one block can be withheld, or published and followed by
        // another's.
        let mut own = vec![false; 20];
        let from = |own: &[bool], mixed| caught(own, 0.5, mixed, 1);
        assert_eq!(from(&own, 3), 0.5, "without own slots there is no choice");
        own[0] = true;
        assert_eq!(from(&own, 1), 0.25, "two draws to choose from");
        assert_eq!(from(&own, 2), 0.5, "another's block comes last");
        own[1] = true;
        assert_eq!(from(&own, 2), 0.25, "both published, or a block of another's");
        own[2] = true;
        assert_eq!(from(&own, 2), 0.0625, "three pairs of own blocks, or another's");
        assert_eq!(
            caught(&own, 1.0, 2, 1),
            1.0,
            "where every draw is bad, choice is worth nothing"
        );
        own[5] = true;
        own[6] = true;
        // A fourth pair to choose from, and another's block if all four are bad.
        assert!(caught(&own, 0.5, 2, 10) <= 0.5f64.powi(5), "{}", caught(&own, 0.5, 2, 10));
    }

    #[test]
    fn mixing_more_blocks_leaves_less_choice() {
        let settings = Settings { trials: 300, ..Settings::quick(2) };
        let caught: Vec<f64> =
            [1, 3, 9].iter().map(|&mixed| best(&settings, 40, 0.5, mixed, 60)).collect();
        assert!(caught[0] < 1e-3 && caught[0] < caught[1] && caught[1] < caught[2], "{caught:?}");
    }
}
