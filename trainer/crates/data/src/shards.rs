// SPDX-License-Identifier: Apache-2.0

//! Shards and manifests on disk.
//!
//! Consecutive shards share one token: the last token of a shard is the first of the next. So one
//! file holds the stream of tokens, and shard `i` consists of the `shard_tokens + 1` tokens from
//! token `i · shard_tokens`. Tokens are little-endian: `shards.u16` holds those of a vocabulary
//! that fits two bytes, and `shards.u32` those of a larger one. `body.bin` is the manifest's body,
//! the concatenated hashes of the shards.

use crate::error::{DataError, IoContext};
use pol_primitives::{
    Hash,
    data::{MAX_SHARD_TOKENS, MAX_SHARDS},
    trace::merkle_root,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

/// File name of the body of a manifest.
pub(crate) const BODY_FILE: &str = "body.bin";
/// Most bytes that a token takes in a shard.
pub const MAX_TOKEN_BYTES: u64 = size_of::<u32>() as u64;

/// Width of tokens in shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Two,
    Four,
}

impl Width {
    /// Returns the narrowest width for the tokens of a vocabulary.
    fn of(vocabulary: u32) -> Self {
        if vocabulary <= u32::from(u16::MAX) + 1 { Self::Two } else { Self::Four }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Two => size_of::<u16>(),
            Self::Four => size_of::<u32>(),
        }
    }

    /// Returns the tokens in `bytes`.
    fn decode(self, bytes: &[u8]) -> Vec<u32> {
        match self {
            Self::Two => {
                bytes.as_chunks().0.iter().map(|&token| u16::from_le_bytes(token).into()).collect()
            }
            Self::Four => bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes).collect(),
        }
    }

    /// Appends tokens, which fit this width, to `bytes`.
    fn encode(self, tokens: &[u32], bytes: &mut Vec<u8>) {
        match self {
            // Little-endian, so that the first bytes are those that count.
            Self::Two => {
                bytes.extend(tokens.iter().flat_map(|token| (*token as u16).to_le_bytes()))
            }
            Self::Four => bytes.extend(tokens.iter().flat_map(|token| token.to_le_bytes())),
        }
    }

    /// Returns the name of the file that holds tokens of this width.
    fn file(self) -> &'static str {
        match self {
            Self::Two => "shards.u16",
            Self::Four => "shards.u32",
        }
    }

    /// Returns the width of the shards in the folder `path`.
    fn in_folder(path: &Path) -> Self {
        if path.join(Self::Four.file()).exists() { Self::Four } else { Self::Two }
    }

    /// Returns the length of a shard, in bytes.
    fn shard_bytes(self, shard_tokens: u32) -> u64 {
        (u64::from(shard_tokens) + 1) * self.bytes() as u64
    }

    /// Returns the length of a stream of tokens, in bytes.
    fn stream_bytes(self, shards: u32, shard_tokens: u32) -> u64 {
        if shards == 0 {
            return 0;
        }
        (u64::from(shards) * u64::from(shard_tokens) + 1) * self.bytes() as u64
    }
}

/// Facts about a manifest that the chain registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSummary {
    /// BLAKE3 of the body.
    #[serde(with = "pol_primitives::hex_hash")]
    pub content_hash: Hash,
    /// Merkle root over the shard hashes.
    #[serde(with = "pol_primitives::hex_hash")]
    pub merkle_root: Hash,
    /// Number of shards.
    pub shards: u32,
}

/// Returns the shard hashes in a manifest's body.
///
/// # Errors
///
/// Fails if the body does not hold exactly `shards` hashes.
pub fn body_hashes(body: &[u8], shards: u32) -> Result<Vec<Hash>, DataError> {
    let (hashes, rest) = body.as_chunks();
    if rest.is_empty() && hashes.len() as u64 == u64::from(shards) {
        Ok(hashes.to_vec())
    } else {
        let needed = u64::from(shards) * size_of::<Hash>() as u64;
        Err(DataError::InvalidBody { shards, bytes: body.len(), needed })
    }
}

/// Returns the tokens of a shard: `shard_tokens + 1` tokens, each below `vocabulary`. The length
/// tells if they take two or four bytes each.
///
/// # Errors
///
/// Fails if the bytes have another length, or if a token is outside the vocabulary.
pub fn decode_shard(
    bytes: &[u8],
    shard_tokens: u32,
    vocabulary: u32,
) -> Result<Vec<u32>, DataError> {
    let length = bytes.len() as u64;
    let fits = |width: &Width| length == width.shard_bytes(shard_tokens);
    let Some(width) = [Width::Two, Width::Four].into_iter().find(fits) else {
        return Err(DataError::InvalidShard(format!(
            "{length} bytes instead of {} or {}",
            Width::Two.shard_bytes(shard_tokens),
            Width::Four.shard_bytes(shard_tokens)
        )));
    };
    let tokens = width.decode(bytes);
    match tokens.iter().find(|&&token| token >= vocabulary) {
        Some(token) => Err(DataError::InvalidShard(format!(
            "token {token} is outside the vocabulary of {vocabulary}"
        ))),
        None => Ok(tokens),
    }
}

/// Manifest with its shards, in a folder that an ingestion wrote.
#[derive(Debug)]
pub struct ShardFolder {
    path: PathBuf,
    body: Vec<u8>,
    hashes: Vec<Hash>,
    summary: ManifestSummary,
    shard_tokens: u32,
    width: Width,
}

impl ShardFolder {
    /// Reads the manifest in the folder `path` and checks the length of its shards. Their contents
    /// are checked by [`Self::read`].
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, or if the manifest and the shards do not fit each other.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let damaged =
            |reason: &str| DataError::Damaged { path: path.to_owned(), reason: reason.into() };
        let file = path.join(BODY_FILE);
        let body = fs::read(&file).io_context("read", &file)?;
        let shards = u32::try_from(body.len() / size_of::<Hash>()).unwrap_or(u32::MAX);
        if shards > MAX_SHARDS {
            return Err(damaged("the manifest is too long"));
        }
        let hashes = body_hashes(&body, shards)
            .map_err(|_| damaged("the manifest is not a whole number of hashes"))?;

        let width = Width::in_folder(path);
        let file = path.join(width.file());
        let bytes = fs::metadata(&file).io_context("read", &file)?.len();
        // The length of a shard follows from that of the stream.
        let tokens = (bytes / width.bytes() as u64).saturating_sub(1);
        let shard_tokens = tokens
            .checked_div(shards.into())
            .and_then(|tokens| u32::try_from(tokens).ok())
            .unwrap_or(0);
        if shard_tokens > MAX_SHARD_TOKENS
            || (shard_tokens == 0 && shards > 0)
            || bytes != width.stream_bytes(shards, shard_tokens)
        {
            return Err(damaged("the number of shards is not that of the manifest"));
        }
        let summary = ManifestSummary {
            content_hash: *blake3::hash(&body).as_bytes(),
            merkle_root: merkle_root(&hashes),
            shards,
        };
        Ok(Self { path: path.to_owned(), body, hashes, summary, shard_tokens, width })
    }

    /// Returns the number of shards.
    pub fn len(&self) -> u32 {
        self.summary.shards
    }

    /// Returns `true` if there are no shards, as in a held-out manifest without text.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Returns the number of tokens that each shard trains on, or 0 if there are no shards.
    pub fn shard_tokens(&self) -> u32 {
        self.shard_tokens
    }

    /// Returns the name of the file that holds the shards.
    pub fn file_name(&self) -> &'static str {
        self.width.file()
    }

    /// Returns the facts that the chain registers.
    pub fn summary(&self) -> &ManifestSummary {
        &self.summary
    }

    /// Returns the manifest's body: the concatenated shard hashes.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the BLAKE3 hash of a shard, or `None` if there is no such shard.
    pub fn shard_hash(&self, index: u32) -> Option<Hash> {
        self.hashes.get(index as usize).copied()
    }

    /// Returns the tokens of a range of the stream, as far as shards hold it. Their hashes are not
    /// checked.
    ///
    /// # Errors
    ///
    /// Fails if the shards cannot be read.
    pub fn tokens(&self, range: Range<u64>) -> Result<Vec<u32>, DataError> {
        let width = self.width.bytes();
        let length = self.width.stream_bytes(self.len(), self.shard_tokens) / width as u64;
        let (start, end) = (range.start.min(length), range.end.min(length));
        let path = self.path.join(self.width.file());
        let mut file = File::open(&path).io_context("open", &path)?;
        file.seek(SeekFrom::Start(start * width as u64)).io_context("read", &path)?;
        let mut bytes = Vec::new();
        let wanted = end.saturating_sub(start) * width as u64;
        file.take(wanted).read_to_end(&mut bytes).io_context("read", &path)?;
        Ok(self.width.decode(&bytes))
    }

    /// Returns the bytes of a shard.
    ///
    /// # Errors
    ///
    /// Fails if there is no such shard, if it cannot be read, or if its hash is not that of the
    /// manifest.
    pub fn read(&self, index: u32) -> Result<Vec<u8>, DataError> {
        let damaged = |reason: String| DataError::Damaged { path: self.path.clone(), reason };
        let Some(hash) = self.shard_hash(index) else {
            return Err(damaged(format!("there is no shard {index}, only {}", self.len())));
        };
        let path = self.path.join(self.width.file());
        let mut file = File::open(&path).io_context("open", &path)?;
        let start = u64::from(index) * u64::from(self.shard_tokens) * self.width.bytes() as u64;
        file.seek(SeekFrom::Start(start)).io_context("read", &path)?;
        let mut bytes = vec![0; self.width.shard_bytes(self.shard_tokens) as usize];
        file.read_exact(&mut bytes).io_context("read", &path)?;
        if *blake3::hash(&bytes).as_bytes() == hash {
            Ok(bytes)
        } else {
            Err(damaged(format!("shard {index} has another hash")))
        }
    }
}

/// Writer of a stream of tokens as shards. Tokens at the end that fill no shard are left out.
pub(crate) struct ShardWriter {
    path: PathBuf,
    file: BufWriter<File>,
    shard_tokens: u32,
    width: Width,
    /// Tokens of the shard being filled, as bytes.
    pending: Vec<u8>,
    body: Vec<u8>,
    tokens: u64,
}

impl ShardWriter {
    /// Creates the folder `path` and starts a manifest of tokens below `vocabulary` in it.
    pub(crate) fn create(
        path: PathBuf,
        shard_tokens: u32,
        vocabulary: u32,
    ) -> Result<Self, DataError> {
        fs::create_dir(&path).io_context("create the folder", &path)?;
        let width = Width::of(vocabulary);
        let file = path.join(width.file());
        let file = BufWriter::new(File::create(&file).io_context("write", &file)?);
        let pending = Vec::with_capacity(width.shard_bytes(shard_tokens) as usize);
        Ok(Self { path, file, shard_tokens, width, pending, body: Vec::new(), tokens: 0 })
    }

    /// Appends tokens to the stream.
    pub(crate) fn write(&mut self, tokens: &[u32]) -> Result<(), DataError> {
        let shard_bytes = self.width.shard_bytes(self.shard_tokens) as usize;
        let mut rest = tokens;
        while !rest.is_empty() {
            let room = shard_bytes.saturating_sub(self.pending.len()) / self.width.bytes();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.width.encode(now, &mut self.pending);
            rest = later;
            if self.pending.len() == shard_bytes {
                self.end_shard()?;
            }
        }
        self.tokens += tokens.len() as u64;
        Ok(())
    }

    fn end_shard(&mut self) -> Result<(), DataError> {
        if self.body.len() / size_of::<Hash>() >= MAX_SHARDS as usize {
            return Err(DataError::TooManyShards);
        }
        self.body.extend_from_slice(blake3::hash(&self.pending).as_bytes());
        let shared = self.pending.len() - self.width.bytes();
        self.file.write_all(&self.pending[..shared]).io_context("write", &self.file_path())?;
        // The last token of this shard is the first token of the next.
        self.pending.drain(..shared);
        Ok(())
    }

    /// Ends the manifest. `split` and `advice` describe the error if the text fills no shard.
    pub(crate) fn finish(
        mut self,
        split: &'static str,
        advice: &'static str,
    ) -> Result<ManifestSummary, DataError> {
        if self.body.is_empty() {
            return Err(DataError::TooLittleText {
                split,
                tokens: self.tokens,
                needed: u64::from(self.shard_tokens) + 1,
                advice,
            });
        }
        self.file
            .write_all(&self.pending[..self.width.bytes()])
            .io_context("write", &self.file_path())?;
        self.close()
    }

    fn file_path(&self) -> PathBuf {
        self.path.join(self.width.file())
    }

    /// Returns the number of tokens written so far.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Ends the manifest, even one without shards.
    pub(crate) fn close(self) -> Result<ManifestSummary, DataError> {
        let file = self.file_path();
        let handle = self
            .file
            .into_inner()
            .map_err(|error| error.into_error())
            .io_context("write", &file)?;
        handle.sync_all().io_context("write", &file)?;
        write_synced(&self.path.join(BODY_FILE), &self.body)?;
        Ok(*ShardFolder::open(&self.path)?.summary())
    }
}

/// Writes a file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let mut file = File::create(path).io_context("write", path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).io_context("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(
        tokens: &[u32],
        shard_tokens: u32,
        vocabulary: u32,
    ) -> (tempfile::TempDir, Result<ManifestSummary, DataError>) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer =
            ShardWriter::create(folder.path().join("train"), shard_tokens, vocabulary).unwrap();
        for part in tokens.chunks(7) {
            writer.write(part).unwrap();
        }
        let summary = writer.finish("training", "or none");
        (folder, summary)
    }

    proptest! {
        #[test]
        fn shards_are_the_stream(
            tokens in prop::collection::vec(0u32..1_000, 2..400),
            shard_tokens in 1u32..40,
            is_large: bool,
        ) {
            let vocabulary = if is_large { 65_537 } else { 65_536 };
            let scaled = |token| if is_large { token * 65 } else { token };
            let tokens: Vec<u32> = tokens.into_iter().map(scaled).collect();
            let (folder, summary) = written(&tokens, shard_tokens, vocabulary);
            let shards = (tokens.len() as u32 - 1) / shard_tokens;
            if shards == 0 {
                let Err(DataError::TooLittleText { tokens: found, .. }) = summary else {
                    panic!("written")
                };
                prop_assert_eq!(found, tokens.len() as u64);
                return Ok(());
            }
            let summary = summary.unwrap();
            prop_assert_eq!(summary.shards, shards);
            let opened = ShardFolder::open(&folder.path().join("train")).unwrap();
            prop_assert_eq!((opened.summary(), opened.shard_tokens()), (&summary, shard_tokens));
            prop_assert_eq!(summary.content_hash, *blake3::hash(opened.body()).as_bytes());
            let hashes = body_hashes(opened.body(), shards).unwrap();
            prop_assert_eq!(summary.merkle_root, merkle_root(&hashes));
            let mut stream = Vec::new();
            for index in 0..shards {
                let bytes = opened.read(index).unwrap();
                let width = if is_large { 4 } else { 2 };
                prop_assert_eq!(bytes.len(), (shard_tokens as usize + 1) * width);
                prop_assert_eq!(hashes[index as usize], *blake3::hash(&bytes).as_bytes());
                let shard = decode_shard(&bytes, shard_tokens, vocabulary).unwrap();
                prop_assert!(stream.last().is_none_or(|last| last == &shard[0]));
                stream.pop();
                stream.extend(shard);
            }
            prop_assert_eq!(&stream[..], &tokens[..stream.len()]);
            prop_assert!(tokens.len() - stream.len() < shard_tokens as usize);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, shard_tokens: u32, vocabulary: u32, shards: u32) {
            let _ = decode_shard(&bytes, shard_tokens, vocabulary);
            let hashes = body_hashes(&bytes, shards);
            prop_assert!(hashes.is_err() || bytes.len() == shards as usize * 32);
        }
    }

    #[test]
    fn bytes_that_are_not_shards_are_refused() {
        let bytes: Vec<u8> = [1u32, 2, 9].iter().flat_map(|token| token.to_le_bytes()).collect();
        assert_eq!(decode_shard(&bytes, 2, 10).unwrap(), [1, 2, 9]);
        for (bytes, shard_tokens, vocabulary) in
            [(&bytes[..], 2, 9), (&bytes[..11], 2, 10), (&bytes, 1, 10), (&bytes, 3, 10)]
        {
            assert!(matches!(
                decode_shard(bytes, shard_tokens, vocabulary),
                Err(DataError::InvalidShard(_))
            ));
        }
        assert!(matches!(body_hashes(&[0; 63], 2), Err(DataError::InvalidBody { needed: 64, .. })));
        assert_eq!(body_hashes(&[0; 64], 2).unwrap(), [[0; 32]; 2]);
    }

    #[test]
    fn damage_is_noticed() {
        let tokens: Vec<u32> = (0..100).collect();
        let (folder, summary) = written(&tokens, 10, 100);
        assert_eq!(summary.unwrap().shards, 9);
        let path = folder.path().join("train");
        let damaged = |result: Result<(), DataError>| {
            assert!(matches!(result, Err(DataError::Damaged { .. })))
        };

        let mut bytes = fs::read(path.join("shards.u16")).unwrap();
        bytes[45 * 2] ^= 1;
        fs::write(path.join("shards.u16"), &bytes).unwrap();
        let opened = ShardFolder::open(&path).unwrap();
        assert!(opened.read(3).is_ok() && opened.read(5).is_ok());
        damaged(opened.read(4).map(drop));
        damaged(opened.read(9).map(drop));
        assert_eq!(opened.shard_hash(9), None);

        fs::write(path.join("shards.u16"), &bytes[1..]).unwrap();
        damaged(ShardFolder::open(&path).map(drop));
        for body in [&[][..], &[1; 33], &[1; 8 * 32]] {
            fs::write(path.join(BODY_FILE), body).unwrap();
            damaged(ShardFolder::open(&path).map(drop));
        }
        fs::remove_file(path.join(BODY_FILE)).unwrap();
        assert!(matches!(ShardFolder::open(&path), Err(DataError::Io { .. })));
    }
}
