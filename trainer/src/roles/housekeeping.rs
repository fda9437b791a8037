// SPDX-License-Identifier: Apache-2.0

//! A validator's care for members that have left.

use crate::{
    context::{NodeContext, submit_housekeeping},
    error::Result,
};
use pol_chain::{AccountId, Call, Signer, format_account};
use pol_primitives::{
    RoundNumber,
    lease::Lease,
    member::Role,
    queries::Overview,
    round::{BlockNumber, Phase, Round},
};
use std::collections::BTreeSet;

/// Blocks of a round after which a running trainer has concluded its past lease.
const CONCLUSION_GRACE: BlockNumber = 5;

/// Sets aside validators that stopped attesting, and returns the data of trainers that vanished.
pub(super) struct Housekeeping {
    context: NodeContext,
    signer: Signer,
    /// Round in which trainers were last searched for absent ones.
    searched: RoundNumber,
    /// Trainers with a lease of a past round or recipe.
    absent: Vec<AccountId>,
    /// Other validators that had not attested in this round when its attestations were last read.
    silent: Option<(RoundNumber, BTreeSet<AccountId>)>,
}

impl Housekeeping {
    /// Creates the housekeeping of the validator that signs with `signer`.
    pub(super) fn new(context: NodeContext, signer: Signer) -> Self {
        Self { context, signer, searched: 0, absent: Vec::new(), silent: None }
    }

    /// Notes the validators that have not attested in `round`, given those that have.
    pub(super) async fn note_attested(
        &mut self,
        round: RoundNumber,
        attested: &BTreeSet<AccountId>,
    ) -> Result<()> {
        let (members, own) = (self.context.chain.members().await?, self.signer.account());
        let silent = members
            .into_iter()
            .filter(|member| {
                member.role.attests()
                    && !member.chilled
                    && member.endpoint.is_some()
                    && member.account != own
                    && !attested.contains(&member.account)
            })
            .map(|member| member.account)
            .collect();
        self.silent = Some((round, silent));
        Ok(())
    }

    /// Does what is due at `overview`.
    pub(super) async fn run(&mut self, overview: &Overview) -> Result<()> {
        if matches!(overview.round.phase, Phase::Hold | Phase::Attest) {
            return Ok(());
        }
        self.unchill_self().await?;
        self.chill_silent(&overview.round).await?;
        self.find_absent(overview).await?;
        // One per block, so that attesting never waits for it.
        if let Some(account) = self.absent.pop() {
            let call = Call::Conclude { account };
            submit_housekeeping(&self.context.chain, &self.signer, call).await?;
        }
        Ok(())
    }

    /// Returns this validator to attesting after others set it aside.
    async fn unchill_self(&self) -> Result<()> {
        let chain = &self.context.chain;
        let member = chain.member(&self.signer.account()).await?;
        if member.is_some_and(|member| member.chilled)
            && submit_housekeeping(chain, &self.signer, Call::Unchill).await?
        {
            tracing::info!("back among the validators after being set aside");
        }
        Ok(())
    }

    /// Sets aside one of the validators that were silent in an earlier round. The others follow at
    /// the next blocks, so that attesting never waits for them.
    async fn chill_silent(&mut self, round: &Round) -> Result<()> {
        let silent = self.silent.as_mut().filter(|(number, _)| *number < round.number);
        let Some(validator) = silent.and_then(|(_, silent)| silent.pop_first()) else {
            return Ok(());
        };
        // The chain refuses as long as the validator may still miss a phase.
        let call = Call::Chill { validator };
        if submit_housekeeping(&self.context.chain, &self.signer, call).await? {
            pol_metrics::validator().chilled_validators_total.inc();
            tracing::info!("set aside the silent validator {}", format_account(&validator));
        }
        Ok(())
    }

    /// Searches for trainers that left a lease of a past round or recipe, once per round.
    async fn find_absent(&mut self, overview: &Overview) -> Result<()> {
        let round = &overview.round;
        // An idle network may be waiting for the very data that absent trainers hold.
        let is_due = if round.phase == Phase::Idle {
            overview.free_shards == 0
        } else {
            overview.now >= round.opened_at + CONCLUSION_GRACE
        };
        if !is_due || self.searched >= round.number {
            return Ok(());
        }
        let chain = &self.context.chain;
        let members = chain.members().await?;
        for member in members.into_iter().filter(|member| member.role == Role::Trainer) {
            let lease = chain.lease(&member.account).await?;
            let is_over = |lease: &Lease| {
                lease.due_round < round.number || overview.recipe_hash != Some(lease.recipe)
            };
            if lease.as_ref().is_some_and(is_over) {
                self.absent.push(member.account);
            }
        }
        self.searched = round.number;
        Ok(())
    }
}
