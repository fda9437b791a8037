// SPDX-License-Identifier: Apache-2.0

//! Files of signatures, by which one deduplicates against the documents of others.

use super::{
    config::DedupConfig,
    signature::Signer,
    table::{Table, TableWriter},
};
use crate::error::{CorpusError, IoContext};
use pol_primitives::Hash;
use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

/// First bytes of a file of signatures.
const MAGIC: &[u8; 8] = b"pol-sig\0";
/// Bytes of the magic and the scheme, and of the checksum at the end.
const ENDS: [u64; 2] = [48, 32];

/// Signatures of the documents of a manifest, which its provider saves and others load.
///
/// Documents like those in the file are dropped, so its maker has to be trusted or checked: anybody
/// who has the texts can make the same bytes.
pub struct SignatureFile {
    table: Table,
    checksum: Hash,
}

/// Writer of a file of signatures.
pub(super) struct SignatureWriter {
    table: TableWriter,
    hasher: blake3::Hasher,
}

impl SignatureFile {
    /// Opens a file that was made with the same seed, shingles, bands, and rows, and reads it once
    /// to verify its checksum.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is damaged, or was made with other options.
    pub fn open(path: &Path, config: &DedupConfig) -> Result<Self, CorpusError> {
        let width = Signer::new(config)?.layout().width();
        let damaged = |reason: &str| CorpusError::Damaged {
            path: path.to_owned(),
            reason: format!("{reason}; get it again from its provider"),
        };
        let file = File::open(path).io_context("read", path)?;
        let bytes = file.metadata().io_context("read", path)?.len();
        let Some(body) = bytes.checked_sub(ENDS[1]).filter(|body| *body >= ENDS[0]) else {
            return Err(damaged("it is too short for signatures"));
        };
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut header = [0; ENDS[0] as usize];
        reader.read_exact(&mut header).io_context("read", path)?;
        if !header.starts_with(MAGIC) {
            return Err(damaged("it does not begin as a file of signatures"));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        let (mut left, mut buffer) = (body - ENDS[0], vec![0; 1 << 16]);
        while left > 0 {
            let part = &mut buffer[..left.min(1 << 16) as usize];
            reader.read_exact(part).io_context("read", path)?;
            hasher.update(part);
            left -= part.len() as u64;
        }
        let mut checksum = [0; ENDS[1] as usize];
        reader.read_exact(&mut checksum).io_context("read", path)?;
        if checksum != *hasher.finalize().as_bytes() {
            return Err(damaged("its checksum differs"));
        }
        if header != header_of(config) {
            return Err(CorpusError::InvalidOption(format!(
                "the signatures in {} were made with another version, seed, shingle, bands, or \
                 rows; use the options of the network",
                path.display()
            )));
        }
        Ok(Self { table: Table::open(path, ENDS, width, 1)?, checksum })
    }

    /// Writes the signatures of `texts` to a file, which appears at `path` whole or not at all.
    ///
    /// # Errors
    ///
    /// Fails if an option is out of its range, a text cannot be had, or the disk fails.
    pub fn write<E: From<CorpusError>>(
        path: &Path,
        config: &DedupConfig,
        texts: impl IntoIterator<Item = Result<String, E>>,
    ) -> Result<(), E> {
        let signer = Signer::new(config)?;
        let mut writer = SignatureWriter::create(path, config)?;
        for text in texts {
            writer.write(&signer.sign(&text?).0)?;
        }
        Ok(writer.commit()?)
    }

    /// Returns the number of documents.
    pub fn documents(&self) -> u64 {
        self.table.len()
    }

    /// Returns the checksum, which stands for the contents.
    pub fn checksum(&self) -> Hash {
        self.checksum
    }

    /// Returns the signature at an index below the number of documents.
    pub(super) fn signature(&mut self, index: u64) -> Result<&[u8], CorpusError> {
        self.table.record(index)
    }
}

impl SignatureWriter {
    pub(super) fn create(path: &Path, config: &DedupConfig) -> Result<Self, CorpusError> {
        let mut writer = Self { table: TableWriter::create(path)?, hasher: blake3::Hasher::new() };
        writer.write(&header_of(config))?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, signature: &[u8]) -> Result<(), CorpusError> {
        self.hasher.update(signature);
        self.table.write(signature)
    }

    pub(super) fn commit(mut self) -> Result<(), CorpusError> {
        self.table.write(self.hasher.finalize().as_bytes())?;
        self.table.commit()
    }
}

fn header_of(config: &DedupConfig) -> [u8; ENDS[0] as usize] {
    let mut header = [0; ENDS[0] as usize];
    header[..8].copy_from_slice(MAGIC);
    for (bytes, number) in header[8..].chunks_mut(8).zip(config.scheme()) {
        bytes.copy_from_slice(&number.to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{fs, path::PathBuf};

    fn written(folder: &Path) -> (PathBuf, Vec<u8>) {
        let (path, config) = (folder.join("a.signatures"), DedupConfig::default());
        let texts = ["a text", "another"].map(|text| Ok::<_, CorpusError>(text.to_owned()));
        SignatureFile::write(&path, &config, texts).unwrap();
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    }

    #[test]
    fn files_are_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, bytes) = written(folder.path());
        let config = DedupConfig { similarity: 900_000, memory: 1, ..DedupConfig::default() };
        let mut file = SignatureFile::open(&path, &config).unwrap();
        assert_eq!(file.documents(), 2);
        assert_eq!(file.checksum()[..], bytes[bytes.len() - 32..]);
        let signer = Signer::new(&config).unwrap();
        assert_eq!(file.signature(1).unwrap(), signer.sign("another").0);
        assert_eq!(file.signature(0).unwrap(), signer.sign("a text").0);
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, bytes) = written(folder.path());
        let config = DedupConfig::default();
        let mut flipped = bytes.clone();
        flipped[1000] ^= 1;
        let mut scheme = bytes.clone();
        scheme[20] ^= 1;
        let cut = &bytes[..bytes.len() - 1];
        for contents in [&bytes[..0], &bytes[..79], &bytes[1..], cut, &flipped, &scheme] {
            fs::write(&path, contents).unwrap();
            let Err(error) = SignatureFile::open(&path, &config) else { panic!("opened") };
            assert!(matches!(&error, CorpusError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("get it again"), "{error}");
        }
        fs::write(&path, &bytes).unwrap();
        for other in
            [DedupConfig { seed: 1, ..config.clone() }, DedupConfig { rows: 5, ..config.clone() }]
        {
            let opened = SignatureFile::open(&path, &other);
            assert!(matches!(opened, Err(CorpusError::InvalidOption(_))));
        }
        let missing = folder.path().join("missing");
        assert!(matches!(SignatureFile::open(&missing, &config), Err(CorpusError::Io { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_contents_under_a_right_checksum_are_refused_or_compared(
            records in 0usize..3, rest in 0usize..2, byte: u8,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (path, config) = (folder.path().join("made"), DedupConfig::default());
            let layout = Signer::new(&config).unwrap().layout();
            let mut writer = SignatureWriter::create(&path, &config).unwrap();
            writer.write(&vec![byte; records * layout.width() + rest]).unwrap();
            writer.commit().unwrap();
            let opened = SignatureFile::open(&path, &config);
            prop_assert_eq!(opened.is_ok(), rest == 0);
            if let Ok(mut file) = opened {
                for index in 0..file.documents() {
                    let signature = file.signature(index).unwrap().to_vec();
                    prop_assert!(layout.keys(&signature).count() >= 1);
                    prop_assert!(layout.likeness(&signature, &signature, 1).is_some());
                }
            }
        }
    }
}
