// SPDX-License-Identifier: Apache-2.0

//! Random draws of seats and segments. Stake decides who is drawn, and nothing else.

use crate::{Balance, Hash, prf::Prf, round::is_third};
use alloc::vec::Vec;
use codec::Encode;

/// Returns the stakes that seats are drawn from: those of validators that have acted, without the
/// `newcomers`, which are sorted, if they are a third of all stake or more, and all of them
/// otherwise.
///
/// A bond that never acts leaves its seats empty, and could so keep the updates of others undecided
/// until it has failed often enough to be fined.
pub fn seated_stakes<AccountId: Ord>(
    stakes: Vec<(AccountId, Balance)>,
    newcomers: &[AccountId],
) -> Vec<(AccountId, Balance)> {
    let has_acted = |account: &AccountId| newcomers.binary_search(account).is_err();
    let whole = total(&eligible(&stakes, |_| true));
    let acting = total(&eligible(&stakes, has_acted));
    if !is_third(acting, whole) {
        return stakes;
    }
    stakes.into_iter().filter(|(account, _)| has_acted(account)).collect()
}

/// Draws `count` different validators for the update of `trainer`, and returns their indices in
/// `stakes`.
///
/// Each draw selects one of the remaining validators with a probability proportional to its stake.
/// The trainer itself is never drawn. If there are fewer than `count`, all are returned.
pub fn draw_seats<AccountId: Encode + PartialEq>(
    seed: &Hash,
    trainer: &AccountId,
    stakes: &[(AccountId, Balance)],
    count: usize,
) -> Vec<usize> {
    let mut prf = Prf::new("pol/seats/1", seed, &[&trainer.encode()]);
    let mut left = eligible(stakes, |account| account != trainer);
    let mut total = total(&left);
    let mut seats = Vec::with_capacity(count.min(left.len()));
    while seats.len() < count {
        let mut point = prf.below_u128(total);
        let Some(found) = left.iter().position(|(_, stake)| {
            let here = point < *stake;
            if !here {
                point = point.saturating_sub(*stake);
            }
            here
        }) else {
            break;
        };
        let (at, stake) = left.swap_remove(found);
        total = total.saturating_sub(stake);
        seats.push(at);
    }
    seats
}

/// Draws `count` seats for the update of `trainer` in proportion to stakes, and returns the indices
/// of their validators in `stakes`.
///
/// A validator with a share `s` of the stake gets `s · count` seats, rounded up or down by chance,
/// so that one with more than a `count`th may get several. The draw is systematic (Madow 1949): the
/// validators stand in a random order, each over a length of its stake, and seats are at equal
/// distances from a random start. The mean number of seats of a group therefore depends on its
/// stake alone, however it divides it among accounts, and also where there are fewer validators
/// than seats.
///
/// The `earlier` validators are left out, unless the others have less than nine tenths of the
/// stake. Otherwise a group would gain by a first draw of the largest. The trainer itself is never
/// drawn.
pub fn draw_proportional_seats<AccountId: Encode + PartialEq>(
    seed: &Hash,
    trainer: &AccountId,
    stakes: &[(AccountId, Balance)],
    count: usize,
    earlier: &[AccountId],
) -> Vec<usize> {
    let mut prf = Prf::new("pol/seats/2", seed, &[&trainer.encode()]);
    let all = eligible(stakes, |account| account != trainer);
    let fresh = eligible(stakes, |account| account != trainer && !earlier.contains(account));
    let is_enough = total(&fresh).saturating_mul(10) >= total(&all).saturating_mul(9);
    let pool = if is_enough { fresh } else { all };
    let whole = total(&pool);
    let count = count as Balance;
    let start = prf.below_u128(whole);
    // `(start + seat · whole) / count`, without a product that could overflow.
    let each = whole.checked_div(count).unwrap_or(0);
    let rest = whole.checked_rem(count).unwrap_or(0);
    let place = |seat: Balance| {
        let part = start.saturating_add(rest.saturating_mul(seat)).checked_div(count).unwrap_or(0);
        each.saturating_mul(seat).saturating_add(part)
    };
    let (mut seats, mut end, mut next) = (Vec::new(), 0, 0);
    let order = prf.permutation(u32::try_from(pool.len()).unwrap_or(u32::MAX));
    for (at, stake) in order.into_iter().filter_map(|at| pool.get(at as usize)) {
        end = stake.saturating_add(end);
        while next < count && place(next) < end {
            seats.push(*at);
            next = next.saturating_add(1);
        }
    }
    seats
}

/// Returns the indices and stakes of the validators that have stake and that `is_eligible` accepts.
fn eligible<AccountId>(
    stakes: &[(AccountId, Balance)],
    is_eligible: impl Fn(&AccountId) -> bool,
) -> Vec<(usize, Balance)> {
    let numbered = stakes.iter().enumerate();
    numbered
        .filter(|(_, (account, stake))| *stake > 0 && is_eligible(account))
        .map(|(at, (_, stake))| (at, *stake))
        .collect()
}

fn total(stakes: &[(usize, Balance)]) -> Balance {
    stakes.iter().fold(0, |sum, (_, stake)| stake.saturating_add(sum))
}

/// Draws up to `count` of the `segments` segments of `trainer`'s update, and returns them in
/// ascending order.
///
/// The draw is uniform among the segments whose end is not one of the `known` leaves. If all ends
/// are known, it is uniform among all segments, because a replay that can be copied is better than
/// none.
pub fn draw_segments<AccountId: Encode>(
    seed: &Hash,
    trainer: &AccountId,
    segments: u16,
    count: usize,
    known: &[u16],
) -> Vec<u16> {
    let blind: Vec<u16> =
        (0..segments).filter(|segment| !known.contains(&segment.saturating_add(1))).collect();
    let eligible = if blind.is_empty() { (0..segments).collect() } else { blind };
    let order =
        Prf::new("pol/segments/1", seed, &[&trainer.encode()]).permutation(eligible.len() as u32);
    let mut drawn: Vec<u16> =
        order.into_iter().take(count).filter_map(|at| eligible.get(at as usize).copied()).collect();
    drawn.sort_unstable();
    drawn
}
