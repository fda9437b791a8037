// SPDX-License-Identifier: Apache-2.0

//! The validator's role: check payloads, attest the next model and audit updates.

use super::{
    auditor::Auditor, follower::HeadFollower, housekeeping::Housekeeping, measurer::HeadMeasurer,
    runner::BlockHandler, tasks::RoleTask,
};
use crate::{
    context::{NodeContext, submit_housekeeping},
    display::short_hash,
    error::{Result, RoleError, explain},
    model::{
        GlobalModel, apply_updates, excised_rounds, initial_model, revealed_updates, rewrite_model,
        rewrite_plan,
    },
    strategy::Strategy,
};
use futures::{StreamExt, stream};
use pol_chain::{AccountId, Call, Signer, format_account};
use pol_primitives::{
    Hash, RoundNumber,
    queries::Overview,
    recipe::Recipe,
    round::Phase,
    submission::{RevealRecord, RevealSet, Submission, SubmissionStatus},
};
use std::collections::BTreeSet;

/// Payloads that are fetched and checked at a time: one that no peer serves does not hold up the
/// others.
const CONCURRENT_CHECKS: usize = 8;

/// The validator's role.
pub struct Validator {
    context: NodeContext,
    signer: Signer,
    follower: HeadFollower,
    housekeeping: Housekeeping,
    /// Round of the newest head that this validator attested or found when it started.
    attested: Option<RoundNumber>,
    /// Payloads of this round that are on this machine and valid.
    valid_payloads: (RoundNumber, BTreeSet<Hash>),
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
        let auditor = Auditor::new(context.clone(), signer.clone(), workers, strategy);
        let measurer = HeadMeasurer::new(context.clone(), Some(signer.clone()));
        Self {
            auditor: RoleTask::new(auditor),
            measurer: RoleTask::new(measurer),
            follower: HeadFollower::new(context.clone()),
            housekeeping: Housekeeping::new(context.clone(), signer.clone()),
            context,
            signer,
            attested: None,
            valid_payloads: (0, BTreeSet::new()),
        }
    }

    /// Fetches the revealed payloads and returns the indices of those that are on this machine and
    /// give finite parameters.
    async fn check_payloads(
        &mut self,
        recipe: &Recipe,
        round: RoundNumber,
        model: Option<&GlobalModel>,
        submissions: &[(AccountId, Submission)],
    ) -> Result<Vec<u8>> {
        let Some(model) = model else { return Ok(Vec::new()) };
        if self.valid_payloads.0 != round {
            self.valid_payloads = (round, BTreeSet::new());
        }
        let valid = &mut self.valid_payloads.1;
        let reveals: Vec<(AccountId, RevealRecord)> = submissions
            .iter()
            .filter(|(_, submission)| submission.status == SubmissionStatus::Revealed)
            .filter_map(|(account, submission)| Some((*account, submission.opened?)))
            .collect();
        let context = &self.context;
        let unchecked = reveals.iter().filter(|(_, reveal)| !valid.contains(&reveal.payload_hash));
        let checks: Vec<_> = unchecked
            .map(async |(account, reveal)| {
                let only = RevealSet::from_indices([reveal.index]);
                let checked = async {
                    let update = revealed_updates(context, recipe, submissions, &only).await?;
                    apply_updates(recipe, model, update, Vec::new()).await
                };
                (account, reveal.payload_hash, checked.await)
            })
            .collect();
        let mut checks = stream::iter(checks).buffer_unordered(CONCURRENT_CHECKS);
        while let Some((account, payload, checked)) = checks.next().await {
            match checked {
                Ok(_) => {
                    valid.insert(payload);
                }
                Err(RoleError::Transient(error)) => tracing::warn!(
                    "round {round}: leaving out {}: {}",
                    format_account(account),
                    explain(&error)
                ),
                Err(fatal) => return Err(fatal),
            }
        }
        Ok(reveals
            .iter()
            .filter(|(_, reveal)| valid.contains(&reveal.payload_hash))
            .map(|(_, reveal)| reveal.index)
            .collect())
    }

    /// Attests the next head: the lead proposes the updates with valid payloads, and the others
    /// sign a proposal that they can repeat.
    async fn attest(
        &mut self,
        overview: &Overview<AccountId>,
        recipe: &Recipe,
        model: Option<&GlobalModel>,
        submissions: &[(AccountId, Submission)],
        valid: &[u8],
    ) -> Result<()> {
        let (round, account) = (overview.round.number, self.signer.account());
        let attestations = self.context.chain.attestations().await?;
        let attested = attestations.iter().map(|attestation| attestation.account).collect();
        self.housekeeping.note_attested(round, &attested).await?;
        if attested.contains(&account) {
            return Ok(());
        }
        let (Some(model), Some(head)) = (model, &overview.head) else {
            let root = initial_model(&self.context, recipe).await?.root;
            return self.submit_attestation(round, root, RevealSet::default()).await;
        };
        // A rewrite has no updates and so needs no proposal.
        if let Some(plan) = rewrite_plan(&self.context, head, recipe).await? {
            let root = rewrite_model(model, plan).await?.root;
            return self.submit_attestation(round, root, RevealSet::default()).await;
        }
        let proposal = attestations
            .iter()
            .find(|attestation| Some(attestation.account) == overview.lead)
            .or(attestations.first());
        let included = match proposal {
            Some(proposal) => proposal.included.clone(),
            None if overview.lead == Some(account) && !valid.is_empty() => {
                RevealSet::from_indices(valid.iter().copied())
            }
            None => return Ok(()),
        };
        if !included.indices().all(|index| valid.contains(&index)) {
            tracing::warn!("round {round}: the proposal includes payloads that are not here yet");
            return Ok(());
        }
        let updates = revealed_updates(&self.context, recipe, submissions, &included).await?;
        let excisions = self.context.chain.excisions().await?;
        let excised = excised_rounds(&self.context, round, &excisions).await?;
        let next = apply_updates(recipe, model, updates, excised).await?;
        if let Some(proposal) = proposal.filter(|proposal| proposal.root != next.root) {
            tracing::error!(
                "round {round}: {} was proposed and {} is right; not signing",
                short_hash(&proposal.root),
                short_hash(&next.root)
            );
            return Ok(());
        }
        self.submit_attestation(round, next.root, included).await
    }

    async fn submit_attestation(
        &mut self,
        round: RoundNumber,
        root: Hash,
        included: RevealSet,
    ) -> Result<()> {
        let count = included.len();
        self.attested = Some(round);
        let call = Call::AttestHead { round, root, included };
        self.context.chain.submit(&self.signer, call).await?;
        tracing::info!("round {round}: attested {} with {count} updates", short_hash(&root));
        Ok(())
    }

    /// Attests a head that the others agreed on before this validator could, so that it counts as
    /// taking part.
    async fn attest_late(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let Some(head) = overview.head else { return Ok(()) };
        let known = *self.attested.get_or_insert(head.round);
        if head.round <= known || overview.round.phase == Phase::Attest {
            return Ok(());
        }
        // The follower has rebuilt this head by now.
        self.attested = Some(head.round);
        let chain = &self.context.chain;
        let Some(record) = chain.round_record(head.round).await? else { return Ok(()) };
        let call =
            Call::AttestHead { round: head.round, root: head.root, included: record.included };
        submit_housekeeping(chain, &self.signer, call).await?;
        Ok(())
    }
}

impl BlockHandler for Validator {
    async fn on_block(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        self.auditor.on_block(overview).await?;
        let Some(recipe) = self.follower.recipe(overview).await? else { return Ok(()) };
        let model = self.follower.model(overview, &recipe).await?;
        // From here on, the newest head is on this machine.
        self.measurer.on_block(overview).await?;
        let round = &overview.round;
        if matches!(round.phase, Phase::Reveal | Phase::Attest) {
            let submissions = self.context.chain.submissions(round.number).await?;
            let valid =
                self.check_payloads(&recipe, round.number, model.as_ref(), &submissions).await?;
            if round.phase == Phase::Attest {
                self.attest(overview, &recipe, model.as_ref(), &submissions, &valid).await?;
            }
        }
        self.attest_late(overview).await?;
        self.housekeeping.run(overview).await
    }
}
