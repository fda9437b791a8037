// SPDX-License-Identifier: Apache-2.0

//! Connection to a node.

use crate::{
    ChainError, blocks::Link, failover::Failover, node_facts::redacted_addresses, queries::API,
    sent::SentTransactions,
};
use codec::{DecodeAll, Encode};
use futures::TryFutureExt;
use pol_primitives::{Balance, Hash};
use std::{fmt, pin::pin, sync::Arc, time::Duration};
use subxt::{
    OnlineClient, OnlineClientAtBlock, SubstrateConfig,
    backend::{LegacyBackend, utils::retry},
    config::RpcConfigFor,
    error::BackendError,
    rpcs::{self, LegacyRpcMethods, RpcClient},
    utils::H256,
};
use tokio::{sync::Mutex, time};

pub(crate) type Config = SubstrateConfig;

/// Maximum duration of a first connection. A node that was started at the same time is found.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time after which a wait for a node is said.
const SILENCE: Duration = Duration::from_secs(2);
/// Client of a node, or of one of several. Clones share one connection, which is restored whenever
/// it breaks.
#[derive(Clone)]
pub struct Chain {
    pub(crate) node: Arc<Node>,
    /// Block that reads look at; `None` for the best block.
    pub(crate) at: Option<Hash>,
}

pub(crate) struct Node {
    /// Addresses of the node and of those that may replace it.
    pub(crate) url: String,
    pub(crate) rpc: LegacyRpcMethods<RpcConfigFor<Config>>,
    /// Connection of `rpc`, for questions that it does not have.
    pub(crate) connection: RpcClient,
    /// Fetches metadata at each block it is asked about and caches it by runtime version, so that
    /// upgrades are followed.
    pub(crate) client: OnlineClient<Config>,
    /// Held from the choice of a nonce until the node's pool has the transaction, so that the next
    /// nonce differs.
    pub(crate) nonce_lock: Mutex<()>,
    /// Transactions that a fork may take back.
    pub(crate) sent: std::sync::Mutex<SentTransactions>,
    /// State of the connection, as subscriptions find it.
    pub(crate) link: std::sync::Mutex<Link>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("url", &self.node.url)
            .field("at", &self.at.map(hex::encode))
            .finish()
    }
}

impl Chain {
    /// Connects to a node's WebSocket RPC, such as `ws://127.0.0.1:9944`.
    ///
    /// From then on the connection is restored for as long as this client or a clone of it lives;
    /// requests made while it is broken wait.
    ///
    /// # Errors
    ///
    /// Fails with [`ChainError::Unreachable`] if no node answers within 30 seconds, and with
    /// [`ChainError::NotPol`] if its runtime has no `PolApi`.
    pub async fn connect(url: &str) -> Result<Self, ChainError> {
        Self::connect_any(&[url.to_owned()]).await
    }

    /// Connects to the first of these nodes that answers, in their order. When it no longer does,
    /// the next one takes its place: requests are made again there, and transactions are handed to
    /// it again.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::connect`] does, with [`ChainError::Unreachable`] if there is no address,
    /// and with [`ChainError::OtherChain`] if a node that answers has another genesis block.
    pub async fn connect_any(urls: &[String]) -> Result<Self, ChainError> {
        Self::connect_within(urls, CONNECT_TIMEOUT).await
    }

    /// Connects as [`Self::connect_any`] does, and waits no longer than `limit` for a node.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::connect_any`] does.
    pub async fn connect_within(urls: &[String], limit: Duration) -> Result<Self, ChainError> {
        let named = redacted_addresses(urls);
        let unreachable = |reason| ChainError::Unreachable { url: named.clone(), reason };
        let is_address = |url: &String| url.starts_with("ws://") || url.starts_with("wss://");
        if urls.is_empty() || !urls.iter().all(is_address) {
            return Err(unreachable("an address begins with ws:// or wss://".to_owned()));
        }
        let mut opening = pin!(Self::open(urls));
        let patience = limit.min(SILENCE);
        if let Ok(opened) = time::timeout(patience, &mut opening).await {
            return opened;
        }
        let left = limit.saturating_sub(patience);
        if !left.is_zero() {
            let seconds = left.as_secs();
            tracing::info!("no node answers at {named} yet; waiting {seconds} s more");
        }
        // Another program at the address may accept a connection and then say nothing.
        let reason = || format!("no node answered within {} seconds", limit.as_secs());
        time::timeout(left, opening).await.map_err(|_| unreachable(reason()))?
    }

    async fn open(urls: &[String]) -> Result<Self, ChainError> {
        let connection = RpcClient::new(Failover::open(urls.to_vec()).await?);
        let backend = LegacyBackend::builder().build(connection.clone());
        let client = OnlineClient::from_backend_with_config(Config::new(), Arc::new(backend))
            .await
            .map_err(ChainError::node)?;
        let node = Node {
            url: redacted_addresses(urls),
            rpc: LegacyRpcMethods::new(connection.clone()),
            connection,
            client,
            nonce_lock: Mutex::default(),
            sent: std::sync::Mutex::default(),
            link: std::sync::Mutex::default(),
        };
        let chain = Self { node: Arc::new(node), at: None };
        if chain.client_at_best().await?.metadata_ref().runtime_api_trait_by_name(API).is_none() {
            return Err(ChainError::NotPol { url: chain.node.url.clone() });
        }
        Ok(chain)
    }

    /// Returns a client that reads at `block` instead of the best block, so that several reads
    /// agree with each other. A call that it submits is valid only on forks with that block.
    pub fn at(&self, block: Hash) -> Self {
        Self { node: self.node.clone(), at: Some(block) }
    }

    /// Returns the hash of the genesis block.
    pub fn genesis_hash(&self) -> Hash {
        self.node.client.genesis_hash().0
    }

    /// Returns the hash of the block after genesis, or `None` while the node has none.
    ///
    /// It distinguishes chains with the same genesis, such as a development chain that is started
    /// anew.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub async fn first_block_hash(&self) -> Result<Option<Hash>, ChainError> {
        let hash = self.request(|| self.node.rpc.chain_get_block_hash(Some(1u32.into()))).await?;
        Ok(hash.map(|hash| hash.0))
    }

    /// Returns the expected time between two blocks, a constant of the runtime.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer, or if its metadata lacks the constant
    /// `Babe.ExpectedBlockTime`.
    pub async fn block_time(&self) -> Result<Duration, ChainError> {
        let address = subxt::dynamic::constant::<u64>("Babe", "ExpectedBlockTime");
        let client = self.client_at_best().await?;
        let milliseconds = client.constants().entry(address).map_err(ChainError::node)?;
        Ok(Duration::from_millis(milliseconds))
    }

    /// Returns the part of a trainer's bond that states cost which it does not show to an audit.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer, or if its metadata lacks the constant.
    pub async fn withheld_penalty(&self) -> Result<Balance, ChainError> {
        let address = subxt::dynamic::constant::<Balance>("ProofOfLearning", "WithheldPenalty");
        let client = self.client_at_best().await?;
        client.constants().entry(address).map_err(ChainError::node)
    }

    /// Calls a function of the runtime. An answer with missing or excess bytes is an error.
    pub(crate) async fn call_runtime<T: DecodeAll>(
        &self,
        method: &str,
        arguments: impl Encode,
    ) -> Result<T, ChainError> {
        let arguments = arguments.encode();
        let at = self.at.map(H256);
        let bytes = self.request(|| self.node.rpc.state_call(method, Some(&arguments), at)).await?;
        T::decode_all(&mut &bytes[..])
            .map_err(|reason| ChainError::UnexpectedAnswer { method: method.to_owned(), reason })
    }

    pub(crate) async fn client_at_best(&self) -> Result<OnlineClientAtBlock<Config>, ChainError> {
        let best = self.best_block().await?;
        self.node.client.at_block(H256(best.hash)).await.map_err(ChainError::node)
    }

    /// Sends a request to the node, again whenever the connection is lost before the answer.
    pub(crate) async fn request<T, F>(&self, request: impl Fn() -> F) -> Result<T, ChainError>
    where
        F: Future<Output = Result<T, rpcs::Error>>,
    {
        retry(|| request().err_into::<BackendError>()).await.map_err(ChainError::node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Signer};

    #[tokio::test]
    async fn other_addresses_are_refused_at_once() {
        for url in ["", "http://127.0.0.1:9944", "127.0.0.1:9944"] {
            let error = Chain::connect(url).await.unwrap_err();
            assert!(
                matches!(&error, ChainError::Unreachable { url: named, .. } if named == url),
                "{error}"
            );
        }
    }

    #[test]
    fn calls_can_be_made_from_any_thread() {
        fn sendable<T: Send>(_: T) {}
        fn submits(chain: &Chain, signer: &Signer) {
            sendable(chain.submit(signer, Call::Unbond));
            sendable(chain.blocks());
            sendable(chain.members());
        }
        let _: fn(&Chain, &Signer) = submits;
    }
}
