// SPDX-License-Identifier: Apache-2.0

//! The chain and its past, as endpoints see them.

use anyhow::{Context, Result};
use pol_chain_api::{ChainOptions, ChainState};
use pol_index::{Index, IndexError};
use pol_swarm::Swarm;
use std::{
    fs::{self, File},
    path::Path,
};

/// A chain, and the index of its past.
pub(crate) struct IndexedChain {
    /// State of the endpoints.
    pub(super) state: ChainState,
    /// Lock of an index in the default place, which one process fills.
    _lock: Option<File>,
}

impl IndexedChain {
    /// Opens the index at `address`, and `follow`s the chain of the nodes at `urls` into it.
    ///
    /// # Errors
    ///
    /// Fails if the index cannot be opened.
    pub(super) async fn open(urls: Vec<String>, address: &str, follow: bool) -> Result<Self> {
        let index = open_index(address, follow).await?;
        let options = ChainOptions { follow, ..ChainOptions::default() };
        Ok(Self { state: ChainState::start(urls, index, options), _lock: None })
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
    pub(super) async fn open_in(urls: Vec<String>, folder: &Path, follow: bool) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let lock = lock(folder)?;
        if lock.is_none() {
            tracing::info!("another process fills the index in {}", folder.display());
        }
        let path = folder.join("index.db");
        let address = path.to_str().context("the name of the folder is no text")?;
        let index = open_index(address, follow).await?;
        let options = ChainOptions { follow: follow && lock.is_some(), ..ChainOptions::default() };
        Ok(Self { state: ChainState::start(urls, index, options), _lock: lock })
    }
}

/// Opens an index. One that is only read has to be there: another name is a mistake.
async fn open_index(address: &str, follow: bool) -> Result<Index, IndexError> {
    if follow { Index::open(address).await } else { Index::open_existing(address).await }
}

/// Returns the lock of the index in `folder`, or `None` if another process has it.
fn lock(folder: &Path) -> Result<Option<File>> {
    let path = folder.join("index.lock");
    let lock = File::create(&path).with_context(|| path.display().to_string())?;
    Ok(lock.try_lock().is_ok().then_some(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_index_that_is_only_read_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("typo.db");
        for follow in [false, true] {
            let opened = IndexedChain::open(Vec::new(), path.to_str().unwrap(), follow).await;
            assert_eq!(opened.is_ok(), follow);
            assert_eq!(path.exists(), follow);
        }
        let error = IndexedChain::open_in(Vec::new(), folder.path(), false).await.err().unwrap();
        assert!(error.to_string().contains("index.db"), "{error}");
    }

    #[test]
    fn one_process_fills_an_index_in_the_default_place() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(first.is_some() && lock(folder.path()).unwrap().is_none());
        drop(first);
        assert!(lock(folder.path()).unwrap().is_some());
    }
}
