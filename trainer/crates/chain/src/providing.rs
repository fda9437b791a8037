// SPDX-License-Identifier: Apache-2.0

//! Reads for providers of data: the pool, deposits, and earnings.

use crate::{AccountId, Call, Chain, ChainError};
use codec::{Compact, Decode, Encode, Output};
use pol_primitives::{
    Balance, RoundNumber,
    data::{ManifestId, SourceId, SourceKind},
    recipe::Recipe,
    rewards::{RoundEarnings, RoundPool},
};
use sp_crypto_hashing::{blake2_128, twox_64};

/// Pallet of sources and manifests.
const LINEAGE: &str = "Lineage";
/// Pallet of emission and rewards.
const REWARDS: &str = "Rewards";

/// Bytes of a transaction beside its call: signature, account, and extensions.
const SIGNATURE_BYTES: u32 = 110;

/// Manifest in the pool.
#[derive(Clone, Debug, PartialEq, Eq, Decode)]
pub struct PooledManifest {
    /// Number of the manifest.
    pub manifest: ManifestId,
    /// Account that provides it.
    pub provider: AccountId,
    /// Shards that can be leased.
    pub free: u32,
}

/// Deposits that the runtime takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DepositRates {
    /// For a source, and for a manifest without its shards.
    pub manifest: Balance,
    /// For each shard of a manifest.
    pub shard: Balance,
}

impl DepositRates {
    /// Returns the deposit of a manifest with so many shards.
    #[must_use]
    pub fn of_manifest(&self, shards: u32) -> Balance {
        self.manifest.saturating_add(self.shard.saturating_mul(shards.into()))
    }
}

/// Earnings of an account by the data that it provided to a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataEarnings {
    /// Measured effect of its shards, in billionths of a nat per token.
    pub effect: u64,
    /// Amount, once every update of the round is settled.
    pub amount: Option<Balance>,
}

/// Reads for providers. All of them fail as the other reads do.
impl Chain {
    /// Returns the manifests of a kind that are in the pool.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn pool(&self, kind: SourceKind) -> Result<Vec<PooledManifest>, ChainError> {
        let key = hashed(&kind);
        Ok(self.storage(LINEAGE, "Pool", &key).await?.unwrap_or_default())
    }

    /// Returns the recipe that new data are to fit: the one that waits for the next round, or the
    /// one in force.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn recipe_for_data(&self) -> Result<Option<Recipe>, ChainError> {
        match self.storage("ProofOfLearning", "PendingRecipe", &[]).await? {
            Some(pending) => Ok(Some(pending)),
            None => self.recipe().await,
        }
    }

    /// Returns the deposits that registrations take.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer, or if its metadata lacks these constants.
    pub async fn deposit_rates(&self) -> Result<DepositRates, ChainError> {
        let client = self.client_at_best().await?;
        let rate = |name: &str| {
            let address = subxt::dynamic::constant::<Balance>(LINEAGE, name);
            client.constants().entry(address).map_err(ChainError::node)
        };
        Ok(DepositRates { manifest: rate("ManifestDeposit")?, shard: rate("ShardDeposit")? })
    }

    /// Returns the amount that is on hold for a manifest: none once it was released or burned.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn manifest_deposit(&self, manifest: ManifestId) -> Result<Balance, ChainError> {
        let key = hashed(&manifest);
        Ok(self.storage(LINEAGE, "ManifestDeposits", &key).await?.unwrap_or(0))
    }

    /// Returns the amount that is on hold for a source: none once it was withdrawn.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn source_deposit(&self, source: SourceId) -> Result<Balance, ChainError> {
        Ok(self.storage(LINEAGE, "SourceDeposits", &hashed(&source)).await?.unwrap_or(0))
    }

    /// Returns the fee of a call without a tip, as its weight is estimated.
    ///
    /// # Errors
    ///
    /// Fails as every read does, and if the runtime has no such call.
    pub async fn fee(&self, call: &Call) -> Result<Balance, ChainError> {
        let encoded = call.encode_at(&self.client_at_best().await?)?;
        let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        let length = length.saturating_add(SIGNATURE_BYTES);
        // The weight in two parts and the class of the call come first.
        let (_, _, _, fee): (Compact<u64>, Compact<u64>, u8, Balance) = self
            .call_runtime("TransactionPaymentCallApi_query_call_info", (Encoded(encoded), length))
            .await?;
        Ok(fee)
    }

    /// Returns what the account earned by its data in a round and has not claimed.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn data_earnings(
        &self,
        account: &AccountId,
        round: RoundNumber,
    ) -> Result<Option<DataEarnings>, ChainError> {
        let earned = self.earned(account, round).await?;
        let pool = self.round_pool(round).await?;
        let Some((earned, pool)) = earned.zip(pool).filter(|(earned, _)| earned.effect > 0) else {
            return Ok(None);
        };
        let effect = earned.effect;
        let amount = (pool.unsettled == 0).then(|| pool.providers.share(effect.into()));
        Ok(Some(DataEarnings { effect, amount }))
    }

    /// Returns what the account earned in a round and has not claimed.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn earned(
        &self,
        account: &AccountId,
        round: RoundNumber,
    ) -> Result<Option<RoundEarnings>, ChainError> {
        // Keys of rounds descend.
        let key = [&blake2_128(account)[..], account, &(!round).to_be_bytes()].concat();
        self.storage(REWARDS, "Earnings", &key).await
    }

    /// Returns the unclaimed emission of a round, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn round_pool(&self, round: RoundNumber) -> Result<Option<RoundPool>, ChainError> {
        self.storage(REWARDS, "Pools", &hashed(&round)).await
    }
}

/// Bytes that are encoded already.
struct Encoded(Vec<u8>);

impl Encode for Encoded {
    fn encode_to<T: Output + ?Sized>(&self, to: &mut T) {
        to.write(&self.0);
    }
}

/// Returns the key of an entry of a map with the hasher `Twox64Concat`.
pub(crate) fn hashed(key: &impl Encode) -> Vec<u8> {
    let key = key.encode();
    [&twox_64(&key)[..], &key].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_maps_have_their_key_behind_its_hash() {
        let key = hashed(&7u32);
        assert_eq!((key.len(), &key[8..]), (12, &[7, 0, 0, 0][..]));
        assert_eq!(hashed(&SourceKind::Web)[8..], [2]);
    }

    #[test]
    fn the_deposit_of_a_manifest_grows_with_its_shards() {
        let rates = DepositRates { manifest: 100, shard: 2 };
        assert_eq!((rates.of_manifest(0), rates.of_manifest(7)), (100, 114));
        assert_eq!(DepositRates { shard: Balance::MAX, ..rates }.of_manifest(2), Balance::MAX);
    }
}
