//! Checks payloads and attests the next model; audits what models were made of beside that.

use super::{Follower, Role, RoleTask, auditor::Auditor, measurer::Measurer};
use crate::{
    context::{NodeContext, submit_housekeeping},
    display::short_hash,
    error::{Result, RoleError, explain},
    model::{GlobalModel, apply, excised, initial_model, rewriting, rewritten, updates_of},
    strategy::Strategy,
};
use futures::{StreamExt, stream};
use pol_chain::{AccountId, Call, Signer};
use pol_primitives::{
    Hash, RoundNumber,
    peer::Role as PeerRole,
    recipe::Recipe,
    round::{Phase, Round},
    submission::{Included, Status, Submission},
    view::Overview,
};
use std::collections::BTreeSet;

/// A validator's state between blocks.
pub struct Validator {
    peer: NodeContext,
    signer: Signer,
    follower: Follower,
    /// Round in which trainers were last looked through for absent ones.
    tidied: RoundNumber,
    /// Trainers that left a lease of a past round behind.
    absent: Vec<AccountId>,
    /// Validators that had not attested when the phase was last looked at, and the phase's round.
    silent: Option<(RoundNumber, BTreeSet<AccountId>)>,
    /// Newest head this validator attested or found when it started.
    attested: Option<RoundNumber>,
    /// Payloads that were fetched and found sound in this round.
    held: (RoundNumber, BTreeSet<Hash>),
    /// Audits by replay.
    auditor: RoleTask,
    /// Measures of new heads.
    measurer: RoleTask,
}

/// Blocks of a round after which a trainer that is there has concluded its past lease.
const TRAINER_RETURNS: u32 = 5;
/// Payloads fetched and checked at a time: one that nobody serves does not hold up the others.
const CHECKS_AT_ONCE: usize = 8;

impl Validator {
    /// A validator for the account of `signer`, with `workers` threads. Called within a runtime: it
    /// audits and measures in tasks.
    pub fn new(peer: NodeContext, signer: Signer, workers: usize, strategy: impl Strategy) -> Self {
        Self {
            auditor: RoleTask::new(Auditor::new(peer.clone(), signer.clone(), workers, strategy)),
            measurer: RoleTask::new(Measurer::new(peer.clone(), Some(signer.clone()))),
            follower: Follower::new(peer.clone()),
            peer,
            signer,
            tidied: 0,
            absent: Vec::new(),
            silent: None,
            attested: None,
            held: (0, BTreeSet::new()),
        }
    }

    /// Fetches every revealed payload; returns the indices of those that are here and give finite
    /// parameters.
    async fn hold_payloads(
        &mut self,
        recipe: &Recipe,
        round: RoundNumber,
        model: Option<&GlobalModel>,
        submissions: &[(AccountId, Submission)],
    ) -> Result<Vec<u8>> {
        let Some(model) = model else { return Ok(Vec::new()) };
        if self.held.0 != round {
            self.held = (round, BTreeSet::new());
        }
        let opened: Vec<_> = submissions
            .iter()
            .filter(|(_, submission)| submission.status == Status::Revealed)
            .filter_map(|(account, submission)| Some((account, submission.opened?)))
            .collect();
        let mut checks = Vec::new();
        for (account, opened) in
            opened.iter().filter(|(_, opened)| !self.held.1.contains(&opened.payload_hash))
        {
            let peer = &self.peer;
            checks.push(async move {
                let alone = Included::from_indices([opened.index]);
                let sound = async {
                    apply(
                        recipe,
                        model,
                        updates_of(peer, recipe, submissions, &alone).await?,
                        Vec::new(),
                    )
                    .await
                };
                (account, opened.payload_hash, sound.await)
            });
        }
        let mut checks = stream::iter(checks).buffer_unordered(CHECKS_AT_ONCE);
        while let Some((account, payload, sound)) = checks.next().await {
            match sound {
                Ok(_) => {
                    self.held.1.insert(payload);
                }
                Err(RoleError::Transient(error)) => {
                    tracing::warn!(
                        "round {round}: leaving out {}: {}",
                        pol_chain::format_account(account),
                        explain(&error)
                    );
                }
                Err(fatal) => return Err(fatal),
            }
        }
        Ok(opened
            .iter()
            .filter(|(_, opened)| self.held.1.contains(&opened.payload_hash))
            .map(|(_, opened)| opened.index)
            .collect())
    }

    /// Attests the next head: the lead proposes what it holds, the others sign what they can
    /// repeat.
    async fn attest(
        &mut self,
        overview: &Overview<AccountId>,
        recipe: &Recipe,
        model: Option<&GlobalModel>,
        submissions: &[(AccountId, Submission)],
        held: &[u8],
    ) -> Result<()> {
        let (round, account) = (overview.round.number, self.signer.account());
        let attestations = self.peer.chain.attestations().await?;
        self.silent = Some((
            round,
            self.silent_validators(&attestations.iter().map(|a| a.account).collect()).await?,
        ));
        if attestations.iter().any(|attestation| attestation.account == account) {
            return Ok(());
        }
        let (Some(model), Some(head)) = (model, &overview.head) else {
            let root = initial_model(&self.peer, recipe).await?.root;
            return self.send(round, root, Included::default()).await;
        };
        // What nothing was trained for needs no proposal.
        if let Some(rewriting) = rewriting(&self.peer, head, recipe).await? {
            let root = rewritten(model, rewriting).await?.root;
            return self.send(round, root, Included::default()).await;
        }
        let proposal = attestations
            .iter()
            .find(|attestation| Some(attestation.account) == overview.lead)
            .or(attestations.first());
        let included = match proposal {
            Some(proposal) => proposal.included.clone(),
            None if overview.lead == Some(account) && !held.is_empty() => {
                Included::from_indices(held.iter().copied())
            }
            None => return Ok(()),
        };
        if !included.indices().all(|index| held.contains(&index)) {
            tracing::warn!("round {round}: the proposal includes payloads that are not here yet");
            return Ok(());
        }
        let updates = updates_of(&self.peer, recipe, submissions, &included).await?;
        let excised = excised(&self.peer, round, &self.peer.chain.excisions().await?).await?;
        let next = apply(recipe, model, updates, excised).await?;
        if let Some(proposal) = proposal.filter(|proposal| proposal.root != next.root) {
            tracing::error!(
                "round {round}: {} was proposed and {} is right; not signing",
                short_hash(&proposal.root),
                short_hash(&next.root)
            );
            return Ok(());
        }
        self.send(round, next.root, included).await
    }

    async fn send(&mut self, round: RoundNumber, root: Hash, included: Included) -> Result<()> {
        let count = included.len();
        self.attested = Some(round);
        self.peer.chain.submit(&self.signer, Call::AttestHead { round, root, included }).await?;
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
        // The follower has rebuilt this head from its updates by now.
        self.attested = Some(head.round);
        let Some(record) = self.peer.chain.round_record(head.round).await? else { return Ok(()) };
        let call =
            Call::AttestHead { round: head.round, root: head.root, included: record.included };
        submit_housekeeping(&self.peer.chain, &self.signer, call).await?;
        Ok(())
    }

    async fn silent_validators(
        &self,
        attested: &BTreeSet<AccountId>,
    ) -> Result<BTreeSet<AccountId>> {
        let members = self.peer.chain.members().await?;
        Ok(members
            .into_iter()
            .filter(|member| {
                member.role.attests()
                    && !member.chilled
                    && member.endpoint.is_some()
                    && !attested.contains(&member.account)
            })
            .map(|member| member.account)
            .collect())
    }

    /// Sets aside validators that stopped taking part, and returns the data of trainers that
    /// vanished.
    async fn tidy(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let round = &overview.round;
        if round.phase == Phase::Attest {
            return Ok(());
        }
        if let Some((_, silent)) = self.silent.take_if(|(number, _)| *number < round.number) {
            for validator in silent.into_iter().filter(|account| *account != self.signer.account())
            {
                // The chain refuses while the validator may still miss a phase.
                if submit_housekeeping(&self.peer.chain, &self.signer, Call::Chill { validator })
                    .await?
                {
                    tracing::info!(
                        "set aside the silent validator {}",
                        pol_chain::format_account(&validator)
                    );
                }
            }
        }
        // An idle network may be waiting for just the data that the absent hold.
        let due = if round.phase == Phase::Idle {
            overview.free_shards == 0
        } else {
            overview.now >= round.opened_at + TRAINER_RETURNS
        };
        if due && self.tidied < round.number {
            for member in self
                .peer
                .chain
                .members()
                .await?
                .into_iter()
                .filter(|member| member.role == PeerRole::Trainer)
            {
                let lease = self.peer.chain.lease(&member.account).await?;
                if lease.is_some_and(|lease| lease.due_round < round.number) {
                    self.absent.push(member.account);
                }
            }
            self.tidied = round.number;
        }
        // One a block, so that attesting never waits for it.
        if let Some(account) = self.absent.pop() {
            submit_housekeeping(&self.peer.chain, &self.signer, Call::Conclude { account }).await?;
        }
        Ok(())
    }

    /// Returns after the others took this validator for dead.
    async fn come_back(&self, round: &Round) -> Result<()> {
        if round.phase == Phase::Attest {
            return Ok(());
        }
        let member = self.peer.chain.member(&self.signer.account()).await?;
        if member.is_some_and(|member| member.chilled)
            && submit_housekeeping(&self.peer.chain, &self.signer, Call::Unchill).await?
        {
            tracing::info!("back among the validators after being set aside");
        }
        Ok(())
    }
}

impl Role for Validator {
    async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        self.auditor.step(overview).await?;
        let Some(recipe) = self.follower.recipe(overview).await? else { return Ok(()) };
        let model = self.follower.model(overview, &recipe).await?;
        // From here on, the newest head is on this machine.
        self.measurer.step(overview).await?;
        let round = &overview.round;
        if matches!(round.phase, Phase::Reveal | Phase::Attest) {
            let submissions = self.peer.chain.submissions(round.number).await?;
            let held =
                self.hold_payloads(&recipe, round.number, model.as_ref(), &submissions).await?;
            if round.phase == Phase::Attest {
                self.attest(overview, &recipe, model.as_ref(), &submissions, &held).await?;
            }
        }
        self.attest_late(overview).await?;
        self.come_back(round).await?;
        self.tidy(overview).await
    }
}
