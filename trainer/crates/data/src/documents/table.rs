// SPDX-License-Identifier: Apache-2.0

//! Files of sorted rows of fixed length.

use crate::{DataError, error::IoContext};
use pol_corpus::dedup::ExternalSort;
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Bytes that sorting takes in memory.
const SORT_BYTES: usize = 32 << 20;

/// Writer of rows in any order, in bounded memory.
pub(super) struct TableWriter<const N: usize> {
    path: PathBuf,
    rows: ExternalSort<N>,
}

impl<const N: usize> TableWriter<N> {
    /// Creates a writer of a file in `folder`.
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name), rows: ExternalSort::new(folder, SORT_BYTES) }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: [u8; N]) -> Result<(), DataError> {
        Ok(self.rows.push(row)?)
    }

    /// Writes the file: all rows in ascending order.
    pub(super) fn finish(self) -> Result<(), DataError> {
        let Self { path, rows } = self;
        let mut file = BufWriter::new(File::create(&path).io_context("write", &path)?);
        for row in rows.finish()? {
            file.write_all(&row?).io_context("write", &path)?;
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).io_context("write", &path)?;
        Ok(())
    }
}

/// File of sorted rows.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    path: PathBuf,
    file: File,
    len: u64,
}

impl<const N: usize> Table<N> {
    pub(super) fn open(path: PathBuf) -> Result<Self, DataError> {
        let file = File::open(&path).io_context("open", &path)?;
        let bytes = file.metadata().io_context("read", &path)?.len();
        if bytes % N as u64 != 0 {
            let reason = format!("{bytes} bytes are no whole number of rows of {N}");
            return Err(DataError::Damaged { path, reason });
        }
        Ok(Self { path, file, len: bytes / N as u64 })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn row(&self, index: u64) -> Result<[u8; N], DataError> {
        let mut row = [0; N];
        self.file
            .read_exact_at(&mut row, index.saturating_mul(N as u64))
            .io_context("read", &self.path)?;
        Ok(row)
    }

    /// Returns the rows in order.
    pub(super) fn rows(
        &self,
    ) -> Result<impl Iterator<Item = Result<[u8; N], DataError>> + '_, DataError> {
        let file = File::open(&self.path).io_context("open", &self.path)?;
        let mut file = BufReader::new(file);
        Ok((0..self.len).map(move |_| {
            let mut row = [0; N];
            file.read_exact(&mut row).io_context("read", &self.path)?;
            Ok(row)
        }))
    }

    /// Returns the number of rows at the start for which `is_before` holds.
    pub(super) fn partition(&self, is_before: impl Fn(&[u8; N]) -> bool) -> Result<u64, DataError> {
        let (mut from, mut to) = (0, self.len);
        while from < to {
            let middle = from + (to - from) / 2;
            if is_before(&self.row(middle)?) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn rows_are_sorted_and_found(
            rows in prop::collection::vec(any::<[u8; 3]>(), 0..60),
            sought: [u8; 3],
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut writer = TableWriter::new(folder.path(), "table");
            rows.iter().for_each(|row| writer.add(*row).unwrap());
            writer.finish().unwrap();
            let mut sorted = rows.clone();
            sorted.sort();
            let table = Table::<3>::open(folder.path().join("table")).unwrap();
            prop_assert_eq!(table.len(), rows.len() as u64);
            let read: Vec<_> = table.rows().unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(&read, &sorted);
            let found = table.partition(|row| *row < sought).unwrap();
            prop_assert_eq!(found as usize, sorted.partition_point(|row| *row < sought));
            for (index, row) in (0..).zip(&sorted) {
                prop_assert_eq!(&table.row(index).unwrap(), row);
            }
        }
    }

    #[test]
    fn files_of_another_length_are_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        std::fs::write(&path, [0; 7]).unwrap();
        assert!(matches!(Table::<3>::open(path), Err(DataError::Damaged { .. })));
        let missing = folder.path().join("missing");
        assert!(matches!(Table::<3>::open(missing), Err(DataError::Io { .. })));
    }
}
