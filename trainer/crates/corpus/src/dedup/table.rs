// SPDX-License-Identifier: Apache-2.0

//! Files of records of a fixed size that appear whole or not at all.

use crate::error::{CorpusError, IoContext};
use pol_primitives::Hash;
use std::{
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Folder of the outputs of steps. The name of an output holds a digest of all inputs of its step:
/// an output that exists is whole and current.
pub(super) struct Steps {
    folder: PathBuf,
    digest: String,
}

/// Writer of a table.
pub(super) struct TableWriter {
    path: PathBuf,
    partial: PathBuf,
    writer: BufWriter<File>,
}

/// Reader of a table.
pub(super) struct Table {
    path: PathBuf,
    file: File,
    /// Bytes before the first record.
    start: u64,
    width: usize,
    len: u64,
    /// Records that are read at a time.
    block: u64,
    /// Index of the first record in `cache`.
    cached: u64,
    cache: Vec<u8>,
}

impl Steps {
    /// Opens a folder, which is created if it is missing, for steps whose inputs have a digest.
    pub(super) fn open(folder: &Path, digest: &blake3::Hash) -> Result<Self, CorpusError> {
        fs::create_dir_all(folder).io_context("create", folder)?;
        Ok(Self { folder: folder.to_owned(), digest: digest.to_hex()[..32].to_owned() })
    }

    /// Returns the steps whose inputs are these and more.
    pub(super) fn with(&self, inputs: impl Iterator<Item = Hash>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.digest.as_bytes());
        for input in inputs {
            hasher.update(&input);
        }
        let digest = hasher.finalize().to_hex()[..32].to_owned();
        Self { folder: self.folder.clone(), digest }
    }

    /// Returns the folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of the output of a step.
    pub(super) fn path(&self, step: &str) -> PathBuf {
        self.folder.join(format!("{step}-{}", self.digest))
    }

    /// Runs a step unless its output exists, and returns its path.
    pub(super) fn run(
        &self,
        step: &str,
        make: impl FnOnce(&mut TableWriter) -> Result<(), CorpusError>,
    ) -> Result<PathBuf, CorpusError> {
        let path = self.path(step);
        if !path.exists() {
            let mut writer = TableWriter::create(&path)?;
            make(&mut writer)?;
            writer.commit()?;
        }
        Ok(path)
    }

    /// Removes the outputs of a step, and what was left of them by a kill, but for that of these
    /// inputs if it is to be `kept`.
    pub(super) fn clear(&self, step: &str, kept: bool) -> Result<(), CorpusError> {
        let current = self.path(step);
        for entry in fs::read_dir(&self.folder).io_context("list", &self.folder)? {
            let path = entry.io_context("list", &self.folder)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let own = name.strip_prefix(step).is_some_and(|rest| rest.starts_with('-'));
            if own && !(kept && path == current) {
                fs::remove_file(&path).io_context("remove", &path)?;
            }
        }
        Ok(())
    }
}

impl TableWriter {
    /// Creates a table that appears at `path` when it is committed.
    pub(super) fn create(path: &Path) -> Result<Self, CorpusError> {
        let partial = path.with_extension("partial");
        let file = File::create(&partial).io_context("create", &partial)?;
        let writer = BufWriter::with_capacity(1 << 16, file);
        Ok(Self { path: path.to_owned(), partial, writer })
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CorpusError> {
        self.writer.write_all(bytes).io_context("write", &self.partial)
    }

    /// Makes the table durable, and then visible.
    pub(super) fn commit(mut self) -> Result<(), CorpusError> {
        self.writer.flush().io_context("write", &self.partial)?;
        self.writer.get_ref().sync_all().io_context("write", &self.partial)?;
        fs::rename(&self.partial, &self.path).io_context("create", &self.path)
    }
}

impl Table {
    /// Opens a table of records of `width` bytes that follow `start` other bytes, of which `block`
    /// are read at a time. `end` bytes after the last record are left out.
    pub(super) fn open(
        path: &Path,
        [start, end]: [u64; 2],
        width: usize,
        block: u64,
    ) -> Result<Self, CorpusError> {
        let file = File::open(path).io_context("read", path)?;
        let bytes = file.metadata().io_context("read", path)?.len();
        let records = bytes.checked_sub(start + end);
        let Some(records) = records.filter(|bytes| bytes.is_multiple_of(width as u64)) else {
            return Err(CorpusError::Damaged {
                path: path.to_owned(),
                reason: format!("{bytes} bytes are no whole number of records; delete it"),
            });
        };
        let len = records / width as u64;
        Ok(Self {
            path: path.to_owned(),
            file,
            start,
            width,
            len,
            block,
            cached: 0,
            cache: Vec::new(),
        })
    }

    /// Returns the number of records.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the record at `index`, which is below the number of records.
    pub(super) fn record(&mut self, index: u64) -> Result<&[u8], CorpusError> {
        let block = index - index % self.block;
        if self.cache.is_empty() || block != self.cached {
            let records = self.block.min(self.len - block) as usize;
            self.cache.resize(records * self.width, 0);
            let position = SeekFrom::Start(self.start + block * self.width as u64);
            let read = self
                .file
                .seek(position)
                .and_then(|_| self.file.read_exact(&mut self.cache))
                .io_context("read", &self.path);
            if let Err(error) = read {
                self.cache.clear();
                return Err(error);
            }
            self.cached = block;
        }
        let offset = (index - block) as usize * self.width;
        Ok(&self.cache[offset..][..self.width])
    }

    /// Returns the index of the first record that begins with a number of at least `id`. Records
    /// begin with ascending numbers of eight bytes.
    pub(super) fn lower_bound(&mut self, id: u64) -> Result<u64, CorpusError> {
        let (mut low, mut high) = (0, self.len);
        // Neighbours are asked for one after another.
        if !self.cache.is_empty() {
            let last = self.cached + (self.cache.len() / self.width) as u64 - 1;
            if id_of(self.record(last)?) >= id {
                high = last;
                if id_of(self.record(self.cached)?) <= id {
                    low = self.cached;
                }
            } else {
                low = last + 1;
                if low < high && id_of(self.record(low)?) >= id {
                    return Ok(low);
                }
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if id_of(self.record(middle)?) < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// Returns the number that a record begins with.
pub(super) fn id_of(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(folder: &Path, ids: &[u64], block: u64) -> Table {
        let path = folder.join("table");
        let mut writer = TableWriter::create(&path).unwrap();
        for id in ids {
            writer.write(&id.to_be_bytes()).unwrap();
            writer.write(b"!").unwrap();
        }
        assert!(!path.exists());
        writer.commit().unwrap();
        Table::open(&path, [0, 0], 9, block).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_are_found_in_any_order(
            ids in prop::collection::btree_set(0u64..60, 0..30),
            asked in prop::collection::vec(0u64..62, 1..40),
            block in 1u64..9,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let ids: Vec<u64> = ids.into_iter().collect();
            let mut table = table(folder.path(), &ids, block);
            for id in asked {
                let expected = ids.partition_point(|other| *other < id) as u64;
                prop_assert_eq!(table.lower_bound(id).unwrap(), expected);
            }
        }
    }

    #[test]
    fn steps_run_once_for_their_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let steps = |inputs: &[u8]| Steps::open(folder.path(), &blake3::hash(inputs)).unwrap();
        let made = steps(b"1").run("made", |writer| writer.write(b"12")).unwrap();
        assert_eq!(steps(b"1").run("made", |_| panic!("made again")).unwrap(), made);
        let failed = steps(b"2").run("made", |writer| {
            writer.write(b"3")?;
            Err(CorpusError::InvalidOption("failed".into()))
        });
        assert!(failed.is_err());
        assert!(!steps(b"2").path("made").exists());
        fs::write(folder.path().join("maden"), b"another's").unwrap();
        steps(b"1").clear("made", true).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        steps(b"1").clear("made", false).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_ne!(steps(b"1").with([[1; 32]].into_iter()).path("x"), steps(b"1").path("x"));
    }

    #[test]
    fn torn_tables_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        fs::write(&path, [0; 10]).unwrap();
        for (ends, width) in [([0, 0], 9), ([8, 8], 1)] {
            let opened = Table::open(&path, ends, width, 1);
            assert!(matches!(opened, Err(CorpusError::Damaged { .. })));
        }
    }
}
