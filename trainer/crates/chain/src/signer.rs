// SPDX-License-Identifier: Apache-2.0

//! Signing keys of accounts.

use crate::{AccountId, Call, client::Config, format_account};
use pol_keystore::{InvalidSecret, SecretKey};
use std::fmt;
use subxt::{
    tx,
    utils::{AccountId32, MultiSignature},
};

/// Errors of loading a key. No message repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not a secret.
    #[error(transparent)]
    InvalidSecret(#[from] InvalidSecret),
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set: put the account's secret phrase in it")]
    MissingVariable(String),
}

/// Account that calls are made for, and the key that signs them.
///
/// The key is that of the account, or of a proxy of the account. A proxy pays the fees of its
/// calls. Its `Debug` shows the accounts only.
#[derive(Clone)]
pub struct Signer {
    key: SecretKey,
    /// Account that the key is a proxy of.
    principal: Option<AccountId>,
}

impl Signer {
    /// Creates a signer for the account of a key.
    pub fn new(key: SecretKey) -> Self {
        Self { key, principal: None }
    }

    /// Creates a signer from a secret phrase, from `0x` and a seed in hexadecimal, or from a
    /// development path like `//Alice`. Each may be followed by derivation junctions
    /// (`//hard/soft`) and `///password`.
    ///
    /// # Errors
    ///
    /// Fails if `uri` is none of these.
    pub fn from_uri(uri: &str) -> Result<Self, KeyError> {
        Ok(Self::new(SecretKey::from_uri(uri)?))
    }

    /// Creates a signer from the environment variable `variable`, read as by
    /// [`Signer::from_uri`].
    ///
    /// # Errors
    ///
    /// Fails if the variable is not set or is not a secret.
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        let uri =
            std::env::var(variable).map_err(|_| KeyError::MissingVariable(variable.to_owned()))?;
        Self::from_uri(&uri)
    }

    /// Returns a signer that makes its calls for `principal`, as its proxy.
    pub fn acting_for(self, principal: AccountId) -> Self {
        let principal = Some(principal).filter(|principal| *principal != self.key.account());
        Self { principal, ..self }
    }

    /// Returns the account that calls are made for.
    pub fn account(&self) -> AccountId {
        self.principal.unwrap_or_else(|| self.key_account())
    }

    /// Returns the account of the key, which pays fees.
    pub fn key_account(&self) -> AccountId {
        self.key.account()
    }

    /// Returns the signature of the key's account under a message that is no call, such as a digest
    /// with a domain of its own.
    pub fn sign_message(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message)
    }

    /// Returns the SS58 address of the account that calls are made for.
    pub fn ss58(&self) -> String {
        format_account(&self.account())
    }

    /// Returns the call that the key signs, so that `call` is made for the account.
    pub(crate) fn wrap(&self, call: Call) -> Call {
        match self.principal {
            Some(principal) => Call::AsProxy { principal, call: Box::new(call) },
            None => call,
        }
    }
}

impl tx::Signer<Config> for Signer {
    fn account_id(&self) -> AccountId32 {
        AccountId32(self.key_account())
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        MultiSignature::Sr25519(self.key.sign(payload))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let principal = self.principal.map(|account| format_account(&account));
        f.debug_tuple("Signer")
            .field(&format_account(&self.key_account()))
            .field(&principal)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let error = Signer::from_env("POL_TEST_NO_SUCH_KEY").unwrap_err();
        assert!(error.to_string().contains("POL_TEST_NO_SUCH_KEY"));
    }

    #[test]
    fn debug_keeps_secrets() {
        let seed = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
        let signer = Signer::from_uri(&format!("0x{seed}")).unwrap();
        assert_eq!(format!("{signer:?}"), format!("Signer({:?}, None)", signer.ss58()));
    }

    #[test]
    fn a_proxy_wraps_its_calls_and_an_account_does_not() {
        let [alice, bob] = ["//Alice", "//Bob"].map(|uri| Signer::from_uri(uri).unwrap());
        let call = Call::Claim { round: 3 };
        assert_eq!(alice.wrap(call.clone()), call);
        let proxy = bob.clone().acting_for(alice.account());
        assert_eq!((proxy.account(), proxy.key_account()), (alice.account(), bob.account()));
        let wrapped = Call::AsProxy { principal: alice.account(), call: Box::new(call.clone()) };
        assert_eq!(proxy.wrap(call.clone()), wrapped);
        assert_eq!(alice.clone().acting_for(alice.account()).wrap(call.clone()), call);
    }
}
