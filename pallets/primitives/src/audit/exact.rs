//! Judgement of replays that must agree in every bit: the exact numerics profile.

use super::{Finding, Seat, UpdateMeasurement, Verdict, finding::median};
use crate::{Balance, Hash, round::is_quorum};
use alloc::{collections::BTreeMap, vec::Vec};

/// What a finding says of the replay: a verdict, and for an invalid one what was found instead.
pub(super) type Said<'a> = (Verdict, Option<(&'a [Hash], bool)>);

/// What `finding` says; nothing where it is of the other profile.
pub(super) fn said<'a>(opened: &[Hash], finding: &'a Finding) -> Option<Said<'a>> {
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

/// What a quorum of the seats' stake says, also of those that said nothing.
fn decided<'a>(opened: &[Hash], seats: &[Seat<'a>]) -> Option<Said<'a>> {
    let whole = seats.iter().fold(0, |sum: Balance, seat| sum.saturating_add(seat.stake));
    let mut groups = BTreeMap::<_, Balance>::new();
    for Seat { stake, finding, .. } in seats {
        let Some(said) = finding.and_then(|finding| said(opened, finding)) else { continue };
        let sum = groups.entry(said).or_default();
        *sum = sum.saturating_add(*stake);
    }
    groups
        .into_iter()
        .find(|(_, stake)| whole > 0 && is_quorum(*stake, whole))
        .map(|(said, _)| said)
}

/// Compares what the seats found with the ends that were opened; no opening is no defence.
///
/// Findings are grouped by what they say of the replay: measures are not compared. The stake of all
/// seats counts, also of those that said nothing.
pub fn judge(opened: Option<&[Hash]>, seats: &[Seat<'_>]) -> Verdict {
    let Some(opened) = opened else { return Verdict::Withheld };
    decided(opened, seats).map_or(Verdict::Unresolved, |(verdict, _)| verdict)
}

/// Which of the seats found just what the quorum found; nobody where there was none. To have
/// guessed that an update is invalid is not enough: whoever did not replay it cannot know what its
/// segments end in.
pub fn right_seats(opened: Option<&[Hash]>, seats: &[Seat<'_>]) -> Vec<bool> {
    let decided = opened.and_then(|opened| Some((opened, decided(opened, seats)?)));
    let right = |finding: &Finding| {
        decided.is_some_and(|(opened, decided)| said(opened, finding) == Some(decided))
    };
    seats.iter().map(|seat| seat.finding.is_some_and(right)).collect()
}

fn agrees(opened: &[Hash], ends: &[Hash], packed: bool) -> bool {
    packed && opened == ends
}

/// The stake-weighted median of each figure over the seats that are right about a valid update.
pub fn consensus(opened: &[Hash], seats: &[Seat<'_>]) -> UpdateMeasurement {
    let right = seats.iter().filter_map(|seat| match seat.finding {
        Some(Finding::Replayed { ends, packed, measure }) if agrees(opened, ends, *packed) => {
            Some((measure, seat.stake))
        }
        _ => None,
    });
    median(&right.collect::<Vec<_>>())
}
