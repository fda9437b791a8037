// SPDX-License-Identifier: Apache-2.0

//! Comparison of findings under the exact profile, in which replays agree in every bit.

use super::{Finding, Seat, UpdateMeasurement, Verdict, finding::median, is_seat_quorum};
use crate::Hash;
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

/// Returns the vote of two thirds of all seats.
fn decided<'a>(opened: &[Hash], seats: &[Seat<'a>]) -> Option<Vote<'a>> {
    let mut groups = BTreeMap::<_, usize>::new();
    for Seat { finding, .. } in seats {
        let Some(vote) = finding.and_then(|finding| vote(opened, finding)) else { continue };
        let votes = groups.entry(vote).or_default();
        *votes = votes.saturating_add(1);
    }
    groups.into_iter().find(|(_, votes)| is_seat_quorum(*votes, seats.len())).map(|(vote, _)| vote)
}

/// Returns the opinion of each seat on the update; none of a seat that revealed nothing, and none
/// on an update whose trainer opened nothing.
pub fn opinions(opened: Option<&[Hash]>, seats: &[Seat<'_>]) -> Vec<Option<Verdict>> {
    let opinion = |seat: &Seat<'_>| vote(opened?, seat.finding?).map(|(verdict, _)| verdict);
    seats.iter().map(opinion).collect()
}

/// Compares the findings of the seats with the opened ends, and returns what two thirds of all
/// seats found.
///
/// A trainer that opened nothing has withheld its update. Findings agree if their replays do;
/// measurements are not compared. [`verdict_of_draw`](super::verdict_of_draw) says what it means.
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

/// Returns the median of each figure over the seats that found the update valid.
pub fn consensus(opened: &[Hash], seats: &[Seat<'_>]) -> UpdateMeasurement {
    let right = seats.iter().filter_map(|seat| match seat.finding {
        Some(Finding::Replayed { ends, packed, measure }) if agrees(opened, ends, *packed) => {
            Some(measure)
        }
        _ => None,
    });
    median(&right.collect::<Vec<_>>())
}
