// SPDX-License-Identifier: Apache-2.0

//! Rewards of a provider, by round and manifest.
//!
//! The chain pays an account for the effect of all its shards in a round, and forgets the payment
//! once it is claimed. So the shares of manifests are noted before.

use anyhow::{Context, Result};
use pol_chain::{AccountId, Chain, ChainError};
use pol_primitives::{Balance, RoundNumber, data::ManifestId, rewards::Pot};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

/// File of the book, in the folder of an acquisition.
pub(super) const EARNINGS_FILE: &str = "rewards.json";

/// Rewards of an account on a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EarningsBook {
    /// First block of the chain, in hexadecimal.
    pub(super) chain: String,
    /// Amounts in the smallest unit, as decimal numbers.
    rounds: BTreeMap<RoundNumber, BTreeMap<ManifestId, String>>,
}

impl EarningsBook {
    /// Reads the book of `chain` in a folder. One of another chain is left aside.
    pub(super) fn read(folder: &Path, chain: &str) -> Result<Self> {
        let path = folder.join(EARNINGS_FILE);
        let context = || format!("cannot read {}", path.display());
        let empty = Self { chain: chain.to_owned(), ..Self::default() };
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(empty),
            Err(error) => Err(error).with_context(context),
            Ok(json) => {
                let book: Self = serde_json::from_slice(&json).with_context(|| {
                    format!(
                        "{} is damaged; restore it from a copy, or move it away, which forgets how \
                         the rewards that were claimed are split",
                        path.display()
                    )
                })?;
                Ok(if book.chain == chain { book } else { empty })
            }
        }
    }

    /// Replaces the book in a folder.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(EARNINGS_FILE);
        let json = serde_json::to_vec(self)?;
        pol_engine::replace_file(&path, |file| file.write_all(&json))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Notes the rewards of a round. Returns `true` if that changes the book.
    pub(super) fn note(
        &mut self,
        round: RoundNumber,
        rewards: &BTreeMap<ManifestId, Balance>,
    ) -> bool {
        if rewards.is_empty() {
            return false;
        }
        let rewards = rewards.iter().map(|(id, amount)| (*id, amount.to_string())).collect();
        self.rounds.insert(round, rewards).as_ref() != self.rounds.get(&round)
    }

    /// Returns the sum of the rewards of a manifest.
    pub(super) fn of(&self, manifest: ManifestId) -> Balance {
        let amounts = self.rounds.values().filter_map(|rewards| rewards.get(&manifest));
        amounts.fold(0, |sum: Balance, amount| sum.saturating_add(amount.parse().unwrap_or(0)))
    }
}

/// Returns the unclaimed rewards of an account for the data of a round, by manifest, or `None`
/// while they are not settled or if there are none. `manifests` are those of the account.
pub(super) async fn rewards_of(
    chain: &Chain,
    account: &AccountId,
    round: RoundNumber,
    manifests: impl Iterator<Item = ManifestId>,
) -> Result<Option<BTreeMap<ManifestId, Balance>>, ChainError> {
    let Some(earned) = chain.data_earnings(account, round).await? else { return Ok(None) };
    let Some(amount) = earned.amount else { return Ok(None) };
    let mut effects = BTreeMap::new();
    for manifest in manifests {
        let records = chain.shard_records(manifest, Some(round)).await?;
        let deltas = records.iter().filter_map(|(_, record)| u64::try_from(record.delta).ok());
        effects.insert(manifest, deltas.fold(0, u64::saturating_add));
    }
    Ok(Some(split(amount, earned.effect, &effects)))
}

/// Splits the reward for a total `effect` by the effects of manifests. A part may be for others.
fn split(
    amount: Balance,
    effect: u64,
    effects: &BTreeMap<ManifestId, u64>,
) -> BTreeMap<ManifestId, Balance> {
    let known = effects.values().fold(0u64, |sum, effect| sum.saturating_add(*effect));
    let pot = Pot { left: amount, weight: effect.max(known).into() };
    let shares = effects.iter().map(|(id, effect)| (*id, pot.share((*effect).into())));
    shares.filter(|(_, share)| *share > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_split_by_effect() {
        let effects = [(3, 30), (4, 0), (5, 10)].into();
        assert_eq!(split(1_000, 40, &effects), [(3, 750), (5, 250)].into());
        assert_eq!(split(1_000, 80, &effects), [(3, 375), (5, 125)].into(), "half is of others");
        assert_eq!(split(1_000, 20, &effects), [(3, 750), (5, 250)].into());
        assert!(split(1_000, 0, &BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_round_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = EarningsBook::read(folder.path(), "aa").unwrap();
        assert!(book.note(7, &[(3, 750)].into()) && !book.note(7, &[(3, 750)].into()));
        assert!(book.note(7, &[(3, 760)].into()) && !book.note(8, &BTreeMap::new()));
        assert!(book.note(9, &[(3, Balance::from(u64::MAX)), (4, 1)].into()));
        book.write(folder.path()).unwrap();
        let read = EarningsBook::read(folder.path(), "aa").unwrap();
        assert_eq!(read, book);
        assert_eq!((read.of(3), read.of(4)), (760 + Balance::from(u64::MAX), 1));
        assert_eq!(EarningsBook::read(folder.path(), "bb").unwrap().of(3), 0);
    }
}
