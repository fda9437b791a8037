// SPDX-License-Identifier: Apache-2.0

//! Blobs of the store for threads that compute.

use crate::error::RoleError;
use anyhow::anyhow;
use pol_engine::{BlobValues, EngineError};
use pol_primitives::{Hash, recipe::Recipe};
use pol_swarm::{BlobReader, Bytes, Swarm};
use std::io::{self, Read};
use tokio::runtime::Handle;

/// Reader of a blob for a thread that may block. A piece of the blob is in memory.
pub(crate) struct BlockingBlob {
    blob: BlobReader,
    /// Bytes that were read from the store and not yet from here.
    piece: Bytes,
    runtime: Handle,
}

impl BlockingBlob {
    /// Opens the blob of at most `max_bytes` with this hash, which is on this machine by now. No
    /// peer is asked. Must be called within a tokio runtime, on a thread that may block.
    ///
    /// # Errors
    ///
    /// Fails with a [`RoleError`] if the store has no whole copy of the blob.
    pub(crate) fn open(swarm: &Swarm, hash: &Hash, max_bytes: u64) -> io::Result<Self> {
        let runtime = Handle::current();
        let blob = runtime.block_on(swarm.open(*hash, max_bytes));
        let blob = blob.map_err(|error| io::Error::other(RoleError::from(error)))?;
        let gone = || {
            let error = anyhow!("the store has no whole copy of it");
            io::Error::other(RoleError::transient(error))
        };
        Ok(Self { blob: blob.ok_or_else(gone)?, piece: Bytes::new(), runtime })
    }
}

/// Opens the model whose parameters hash to `root`, as [`BlockingBlob::open`] does.
///
/// # Errors
///
/// Fails if the store has no whole copy of the model.
pub(crate) fn open_model(
    swarm: &Swarm,
    root: &Hash,
    recipe: &Recipe,
) -> Result<BlobValues<BlockingBlob>, EngineError> {
    let bytes = recipe.model.size().saturating_mul(size_of::<f32>() as u64);
    BlobValues::open(root, &mut |hash: &Hash| BlockingBlob::open(swarm, hash, bytes))
}

impl Read for BlockingBlob {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.blob.piece())? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let read = self.piece.split_to(self.piece.len().min(bytes.len()));
        bytes[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_swarm::SwarmConfig;

    #[tokio::test]
    async fn a_blob_is_read_in_any_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let swarm = Swarm::start(SwarmConfig {
            directory: folder.path().into(),
            secret: [5; 32],
            bind: ([127, 0, 0, 1], 0).into(),
            advertise: Vec::new(),
        });
        let swarm = swarm.await.unwrap();
        let bytes: Bytes = (0..200_000u32).map(|at| (at ^ (at >> 8)) as u8).collect();
        let hash = swarm.add(bytes.clone(), "kept").await.unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut blob = BlockingBlob::open(&swarm, &hash, 200_000).unwrap();
            let mut first = [0; 70_001];
            blob.read_exact(&mut first).unwrap();
            let mut rest = Vec::new();
            blob.read_to_end(&mut rest).unwrap();
            let missing = BlockingBlob::open(&swarm, &[9; 32], 200_000).err().unwrap();
            let missing = missing.downcast::<RoleError>();
            assert!(matches!(missing, Ok(RoleError::Transient(_))), "{missing:?}");
            [&first[..], &rest].concat()
        });
        assert!(read.await.unwrap() == bytes);
    }
}
