// SPDX-License-Identifier: Apache-2.0

//! Turns text files into tokenised shards and the manifests that a chain registers.
//!
//! [`ingest`] reads texts of any format, cleans and deduplicates them, trains a tokenizer on them
//! or takes a given one, and writes a folder:
//!
//! ```text
//! tokenizer.json         the tokenizer, which the recipe names by its BLAKE3 hash
//! train/body.bin         the training manifest: BLAKE3 hashes of its shards
//! train/shards.u16       the training shards
//! held-out/body.bin      the held-out manifest, of text that is in no training shard
//! held-out/shards.u16    the held-out shards, on which the network measures its model
//! documents.zst          a record of each document
//! documents/             tables over the records, and the tree that the chain knows the root of
//! signatures.bin         signatures of the documents, to find near duplicates elsewhere
//! report.json            counts by source, language, quality, and rule
//! ingest.json            the record of the ingestion
//! ```
//!
//! The same files and options give the same folder, byte for byte, on every machine.
//!
//! - [`ingest`], [`IngestConfig`] and [`IngestRecord`] make such a folder and describe it.
//! - [`verify`] checks every file of such a folder against its digest.
//! - [`load_references`] reads what documents are held against, also from such folders.
//! - [`restore_signatures`] makes signatures anew that were lost.
//! - [`network`] makes the signatures of what others registered, from the shards that they serve.
//! - [`ShardFolder`] reads the shards of a manifest, to serve them to peers.
//! - [`decode_shard`] and [`body_hashes`] parse and check the bytes that a peer sent.
//! - [`Tokenizer`] encodes text; [`EndOfText`] chooses the token that separates texts.
//!
//! The workspace's terms are explained in `docs/glossary.md`.
//!
//! # Example
//!
//! ```
//! use pol_corpus::pipeline::{PipelineConfig, References, Supply};
//! use pol_data::{
//!     EndOfText, IngestConfig, MIN_VOCABULARY, ShardFolder, TRAIN, decode_shard, ingest,
//! };
//!
//! let scratch = tempfile::tempdir()?;
//! let text = scratch.path().join("text.txt");
//! std::fs::write(&text, "A quick brown fox jumps over the lazy dog. ".repeat(20))?;
//!
//! let out = scratch.path().join("data");
//! let config = IngestConfig {
//!     inputs: vec![Supply::Path(text)],
//!     out: out.clone(),
//!     corpus: PipelineConfig::default(),
//!     text_fields: Vec::new(),
//!     vocabulary: MIN_VOCABULARY,
//!     sequence: 16,
//!     shard_tokens: 64,
//!     tokenizer: None,
//!     end_of_text: EndOfText::Known,
//!     force: false,
//!     lineage: None,
//! };
//! let record = ingest(&config, References::default(), &|_| ())?;
//!
//! let shards = ShardFolder::open(&out.join(TRAIN))?;
//! assert_eq!(shards.len(), record.train.shards);
//! let tokens = decode_shard(&shards.read(0)?, shards.shard_tokens(), record.vocabulary)?;
//! assert_eq!(tokens.len(), 64 + 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod documents;
mod encoder;
mod end_of_text;
mod error;
mod ingest;
pub mod network;
mod references;
mod shards;
mod signatures;
mod tokenizer;
mod tokenizer_trainer;
mod verify;
mod word_map;
mod words;

pub use end_of_text::{END_OF_TEXT, EndOfText, check_tokenizer};
pub use error::DataError;
pub use ingest::{IngestConfig, IngestRecord, ingest};
pub use references::load_references;
pub use shards::{MAX_TOKEN_BYTES, ManifestSummary, ShardFolder, body_hashes, decode_shard};
pub use signatures::restore_signatures;
pub use tokenizer::{Tokenizer, TokenizerError, call_tokenizers};
pub use tokenizer_trainer::MIN_VOCABULARY;
pub use verify::verify;
pub use words::{byte_characters, byte_entry, entry_byte};

/// Folder of the training manifest, in an ingestion's folder.
pub const TRAIN: &str = "train";
/// Folder of the held-out manifest, in an ingestion's folder.
pub const HELD_OUT: &str = "held-out";
/// Folders of both manifests, the training manifest first.
pub const SPLITS: [&str; 2] = [TRAIN, HELD_OUT];
/// File name of a tokenizer, in the folders of ingestions and of models.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// File name of the record of an ingestion.
pub const RECORD_FILE: &str = "ingest.json";
/// File name of the counts of an ingestion.
pub const REPORT_FILE: &str = "report.json";
/// File name of the signatures of an ingestion's documents, which others compare theirs with.
pub const SIGNATURES_FILE: &str = "signatures.bin";
