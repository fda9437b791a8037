// SPDX-License-Identifier: Apache-2.0

//! An ingestion from its input files to its output folder.

use crate::{
    EndOfText, HELD_OUT, ManifestSummary, RECORD_FILE, ShardFolder, TOKENIZER_FILE, TRAIN,
    corpus::{Block, Corpus, CorpusCounts},
    end_of_text::{END_OF_TEXT, IngestTokenizer},
    error::{DataError, IoContext},
    shards::{ShardWriter, write_synced},
    tokenizer_trainer::TokenizerTrainer,
};
use indicatif::{ProgressBar, ProgressStyle};
use pol_primitives::{Hash, MILLION, Ppm, data::MAX_SHARD_TOKENS};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Blocks that are tokenised at a time.
const BATCH_BLOCKS: usize = 256;

/// Inputs and options of an ingestion.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// Text files, and folders that are searched for `.txt` files at any depth.
    pub inputs: Vec<PathBuf>,
    /// Output folder.
    pub out: PathBuf,
    /// Entries of the vocabulary to train. Ignored if `tokenizer` is given.
    pub vocabulary: u32,
    /// Tokens of a training sequence.
    pub sequence: u16,
    /// Tokens that a shard trains on, a multiple of `sequence`.
    pub shard_tokens: u32,
    /// Share of the text that is held out, in millionths. Zero holds nothing out.
    pub held_out: Ppm,
    /// `tokenizer.json` to use. If `None`, a tokenizer is trained on the text.
    pub tokenizer: Option<PathBuf>,
    /// Separator of texts in a given tokenizer. Trained tokenizers have
    /// [`END_OF_TEXT`](crate::END_OF_TEXT).
    pub end_of_text: EndOfText,
    /// Replace an earlier ingestion in `out` that had other inputs or options.
    pub force: bool,
}

impl IngestConfig {
    fn validate(&self) -> Result<(), DataError> {
        let Self { sequence, shard_tokens, held_out, .. } = *self;
        if sequence == 0
            || shard_tokens == 0
            || shard_tokens > MAX_SHARD_TOKENS
            || shard_tokens % u32::from(sequence) != 0
        {
            return Err(DataError::InvalidOption(format!(
                "a shard of {shard_tokens} tokens must be a multiple of the sequence of \
                 {sequence}, and at most {MAX_SHARD_TOKENS}"
            )));
        }
        if held_out >= MILLION {
            return Err(DataError::InvalidOption(
                "the held-out share must leave some text to train on".into(),
            ));
        }
        Ok(())
    }

    /// Returns the digest of everything that determines the output.
    fn digest(&self, corpus: &Corpus, tokenizer: Option<&IngestTokenizer>) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"pol/ingest/1");
        match tokenizer {
            Some(tokenizer) => hasher.update(&[1]).update(&tokenizer.hash()),
            None => hasher.update(&[0]).update(&self.vocabulary.to_le_bytes()),
        };
        // The default separator is left out: digests of earlier versions, which knew no other,
        // stay valid.
        if let Some(end) =
            tokenizer.map(IngestTokenizer::end_of_text_name).filter(|&end| end != END_OF_TEXT)
        {
            hasher.update(&[2]).update(&(end.len() as u64).to_le_bytes()).update(end.as_bytes());
        }
        hasher
            .update(&self.sequence.to_le_bytes())
            .update(&self.shard_tokens.to_le_bytes())
            .update(&self.held_out.to_le_bytes());
        for hash in corpus.hashes() {
            hasher.update(hash);
        }
        *hasher.finalize().as_bytes()
    }
}

/// Record of an ingestion, stored as `ingest.json` with hashes in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestRecord {
    /// Digest of the inputs and options.
    #[serde(with = "pol_primitives::hex_hash")]
    pub request: Hash,
    /// BLAKE3 of `tokenizer.json`.
    #[serde(with = "pol_primitives::hex_hash")]
    pub tokenizer: Hash,
    /// Entries of the vocabulary.
    pub vocabulary: u32,
    /// Token between texts.
    #[serde(default = "default_end_of_text")]
    pub end_of_text: String,
    /// Tokens of a training sequence.
    pub sequence: u16,
    /// Tokens that each shard trains on.
    pub shard_tokens: u32,
    /// Training manifest.
    pub train: ManifestSummary,
    /// Held-out manifest, without shards if nothing was held out.
    pub held_out: ManifestSummary,
    /// Number of input files.
    pub documents: u32,
    /// Number of blocks of text, of at most 8 KiB each, without duplicates.
    pub blocks: u64,
    /// Number of duplicate blocks, which were left out.
    pub duplicate_blocks: u64,
    /// Bytes of clean text.
    pub bytes: u64,
    /// Number of byte sequences that were not UTF-8.
    pub invalid: u64,
    /// Tokens of the text, including those that filled no shard.
    pub tokens: u64,
}

/// Returns the separator of records that name none.
fn default_end_of_text() -> String {
    END_OF_TEXT.into()
}

impl IngestRecord {
    /// Reads the record in an ingestion's folder.
    ///
    /// # Errors
    ///
    /// Fails if the folder has no readable record.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(RECORD_FILE);
        let unreadable =
            |reason: String| DataError::InvalidRecord { path: folder.to_owned(), reason };
        let json = fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))
    }
}

/// Turns text files into shards and manifests. Returns at once if `out` already holds exactly this
/// ingestion.
///
/// `out` appears as a whole or not at all. If standard error is a terminal, a progress bar on it
/// shows the bytes read.
///
/// # Errors
///
/// Fails if an option is out of its range, if the text is too little for the vocabulary or for a
/// shard, if `out` holds other files, or if a file cannot be read or written.
pub fn ingest(config: &IngestConfig) -> Result<IngestRecord, DataError> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}");
    let progress =
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let record = ingest_with_progress(config, &progress);
    progress.finish_and_clear();
    record
}

fn ingest_with_progress(
    config: &IngestConfig,
    progress: &ProgressBar,
) -> Result<IngestRecord, DataError> {
    config.validate()?;
    let given = config
        .tokenizer
        .as_deref()
        .map(|path| IngestTokenizer::load(path, &config.end_of_text))
        .transpose()?;
    progress.set_message("reading");
    let corpus = Corpus::open(&config.inputs)?;
    let request = config.digest(&corpus, given.as_ref());
    if let Some(record) = existing_ingestion(config, &request)? {
        return Ok(record);
    }

    let parent = config
        .out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).io_context("create the folder", parent)?;
    let scratch = tempfile::Builder::new()
        .prefix(".ingest-")
        .tempdir_in(parent)
        .io_context("write to", parent)?;
    let folder = scratch.path().join("new");
    fs::create_dir(&folder).io_context("create the folder", &folder)?;

    progress.set_length(corpus.bytes * if given.is_some() { 1 } else { 2 });
    let tokenizer = match given {
        Some(tokenizer) => tokenizer,
        None => train_tokenizer(&corpus, config, progress)?,
    };
    write_synced(&folder.join(TOKENIZER_FILE), tokenizer.json())?;
    progress.set_message("tokenising");
    let record = tokenise(&corpus, &tokenizer, config, request, &folder, progress)?;
    let json = serde_json::to_vec_pretty(&record)
        .map_err(io::Error::from)
        .io_context("write", &folder.join(RECORD_FILE))?;
    write_synced(&folder.join(RECORD_FILE), &json)?;
    move_into_place(&folder, &config.out, &scratch.path().join("old"))?;
    if record.invalid > 0 {
        tracing::warn!(
            sequences = record.invalid,
            "some bytes were not UTF-8 and were replaced by U+FFFD"
        );
    }
    tracing::info!(
        documents = record.documents,
        tokens = record.tokens,
        shards = record.train.shards,
        "ingested"
    );
    Ok(record)
}

/// Returns the record of an identical earlier ingestion in `out`, or `None` if `out` is free or is
/// to be replaced.
fn existing_ingestion(
    config: &IngestConfig,
    request: &Hash,
) -> Result<Option<IngestRecord>, DataError> {
    let out = &config.out;
    match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) if out.is_file() => return Err(DataError::Foreign(out.clone())),
        Err(error) => return Err(error).io_context("read", out),
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Ok(None);
            }
        }
    }
    let Ok(record) = IngestRecord::read(out) else { return Err(DataError::Foreign(out.clone())) };
    let reason = if record.request != *request {
        "has other inputs or options".to_owned()
    } else {
        match agrees_with_files(&record, out) {
            Ok(true) => return Ok(Some(record)),
            Ok(false) => "does not agree with its record".to_owned(),
            Err(error) => format!("is damaged ({error})"),
        }
    };
    if config.force { Ok(None) } else { Err(DataError::Occupied { path: out.clone(), reason }) }
}

/// Returns `true` if the tokenizer and the manifests in `out` are those of `record`.
fn agrees_with_files(record: &IngestRecord, out: &Path) -> Result<bool, DataError> {
    let tokenizer = out.join(TOKENIZER_FILE);
    let json = fs::read(&tokenizer).io_context("read the tokenizer", &tokenizer)?;
    Ok(blake3::hash(&json) == record.tokenizer
        && ShardFolder::open(&out.join(TRAIN))?.summary() == &record.train
        && ShardFolder::open(&out.join(HELD_OUT))?.summary() == &record.held_out)
}

/// Trains a tokenizer on the training split.
fn train_tokenizer(
    corpus: &Corpus,
    config: &IngestConfig,
    progress: &ProgressBar,
) -> Result<IngestTokenizer, DataError> {
    progress.set_message("counting words");
    let mut trainer = TokenizerTrainer::default();
    corpus.for_each_block(progress, |block| {
        if block.is_held_out(config.held_out) { Ok(()) } else { trainer.count(block.text) }
    })?;
    progress.set_message("training the tokenizer");
    trainer.train(config.vocabulary)
}

/// Writer of one split of the text.
struct SplitWriter {
    shards: ShardWriter,
    /// Document and index of the last block.
    last: Option<(u32, u32)>,
    /// Blocks that are not tokenised yet.
    pending: Vec<String>,
    /// For each pending block, `true` if it does not continue the block before it.
    starts: Vec<bool>,
    tokens: u64,
}

impl SplitWriter {
    fn create(path: PathBuf, shard_tokens: u32) -> Result<Self, DataError> {
        Ok(Self {
            shards: ShardWriter::create(path, shard_tokens)?,
            last: None,
            pending: Vec::new(),
            starts: Vec::new(),
            tokens: 0,
        })
    }

    fn add(&mut self, block: &Block<'_>, tokenizer: &IngestTokenizer) -> Result<(), DataError> {
        self.starts.push(self.last.is_none_or(|(document, index)| {
            (document, index + 1) != (block.document, block.index)
        }));
        self.last = Some((block.document, block.index));
        self.pending.push(block.text.to_owned());
        if self.pending.len() < BATCH_BLOCKS { Ok(()) } else { self.flush(tokenizer) }
    }

    fn flush(&mut self, tokenizer: &IngestTokenizer) -> Result<(), DataError> {
        let encoded = tokenizer.encode_batch(&self.pending)?;
        for (tokens, starts) in encoded.iter().zip(self.starts.drain(..)) {
            if starts {
                self.shards.write(&[tokenizer.end_of_text()])?;
            }
            self.shards.write(tokens)?;
            self.tokens += tokens.len() as u64 + u64::from(starts);
        }
        self.pending.clear();
        Ok(())
    }
}

/// Tokenises the corpus and writes both splits into `folder`.
fn tokenise(
    corpus: &Corpus,
    tokenizer: &IngestTokenizer,
    config: &IngestConfig,
    request: Hash,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<IngestRecord, DataError> {
    let mut train = SplitWriter::create(folder.join(TRAIN), config.shard_tokens)?;
    let mut held_out = SplitWriter::create(folder.join(HELD_OUT), config.shard_tokens)?;
    let CorpusCounts { documents, blocks, duplicate_blocks, bytes, invalid } = corpus
        .for_each_block(progress, |block| {
            let split = if block.is_held_out(config.held_out) { &mut held_out } else { &mut train };
            split.add(block, tokenizer)
        })?;
    train.flush(tokenizer)?;
    held_out.flush(tokenizer)?;
    Ok(IngestRecord {
        request,
        tokenizer: tokenizer.hash(),
        vocabulary: tokenizer.vocabulary(),
        end_of_text: tokenizer.end_of_text_name().into(),
        sequence: config.sequence,
        shard_tokens: config.shard_tokens,
        tokens: train.tokens + held_out.tokens,
        train: train.shards.finish("training", "or hold out a smaller share")?,
        held_out: if config.held_out == 0 {
            held_out.shards.close()?
        } else {
            held_out.shards.finish("held-out", "or hold out a larger share")?
        },
        documents,
        blocks,
        duplicate_blocks,
        bytes,
        invalid,
    })
}

/// Moves `new` to `out`. An earlier `out` is moved to `old`, and back if the move fails.
fn move_into_place(new: &Path, out: &Path, old: &Path) -> Result<(), DataError> {
    let replaces = out.exists();
    if replaces {
        fs::rename(out, old).io_context("replace", out)?;
    }
    let moved = fs::rename(new, out).io_context("write", out);
    if moved.is_err() && replaces {
        fs::rename(old, out).io_context("restore", out)?;
    }
    moved
}

#[cfg(test)]
mod tests;
