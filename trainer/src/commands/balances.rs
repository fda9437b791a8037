// SPDX-License-Identifier: Apache-2.0

//! Totals of the rewards, for people and for programs.

use crate::display::format_amount;
use anyhow::Result;
use pol_chain::Chain;
use pol_primitives::{Balance, rewards::Ledger};
use serde::{Serialize, Serializer};
use std::fmt;

/// The chain's ledger of rewards, in the token's smallest unit.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RewardTotals {
    #[serde(serialize_with = "as_text")]
    emitted: Balance,
    #[serde(serialize_with = "as_text")]
    seized: Balance,
    #[serde(serialize_with = "as_text")]
    paid: Balance,
    #[serde(serialize_with = "as_text")]
    burned: Balance,
    #[serde(serialize_with = "as_text")]
    waiting: Balance,
}

/// Serialises an amount as text: many JSON readers do not hold such integers exactly.
pub(crate) fn as_text<S: Serializer>(amount: &Balance, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

impl RewardTotals {
    /// Reads the totals at the best block.
    pub(crate) async fn read(chain: &Chain) -> Result<Self> {
        Ok(chain.ledger().await?.into())
    }

    /// Returns `true` if all that was emitted or seized was paid, was burned, or still waits.
    pub(crate) fn balanced(&self) -> bool {
        let inflow = self.emitted.checked_add(self.seized);
        let outflow =
            self.paid.checked_add(self.burned).and_then(|sum| sum.checked_add(self.waiting));
        inflow.is_some() && inflow == outflow
    }
}

impl From<Ledger> for RewardTotals {
    fn from(ledger: Ledger) -> Self {
        let Ledger { emitted, seized, paid, burned, waiting } = ledger;
        Self { emitted, seized, paid, burned, waiting }
    }
}

impl fmt::Display for RewardTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [emitted, seized, paid, burned, waiting] =
            [self.emitted, self.seized, self.paid, self.burned, self.waiting].map(format_amount);
        write!(
            f,
            "rewards: {emitted} emitted + {seized} seized = {paid} paid + {burned} burned + \
             {waiting} waiting"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_balance_or_not() {
        let totals = RewardTotals { emitted: 7, seized: 3, paid: 4, burned: 1, waiting: 5 };
        assert!(totals.balanced());
        assert!(!RewardTotals { waiting: 6, ..totals }.balanced());
        let overflow = RewardTotals { emitted: Balance::MAX, waiting: Balance::MAX, ..totals };
        assert!(!overflow.balanced());
        let json = serde_json::to_string(&RewardTotals { paid: Balance::MAX, ..totals }).unwrap();
        assert_eq!(json.matches('"').count(), 20, "amounts are text");
    }
}
