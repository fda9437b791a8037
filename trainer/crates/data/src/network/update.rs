// SPDX-License-Identifier: Apache-2.0

//! Making of the signatures that are missing, from the shards that members serve.

use super::{
    folder::{Failure, ManifestKey, ManifestState, SignatureFolder},
    texts::{TextError, TextReader},
};
use crate::{
    DataError, EndOfText, Tokenizer, body_hashes, decode_shard, error::IoContext,
    shards::MAX_TOKEN_BYTES,
};
use pol_corpus::{
    CorpusError,
    dedup::{DedupConfig, ManifestSignatureWriter},
};
use pol_primitives::{
    Hash,
    data::{MAX_SHARD_TOKENS, MAX_SHARDS, ManifestId, ManifestInfo},
    lineage::MAX_DOCUMENTS,
    trace::merkle_root,
};
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

/// Version of the rules by which signatures are made of shards.
const VERSION: u32 = 1;
/// Bytes of shards that are asked for at a time, unless one has more. The slowest line that members
/// may have sends them in a minute.
const BATCH_BYTES: u64 = 4 << 20;
/// Most shards that are asked for at a time.
const BATCH_SHARDS: u64 = 256;
/// Bytes after which what was made is saved.
const SAVED_BYTES: u64 = 64 << 20;
/// Largest tokenizer, in bytes.
const MAX_TOKENIZER_BYTES: u64 = 1 << 26;
/// Time until the second try to fetch shards, in seconds. It doubles with each that fails.
const FIRST_PAUSE: u64 = 600;
/// Longest time between two tries, in seconds.
const LONGEST_PAUSE: u64 = 24 * 3600;

/// Manifest of a chain, whose documents others are compared with.
#[derive(Clone, Debug)]
pub struct ListedManifest {
    /// Number of the manifest.
    pub id: ManifestId,
    /// Account that registered it.
    pub owner: [u8; 32],
    /// Registered description.
    pub info: ManifestInfo,
}

impl ListedManifest {
    /// Returns the name of the manifest.
    pub fn key(&self) -> ManifestKey {
        ManifestKey { id: self.id, content_hash: self.info.content_hash }
    }
}

/// Result of a request for blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The blobs, in the order of their hashes.
    Blobs(Vec<Vec<u8>>),
    /// No member delivered one of them, for this reason.
    Unavailable(String),
    /// One is larger than it may be.
    TooLarge(String),
}

/// Way to get blobs: of this manifest, by their hashes, each of at most so many bytes.
type Fetch<'a, E> = dyn FnMut(&ListedManifest, &[Hash], u64) -> Result<Fetched, E> + 'a;

/// Options of an update.
#[derive(Clone, Debug)]
pub struct UpdateOptions {
    /// Tokenizer that need not be fetched.
    pub tokenizer: Option<PathBuf>,
    /// Separator of texts in that tokenizer. A name counts for other tokenizers too, which
    /// otherwise have the well-known one.
    pub end_of_text: EndOfText,
    /// Bytes to fetch and to write, after which the rest is left to another update.
    pub max_bytes: u64,
    /// Time after which the rest is left to another update.
    pub max_time: Duration,
    /// Time for a manifest, after which the others have their turns, so that nobody who sends
    /// slowly keeps an update from them.
    pub turn: Duration,
    /// Try members again that failed lately.
    pub retry: bool,
    /// Time, in seconds since 1970.
    pub now: u64,
}

/// Result of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateReport {
    /// Manifests whose signatures are there.
    pub compared: u64,
    /// Their documents.
    pub documents: u64,
    /// Bytes that were fetched.
    pub fetched_bytes: u64,
    /// The update added or removed signatures.
    pub has_changed: bool,
    /// Manifests without signatures.
    pub skipped: Vec<SkippedManifest>,
}

/// Manifest without signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedManifest {
    /// Number of the manifest.
    pub id: ManifestId,
    /// Reason, in words that say what becomes of it.
    pub reason: String,
    /// This update tried it, and failed.
    pub is_new: bool,
}

impl SignatureFolder {
    /// Makes the signatures of the `listed` manifests that are missing, one after the other, of the
    /// shards that `fetch` returns. All files of manifests that are neither listed nor `kept` are
    /// removed.
    ///
    /// Bytes that do not have the hashes which the chain names are never used. A manifest whose
    /// shards nobody delivers, or that is malformed, is skipped. An update that was stopped or
    /// killed goes on where it was.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer or the folder cannot be read or written, if another process writes to
    /// the folder, and if `fetch` does.
    pub fn update<E: From<DataError>>(
        &mut self,
        listed: &[ListedManifest],
        kept: &BTreeSet<ManifestKey>,
        options: &UpdateOptions,
        fetch: &mut Fetch<'_, E>,
    ) -> Result<UpdateReport, E> {
        let _lock = self.lock()?;
        let (before, changes) = (self.signatures()?, self.changes);
        let known: BTreeSet<_> = listed.iter().map(ListedManifest::key).collect();
        for key in self.manifests()? {
            let goes_on = kept.contains(&key) && before.contains_key(&key);
            if !known.contains(&key) && !goes_on {
                self.remove(&key)?;
            }
        }
        self.verify()?;
        let local = match &options.tokenizer {
            Some(path) => Some(fs::read(path).io_context("read the tokenizer", path)?),
            None => None,
        };
        let local = local.map(|json| (*blake3::hash(&json).as_bytes(), json));
        let mut update = Update {
            folder: self,
            options,
            fetch,
            local,
            tokenizer: None,
            left_bytes: options.max_bytes,
            started: Instant::now(),
            report: UpdateReport::default(),
        };
        let mut waiting: Vec<_> = listed.iter().collect();
        while !waiting.is_empty() {
            let mut unfinished = Vec::new();
            for manifest in waiting {
                if !update.take(manifest)? {
                    unfinished.push(manifest);
                }
            }
            waiting = unfinished;
        }
        let mut report = update.report;
        report.skipped.sort_by_key(|skipped| skipped.id);
        let after = self.signatures()?;
        report.has_changed = self.changes != changes;
        report.compared = after.len() as u64;
        report.documents = after.keys().filter_map(|key| self.documents(key)).sum();
        Ok(report)
    }
}

/// Tokenizer with the separator of its texts.
struct Separated {
    hash: Hash,
    tokenizer: Tokenizer,
    end_of_text: u32,
}

/// Outcome of a try to make the signatures of a manifest.
enum Outcome {
    /// All are there.
    Whole,
    /// The turn is over.
    Unfinished,
    /// The time or the bytes of this update are used up.
    Spent,
    /// No member delivers.
    Unavailable(String),
    /// The registered bytes are no text.
    Malformed(String),
}

/// Run of an update.
struct Update<'a, 'b, E> {
    folder: &'a mut SignatureFolder,
    options: &'a UpdateOptions,
    fetch: &'a mut Fetch<'b, E>,
    /// Tokenizer that need not be fetched, and its hash.
    local: Option<(Hash, Vec<u8>)>,
    /// Tokenizer that was used last.
    tokenizer: Option<Rc<Separated>>,
    left_bytes: u64,
    started: Instant,
    report: UpdateReport,
}

impl<E: From<DataError>> Update<'_, '_, E> {
    /// Makes the signatures of a manifest, unless they are there or cannot be made now. Returns
    /// `false` if it is to have another turn.
    fn take(&mut self, manifest: &ListedManifest) -> Result<bool, E> {
        let (key, rule) = (manifest.key(), self.rule(&manifest.info.tokenizer));
        let mut state = self.folder.state(&key);
        if state.rule != rule {
            self.folder.remove(&key)?;
            state = ManifestState { rule, ..ManifestState::default() };
        }
        if self.folder.documents(&key).is_some() {
            return Ok(true);
        }
        if let Some(reason) = state.malformed {
            self.skip(key.id, reason, false);
            return Ok(true);
        }
        let (retry, now) = (self.options.retry, self.options.now);
        // A clock that was set back must not hold it up for longer than a pause.
        let waits = |it: &&Failure| (1..=LONGEST_PAUSE).contains(&it.retry_at.saturating_sub(now));
        if let Some(failure) = state.failure.as_ref().filter(|it| !retry && waits(it)) {
            self.skip(key.id, failure.reason.clone(), false);
            return Ok(true);
        }
        let before = state.next_token;
        let outcome = self.sign(manifest, &mut state);
        let failures = state.failure.take().map_or(0, |failure| failure.tries);
        // Who sends a part at a time does not fail.
        let failures = if state.next_token > before { 0 } else { failures };
        let is_done = !matches!(outcome, Ok(Outcome::Unfinished));
        match outcome {
            Ok(Outcome::Whole) => return Ok(true),
            Ok(Outcome::Unfinished) => {}
            Ok(Outcome::Spent) => {
                let reason = "the time or the bytes of this update are used up, and the next one \
                              goes on";
                self.skip(key.id, reason.to_owned(), false);
            }
            Ok(Outcome::Unavailable(reason)) => {
                self.skip(key.id, reason.clone(), true);
                let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
                let retry_at = now.saturating_add(pause);
                let tries = failures.saturating_add(1);
                state.failure = Some(Failure { reason, tries, retry_at });
            }
            Ok(Outcome::Malformed(reason)) => {
                self.skip(key.id, reason.clone(), true);
                self.folder.remove(&key)?;
                let malformed = Some(reason);
                state = ManifestState { rule, malformed, ..ManifestState::default() };
            }
            Err(error) => {
                // What was saved is gone on with, unless the disk is what failed.
                let _ = self.folder.write_state(&key, &state);
                return Err(error);
            }
        }
        self.folder.write_state(&key, &state)?;
        Ok(is_done)
    }

    fn is_spent(&self) -> bool {
        self.left_bytes == 0 || self.started.elapsed() >= self.options.max_time
    }

    fn skip(&mut self, id: ManifestId, reason: String, is_new: bool) {
        self.report.skipped.push(SkippedManifest { id, reason, is_new });
    }

    /// Makes the signatures of a manifest, from where `state` says. It says then where to go on.
    fn sign(&mut self, manifest: &ListedManifest, state: &mut ManifestState) -> Result<Outcome, E> {
        let (key, info) = (manifest.key(), &manifest.info);
        let is_in_range = (1..=MAX_SHARDS).contains(&info.shards)
            && (1..=MAX_SHARD_TOKENS).contains(&info.shard_tokens);
        if !is_in_range {
            return Ok(Outcome::Malformed("its numbers are out of range".into()));
        }
        if self.is_spent() {
            return Ok(Outcome::Spent);
        }
        let began = Instant::now();
        let separated = match self.tokenizer(manifest)? {
            Ok(separated) => separated,
            Err(outcome) => return Ok(outcome),
        };
        let hashes = match self.body(manifest)? {
            Ok(hashes) => hashes,
            Err(outcome) => return Ok(outcome),
        };
        tracing::info!("signing the text of manifest {}, in {} shards", key.id, info.shards);
        let mut writer = self.writer(&key, info, state)?;
        let Separated { tokenizer, end_of_text, .. } = &*separated;
        let mut reader = TextReader::new(tokenizer, *end_of_text, state.next_token);
        let width = u64::from(info.shard_tokens);
        let first = (state.next_token / width).min(u64::from(info.shards) - 1);
        let max_bytes = (width + 1) * MAX_TOKEN_BYTES;
        let batch = (BATCH_BYTES / max_bytes).clamp(1, BATCH_SHARDS) as usize;
        let (mut index, mut unsaved, skipped) = (first, 0, state.next_token);
        for hashes in hashes.get(first as usize..).unwrap_or_default().chunks(batch) {
            let blobs = match self.fetch_blobs(manifest, hashes, max_bytes) {
                Ok(Ok(blobs)) => blobs,
                Ok(Err(outcome)) => {
                    save(&mut writer, &reader, state)?;
                    return Ok(outcome);
                }
                Err(error) => {
                    save(&mut writer, &reader, state)?;
                    return Err(error);
                }
            };
            for blob in blobs {
                let before = writer.documents();
                let shard = Shard { bytes: &blob, index, skipped };
                if let Err(reason) = shard.read(info, tokenizer, &mut reader, &mut writer)? {
                    return Ok(Outcome::Malformed(reason));
                }
                let signed = (writer.documents() - before) * writer.signature_bytes();
                self.left_bytes = self.left_bytes.saturating_sub(signed);
                (index, unsaved) = (index + 1, unsaved + signed + blob.len() as u64);
            }
            // It goes on until there is something to save, so that the next turn does too.
            let can_end = index < u64::from(info.shards) && reader.resume_at() > skipped;
            let outcome = match can_end {
                true if self.is_spent() => Some(Outcome::Spent),
                true if began.elapsed() >= self.options.turn => Some(Outcome::Unfinished),
                _ => None,
            };
            if unsaved >= SAVED_BYTES || outcome.is_some() {
                save(&mut writer, &reader, state)?;
                self.folder.write_state(&key, state)?;
                unsaved = 0;
            }
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
        if let Err(reason) = told(reader.finish(|text| writer.write(text)))? {
            return Ok(Outcome::Malformed(reason));
        }
        // The rule is there before the signatures are, which are made anew without it.
        state.failure = None;
        self.folder.write_state(&key, state)?;
        self.folder.commit(key, writer)?;
        Ok(Outcome::Whole)
    }

    /// Opens the signatures of a manifest behind those that are there. If they are damaged, `state`
    /// becomes that of a start.
    fn writer(
        &self,
        key: &ManifestKey,
        info: &ManifestInfo,
        state: &mut ManifestState,
    ) -> Result<ManifestSignatureWriter, E> {
        let path = self.folder.signatures_path(key);
        let open = |documents| {
            let dedup = &self.folder.dedup;
            ManifestSignatureWriter::open(&path, dedup, &key.content_hash, documents)
        };
        let tokens = u64::from(info.shards) * u64::from(info.shard_tokens) + 1;
        let opened = match open(state.documents) {
            Ok(_) if state.next_token > tokens => None,
            Err(CorpusError::Damaged { .. }) => None,
            Err(CorpusError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
            opened => Some(opened),
        };
        let opened = opened.unwrap_or_else(|| {
            tracing::warn!("beginning with the signatures of manifest {} again", key.id);
            (state.documents, state.next_token) = (0, 0);
            open(0)
        });
        Ok(opened.map_err(DataError::from)?)
    }

    /// Returns the hashes of the shards of a manifest, as the chain names them.
    fn body(&mut self, manifest: &ListedManifest) -> Result<Result<Vec<Hash>, Outcome>, E> {
        let info = &manifest.info;
        let max_bytes = u64::from(info.shards) * size_of::<Hash>() as u64;
        let mut blobs = match self.fetch_blobs(manifest, &[info.content_hash], max_bytes)? {
            Ok(blobs) => blobs,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let malformed = |reason: String| Ok(Err(Outcome::Malformed(reason)));
        match body_hashes(&blobs.pop().unwrap_or_default(), info.shards) {
            Err(error) => malformed(error.to_string()),
            Ok(hashes) if merkle_root(&hashes) != info.merkle_root => {
                malformed("its shards are not the registered ones".into())
            }
            Ok(hashes) => Ok(Ok(hashes)),
        }
    }

    /// Returns the tokenizer of a manifest.
    fn tokenizer(
        &mut self,
        manifest: &ListedManifest,
    ) -> Result<Result<Rc<Separated>, Outcome>, E> {
        let hash = manifest.info.tokenizer;
        if let Some(used) = self.tokenizer.as_ref().filter(|used| used.hash == hash) {
            return Ok(Ok(used.clone()));
        }
        let json = match self.local.as_ref().filter(|(local, _)| *local == hash) {
            Some((_, json)) => json.clone(),
            None => match self.fetch_blobs(manifest, &[hash], MAX_TOKENIZER_BYTES)? {
                Ok(mut blobs) => blobs.pop().unwrap_or_default(),
                Err(outcome) => return Ok(Err(outcome)),
            },
        };
        let end = self.end_of_text(&hash);
        let parsed = Tokenizer::from_json(&json).map_err(|error| error.to_string());
        let separated = parsed.and_then(|tokenizer| {
            let (_, end_of_text) = end.choose(&tokenizer)?;
            Ok(Rc::new(Separated { hash, tokenizer, end_of_text }))
        });
        Ok(match separated {
            Ok(separated) => {
                self.tokenizer = Some(separated.clone());
                Ok(separated)
            }
            Err(reason) => {
                Err(Outcome::Malformed(format!("its tokenizer cannot be used: {reason}")))
            }
        })
    }

    /// Returns the choice of the separator in the tokenizer with this hash.
    fn end_of_text(&self, tokenizer: &Hash) -> EndOfText {
        let is_local = self.local.as_ref().is_some_and(|(local, _)| local == tokenizer);
        match &self.options.end_of_text {
            // The numbers of tokens are those of one tokenizer.
            EndOfText::Model(_) if !is_local => EndOfText::Known,
            end => end.clone(),
        }
    }

    /// Returns the digest of all that the signatures depend on, besides the shards.
    fn rule(&self, tokenizer: &Hash) -> Hash {
        let DedupConfig { seed, shingle, bands, rows, similarity: _, memory: _ } =
            self.folder.dedup;
        let mut hasher = blake3::Hasher::new_derive_key("pol-data 2026 signatures of a manifest");
        hasher.update(&VERSION.to_le_bytes()).update(&seed.to_le_bytes());
        [shingle, bands, rows].iter().for_each(|option| {
            hasher.update(&option.to_le_bytes());
        });
        hasher.update(tokenizer).update(format!("{:?}", self.end_of_text(tokenizer)).as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Returns blobs, whose hashes are verified whatever `fetch` did.
    fn fetch_blobs(
        &mut self,
        manifest: &ListedManifest,
        hashes: &[Hash],
        max_bytes: u64,
    ) -> Result<Result<Vec<Vec<u8>>, Outcome>, E> {
        let blobs = match (self.fetch)(manifest, hashes, max_bytes)? {
            Fetched::Blobs(blobs) => blobs,
            Fetched::Unavailable(reason) => return Ok(Err(Outcome::Unavailable(reason))),
            Fetched::TooLarge(reason) => return Ok(Err(Outcome::Malformed(reason))),
        };
        let is_right = |(blob, hash): (&Vec<u8>, &Hash)| blake3::hash(blob) == *hash;
        if blobs.len() != hashes.len() || !blobs.iter().zip(hashes).all(is_right) {
            return Ok(Err(Outcome::Unavailable("other bytes came than those asked for".into())));
        }
        let bytes = blobs.iter().map(|blob| blob.len() as u64).sum::<u64>();
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        self.report.fetched_bytes = self.report.fetched_bytes.saturating_add(bytes);
        Ok(Ok(blobs))
    }
}

/// Shard on its way to texts.
struct Shard<'a> {
    bytes: &'a [u8],
    index: u64,
    /// Position of the first token of the manifest that is read.
    skipped: u64,
}

impl Shard<'_> {
    /// Reads the tokens that no other shard has, and signs the texts that end in them. Returns the
    /// reason if they are no text.
    fn read(
        &self,
        info: &ManifestInfo,
        tokenizer: &Tokenizer,
        reader: &mut TextReader<'_>,
        writer: &mut ManifestSignatureWriter,
    ) -> Result<Result<(), String>, DataError> {
        let tokens = match decode_shard(self.bytes, info.shard_tokens, tokenizer.vocabulary()) {
            Ok(tokens) => tokens,
            Err(error) => return Ok(Err(format!("shard {}: {error}", self.index))),
        };
        // The next shard begins with the last token.
        let is_last = self.index + 1 == u64::from(info.shards);
        let end = tokens.len() - usize::from(!is_last);
        let start = self.skipped.saturating_sub(self.index * u64::from(info.shard_tokens));
        let start = usize::try_from(start).unwrap_or(end).min(end);
        let read = told(reader.add(&tokens[start..end], |text| writer.write(text)))?;
        if writer.documents() > u64::from(MAX_DOCUMENTS) {
            return Ok(Err(format!("it has more than {MAX_DOCUMENTS} texts")));
        }
        Ok(read)
    }
}

/// Makes durable what was made, and notes in `state` where to go on.
fn save(
    writer: &mut ManifestSignatureWriter,
    reader: &TextReader<'_>,
    state: &mut ManifestState,
) -> Result<(), DataError> {
    writer.save()?;
    (state.documents, state.next_token) = (writer.documents(), reader.resume_at());
    Ok(())
}

/// Tells the tokens of no text from a failure of the disk.
fn told(read: Result<(), TextError>) -> Result<Result<(), String>, DataError> {
    match read {
        Ok(()) => Ok(Ok(())),
        Err(TextError::Tokens(error)) => Ok(Err(format!("its tokens are no text: {error}"))),
        Err(TextError::Corpus(error)) => Err(error.into()),
    }
}
