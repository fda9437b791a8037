// SPDX-License-Identifier: Apache-2.0

//! Store of documents in a folder: those that sources gave, or what was made of them.
//!
//! A store is a folder of segments and a file `head.json`. Documents are appended to the last
//! segment, as frames of Zstandard. A commit flushes them and then replaces the head, which names
//! the segment, its length, its BLAKE3, the number of documents, and the cursor of the source. So
//! documents and cursor become durable together, and what a kill leaves behind the length is cut
//! off on opening. A full segment ends with a footer that names its BLAKE3, in a frame that
//! decoders of Zstandard skip.
//!
//! The hashes find damage of disks. They are no protection from somebody who may write the folder.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{CorpusError, Origin, RawDocument, error::IoContext as _};

/// Length after which a segment is full, in compressed bytes.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Level of compression: about as fast as disks.
const LEVEL: i32 = 3;
/// Longest document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 1 << 30;
/// Longest description of a document, in bytes.
const MAX_HEADER_BYTES: usize = 1 << 20;
/// Longest cursor of a source, in bytes. A crawler's names all pages that it has yet to visit.
const MAX_CURSOR_BYTES: usize = 16 << 20;
/// Length after which documents are compressed together.
const FRAME_BYTES: usize = 2 << 20;
/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;
const HEAD: &str = "head.json";
/// Head that is being written.
const NEW_HEAD: &str = "head.json.new";
const LOCK: &str = "lock";
const FORMAT: u32 = 1;
/// Start of a footer: a skippable frame (RFC 8878, section 3.1.2), and its length.
const FOOTER_MAGIC: [u8; 8] = [0x5c, 0x2a, 0x4d, 0x18, 44, 0, 0, 0];
/// Length of a footer: its start, the number of the segment, that of its documents, and the hash.
const FOOTER_BYTES: usize = 8 + 4 + 8 + 32;

/// State of a store as of its last commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    /// Last segment.
    segment: u32,
    /// Its length.
    bytes: u64,
    /// BLAKE3 of these bytes.
    #[serde(with = "pol_primitives::hex_hash")]
    blake3: pol_primitives::Hash,
    /// Number of its documents.
    segment_documents: u64,
    /// Number of documents of all segments.
    documents: u64,
    cursor: serde_json::Value,
}

impl Head {
    fn empty() -> Self {
        Self {
            format: FORMAT,
            segment: 0,
            bytes: 0,
            blake3: blake3::hash(&[]).into(),
            segment_documents: 0,
            documents: 0,
            cursor: serde_json::Value::Null,
        }
    }
}

/// Thing that a store keeps: a description and bytes.
pub trait Stored: Sized {
    /// Description as it is read: an object in JSON, with the number of bytes in its field `bytes`.
    type Header: DeserializeOwned;

    /// Returns the description, an object without a field `bytes`, and the bytes.
    fn parts(&self) -> (impl Serialize, &[u8]);

    /// Returns the number of bytes that a description names.
    fn length(header: &Self::Header) -> u64;

    /// Returns the thing that has this description and these bytes.
    ///
    /// # Errors
    ///
    /// Fails with the contradiction if there is no such thing.
    fn from_parts(header: Self::Header, bytes: Vec<u8>) -> Result<Self, String>;
}

/// Description of a raw document, as it is written.
#[derive(Debug, Serialize)]
struct RawDescription<'a> {
    origin: &'a Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    media: Option<&'a str>,
}

/// Description of a raw document.
#[derive(Debug, Deserialize)]
pub struct RawHeader {
    origin: Origin,
    #[serde(default)]
    media: Option<String>,
    bytes: u64,
}

impl Stored for RawDocument {
    type Header = RawHeader;

    fn parts(&self) -> (impl Serialize, &[u8]) {
        (RawDescription { origin: &self.origin, media: self.media.as_deref() }, &self.bytes)
    }

    fn length(header: &RawHeader) -> u64 {
        header.bytes
    }

    fn from_parts(header: RawHeader, bytes: Vec<u8>) -> Result<Self, String> {
        let RawHeader { origin, media, .. } = header;
        Ok(Self { origin, media, bytes })
    }
}

/// Description of a thing, with the number of bytes that follow. It is read as one object: serde
/// would make a copy of all parts of a flattened one first.
#[derive(Serialize)]
struct Header<D> {
    #[serde(flatten)]
    description: D,
    bytes: u64,
}

/// Store of raw documents in a folder.
pub type RawStore = Store<RawDocument>;
/// Committed documents of a [`RawStore`], in order.
pub type RawDocuments = StoreReader<RawDocument>;

/// Store of documents of one kind in a folder.
#[derive(Debug)]
pub struct Store<T> {
    folder: PathBuf,
    head: Head,
    /// Segment that is written, once something was appended.
    writer: Option<Writer>,
    /// Documents appended since the last commit.
    pending: u64,
    /// A write failed, so that memory and disk may differ.
    failed: bool,
    segment_bytes: u64,
    /// Keeps others from writing.
    _lock: File,
    kind: PhantomData<fn() -> T>,
}

impl<T: Stored> Store<T> {
    /// Opens a store, or creates one in a folder that is empty or not there. Documents behind the
    /// last commit, which a kill left, are dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the folder cannot be written, if another process has the store open, or
    /// if the store is damaged.
    pub fn create_or_open(folder: impl Into<PathBuf>) -> Result<Self, CorpusError> {
        let folder = folder.into();
        fs::create_dir_all(&folder).io_context("create", &folder)?;
        let lock = lock(&folder)?;
        let head = match read_head(&folder)? {
            Some(head) => head,
            None if segment_path(&folder, 0).exists() => {
                return Err(damaged(&folder.join(HEAD), "it is missing"));
            }
            None => {
                let head = Head::empty();
                write_head(&folder, &head)?;
                head
            }
        };
        let store = Self {
            folder,
            head,
            writer: None,
            pending: 0,
            failed: false,
            segment_bytes: SEGMENT_BYTES,
            _lock: lock,
            kind: PhantomData,
        };
        store.drop_uncommitted()?;
        Ok(store)
    }

    /// Appends a document. It is durable after the next [`Self::commit`].
    ///
    /// # Errors
    ///
    /// Returns an error if the document or its description is too long, or if the disk fails. After
    /// a failure of the disk, the store has to be opened anew.
    pub fn append(&mut self, document: &T) -> Result<(), CorpusError> {
        let (description, bytes) = document.parts();
        let header = Header { description, bytes: bytes.len() as u64 };
        let header = to_json(&header, MAX_HEADER_BYTES, "the description of a document")?;
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(CorpusError::InvalidOption(format!(
                "a document of over {MAX_DOCUMENT_BYTES} bytes; store it in parts"
            )));
        }
        self.write(|store| {
            let writer = store.open_writer()?;
            writer.append(&header, bytes)
        })?;
        self.pending += 1;
        Ok(())
    }

    /// Makes the documents so far and the cursor of their source durable, together.
    ///
    /// # Errors
    ///
    /// Returns an error if the cursor is too long, or if the disk fails. The store is then as of
    /// the commit before, and has to be opened anew.
    pub fn commit(&mut self, cursor: &serde_json::Value) -> Result<(), CorpusError> {
        to_json(cursor, MAX_CURSOR_BYTES, "the cursor of a source")?;
        self.write(|store| {
            let mut head = Head { cursor: cursor.clone(), ..store.head.clone() };
            if let Some(writer) = &mut store.writer {
                writer.flush()?;
                head.segment = writer.segment;
                head.bytes = writer.bytes;
                head.blake3 = writer.hash();
                head.segment_documents = writer.documents;
            }
            head.documents += store.pending;
            write_head(&store.folder, &head)?;
            store.head = head;
            store.pending = 0;
            Ok(())
        })
    }

    /// Returns the cursor of the last commit: null if there was none.
    #[must_use]
    pub fn cursor(&self) -> &serde_json::Value {
        &self.head.cursor
    }

    /// Returns the number of committed documents.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.head.documents
    }

    /// Returns whether there are no committed documents.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.documents == 0
    }

    /// Returns the digest of the committed documents, as they are stored. A commit without new
    /// documents leaves it as it is.
    ///
    /// # Errors
    ///
    /// Returns an error if a segment cannot be read.
    pub fn contents(&self) -> Result<pol_primitives::Hash, CorpusError> {
        let mut hasher = blake3::Hasher::new_derive_key("pol-corpus 2026 store");
        for segment in 0..self.head.segment {
            let path = segment_path(&self.folder, segment);
            let mut file = File::open(&path).io_context("open", &path)?;
            hasher.update(&Footer::read(&path, &mut file, segment)?.0.blake3);
        }
        Ok(hasher.update(&self.head.blake3).finalize().into())
    }

    /// Returns the length of the committed segments, in bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if a segment cannot be read.
    pub fn stored_bytes(&self) -> Result<u64, CorpusError> {
        (0..self.head.segment).try_fold(self.head.bytes, |sum, segment| {
            let path = segment_path(&self.folder, segment);
            let facts = fs::metadata(&path).io_context("read", &path)?;
            Ok(sum.saturating_add(facts.len()))
        })
    }

    /// Iterates over the committed documents, in the order of appending.
    #[must_use]
    pub fn documents(&self) -> StoreReader<T> {
        self.documents_from(0)
    }

    /// Iterates over the committed documents from a position on.
    #[must_use]
    pub fn documents_from(&self, position: u64) -> StoreReader<T> {
        StoreReader::new(self.folder.clone(), self.head.clone(), position)
    }

    /// Runs a change, and remembers if it failed halfway.
    fn write(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<(), CorpusError>,
    ) -> Result<(), CorpusError> {
        if self.failed {
            return Err(CorpusError::InvalidOption(format!(
                "writing to {} failed before; open the store anew",
                self.folder.display()
            )));
        }
        self.failed = true;
        change(self)?;
        self.failed = false;
        Ok(())
    }

    /// Returns the segment that is written. A full one ends, and the next starts.
    fn open_writer(&mut self) -> Result<&mut Writer, CorpusError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::open(&self.folder, &self.head)?,
        };
        if writer.bytes >= self.segment_bytes {
            writer = Writer::create(&self.folder, writer.seal()?)?;
        }
        Ok(self.writer.insert(writer))
    }

    /// Drops what was appended behind the last commit.
    fn drop_uncommitted(&self) -> Result<(), CorpusError> {
        let last = segment_path(&self.folder, self.head.segment);
        match OpenOptions::new().write(true).open(&last) {
            Ok(file) => {
                let length = file.metadata().io_context("read", &last)?.len();
                if length < self.head.bytes {
                    return Err(damaged(&last, "it is shorter than at the last commit"));
                }
                if length > self.head.bytes {
                    file.set_len(self.head.bytes)
                        .and_then(|()| file.sync_all())
                        .io_context("truncate", &last)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.head.bytes == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(&last, "it is missing"));
            }
            Err(source) => return Err(CorpusError::Io { action: "open", path: last, source }),
        }
        let mut later = self.head.segment;
        while let Some(next) = later.checked_add(1) {
            later = next;
            let path = segment_path(&self.folder, later);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(source) => return Err(CorpusError::Io { action: "remove", path, source }),
            }
        }
        Ok(())
    }
}

fn lock(folder: &Path) -> Result<File, CorpusError> {
    let path = folder.join(LOCK);
    let options = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = options.io_context("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(CorpusError::InvalidOption(format!(
            "another process writes to {}; wait for it or stop it",
            folder.display()
        ))),
        Err(fs::TryLockError::Error(source)) => {
            Err(CorpusError::Io { action: "lock", path, source })
        }
    }
}

fn segment_path(folder: &Path, segment: u32) -> PathBuf {
    folder.join(format!("{segment:06}.zst"))
}

fn damaged(path: &Path, what: &str) -> CorpusError {
    CorpusError::Damaged {
        path: path.to_owned(),
        reason: format!("{what}; restore it from a copy, or remove the store and collect anew"),
    }
}

/// Serialises a description, within its limit.
fn to_json(value: &impl Serialize, max_bytes: usize, what: &str) -> Result<Vec<u8>, CorpusError> {
    match serde_json::to_vec(value) {
        Ok(bytes) if bytes.len() <= max_bytes => Ok(bytes),
        Ok(_) => Err(CorpusError::InvalidOption(format!("{what} has over {max_bytes} bytes"))),
        Err(error) => Err(CorpusError::InvalidOption(format!("{what} is no JSON: {error}"))),
    }
}

fn read_head(folder: &Path) -> Result<Option<Head>, CorpusError> {
    let path = folder.join(HEAD);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CorpusError::Io { action: "read", path, source }),
    };
    let head: Head =
        serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error.to_string()))?;
    if head.format != FORMAT {
        return Err(damaged(&path, &format!("its format {} is not known", head.format)));
    }
    Ok(Some(head))
}

fn write_head(folder: &Path, head: &Head) -> Result<(), CorpusError> {
    let (path, new) = (folder.join(HEAD), folder.join(NEW_HEAD));
    let write = || {
        let mut file = File::create(&new)?;
        serde_json::to_writer(&mut file, head)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    write().io_context("write", &path)
}

/// Segment that is written.
#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    segment: u32,
    documents: u64,
    bytes: u64,
    hasher: blake3::Hasher,
    /// Documents of the next frame.
    frame: Vec<u8>,
}

impl Writer {
    fn create(folder: &Path, segment: u32) -> Result<Self, CorpusError> {
        let path = segment_path(folder, segment);
        let file = File::create(&path).io_context("create", &path)?;
        let hasher = blake3::Hasher::new();
        Ok(Self { path, file, segment, documents: 0, bytes: 0, hasher, frame: Vec::new() })
    }

    /// Opens the last segment of a store, which it verifies.
    fn open(folder: &Path, head: &Head) -> Result<Self, CorpusError> {
        if head.bytes == 0 {
            return Self::create(folder, head.segment);
        }
        let path = segment_path(folder, head.segment);
        let options = OpenOptions::new().read(true).append(true).open(&path);
        let mut file = options.io_context("open", &path)?;
        let mut hasher = blake3::Hasher::new();
        verify(&path, &mut file, head.bytes, &head.blake3, &mut hasher)?;
        let (segment, documents, bytes) = (head.segment, head.segment_documents, head.bytes);
        Ok(Self { path, file, segment, documents, bytes, hasher, frame: Vec::new() })
    }

    fn append(&mut self, header: &[u8], bytes: &[u8]) -> Result<(), CorpusError> {
        // The limit on headers is far below four gigabytes.
        self.frame.extend_from_slice(&(header.len() as u32).to_le_bytes());
        self.frame.extend_from_slice(header);
        self.frame.extend_from_slice(bytes);
        self.documents += 1;
        if self.frame.len() >= FRAME_BYTES { self.write_frame() } else { Ok(()) }
    }

    fn write_frame(&mut self) -> Result<(), CorpusError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let frame = zstd::bulk::compress(&self.frame, LEVEL).io_context("compress", &self.path)?;
        self.frame.clear();
        self.frame.shrink_to(2 * FRAME_BYTES);
        self.write(&frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CorpusError> {
        self.file.write_all(bytes).io_context("write", &self.path)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes all that was appended durable.
    fn flush(&mut self) -> Result<(), CorpusError> {
        self.write_frame()?;
        self.file.sync_all().io_context("write", &self.path)
    }

    fn hash(&self) -> pol_primitives::Hash {
        self.hasher.finalize().into()
    }

    /// Ends the segment. Returns the number of the next.
    fn seal(mut self) -> Result<u32, CorpusError> {
        self.write_frame()?;
        let next = self.segment.checked_add(1).ok_or_else(|| {
            CorpusError::InvalidOption(
                "a store of over four billion segments; start another".into(),
            )
        })?;
        self.write(&Footer::start(self.segment, self.documents))?;
        let hash = self.hash();
        self.write(&hash)?;
        self.flush()?;
        Ok(next)
    }
}

/// End of a full segment.
struct Footer {
    documents: u64,
    blake3: pol_primitives::Hash,
}

impl Footer {
    /// Returns all of a footer but the hash, which is that of all bytes before it.
    fn start(segment: u32, documents: u64) -> Vec<u8> {
        [&FOOTER_MAGIC[..], &segment.to_le_bytes(), &documents.to_le_bytes()].concat()
    }

    /// Reads the footer of a segment. Returns it with the length of the bytes that it names the
    /// hash of.
    fn read(path: &Path, file: &mut File, segment: u32) -> Result<(Self, u64), CorpusError> {
        let length = file.metadata().io_context("read", path)?.len();
        let missing = || damaged(path, "its footer is missing");
        let start = length.checked_sub(FOOTER_BYTES as u64).ok_or_else(missing)?;
        let mut bytes = [0; FOOTER_BYTES];
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut bytes))
            .io_context("read", path)?;
        let documents = bytes[12..].first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
        let Some((start, blake3)) = bytes.split_last_chunk() else { return Err(missing()) };
        if start != Self::start(segment, documents) {
            return Err(missing());
        }
        Ok((Self { documents, blake3: *blake3 }, length - blake3.len() as u64))
    }
}

/// Compares the first bytes of a segment with their hash. Leaves the file behind them.
fn verify(
    path: &Path,
    file: &mut File,
    bytes: u64,
    expected: &pol_primitives::Hash,
    hasher: &mut blake3::Hasher,
) -> Result<(), CorpusError> {
    let mut hash = |file: &mut File| {
        file.seek(SeekFrom::Start(0))?;
        io::copy(&mut BufReader::with_capacity(CHUNK, file).take(bytes), hasher)
    };
    let read = hash(file).io_context("read", path)?;
    if read != bytes || hasher.finalize() != blake3::Hash::from_bytes(*expected) {
        return Err(damaged(path, "its bytes do not have the hash that was recorded"));
    }
    Ok(())
}

/// Committed documents of a store, in order. Each segment is verified before it is read.
pub struct StoreReader<T> {
    folder: PathBuf,
    head: Head,
    /// Next segment.
    segment: u32,
    /// Segment that is read, with the number of its documents that are left.
    reader: Option<(Reader, u64)>,
    /// Documents to pass over.
    skip: u64,
    /// Documents that are left, with those to pass over.
    left: u64,
    kind: PhantomData<fn() -> T>,
}

type Reader = zstd::stream::read::Decoder<'static, BufReader<io::Take<File>>>;

impl<T> std::fmt::Debug for StoreReader<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StoreReader").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl<T: Stored> StoreReader<T> {
    /// Opens the documents of a store that another process may be writing, as of its last commit.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no store, or if it cannot be read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CorpusError> {
        let folder = folder.into();
        let head = read_head(&folder)?.ok_or_else(|| {
            CorpusError::InvalidOption(format!(
                "{} is no store of documents; name the folder `raw` that `data acquire` filled",
                folder.display()
            ))
        })?;
        Ok(Self::new(folder, head, 0))
    }

    fn new(folder: PathBuf, head: Head, skip: u64) -> Self {
        let left = head.documents;
        Self { folder, segment: 0, reader: None, skip, left, head, kind: PhantomData }
    }

    /// Opens the next segment. Segments of documents to pass over are not verified.
    fn open_segment(&mut self) -> Result<(), CorpusError> {
        let segment = self.segment;
        let path = segment_path(&self.folder, segment);
        if segment > self.head.segment {
            return Err(damaged(
                &self.folder.join(HEAD),
                "it counts more documents than there are",
            ));
        }
        let mut file = File::open(&path).io_context("open", &path)?;
        let (footer, bytes) = if segment == self.head.segment {
            let (documents, blake3) = (self.head.segment_documents, self.head.blake3);
            (Footer { documents, blake3 }, self.head.bytes)
        } else {
            Footer::read(&path, &mut file, segment)?
        };
        self.segment += 1;
        if footer.documents <= self.skip {
            self.skip -= footer.documents;
            self.left = self.left.saturating_sub(footer.documents);
            return Ok(());
        }
        verify(&path, &mut file, bytes, &footer.blake3, &mut blake3::Hasher::new())?;
        file.seek(SeekFrom::Start(0)).io_context("read", &path)?;
        let reader = BufReader::with_capacity(CHUNK, file.take(bytes));
        let reader = Reader::with_buffer(reader).io_context("decompress", &path)?;
        self.reader = Some((reader, footer.documents));
        Ok(())
    }

    fn read(&mut self) -> Result<Option<T>, CorpusError> {
        while self.left > 0 {
            let Some((reader, documents)) = &mut self.reader else {
                self.open_segment()?;
                continue;
            };
            if *documents == 0 {
                self.reader = None;
                continue;
            }
            let path = segment_path(&self.folder, self.segment - 1);
            let document = read_document(reader, &path)?;
            *documents -= 1;
            self.left -= 1;
            match self.skip.checked_sub(1) {
                Some(skip) => self.skip = skip,
                None => return Ok(Some(document)),
            }
        }
        Ok(None)
    }
}

impl<T: Stored> Iterator for StoreReader<T> {
    type Item = Result<T, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.left = 0;
        }
        item
    }
}

fn read_document<T: Stored>(reader: &mut Reader, path: &Path) -> Result<T, CorpusError> {
    let mut length = [0; 4];
    reader.read_exact(&mut length).io_context("decompress", path)?;
    let header = read_bytes(reader, u64::from(u32::from_le_bytes(length)), path)?;
    let header: T::Header =
        serde_json::from_slice(&header).map_err(|error| damaged(path, &error.to_string()))?;
    let bytes = read_bytes(reader, T::length(&header), path)?;
    T::from_parts(header, bytes).map_err(|reason| damaged(path, &reason))
}

/// Reads bytes whose number is not believed beyond a chunk before they are there.
fn read_bytes(reader: &mut Reader, length: u64, path: &Path) -> Result<Vec<u8>, CorpusError> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(CHUNK).min(CHUNK));
    let read = reader.take(length).read_to_end(&mut bytes).io_context("decompress", path)?;
    if read as u64 != length {
        return Err(damaged(path, "a document in it ends early"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
