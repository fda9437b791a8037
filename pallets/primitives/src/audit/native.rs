// SPDX-License-Identifier: Apache-2.0

//! Comparison of findings under the native profile, in which replays agree within a distance.
//!
//! The stages of an [audit](super) differ from the exact profile in two points:
//!
//! * In stage Open, the trainer opens the end's state with its [sketch](crate::sketch), and serves
//!   the state itself to the swarm. A sketch alone would prove nothing about the leaf, because an
//!   honest replay after the draw has one too.
//! * In stage Reveal, a seat adds a [`Binding`] to its finding: the check of the opened sketch
//!   against the opened leaf. The check needs no secrecy, because anyone can compute it bit for bit
//!   from the state.

use super::{Binding, Finding, Seat, UpdateMeasurement, Verdict, finding::median, is_seat_quorum};
use crate::{Ppm, sketch::Sketch};
use alloc::vec::Vec;

/// Vote of a seat on an update.
#[derive(Clone, Copy)]
enum Vote<'a> {
    Valid,
    Withheld,
    Impossible,
    /// The opened sketch is not that of the opened leaf, or packing gives another result.
    Mismatch,
    /// The replay ended too far from the opened end.
    Distant(&'a [Sketch]),
}

fn within(claimed: &[Sketch], replayed: &[Sketch], tolerance: Ppm) -> bool {
    claimed.len() == replayed.len()
        && claimed
            .iter()
            .zip(replayed)
            .all(|(claimed, replayed)| claimed.is_within(replayed, tolerance))
}

impl<'a> Vote<'a> {
    /// Returns the vote of `seat`; `None` if its finding or its binding is missing, if the ends are
    /// unchecked, or if the finding is of the other profile.
    fn of(seat: &Seat<'a>, opened: &[Sketch], tolerance: Ppm) -> Option<Self> {
        Some(match (seat.finding?, seat.binding) {
            (Finding::Unavailable, _) => Self::Withheld,
            (Finding::Impossible, _) => Self::Impossible,
            (Finding::Sketched { .. }, Some(Binding::Unavailable)) => Self::Withheld,
            (Finding::Sketched { .. }, Some(Binding::Mismatch)) => Self::Mismatch,
            (Finding::Sketched { ends, .. }, Some(Binding::Bound))
                if within(opened, ends, tolerance) =>
            {
                Self::Valid
            }
            (Finding::Sketched { ends, .. }, Some(Binding::Bound)) => Self::Distant(ends),
            (Finding::Sketched { .. }, None | Some(Binding::Unchecked))
            | (Finding::Replayed { .. }, _) => return None,
        })
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Valid => Verdict::Valid,
            Self::Withheld => Verdict::Withheld,
            Self::Impossible | Self::Mismatch | Self::Distant(_) => Verdict::Invalid,
        }
    }

    /// Returns `true` if both votes are the same. Replays that contradict the opened end must also
    /// agree with each other.
    fn agrees(self, other: Self, tolerance: Ppm) -> bool {
        match (self, other) {
            (Self::Distant(ends), Self::Distant(others)) => within(others, ends, tolerance),
            (Self::Valid, Self::Valid)
            | (Self::Withheld, Self::Withheld)
            | (Self::Impossible, Self::Impossible)
            | (Self::Mismatch, Self::Mismatch) => true,
            _ => false,
        }
    }
}

/// Compares the findings of the seats with the opened sketches, and returns what two thirds of all
/// seats found.
///
/// As in [`exact::judge`](super::exact::judge), a trainer that opened nothing has withheld its
/// update. Findings that contradict the trainer
/// must agree with each other.
pub fn judge(opened: Option<&[Sketch]>, tolerance: Ppm, seats: &[Seat<'_>]) -> Verdict {
    let Some(opened) = opened else { return Verdict::Withheld };
    decided(opened, tolerance, seats).map_or(Verdict::Unresolved, Vote::verdict)
}

/// Returns the vote of two thirds of all seats.
fn decided<'a>(opened: &[Sketch], tolerance: Ppm, seats: &[Seat<'a>]) -> Option<Vote<'a>> {
    let votes: Vec<Vote<'a>> =
        seats.iter().filter_map(|seat| Vote::of(seat, opened, tolerance)).collect();
    let agreeing =
        |vote: Vote<'_>| votes.iter().filter(|other| vote.agrees(**other, tolerance)).count();
    votes.iter().copied().find(|vote| is_seat_quorum(agreeing(*vote), seats.len()))
}

/// Returns the opinion of each seat on the update; none of a seat that revealed nothing, and none
/// on an update whose trainer opened nothing.
pub fn opinions(
    opened: Option<&[Sketch]>,
    tolerance: Ppm,
    seats: &[Seat<'_>],
) -> Vec<Option<Verdict>> {
    let opinion = |seat: &Seat<'_>| Vote::of(seat, opened?, tolerance).map(Vote::verdict);
    seats.iter().map(opinion).collect()
}

/// Returns, for each seat, `true` if its vote is that of the quorum. Without a quorum, no seat is
/// right.
pub fn right_seats(opened: Option<&[Sketch]>, tolerance: Ppm, seats: &[Seat<'_>]) -> Vec<bool> {
    let vote = opened.and_then(|opened| Some((opened, decided(opened, tolerance, seats)?)));
    let right = |seat: &Seat<'_>| {
        vote.is_some_and(|(opened, vote)| {
            Vote::of(seat, opened, tolerance).is_some_and(|other| vote.agrees(other, tolerance))
        })
    };
    seats.iter().map(right).collect()
}

/// Returns the median of each figure over the seats that found the update valid.
pub fn consensus(opened: &[Sketch], tolerance: Ppm, seats: &[Seat<'_>]) -> UpdateMeasurement {
    let right =
        seats.iter().filter_map(|seat| match (Vote::of(seat, opened, tolerance)?, seat.finding?) {
            (Vote::Valid, Finding::Sketched { measure, .. }) => Some(measure),
            _ => None,
        });
    median(&right.collect::<Vec<_>>())
}
