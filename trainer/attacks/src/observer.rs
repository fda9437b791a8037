// SPDX-License-Identifier: Apache-2.0

//! Observations of the chain, block by block, to judge attacks by afterwards.

use crate::rpc::Rpc;
use anyhow::Result;
use futures::StreamExt;
use pol_chain::{AccountId, Chain};
use pol_primitives::{
    Balance, Hash, RoundNumber,
    audit::{Audit, AuditId, Case},
    lease::Lease,
    queries::Overview,
    submission::{Outcome, SubmissionRecord},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Past rounds whose updates may still be settled.
const OPEN_ROUNDS: RoundNumber = 8;

/// The update of an account in a round.
type UpdateKey = (RoundNumber, AccountId);

/// Balance on hold of an account, and losses of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hold {
    /// Amount on hold at the last block.
    pub(crate) amount: Balance,
    /// Sum of all decreases.
    pub(crate) lost: Balance,
}

/// Facts that the chain has shown so far.
#[derive(Default)]
pub(crate) struct Observations {
    /// The network at the last block.
    pub(crate) overview: Option<Overview>,
    /// Draws on each update, the first one first.
    pub(crate) cases: BTreeMap<UpdateKey, Vec<Case<AccountId>>>,
    /// Number of seats of each account, over all draws.
    pub(crate) seats: BTreeMap<AccountId, u64>,
    /// Settled updates.
    pub(crate) settled: BTreeMap<UpdateKey, SubmissionRecord>,
    /// Balances on hold of the observed accounts.
    pub(crate) holds: BTreeMap<AccountId, Hold>,
    /// Rewards of accounts whose pay is observed, once known.
    pub(crate) pay: BTreeMap<UpdateKey, Balance>,
    /// Leases of the audited updates of these accounts.
    pub(crate) leases: BTreeMap<UpdateKey, Lease>,
    paid_accounts: BTreeSet<AccountId>,
    counted_seats: BTreeMap<(AuditId, AccountId), u64>,
}

impl Observations {
    /// Returns the settled updates of an account.
    pub(crate) fn settled_of(
        &self,
        account: &AccountId,
    ) -> impl Iterator<Item = (RoundNumber, &SubmissionRecord)> {
        self.settled
            .iter()
            .filter(move |((_, who), _)| who == account)
            .map(|((round, _), record)| (*round, record))
    }

    /// Counts the updates of an account with this outcome.
    pub(crate) fn count(&self, account: &AccountId, outcome: Outcome) -> u64 {
        self.settled_of(account).filter(|(_, record)| record.outcome == outcome).count() as u64
    }

    /// Returns the part of its bond that an account has lost.
    pub(crate) fn lost(&self, account: &AccountId) -> Balance {
        self.holds.get(account).map_or(0, |hold| hold.lost)
    }

    /// Returns the last draw on an update, which decided.
    pub(crate) fn last_draw(
        &self,
        round: RoundNumber,
        account: &AccountId,
    ) -> Option<&Case<AccountId>> {
        self.cases.get(&(round, *account))?.last()
    }

    /// Returns the current round.
    pub(crate) fn round(&self) -> RoundNumber {
        self.overview.as_ref().map_or(0, |overview| overview.round.number)
    }

    /// Adds the seats and cases of an audit.
    fn add_audit(&mut self, id: AuditId, audit: Audit<AccountId>) {
        for (place, holder) in (0..).zip(&audit.holders) {
            let seats =
                audit.cases.iter().filter(|case| case.seats.contains(&place)).count() as u64;
            if self.counted_seats.insert((id, holder.account), seats).is_none() {
                *self.seats.entry(holder.account).or_default() += seats;
            }
        }
        for case in audit.cases {
            let draws = self.cases.entry((audit.round, case.trainer)).or_default();
            match draws.get_mut(usize::from(audit.draw)) {
                Some(known) => *known = case,
                None => draws.push(case),
            }
        }
    }

    /// Returns the rounds of an account's audited updates whose leases are unknown.
    fn rounds_without_lease(&self, account: AccountId) -> Vec<RoundNumber> {
        let audited = self.cases.keys().filter(|(_, who)| *who == account).map(|(round, _)| *round);
        audited.filter(|round| !self.leases.contains_key(&(*round, account))).collect()
    }
}

/// Follows the chain in the background.
#[derive(Clone, Default)]
pub(crate) struct ChainObserver(Arc<Mutex<Observations>>);

impl ChainObserver {
    /// Returns the observations so far.
    pub(crate) fn observations(&self) -> MutexGuard<'_, Observations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observes the bonds of these accounts too.
    pub(crate) fn observe_bonds(&self, accounts: impl IntoIterator<Item = AccountId>) {
        let mut observations = self.observations();
        for account in accounts {
            observations.holds.entry(account).or_default();
        }
    }

    /// Observes the rewards of these accounts too.
    pub(crate) fn observe_pay(&self, accounts: impl IntoIterator<Item = AccountId>) {
        self.observations().paid_accounts.extend(accounts);
    }

    /// Reads every block until the connection fails for good.
    pub(crate) async fn follow(self, chain: Chain, rpc: Rpc) -> Result<()> {
        let mut blocks = pin!(chain.blocks().await?);
        while let Some(block) = blocks.next().await {
            // A node that is kept busy answers for a later block.
            if let Err(error) = self.read_block(&chain.at(block.hash), rpc, block.hash).await {
                tracing::warn!("block {}: {error:#}", block.number);
            }
        }
        Ok(())
    }

    async fn read_block(&self, chain: &Chain, rpc: Rpc, block: Hash) -> Result<()> {
        self.read_audits(chain).await?;
        self.read_pay(chain).await?;
        self.read_bonds(rpc, block).await
    }

    async fn read_audits(&self, chain: &Chain) -> Result<()> {
        let (overview, audits) = (chain.overview().await?, chain.audits().await?);
        let now = overview.round.number;
        let mut settled = Vec::new();
        for round in now.saturating_sub(OPEN_ROUNDS)..=now {
            let history = chain.history(round).await?;
            settled.extend(history.into_iter().map(|(account, record)| ((round, account), record)));
        }
        let mut observations = self.observations();
        observations.overview = Some(overview);
        observations.settled.extend(settled);
        for (id, audit) in audits {
            observations.add_audit(id, audit);
        }
        Ok(())
    }

    async fn read_pay(&self, chain: &Chain) -> Result<()> {
        let accounts: Vec<AccountId> = self.observations().paid_accounts.iter().copied().collect();
        for account in accounts {
            let rewards = chain.pending_rewards(&account).await?;
            let known = rewards
                .into_iter()
                .filter_map(|reward| Some(((reward.round, account), reward.amount?)));
            self.observations().pay.extend(known);
            let rounds = self.observations().rounds_without_lease(account);
            for round in rounds {
                if let Some(lease) = chain.audited_lease(round, &account).await? {
                    self.observations().leases.insert((round, account), lease);
                }
            }
        }
        Ok(())
    }

    /// Reads the bonds. Fails while connections are flooded; the next block shows the same losses.
    async fn read_bonds(&self, rpc: Rpc, block: Hash) -> Result<()> {
        let accounts: Vec<AccountId> = self.observations().holds.keys().copied().collect();
        if accounts.is_empty() {
            return Ok(());
        }
        let balances = rpc.balances_on_hold(&accounts, block).await?;
        let mut observations = self.observations();
        for (account, amount) in accounts.into_iter().zip(balances) {
            let hold = observations.holds.entry(account).or_default();
            hold.lost += hold.amount.saturating_sub(amount);
            hold.amount = amount;
        }
        Ok(())
    }
}
