// SPDX-License-Identifier: Apache-2.0

//! Comparison of findings under the exact profile, in which replays agree in every bit.

use super::{Finding, Seat, UpdateMeasurement, Verdict, finding::median};
use crate::{Balance, Hash, round::is_quorum};
use alloc::{collections::BTreeMap, vec::Vec};

/// A verdict, and for an invalid update the result that was found in its place.
pub(super) type Vote<'a> = (Verdict, Option<(&'a [Hash], bool)>);

/// Returns the vote that follows from `finding`; `None` if it is of the other profile.
pub(super) fn vote<'a>(opened: &[Hash], finding: &'a Finding) -> Option<Vote<'a>> {
    Some(match finding {
        Finding::Unavailable => (Verdict::Withheld, None),
        Finding::Replayed { ends, packed, .. } if agrees(opened, ends, *packed) => {
            (Verdict::Valid, None)
        }
        Finding::Replayed { ends, packed, .. } => {
            (Verdict::Invalid, Some((ends.as_slice(), *packed)))
        }
        Finding::Impossible => (Verdict::Invalid, None),
        Finding::Sketched { .. } => return None,
    })
}

/// Returns the vote for which there is a quorum of the stake of all seats.
fn decided<'a>(opened: &[Hash], seats: &[Seat<'a>]) -> Option<Vote<'a>> {
    let whole = seats.iter().fold(0, |sum: Balance, seat| sum.saturating_add(seat.stake));
    let mut groups = BTreeMap::<_, Balance>::new();
    for Seat { stake, finding, .. } in seats {
        let Some(vote) = finding.and_then(|finding| vote(opened, finding)) else { continue };
        let sum = groups.entry(vote).or_default();
        *sum = sum.saturating_add(*stake);
    }
    groups
        .into_iter()
        .find(|(_, stake)| whole > 0 && is_quorum(*stake, whole))
        .map(|(vote, _)| vote)
}

/// Compares the findings of the seats with the opened ends, and returns the verdict.
///
/// A trainer that opened nothing has withheld its update. Findings agree if their replays do;
/// measurements are not compared. The quorum is taken of the stake of all seats, including those
/// without a finding.
pub fn judge(opened: Option<&[Hash]>, seats: &[Seat<'_>]) -> Verdict {
    let Some(opened) = opened else { return Verdict::Withheld };
    decided(opened, seats).map_or(Verdict::Unresolved, |(verdict, _)| verdict)
}

/// Returns, for each seat, `true` if its finding is that of the quorum.
///
/// A seat that only guessed that an update is invalid is not right, because it cannot know the ends
/// of the segments without a replay. Without a quorum, no seat is right.
pub fn right_seats(opened: Option<&[Hash]>, seats: &[Seat<'_>]) -> Vec<bool> {
    let decided = opened.and_then(|opened| Some((opened, decided(opened, seats)?)));
    let right = |finding: &Finding| {
        decided.is_some_and(|(opened, decided)| vote(opened, finding) == Some(decided))
    };
    seats.iter().map(|seat| seat.finding.is_some_and(right)).collect()
}

fn agrees(opened: &[Hash], ends: &[Hash], packed: bool) -> bool {
    packed && opened == ends
}

/// Returns the stake-weighted median of each figure over the seats that found the update valid.
pub fn consensus(opened: &[Hash], seats: &[Seat<'_>]) -> UpdateMeasurement {
    let right = seats.iter().filter_map(|seat| match seat.finding {
        Some(Finding::Replayed { ends, packed, measure }) if agrees(opened, ends, *packed) => {
            Some((measure, seat.stake))
        }
        _ => None,
    });
    median(&right.collect::<Vec<_>>())
}
