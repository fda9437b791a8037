// SPDX-License-Identifier: Apache-2.0

//! Replays of updates by anybody, without a seat.
//!
//! Whoever follows the chain can do what a seat does: fetch the states that a trainer shows to an
//! audit, replay the drawn segments, and compare their ends with those that the trainer opens. The
//! chain names all of that from the draw of the audit to its settlement, and peers serve it as
//! long.

use super::{
    replay_input::HeldInput,
    retries::retried,
    tasks::{BackgroundTask, compute},
};
use crate::{
    context::NodeContext,
    error::{Result, RoleError, explain},
    state::AuditKey,
};
use anyhow::anyhow;
use pol_chain::{AccountId, format_account};
use pol_primitives::{
    BoundedVec, Hash, RoundNumber,
    audit::{
        Audit, AuditId, AuditResponse, Binding, Case, Finding, Seat, Stage, Verdict, exact, native,
    },
    recipe::{Numerics, Recipe},
    submission::{Outcome, SubmissionStatus},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Pause between two looks at the chain while a replay goes on.
const REPLAY_PAUSE: Duration = Duration::from_millis(200);

/// An update to verify.
#[derive(Clone)]
pub(crate) struct UpdateVerifier {
    /// Chain client and swarm.
    pub(crate) context: NodeContext,
    /// Round of the update.
    pub(crate) round: RoundNumber,
    /// Trainer of the update.
    pub(crate) trainer: AccountId,
    /// Segment to replay; all that were drawn without one.
    pub(crate) segment: Option<u16>,
    /// Threads that replay.
    pub(crate) workers: usize,
}

/// Result of a verification.
#[derive(Debug)]
pub(crate) enum Verification {
    /// Segments were replayed.
    Replayed(Replayed),
    /// Nothing can be replayed, or compared, for this reason.
    Unavailable(String),
}

/// Replay of segments, and what the trainer says about them.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// Audit that drew the segments.
    pub(crate) audit: AuditId,
    /// The segments, in ascending order.
    pub(crate) segments: Vec<ReplayedSegment>,
    /// Result of packing the final state: `true` if it gives the payload and the carry. `None` if
    /// nobody can train from the shown states.
    pub(crate) packed: Option<bool>,
    /// Opinion of a seat that finds the same.
    pub(crate) opinion: Option<Verdict>,
    /// Time in which states and shards were fetched, and the segments were replayed.
    pub(crate) time: Duration,
}

/// A replayed segment.
#[derive(Debug)]
pub(crate) struct ReplayedSegment {
    /// Number of the segment, from 0.
    pub(crate) segment: u16,
    /// Leaf of the state at its end, as the trainer opened it.
    pub(crate) opened: Hash,
    /// The same as the replay found it. `None` under the native profile, whose ends have distances,
    /// and if nobody can train from the shown states.
    pub(crate) replayed: Option<Hash>,
}

/// State of an update on the chain.
enum UpdateState {
    /// It is under audit.
    Audited(Box<OpenCase>),
    /// It may come under audit.
    Waiting(&'static str),
    /// It cannot be replayed any more.
    Settled(Outcome),
}

/// The case of an update in an open audit.
struct OpenCase {
    key: AuditKey,
    audit: Audit<AccountId>,
    /// Part of the case that is replayed.
    case: Case<AccountId>,
    /// Segments of the whole case, whose ends the trainer opens.
    drawn: Vec<u16>,
    response: AuditResponse,
    recipe: Arc<Recipe>,
}

/// Findings of a replay.
struct ReplayResult {
    finding: Finding,
    binding: Option<Binding>,
    time: Duration,
}

/// Work on an update so far.
#[derive(Default)]
struct Progress {
    /// Its case, as it was last seen.
    open: Option<Arc<OpenCase>>,
    /// The replay under way.
    replay: Option<BackgroundTask<ReplayResult>>,
    result: Option<ReplayResult>,
}

/// Result of one look at the chain.
enum Step {
    Done(Verification),
    /// Nothing can be compared yet, for this reason.
    Wait(String),
}

impl Step {
    fn wait(reason: &str) -> Self {
        Self::Wait(reason.to_owned())
    }

    fn unavailable(reason: impl Into<String>) -> Self {
        Self::Done(Verification::Unavailable(reason.into()))
    }
}

impl Progress {
    /// Takes note of the case. What was done for an earlier draw is forgotten.
    fn note(&mut self, open: OpenCase) {
        if self.open.as_ref().is_some_and(|earlier| earlier.key != open.key) {
            *self = Self::default();
        }
        self.open = Some(Arc::new(open));
    }

    /// Waits a moment for the replay. Returns the reason if it has to begin again.
    async fn wait(&mut self) -> Result<Option<String>> {
        let Some(replay) = &mut self.replay else { return Ok(None) };
        let Some(done) = replay.wait().await else { return Ok(None) };
        self.replay = None;
        match done {
            Ok(result) => self.result = Some(result),
            Err(RoleError::Transient(error)) => return Ok(Some(explain(&error))),
            Err(fatal) => return Err(fatal),
        }
        Ok(None)
    }
}

impl UpdateVerifier {
    /// Replays the segments and compares them. What the trainer has not shown yet is waited for
    /// until `deadline`.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached or knows no such update, and if this machine cannot
    /// compute.
    pub(crate) async fn verify(&self, deadline: Instant) -> Result<Verification> {
        let block_time = retried(|| self.context.chain.block_time()).await?;
        let (mut progress, mut told) = (Progress::default(), String::new());
        loop {
            let reason = match self.step(&mut progress, deadline).await? {
                Step::Done(verification) => return Ok(verification),
                Step::Wait(reason) => reason,
            };
            if reason != told {
                tracing::info!("{reason}");
                told.clone_from(&reason);
            }
            // The time to fetch is bounded by the deadline, and a replay ends by itself.
            let is_replaying = progress.replay.is_some();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && !is_replaying {
                return Ok(Verification::Unavailable(reason));
            }
            let pause = if is_replaying { REPLAY_PAUSE } else { block_time.min(left) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Does what can be done now.
    async fn step(&self, progress: &mut Progress, deadline: Instant) -> Result<Step> {
        let opened = |progress: &Progress| progress.open.clone().filter(|open| open.case.opened);
        let ended = match retried(|| self.state()).await? {
            UpdateState::Audited(open) => match self.part_of(*open) {
                Ok(open) => {
                    progress.note(open);
                    None
                }
                Err(reason) => return Ok(Step::unavailable(reason)),
            },
            UpdateState::Waiting(reason) => Some(Step::wait(reason)),
            UpdateState::Settled(outcome) => Some(Step::unavailable(reason_of(outcome))),
        };
        // A replay that is slower than those of the seats is compared all the same.
        if let Some(ended) = ended
            && opened(progress).is_none()
        {
            return Ok(ended);
        }
        let Some(open) = progress.open.clone() else { return Ok(Step::wait("no audit is open")) };
        let stage = open.audit.stage;
        if !open.case.served {
            return Ok(match stage {
                Stage::Serve => Step::wait("waiting for the trainer to show the drawn states"),
                _ => Step::unavailable("the trainer did not show the drawn states in time"),
            });
        }
        let is_exact = open.recipe.numerics == Numerics::Exact;
        if progress.result.is_none() && progress.replay.is_none() && (is_exact || open.case.opened)
        {
            let replay = self.clone().replay(open.clone(), deadline);
            progress.replay = Some(BackgroundTask::start(replay));
        }
        if let Some(trouble) = progress.wait().await? {
            return Ok(Step::Wait(trouble));
        }
        Ok(match (opened(progress), &progress.result) {
            (Some(open), Some(result)) => {
                Step::Done(Verification::Replayed(compare(&open, result)))
            }
            (_, None) if progress.replay.is_some() => {
                Step::Wait(format!("replaying segments {:?}", &open.case.segments[..]))
            }
            _ if stage <= Stage::Open => {
                Step::wait("waiting for the trainer to open the ends of the segments")
            }
            _ => Step::unavailable("the trainer did not open the ends of the segments in time"),
        })
    }

    /// Returns the part of a case that is replayed, or the reason for which it cannot be.
    fn part_of(&self, open: OpenCase) -> Result<OpenCase, String> {
        let case = restricted(&open.case, self.segment)?;
        Ok(OpenCase { case, ..open })
    }

    /// Returns the state of the update at the best block.
    async fn state(&self) -> Result<UpdateState> {
        let Self { context, round, trainer, .. } = self;
        let (round, trainer) = (*round, *trainer);
        let chain = context.chain.at(context.chain.best_block().await?.hash);
        let submissions = chain.submissions(round).await?;
        let submission = submissions.into_iter().find(|(account, _)| *account == trainer);
        let Some((_, submission)) = submission else {
            let history = chain.history(round).await?;
            let settled = history.into_iter().find(|(account, _)| *account == trainer);
            let (_, record) = settled.ok_or_else(|| {
                RoleError::fatal(anyhow!(
                    "{} has no update for round {round} on this chain; `pol-trainer status` shows \
                     the round and its members",
                    format_account(&trainer)
                ))
            })?;
            return Ok(UpdateState::Settled(record.outcome));
        };
        if submission.status != SubmissionStatus::Included {
            return Ok(UpdateState::Waiting("waiting for the update to become part of a model"));
        }
        let audits = chain.audits().await?;
        let open = audits.into_iter().find_map(|(id, audit)| {
            let case = audit.case(&trainer).filter(|case| audit.round == round && !case.settled);
            Some((AuditKey::of(id, &audit), case?.clone(), audit))
        });
        let Some((key, case, audit)) = open else {
            return Ok(UpdateState::Waiting("waiting for the draw of its segments"));
        };
        let Some(lease) = chain.audited_lease(round, &trainer).await? else {
            return Ok(UpdateState::Waiting("waiting for the node to know its lease"));
        };
        let response = chain.audit_response(key.id, &trainer).await?.unwrap_or_default();
        let recipe = Arc::new(context.recipe(&lease.recipe).await?);
        let drawn = case.segments.to_vec();
        Ok(UpdateState::Audited(Box::new(OpenCase { key, audit, case, drawn, response, recipe })))
    }

    /// Replays a case, as a seat does.
    async fn replay(self, open: Arc<OpenCase>, deadline: Instant) -> Result<ReplayResult> {
        let begin = Instant::now();
        let (context, OpenCase { key, audit, case, recipe, .. }) =
            (self.context.until(deadline), &*open);
        let held = HeldInput::fetch(&context, recipe, key, self.round, case).await?;
        let input = held.load(&context).await?;
        let (seed, workers, is_exact) =
            (audit.seed, self.workers, recipe.numerics == Numerics::Exact);
        compute(move |stop| {
            let finding = input.finding(&seed, workers, stop)?;
            let bind = || input.binding(&seed, workers, stop);
            let binding = (!is_exact).then(bind).transpose()?;
            Ok(ReplayResult { finding, binding, time: begin.elapsed() })
        })
        .await
    }
}

/// Returns the reason for which an update with this outcome cannot be replayed.
fn reason_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::NoShow | Outcome::Excluded => "it did not become part of a model".to_owned(),
        _ => format!(
            "its audit has ended with the outcome {outcome:?}, and the chain and its members \
             forget what a replay needs with that"
        ),
    }
}

/// Returns the part of `case` that has to be replayed for `segment`: the run of drawn segments that
/// leads to it, and the last run unless the trainer shows the final state. Without a segment it is
/// the whole case.
fn restricted(case: &Case<AccountId>, segment: Option<u16>) -> Result<Case<AccountId>, String> {
    let Some(segment) = segment else { return Ok(case.clone()) };
    if segment >= case.trace_segments {
        return Err(format!("the update has {} segments, counted from 0", case.trace_segments));
    }
    if !case.segments.contains(&segment) {
        return Err(format!(
            "segment {segment} was not drawn, and its trainer shows the states of segments {:?} \
             only",
            &case.segments[..]
        ));
    }
    let is_drawn = |from: u16, to: u16| (from..=to).all(|drawn| case.segments.contains(&drawn));
    let last = case.trace_segments.saturating_sub(1);
    let is_needed =
        |drawn: &u16| (*drawn <= segment && is_drawn(*drawn, segment)) || is_drawn(*drawn, last);
    let segments = case.segments.iter().copied().filter(is_needed).collect();
    Ok(Case { segments: BoundedVec::truncate_from(segments), ..case.clone() })
}

/// Compares a replay with the ends that the trainer opened.
fn compare(open: &OpenCase, result: &ReplayResult) -> Replayed {
    let (ReplayResult { finding, binding, time }, response) = (result, &open.response);
    let opened = open.drawn.iter().copied().zip(response.ends.iter().copied());
    let opened: Vec<(u16, Hash)> =
        opened.filter(|(segment, _)| open.case.segments.contains(segment)).collect();
    let (ends, packed) = match finding {
        Finding::Replayed { ends, packed, .. } => (&ends[..], Some(*packed)),
        _ => (&[][..], binding.map(|binding| binding == Binding::Bound)),
    };
    let seats = [Seat { finding: Some(finding), binding: *binding }];
    let opinions = match open.recipe.numerics {
        Numerics::Exact => {
            let opened: Vec<Hash> = opened.iter().map(|(_, end)| *end).collect();
            exact::opinions(Some(&opened), &seats)
        }
        Numerics::Native { tolerance } => {
            let sketches: Vec<_> = response.sketched.iter().map(|end| end.sketch).collect();
            native::opinions(Some(&sketches), tolerance, &seats)
        }
    };
    let segment = |(at, (segment, opened)): (usize, (u16, Hash))| ReplayedSegment {
        segment,
        opened,
        replayed: ends.get(at).copied(),
    };
    Replayed {
        audit: open.key.id,
        segments: opened.into_iter().enumerate().map(segment).collect(),
        packed,
        opinion: opinions.first().copied().flatten(),
        time: *time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(segments: &[u16]) -> Case<AccountId> {
        Case {
            trainer: [1; 32],
            index: 0,
            segments: BoundedVec::truncate_from(segments.to_vec()),
            trace_segments: 8,
            seats: BoundedVec::new(),
            earlier: BoundedVec::new(),
            served: true,
            opened: true,
            settled: false,
        }
    }

    #[test]
    fn a_segment_is_replayed_from_the_start_of_its_run() {
        let replayed = |drawn: &[u16], segment| {
            let case = restricted(&case(drawn), Some(segment)).unwrap();
            // Of the states that the trainer shows, an audit of this case needs some.
            let shown = self::case(drawn).served_leaves();
            assert!(case.served_leaves().iter().all(|leaf| shown.contains(leaf)), "{drawn:?}");
            case.segments.into_inner()
        };
        assert_eq!(replayed(&[2, 5], 2), [2]);
        assert_eq!(replayed(&[2, 5], 5), [5]);
        assert_eq!(replayed(&[1, 2, 3, 5], 2), [1, 2]);
        assert_eq!(replayed(&[1, 2, 4], 4), [4]);
        assert_eq!(replayed(&[1, 7], 1), [1, 7], "the final state is not shown");
        assert_eq!(replayed(&[1, 6, 7], 6), [6, 7]);
        assert_eq!(replayed(&[0, 1, 6, 7], 0), [0, 6, 7]);
        assert_eq!(restricted(&case(&[1, 7]), None).unwrap().segments[..], [1, 7]);
    }

    #[test]
    fn segments_that_nobody_can_replay_are_named() {
        let reason = |segment| restricted(&case(&[2, 5]), Some(segment)).unwrap_err();
        assert!(reason(3).contains("segment 3 was not drawn") && reason(3).contains("[2, 5]"));
        assert!(reason(8).contains("has 8 segments"));
    }
}
