// SPDX-License-Identifier: Apache-2.0

//! Facts about the node, and reads that need the names of its metadata.

use crate::{AccountId, Chain, ChainError};
use futures::try_join;
use pol_primitives::Balance;
use serde_json::Value as Json;
use sp_crypto_hashing::blake2_128;
use subxt::{
    ext::scale_value::{Composite, Value, ValueDef, scale::decode_as_type},
    rpcs::{self, client::RpcParams},
};

/// Number of peers that are listed at most.
const MAX_LISTED: usize = 1_000;

/// State of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Version of the program.
    pub version: String,
    /// Identity among its peers.
    pub peer_id: String,
    /// Number of connected peers.
    pub peers: u64,
    /// `true` if it is far behind its peers.
    pub syncing: bool,
}

/// Peer of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPeer {
    /// Identity.
    pub id: String,
    /// Roles, such as `FULL` and `AUTHORITY`.
    pub roles: String,
    /// Height of its best block.
    pub best: u64,
}

/// Amount of an account that is on hold for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Pallet and reason, such as `PolStaking.Bond`.
    pub reason: String,
    /// Amount.
    pub amount: Balance,
}

/// Questions to the node. All of them fail if it cannot answer.
impl Chain {
    /// Returns the hosts of the node and of those that may replace it, without the rest of their
    /// addresses, which may hold keys.
    pub fn hosts(&self) -> Vec<&str> {
        self.node.url.split(", ").map(host).collect()
    }

    /// Returns the state of the node.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub async fn node_status(&self) -> Result<NodeStatus, ChainError> {
        let rpc = &self.node.rpc;
        let (health, peer_id, version) = try_join!(
            self.request(|| rpc.system_health()),
            self.request(|| self.ask("system_localPeerId")),
            self.request(|| rpc.system_version()),
        )?;
        Ok(NodeStatus {
            version,
            peer_id: peer_id.as_str().unwrap_or_default().to_owned(),
            peers: u64::try_from(health.peers).unwrap_or(u64::MAX),
            syncing: health.is_syncing,
        })
    }

    /// Returns the name of the chain.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub async fn chain_name(&self) -> Result<String, ChainError> {
        self.request(|| self.node.rpc.system_chain()).await
    }

    /// Returns the peers of the node, or `None` if it does not tell, as a node refuses it to other
    /// machines.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub async fn listed_peers(&self) -> Result<Option<Vec<ListedPeer>>, ChainError> {
        let ask = || async {
            match self.ask("system_peers").await {
                Err(rpcs::Error::User(_)) => Ok(None),
                answer => answer.map(Some),
            }
        };
        let peers = self.request(ask).await?;
        let list = |peers: Json| {
            let peers = peers.as_array().into_iter().flatten();
            peers.take(MAX_LISTED).map(listed).collect()
        };
        Ok(peers.map(list))
    }

    /// Asks the node without arguments.
    async fn ask(&self, method: &str) -> Result<Json, rpcs::Error> {
        self.node.connection.request(method, RpcParams::new()).await
    }

    /// Returns the version of the runtime.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub async fn spec_version(&self) -> Result<u32, ChainError> {
        Ok(self.client_at_best().await?.spec_version())
    }

    /// Returns the time of the block that is read, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn time(&self) -> Result<u64, ChainError> {
        Ok(self.storage("Timestamp", "Now", &[]).await?.unwrap_or(0))
    }

    /// Returns the parts of an account's balance that are on hold.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn holds(&self, account: &AccountId) -> Result<Vec<Hold>, ChainError> {
        let key = [&blake2_128(account)[..], account].concat();
        let Some(bytes) = self.stored_bytes("Balances", "Holds", &key).await? else {
            return Ok(Vec::new());
        };
        let client = self.client_at_best().await?;
        let metadata = client.metadata_ref();
        let balances = metadata.pallet_by_name("Balances").and_then(|pallet| pallet.storage());
        let mut holds = Vec::new();
        if let Some(item) = balances.and_then(|storage| storage.entry_by_name("Holds")) {
            let decoded = decode_as_type(&mut &bytes[..], item.value_ty(), metadata.types());
            let unexpected = |_| ChainError::UnexpectedAnswer {
                method: "Balances.Holds".to_owned(),
                reason: codec::Error::from("another type than its metadata says"),
            };
            collect(&decoded.map_err(unexpected)?, &mut holds);
        }
        Ok(holds)
    }
}

/// Returns the address of a node for logs and errors: without user, password, path and query, which
/// may hold keys.
pub(crate) fn redacted_address(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://{}", host(url)),
        None => host(url).to_owned(),
    }
}

/// Returns the addresses of nodes for logs and errors, without what may hold keys.
pub fn redacted_addresses(urls: &[String]) -> String {
    let urls: Vec<_> = urls.iter().map(|url| redacted_address(url)).collect();
    urls.join(", ")
}

/// Returns host and port of an address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

fn listed(peer: &Json) -> ListedPeer {
    let text = |name: &str| peer[name].as_str().unwrap_or_default().to_owned();
    ListedPeer {
        id: text("peerId"),
        roles: text("roles"),
        best: peer["bestNumber"].as_u64().unwrap_or(0),
    }
}

/// Collects the pairs of a reason and an amount, however they are nested.
fn collect<T>(value: &Value<T>, holds: &mut Vec<Hold>) {
    let ValueDef::Composite(composite) = &value.value else { return };
    if let Composite::Named(fields) = composite {
        let field = |name: &str| fields.iter().find(|(own, _)| own == name).map(|(_, one)| one);
        if let (Some(id), Some(amount)) = (field("id"), field("amount").and_then(Value::as_u128)) {
            holds.push(Hold { reason: path(id), amount });
            return;
        }
    }
    composite.values().for_each(|value| collect(value, holds));
}

/// Returns the names of nested variants, such as `PolStaking.Bond`.
fn path<T>(value: &Value<T>) -> String {
    let ValueDef::Variant(variant) = &value.value else { return String::new() };
    match variant.values.values().next().map(path).filter(|rest| !rest.is_empty()) {
        Some(rest) => format!("{}.{rest}", variant.name),
        None => variant.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_are_found_by_their_names() {
        let bond = Value::unnamed_variant("Bond", []);
        let reason = Value::unnamed_variant("PolStaking", [bond]);
        let hold = Value::named_composite([("id", reason), ("amount", Value::u128(7))]);
        let nested = Value::unnamed_composite([Value::unnamed_composite([hold])]);
        let mut holds = Vec::new();
        collect(&nested, &mut holds);
        assert_eq!(holds, [Hold { reason: "PolStaking.Bond".into(), amount: 7 }]);
        collect(&Value::u128(7), &mut holds);
        assert_eq!(holds.len(), 1);
    }

    #[test]
    fn hosts_are_named_without_secrets() {
        assert_eq!(host("ws://127.0.0.1:9944"), "127.0.0.1:9944");
        assert_eq!(host("wss://user:secret@node.example.org/key?token=1"), "node.example.org");
        assert_eq!(host("ws://[::1]:9944/"), "[::1]:9944");
        let secret = "wss://user:secret@node.example.org:443/key?token=1#part";
        assert_eq!(redacted_address(secret), "wss://node.example.org:443");
        assert_eq!(redacted_address("user:secret@node.example.org/key"), "node.example.org");
        let both = [secret.to_owned(), "ws://127.0.0.1:9944".to_owned()];
        assert_eq!(redacted_addresses(&both), "wss://node.example.org:443, ws://127.0.0.1:9944");
    }

    #[test]
    fn peers_of_any_form_are_listed() {
        let peer = serde_json::json!({"peerId": "12D3", "roles": "FULL", "bestNumber": 9});
        let expected = ListedPeer { id: "12D3".into(), roles: "FULL".into(), best: 9 };
        assert_eq!(listed(&peer), expected);
        assert_eq!(listed(&serde_json::json!([1])).best, 0);
    }
}
