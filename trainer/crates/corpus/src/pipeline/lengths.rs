// SPDX-License-Identifier: Apache-2.0

//! Lengths of all texts, in a file of the run, for steps that need no more of them.

use crate::{CorpusError, error::IoContext};
use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

const FILE: &str = "lengths";
const NEW_FILE: &str = "lengths.new";
const LENGTH_BYTES: u64 = size_of::<u64>() as u64;

/// Writer of the lengths.
pub(super) struct LengthWriter {
    folder: PathBuf,
    file: BufWriter<File>,
}

impl LengthWriter {
    /// Starts a file in the folder of a run. An earlier one is replaced once this one is finished.
    pub(super) fn create(folder: &Path) -> Result<Self, CorpusError> {
        let path = folder.join(NEW_FILE);
        let file = BufWriter::new(File::create(&path).io_context("create", &path)?);
        Ok(Self { folder: folder.to_owned(), file })
    }

    /// Adds the length of the next text.
    pub(super) fn add(&mut self, length: u64) -> Result<(), CorpusError> {
        self.file.write_all(&length.to_le_bytes()).io_context("write to", &self.folder)
    }

    /// Puts the file into its place.
    pub(super) fn finish(mut self) -> Result<(), CorpusError> {
        self.file.flush().io_context("write to", &self.folder)?;
        let path = self.folder.join(FILE);
        fs::rename(self.folder.join(NEW_FILE), &path).io_context("create", &path)
    }
}

/// Lengths of texts, in order.
pub(super) struct Lengths {
    path: PathBuf,
    file: BufReader<File>,
}

impl Lengths {
    /// Returns the next length.
    pub(super) fn next(&mut self) -> Result<u64, CorpusError> {
        let mut length = [0; LENGTH_BYTES as usize];
        self.file.read_exact(&mut length).io_context("read", &self.path)?;
        Ok(u64::from_le_bytes(length))
    }
}

/// Opens the lengths of so many texts, unless the file is missing or has another number of them.
pub(super) fn read_lengths(folder: &Path, texts: u64) -> Result<Option<Lengths>, CorpusError> {
    let path = folder.join(FILE);
    let Ok(file) = File::open(&path) else { return Ok(None) };
    let bytes = file.metadata().io_context("read", &path)?.len();
    let is_whole = Some(bytes) == texts.checked_mul(LENGTH_BYTES);
    Ok(is_whole.then(|| Lengths { path, file: BufReader::new(file) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_lengths(folder.path(), 0).unwrap().is_none(), "there is no file");
        let write = |lengths: &[u64]| {
            let mut writer = LengthWriter::create(folder.path()).unwrap();
            lengths.iter().for_each(|length| writer.add(*length).unwrap());
            writer
        };
        write(&[5, 0, u64::MAX]).finish().unwrap();
        drop(write(&[1]));
        let mut lengths = read_lengths(folder.path(), 3).unwrap().unwrap();
        assert_eq!([(); 3].map(|()| lengths.next().unwrap()), [5, 0, u64::MAX]);
        assert!(matches!(lengths.next(), Err(CorpusError::Io { .. })));
        assert!(read_lengths(folder.path(), 4).unwrap().is_none(), "it is of another run");
    }
}
