// SPDX-License-Identifier: Apache-2.0

//! Documents on their way from a source to shards, and the record that is kept of each.

use pol_primitives::{Hash, Ppm};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Largest piece of text, in bytes. A longer document is handed on in several pieces, so that
/// memory does not grow with the input.
pub const MAX_PIECE_BYTES: usize = 1 << 20;

/// Media type of text that was taken out of its format: of a row of a table, or of a post. It is
/// plain text, whatever it or the name of what it came from looks like.
pub const EXTRACTED_TEXT: &str = "text/plain; charset=utf-8; extracted=true";

/// Place that a document came from, and the terms under which it was offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the source, such as `files`, `hub/allenai/c4`, `web`, or `synthesis/arithmetic`.
    pub source: String,
    /// Address within the source: a path below the input, a URL, or the name of a generator.
    pub location: String,
    /// Position within what the address names, outermost first: members of archives, rows of
    /// tables, books of a file. Empty for the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part: Vec<String>,
    /// Time of fetching, in seconds since 1970. Local files and generated text have none: they are
    /// the same at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<u64>,
    /// Licence that the source states, as an SPDX expression where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Statements of the source about the use of its text, such as `x-robots-tag: noarchive`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<String>,
}

impl Origin {
    /// Returns the address with the position in what it names, for people.
    pub fn place(&self) -> String {
        let parts = self.part.iter().map(String::as_str);
        std::iter::once(self.location.as_str()).chain(parts).collect::<Vec<_>>().join(" › ")
    }
}

/// Program that turned raw bytes into text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tool {
    /// Name of the program or library.
    pub name: String,
    /// Version of it. Another version may give other text.
    pub version: String,
}

/// A document as its source gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawDocument {
    /// Place that the document came from.
    pub origin: Origin,
    /// Media type that the source states, such as `text/html; charset=latin1`.
    pub media: Option<String>,
    /// Contents.
    pub bytes: Vec<u8>,
}

impl RawDocument {
    /// Creates a document of extracted text.
    pub fn of_text(origin: Origin, text: String) -> Self {
        Self { origin, media: Some(EXTRACTED_TEXT.to_owned()), bytes: text.into_bytes() }
    }
}

/// Text of a document, or of a piece of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Place that the document came from.
    pub origin: Origin,
    /// BLAKE3 of the raw bytes of the whole document, or of this piece of a long one.
    pub raw: Hash,
    /// Number of this piece of the document, from zero. All pieces have the same origin and follow
    /// each other.
    pub piece: u32,
    /// Program that extracted the text.
    pub extractor: Tool,
    /// Number of byte sequences that could not be decoded, each replaced by U+FFFD.
    pub invalid: u64,
    /// Text.
    pub text: String,
}

/// Reason why something in an input is no document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Place of it.
    pub origin: Origin,
    /// Reason, in words that say what to do where something can be done.
    pub reason: String,
}

/// Verdict of a rule on a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The text stays as it is.
    Passed,
    /// The rule changed the text.
    Changed,
    /// The document is dropped.
    Dropped,
}

/// Decision of a rule on a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Name of the rule, such as `gopher.hashes`. Known ones are not copied, as each record has
    /// some dozens.
    #[serde(deserialize_with = "crate::filters::rule_name")]
    pub rule: Cow<'static, str>,
    /// Verdict.
    pub verdict: Verdict,
    /// Quantity that the rule measured, if it measures one: shares in millionths, or counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<u64>,
}

/// Side of the split that a document is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Text to train on.
    Train,
    /// Text that is never trained on.
    HeldOut,
}

/// Place of a document's tokens in the shards of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Side of the split, which is a manifest of its own.
    pub side: Side,
    /// Position of the first token in the manifest's stream of tokens.
    pub start: u64,
    /// Number of tokens.
    pub tokens: u64,
}

/// Record of a document, kept also if the document was dropped.
///
/// Hashes of its JSON are registered. So fields keep their order, and a further one is left out
/// where it is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// Place that the document came from.
    pub origin: Origin,
    /// BLAKE3 of the raw bytes.
    #[serde(with = "pol_primitives::hex_hash")]
    pub raw: Hash,
    /// Number of the piece of a long document.
    pub piece: u32,
    /// Program that extracted the text.
    pub extractor: Tool,
    /// Number of byte sequences that could not be decoded.
    pub invalid: u64,
    /// BLAKE3 of the clean text, before passages that occurred earlier were cut from it.
    #[serde(with = "pol_primitives::hex_hash")]
    pub text: Hash,
    /// Length of the clean text, in bytes.
    pub bytes: u64,
    /// Language as an ISO 639-3 code, if it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Quality of the text, from zero to a million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Ppm>,
    /// Decisions of the rules, in the order in which they were asked. The last one dropped the
    /// document if `place` is `None`.
    pub decisions: Vec<Decision>,
    /// Cluster of like documents, and of the pieces of a long one, by the BLAKE3 of its best text.
    /// Without it, the cluster has the hash of this text. Documents that a rule dropped before they
    /// were compared are in none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "pol_primitives::hex_hash::option"
    )]
    pub cluster: Option<Hash>,
    /// Clean text of the document that this one is a near duplicate of, by its BLAKE3.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "pol_primitives::hex_hash::option"
    )]
    pub survivor: Option<Hash>,
    /// Registered manifest that the survivor is in, by the BLAKE3 of its body, if it is a document
    /// of another provider.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "pol_primitives::hex_hash::option"
    )]
    pub survivor_manifest: Option<Hash>,
    /// Text that nobody may train on and that shares a passage with this one, by its BLAKE3.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "pol_primitives::hex_hash::option"
    )]
    pub reference: Option<Hash>,
    /// Place in the shards, unless the document was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl DocumentRecord {
    /// Returns `true` if a rule dropped the document.
    pub fn is_dropped(&self) -> bool {
        self.decisions.iter().any(|decision| decision.verdict == Verdict::Dropped)
    }
}
