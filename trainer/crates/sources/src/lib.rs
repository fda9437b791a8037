// SPDX-License-Identifier: Apache-2.0

//! Sources of documents: the web, feeds, services, listed files, and data sets of a hub.

pub mod connectors;
pub mod crawl;
mod error;
pub mod feeds;
pub mod files;
pub mod http;
pub mod hub;
mod resumable;
pub mod robots;
pub mod signals;
mod source;
mod texts;

pub use error::SourceError;
pub use resumable::{Reader, ResumableSource};
pub use source::{
    Batch, Budget, End, FillOptions, Observer, Progress, Sink, Source, Step, Totals, fill,
};
pub use texts::{BlockingTexts, TextBatch, TextOrRefusal};
