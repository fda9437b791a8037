// SPDX-License-Identifier: Apache-2.0

//! Random draws of seats and segments.

use crate::{Balance, Hash, prf::Prf};
use alloc::vec::Vec;
use codec::Encode;

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
    let mut left: Vec<(usize, Balance)> = stakes
        .iter()
        .enumerate()
        .filter(|(_, (account, stake))| account != trainer && *stake > 0)
        .map(|(at, (_, stake))| (at, *stake))
        .collect();
    let mut total = left.iter().fold(0, |sum: Balance, (_, stake)| sum.saturating_add(*stake));
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
