// SPDX-License-Identifier: Apache-2.0

//! Parts of files that become blobs of the store.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use futures::{Stream, stream};
use iroh_blobs::api::TempTag;
use pol_primitives::Hash;
use tokio::task::spawn_blocking;

use crate::{Bytes, Result, Swarm, SwarmError};

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;

/// A part of a file that is to be a blob. It is never in memory as a whole.
#[derive(Clone, Debug)]
pub struct FileBlob {
    /// The file.
    pub file: Arc<File>,
    /// Offset of the first byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// BLAKE3 hash of the bytes.
    pub hash: Hash,
}

impl Swarm {
    /// Stores parts of files as blobs under one label, committing once.
    ///
    /// # Errors
    ///
    /// Fails as [`Swarm::add_all`] does, and with [`SwarmError::Store`] if a file cannot be read or
    /// a part does not have its hash.
    pub async fn add_files(&self, parts: &[FileBlob], label: &str) -> Result<()> {
        let sizes: Vec<(Hash, u64)> = parts.iter().map(|part| (part.hash, part.bytes)).collect();
        let is_tight = self.require_space(&sizes).await?;
        for part in parts {
            self.insert_file(part, label, is_tight).await?;
        }
        self.commit().await
    }

    /// Stores a part of a file under a label. If space `is_tight`, one that is here is not written
    /// anew.
    async fn insert_file(&self, part: &FileBlob, label: &str, is_tight: bool) -> Result<()> {
        if is_tight && self.relabel(part.hash, label).await? {
            return Ok(());
        }
        let store = self.0.store.get().await?;
        let added = store.add_stream(pieces(part)).await.temp_tag().await;
        let pin: TempTag = added.map_err(|error| self.failed(error))?;
        let found: Hash = pin.hash().into();
        if found != part.hash {
            let hash = hex::encode(part.hash);
            return Err(SwarmError::Store(format!(
                "the file of blob {hash} has changed since it was hashed; check the disk"
            )));
        }
        self.damaged().remove(&part.hash);
        self.attach_label(part.hash, label).await
    }
}

/// Returns the bytes of a part, piece by piece.
fn pieces(part: &FileBlob) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + use<> {
    let (file, end) = (part.file.clone(), part.offset + part.bytes);
    stream::try_unfold(part.offset, move |at| {
        let file = file.clone();
        async move {
            let len = end.saturating_sub(at).min(PIECE) as usize;
            if len == 0 {
                return Ok(None);
            }
            let read = spawn_blocking(move || {
                let mut piece = vec![0; len];
                file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
            });
            let piece = read.await.map_err(io::Error::other)??;
            Ok::<_, io::Error>(Some((piece, at + len as u64)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SwarmConfig;
    use std::io::Write;
    use tempfile::TempDir;

    async fn peer(directory: &TempDir) -> Swarm {
        let (directory, bind) = (directory.path().join("swarm"), ([127, 0, 0, 1], 0).into());
        let config = SwarmConfig { directory, secret: [1; 32], bind, advertise: Vec::new() };
        Swarm::start(config).await.unwrap()
    }

    /// Returns parts of a file, of more than a piece and of some bytes, and the file's bytes.
    fn parts(directory: &TempDir) -> (Vec<FileBlob>, Vec<u8>) {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at ^ (at >> 9)) as u8).collect();
        let path = directory.path().join("file");
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        // An open file outlives its name.
        std::fs::remove_file(&path).unwrap();
        let part = |(start, end): (usize, usize)| FileBlob {
            file: file.clone(),
            offset: start as u64,
            bytes: (end - start) as u64,
            hash: blake3::hash(&bytes[start..end]).into(),
        };
        ([(24, 2_600_001), (2_600_001, 2_600_101)].map(part).into(), bytes)
    }

    #[tokio::test]
    async fn parts_of_files_become_blobs() {
        let directory = TempDir::new().unwrap();
        let (swarm, (parts, bytes)) = (peer(&directory).await, parts(&directory));
        // A second time changes nothing.
        for _ in 0..2 {
            swarm.add_files(&parts, "state/1").await.unwrap();
            for part in &parts {
                let found = swarm.get(part.hash, 1 << 22).await.unwrap().unwrap();
                let start = part.offset as usize;
                assert!(found == bytes[start..start + part.bytes as usize]);
            }
        }
        assert_eq!(swarm.release("state").await.unwrap(), 2);
        swarm.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_changed_since_it_was_hashed_becomes_no_blob() {
        let directory = TempDir::new().unwrap();
        let (swarm, (mut parts, _)) = (peer(&directory).await, parts(&directory));
        parts[0].offset += 1;
        let named = parts[0].hash;
        let error = swarm.add_files(&parts, "state").await.unwrap_err();
        assert!(error.to_string().contains("has changed"), "{error}");
        assert!(!swarm.has(named).await.unwrap());
        // A file that ends too soon.
        parts[1].offset = 2_999_950;
        assert!(swarm.add_files(&parts[1..2], "state").await.is_err());
        swarm.shutdown().await.unwrap();
    }
}
