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
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// First bytes of a file of signatures.
const MAGIC: &[u8; 8] = b"pol-sig\0";
/// First bytes of a file of the signatures of a registered manifest, whose hash follows the scheme.
const MANIFEST_MAGIC: &[u8; 8] = b"pol-sig\x01";
/// Bytes of the magic and the scheme.
const HEADER: usize = 48;
/// Bytes of the hash of a manifest, and of the checksum at the end.
const HASH: usize = size_of::<Hash>();
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 16;

/// Signatures of the documents of a manifest, which its provider saves and others load.
///
/// Documents like those in the file are dropped, so its maker has to be trusted or checked: anybody
/// who has the texts can make the same bytes.
pub struct SignatureFile {
    path: PathBuf,
    config: DedupConfig,
    /// Bytes before the first signature.
    start: u64,
    documents: u64,
    checksum: Hash,
    manifest: Option<Hash>,
    /// Reader of signatures, while the file is open.
    table: Option<Table>,
}

/// Writer of a file of signatures.
pub(super) struct SignatureWriter {
    table: TableWriter,
    hasher: blake3::Hasher,
}

/// Writer of the signatures of a registered manifest. It can go on where another one was stopped.
pub struct ManifestSignatureWriter {
    signer: Signer,
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    documents: u64,
}

impl SignatureFile {
    /// Opens a file that was made with the same seed, shingles, bands, and rows, and reads it once
    /// to verify its checksum.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is damaged, or was made with other options.
    pub fn open(path: &Path, config: &DedupConfig) -> Result<Self, CorpusError> {
        let width = Signer::new(config)?.layout().width() as u64;
        let file = File::open(path).io_context("read", path)?;
        let bytes = file.metadata().io_context("read", path)?.len();
        let mut reader = BufReader::with_capacity(CHUNK, file);
        let too_short = || damaged(path, "it is too short for signatures");
        if bytes < (HEADER + HASH) as u64 {
            return Err(too_short());
        }
        let mut header = [0; HEADER];
        reader.read_exact(&mut header).io_context("read", path)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        let mut manifest = header.starts_with(MANIFEST_MAGIC).then(Hash::default);
        if manifest.is_none() && !header.starts_with(MAGIC) {
            return Err(damaged(path, "it does not begin as a file of signatures"));
        }
        let start = (HEADER + manifest.map_or(0, |_| HASH)) as u64;
        let body = bytes.checked_sub(start + HASH as u64).ok_or_else(too_short)?;
        if let Some(manifest) = &mut manifest {
            reader.read_exact(manifest).io_context("read", path)?;
            hasher.update(manifest);
        }
        hash_bytes(&mut reader, body, &mut hasher).io_context("read", path)?;
        let mut checksum = Hash::default();
        reader.read_exact(&mut checksum).io_context("read", path)?;
        if checksum != *hasher.finalize().as_bytes() {
            return Err(damaged(path, "its checksum differs"));
        }
        if header[MAGIC.len()..] != scheme_of(config) {
            return Err(CorpusError::InvalidOption(format!(
                "the signatures in {} were made with another version, seed, shingle, bands, or \
                 rows; use the options of the network",
                path.display()
            )));
        }
        if !body.is_multiple_of(width) {
            return Err(damaged(path, "it holds no whole number of signatures"));
        }
        let (path, config, documents) = (path.to_owned(), config.clone(), body / width);
        Ok(Self { path, config, start, documents, checksum, manifest, table: None })
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
        self.documents
    }

    /// Returns the checksum, which stands for the contents.
    pub fn checksum(&self) -> Hash {
        self.checksum
    }

    /// Returns the registered manifest that the documents are in, by the BLAKE3 of its body, if the
    /// file names one.
    pub fn manifest(&self) -> Option<Hash> {
        self.manifest
    }

    /// Returns `true` if the operating system has the file open.
    pub(super) fn is_open(&self) -> bool {
        self.table.is_some()
    }

    /// Closes the file until the next signature is read.
    pub(super) fn close(&mut self) {
        self.table = None;
    }

    /// Returns the signature at an index below the number of documents.
    pub(super) fn signature(&mut self, index: u64) -> Result<&[u8], CorpusError> {
        if self.table.is_none() {
            let width = Signer::new(&self.config)?.layout().width();
            let table = Table::open(&self.path, [self.start, HASH as u64], width, 1)?;
            if table.len() != self.documents {
                return Err(damaged(&self.path, "it changed while it was in use"));
            }
            self.table = Some(table);
        }
        let path = &self.path;
        let table = self.table.as_mut().ok_or_else(|| damaged(path, "it is not open"))?;
        table.record(index)
    }
}

impl SignatureWriter {
    pub(super) fn create(path: &Path, config: &DedupConfig) -> Result<Self, CorpusError> {
        let mut writer = Self { table: TableWriter::create(path)?, hasher: blake3::Hasher::new() };
        writer.write(MAGIC)?;
        writer.write(&scheme_of(config))?;
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

impl ManifestSignatureWriter {
    /// Returns the path at which the signatures are until all of them are there.
    pub fn partial_path(path: &Path) -> PathBuf {
        path.with_extension("partial")
    }

    /// Starts the file that appears at `path` with the signatures of the manifest with this hash,
    /// or goes on behind the first `documents` of them that another writer saved.
    ///
    /// # Errors
    ///
    /// Fails if an option is out of its range, if the disk fails, and with
    /// [`CorpusError::Damaged`] if what was saved is not there.
    pub fn open(
        path: &Path,
        config: &DedupConfig,
        manifest: &Hash,
        documents: u64,
    ) -> Result<Self, CorpusError> {
        let signer = Signer::new(config)?;
        let partial = Self::partial_path(path);
        let header = [&MANIFEST_MAGIC[..], &scheme_of(config), manifest].concat();
        let mut hasher = blake3::Hasher::new();
        let file = if documents == 0 {
            let mut file = File::create(&partial).io_context("create", &partial)?;
            file.write_all(&header).io_context("write", &partial)?;
            hasher.update(&header);
            file
        } else {
            let options = OpenOptions::new().read(true).write(true).open(&partial);
            let mut file = options.io_context("open", &partial)?;
            let width = signer.layout().width() as u64;
            let length = documents.saturating_mul(width).saturating_add(header.len() as u64);
            if file.metadata().io_context("read", &partial)?.len() < length {
                return Err(damaged(&partial, "it is shorter than what was saved"));
            }
            let mut found = vec![0; header.len()];
            file.read_exact(&mut found).io_context("read", &partial)?;
            if found != header {
                return Err(damaged(&partial, "it is of another manifest"));
            }
            hasher.update(&header);
            hash_bytes(&mut file, length - header.len() as u64, &mut hasher)
                .and_then(|()| file.set_len(length))
                .and_then(|()| file.seek(SeekFrom::Start(length)))
                .io_context("read", &partial)?;
            file
        };
        let (path, file) = (path.to_owned(), BufWriter::with_capacity(CHUNK, file));
        Ok(Self { signer, path, partial, file, hasher, documents })
    }

    /// Writes the signature of a text.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn write(&mut self, text: &str) -> Result<(), CorpusError> {
        let signature = self.signer.sign(text).0;
        self.hasher.update(&signature);
        self.documents += 1;
        self.file.write_all(&signature).io_context("write", &self.partial)
    }

    /// Returns the number of texts so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Returns the number of bytes that a signature takes.
    pub fn signature_bytes(&self) -> u64 {
        self.signer.layout().width() as u64
    }

    /// Makes the signatures so far durable, so that another writer can go on behind them.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn save(&mut self) -> Result<(), CorpusError> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .io_context("write", &self.partial)
    }

    /// Ends the file, which appears at its path.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn commit(mut self) -> Result<(), CorpusError> {
        let checksum = *self.hasher.finalize().as_bytes();
        self.file.write_all(&checksum).io_context("write", &self.partial)?;
        self.save()?;
        fs::rename(&self.partial, &self.path).io_context("create", &self.path)
    }
}

/// Adds the next bytes of a file to a hash.
fn hash_bytes(
    reader: &mut impl Read,
    mut left: u64,
    hasher: &mut blake3::Hasher,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let part = &mut buffer[..left.min(CHUNK as u64) as usize];
        reader.read_exact(part)?;
        hasher.update(part);
        left -= part.len() as u64;
    }
    Ok(())
}

fn damaged(path: &Path, reason: &str) -> CorpusError {
    CorpusError::Damaged {
        path: path.to_owned(),
        reason: format!("{reason}; get it again from its provider"),
    }
}

/// Returns the options in the header of a file.
fn scheme_of(config: &DedupConfig) -> [u8; HEADER - MAGIC.len()] {
    let mut scheme = [0; HEADER - MAGIC.len()];
    for (bytes, number) in scheme.chunks_mut(8).zip(config.scheme()) {
        bytes.copy_from_slice(&number.to_be_bytes());
    }
    scheme
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn signatures_of_a_manifest_name_it_and_go_on_where_they_were_saved() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parts) = (folder.path().join("a.signatures"), folder.path().join("b.x"));
        let config = DedupConfig::default();
        let open = |path: &Path, documents| {
            ManifestSignatureWriter::open(path, &config, &[7; 32], documents)
        };
        let mut writer = open(&whole, 0).unwrap();
        ["one", "two", "three"].iter().for_each(|text| writer.write(text).unwrap());
        writer.commit().unwrap();

        let mut writer = open(&parts, 0).unwrap();
        writer.write("one").unwrap();
        writer.save().unwrap();
        // What comes behind a save may be lost, or not.
        writer.write("another").unwrap();
        writer.save().unwrap();
        assert!(!parts.exists());
        let torn = open(&parts, 3).err().unwrap();
        assert!(matches!(&torn, CorpusError::Damaged { .. }), "{torn}");
        let other = ManifestSignatureWriter::open(&parts, &config, &[8; 32], 1).err().unwrap();
        assert!(other.to_string().contains("another manifest"), "{other}");
        let mut writer = open(&parts, 1).unwrap();
        ["two", "three"].iter().for_each(|text| writer.write(text).unwrap());
        assert_eq!(writer.documents(), 3);
        writer.commit().unwrap();
        assert_eq!(fs::read(&parts).unwrap(), fs::read(&whole).unwrap());
        assert!(!ManifestSignatureWriter::partial_path(&parts).exists());

        let file = SignatureFile::open(&whole, &config).unwrap();
        assert_eq!((file.documents(), file.manifest()), (3, Some([7; 32])));
        let bytes = fs::read(&whole).unwrap();
        for at in [7, HEADER, HEADER + HASH, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&whole, flipped).unwrap();
            assert!(SignatureFile::open(&whole, &config).is_err(), "byte {at}");
        }
        let mut cut = bytes[..HEADER + HASH].to_vec();
        fs::write(&whole, &cut).unwrap();
        assert!(SignatureFile::open(&whole, &config).is_err(), "there is no room for both hashes");
        cut.extend(blake3::hash(&cut).as_bytes());
        fs::write(&whole, &cut).unwrap();
        assert_eq!(SignatureFile::open(&whole, &config).unwrap().documents(), 0);
    }

    #[test]
    fn a_file_that_changes_while_it_is_closed_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, bytes) = written(folder.path());
        let mut file = SignatureFile::open(&path, &DedupConfig::default()).unwrap();
        assert!(!file.is_open());
        let first = file.signature(0).unwrap().to_vec();
        file.close();
        assert_eq!(file.signature(0).unwrap(), first);
        file.close();
        fs::write(&path, &bytes[..HEADER + HASH]).unwrap();
        let error = file.signature(0).unwrap_err().to_string();
        assert!(error.contains("changed while it was in use"), "{error}");
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
