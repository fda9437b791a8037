// SPDX-License-Identifier: Apache-2.0

//! Folder of the signatures of a network's manifests, and of what is known about each.

use crate::{DataError, error::IoContext, shards::write_synced};
use pol_corpus::{
    CorpusError,
    dedup::{DedupConfig, ManifestSignatureWriter, SignatureFile},
};
use pol_primitives::{Hash, data::ManifestId, hex_hash};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

/// Extension of whole files of signatures.
const SIGNATURES: &str = "signatures";
/// Extensions of all files about a manifest. A state that is being written has the last one.
const EXTENSIONS: [&str; 4] = [SIGNATURES, "partial", "json", "new"];
/// File that names the chain, and that a process locks which writes.
const LOCK: &str = "lock";
/// Longest file that is read as the state of a manifest, or as the name of a chain, in bytes.
const MAX_STATE_BYTES: u64 = 1 << 16;

/// Name of a manifest. They are ordered as they were registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestKey {
    /// Number of the manifest.
    pub id: ManifestId,
    /// BLAKE3 of its body. Another fork may have another one under the same number.
    pub content_hash: Hash,
}

impl ManifestKey {
    /// Returns the start of the names of its files, whose order is that of the keys.
    fn stem(&self) -> String {
        format!("{:010}-{}", self.id, hex::encode(self.content_hash))
    }

    /// Returns the key in the name of a file, and its extension.
    fn of_path(path: &Path) -> Option<(Self, &str)> {
        let (stem, extension) = path.file_name()?.to_str()?.split_once('.')?;
        let (id, hash) = stem.split_once('-')?;
        let key = Self { id: id.parse().ok()?, content_hash: hex_hash::parse(hash)? };
        (key.stem() == stem && EXTENSIONS.contains(&extension)).then_some((key, extension))
    }
}

/// Progress with the signatures of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestState {
    /// Digest of the rules by which signatures are made. Those of other rules are made anew.
    #[serde(with = "pol_primitives::hex_hash")]
    pub(super) rule: Hash,
    /// Number of signatures that are there.
    pub(super) documents: u64,
    /// Position of the first token that they do not cover.
    pub(super) next_token: u64,
    /// Reason for which the manifest has no signatures, and never will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) malformed: Option<String>,
    /// Failure of the last try to fetch shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<Failure>,
}

/// Failure of a try to fetch shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Number of tries that failed one after the other.
    pub(super) tries: u32,
    /// Time of the next one, in seconds since 1970.
    pub(super) retry_at: u64,
}

/// Folder of the signatures of a chain's manifests.
#[derive(Debug)]
pub struct SignatureFolder {
    path: PathBuf,
    /// First block of the chain.
    chain: Hash,
    pub(super) dedup: DedupConfig,
    /// Manifests whose signatures were verified since the folder was opened, with the numbers of
    /// their documents.
    verified: BTreeMap<ManifestKey, u64>,
    /// Number of files of signatures that came or went.
    pub(super) changes: u64,
}

impl SignatureFolder {
    /// Creates the description of a folder of signatures that are made with the options `dedup`.
    /// `chain` is the first block of the chain. Nothing is read or written.
    pub fn new(path: PathBuf, chain: Hash, dedup: DedupConfig) -> Self {
        Self { path, chain, dedup, verified: BTreeMap::new(), changes: 0 }
    }

    /// Returns the manifests that have files in the folder.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be listed.
    pub fn manifests(&self) -> Result<BTreeSet<ManifestKey>, DataError> {
        let files = files(&self.path)?;
        Ok(files.iter().filter_map(|path| ManifestKey::of_path(path)).map(|(key, _)| key).collect())
    }

    /// Returns the manifests whose signatures are there, in their order, with the files.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be listed.
    pub fn signatures(&self) -> Result<BTreeMap<ManifestKey, PathBuf>, DataError> {
        let is_whole = |path: PathBuf| match ManifestKey::of_path(&path) {
            Some((key, SIGNATURES)) => Some((key, path)),
            _ => None,
        };
        Ok(files(&self.path)?.into_iter().filter_map(is_whole).collect())
    }

    /// Keeps other processes from the folder while the file is open. The folder is created if it is
    /// missing.
    pub(super) fn lock(&self) -> Result<File, DataError> {
        fs::create_dir_all(&self.path).io_context("create the folder", &self.path)?;
        let path = self.path.join(LOCK);
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.io_context("create", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataError::InvalidOption(format!(
                    "another process fetches signatures into {}; wait for it, or stop it",
                    self.path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(error).io_context("lock", &path),
        }
        let (chain, mut named) = (hex::encode(self.chain), String::new());
        (&file).take(MAX_STATE_BYTES).read_to_string(&mut named).io_context("read", &path)?;
        if named.is_empty() {
            file.write_all(chain.as_bytes()).io_context("write", &path)?;
        } else if named != chain {
            return Err(DataError::InvalidOption(format!(
                "{} holds signatures of another chain; name another folder",
                self.path.display()
            )));
        }
        Ok(file)
    }

    /// Returns the path of the signatures of a manifest.
    pub(super) fn signatures_path(&self, key: &ManifestKey) -> PathBuf {
        self.file(key, SIGNATURES)
    }

    /// Returns the number of documents of a manifest whose signatures are there.
    pub(super) fn documents(&self, key: &ManifestKey) -> Option<u64> {
        self.verified.get(key).copied()
    }

    /// Verifies the signatures that were not verified before. Damaged ones are removed, so that
    /// they are made again.
    pub(super) fn verify(&mut self) -> Result<(), DataError> {
        for (key, path) in self.signatures()? {
            if self.verified.contains_key(&key) {
                continue;
            }
            let reason = match SignatureFile::open(&path, &self.dedup) {
                Ok(file) if file.manifest() == Some(key.content_hash) => {
                    self.verified.insert(key, file.documents());
                    continue;
                }
                Ok(_) => "they are those of another manifest".to_owned(),
                Err(CorpusError::Io { source, .. })
                    if source.kind() != ErrorKind::UnexpectedEof =>
                {
                    return Err(source).io_context("read", &path);
                }
                Err(error) => error.to_string(),
            };
            tracing::warn!("making the signatures of manifest {} again: {reason}", key.id);
            self.remove(&key)?;
        }
        Ok(())
    }

    /// Ends the signatures of a manifest.
    pub(super) fn commit(
        &mut self,
        key: ManifestKey,
        writer: ManifestSignatureWriter,
    ) -> Result<u64, DataError> {
        let documents = writer.documents();
        writer.commit()?;
        self.changes += 1;
        self.verified.insert(key, documents);
        Ok(documents)
    }

    /// Returns the progress with a manifest: none if it is not known or cannot be read.
    pub(super) fn state(&self, key: &ManifestKey) -> ManifestState {
        let mut json = Vec::new();
        let read = File::open(self.file(key, "json"))
            .and_then(|file| file.take(MAX_STATE_BYTES).read_to_end(&mut json));
        let state = read.ok().and_then(|_| serde_json::from_slice(&json).ok());
        state.unwrap_or_default()
    }

    /// Replaces the progress with a manifest.
    pub(super) fn write_state(
        &self,
        key: &ManifestKey,
        state: &ManifestState,
    ) -> Result<(), DataError> {
        let (path, new) = (self.file(key, "json"), self.file(key, "new"));
        let json = serde_json::to_vec(state).map_err(io::Error::from).io_context("write", &path)?;
        write_synced(&new, &json)?;
        fs::rename(&new, &path).io_context("write", &path)
    }

    /// Removes all files about a manifest.
    pub(super) fn remove(&mut self, key: &ManifestKey) -> Result<(), DataError> {
        self.verified.remove(key);
        for extension in EXTENSIONS {
            let path = self.file(key, extension);
            match fs::remove_file(&path) {
                Ok(()) => self.changes += u64::from(extension == SIGNATURES),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).io_context("remove", &path),
            }
        }
        Ok(())
    }

    fn file(&self, key: &ManifestKey, extension: &str) -> PathBuf {
        self.path.join(key.stem()).with_extension(extension)
    }
}

/// Returns the files of signatures in a folder that [`SignatureFolder`] filled, in the order of
/// their manifests.
///
/// # Errors
///
/// Fails if the folder cannot be listed, or is another one.
pub fn signature_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !folder.join(LOCK).is_file() {
        return Err(DataError::InvalidOption(format!(
            "{} is no folder of signatures; name one that `pol-trainer data fetch-signatures` \
             made, or the signatures.bin of an ingestion",
            folder.display()
        )));
    }
    let mut found = files(folder)?;
    found.retain(|path| {
        ManifestKey::of_path(path).is_some_and(|(_, extension)| extension == SIGNATURES)
    });
    found.sort_unstable();
    Ok(found)
}

/// Returns the paths in a folder. One that is missing has none.
fn files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .io_context("list", folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_are_in_the_order_of_the_registrations(
            a: (ManifestId, Hash), b: (ManifestId, Hash), noise in "[0-9a-f.-]{0,90}",
        ) {
            let [a, b] = [a, b].map(|(id, content_hash)| ManifestKey { id, content_hash });
            prop_assert_eq!(a.stem().cmp(&b.stem()), a.cmp(&b));
            for extension in EXTENSIONS {
                let path = Path::new("folder").join(a.stem()).with_extension(extension);
                prop_assert_eq!(ManifestKey::of_path(&path), Some((a, extension)));
            }
            if let Some((key, extension)) = ManifestKey::of_path(Path::new(&noise)) {
                prop_assert_eq!(format!("{}.{extension}", key.stem()), noise);
            }
        }
    }

    #[test]
    fn what_is_known_about_a_manifest_is_kept_and_forgotten() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("network");
        let mut folder = SignatureFolder::new(path.clone(), [1; 32], DedupConfig::default());
        assert!(folder.manifests().unwrap().is_empty());
        let error = signature_files(scratch.path()).unwrap_err().to_string();
        assert!(error.contains("no folder of signatures; name one"), "{error}");
        let lock = folder.lock().unwrap();
        let error = folder.lock().unwrap_err().to_string();
        assert!(error.contains("another process fetches"), "{error}");
        drop(lock);
        let other = SignatureFolder::new(path.clone(), [2; 32], DedupConfig::default());
        let error = other.lock().unwrap_err().to_string();
        assert!(error.contains("signatures of another chain"), "{error}");

        let key = ManifestKey { id: 3, content_hash: [7; 32] };
        assert_eq!(folder.state(&key), ManifestState::default());
        let failure = Some(Failure { reason: "away".into(), tries: 2, retry_at: 9 });
        let state = ManifestState { documents: 5, next_token: 8, failure, ..Default::default() };
        folder.write_state(&key, &state).unwrap();
        assert_eq!(folder.state(&key), state);
        assert_eq!(folder.manifests().unwrap(), [key].into());
        fs::write(folder.file(&key, "json"), "{").unwrap();
        assert_eq!(folder.state(&key), ManifestState::default(), "it is made anew");
        folder.remove(&key).unwrap();
        assert!(folder.manifests().unwrap().is_empty());
    }

    #[test]
    fn damaged_signatures_are_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().to_owned();
        let mut folder = SignatureFolder::new(path.clone(), [1; 32], DedupConfig::default());
        let _lock = folder.lock().unwrap();
        let keys = [1, 2, 3, 4].map(|id| ManifestKey { id, content_hash: [id as u8; 32] });
        for key in &keys {
            let path = folder.signatures_path(key);
            // The third one says that it is of another manifest.
            let named = if key.id == 3 { [9; 32] } else { key.content_hash };
            let writer = ManifestSignatureWriter::open(&path, &folder.dedup, &named, 0);
            let mut writer = writer.unwrap();
            writer.write("A text of six words here.").unwrap();
            writer.commit().unwrap();
            folder.write_state(key, &ManifestState::default()).unwrap();
        }
        let second = folder.signatures_path(&keys[1]);
        let mut bytes = fs::read(&second).unwrap();
        bytes[300] ^= 1;
        fs::write(&second, bytes).unwrap();
        fs::write(folder.signatures_path(&keys[3]), "torn").unwrap();
        folder.verify().unwrap();
        assert_eq!(folder.manifests().unwrap(), [keys[0]].into());
        assert_eq!((folder.documents(&keys[0]), folder.documents(&keys[1])), (Some(1), None));
        assert_eq!(signature_files(&path).unwrap(), [folder.signatures_path(&keys[0])]);
    }
}
