// SPDX-License-Identifier: Apache-2.0

use crate::{
    context::{NodeContext, submit_housekeeping},
    display::format_amount,
    error::Result,
};
use pol_chain::{Call, Signer};
use pol_primitives::{queries::Overview, round::BlockNumber};

/// Blocks between two looks at the waiting rewards.
const CHECK_INTERVAL: BlockNumber = 4;

/// Claims of all rewards of an account: for training, for seats and for data.
pub(super) struct RewardClaimer {
    context: NodeContext,
    signer: Signer,
    /// Block of the next look.
    next_check: BlockNumber,
}

impl RewardClaimer {
    /// Creates a claimer for the account of `signer`.
    pub(super) fn new(context: NodeContext, signer: Signer) -> Self {
        Self { context, signer, next_check: 0 }
    }

    /// Claims the rewards that are due.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached.
    pub(super) async fn claim_due(&mut self, overview: &Overview) -> Result<()> {
        if overview.now < self.next_check {
            return Ok(());
        }
        self.next_check = overview.now.saturating_add(CHECK_INTERVAL);
        let chain = &self.context.chain;
        for reward in chain.pending_rewards(&self.signer.account()).await? {
            let due = reward.from <= overview.round.number;
            let Some(amount) = reward.amount.filter(|_| due) else { continue };
            // Another process of the account may have claimed it already.
            let call = Call::Claim { round: reward.round };
            if submit_housekeeping(chain, &self.signer, call).await? {
                tracing::info!("round {}: claimed {}", reward.round, format_amount(amount));
            }
        }
        Ok(())
    }
}
