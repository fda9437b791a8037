// SPDX-License-Identifier: Apache-2.0

//! Tokens of the documents that remain, on two sides, and the record of each document.

use crate::{
    EndOfText, HELD_OUT, ManifestSummary, TRAIN,
    documents::DocumentWriter,
    end_of_text::IngestTokenizer,
    error::{DataError, IoContext},
    shards::{ShardWriter, write_synced},
    tokenizer_trainer::{TokenizerTrainer, kept_size},
};
use pol_corpus::{
    DocumentRecord, Place, Side,
    pipeline::{CorpusReport, Progress, Selected, Selection, Stage},
};
use pol_primitives::lineage::Documents;
use std::{fs, path::Path};

/// Text whose words are counted, or that is tokenised, at a time, in bytes. Where a tokenizer is
/// trained on very many distinct words, it depends on this.
const BATCH_BYTES: usize = 4 << 20;
/// Documents that are tokenised at a time, at most.
const BATCH_DOCUMENTS: usize = 8_192;

/// Returns the tokenizer of `vocabulary` entries that an earlier run kept in the folder `work`, or
/// trains it and keeps it there.
pub(super) fn kept_tokenizer(
    selection: &mut Selection,
    vocabulary: u32,
    work: &Path,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<IngestTokenizer, DataError> {
    let (kept, new) = (work.join(format!("tokenizer-{vocabulary}.json")), work.join("tokenizer"));
    if let Ok(tokenizer) = IngestTokenizer::load(&kept, &EndOfText::Known) {
        return Ok(tokenizer);
    }
    let tokenizer = train_tokenizer(selection, vocabulary, watch)?;
    // The name appears once the file is whole.
    write_synced(&new, tokenizer.json())?;
    fs::rename(&new, &kept).io_context("write", &kept)?;
    Ok(tokenizer)
}

/// Trains a tokenizer of `vocabulary` entries on the text to train on.
fn train_tokenizer(
    selection: &mut Selection,
    vocabulary: u32,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<IngestTokenizer, DataError> {
    let total = selection.things();
    let mut trainer = TokenizerTrainer::new(kept_size(vocabulary));
    let (mut texts, mut bytes) = (Vec::new(), 0);
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
    let mut batches = Batches {
        tokenizer,
        writer: Writer {
            end_of_text: tokenizer.end_of_text(),
            train: side(TRAIN)?,
            held_out: side(HELD_OUT)?,
            documents: DocumentWriter::create(folder)?,
        },
        batch: Vec::new(),
        bytes: 0,
        encoded: Vec::new(),
    };
    let total = selection.things();
    watch(Progress { stage: Stage::Tokens, done: 0, total });
    let report = selection.for_each(|selected, before| {
        if batches.add(selected)? {
            watch(Progress { stage: Stage::Tokens, done: before, total });
        }
        Ok::<_, DataError>(())
    })?;
    something_left(&report)?;
    let Writer { train, held_out, documents, .. } = batches.finish()?;
    let tokens = train.shards.tokens() + held_out.shards.tokens();
    // Both wait for the disk.
    let (sides, documents) = rayon::join(
        || {
            let train = train.shards.finish("training", "or hold out a smaller share")?;
            let held_out = if holds_out {
                held_out.shards.finish("held-out", "or hold out a larger share")?
            } else {
                held_out.shards.close()?
            };
            Ok::<_, DataError>((train, held_out))
        },
        || documents.finish(),
    );
    let (train, held_out) = sides?;
    Ok(Tokenised { tokens, train, held_out, documents: documents?, report })
}

/// Documents on their way to their writer.
struct Batches<'a> {
    tokenizer: &'a IngestTokenizer,
    writer: Writer,
    /// Documents that are not tokenised yet.
    batch: Vec<Selected>,
    /// Bytes of their texts.
    bytes: usize,
    /// Documents that are not written yet.
    encoded: Vec<Encoded>,
}

/// Document with the tokens of what is kept of it.
struct Encoded {
    record: DocumentRecord,
    group: u64,
    kept: Option<(Side, Vec<u32>)>,
}

impl Batches<'_> {
    /// Adds a document. Returns `true` if those so far were tokenised.
    fn add(&mut self, selected: Selected) -> Result<bool, DataError> {
        self.bytes += selected.kept.as_ref().map_or(0, |(text, _)| text.len());
        self.batch.push(selected);
        let is_full = self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_DOCUMENTS;
        if is_full {
            self.flush()?;
        }
        Ok(is_full)
    }

    /// Tokenises the documents that were added, while those before them are written.
    fn flush(&mut self) -> Result<(), DataError> {
        self.bytes = 0;
        let Self { tokenizer, writer, batch, encoded, .. } = self;
        let (batch, before) = (std::mem::take(batch), std::mem::take(encoded));
        let (written, next) = rayon::join(|| writer.write(before), || encode(tokenizer, batch));
        written?;
        *encoded = next?;
        Ok(())
    }

    /// Writes all documents.
    fn finish(mut self) -> Result<Writer, DataError> {
        self.flush()?;
        self.writer.write(self.encoded)?;
        Ok(self.writer)
    }
}

/// Tokenises documents on all cores.
fn encode(tokenizer: &IngestTokenizer, batch: Vec<Selected>) -> Result<Vec<Encoded>, DataError> {
    let (mut texts, mut records) = (Vec::new(), Vec::new());
    for Selected { record, kept, group } in batch {
        let side = kept.map(|(text, side)| {
            texts.push(text);
            side
        });
        records.push((record, side, group));
    }
    let mut tokens = tokenizer.encode_batch(&texts)?.into_iter();
    let encoded = records.into_iter().map(|(record, side, group)| {
        let kept = side.map(|side| (side, tokens.next().unwrap_or_default()));
        Encoded { record, group, kept }
    });
    Ok(encoded.collect())
}

/// Writer of all documents.
struct Writer {
    end_of_text: u32,
    train: SideWriter,
    held_out: SideWriter,
    documents: DocumentWriter,
}

impl Writer {
    fn write(&mut self, batch: Vec<Encoded>) -> Result<(), DataError> {
        for Encoded { mut record, group, kept } in batch {
            if let Some((side, tokens)) = kept {
                let writer = match side {
                    Side::Train => &mut self.train,
                    Side::HeldOut => &mut self.held_out,
                };
                let start = writer.write(&record, group, self.end_of_text, &tokens)?;
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
