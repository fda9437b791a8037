// SPDX-License-Identifier: Apache-2.0

//! Start of the tasks beside the endpoints.

use crate::{
    events::{publish, publish_node},
    failure::Trouble,
    feed::Feed,
    network_start::{KnownStart, learn_start},
    node::{NodeSource, NodeWatch, watch_node},
    state::{ChainState, Parts},
    survey::survey,
};
use pol_index::{Follower, Index};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::sleep,
};

/// Pause after the follower of the chain failed.
const FOLLOWER_PAUSE: Duration = Duration::from_secs(30);

/// Options of the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainOptions {
    /// `true` if this process writes the index, which has one writer. Otherwise another process
    /// does.
    pub follow: bool,
    /// Longest wait of a request for the first look at the index.
    pub patience: Duration,
}

impl Default for ChainOptions {
    fn default() -> Self {
        Self { follow: true, patience: Duration::from_secs(5) }
    }
}

impl ChainState {
    /// Starts to watch a node, and to publish what is new in the index. It returns at once, whether
    /// the node is there or not.
    ///
    /// # Panics
    ///
    /// Panics outside a runtime of tokio.
    #[must_use]
    pub fn start(source: NodeSource, index: Index, options: ChainOptions) -> Self {
        let (found, node) = watch::channel(None);
        let (surveyed, newest) = watch::channel(None);
        let (learned, start) = watch::channel(KnownStart::Unknown);
        let (feed, indexed) = (Feed::default(), Arc::new(Notify::new()));
        let trouble = Trouble::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_node(source, found));
        tasks.spawn(survey(index.clone(), surveyed));
        tasks.spawn(learn_start(node.clone(), learned));
        tasks.spawn(publish(index.clone(), feed.clone(), Arc::clone(&indexed)));
        tasks.spawn(publish_node(node.clone(), feed.clone()));
        if options.follow {
            tasks.spawn(follow(index.clone(), node.clone(), indexed, trouble.clone()));
        }
        let patience = options.patience;
        Self::new(Parts {
            index,
            node,
            feed,
            trouble,
            survey: newest,
            patience,
            start,
            latencies: OnceLock::new(),
            _tasks: tasks,
        })
    }
}

/// Follows the chain into the index for ever, tells `indexed` about each step, and notes in
/// `trouble` why that fails.
async fn follow(index: Index, mut node: NodeWatch, indexed: Arc<Notify>, trouble: Trouble) {
    loop {
        let chain = match node.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(node)) => node.chain.clone(),
            _ => return,
        };
        let step = || {
            trouble.clear();
            indexed.notify_one();
        };
        let Err(error) = Follower::new(index.clone()).run(&chain, |_| step()).await;
        trouble.note(&error);
        tracing::warn!(%error, "cannot follow the chain; trying again");
        sleep(FOLLOWER_PAUSE).await;
    }
}
