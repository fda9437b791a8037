// SPDX-License-Identifier: Apache-2.0

//! The chain and its past, as endpoints see them.

use anyhow::{Context, Result};
use pol_chain_api::{ChainOptions, ChainState, NodeSource};
use pol_index::{Index, IndexError, WriterLock};
use pol_swarm::Swarm;
use std::{fs, path::Path};

/// A chain, and the index of its past.
pub(crate) struct IndexedChain {
    /// State of the endpoints.
    pub(super) state: ChainState,
    /// Right to fill the index, which one process has.
    _lock: Option<WriterLock>,
}

impl IndexedChain {
    /// Opens the index at `address`, and `follow`s the chain of the node into it.
    ///
    /// # Errors
    ///
    /// Fails if the index cannot be opened, or if it is to be filled and another process fills it.
    pub(super) async fn open(node: NodeSource, address: &str, follow: bool) -> Result<Self> {
        let lock = if follow { Some(WriterLock::require(address).await?) } else { None };
        Ok(Self::start(node, open_index(address, follow).await?, lock))
    }

    /// Tells the latencies of members too, which `swarm` knows from its connections to them.
    pub(crate) fn with_latencies(self, swarm: Swarm) -> Self {
        self.state.tell_latencies(Box::new(move |peer| swarm.latency(peer)));
        self
    }

    /// Opens the index in `folder`, and `follow`s the chain into it unless another process does.
    ///
    /// # Errors
    ///
    /// Fails if the index cannot be opened.
    pub(super) async fn open_in(node: NodeSource, folder: &Path, follow: bool) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let path = folder.join("index.db");
        let address = path.to_str().context("the name of the folder is no text")?;
        let lock = if follow { WriterLock::take(address).await? } else { None };
        if follow && lock.is_none() {
            tracing::info!("another process fills the index in {}", folder.display());
        }
        Ok(Self::start(node, open_index(address, follow).await?, lock))
    }

    /// Starts to serve an index, and to follow the chain into it with the lock.
    fn start(node: NodeSource, index: Index, lock: Option<WriterLock>) -> Self {
        let options = ChainOptions { follow: lock.is_some(), ..ChainOptions::default() };
        Self { state: ChainState::start(node, index, options), _lock: lock }
    }
}

/// Opens an index. One that is only read has to be there: another name is a mistake.
async fn open_index(address: &str, follow: bool) -> Result<Index, IndexError> {
    if follow { Index::open(address).await } else { Index::open_existing(address).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: NodeSource = NodeSource::Addresses(Vec::new());

    #[tokio::test]
    async fn an_index_that_is_only_read_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("typo.db");
        for follow in [false, true] {
            let opened = IndexedChain::open(NOWHERE, path.to_str().unwrap(), follow).await;
            assert_eq!(opened.is_ok(), follow);
            assert_eq!(path.exists(), follow);
        }
        let error = IndexedChain::open_in(NOWHERE, folder.path(), false).await.err().unwrap();
        assert!(error.to_string().contains("index.db"), "{error}");
    }

    #[tokio::test]
    async fn one_process_fills_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        let address = path.to_str().unwrap();
        let first = IndexedChain::open(NOWHERE, address, true).await.unwrap();
        let second = IndexedChain::open(NOWHERE, address, true).await.err().unwrap();
        assert!(second.to_string().contains("--no-follow"), "{second}");
        assert!(IndexedChain::open(NOWHERE, address, false).await.is_ok());
        // In the default place a second process only reads.
        let reader = IndexedChain::open_in(NOWHERE, folder.path(), true).await.unwrap();
        assert!(first._lock.is_some() && reader._lock.is_none());
        drop(first);
        let next = IndexedChain::open_in(NOWHERE, folder.path(), true).await.unwrap();
        assert!(next._lock.is_some());
    }
}
