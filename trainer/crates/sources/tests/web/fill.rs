// SPDX-License-Identifier: Apache-2.0

//! The loop that fills a store.

use super::server::{Memory, run, run_with};
use async_trait::async_trait;
use pol_corpus::{CorpusError, Origin, RawDocument, Refusal};
use pol_sources::{
    Batch, Budget, End, FillOptions, Progress, Sink, Source, SourceError, Step, Totals, fill,
};
use serde_json::{Value, json};
use std::{future::pending, sync::Mutex, time::Duration};

/// Source of numbered documents of ten bytes. It has something new only after each third one.
struct Numbers {
    name: &'static str,
    next: u64,
    end: u64,
}

#[async_trait]
impl Source for Numbers {
    fn name(&self) -> &str {
        self.name
    }

    fn resume(&mut self, cursor: Value) -> Result<(), String> {
        self.next = cursor.as_u64().ok_or("it is no number")?;
        Ok(())
    }

    fn cursor(&self) -> Value {
        json!(self.next)
    }

    async fn next(&mut self) -> Result<Step, SourceError> {
        if self.next >= self.end {
            return Ok(Step::Done);
        }
        self.next += 1;
        if self.next.is_multiple_of(4) {
            return Ok(Step::Wait(Duration::from_millis(1)));
        }
        let origin = Origin { location: self.next.to_string(), ..Origin::default() };
        let document = RawDocument { origin, media: None, bytes: vec![b'x'; 10] };
        Ok(Step::Batch(Batch { documents: vec![document], refused: vec![] }))
    }
}

fn numbers(end: u64) -> Numbers {
    Numbers { name: "numbers", next: 0, end }
}

fn watch(budget: Budget) -> FillOptions {
    FillOptions { budget, commit_interval: Duration::ZERO, watch: true }
}

#[tokio::test]
async fn a_source_without_news_is_left_or_watched() {
    let filled = run(&mut numbers(20)).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Idle, 3));
    let filled = run_with(&mut numbers(20), &watch(Budget::default())).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Done, 15));
}

#[tokio::test]
async fn budgets_hold_over_all_runs() {
    let mut memory = Memory::default();
    for (budget, documents) in [
        (Budget { documents: Some(4), ..Budget::default() }, 4),
        (Budget { documents: Some(4), ..Budget::default() }, 4),
        (Budget { bytes: Some(65), ..Budget::default() }, 7),
        (Budget { time: Some(Duration::ZERO), ..Budget::default() }, 7),
    ] {
        let (end, totals) =
            fill(&mut numbers(99), &mut memory, &watch(budget), &(), pending()).await.unwrap();
        assert_eq!(end, End::Budget);
        assert_eq!(totals, Totals { documents, bytes: 10 * documents, refused: 0 });
        assert_eq!(memory.documents.len() as u64, documents);
    }
}

/// Source of numbered documents, five at a time, each with a refusal.
struct Fives(u64);

#[async_trait]
impl Source for Fives {
    fn name(&self) -> &str {
        "fives"
    }

    fn resume(&mut self, cursor: Value) -> Result<(), String> {
        self.0 = cursor.as_u64().ok_or("it is no number")?;
        Ok(())
    }

    fn cursor(&self) -> Value {
        json!(self.0)
    }

    async fn next(&mut self) -> Result<Step, SourceError> {
        if self.0 >= 20 {
            return Ok(Step::Done);
        }
        self.0 += 5;
        let document =
            |number: u64| RawDocument::of_text(Origin::default(), format!("Document {number}."));
        let refused = Refusal { origin: Origin::default(), reason: "one of five".into() };
        let documents = (self.0 - 5..self.0).map(document).collect();
        Ok(Step::Batch(Batch { documents, refused: vec![refused] }))
    }
}

#[tokio::test]
async fn the_budget_of_documents_is_exact_and_loses_none() {
    let mut memory = Memory::default();
    for (most, documents, refused, end) in [
        (7, 7, 1, End::Budget),
        (7, 7, 1, End::Budget),
        (8, 8, 1, End::Budget),
        (11, 11, 2, End::Budget),
        (15, 15, 3, End::Budget),
        (99, 20, 4, End::Done),
    ] {
        let options = watch(Budget { documents: Some(most), ..Budget::default() });
        let filled = fill(&mut Fives(0), &mut memory, &options, &(), pending()).await.unwrap();
        assert_eq!((filled.0, filled.1.documents, filled.1.refused), (end, documents, refused));
        assert_eq!(memory.documents.len() as u64, documents);
    }
    let expected: Vec<_> =
        (0..20).map(|number| format!("Document {number}.").into_bytes()).collect();
    let found: Vec<_> = memory.documents.into_iter().map(|document| document.bytes).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_store_of_another_source_is_refused() {
    let mut memory = Memory::default();
    let options = FillOptions::default();
    fill(&mut numbers(2), &mut memory, &options, &(), pending()).await.unwrap();
    let mut other = Numbers { name: "other", ..numbers(2) };
    let error = fill(&mut other, &mut memory, &options, &(), pending()).await.unwrap_err();
    assert!(error.to_string().contains("holds documents of numbers"), "{error}");
    memory.cursor.as_mut().unwrap()["cursor"] = json!("x");
    let error = fill(&mut numbers(2), &mut memory, &options, &(), pending()).await.unwrap_err();
    assert!(error.to_string().contains("no number"), "{error}");
    memory.cursor = Some(json!(7));
    let error = fill(&mut numbers(2), &mut memory, &options, &(), pending()).await.unwrap_err();
    assert!(matches!(error, SourceError::Cursor { .. }), "{error}");
}

#[tokio::test]
async fn progress_is_told_in_order() {
    let seen = Mutex::new(Vec::new());
    let observer = |progress: Progress<'_>| {
        seen.lock().unwrap().push(match progress {
            Progress::Written(totals) => format!("written {}", totals.documents),
            Progress::Committed(totals) => format!("committed {}", totals.documents),
            Progress::Refused(_) => "refused".to_owned(),
            Progress::Waiting(_) => "waiting".to_owned(),
        });
    };
    let options = FillOptions { watch: true, ..FillOptions::default() };
    let mut memory = Memory::default();
    fill(&mut numbers(5), &mut memory, &options, &observer, pending()).await.unwrap();
    assert_eq!(
        seen.into_inner().unwrap(),
        [
            "written 1",
            "written 2",
            "written 3",
            "committed 3",
            "waiting",
            "written 4",
            "committed 4"
        ]
    );
}

/// Store on a full disk.
struct Full;

impl Sink for Full {
    fn append(&mut self, _: &RawDocument) -> Result<(), CorpusError> {
        Err(CorpusError::InvalidOption("full".to_owned()))
    }

    fn commit(&mut self, _: &Value) -> Result<(), CorpusError> {
        Err(CorpusError::InvalidOption("full".to_owned()))
    }

    fn cursor(&self) -> Option<Value> {
        None
    }
}

#[tokio::test]
async fn a_store_that_fails_ends_the_run() {
    let options = FillOptions::default();
    let error = fill(&mut numbers(9), &mut Full, &options, &(), pending()).await.unwrap_err();
    assert!(matches!(error, SourceError::Corpus(_)), "{error}");
}
