// SPDX-License-Identifier: Apache-2.0

//! Blobs of the store, read piece by piece.

use std::io;

use futures::{StreamExt, stream::BoxStream};
use iroh_blobs::{
    HashAndFormat,
    api::{TempTag, blobs::EncodedItem},
    protocol::{ChunkRanges, ChunkRangesExt},
};
use pol_primitives::Hash;

use crate::{Bytes, Result, Swarm, SwarmError};

/// Bytes of a chunk, in which the store counts what is asked for. Pieces are of whole ones.
const CHUNK_BYTES: u64 = 1024;

/// Reader of a blob in the store. Each piece is verified as it is read, and only one is in memory.
pub struct BlobReader {
    swarm: Swarm,
    hash: Hash,
    items: BoxStream<'static, EncodedItem>,
    size: u64,
    /// Number of bytes read.
    found: u64,
    /// Set once the blob could not be read.
    has_failed: bool,
    /// Keeps the blob from being collected, by the store that was open at the start.
    _pin: TempTag,
}

impl Swarm {
    /// Opens the blob if it is in the store, to be read piece by piece. No peer is asked.
    ///
    /// # Errors
    ///
    /// Fails as [`Swarm::get`] does.
    pub async fn open(&self, hash: Hash, max_bytes: u64) -> Result<Option<BlobReader>> {
        let store = self.0.store.get().await?;
        // From here on the blob cannot be collected before it is read.
        let pin = store.tags().temp_tag(HashAndFormat::raw(hash.into())).await;
        let pin = pin.map_err(|error| self.failed(error))?;
        let Some(size) = self.size(hash).await? else { return Ok(None) };
        if size > max_bytes {
            return Err(SwarmError::TooLarge { hash, size, limit: max_bytes });
        }
        let items = store.export_bao(hash, ChunkRanges::all()).stream().boxed();
        let (swarm, found, has_failed) = (self.clone(), 0, false);
        Ok(Some(BlobReader { swarm, hash, items, size, found, has_failed, _pin: pin }))
    }
}

impl BlobReader {
    /// Returns the size of the blob, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next bytes, or `None` at the end of the blob.
    ///
    /// # Errors
    ///
    /// Fails if the blob is damaged, was collected, or cannot be read since the store failed; then
    /// each later call fails, too. A damaged blob counts as missing from then on, so that it is
    /// fetched again.
    pub async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let mut is_again = false;
        while !self.has_failed {
            let reason = match self.next_leaf().await {
                Ok(piece) => return Ok(piece),
                Err(reason) => reason,
            };
            // The store may have failed, or been opened again, since it was asked. Only what the
            // present one cannot read either is damaged.
            self.swarm.0.store.suspect();
            let is_here = matches!(self.swarm.size(self.hash).await, Ok(Some(_)));
            match self.swarm.0.store.get().await {
                Ok(store) if is_here && !is_again => {
                    is_again = true;
                    let rest = ChunkRanges::chunks(self.found / CHUNK_BYTES..);
                    self.items = store.export_bao(self.hash, rest).stream().boxed();
                }
                Ok(_) if is_here => {
                    self.swarm.note_damage(self.hash, &reason);
                    self.has_failed = true;
                }
                _ => self.has_failed = true,
            }
        }
        Err(no_whole_copy())
    }

    /// Returns the next bytes that the store sends, or why there are none.
    async fn next_leaf(&mut self) -> Result<Option<Bytes>, String> {
        while self.found != self.size {
            match self.items.next().await {
                Some(EncodedItem::Leaf(leaf)) if leaf.offset == self.found => {
                    self.found += leaf.data.len() as u64;
                    return Ok(Some(leaf.data));
                }
                Some(EncodedItem::Leaf(_)) => return Err("a piece is out of place".to_owned()),
                Some(EncodedItem::Error(error)) => return Err(error.to_string()),
                Some(EncodedItem::Size(_) | EncodedItem::Parent(_) | EncodedItem::Done) => {}
                None => {
                    return Err(format!("{} of {} bytes are readable", self.found, self.size));
                }
            }
        }
        Ok(None)
    }
}

fn no_whole_copy() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the store has no whole copy of it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SwarmConfig;
    use std::fs;
    use tempfile::TempDir;

    const LIMIT: u64 = 1 << 22;

    async fn peer(directory: &TempDir) -> Swarm {
        let (directory, bind) = (directory.path().into(), ([127, 0, 0, 1], 0).into());
        let config = SwarmConfig { directory, secret: [1; 32], bind, advertise: Vec::new() };
        Swarm::start(config).await.unwrap()
    }

    fn blob() -> Bytes {
        (0..1_000_000u32).map(|at| (at ^ (at >> 7)) as u8).collect()
    }

    async fn read(mut reader: BlobReader) -> (Vec<u8>, io::Result<()>) {
        let mut found = Vec::new();
        loop {
            match reader.piece().await {
                Ok(Some(piece)) => found.extend_from_slice(&piece),
                end => return (found, end.map(drop)),
            }
        }
    }

    #[tokio::test]
    async fn a_blob_is_read_in_small_pieces() {
        let directory = TempDir::new().unwrap();
        let swarm = peer(&directory).await;
        let hash = swarm.add(blob(), "kept").await.unwrap();
        let mut reader = swarm.open(hash, LIMIT).await.unwrap().unwrap();
        assert_eq!(reader.size(), 1_000_000);
        let first = reader.piece().await.unwrap().unwrap();
        assert!(first.len() <= 1 << 16 && first == blob()[..first.len()]);
        let (rest, end) = read(reader).await;
        assert!(end.is_ok() && rest == blob()[first.len()..]);
        assert!(swarm.open([7; 32], LIMIT).await.unwrap().is_none());
        let small = swarm.open(hash, 999_999).await;
        assert!(matches!(small.err(), Some(SwarmError::TooLarge { size: 1_000_000, .. })));
        swarm.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn damage_is_found_where_it_is_and_the_blob_is_missing_from_then_on() {
        let directory = TempDir::new().unwrap();
        let swarm = peer(&directory).await;
        let hash = swarm.add(blob(), "kept").await.unwrap();
        swarm.shutdown().await.unwrap();
        let file = directory.path().join(format!("data/{}.data", hex::encode(hash)));
        let mut bytes = fs::read(&file).unwrap();
        bytes[700_000] ^= 1;
        fs::write(&file, bytes).unwrap();
        let swarm = peer(&directory).await;
        let reader = swarm.open(hash, LIMIT).await.unwrap().unwrap();
        let (found, end) = read(reader).await;
        assert!(found.len() <= 700_000 && found == blob()[..found.len()]);
        assert!(end.unwrap_err().to_string().contains("no whole copy"));
        assert!(swarm.open(hash, LIMIT).await.unwrap().is_none());
        swarm.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_fails_meanwhile_damages_no_blob() {
        let directory = TempDir::new().unwrap();
        let swarm = peer(&directory).await;
        let hash = swarm.add(blob(), "kept").await.unwrap();
        let mut reader = swarm.open(hash, LIMIT).await.unwrap().unwrap();
        swarm.clone().shutdown().await.unwrap();
        for _ in 0..2 {
            assert!(reader.piece().await.unwrap_err().to_string().contains("no whole copy"));
        }
        assert!(!swarm.is_damaged(&hash));
    }
}
