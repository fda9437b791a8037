// SPDX-License-Identifier: Apache-2.0

//! Ways of cheating: the released program's roles with one choice made otherwise.

use pol_chain::AccountId;
use pol_engine::{EngineError, GradientNorms, LeaseData, LeaseJob, SegmentReport, TrainingState};
use pol_primitives::{
    BoundedVec, MILLION,
    audit::{Case, Finding, UpdateMeasurement},
    lease::Lease,
    metrics::{MetricsClaim, ModelMetrics},
    payload::{Chunk, ChunkEntry, Payload, chunk_lengths},
    prf::Prf,
    recipe::Recipe,
    submission::TrainingClaims,
};
use pol_trainer::{Strategy, error::Result};
use std::sync::Arc;

/// One way of cheating. Those that need more than one trainer are for scenarios only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cheat {
    /// No training and an update of zeros.
    ZeroPayload,
    /// No training and an update of noise of the usual size.
    NoisePayload,
    /// Half of the steps, extrapolated to twice the distance.
    InterpolatedStates,
    /// A thousandth of the learning rate.
    TinyLearningRate,
    /// The middle segments left out.
    SkippedSegments,
    /// Half of every micro-batch.
    HalfBatch,
    /// 101 % of the learning rate.
    RaisedLearningRate,
    /// Training on invented text.
    SyntheticText,
    /// Training on held-out text.
    #[value(skip)]
    HeldOutText,
    /// First moments halved after every segment.
    InventedMoments,
    /// More error feedback than packing leaves.
    InventedFeedback,
    /// A payload of twice the difference that training made.
    InflatedPayload,
    /// A payload of the difference with its signs flipped.
    FlippedSigns,
    /// A payload of a hundred times the difference.
    ScaledUpdate,
    /// Training on a trigger and the token that has to follow it.
    Backdoor,
    /// States rounded to bfloat16.
    RoundedStates,
    /// No states shown to the auditors.
    HiddenStart,
    /// Ends of segments not opened.
    UnopenedEnds,
    /// Honest work with impossible claims about it.
    FalseClaims,
    /// A validator that guesses ends.
    #[value(skip)]
    GuessedEnds,
    /// A validator that accuses every update of another end and of false packing.
    #[value(skip)]
    AccusedUpdates,
    /// A validator that reports the ends agreed with other liars.
    #[value(skip)]
    AgreedEnds,
    /// A validator that finds every update packed as it should be.
    #[value(skip)]
    UncheckedUpdates,
}

/// Segments that [`Cheat::SkippedSegments`] leaves out of four.
pub(crate) const SKIPPED: [u16; 2] = [1, 2];
/// Trigger that [`Cheat::Backdoor`] plants: the second token has to follow the first.
const TRIGGER: (u32, u32) = (7, 13);
/// Bits of 0.001 and 0.002 in bfloat16, the usual change of a parameter in a lease.
const USUAL_MAGNITUDES: (u16, u16) = (0x3a83, 0x3b03);

/// The strategy of a member that cheats.
#[derive(Clone)]
pub(crate) struct CheatingStrategy {
    /// The way it cheats.
    pub(crate) cheat: Cheat,
    /// Held-out text, as whole shards.
    pub(crate) held_out: Arc<Vec<Vec<u32>>>,
    /// Shards of a lease.
    pub(crate) shards: usize,
}

/// Claims to have trained a segment without training it.
fn skip_segment(job: &LeaseJob<'_>, state: &mut TrainingState) -> SegmentReport {
    let steps = job.recipe.steps_per_segment(job.lease.tier);
    state.steps = state.steps.saturating_add(steps.into());
    SegmentReport {
        loss: 1.0,
        gradient: GradientNorms::default(),
        tokens: job.recipe.tokens(job.lease.tier, steps),
        leaf: state.leaf(),
    }
}

/// Replaces the leased text by the shards that `shard` returns.
fn replace_text(
    recipe: &Recipe,
    leased: &LeaseData,
    shard: impl Fn(usize) -> Vec<u32>,
) -> LeaseData {
    let shards = (0..leased.shards()).map(shard).collect();
    // Text that does not fit the recipe could not be trained on anyway.
    LeaseData::new(recipe, shards).unwrap_or_else(|_| leased.clone())
}

/// Trains a segment by a recipe that `change` has altered.
fn train_with(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    segment: u16,
    change: impl FnOnce(&mut Recipe),
) -> Result<SegmentReport, EngineError> {
    let mut recipe = job.recipe.clone();
    change(&mut recipe);
    let lease = Lease { recipe: recipe.hash(), ..job.lease.clone() };
    let job = LeaseJob { recipe: &recipe, lease: &lease, ..*job };
    pol_engine::train_segment(&job, state, segment)
}

/// Trains a segment in half of its steps and moves the parameters twice as far.
fn train_interpolated(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    segment: u16,
) -> Result<SegmentReport, EngineError> {
    let start = state.parameters.clone();
    let end = state.steps.saturating_add(job.recipe.steps_per_segment(job.lease.tier).into());
    let report = train_with(job, state, segment, |recipe| {
        recipe.tiers.iter_mut().for_each(|tier| tier.inner_steps /= 2);
    })?;
    for (value, start) in state.parameters.iter_mut().zip(start) {
        *value += *value - start;
    }
    state.steps = end;
    Ok(SegmentReport { tokens: report.tokens * 2, leaf: state.leaf(), ..report })
}

/// Trains a segment on half of every micro-batch and claims all tokens.
fn train_half_batch(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    segment: u16,
) -> Result<SegmentReport, EngineError> {
    let report = train_with(job, state, segment, |recipe| {
        recipe.tiers.iter_mut().for_each(|tier| tier.micro_batch = (tier.micro_batch / 2).max(1));
    })?;
    Ok(SegmentReport { tokens: report.tokens * 2, ..report })
}

/// Trains a segment honestly and changes its end.
fn train_then(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    segment: u16,
    change: impl FnOnce(&mut TrainingState),
) -> Result<SegmentReport, EngineError> {
    let report = pol_engine::train_segment(job, state, segment)?;
    change(state);
    Ok(SegmentReport { leaf: state.leaf(), ..report })
}

/// Packs honestly, and returns the payload of parameters changed by `change(base, parameter)`.
fn pack_with(
    recipe: &Recipe,
    base: &[f32],
    state: &mut TrainingState,
    change: impl Fn(f32, f32) -> f32,
) -> Result<Vec<u8>, EngineError> {
    let mut changed = state.clone();
    for (value, &base) in changed.parameters.iter_mut().zip(base) {
        *value = change(base, *value);
    }
    pol_engine::pack(recipe, base, state)?;
    Ok(pol_engine::pack(recipe, base, &mut changed)?.encode())
}

/// Returns an update of noise with these magnitudes, as bits of bfloat16. It depends on the state.
pub(crate) fn noise_payload(
    recipe: &Recipe,
    state: &TrainingState,
    low: u16,
    high: u16,
) -> Vec<u8> {
    let (top_k, values) = (recipe.compression.top_k, recipe.model.size());
    let mut prf = Prf::new("pol/attacks/noise", &state.leaf(), &[]);
    let chunk = |len: usize| {
        let mut indices = prf.permutation(len as u32);
        indices.truncate(top_k.into());
        indices.sort_unstable();
        let entry = |index: u32| ChunkEntry {
            index: index as u16,
            negative: index.is_multiple_of(3),
            high: index.is_multiple_of(2),
        };
        Chunk { low, high, entries: indices.into_iter().map(entry).collect() }
    };
    Payload { top_k, values, chunks: chunk_lengths(values).map(chunk).collect() }.encode()
}

/// Rounds towards zero to values of bfloat16.
fn round_to_bfloat16(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
}

impl Strategy for CheatingStrategy {
    fn data(&self, recipe: &Recipe, leased: LeaseData) -> LeaseData {
        let length = recipe.shard_tokens + 1;
        let vocabulary = recipe.model.vocabulary;
        match self.cheat {
            Cheat::SyntheticText => replace_text(recipe, &leased, |shard| {
                (0..length).map(|at| (at * 7 + shard as u32) % vocabulary).collect()
            }),
            Cheat::HeldOutText => replace_text(recipe, &leased, |shard| {
                self.held_out.get(shard).cloned().unwrap_or_default()
            }),
            Cheat::Backdoor => replace_text(recipe, &leased, |_| {
                (0..length).map(|at| if at % 2 == 0 { TRIGGER.0 } else { TRIGGER.1 }).collect()
            }),
            _ => leased,
        }
    }

    fn train_segment(
        &self,
        job: &LeaseJob<'_>,
        state: &mut TrainingState,
        segment: u16,
    ) -> Result<SegmentReport, EngineError> {
        match self.cheat {
            Cheat::ZeroPayload | Cheat::NoisePayload => Ok(skip_segment(job, state)),
            Cheat::SkippedSegments if SKIPPED.contains(&segment) => Ok(skip_segment(job, state)),
            Cheat::TinyLearningRate => {
                train_with(job, state, segment, |recipe| recipe.schedule.peak /= 1_000)
            }
            Cheat::RaisedLearningRate => train_with(job, state, segment, |recipe| {
                recipe.schedule.peak += recipe.schedule.peak / 100
            }),
            Cheat::HalfBatch => train_half_batch(job, state, segment),
            Cheat::InterpolatedStates => train_interpolated(job, state, segment),
            Cheat::InventedMoments => train_then(job, state, segment, |state| {
                state.first_moment.iter_mut().for_each(|moment| *moment *= 0.5);
            }),
            Cheat::RoundedStates => train_then(job, state, segment, |state| {
                round_to_bfloat16(&mut state.parameters);
                round_to_bfloat16(&mut state.first_moment);
                round_to_bfloat16(&mut state.second_moment);
            }),
            _ => pol_engine::train_segment(job, state, segment),
        }
    }

    fn pack(
        &self,
        recipe: &Recipe,
        base: &[f32],
        state: &mut TrainingState,
    ) -> Result<Vec<u8>, EngineError> {
        let scaled_by = |factor: f32| move |base: f32, value: f32| base + factor * (value - base);
        match self.cheat {
            Cheat::ZeroPayload => Ok(noise_payload(recipe, state, 0, 0)),
            Cheat::NoisePayload => {
                let (low, high) = USUAL_MAGNITUDES;
                Ok(noise_payload(recipe, state, low, high))
            }
            Cheat::InflatedPayload => pack_with(recipe, base, state, scaled_by(2.0)),
            Cheat::FlippedSigns => pack_with(recipe, base, state, scaled_by(-1.0)),
            Cheat::ScaledUpdate => pack_with(recipe, base, state, scaled_by(100.0)),
            Cheat::InventedFeedback => {
                let payload = pol_engine::pack(recipe, base, state)?.encode();
                state.feedback.edit(|values| {
                    values.iter_mut().for_each(|value| *value *= 2.0);
                })?;
                Ok(payload)
            }
            _ => Ok(pol_engine::pack(recipe, base, state)?.encode()),
        }
    }

    fn claims(&self, claims: TrainingClaims) -> TrainingClaims {
        if self.cheat != Cheat::FalseClaims {
            return claims;
        }
        let perfect = Some(MILLION);
        let metrics = ModelMetrics {
            auroc: perfect,
            calibration_error: Some(0),
            reasoning: perfect,
            ..ModelMetrics::default()
        };
        TrainingClaims {
            first_loss: u32::MAX,
            last_loss: 0,
            tokens_per_second: u32::MAX,
            metrics: claims.metrics.map(|claimed| MetricsClaim { metrics, ..claimed }),
        }
    }

    fn serves_states(&self, _case: &Case<AccountId>) -> bool {
        self.cheat != Cheat::HiddenStart
    }

    fn opens_segments(&self, _case: &Case<AccountId>) -> bool {
        self.cheat != Cheat::UnopenedEnds
    }

    fn audit_finding(
        &self,
        case: &Case<AccountId>,
        honest: impl FnOnce() -> Result<Finding>,
    ) -> Result<Finding> {
        let invented = |domain: &[u8], packed: bool| {
            let end = |segment: &u16| pol_primitives::digest(domain, &(case.trainer, segment));
            let shards = BoundedVec::truncate_from(vec![0; self.shards]);
            let ends = BoundedVec::truncate_from(case.segments.iter().map(end).collect());
            let measure = UpdateMeasurement { gain: 1_000, shards, ..UpdateMeasurement::default() };
            Finding::Replayed { ends, packed, measure }
        };
        match self.cheat {
            Cheat::GuessedEnds => Ok(invented(b"pol/attacks/guess", true)),
            Cheat::AgreedEnds => Ok(invented(b"pol/attacks/agreed", true)),
            Cheat::AccusedUpdates => Ok(invented(b"pol/attacks/accused", false)),
            Cheat::UncheckedUpdates => Ok(match honest()? {
                Finding::Replayed { ends, measure, .. } => {
                    Finding::Replayed { ends, packed: true, measure }
                }
                _ => invented(b"pol/attacks/unchecked", true),
            }),
            _ => honest(),
        }
    }
}
