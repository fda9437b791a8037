// SPDX-License-Identifier: Apache-2.0

//! State of the endpoints: a node, the index of its chain, and the tasks beside them.

use crate::{
    failure::{Failure, Trouble},
    feed::Feed,
    network_start::{KnownStart, told},
    node::{self, ANSWER_TIMEOUT, BRIEF_TIMEOUT, Node, NodeWatch},
    page::AsOf,
    survey::Survey,
    values::Time,
};
use futures::future::BoxFuture;
use pol_api::{NetworkStart, StartSource};
use pol_chain::ChainError;
use pol_index::Index;
use pol_primitives::Hash;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

/// Function that returns the round-trip time to the peer with a key, if it is known.
pub type Latencies = Box<dyn Fn(&Hash) -> Option<Duration> + Send + Sync>;

/// State of the endpoints. Clones share it, and its tasks end with the last one.
#[derive(Clone)]
pub struct ChainState {
    parts: Arc<Parts>,
}

/// Parts of the state.
pub(crate) struct Parts {
    pub(crate) index: Index,
    pub(crate) node: NodeWatch,
    pub(crate) feed: Feed,
    pub(crate) trouble: Trouble,
    pub(crate) survey: watch::Receiver<Option<Arc<Survey>>>,
    pub(crate) patience: Duration,
    /// Start of the network, once the node told it.
    pub(crate) start: watch::Receiver<KnownStart>,
    /// Latencies of members, in a process that connects to them.
    pub(crate) latencies: OnceLock<Latencies>,
    pub(crate) _tasks: JoinSet<()>,
}

impl ChainState {
    /// Creates a state.
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Ends all streams of events, so that a server that stops need not wait for them.
    pub fn end_streams(&self) {
        self.parts.feed.close();
    }

    /// Has the endpoints tell the latencies of members, which the process knows from connections
    /// to them. Later calls change nothing.
    pub fn tell_latencies(&self, latencies: Latencies) {
        let _ = self.parts.latencies.set(latencies);
    }

    /// Returns the round-trip time to the peer with this key, if it is known.
    pub(crate) fn latency(&self, peer: &Hash) -> Option<Duration> {
        self.parts.latencies.get().and_then(|latency| latency(peer))
    }

    pub(crate) fn index(&self) -> &Index {
        &self.parts.index
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.parts.feed
    }

    /// Returns the longest wait for the first look at the index.
    pub(crate) fn patience(&self) -> Duration {
        self.parts.patience
    }

    /// Asks a question of the node.
    ///
    /// # Errors
    ///
    /// Fails if no node answers.
    pub(crate) async fn ask<T, F>(&self, question: impl FnOnce(Node) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        node::ask(&self.parts.node, ANSWER_TIMEOUT, question).await
    }

    /// Asks a question of the node, for a request that has an answer without it.
    ///
    /// # Errors
    ///
    /// Fails if no node answers within half a second.
    pub(crate) async fn ask_briefly<T, F>(
        &self,
        question: impl FnOnce(Node) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        node::ask(&self.parts.node, BRIEF_TIMEOUT, question).await
    }

    #[cfg(test)]
    pub(crate) fn trouble(&self) -> &Trouble {
        &self.parts.trouble
    }

    /// Returns the failure of a request before the index has what it needs.
    fn indexing(&self) -> Failure {
        Failure::indexing(&self.parts.trouble)
    }

    /// Returns the newest survey, and waits for the first one.
    ///
    /// # Errors
    ///
    /// Fails if there is none yet.
    pub(crate) async fn survey(&self) -> Result<Arc<Survey>, Failure> {
        let mut newest = self.parts.survey.clone();
        let found = timeout(self.patience(), newest.wait_for(Option::is_some)).await;
        let found = found.ok().and_then(Result::ok).and_then(|survey| survey.clone());
        found.ok_or_else(|| self.indexing())
    }

    /// Returns the newest survey, if there is one of the node's chain.
    pub(crate) fn survey_now(&self) -> Option<Arc<Survey>> {
        self.check_index().ok()?;
        self.parts.survey.borrow().clone()
    }

    /// Returns the reason why the index does not go on, if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the index is that of another chain.
    pub(crate) fn check_index(&self) -> Result<Option<String>, Failure> {
        self.parts.trouble.check()
    }

    /// Returns the block up to which the index knows the chain.
    ///
    /// # Errors
    ///
    /// Fails if the index has no block, or is that of another chain.
    pub(crate) async fn as_of(&self) -> Result<AsOf, Failure> {
        let trouble = self.check_index()?;
        let newest = self.index().blocks(None, 1).await?;
        let last = newest.first().ok_or_else(|| self.indexing())?;
        let finalised = self.index().finalised_block().await?.map(|block| block.number);
        let best = self.parts.node.borrow().as_ref().map(|node| node.best.number);
        Ok(AsOf {
            block: last.block.number,
            time: Time::new(last.time),
            finalised,
            behind: best.map(|best| best.saturating_sub(last.block.number)),
            trouble,
        })
    }
}

impl StartSource for ChainState {
    fn start(&self) -> BoxFuture<'_, Option<NetworkStart>> {
        Box::pin(told(self.parts.start.clone()))
    }
}
