// SPDX-License-Identifier: Apache-2.0

//! Blobs of the store, read piece by piece.

use std::io;

use futures::{StreamExt, stream::BoxStream};
use iroh_blobs::{api::blobs::EncodedItem, protocol::ChunkRanges};
use pol_primitives::Hash;

use crate::{Bytes, Result, Swarm, SwarmError, error::is_io};

/// Reader of a blob in the store. Each piece is verified as it is read, and only one is in memory.
pub struct BlobReader {
    swarm: Swarm,
    hash: Hash,
    items: BoxStream<'static, EncodedItem>,
    size: u64,
    /// Number of bytes read.
    found: u64,
}

impl Swarm {
    /// Opens the blob if it is in the store, to be read piece by piece. No peer is asked.
    ///
    /// # Errors
    ///
    /// Fails as [`Swarm::get`] does.
    pub async fn open(&self, hash: Hash, max_bytes: u64) -> Result<Option<BlobReader>> {
        let Some(size) = self.size(hash).await? else { return Ok(None) };
        if size > max_bytes {
            return Err(SwarmError::TooLarge { hash, size, limit: max_bytes });
        }
        let store = self.0.store.get().await?;
        let items = store.export_bao(hash, ChunkRanges::all()).stream().boxed();
        Ok(Some(BlobReader { swarm: self.clone(), hash, items, size, found: 0 }))
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
    /// Fails if the blob is damaged, or was collected. It counts as missing from then on, so that
    /// it is fetched again.
    pub async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(item) = self.items.next().await {
            match item {
                EncodedItem::Leaf(leaf) => {
                    self.found += leaf.data.len() as u64;
                    return Ok(Some(leaf.data));
                }
                EncodedItem::Error(error) => {
                    let is_gone = is_io(&error, &[io::ErrorKind::NotFound]);
                    // Otherwise the blob was collected since its size was looked up.
                    if !is_gone || matches!(self.swarm.size(self.hash).await, Ok(Some(_))) {
                        self.swarm.note_damage(self.hash, &error.to_string());
                    }
                    return Err(no_whole_copy());
                }
                EncodedItem::Size(_) | EncodedItem::Parent(_) | EncodedItem::Done => {}
            }
        }
        if self.found == self.size {
            return Ok(None);
        }
        let reason = format!("{} of {} bytes are readable", self.found, self.size);
        self.swarm.note_damage(self.hash, &reason);
        Err(no_whole_copy())
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
        let (found, end) = read(swarm.open(hash, LIMIT).await.unwrap().unwrap()).await;
        assert!(found.len() <= 700_000 && found == blob()[..found.len()]);
        assert!(end.unwrap_err().to_string().contains("no whole copy"));
        assert!(swarm.open(hash, LIMIT).await.unwrap().is_none());
        swarm.shutdown().await.unwrap();
    }
}
