// SPDX-License-Identifier: Apache-2.0

//! Proxies: keys that make calls for another account.

use crate::{AccountId, Chain, ChainError, Permission, Signer};
use codec::Decode;
use pol_primitives::round::BlockNumber;
use sp_crypto_hashing::twox_64;

/// Account that makes calls for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode)]
pub struct Proxy {
    /// Account of the proxy.
    pub delegate: AccountId,
    /// Calls that it may make.
    pub permission: Permission,
    /// Blocks between the announcement of a call and the call, 0 for none.
    pub delay: BlockNumber,
}

impl Chain {
    /// Returns the proxies of an account.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn proxies(&self, account: &AccountId) -> Result<Vec<Proxy>, ChainError> {
        let key = [&twox_64(account)[..], account].concat();
        // The deposit, which is not read, follows.
        Ok(self.storage("Proxy", "Proxies", &key).await?.unwrap_or_default())
    }

    /// Checks that the signer's key may act for its account. A key always may for its own.
    ///
    /// # Errors
    ///
    /// Fails with [`ChainError::NotProxy`] if it may not, and as every read does.
    pub async fn check_proxy(&self, signer: &Signer) -> Result<(), ChainError> {
        let (account, key) = (signer.account(), signer.key_account());
        let acts = |proxy: &Proxy| proxy.delegate == key && proxy.delay == 0;
        if key == account || self.proxies(&account).await?.iter().any(acts) {
            Ok(())
        } else {
            Err(ChainError::NotProxy { key, account })
        }
    }
}
