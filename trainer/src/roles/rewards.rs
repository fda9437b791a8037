// SPDX-License-Identifier: Apache-2.0

use crate::{
    context::{NodeContext, submit_housekeeping},
    control::WorkEvent,
    display::format_amount,
    error::Result,
};
use pol_chain::{Call, Signer};
use pol_primitives::{RoundNumber, queries::Overview, round::BlockNumber};

/// Blocks between two looks at the waiting rewards.
const CHECK_INTERVAL: BlockNumber = 4;

/// Claims of all rewards of an account: for training, for seats and for data.
pub(crate) struct RewardClaimer {
    context: NodeContext,
    signer: Signer,
    /// Block of the next look.
    next_check: BlockNumber,
    /// Round whose reward was claimed last.
    last: RoundNumber,
}

impl RewardClaimer {
    /// Creates a claimer for the account of `signer`.
    pub(crate) fn new(context: NodeContext, signer: Signer) -> Self {
        Self { context, signer, next_check: 0, last: 0 }
    }

    /// Claims one of the rewards that are due, and the others at the next blocks: a claim waits for
    /// its block, and the role of the caller must not miss many.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached.
    pub(crate) async fn claim_due(&mut self, overview: &Overview) -> Result<()> {
        if overview.now < self.next_check {
            return Ok(());
        }
        let chain = &self.context.chain;
        let rewards = chain.pending_rewards(&self.signer.account()).await?;
        let mut due: Vec<_> = rewards
            .into_iter()
            .filter(|reward| reward.from <= overview.round.number)
            .filter_map(|reward| Some((reward.round, reward.amount?)))
            .collect();
        due.sort_unstable();
        let wait = if due.len() > 1 { 1 } else { CHECK_INTERVAL };
        self.next_check = overview.now.saturating_add(wait);
        // In turn, so that a claim that the chain refuses does not hold up the others.
        let next = due.iter().find(|(round, _)| *round > self.last).or(due.first());
        let Some(&(round, amount)) = next else { return Ok(()) };
        self.last = round;
        // Another process of the account may have claimed it already.
        if submit_housekeeping(chain, &self.signer, Call::Claim { round }).await? {
            pol_metrics::account().claims_total.inc();
            let amount = format_amount(amount);
            tracing::info!("round {round}: claimed {amount}");
            self.context.control.send(WorkEvent::Reward { round, amount });
        }
        Ok(())
    }
}
