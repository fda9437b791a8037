// SPDX-License-Identifier: Apache-2.0

//! From raw bytes of any format to clean, unique documents with a record of each.

pub mod dedup;
mod document;
mod error;
pub mod filters;
mod formats;
pub mod pipeline;
pub mod quality;
mod store;

pub use document::{
    Decision, Document, DocumentRecord, EXTRACTED_TEXT, MAX_PIECE_BYTES, Origin, Place,
    RawDocument, Refusal, Side, Tool, Verdict,
};
pub use error::CorpusError;
pub use formats::{
    Content, Documents, DomSmoothie, HtmlExtractor, Input, Limits, RandomAccess, ReadOptions,
    TEXT_FIELDS, documents, inputs, is_pipe, piece_end,
};
pub use store::{RawDocuments, RawHeader, RawStore, Store, StoreReader, Stored};
