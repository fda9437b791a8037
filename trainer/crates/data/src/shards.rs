//! Shards and manifests on disk.
//!
//! Consecutive shards share the token that ends one and begins the next, so `shards.bin` is simply
//! their tokens in order: shard `i` is `shard_tokens + 1` of them, from token `i · shard_tokens`.
//! `body.bin` is the manifest's body.

use crate::error::{At, DataError};
use pol_primitives::{
    Hash,
    data::{MAX_SHARD_TOKENS, MAX_SHARDS},
    trace::merkle_root,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const BODY: &str = "body.bin";
const SHARDS: &str = "shards.bin";
const TOKEN: usize = size_of::<u32>();

/// What is registered of a manifest.
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

/// The shard hashes in a manifest's body.
pub fn body_hashes(body: &[u8], shards: u32) -> Result<Vec<Hash>, DataError> {
    let (hashes, rest) = body.as_chunks();
    if rest.is_empty() && hashes.len() as u64 == u64::from(shards) {
        Ok(hashes.to_vec())
    } else {
        let needed = u64::from(shards) * size_of::<Hash>() as u64;
        Err(DataError::Body { shards, bytes: body.len(), needed })
    }
}

/// The tokens of a shard: `shard_tokens + 1` of them, each below `vocabulary`.
pub fn decode_shard(
    bytes: &[u8],
    shard_tokens: u32,
    vocabulary: u32,
) -> Result<Vec<u32>, DataError> {
    let needed = shard_bytes(shard_tokens);
    if bytes.len() as u64 != needed {
        return Err(DataError::Shard(format!("{} bytes instead of {needed}", bytes.len())));
    }
    let tokens: Vec<u32> = bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes).collect();
    match tokens.iter().find(|&&token| token >= vocabulary) {
        Some(token) => Err(DataError::Shard(format!(
            "token {token} is outside the vocabulary of {vocabulary}"
        ))),
        None => Ok(tokens),
    }
}

fn shard_bytes(shard_tokens: u32) -> u64 {
    (u64::from(shard_tokens) + 1) * TOKEN as u64
}

/// A manifest with its shards, in a folder that ingestion wrote.
#[derive(Debug)]
pub struct ShardFolder {
    path: PathBuf,
    body: Vec<u8>,
    hashes: Vec<Hash>,
    summary: ManifestSummary,
    shard_tokens: u32,
}

impl ShardFolder {
    /// Reads the manifest and checks that the shards are as long as it says. Their contents are
    /// checked by [`Self::read`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let damaged =
            |reason: &str| DataError::Damaged { path: path.to_owned(), reason: reason.into() };
        let file = path.join(BODY);
        let body = fs::read(&file).at("read", &file)?;
        let shards = u32::try_from(body.len() / size_of::<Hash>()).unwrap_or(u32::MAX);
        if shards > MAX_SHARDS {
            return Err(damaged("the manifest is too long"));
        }
        let hashes = body_hashes(&body, shards)
            .map_err(|_| damaged("the manifest is not a whole number of hashes"))?;

        let file = path.join(SHARDS);
        let bytes = fs::metadata(&file).at("read", &file)?.len();
        // The length of the stream gives that of a shard.
        let tokens = (bytes / TOKEN as u64).saturating_sub(1);
        let shard_tokens = tokens
            .checked_div(shards.into())
            .and_then(|tokens| u32::try_from(tokens).ok())
            .unwrap_or(0);
        if shard_tokens > MAX_SHARD_TOKENS
            || (shard_tokens == 0 && shards > 0)
            || bytes != stream_bytes(shards, shard_tokens)
        {
            return Err(damaged("the shards are not as many as the manifest says"));
        }
        let summary = ManifestSummary {
            content_hash: *blake3::hash(&body).as_bytes(),
            merkle_root: merkle_root(&hashes),
            shards,
        };
        Ok(Self { path: path.to_owned(), body, hashes, summary, shard_tokens })
    }

    /// Number of shards.
    pub fn len(&self) -> u32 {
        self.summary.shards
    }

    /// Whether there are no shards, as where nothing was held out.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Tokens each shard trains on; zero where there are none.
    pub fn shard_tokens(&self) -> u32 {
        self.shard_tokens
    }

    /// What is registered of the manifest.
    pub fn summary(&self) -> &ManifestSummary {
        &self.summary
    }

    /// The manifest's body: the shard hashes, one after the other.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// BLAKE3 of a shard; none when there is no such shard.
    pub fn shard_hash(&self, index: u32) -> Option<Hash> {
        self.hashes.get(index as usize).copied()
    }

    /// The bytes of a shard, checked against its hash.
    pub fn read(&self, index: u32) -> Result<Vec<u8>, DataError> {
        let damaged = |reason: String| DataError::Damaged { path: self.path.clone(), reason };
        let Some(hash) = self.shard_hash(index) else {
            return Err(damaged(format!("there is no shard {index}, only {}", self.len())));
        };
        let path = self.path.join(SHARDS);
        let mut file = File::open(&path).at("open", &path)?;
        let start = u64::from(index) * u64::from(self.shard_tokens) * TOKEN as u64;
        file.seek(SeekFrom::Start(start)).at("read", &path)?;
        let mut bytes = vec![0; shard_bytes(self.shard_tokens) as usize];
        file.read_exact(&mut bytes).at("read", &path)?;
        if *blake3::hash(&bytes).as_bytes() == hash {
            Ok(bytes)
        } else {
            Err(damaged(format!("shard {index} has another hash")))
        }
    }
}

fn stream_bytes(shards: u32, shard_tokens: u32) -> u64 {
    if shards == 0 {
        return 0;
    }
    (u64::from(shards) * u64::from(shard_tokens) + 1) * TOKEN as u64
}

/// Writes tokens as shards. What does not fill one at the end is left out.
pub(crate) struct ShardWriter {
    path: PathBuf,
    file: BufWriter<File>,
    shard_tokens: u32,
    /// Tokens of the shard being filled, as bytes.
    pending: Vec<u8>,
    body: Vec<u8>,
    tokens: u64,
}

impl ShardWriter {
    /// Starts in the folder `path`, which is made.
    pub fn create(path: PathBuf, shard_tokens: u32) -> Result<Self, DataError> {
        fs::create_dir(&path).at("make the folder", &path)?;
        let file = path.join(SHARDS);
        let file = BufWriter::new(File::create(&file).at("write", &file)?);
        let pending = Vec::with_capacity(shard_bytes(shard_tokens) as usize);
        Ok(Self { path, file, shard_tokens, pending, body: Vec::new(), tokens: 0 })
    }

    /// Adds tokens to the stream.
    pub fn write(&mut self, tokens: &[u32]) -> Result<(), DataError> {
        for token in tokens {
            self.pending.extend_from_slice(&token.to_le_bytes());
            if self.pending.len() as u64 == shard_bytes(self.shard_tokens) {
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
        let shared = self.pending.len() - TOKEN;
        self.file.write_all(&self.pending[..shared]).at("write", &self.path.join(SHARDS))?;
        // The last token of this shard is the first of the next.
        self.pending.drain(..shared);
        Ok(())
    }

    /// Ends the manifest. `part` and `advice` are for the error that there is too little text.
    pub fn finish(
        mut self,
        part: &'static str,
        advice: &'static str,
    ) -> Result<ManifestSummary, DataError> {
        if self.body.is_empty() {
            return Err(DataError::TooLittle {
                part,
                tokens: self.tokens,
                needed: u64::from(self.shard_tokens) + 1,
                advice,
            });
        }
        self.file.write_all(&self.pending[..TOKEN]).at("write", &self.path.join(SHARDS))?;
        self.close()
    }

    /// Ends the manifest as it is, even without shards.
    pub fn close(self) -> Result<ManifestSummary, DataError> {
        let file = self.path.join(SHARDS);
        let handle =
            self.file.into_inner().map_err(|error| error.into_error()).at("write", &file)?;
        handle.sync_all().at("write", &file)?;
        write(&self.path.join(BODY), &self.body)?;
        Ok(*ShardFolder::open(&self.path)?.summary())
    }
}

/// Writes a whole file, through to the disk.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let mut file = File::create(path).at("write", path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(
        tokens: &[u32],
        shard_tokens: u32,
    ) -> (tempfile::TempDir, Result<ManifestSummary, DataError>) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ShardWriter::create(folder.path().join("train"), shard_tokens).unwrap();
        for part in tokens.chunks(7) {
            writer.write(part).unwrap();
        }
        let summary = writer.finish("training", "or none");
        (folder, summary)
    }

    proptest! {
        #[test]
        fn shards_are_the_stream(tokens in prop::collection::vec(0u32..1_000, 2..400), shard_tokens in 1u32..40) {
            let (folder, summary) = written(&tokens, shard_tokens);
            let shards = (tokens.len() as u32 - 1) / shard_tokens;
            if shards == 0 {
                let refused = matches!(summary, Err(DataError::TooLittle { tokens: had, .. }) if had == tokens.len() as u64);
                prop_assert!(refused);
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
                prop_assert_eq!(hashes[index as usize], *blake3::hash(&bytes).as_bytes());
                let shard = decode_shard(&bytes, shard_tokens, 1_000).unwrap();
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
            prop_assert!(body_hashes(&bytes, shards).is_err() || bytes.len() == shards as usize * 32);
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
                Err(DataError::Shard(_))
            ));
        }
        assert!(matches!(body_hashes(&[0; 63], 2), Err(DataError::Body { needed: 64, .. })));
        assert_eq!(body_hashes(&[0; 64], 2).unwrap(), [[0; 32]; 2]);
    }

    #[test]
    fn damage_is_noticed() {
        let tokens: Vec<u32> = (0..100).collect();
        let (folder, summary) = written(&tokens, 10);
        assert_eq!(summary.unwrap().shards, 9);
        let path = folder.path().join("train");
        let damaged = |result: Result<(), DataError>| {
            assert!(matches!(result, Err(DataError::Damaged { .. })))
        };

        let mut bytes = fs::read(path.join(SHARDS)).unwrap();
        bytes[45 * TOKEN] ^= 1;
        fs::write(path.join(SHARDS), &bytes).unwrap();
        let opened = ShardFolder::open(&path).unwrap();
        assert!(opened.read(3).is_ok() && opened.read(5).is_ok());
        damaged(opened.read(4).map(drop));
        damaged(opened.read(9).map(drop));
        assert_eq!(opened.shard_hash(9), None);

        fs::write(path.join(SHARDS), &bytes[1..]).unwrap();
        damaged(ShardFolder::open(&path).map(drop));
        for body in [&[][..], &[1; 33], &[1; 8 * 32]] {
            fs::write(path.join(BODY), body).unwrap();
            damaged(ShardFolder::open(&path).map(drop));
        }
        fs::remove_file(path.join(BODY)).unwrap();
        assert!(matches!(ShardFolder::open(&path), Err(DataError::Io { .. })));
    }
}
