// SPDX-License-Identifier: Apache-2.0

//! The node of the endpoints: connected as soon as it answers, and watched from then on.

use crate::failure::Failure;
use futures::StreamExt;
use pol_chain::{BlockInfo, Chain, ChainError};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// Longest wait for the answer to a question without which a request fails.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest wait for an answer without which a request is answered all the same: a node that hangs
/// should not hold up a page.
pub(crate) const BRIEF_TIMEOUT: Duration = Duration::from_millis(500);
/// Time without a new block after which the node is asked if it is there.
const QUIET: Duration = Duration::from_secs(3);
/// Pause between attempts to connect.
const PAUSE: Duration = Duration::from_secs(5);

/// Way to the node that endpoints ask.
#[derive(Clone, Debug)]
pub enum NodeSource {
    /// Addresses of nodes, the first of which that answers is asked.
    Addresses(Vec<String>),
    /// Client that the process has already. All its subscriptions together log the loss of the node
    /// once.
    Client(Chain),
}

/// Node that answers.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Client of the node.
    pub(crate) chain: Chain,
    /// Its best block.
    pub(crate) best: BlockInfo,
}

/// Place at which the node is found while it answers.
pub(crate) type NodeWatch = watch::Receiver<Option<Node>>;

/// Asks a question of a node that answers, and waits at most `patience` for the answer.
///
/// # Errors
///
/// Fails if no node answers, or not in time.
pub(crate) async fn ask<T, F>(
    node: &NodeWatch,
    patience: Duration,
    question: impl FnOnce(Node) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, ChainError>>,
{
    let found = node.borrow().clone().ok_or_else(Failure::node_away)?;
    let answer = timeout(patience, question(found)).await;
    Ok(answer.map_err(|_| Failure::node_away())??)
}

/// Connects to the node if there is no client yet, and publishes its best block for ever.
pub(crate) async fn watch_node(source: NodeSource, publish: watch::Sender<Option<Node>>) {
    let chain = match source {
        NodeSource::Client(chain) => chain,
        NodeSource::Addresses(urls) => loop {
            match Chain::connect_any(&urls).await {
                Ok(chain) => break chain,
                Err(error) => pause(&error).await,
            }
        },
    };
    let mut blocks = loop {
        match chain.blocks().await {
            Ok(blocks) => break blocks,
            Err(error) => pause(&error).await,
        }
    };
    loop {
        let best = match timeout(QUIET, blocks.next()).await {
            Ok(best) => best,
            Err(_) => timeout(ANSWER_TIMEOUT, chain.best_block()).await.ok().and_then(Result::ok),
        };
        publish.send_replace(best.map(|best| Node { chain: chain.clone(), best }));
    }
}

/// Waits before another attempt to reach the node.
async fn pause(error: &ChainError) {
    tracing::warn!(%error, "cannot follow the chain; trying again");
    sleep(PAUSE).await;
}
