// SPDX-License-Identifier: Apache-2.0

//! Tests of draws, stages, verdicts and figures. Streams are determined by their seeds, so
//! statistical tests are deterministic.

use super::*;
use crate::{Balance, BoundedVec, Hash, MILLION, POL, Ppm, data::ShardId, round::BlockNumber};
use codec::{Decode, Encode, MaxEncodedLen};
use proptest::prelude::*;
use std::collections::BTreeSet;

mod draws;
mod encodings;
mod figures;
mod native;
mod stages;
mod verdicts;

/// The `number`-th of many seeds.
fn seed(number: u32) -> Hash {
    crate::digest(b"test", &number)
}

/// Pearson's chi-squared of `counts` against `chances`.
fn chi_squared(counts: &[u32], chances: &[f64]) -> f64 {
    let all: f64 = counts.iter().copied().map(f64::from).sum();
    counts
        .iter()
        .zip(chances)
        .map(|(&count, chance)| (f64::from(count) - all * chance).powi(2) / (all * chance))
        .sum()
}

fn replayed(ends: &[u8], packed: bool) -> Finding {
    let ends = BoundedVec::truncate_from(ends.iter().map(|&end| [end; 32]).collect());
    Finding::Replayed { ends, packed, measure: UpdateMeasurement::default() }
}

fn measured(measure: UpdateMeasurement) -> Finding {
    Finding::Replayed { ends: BoundedVec::truncate_from(OPENED.to_vec()), packed: true, measure }
}

/// Number of seats under the exact profile that have the same finding.
type Votes<'a> = (usize, Option<&'a Finding>);

fn said<'a>(findings: &[(usize, &'a Finding)]) -> Vec<Votes<'a>> {
    findings.iter().map(|&(votes, finding)| (votes, Some(finding))).collect()
}

fn seats<'a>(groups: &[Votes<'a>]) -> Vec<Seat<'a>> {
    let seats = groups.iter().map(|&(votes, finding)| vec![Seat { finding, binding: None }; votes]);
    seats.flatten().collect()
}

fn judge(opened: Option<&[Hash]>, groups: &[Votes]) -> Verdict {
    exact::judge(opened, &seats(groups))
}

/// For each group, `true` if its seats are right.
fn right_groups(opened: Option<&[Hash]>, groups: &[Votes]) -> Vec<bool> {
    let right = exact::right_seats(opened, &seats(groups));
    let mut left = right.as_slice();
    let mut of = |&(votes, _): &Votes| {
        let (group, rest) = left.split_at(votes);
        left = rest;
        assert!(group.windows(2).all(|two| two[0] == two[1]), "seats that say the same are alike");
        group.first().copied().unwrap_or(false)
    };
    groups.iter().map(&mut of).collect()
}

fn consensus(opened: &[Hash], groups: &[Votes]) -> UpdateMeasurement {
    exact::consensus(opened, &seats(groups))
}

fn pending(trainer: u64, segments: u16, known: &[u16]) -> PendingAudit<u64> {
    let known = BoundedVec::truncate_from(known.to_vec());
    PendingAudit { known, ..PendingAudit::first(5, trainer, trainer as u8, segments) }
}

fn case(segments: &[u16], trace_segments: u16) -> Case<u64> {
    Case {
        trainer: 0,
        index: 0,
        segments: BoundedVec::truncate_from(segments.to_vec()),
        trace_segments,
        seats: BoundedVec::new(),
        earlier: BoundedVec::new(),
        served: false,
        opened: false,
        settled: false,
    }
}

/// End that the trainer opened in the tests of verdicts.
const OPENED: [Hash; 1] = [[7; 32]];
