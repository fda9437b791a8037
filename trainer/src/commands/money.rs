//! Where the money of learning went, for people and for programs.

use crate::peer::amount;
use anyhow::Result;
use pol_chain::Chain;
use pol_primitives::{Balance, rewards::Books};
use serde::Serialize;
use std::fmt;

/// The chain's books, in the token's smallest unit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Money {
    #[serde(serialize_with = "text")]
    emitted: Balance,
    #[serde(serialize_with = "text")]
    seized: Balance,
    #[serde(serialize_with = "text")]
    paid: Balance,
    #[serde(serialize_with = "text")]
    burned: Balance,
    #[serde(serialize_with = "text")]
    waiting: Balance,
}

/// As text: such amounts are beyond the integers that many JSON readers hold exactly.
fn text<S: serde::Serializer>(amount: &Balance, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

impl Money {
    /// The books at the best block.
    pub async fn of(chain: &Chain) -> Result<Self> {
        let Books { emitted, seized, paid, burned, waiting } = chain.books().await?;
        Ok(Self { emitted, seized, paid, burned, waiting })
    }

    /// Whether what came in is what was paid, was burned and still waits.
    pub fn balanced(&self) -> bool {
        let inflow = self.emitted.checked_add(self.seized);
        let outflow =
            self.paid.checked_add(self.burned).and_then(|sum| sum.checked_add(self.waiting));
        inflow.is_some() && inflow == outflow
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [emitted, seized, paid, burned, waiting] =
            [self.emitted, self.seized, self.paid, self.burned, self.waiting].map(amount);
        write!(
            f,
            "rewards: {emitted} emitted + {seized} seized = {paid} paid + {burned} burned + {waiting} waiting"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_balance_or_not() {
        let money = Money { emitted: 7, seized: 3, paid: 4, burned: 1, waiting: 5 };
        assert!(money.balanced());
        assert!(!Money { waiting: 6, ..money }.balanced());
        assert!(!Money { emitted: Balance::MAX, waiting: Balance::MAX, ..money }.balanced());
        assert_eq!(
            serde_json::to_string(&Money { paid: Balance::MAX, ..money })
                .unwrap()
                .matches('"')
                .count(),
            20
        );
    }
}
