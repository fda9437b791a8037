// SPDX-License-Identifier: Apache-2.0

//! Verification of an ingested folder.

use crate::{
    DataError, HELD_OUT, IngestRecord, ManifestSummary, ShardFolder, TOKENIZER_FILE, TRAIN,
    documents::DocumentIndex, error::IoContext,
};
use pol_corpus::Side;
use pol_primitives::Hash;
use rayon::prelude::*;
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Reads the record of an ingested folder, and checks every file that its manifests depend on
/// against its digest: the tokenizer, each shard, and the records of the documents.
///
/// All of it is read. Nothing is remembered, as sizes and times of files prove nothing.
///
/// # Errors
///
/// Fails if the folder has no readable record, and with [`DataError::DamagedFile`] or
/// [`DataError::Damaged`] if a file is missing, cannot be read, or has other contents.
pub fn verify(folder: &Path) -> Result<IngestRecord, DataError> {
    verify_sides(folder, &[Side::Train, Side::HeldOut])
}

/// Does what [`verify`] does, but of the shards reads only those of some sides.
pub(crate) fn verify_sides(folder: &Path, sides: &[Side]) -> Result<IngestRecord, DataError> {
    let record = IngestRecord::read(folder)?;
    check(folder, &record, sides).map_err(|error| match error {
        DataError::Io { path, source, .. } => damaged(&path, source.to_string()),
        error => error,
    })?;
    Ok(record)
}

fn check(folder: &Path, record: &IngestRecord, sides: &[Side]) -> Result<(), DataError> {
    let tokenizer = folder.join(TOKENIZER_FILE);
    if file_hash(&tokenizer)? != record.tokenizer {
        return Err(damaged(&tokenizer, "it is not the tokenizer of the record".into()));
    }
    for side in sides {
        match side {
            Side::Train => check_shards(&folder.join(TRAIN), &record.train)?,
            Side::HeldOut => check_shards(&folder.join(HELD_OUT), &record.held_out)?,
        }
    }
    match record.lineage().documents {
        Some(documents) => DocumentIndex::open(folder)?.verify(&documents),
        None => Ok(()),
    }
}

fn check_shards(folder: &Path, summary: &ManifestSummary) -> Result<(), DataError> {
    let shards = ShardFolder::open(folder)?;
    if shards.summary() != summary {
        let reason = "the manifest is not that of the record".into();
        return Err(DataError::Damaged { path: folder.to_owned(), reason });
    }
    (0..shards.len()).into_par_iter().try_for_each(|index| shards.read(index).map(drop))
}

fn damaged(path: &Path, reason: String) -> DataError {
    DataError::DamagedFile { path: path.to_owned(), reason }
}

/// Returns the BLAKE3 of a file.
pub(crate) fn file_hash(path: &Path) -> Result<Hash, DataError> {
    watched_file_hash(path, |_| ())
}

/// Returns the BLAKE3 of a file. `watch` is called with the number of bytes of each part of it.
pub(crate) fn watched_file_hash(path: &Path, watch: impl FnMut(u64)) -> Result<Hash, DataError> {
    struct Watched<W>(File, W);

    impl<W: FnMut(u64)> Read for Watched<W> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            (self.1)(read as u64);
            Ok(read)
        }
    }

    let file = File::open(path).io_context("read", path)?;
    let mut contents = blake3::Hasher::new();
    contents.update_reader(Watched(file, watch)).io_context("read", path)?;
    Ok(*contents.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndOfText, IngestConfig, MIN_VOCABULARY, documents::RECORDS_FILE, ingest};
    use pol_corpus::pipeline::{PipelineConfig, References, Supply};
    use std::fs;

    /// Ingests some texts. Returns the scratch folder, which holds the data.
    fn ingested() -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        let texts = scratch.path().join("texts");
        fs::create_dir(&texts).unwrap();
        for text in 0..4 {
            let sentences =
                (0..40).map(|at| format!("Zebra {text} saw river {} at {at}. ", at * 7));
            fs::write(texts.join(format!("{text}.txt")), sentences.collect::<String>()).unwrap();
        }
        ingest(&config(scratch.path()), References::default(), &|_| ()).unwrap();
        scratch
    }

    fn config(scratch: &Path) -> IngestConfig {
        IngestConfig {
            inputs: vec![Supply::Path(scratch.join("texts"))],
            out: scratch.join("data"),
            corpus: PipelineConfig::default(),
            text_fields: Vec::new(),
            vocabulary: MIN_VOCABULARY,
            sequence: 16,
            shard_tokens: 64,
            tokenizer: None,
            end_of_text: EndOfText::Known,
            force: true,
            lineage: None,
        }
    }

    /// Changes a byte in the middle of a file.
    fn damage(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// Files that a manifest depends on.
    const FILES: [&str; 7] = [
        "tokenizer.json",
        "train/shards.u16",
        "train/body.bin",
        "held-out/body.bin",
        RECORDS_FILE,
        "documents/raw",
        "documents/tree",
    ];

    #[test]
    fn damage_of_every_file_is_noticed_and_mended() {
        let scratch = ingested();
        let data = scratch.path().join("data");
        let record = verify(&data).unwrap();
        for file in FILES {
            let path = data.join(file);
            let good = fs::read(&path).unwrap();
            if !good.is_empty() {
                damage(&path);
                let error = verify(&data).unwrap_err().to_string();
                assert!(error.contains("damaged"), "{file}: {error}");
            }
            fs::remove_file(&path).unwrap();
            let error = verify(&data).unwrap_err().to_string();
            assert!(error.contains("damaged") && error.contains(file), "{file}: {error}");
            let made = ingest(&config(scratch.path()), References::default(), &|_| ()).unwrap();
            assert_eq!((made, fs::read(&path).unwrap()), (record.clone(), good), "{file}");
        }
        fs::remove_file(data.join(crate::RECORD_FILE)).unwrap();
        assert!(matches!(verify(&data), Err(DataError::InvalidRecord { .. })));
    }

    #[test]
    fn another_root_in_the_record_is_noticed() {
        let scratch = ingested();
        let (data, path) = (scratch.path().join("data"), scratch.path().join("data/ingest.json"));
        let mut record = verify(&data).unwrap();
        let documents = record.lineage.as_mut().and_then(|made| made.documents.as_mut()).unwrap();
        documents.root[0] ^= 1;
        fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
        let error = verify(&data).unwrap_err().to_string();
        assert!(error.contains("another root"), "{error}");
    }
}
