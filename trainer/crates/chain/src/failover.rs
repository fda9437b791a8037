// SPDX-License-Identifier: Apache-2.0

//! Requests to one of several nodes: the first that answers, and the next one when it no longer
//! does.

use crate::{ChainError, node_facts::redacted_address};
use futures::{FutureExt, future::try_join_all};
use serde_json::Value;
use std::time::Duration;
use subxt::rpcs::{
    Error,
    client::{
        RawRpcFuture, RawRpcSubscription, RawValue, ReconnectingRpcClient, RpcClientT,
        reconnecting_rpc_client::{ExponentialBackoff, PingConfig},
    },
};
use tokio::{sync::Mutex, time};

/// Longest delay between two attempts to reconnect. The first is 200 ms, and they double.
pub(crate) const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// Number of attempts to reach a node again before another one is used. They cover a break of the
/// connection, not a restart of the node.
const ATTEMPTS: usize = 2;
/// Longest wait for a node to take a connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, if there are other nodes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two signs of life that a node is asked for, if there are other nodes.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Time without a sign of life after which a node counts as gone.
const PING_LIMIT: Duration = Duration::from_secs(15);
/// Longest wait for the first answer of a node that others can replace, and at the start for all
/// that the nodes which are not used yet are asked.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the delays between attempts to reach a node that is away.
pub(crate) fn reconnect_delays() -> ExponentialBackoff {
    ExponentialBackoff::from_millis(2).factor(100).max_delay(MAX_RECONNECT_DELAY)
}

/// Connection to one of the nodes.
#[derive(Clone)]
struct Connection {
    /// Number of nodes that were left before.
    turn: u64,
    /// Place of the node among the addresses.
    place: usize,
    client: ReconnectingRpcClient,
}

/// Client of one of several nodes of the same chain. A single node is waited for, however long it
/// is away.
pub(crate) struct Failover {
    urls: Vec<String>,
    /// Hash of the genesis block, as nodes state it.
    genesis: String,
    /// Held while another node is searched for, so that all requests wait for it.
    current: Mutex<Connection>,
}

impl Failover {
    /// Connects to the first node that answers, in the order of `urls`. Ends only once one does.
    ///
    /// # Errors
    ///
    /// Fails if another node answers that runs another chain, and if the only address is none.
    pub(crate) async fn open(urls: Vec<String>) -> Result<Self, ChainError> {
        let (place, client, genesis) = first_answer(&urls).await?;
        let current = Mutex::new(Connection { turn: 0, place, client });
        let nodes = Self { urls, genesis, current };
        nodes.check_others(place).await?;
        Ok(nodes)
    }

    /// Checks that the nodes that answer run the chain of the node at `place`.
    async fn check_others(&self, place: usize) -> Result<(), ChainError> {
        let others = self.urls.iter().enumerate().filter(|(at, _)| *at != place);
        let check = async |(_, url): (usize, &String)| {
            let genesis = async { genesis_hash(&dial(url, ATTEMPTS).await?).await };
            match time::timeout(CHECK_TIMEOUT, genesis).await {
                Ok(Ok(genesis)) if genesis != self.genesis => {
                    let url = redacted_address(url);
                    return Err(ChainError::OtherChain { url, chain_of: self.shown(place) });
                }
                Ok(Ok(_)) => {}
                Ok(Err(reason)) => {
                    let url = redacted_address(url);
                    tracing::warn!(url, reason, "this node cannot replace another");
                }
                Err(_) => tracing::warn!(url = redacted_address(url), "this node does not answer"),
            }
            Ok(())
        };
        try_join_all(others.map(check)).await.map(drop)
    }

    /// Returns the address of the node at `place` for logs and errors.
    fn shown(&self, place: usize) -> String {
        self.urls.get(place).map(|url| redacted_address(url)).unwrap_or_default()
    }

    async fn connection(&self) -> Connection {
        self.current.lock().await.clone()
    }

    /// Returns the answer, or after the loss of a node that others can replace, the error by which
    /// the request is made again.
    async fn checked<T>(&self, used: &Connection, answer: Result<T, Error>) -> Result<T, Error> {
        match answer {
            Err(Error::Client(reason)) if self.urls.len() > 1 => {
                let reason = reason.to_string();
                self.leave(used, &reason).await;
                Err(Error::DisconnectedWillReconnect(reason))
            }
            answer => answer,
        }
    }

    /// Connects to another node than the `used` one, or to the same if it is the first to answer
    /// again. Ends only once one does.
    async fn leave(&self, used: &Connection, reason: &str) {
        let mut current = self.current.lock().await;
        if current.turn != used.turn {
            return;
        }
        let url = self.shown(used.place);
        tracing::warn!(url, reason, "the node does not answer; looking for another one");
        let mut delays = reconnect_delays();
        let mut is_first_search = true;
        for (place, url) in self.urls.iter().enumerate().cycle().skip(used.place + 1) {
            let joined = self.join(url, is_first_search).await;
            let url = redacted_address(url);
            match joined {
                Ok(client) => {
                    tracing::info!(url, "using this node from now on");
                    *current = Connection { turn: used.turn + 1, place, client };
                    return;
                }
                Err(reason) if is_first_search => tracing::warn!(url, reason, "cannot use it"),
                Err(reason) => tracing::debug!(url, reason, "cannot use it yet"),
            }
            if place == used.place {
                is_first_search = false;
                time::sleep(delays.next().unwrap_or(DIAL_TIMEOUT)).await;
            }
        }
    }

    /// Connects to the node at `url`, if it runs this chain, and is not syncing if it `must_lead`.
    async fn join(&self, url: &str, must_lead: bool) -> Result<ReconnectingRpcClient, String> {
        let (client, genesis) = greet(url, must_lead).await?;
        if genesis != self.genesis {
            return Err("it runs another chain".to_owned());
        }
        Ok(client)
    }
}

impl RpcClientT for Failover {
    fn request_raw<'a>(
        &'a self,
        method: &'a str,
        params: Option<Box<RawValue>>,
    ) -> RawRpcFuture<'a, Box<RawValue>> {
        async move {
            let used = self.connection().await;
            let answer = used.client.request_raw(method, params).await;
            self.checked(&used, answer).await
        }
        .boxed()
    }

    fn subscribe_raw<'a>(
        &'a self,
        sub: &'a str,
        params: Option<Box<RawValue>>,
        unsub: &'a str,
    ) -> RawRpcFuture<'a, RawRpcSubscription> {
        async move {
            let used = self.connection().await;
            let answer = used.client.subscribe_raw(sub, params, unsub).await;
            self.checked(&used, answer).await
        }
        .boxed()
    }
}

/// Returns the place and the client of the first node that answers, and the genesis of its chain.
async fn first_answer(
    urls: &[String],
) -> Result<(usize, ReconnectingRpcClient, String), ChainError> {
    let is_alone = urls.len() == 1;
    let mut delays = reconnect_delays();
    let mut is_first_search = true;
    loop {
        for (place, url) in urls.iter().enumerate() {
            let answer = async {
                if !is_alone {
                    return greet(url, is_first_search).await;
                }
                let client = dial(url, usize::MAX).await?;
                let genesis = genesis_hash(&client).await?;
                Ok((client, genesis))
            };
            match answer.await {
                Ok((client, genesis)) => return Ok((place, client, genesis)),
                Err(reason) if is_alone => {
                    return Err(ChainError::Unreachable { url: redacted_address(url), reason });
                }
                Err(reason) => {
                    tracing::warn!(url = redacted_address(url), reason, "cannot use the node");
                }
            }
        }
        is_first_search = false;
        time::sleep(delays.next().unwrap_or(DIAL_TIMEOUT)).await;
    }
}

/// Connects to a node. Then the client restores the connection by as many `attempts` each time,
/// before its requests fail.
async fn dial(url: &str, attempts: usize) -> Result<ReconnectingRpcClient, String> {
    let retries = reconnect_delays().take(attempts.saturating_sub(1));
    let mut client = ReconnectingRpcClient::builder().retry_policy(retries);
    if attempts != usize::MAX {
        let pings = PingConfig::new().ping_interval(PING_INTERVAL).inactive_limit(PING_LIMIT);
        client = client
            .connection_timeout(DIAL_TIMEOUT)
            .request_timeout(ANSWER_TIMEOUT)
            .enable_ws_ping(pings);
    }
    client.build(url).await.map_err(|error| error.to_string())
}

/// Connects to a node that others can replace, and returns the genesis of its chain too. One that
/// takes connections and answers nothing, as a frozen one does, is given up soon. So is one that
/// has not caught up with its peers, if it `must_lead`.
async fn greet(url: &str, must_lead: bool) -> Result<(ReconnectingRpcClient, String), String> {
    let client = dial(url, ATTEMPTS).await?;
    let asked = async {
        let genesis = genesis_hash(&client).await?;
        Ok::<_, String>((genesis, must_lead && is_syncing(&client).await))
    };
    let asked = time::timeout(CHECK_TIMEOUT, asked).await;
    match asked.map_err(|_| "it does not answer".to_owned())?? {
        (_, true) => Err("it is still syncing".to_owned()),
        (genesis, false) => Ok((client, genesis)),
    }
}

/// Returns `true` if the node says that it is far behind its peers.
async fn is_syncing(client: &ReconnectingRpcClient) -> bool {
    let health = client.request_raw("system_health", None).await;
    let health = health.ok().and_then(|health| serde_json::from_str::<Value>(health.get()).ok());
    health.is_some_and(|health| health["isSyncing"] == true)
}

/// Returns the hash of the genesis block of a node, as the node states it.
async fn genesis_hash(client: &ReconnectingRpcClient) -> Result<String, String> {
    let first = RawValue::from_string("[0]".to_owned()).map_err(|error| error.to_string())?;
    let hash = client.request_raw("chain_getBlockHash", Some(first)).await;
    hash.map(|hash| hash.get().to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
