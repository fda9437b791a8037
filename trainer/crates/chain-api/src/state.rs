// SPDX-License-Identifier: Apache-2.0

//! State of the endpoints: a node, the index of its chain, and the tasks beside them.

use crate::{
    consensus::Consensus,
    events::{Feed, publish},
    failure::Failure,
    node::{self, Node, NodeWatch, watch_node},
    page::AsOf,
    survey::{Survey, survey},
    values::Time,
};
use pol_chain::ChainError;
use pol_index::{Follower, Index};
use pol_primitives::Hash;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Longest wait for the first survey.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the follower of the chain failed.
const FOLLOWER_PAUSE: Duration = Duration::from_secs(30);

/// Options of the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainOptions {
    /// `true` if this process writes the index, which has one writer. Otherwise another process
    /// does.
    pub follow: bool,
}

impl Default for ChainOptions {
    fn default() -> Self {
        Self { follow: true }
    }
}

/// State of the endpoints. Clones share it, and its tasks end with the last one.
#[derive(Clone)]
pub struct ChainState {
    shared: Arc<Shared>,
}

struct Shared {
    index: Index,
    node: NodeWatch,
    feed: Feed,
    survey: watch::Receiver<Option<Arc<Survey>>>,
    /// Newest answer about consensus, with the block that it is of.
    consensus: Mutex<Option<(Hash, Consensus)>>,
    _tasks: JoinSet<()>,
}

impl ChainState {
    /// Starts to watch the first of the nodes that answers, and to publish what is new in the
    /// index. It returns at once, whether a node is there or not.
    ///
    /// # Panics
    ///
    /// Panics outside a runtime of tokio.
    #[must_use]
    pub fn start(nodes: Vec<String>, index: Index, options: ChainOptions) -> Self {
        let (found, node) = watch::channel(None);
        let (surveyed, newest) = watch::channel(None);
        let (feed, indexed) = (Feed::default(), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_node(nodes, found));
        tasks.spawn(survey(index.clone(), surveyed));
        tasks.spawn(publish(index.clone(), feed.clone(), Arc::clone(&indexed)));
        if options.follow {
            tasks.spawn(follow(index.clone(), node.clone(), indexed));
        }
        let consensus = Mutex::default();
        let shared = Shared { index, node, feed, survey: newest, consensus, _tasks: tasks };
        Self { shared: Arc::new(shared) }
    }

    /// Ends all streams of events, so that a server that stops need not wait for them.
    pub fn end_streams(&self) {
        self.shared.feed.close();
    }

    pub(crate) fn index(&self) -> &Index {
        &self.shared.index
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    pub(crate) fn consensus(&self) -> &Mutex<Option<(Hash, Consensus)>> {
        &self.shared.consensus
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
        node::ask(&self.shared.node, question).await
    }

    /// Returns the newest survey, and waits for the first one.
    ///
    /// # Errors
    ///
    /// Fails if there is none yet.
    pub(crate) async fn survey(&self) -> Result<Arc<Survey>, Failure> {
        let mut newest = self.shared.survey.clone();
        let found = timeout(SURVEY_TIMEOUT, newest.wait_for(Option::is_some)).await;
        let found = found.ok().and_then(Result::ok).and_then(|survey| survey.clone());
        found.ok_or_else(Failure::indexing)
    }

    /// Returns the newest survey, if there is one.
    pub(crate) fn survey_now(&self) -> Option<Arc<Survey>> {
        self.shared.survey.borrow().clone()
    }

    /// Returns the block up to which the index knows the chain.
    ///
    /// # Errors
    ///
    /// Fails if the index has no block.
    pub(crate) async fn as_of(&self) -> Result<AsOf, Failure> {
        let newest = self.index().blocks(None, 1).await?;
        let last = newest.first().ok_or_else(Failure::indexing)?;
        let finalised = self.index().finalised_block().await?.map(|block| block.number);
        let best = self.shared.node.borrow().as_ref().map(|node| node.best.number);
        Ok(AsOf {
            block: last.block.number,
            time: Time::new(last.time),
            finalised,
            behind: best.map(|best| best.saturating_sub(last.block.number)),
        })
    }
}

/// Follows the chain into the index for ever, and tells `indexed` about each step.
async fn follow(index: Index, mut node: NodeWatch, indexed: Arc<Notify>) {
    loop {
        let chain = match node.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(node)) => node.chain.clone(),
            _ => return,
        };
        let Err(error) = Follower::new(index.clone()).run(&chain, |_| indexed.notify_one()).await;
        tracing::warn!(%error, "cannot follow the chain; trying again");
        sleep(FOLLOWER_PAUSE).await;
    }
}
