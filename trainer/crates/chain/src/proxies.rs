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
        let acts = |proxy: &Proxy| proxy.acts(&key);
        if key == account || self.proxies(&account).await?.iter().any(acts) {
            Ok(())
        } else {
            Err(ChainError::NotProxy { key, account })
        }
    }

    /// Returns `true` if the signer's key may make all calls for its account, also those that
    /// change the bond: it is the account's own, or a proxy with [`Permission::Any`].
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn may_make_all_calls(&self, signer: &Signer) -> Result<bool, ChainError> {
        let (account, key) = (signer.account(), signer.key_account());
        let may = |proxy: &Proxy| proxy.may_make_all_calls(&key);
        Ok(key == account || self.proxies(&account).await?.iter().any(may))
    }
}

impl Proxy {
    /// Returns `true` if `key` is the proxy's and makes its calls at once.
    fn acts(&self, key: &AccountId) -> bool {
        self.delegate == *key && self.delay == 0
    }

    fn may_make_all_calls(&self, key: &AccountId) -> bool {
        self.acts(key) && self.permission == Permission::Any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_may_make_any_call_at_once_may_make_all() {
        let may = |permission, delay| {
            Proxy { delegate: [1; 32], permission, delay }.may_make_all_calls(&[1; 32])
        };
        assert!(may(Permission::Any, 0));
        assert!(!may(Permission::Learning, 0) && !may(Permission::Any, 1));
        let other = Proxy { delegate: [2; 32], permission: Permission::Any, delay: 0 };
        assert!(!other.may_make_all_calls(&[1; 32]));
    }
}
