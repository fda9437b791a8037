// SPDX-License-Identifier: Apache-2.0

//! A file on a hub that is read where it is, in ranges.

use super::HubClient;
use bytes::Bytes;
use pol_corpus::RandomAccess;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// Number of bytes fetched at least, where the file has them. Pages are larger as a rule, and are
/// fetched as they are.
const BLOCK_BYTES: u64 = 1 << 16;
/// Number of blocks kept: one a column that is being read, and some.
const MAX_BLOCKS: usize = 8;

/// File on a hub.
pub(super) struct RemoteFile {
    client: Arc<HubClient>,
    url: String,
    size: u64,
    /// Blocks that were fetched, with the positions of their first bytes, the latest first.
    blocks: Mutex<Vec<(u64, Bytes)>>,
}

impl RemoteFile {
    pub(super) fn new(client: Arc<HubClient>, url: String, size: u64) -> Self {
        Self { client, url, size, blocks: Mutex::default() }
    }

    /// Returns the bytes from `start` on that are here, at least one and at most `length`.
    fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |(at, block): &(u64, Bytes)| {
            (*at..at.saturating_add(block.len() as u64)).contains(&start)
        };
        let (at, block) = match blocks.iter().position(holds) {
            Some(position) => blocks.remove(position),
            None => (start, self.fetch(start, length)?),
        };
        let offset = usize::try_from(start - at).map_err(io::Error::other)?;
        let found = block.slice(offset..block.len().min(offset.saturating_add(length)));
        // A larger one was fetched for this read alone.
        if block.len() as u64 <= BLOCK_BYTES {
            blocks.insert(0, (at, block));
            blocks.truncate(MAX_BLOCKS);
        }
        Ok(found)
    }

    /// Fetches a block from `start` on, with `length` bytes or more unless the file ends.
    fn fetch(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let wanted = BLOCK_BYTES.max(length as u64).min(self.size.saturating_sub(start));
        let wanted = usize::try_from(wanted).map_err(io::Error::other)?;
        if wanted == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = self.client.read_range(&self.url, start, wanted, self.size);
        bytes.map(Bytes::from).map_err(io::Error::other)
    }
}

impl RandomAccess for RemoteFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let first = if length == 0 { Bytes::new() } else { self.read(start, length)? };
        if first.len() == length {
            return Ok(first);
        }
        let mut bytes = first.to_vec();
        while bytes.len() < length {
            let at = start.saturating_add(bytes.len() as u64);
            bytes.extend_from_slice(&self.read(at, length - bytes.len())?);
        }
        Ok(bytes.into())
    }
}
