// SPDX-License-Identifier: Apache-2.0

//! Accounts in requests, and the methods of the SDK that take one.
//!
//! The time to decode an address grows with the square of its length. A request may have megabytes,
//! which would take hours, so the length is checked before.

use jsonrpsee::{
    core::{RpcResult, async_trait},
    proc_macros::rpc,
};
use pol_runtime::{AccountId, Hash, Nonce};
use polkadot_sdk::{sp_core::crypto::Ss58Codec, substrate_frame_rpc_system::SystemApiServer};
use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// Longest address in characters: more than SS58 needs for 32 bytes.
const MAX_CHARACTERS: usize = 64;

/// Account that a request names by its SS58 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) AccountId);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Address;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an SS58 address of at most {MAX_CHARACTERS} characters")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Address, E> {
                if text.len() > MAX_CHARACTERS {
                    return Err(E::invalid_length(text.len(), &self));
                }
                AccountId::from_ss58check(text)
                    .map(Address)
                    .map_err(|error| E::custom(format!("no SS58 address: {error}")))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Methods of the SDK that take an account.
#[rpc(server)]
pub(super) trait Nonces {
    /// Returns the number that the account's next transaction has.
    #[method(name = "system_accountNextIndex", aliases = ["account_nextIndex"])]
    async fn next_index(&self, account: Address) -> RpcResult<Nonce>;
}

/// Names of those methods, which these take the place of.
pub(super) const REPLACED: [&str; 2] = ["system_accountNextIndex", "account_nextIndex"];

/// The SDK's methods behind checked accounts.
pub(super) struct Checked<S>(pub(super) S);

#[async_trait]
impl<S> NoncesServer for Checked<S>
where
    S: SystemApiServer<Hash, AccountId, Nonce>,
{
    async fn next_index(&self, Address(account): Address) -> RpcResult<Nonce> {
        self.0.nonce(account).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_long_ones_refused_unread() {
        let account = AccountId::new([7; 32]);
        let json = serde_json::to_string(&account.to_ss58check()).unwrap();
        assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), Address(account));
        let error = |json: &str| serde_json::from_str::<Address>(json).unwrap_err().to_string();
        assert!(error("\"5Grw\"").contains("no SS58 address"));
        assert!(error("7").contains("an SS58 address of at most 64 characters"));
        let long = format!("\"{}\"", "x".repeat(14_000_000));
        assert!(error(&long).contains("invalid length 14000000"));
    }
}
