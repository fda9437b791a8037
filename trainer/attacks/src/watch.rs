//! What happens on the chain, block by block: draws, outcomes and bonds, for judging attacks
//! afterwards.

use crate::rpc::Rpc;
use anyhow::Result;
use futures::StreamExt;
use pol_chain::{AccountId, Chain};
use pol_primitives::{
    Balance, RoundNumber,
    audit::Case,
    lease::Lease,
    submission::{Outcome, Settled},
    view::Overview,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Past rounds whose updates may still be settled.
const OPEN_ROUNDS: RoundNumber = 8;

/// What was seen so far.
#[derive(Default)]
pub struct Seen {
    /// The network at the last block.
    pub overview: Option<Overview<AccountId>>,
    /// The draws on each update, the first one first.
    pub cases: BTreeMap<(RoundNumber, AccountId), Vec<Case<AccountId>>>,
    /// How many updates each account had a seat on in each draw that it was in.
    pub seats: BTreeMap<AccountId, u64>,
    /// How submissions ended.
    pub ended: BTreeMap<(RoundNumber, AccountId), Settled>,
    /// What each account that is watched has on hold, and what it lost of that so far.
    pub held: BTreeMap<AccountId, (Balance, Balance)>,
    /// What accounts whose pay is watched can claim of a round, once that is known.
    pub pay: BTreeMap<(RoundNumber, AccountId), Balance>,
    /// Leases of their audited updates.
    pub leases: BTreeMap<(RoundNumber, AccountId), Lease>,
    paid: BTreeSet<AccountId>,
    counted: BTreeMap<(u32, AccountId), u64>,
}

impl Seen {
    /// How the submissions of an account ended.
    pub fn ended_of(&self, account: &AccountId) -> impl Iterator<Item = (RoundNumber, &Settled)> {
        self.ended
            .iter()
            .filter(move |((_, who), _)| who == account)
            .map(|((round, _), settled)| (*round, settled))
    }

    /// The rounds whose submissions of an account ended like this.
    pub fn ended_as(&self, account: &AccountId, outcome: Outcome) -> u64 {
        self.ended_of(account).filter(|(_, settled)| settled.outcome == outcome).count() as u64
    }

    /// What the account lost of its bond.
    pub fn lost(&self, account: &AccountId) -> Balance {
        self.held.get(account).map_or(0, |(_, lost)| *lost)
    }

    /// The last draw on an update, which decided.
    pub fn last_draw(&self, round: RoundNumber, account: &AccountId) -> Option<&Case<AccountId>> {
        self.cases.get(&(round, *account))?.last()
    }

    /// The round under way.
    pub fn round(&self) -> RoundNumber {
        self.overview.as_ref().map_or(0, |overview| overview.round.number)
    }
}

/// Follows the chain in the background.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the bonds of these accounts too.
    pub fn add(&self, accounts: impl IntoIterator<Item = AccountId>) {
        let mut seen = self.seen();
        for account in accounts {
            seen.held.entry(account).or_default();
        }
    }

    /// Watches what these accounts earn too.
    pub fn add_paid(&self, accounts: impl IntoIterator<Item = AccountId>) {
        self.seen().paid.extend(accounts);
    }

    /// Looks at every block until the connection fails for good.
    pub async fn follow(self, chain: Chain, rpc: Rpc) -> Result<()> {
        let mut blocks = pin!(chain.blocks().await?);
        while let Some(block) = blocks.next().await {
            // A node that is kept busy answers for a later block.
            if let Err(error) = self.look(&chain.at(block.hash), rpc, block.hash).await {
                tracing::warn!("block {}: {error:#}", block.number);
            }
        }
        Ok(())
    }

    async fn look(&self, chain: &Chain, rpc: Rpc, block: pol_primitives::Hash) -> Result<()> {
        let (overview, audits) = (chain.overview().await?, chain.audits().await?);
        let mut ended = Vec::new();
        for round in overview.round.number.saturating_sub(OPEN_ROUNDS)..=overview.round.number {
            ended.extend(
                chain
                    .history(round)
                    .await?
                    .into_iter()
                    .map(|(account, settled)| ((round, account), settled)),
            );
        }
        {
            let mut seen = self.seen();
            seen.overview = Some(overview);
            seen.ended.extend(ended);
            for (id, audit) in audits {
                for (place, holder) in (0..).zip(&audit.holders) {
                    let seats =
                        audit.cases.iter().filter(|case| case.seats.contains(&place)).count()
                            as u64;
                    if seen.counted.insert((id, holder.account), seats).is_none() {
                        *seen.seats.entry(holder.account).or_default() += seats;
                    }
                }
                for case in audit.cases {
                    let draws = seen.cases.entry((audit.round, case.trainer)).or_default();
                    match draws.get_mut(usize::from(audit.draw)) {
                        Some(known) => *known = case,
                        None => draws.push(case),
                    }
                }
            }
        }
        let paid: Vec<AccountId> = self.seen().paid.iter().copied().collect();
        for account in paid {
            let rewards = chain.rewards(&account).await?;
            let known = rewards
                .into_iter()
                .filter_map(|reward| Some(((reward.round, account), reward.amount?)));
            self.seen().pay.extend(known);
            let audited: Vec<RoundNumber> = {
                let seen = self.seen();
                let of_account =
                    seen.cases.keys().filter(|(_, who)| *who == account).map(|(round, _)| *round);
                of_account.filter(|round| !seen.leases.contains_key(&(*round, account))).collect()
            };
            for round in audited {
                if let Some(lease) = chain.audited_lease(round, &account).await? {
                    self.seen().leases.insert((round, account), lease);
                }
            }
        }
        let accounts: Vec<AccountId> = self.seen().held.keys().copied().collect();
        if accounts.is_empty() {
            return Ok(());
        }
        // Fails while connections are flooded; the next block shows the same losses.
        let balances = rpc.held(&accounts, block).await?;
        let mut seen = self.seen();
        for (account, now) in accounts.into_iter().zip(balances) {
            let (held, lost) = seen.held.entry(account).or_default();
            *lost += held.saturating_sub(now);
            *held = now;
        }
        Ok(())
    }
}
