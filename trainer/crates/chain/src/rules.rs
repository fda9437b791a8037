// SPDX-License-Identifier: Apache-2.0

//! Constants of the runtime that members may state of their network.

use crate::{Chain, ChainError};
use pol_primitives::{Balance, Ppm, member::Role};
use std::time::Duration;

/// Rules of a chain, as its runtime publishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Expected time between two blocks.
    pub block_time: Duration,
    /// Least share of the stake that attests a model, in percent.
    pub quorum_percent: u32,
    /// Least bond of a trainer.
    pub trainer_bond: Balance,
    /// Least bond of a validator.
    pub validator_bond: Balance,
    /// Least bond of an authority.
    pub authority_bond: Balance,
    /// Weight in rewards of training on curated text, in millionths.
    pub dataset_bonus: Ppm,
}

impl Rules {
    /// Returns the least bond of a role.
    #[must_use]
    pub fn minimum_bond(&self, role: Role) -> Balance {
        match role {
            Role::Trainer => self.trainer_bond,
            Role::Validator => self.validator_bond,
            Role::Authority => self.authority_bond,
        }
    }
}

impl Chain {
    /// Returns the rules of the chain.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer, or if its metadata lacks one of these constants.
    pub async fn rules(&self) -> Result<Rules, ChainError> {
        let block_time = self.block_time().await?;
        let client = self.client_at_best().await?;
        let amount = |pallet: &str, name: &str| {
            let address = subxt::dynamic::constant::<Balance>(pallet, name);
            client.constants().entry(address).map_err(ChainError::node)
        };
        let share = |pallet: &str, name: &str| {
            let address = subxt::dynamic::constant::<u32>(pallet, name);
            client.constants().entry(address).map_err(ChainError::node)
        };
        Ok(Rules {
            block_time,
            quorum_percent: share("ProofOfLearning", "QuorumPercent")?,
            trainer_bond: amount("PolStaking", "TrainerBond")?,
            validator_bond: amount("PolStaking", "ValidatorBond")?,
            authority_bond: amount("PolStaking", "AuthorityBond")?,
            dataset_bonus: share("Lineage", "DatasetBonus")?,
        })
    }
}
