// SPDX-License-Identifier: Apache-2.0

//! Store in memory.

use pol_corpus::{CorpusError, RawDocument, Refusal};
use pol_sources::{Budget, End, FillOptions, Progress, Sink, Source, SourceError, fill};
use serde_json::Value;
use std::{future::pending, sync::Mutex, time::Duration};

/// Store that keeps what is committed.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) documents: Vec<RawDocument>,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) cursor: Option<Value>,
}

impl Memory {
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |document: &RawDocument| String::from_utf8(document.bytes.clone()).unwrap();
        self.documents.iter().map(text).collect()
    }

    /// Fills the store until the source ends.
    pub(crate) fn fill(&mut self, source: &mut dyn Source) -> Result<End, SourceError> {
        self.fill_up_to(source, None)
    }

    /// Fills the store up to a number of documents, with a commit after each step.
    pub(crate) fn fill_up_to(
        &mut self,
        source: &mut dyn Source,
        documents: Option<u64>,
    ) -> Result<End, SourceError> {
        let options = FillOptions {
            budget: Budget { documents, ..Budget::default() },
            commit_interval: Duration::ZERO,
            watch: false,
        };
        let refused = Mutex::new(Vec::new());
        let observer = |progress: Progress<'_>| {
            if let Progress::Refused(refusal) = progress {
                refused.lock().unwrap().push(refusal.clone());
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let end = runtime.block_on(fill(source, self, &options, &observer, pending()));
        self.refused.extend(refused.into_inner().unwrap());
        end.map(|(end, _)| end)
    }
}

impl Sink for Memory {
    fn append(&mut self, document: &RawDocument) -> Result<(), CorpusError> {
        self.documents.push(document.clone());
        Ok(())
    }

    fn commit(&mut self, cursor: &Value) -> Result<(), CorpusError> {
        self.cursor = Some(cursor.clone());
        Ok(())
    }

    fn cursor(&self) -> Option<Value> {
        self.cursor.clone()
    }
}
