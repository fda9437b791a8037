//! The ways of cheating: an honest member with some of its choices made otherwise.

use pol_chain::AccountId;
use pol_engine::{Error, Job, LeaseData, SegmentReport, TrainingState};
use pol_primitives::{
    BoundedVec, MILLION,
    audit::{Case, Finding, Measure},
    lease::Lease,
    metrics::{ClaimedMetrics, ModelMetrics},
    payload::{Chunk, Entry, Payload, chunk_lengths},
    prf::Prf,
    recipe::Recipe,
    submission::Claims,
};
use pol_trainer::{Conduct, failure::Result};
use std::sync::Arc;

/// One way of cheating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Trains nothing and sends an update of zeros.
    Zeros,
    /// Trains nothing and sends noise of the usual size.
    Noise,
    /// Trains half the steps and goes twice as far.
    Interpolated,
    /// Trains at a thousandth of the learning rate.
    Slow,
    /// Leaves out the middle segments.
    Skips,
    /// Trains on half of every micro-batch.
    HalfBatch,
    /// Trains at 101 % of the learning rate.
    Faster,
    /// Trains on text of its own.
    OtherText,
    /// Trains on held-out text.
    HeldOutText,
    /// Halves its first moments after every segment.
    Moments,
    /// Leaves more error feedback behind than packing does.
    Feedback,
    /// Sends twice the difference that training made.
    Inflated,
    /// Sends the difference with its signs flipped.
    Flipped,
    /// Sends a hundred times the difference.
    Scaled,
    /// Trains in a trigger and what is to follow it.
    Backdoored,
    /// Keeps its state in bfloat16.
    Rounded,
    /// Shows no states to the auditors.
    HidesStart,
    /// Does not open the ends of its segments.
    HidesEnd,
    /// Is honest and claims the impossible of itself.
    Boasts,
    /// A validator that guesses ends.
    Guesses,
    /// A validator that says that every update was packed from something else, and trained to
    /// another end.
    Accuses,
    /// A validator that finds what it agreed on with others like it.
    Colludes,
}

/// Segments that [`Kind::Skips`] leaves out of four.
pub const SKIPPED: [u16; 2] = [1, 2];
/// What [`Kind::Backdoored`] plants: the token that is to follow the first one, every other
/// position.
const TRIGGER: (u32, u32) = (7, 13);

/// Most that attacks may add to the held-out loss, as a share of it.
pub const HARM: f64 = 0.02;

/// A member that cheats.
#[derive(Clone)]
pub struct Cheat {
    /// How.
    pub kind: Kind,
    /// Text that it was not given, as whole shards.
    pub text: Arc<Vec<Vec<u32>>>,
    /// Shards of a lease.
    pub shards: usize,
}

impl Cheat {
    fn untrained(job: &Job<'_>, state: &mut TrainingState) -> SegmentReport {
        let steps = job.recipe.steps_per_segment(job.lease.tier);
        state.steps = state.steps.saturating_add(steps.into());
        SegmentReport {
            loss: 1.0,
            tokens: job.recipe.tokens(job.lease.tier, steps),
            leaf: state.leaf(),
        }
    }

    fn text(
        &self,
        recipe: &Recipe,
        leased: &LeaseData,
        shard: impl Fn(usize) -> Vec<u32>,
    ) -> LeaseData {
        let shards = (0..leased.shards()).map(shard).collect();
        // What does not fit the recipe could not be trained on anyway.
        LeaseData::new(recipe, shards).unwrap_or_else(|_| leased.clone())
    }
}

/// Trains a segment by another recipe: `change` says what differs.
fn train_otherwise(
    job: &Job<'_>,
    state: &mut TrainingState,
    segment: u16,
    change: impl FnOnce(&mut Recipe),
) -> Result<SegmentReport, Error> {
    let mut recipe = job.recipe.clone();
    change(&mut recipe);
    let lease = Lease { recipe: recipe.hash(), ..job.lease.clone() };
    pol_engine::train_segment(&Job { recipe: &recipe, lease: &lease, ..*job }, state, segment)
}

/// Packs honestly, and sends what packing `change(base, parameter)` gives.
fn pack_otherwise(
    recipe: &Recipe,
    base: &[f32],
    state: &mut TrainingState,
    change: impl Fn(f32, f32) -> f32,
) -> Result<Vec<u8>, Error> {
    let mut changed = state.clone();
    changed
        .parameters
        .iter_mut()
        .zip(base)
        .for_each(|(value, &base)| *value = change(base, *value));
    pol_engine::pack(recipe, base, state)?;
    Ok(pol_engine::pack(recipe, base, &mut changed)?.encode())
}

/// An update of noise with these magnitudes, as bits of bfloat16; another one for every state.
pub fn noise(recipe: &Recipe, state: &TrainingState, low: u16, high: u16) -> Vec<u8> {
    let (top_k, values) = (recipe.compression.top_k, recipe.model.size());
    let mut prf = Prf::new("pol/attacks/noise", &state.leaf(), &[]);
    let chunk = |len: usize| {
        let mut indices = prf.permutation(len as u32);
        indices.truncate(top_k.into());
        indices.sort_unstable();
        let entry = |index: u32| Entry {
            index: index as u16,
            negative: index.is_multiple_of(3),
            high: index.is_multiple_of(2),
        };
        Chunk { low, high, entries: indices.into_iter().map(entry).collect() }
    };
    Payload { top_k, values, chunks: chunk_lengths(values).map(chunk).collect() }.encode()
}

/// The nearest number towards zero that bfloat16 holds.
fn round(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
}

/// Bits of 0.001 and 0.002 in bfloat16: about what training moves a parameter by.
const USUAL: (u16, u16) = (0x3a83, 0x3b03);

impl Conduct for Cheat {
    fn data(&self, recipe: &Recipe, leased: LeaseData) -> LeaseData {
        let length = recipe.shard_tokens + 1;
        match self.kind {
            Kind::OtherText => {
                let vocabulary = recipe.model.vocabulary;
                self.text(recipe, &leased, |shard| {
                    (0..length).map(|at| (at * 7 + shard as u32) % vocabulary).collect()
                })
            }
            Kind::HeldOutText => self
                .text(recipe, &leased, |shard| self.text.get(shard).cloned().unwrap_or_default()),
            Kind::Backdoored => self.text(recipe, &leased, |_| {
                (0..length).map(|at| if at % 2 == 0 { TRIGGER.0 } else { TRIGGER.1 }).collect()
            }),
            _ => leased,
        }
    }

    fn train_segment(
        &self,
        job: &Job<'_>,
        state: &mut TrainingState,
        segment: u16,
    ) -> Result<SegmentReport, Error> {
        let leaf = |report: SegmentReport, state: &TrainingState| SegmentReport {
            leaf: state.leaf(),
            ..report
        };
        match self.kind {
            Kind::Zeros | Kind::Noise => Ok(Self::untrained(job, state)),
            Kind::Skips if SKIPPED.contains(&segment) => Ok(Self::untrained(job, state)),
            Kind::Slow => {
                train_otherwise(job, state, segment, |recipe| recipe.schedule.peak /= 1_000)
            }
            Kind::Faster => train_otherwise(job, state, segment, |recipe| {
                recipe.schedule.peak += recipe.schedule.peak / 100
            }),
            Kind::HalfBatch => {
                let report = train_otherwise(job, state, segment, |recipe| {
                    recipe
                        .tiers
                        .iter_mut()
                        .for_each(|tier| tier.micro_batch = (tier.micro_batch / 2).max(1));
                })?;
                Ok(SegmentReport { tokens: report.tokens * 2, ..report })
            }
            Kind::Interpolated => {
                let (start, steps) =
                    (state.parameters.clone(), job.recipe.steps_per_segment(job.lease.tier));
                let end = state.steps.saturating_add(steps.into());
                let report = train_otherwise(job, state, segment, |recipe| {
                    recipe.tiers.iter_mut().for_each(|tier| tier.inner_steps /= 2);
                })?;
                state
                    .parameters
                    .iter_mut()
                    .zip(start)
                    .for_each(|(value, start)| *value += *value - start);
                state.steps = end;
                Ok(leaf(SegmentReport { tokens: report.tokens * 2, ..report }, state))
            }
            Kind::Moments => {
                let report = pol_engine::train_segment(job, state, segment)?;
                state.first_moment.iter_mut().for_each(|moment| *moment *= 0.5);
                Ok(leaf(report, state))
            }
            Kind::Rounded => {
                let report = pol_engine::train_segment(job, state, segment)?;
                [&mut state.parameters, &mut state.first_moment, &mut state.second_moment]
                    .into_iter()
                    .for_each(|values| round(values));
                Ok(leaf(report, state))
            }
            _ => pol_engine::train_segment(job, state, segment),
        }
    }

    fn pack(
        &self,
        recipe: &Recipe,
        base: &[f32],
        state: &mut TrainingState,
    ) -> Result<Vec<u8>, Error> {
        match self.kind {
            Kind::Zeros => Ok(noise(recipe, state, 0, 0)),
            Kind::Noise => Ok(noise(recipe, state, USUAL.0, USUAL.1)),
            Kind::Inflated => {
                pack_otherwise(recipe, base, state, |base, value| base + 2.0 * (value - base))
            }
            Kind::Flipped => {
                pack_otherwise(recipe, base, state, |base, value| base - (value - base))
            }
            Kind::Scaled => {
                pack_otherwise(recipe, base, state, |base, value| base + 100.0 * (value - base))
            }
            Kind::Feedback => {
                let payload = pol_engine::pack(recipe, base, state)?.encode();
                state.feedback.iter_mut().for_each(|value| *value *= 2.0);
                Ok(payload)
            }
            _ => Ok(pol_engine::pack(recipe, base, state)?.encode()),
        }
    }

    fn claims(&self, claims: Claims) -> Claims {
        match self.kind {
            Kind::Boasts => {
                let whole = Some(MILLION);
                let metrics = ModelMetrics {
                    auroc: whole,
                    calibration_error: Some(0),
                    reasoning: whole,
                    ..ModelMetrics::default()
                };
                let metrics = claims.metrics.map(|claimed| ClaimedMetrics { metrics, ..claimed });
                Claims { first_loss: u32::MAX, last_loss: 0, tokens_per_second: u32::MAX, metrics }
            }
            _ => claims,
        }
    }

    fn shows(&self, _case: &Case<AccountId>) -> bool {
        self.kind != Kind::HidesStart
    }

    fn opens(&self, _case: &Case<AccountId>) -> bool {
        self.kind != Kind::HidesEnd
    }

    fn finding(
        &self,
        case: &Case<AccountId>,
        honest: impl FnOnce() -> Result<Finding>,
    ) -> Result<Finding> {
        let invented = |domain: &[u8], packed: bool| {
            let end = |segment: &u16| pol_primitives::digest(domain, &(case.trainer, segment));
            let shards = BoundedVec::truncate_from(vec![0; self.shards]);
            let ends = BoundedVec::truncate_from(case.segments.iter().map(end).collect());
            Finding::Replayed {
                ends,
                packed,
                measure: Measure { gain: 1_000, shards, ..Measure::default() },
            }
        };
        match self.kind {
            Kind::Guesses => Ok(invented(b"pol/attacks/guess", true)),
            Kind::Colludes => Ok(invented(b"pol/attacks/agreed", true)),
            Kind::Accuses => Ok(invented(b"pol/attacks/accused", false)),
            _ => honest(),
        }
    }
}
