// SPDX-License-Identifier: Apache-2.0

//! Tests of draws, stages, verdicts and figures. Streams are determined by their seeds, so
//! statistical tests are deterministic.

use super::*;
use crate::{
    Balance, BoundedVec, Hash, MILLION, POL, Ppm,
    data::ShardId,
    round::{BlockNumber, is_quorum},
};
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

/// Stake and finding of a seat under the exact profile.
type StakedFinding<'a> = (Balance, Option<&'a Finding>);

fn staked<'a>(findings: &[(Balance, &'a Finding)]) -> Vec<StakedFinding<'a>> {
    findings.iter().map(|&(stake, finding)| (stake, Some(finding))).collect()
}

fn seats<'a>(staked: &[StakedFinding<'a>]) -> Vec<Seat<'a>> {
    staked.iter().map(|&(stake, finding)| Seat { stake, finding, binding: None }).collect()
}

fn judge(opened: Option<&[Hash]>, staked: &[StakedFinding]) -> Verdict {
    exact::judge(opened, &seats(staked))
}

fn right_seats(opened: Option<&[Hash]>, staked: &[StakedFinding]) -> Vec<bool> {
    exact::right_seats(opened, &seats(staked))
}

fn consensus(opened: &[Hash], staked: &[StakedFinding]) -> UpdateMeasurement {
    exact::consensus(opened, &seats(staked))
}

fn pending(trainer: u64, segments: u16, known: &[u16]) -> PendingAudit<u64> {
    let known = BoundedVec::truncate_from(known.to_vec());
    PendingAudit { round: 5, draw: 0, trainer, index: trainer as u8, segments, known }
}

fn case(segments: &[u16], trace_segments: u16) -> Case<u64> {
    Case {
        trainer: 0,
        index: 0,
        segments: BoundedVec::truncate_from(segments.to_vec()),
        trace_segments,
        seats: BoundedVec::new(),
        served: false,
        opened: false,
        settled: false,
    }
}

/// End that the trainer opened in the tests of verdicts.
const OPENED: [Hash; 1] = [[7; 32]];
