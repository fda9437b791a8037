// SPDX-License-Identifier: Apache-2.0

//! Tokens of the documents that remain, on two sides, and the record of each document.

use crate::{
    HELD_OUT, ManifestSummary, TRAIN, documents::DocumentWriter, end_of_text::IngestTokenizer,
    error::DataError, shards::ShardWriter, tokenizer_trainer::TokenizerTrainer,
};
use pol_corpus::{
    DocumentRecord, Place, Side,
    pipeline::{CorpusReport, Progress, Selected, Selection, Stage},
};
use pol_primitives::lineage::Documents;
use std::path::Path;

/// Text that is tokenised at a time, in bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Documents that are tokenised at a time, at most.
const BATCH_DOCUMENTS: usize = 8_192;

/// Trains a tokenizer of `vocabulary` entries on the text to train on.
pub(super) fn train_tokenizer(
    selection: &mut Selection,
    vocabulary: u32,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<IngestTokenizer, DataError> {
    let total = selection.things();
    let (mut trainer, mut texts, mut bytes) = (TokenizerTrainer::default(), Vec::new(), 0);
    let report = selection.for_each(|Selected { kept, .. }, before| {
        if let Some((text, Side::Train)) = kept {
            bytes += text.len();
            texts.push(text);
        }
        if bytes >= BATCH_BYTES {
            trainer.count(&texts);
            texts.clear();
            bytes = 0;
            watch(Progress { stage: Stage::Words, done: before, total });
        }
        Ok::<_, DataError>(())
    })?;
    something_left(&report)?;
    trainer.count(&texts);
    watch(Progress { stage: Stage::Tokenizer, done: total, total });
    trainer.train(vocabulary)
}

/// Fails with the reasons if no document remains.
fn something_left(report: &CorpusReport) -> Result<(), DataError> {
    if report.train.documents + report.held_out.documents > 0 {
        return Ok(());
    }
    let mut reasons: Vec<String> = report
        .dropped
        .iter()
        .map(|(rule, documents)| format!("{documents} dropped by {rule}"))
        .collect();
    if let Some(first) = report.refusals.first() {
        reasons.push(format!(
            "{} inputs are no text, such as {}: {}",
            report.refused, first.origin.location, first.reason
        ));
    }
    if reasons.is_empty() {
        reasons.push("the inputs are empty".into());
    }
    Err(DataError::NothingLeft(reasons.join("; ")))
}

/// Result of tokenising.
pub(super) struct Tokenised {
    pub(super) train: ManifestSummary,
    pub(super) held_out: ManifestSummary,
    pub(super) tokens: u64,
    pub(super) documents: Documents,
    pub(super) report: CorpusReport,
}

/// Writes the tokens and records of all documents into `folder`. `holds_out` says that some text
/// has to be held out.
pub(super) fn tokenise(
    selection: &mut Selection,
    tokenizer: &IngestTokenizer,
    shard_tokens: u32,
    holds_out: bool,
    folder: &Path,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<Tokenised, DataError> {
    let vocabulary = tokenizer.vocabulary();
    let side = |name| SideWriter::create(&folder.join(name), shard_tokens, vocabulary);
    let mut writer = Writer {
        tokenizer,
        train: side(TRAIN)?,
        held_out: side(HELD_OUT)?,
        documents: DocumentWriter::create(folder)?,
        batch: Vec::new(),
        bytes: 0,
    };
    let total = selection.things();
    watch(Progress { stage: Stage::Tokens, done: 0, total });
    let report = selection.for_each(|selected, before| {
        if writer.add(selected)? {
            watch(Progress { stage: Stage::Tokens, done: before, total });
        }
        Ok::<_, DataError>(())
    })?;
    something_left(&report)?;
    writer.flush()?;
    let Writer { train, held_out, documents, .. } = writer;
    Ok(Tokenised {
        tokens: train.shards.tokens() + held_out.shards.tokens(),
        train: train.shards.finish("training", "or hold out a smaller share")?,
        held_out: if holds_out {
            held_out.shards.finish("held-out", "or hold out a larger share")?
        } else {
            held_out.shards.close()?
        },
        documents: documents.finish()?,
        report,
    })
}

/// Writer of all documents.
struct Writer<'a> {
    tokenizer: &'a IngestTokenizer,
    train: SideWriter,
    held_out: SideWriter,
    documents: DocumentWriter,
    /// Documents that are not tokenised yet.
    batch: Vec<Selected>,
    /// Bytes of their texts.
    bytes: usize,
}

impl Writer<'_> {
    /// Adds a document. Returns `true` if those so far were written.
    fn add(&mut self, selected: Selected) -> Result<bool, DataError> {
        self.bytes += selected.kept.as_ref().map_or(0, |(text, _)| text.len());
        self.batch.push(selected);
        let is_full = self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_DOCUMENTS;
        if is_full {
            self.flush()?;
        }
        Ok(is_full)
    }

    fn flush(&mut self) -> Result<(), DataError> {
        self.bytes = 0;
        let (mut texts, mut records) = (Vec::new(), Vec::new());
        for Selected { record, kept, group } in self.batch.drain(..) {
            let side = kept.map(|(text, side)| {
                texts.push(text);
                side
            });
            records.push((record, side, group));
        }
        let mut encoded = self.tokenizer.encode_batch(&texts)?.into_iter();
        for (mut record, side, group) in records {
            if let Some(side) = side {
                let writer = match side {
                    Side::Train => &mut self.train,
                    Side::HeldOut => &mut self.held_out,
                };
                let tokens = encoded.next().unwrap_or_default();
                let end = self.tokenizer.end_of_text();
                let start = writer.write(&record, group, end, &tokens)?;
                record.place = Some(Place { side, start, tokens: tokens.len() as u64 });
            }
            self.documents.add(&record)?;
        }
        Ok(())
    }
}

/// Writer of one side.
struct SideWriter {
    shards: ShardWriter,
    /// Group and number of the last piece.
    last: Option<(u64, u32)>,
}

impl SideWriter {
    fn create(path: &Path, shard_tokens: u32, vocabulary: u32) -> Result<Self, DataError> {
        let shards = ShardWriter::create(path.to_owned(), shard_tokens, vocabulary)?;
        Ok(Self { shards, last: None })
    }

    /// Writes the tokens of a document, after a separator unless it continues the last one. Returns
    /// the position of the first.
    fn write(
        &mut self,
        record: &DocumentRecord,
        group: u64,
        end_of_text: u32,
        tokens: &[u32],
    ) -> Result<u64, DataError> {
        let continues = self.last.is_some_and(|(last, piece)| {
            last == group && piece.checked_add(1) == Some(record.piece)
        });
        self.last = Some((group, record.piece));
        if !continues {
            self.shards.write(&[end_of_text])?;
        }
        let start = self.shards.tokens();
        self.shards.write(tokens)?;
        Ok(start)
    }
}
