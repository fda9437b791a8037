//! What a role earned, claimed as soon as it can be.

use crate::{
    context::{NodeContext, submit_housekeeping},
    display::format_amount,
    error::Result,
};
use pol_chain::{AccountId, Call, Signer};
use pol_primitives::{round::BlockNumber, view::Overview};

/// Blocks between two looks at what waits.
const LOOK: BlockNumber = 4;

/// Claims whatever its account earned: by training, in seats, or with data.
pub struct Rewards {
    peer: NodeContext,
    signer: Signer,
    /// Block of the next look.
    next: BlockNumber,
}

impl Rewards {
    /// Claims for the account of `signer`.
    pub fn new(peer: NodeContext, signer: Signer) -> Self {
        Self { peer, signer, next: 0 }
    }

    /// Claims what is due.
    pub async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        if overview.now < self.next {
            return Ok(());
        }
        self.next = overview.now.saturating_add(LOOK);
        for reward in self.peer.chain.rewards(&self.signer.account()).await? {
            let due = reward.from <= overview.round.number;
            let Some(sum) = reward.amount.filter(|_| due) else { continue };
            // Another process of the account may have been faster.
            if submit_housekeeping(
                &self.peer.chain,
                &self.signer,
                Call::Claim { round: reward.round },
            )
            .await?
            {
                tracing::info!("round {}: claimed {}", reward.round, format_amount(sum));
            }
        }
        Ok(())
    }
}
