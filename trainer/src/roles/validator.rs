// SPDX-License-Identifier: Apache-2.0

//! The validator's role: check payloads, report those that are here, attest the next model and
//! audit updates.

use super::{
    auditor::Auditor,
    follower::HeadFollower,
    housekeeping::Housekeeping,
    measurer::HeadMeasurer,
    payload_checks::PayloadChecks,
    runner::{BlockHandler, OverviewSender},
    sole_process::SoleProcess,
    tasks::{BackgroundTask, RoleTask},
};
use crate::{
    context::{NodeContext, submit_housekeeping},
    disk,
    display::short_hash,
    error::Result,
    model::{
        BaseModel, apply_updates, excised_rounds, initial_model, revealed_updates, rewrite_model,
        rewrite_plan,
    },
    strategy::Strategy,
};
use pol_chain::{AccountId, Call, Signer};
use pol_engine::check_arithmetic;
use pol_metrics::{AttestationTime, SPANS};
use pol_primitives::{
    Hash, RoundNumber,
    head::{Head, head_inputs},
    queries::Overview,
    recipe::Recipe,
    round::{BlockNumber, Phase, Round},
    submission::{RevealRecord, RevealSet, Submission, SubmissionStatus},
};
use std::time::Instant;
use tracing::Instrument;

/// Blocks before the end of the hold phase in which a validator reports what it holds, whatever is
/// missing.
const REPORT_MARGIN: BlockNumber = 3;

/// Inputs that a head is computed from, and its root.
type ComputedHead = (Hash, Hash);

/// The validator's role.
pub struct Validator {
    context: NodeContext,
    signer: Signer,
    sole: SoleProcess,
    follower: HeadFollower,
    housekeeping: Housekeeping,
    /// Round of the newest head that this validator attested or found when it started.
    attested: Option<RoundNumber>,
    /// Checks of the payloads of this round.
    checks: PayloadChecks,
    /// Computation of the head that the chain asks for, by the inputs that the chain states.
    computation: Option<(Hash, BackgroundTask<ComputedHead>)>,
    /// Head computed last.
    computed: Option<ComputedHead>,
    auditor: RoleTask,
    measurer: RoleTask,
}

impl Validator {
    /// Creates a validator for the account of `signer` that replays with `workers` threads. Must be
    /// called within a tokio runtime: tasks audit updates and measure heads.
    pub fn new(
        context: NodeContext,
        signer: Signer,
        workers: usize,
        strategy: impl Strategy,
    ) -> Self {
        let auditor = Auditor::new(context.with_own_turns(), signer.clone(), workers, strategy);
        let measurer = HeadMeasurer::new(context.clone(), Some(signer.clone()));
        pol_metrics::validator().last_attestation_timestamp_seconds.set_now();
        Self {
            auditor: RoleTask::new(auditor),
            measurer: RoleTask::new(measurer),
            follower: HeadFollower::new(context.clone()),
            checks: PayloadChecks::new(&context, 0),
            computation: None,
            computed: None,
            housekeeping: Housekeeping::new(context.clone(), signer.clone()),
            sole: SoleProcess::new(context.clone(), signer.clone()),
            context,
            signer,
            attested: None,
        }
    }

    /// Checks the payloads of the round, and reports those that are here in the hold phase: once
    /// all are decided or the phase is about to end, and again when more arrive. Returns the
    /// submissions to the round.
    async fn hold(
        &mut self,
        overview: &Overview,
        recipe: &Recipe,
    ) -> Result<Vec<(AccountId, Submission)>> {
        let (round, chain) = (&overview.round, &self.context.chain);
        let submissions = chain.submissions(round.number).await?;
        let reveals = revealed(&submissions);
        let reports = chain.held_reports().await?;
        self.checks.advance(recipe, round.number, &reveals, &reports)?;
        if round.phase == Phase::Hold {
            let own = self.signer.account();
            let before = reports.iter().find(|(account, _)| *account == own).map(|(_, held)| held);
            let ends = round.deadline.is_some_and(|end| overview.now + REPORT_MARGIN >= end);
            let is_due = before.is_some() || ends || self.checks.are_decided(&reveals);
            let held = self.checks.held(&reveals);
            if let Some(held) = more_held(before, &held).filter(|_| is_due) {
                let (number, count) = (round.number, held.len());
                let call = Call::ReportHeld { round: number, held };
                if submit_housekeeping(chain, &self.signer, call).await? {
                    pol_metrics::validator().reports_total.inc();
                    let of = reveals.len();
                    tracing::info!("round {number}: reported {count} of {of} updates");
                }
            }
        }
        Ok(submissions)
    }

    /// Attests the head of the updates that the chain includes, once it is computed.
    async fn attest(
        &mut self,
        overview: &Overview,
        recipe: &Recipe,
        submissions: Vec<(AccountId, Submission)>,
    ) -> Result<()> {
        let (round, own) = (&overview.round, self.signer.account());
        let attestations = self.context.chain.attestations().await?;
        let attested = attestations.iter().map(|attestation| attestation.account).collect();
        self.housekeeping.note_attested(round.number, &attested).await?;
        let Some((inputs, root)) = self.compute(overview, recipe, submissions).await? else {
            return Ok(());
        };
        // After a fork the chain may include other updates than those computed before.
        if inputs != round.inputs
            || attestations.iter().any(|vote| (vote.account, vote.root) == (own, root))
        {
            return Ok(());
        }
        self.attested = Some(round.number);
        let call = Call::AttestHead { round: round.number, inputs, root };
        if submit_housekeeping(&self.context.chain, &self.signer, call).await? {
            note_attestation(AttestationTime::InTime);
            let count = round.included.len();
            let (number, root) = (round.number, short_hash(&root));
            tracing::info!("round {number}: attested {root} with {count} updates");
        }
        Ok(())
    }

    /// Returns the head that the chain asks for. Returns `None` while it is being computed, or an
    /// included payload is missing.
    async fn compute(
        &mut self,
        overview: &Overview,
        recipe: &Recipe,
        submissions: Vec<(AccountId, Submission)>,
    ) -> Result<Option<ComputedHead>> {
        let wanted = overview.round.inputs;
        if let Some(computed) = self.computed.filter(|(inputs, _)| *inputs == wanted) {
            return Ok(Some(computed));
        }
        if self.computation.as_ref().is_none_or(|(inputs, _)| *inputs != wanted) {
            let held = self.checks.held(&revealed(&submissions));
            let round = overview.round.clone();
            if !round.included.indices().all(|index| held.contains(index)) {
                let number = round.number;
                tracing::debug!("round {number}: included payloads are not here yet");
                return Ok(None);
            }
            let work = compute_head(
                self.context.clone(),
                recipe.clone(),
                overview.head,
                round,
                submissions,
            );
            self.computation = Some((wanted, BackgroundTask::start(work)));
        }
        let Some((_, task)) = &mut self.computation else { return Ok(None) };
        let Some(computed) = task.wait().await else { return Ok(None) };
        self.computation = None;
        self.computed = Some(computed?);
        Ok(self.computed)
    }

    /// Attests a head that the others agreed on before this validator could, so that it counts as
    /// taking part.
    async fn attest_late(&mut self, overview: &Overview) -> Result<()> {
        let Some(head) = overview.head else { return Ok(()) };
        let known = *self.attested.get_or_insert(head.round);
        if head.round <= known || overview.round.phase == Phase::Attest {
            return Ok(());
        }
        // The follower has rebuilt this head by now.
        self.attested = Some(head.round);
        // What a head was computed from matters only until there is a quorum for it.
        let call = Call::AttestHead { round: head.round, inputs: Hash::default(), root: head.root };
        if submit_housekeeping(&self.context.chain, &self.signer, call).await? {
            note_attestation(AttestationTime::Late);
        }
        Ok(())
    }
}

fn note_attestation(time: AttestationTime) {
    let metrics = pol_metrics::validator();
    metrics.attestations_total.count(time);
    metrics.last_attestation_timestamp_seconds.set_now();
}

/// Returns the reveals among the submissions to a round.
fn revealed(submissions: &[(AccountId, Submission)]) -> Vec<(AccountId, RevealRecord)> {
    submissions
        .iter()
        .filter(|(_, submission)| submission.status == SubmissionStatus::Revealed)
        .filter_map(|(account, submission)| Some((*account, submission.opened?)))
        .collect()
}

/// Returns the report to make of the `held` reveals after the report `before`, or `None` if it
/// would name no more.
fn more_held(before: Option<&RevealSet>, held: &RevealSet) -> Option<RevealSet> {
    let Some(before) = before else { return Some(held.clone()) };
    let both = RevealSet::from_indices(before.indices().chain(held.indices()));
    (both.len() > before.len()).then_some(both)
}

/// Computes the head after `round` from the head before it, if there is one, whose model is here.
async fn compute_head(
    context: NodeContext,
    recipe: Recipe,
    before: Option<Head>,
    round: Round,
    submissions: Vec<(AccountId, Submission)>,
) -> Result<ComputedHead> {
    let started = Instant::now();
    let span = tracing::info_span!(target: SPANS, "compute_head", pol.round = round.number);
    let next = compute_next(context, recipe, before, round, submissions);
    let head = next.instrument(span).await?;
    pol_metrics::validator().head_duration_seconds.observe_since(started);
    Ok(head)
}

async fn compute_next(
    context: NodeContext,
    recipe: Recipe,
    before: Option<Head>,
    round: Round,
    submissions: Vec<(AccountId, Submission)>,
) -> Result<ComputedHead> {
    let (number, recipe_hash) = (round.number, recipe.hash());
    let nothing = head_inputs::<AccountId>(number, &round.base_root, &recipe_hash, &[], &[]);
    let Some(head) = before else {
        return Ok((nothing, initial_model(&context, &recipe).await?.root));
    };
    let base = BaseModel::Stored(head.root);
    // A rewrite has a round of its own, without updates and excisions.
    if let Some(plan) = rewrite_plan(&context, &head, &recipe).await? {
        return Ok((nothing, rewrite_model(&context, &head, &base, plan).await?.root));
    }
    let updates =
        revealed_updates(&context, &recipe, number, &submissions, &round.included).await?;
    let excisions = context.chain.excisions().await?;
    let names: Vec<_> = updates.iter().map(|included| included.update).collect();
    let inputs = head_inputs(number, &head.root, &recipe_hash, &names, &excisions);
    let excised = excised_rounds(&context, number, &excisions).await?;
    let next = apply_updates(&context, &recipe, &base, updates, excised).await?;
    Ok((inputs, next.root))
}

impl BlockHandler for Validator {
    async fn on_block(&mut self, overview: &Overview) -> Result<()> {
        self.auditor.check().await?;
        self.sole.check(overview.height).await?;
        // Says so if there is room again.
        disk::is_full(self.context.state.path());
        let Some(recipe) = self.follower.recipe(overview).await? else { return Ok(()) };
        check_arithmetic(&recipe)?;
        let phase = overview.round.phase;
        // What is here can be reported even by a validator that has yet to fetch the model.
        let submissions = match phase {
            Phase::Reveal | Phase::Hold | Phase::Attest => self.hold(overview, &recipe).await?,
            Phase::Idle | Phase::Train => Vec::new(),
        };
        if !self.follower.has_model(overview).await? && overview.head.is_some() {
            return Ok(());
        }
        // From here on, the newest head is on this machine.
        self.measurer.on_block(overview).await?;
        if phase == Phase::Attest {
            self.attest(overview, &recipe, submissions).await?;
        }
        self.attest_late(overview).await?;
        self.housekeeping.run(overview).await
    }

    fn tasks(&self) -> Vec<OverviewSender> {
        vec![self.auditor.sender()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_name_all_that_was_reported_before() {
        let set = |indices: &[u8]| RevealSet::from_indices(indices.iter().copied());
        assert_eq!(more_held(None, &set(&[])), Some(set(&[])));
        assert_eq!(more_held(Some(&set(&[1])), &set(&[2])), Some(set(&[1, 2])));
        assert_eq!(more_held(Some(&set(&[1, 2])), &set(&[2])), None);
        assert_eq!(more_held(Some(&set(&[])), &set(&[])), None);
    }
}
