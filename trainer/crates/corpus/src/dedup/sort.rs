// SPDX-License-Identifier: Apache-2.0

//! External merge sort of records of a fixed size.
//!
//! Records are compared as byte strings, so numbers in them are big-endian. Sorted runs lie in
//! files without a name, which disappear with the process. Equal records cannot be told apart, and
//! therefore neither the budget nor the number of runs shows in the result.

use crate::error::{CorpusError, IoContext};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    mem,
    path::{Path, PathBuf},
    vec,
};

/// Number of runs that are merged at a time. Each is an open file.
const FAN_IN: usize = 64;
/// Bounds of the buffer of an open run, in bytes.
const RUN_BUFFER: (usize, usize) = (4 << 10, 1 << 20);

/// Sort of more records than fit in memory.
pub struct ExternalSort<const N: usize> {
    folder: PathBuf,
    buffer: Vec<[u8; N]>,
    /// Records that are sorted in memory.
    capacity: usize,
    run_buffer: usize,
    /// Sorted runs. Those of one level have about the same size.
    levels: Vec<Vec<File>>,
}

/// Records in ascending order.
pub struct Sorted<const N: usize>(Order<N>);

enum Order<const N: usize> {
    Memory(vec::IntoIter<[u8; N]>),
    Runs(Merge<N>),
}

/// Merge of sorted runs.
struct Merge<const N: usize> {
    folder: PathBuf,
    runs: Vec<BufReader<File>>,
    heads: BinaryHeap<Reverse<([u8; N], usize)>>,
}

impl<const N: usize> ExternalSort<N> {
    /// Creates an empty sort that keeps about `memory` bytes in memory, and its runs in `folder`.
    pub fn new(folder: &Path, memory: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            buffer: Vec::new(),
            // The rest is for merging.
            capacity: (memory / 4 * 3 / N.max(1)).max(1),
            run_buffer: (memory / 4 / FAN_IN).clamp(RUN_BUFFER.0, RUN_BUFFER.1),
            levels: Vec::new(),
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// Fails if a run cannot be written.
    pub fn push(&mut self, record: [u8; N]) -> Result<(), CorpusError> {
        self.buffer.push(record);
        if self.buffer.len() >= self.capacity { self.spill() } else { Ok(()) }
    }

    /// Returns all records in ascending order.
    ///
    /// # Errors
    ///
    /// Fails if a run cannot be written or read.
    pub fn finish(mut self) -> Result<Sorted<N>, CorpusError> {
        if self.levels.is_empty() {
            self.buffer.sort_unstable();
            return Ok(Sorted(Order::Memory(self.buffer.into_iter())));
        }
        self.spill()?;
        self.buffer = Vec::new();
        let mut levels = mem::take(&mut self.levels);
        if levels.iter().map(Vec::len).sum::<usize>() > FAN_IN {
            levels = levels
                .into_iter()
                .map(|runs| Ok(vec![self.merge(runs)?]))
                .collect::<Result<_, CorpusError>>()?;
        }
        let runs = levels.into_iter().flatten().collect();
        Ok(Sorted(Order::Runs(Merge::new(&self.folder, runs, self.run_buffer)?)))
    }

    /// Writes the records in memory as a run.
    fn spill(&mut self) -> Result<(), CorpusError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.buffer.sort_unstable();
        let mut run = self.write(self.buffer.iter().map(|record| Ok(*record)))?;
        self.buffer.clear();
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(run);
            if self.levels[level].len() < FAN_IN {
                break;
            }
            let runs = mem::take(&mut self.levels[level]);
            run = self.merge(runs)?;
        }
        Ok(())
    }

    fn merge(&self, runs: Vec<File>) -> Result<File, CorpusError> {
        self.write(Merge::new(&self.folder, runs, self.run_buffer)?)
    }

    fn write(
        &self,
        records: impl Iterator<Item = Result<[u8; N], CorpusError>>,
    ) -> Result<File, CorpusError> {
        const ACTION: &str = "write a sorted run in";
        let file = tempfile::tempfile_in(&self.folder).io_context(ACTION, &self.folder)?;
        let mut writer = BufWriter::with_capacity(self.run_buffer, file);
        for record in records {
            writer.write_all(&record?).io_context(ACTION, &self.folder)?;
        }
        let mut file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .io_context(ACTION, &self.folder)?;
        file.rewind().io_context(ACTION, &self.folder)?;
        Ok(file)
    }
}

impl<const N: usize> Merge<N> {
    fn new(folder: &Path, runs: Vec<File>, buffer: usize) -> Result<Self, CorpusError> {
        let runs: Vec<_> =
            runs.into_iter().map(|run| BufReader::with_capacity(buffer, run)).collect();
        let mut merge =
            Self { folder: folder.to_owned(), heads: BinaryHeap::with_capacity(runs.len()), runs };
        for run in 0..merge.runs.len() {
            merge.advance(run)?;
        }
        Ok(merge)
    }

    /// Takes the next record of a run, if there is one.
    fn advance(&mut self, run: usize) -> Result<(), CorpusError> {
        let mut record = [0; N];
        match self.runs[run].read_exact(&mut record) {
            Ok(()) => self.heads.push(Reverse((record, run))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error).io_context("read a sorted run in", &self.folder),
        }
        Ok(())
    }
}

impl<const N: usize> Iterator for Merge<N> {
    type Item = Result<[u8; N], CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((record, run)) = self.heads.pop()?;
        Some(self.advance(run).map(|()| record))
    }
}

impl<const N: usize> Iterator for Sorted<N> {
    type Item = Result<[u8; N], CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Order::Memory(records) => records.next().map(Ok),
            Order::Runs(merge) => merge.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn sorted<const N: usize>(records: &[[u8; N]], memory: usize) -> Vec<[u8; N]> {
        let folder = tempfile::tempdir().unwrap();
        let mut sort = ExternalSort::new(folder.path(), memory);
        for record in records {
            sort.push(*record).unwrap();
        }
        let sorted = sort.finish().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "runs have no names");
        sorted.map(Result::unwrap).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_budget_gives_the_same_order(
            records in prop::collection::vec(any::<[u8; 3]>(), 0..400),
            memory in 0usize..3000,
        ) {
            let mut expected = records.clone();
            expected.sort_unstable();
            prop_assert_eq!(sorted(&records, memory), expected);
        }
    }

    #[test]
    fn more_runs_than_are_merged_at_a_time_are_merged_in_levels() {
        let records: Vec<[u8; 2]> =
            (0..9000u16).map(|n| n.wrapping_mul(7919).to_be_bytes()).collect();
        let mut expected = records.clone();
        expected.sort_unstable();
        // Two records a run are 4,500 runs: two levels and a rest.
        assert_eq!(sorted(&records, 6), expected);
    }

    #[test]
    fn folders_that_take_no_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let mut sort = ExternalSort::<1>::new(&missing, 0);
        let error = sort.push([1]).unwrap_err();
        assert!(matches!(error, CorpusError::Io { path, .. } if path == missing));
    }
}
