//! Judgement of replays that agree within a distance: the native numerics profile.

use super::{Binding, Finding, Seat, UpdateMeasurement, Verdict, finding::median};
use crate::{Balance, Ppm, round::is_quorum, sketch::Sketch};
use alloc::vec::Vec;

/// What a seat says of an update.
#[derive(Clone, Copy)]
enum Word<'a> {
    Valid,
    Withheld,
    Impossible,
    /// What was opened is not what it should be of.
    Other,
    /// The replay ended too far from what was opened.
    Beyond(&'a [Sketch]),
}

fn within(claimed: &[Sketch], replayed: &[Sketch], tolerance: Ppm) -> bool {
    claimed.len() == replayed.len()
        && claimed
            .iter()
            .zip(replayed)
            .all(|(claimed, replayed)| claimed.is_within(replayed, tolerance))
}

impl<'a> Word<'a> {
    /// What `seat` says; nothing as long as half of it is missing, or where it is of the other
    /// profile.
    fn of(seat: &Seat<'a>, opened: &[Sketch], tolerance: Ppm) -> Option<Self> {
        Some(match (seat.finding?, seat.binding) {
            (Finding::Unavailable, _) => Self::Withheld,
            (Finding::Impossible, _) => Self::Impossible,
            (Finding::Sketched { .. }, Some(Binding::Unavailable)) => Self::Withheld,
            (Finding::Sketched { .. }, Some(Binding::Mismatch)) => Self::Other,
            (Finding::Sketched { ends, .. }, Some(Binding::Bound))
                if within(opened, ends, tolerance) =>
            {
                Self::Valid
            }
            (Finding::Sketched { ends, .. }, Some(Binding::Bound)) => Self::Beyond(ends),
            (Finding::Sketched { .. }, None) | (Finding::Replayed { .. }, _) => return None,
        })
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Valid => Verdict::Valid,
            Self::Withheld => Verdict::Withheld,
            Self::Impossible | Self::Other | Self::Beyond(_) => Verdict::Invalid,
        }
    }

    /// Whether `other` says the same: replays that contradict what was opened must also be replays
    /// of one thing.
    fn same(self, other: Self, tolerance: Ppm) -> bool {
        match (self, other) {
            (Self::Beyond(ends), Self::Beyond(others)) => within(others, ends, tolerance),
            (Self::Valid, Self::Valid)
            | (Self::Withheld, Self::Withheld)
            | (Self::Impossible, Self::Impossible)
            | (Self::Other, Self::Other) => true,
            _ => false,
        }
    }
}

/// Compares what the seats found with the sketches that were opened; no opening is no defence. As
/// in [`exact::judge`], the stake of all seats counts, also of those that said nothing, and
/// what contradicts the trainer must agree with itself.
pub fn judge(opened: Option<&[Sketch]>, tolerance: Ppm, seats: &[Seat<'_>]) -> Verdict {
    let Some(opened) = opened else { return Verdict::Withheld };
    decided(opened, tolerance, seats).map_or(Verdict::Unresolved, Word::verdict)
}

/// What a quorum of the seats' stake says, also of those that said nothing.
fn decided<'a>(opened: &[Sketch], tolerance: Ppm, seats: &[Seat<'a>]) -> Option<Word<'a>> {
    let whole = seats.iter().fold(0, |sum: Balance, seat| sum.saturating_add(seat.stake));
    let words: Vec<(Word<'_>, Balance)> = seats
        .iter()
        .filter_map(|seat| Some((Word::of(seat, opened, tolerance)?, seat.stake)))
        .collect();
    let saying = |word: Word<'_>| {
        let same = words.iter().filter(|(other, _)| word.same(*other, tolerance));
        same.fold(0, |sum: Balance, (_, stake)| sum.saturating_add(*stake))
    };
    words
        .iter()
        .find(|(word, _)| whole > 0 && is_quorum(saying(*word), whole))
        .map(|(word, _)| *word)
}

/// Which of the seats say what the quorum says; nobody where there was none.
pub fn right_seats(opened: Option<&[Sketch]>, tolerance: Ppm, seats: &[Seat<'_>]) -> Vec<bool> {
    let word = opened.and_then(|opened| Some((opened, decided(opened, tolerance, seats)?)));
    let right = |seat: &Seat<'_>| {
        word.is_some_and(|(opened, word)| {
            Word::of(seat, opened, tolerance).is_some_and(|said| word.same(said, tolerance))
        })
    };
    seats.iter().map(right).collect()
}

/// The stake-weighted median of each figure over the seats that are right about a valid update.
pub fn consensus(opened: &[Sketch], tolerance: Ppm, seats: &[Seat<'_>]) -> UpdateMeasurement {
    let right =
        seats.iter().filter_map(|seat| match (Word::of(seat, opened, tolerance)?, seat.finding?) {
            (Word::Valid, Finding::Sketched { measure, .. }) => Some((measure, seat.stake)),
            _ => None,
        });
    median(&right.collect::<Vec<_>>())
}
