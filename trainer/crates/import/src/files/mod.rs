//! The two file formats weights come in, read as tables of tensors.
//!
//! What a file claims is checked before anything is allocated or read by it: counts against the
//! bytes that are left, products against overflow, ranges against the file's length and each other.
//! Values are decoded when asked for, one tensor at a time, so that a table of any size costs
//! little memory. Files are read by position, not mapped: a file that shrinks under the reader is
//! then an error and not the end of the process.
//!
//! This module needs nothing of the rest of the crate, so that the fuzz targets build in seconds.

pub mod encoding;
pub mod gguf;
pub mod safetensors;

pub use encoding::Encoding;

use std::{collections::BTreeMap, fmt, fs::File, io, os::unix::fs::FileExt, path::Path};

/// Why a file of weights is refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system would not read it.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It breaks the rules of its format.
    #[error("is not a valid {format} file: {reason}")]
    Malformed {
        /// The format's name.
        format: &'static str,
        /// Which rule.
        reason: String,
    },
    /// It is whole, but holds something that is not supported.
    #[error("{0}")]
    Unsupported(String),
}

/// Bytes that can be read from anywhere in them.
pub trait Bytes: Send + Sync {
    /// How many there are.
    fn size(&self) -> u64;
    /// Fills `into` with those from `offset` on.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl Bytes for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A file on disk, and its length when it was opened.
#[derive(Debug)]
pub struct Disk {
    file: File,
    size: u64,
}

impl Disk {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl Bytes for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

/// Where a tensor lies and how its values are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Sizes, outermost first.
    pub shape: Vec<u64>,
    /// How values are written.
    pub encoding: Encoding,
    /// Offset of its first byte in its file.
    offset: u64,
    /// Its length in bytes.
    bytes: u64,
    /// Its file, by place in the table.
    file: usize,
}

impl Entry {
    /// Number of values.
    pub fn len(&self) -> u64 {
        // Checked when the entry was made.
        self.shape.iter().product()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tensors of one checkpoint, from one file or several.
#[derive(Default)]
pub struct Table {
    files: Vec<Box<dyn Bytes>>,
    entries: BTreeMap<String, Entry>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// Bytes decoded at a time: a multiple of every encoding's block.
const CHUNK: usize = 1 << 20;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

impl Table {
    /// The tensors by name.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Takes in the tensors of another file; which name is in both, if any is.
    pub fn join(&mut self, other: Table) -> Result<(), String> {
        let first = self.files.len();
        self.files.extend(other.files);
        for (name, mut entry) in other.entries {
            entry.file += first;
            if self.entries.contains_key(&name) {
                return Err(name);
            }
            self.entries.insert(name, entry);
        }
        Ok(())
    }

    /// The values of `entry` in row-major order.
    pub fn values(&self, entry: &Entry) -> Result<Vec<f32>, FileError> {
        let (block_values, block_bytes) = entry.encoding.block();
        let file =
            self.files.get(entry.file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let length = usize::try_from(entry.len()).map_err(io::Error::other)?;
        let mut values = vec![0.0; length];
        let blocks = CHUNK / block_bytes as usize;
        let mut bytes = vec![0; blocks * block_bytes as usize];
        let mut offset = entry.offset;
        for part in values.chunks_mut(blocks * block_values as usize) {
            let bytes = &mut bytes[..part.len() / block_values as usize * block_bytes as usize];
            file.read_at(offset, bytes)?;
            offset += bytes.len() as u64;
            entry.encoding.decode(bytes, part).map_err(FileError::Unsupported)?;
        }
        Ok(values)
    }

    /// A table of one file. `entries` are as the file claims them: their ranges must lie between
    /// `start` and the end of `file` and not overlap; where they are `dense` they must leave no gap
    /// either.
    fn new(
        file: Box<dyn Bytes>,
        entries: Vec<(String, Entry)>,
        start: u64,
        dense: bool,
        malformed: impl Fn(String) -> FileError,
    ) -> Result<Self, FileError> {
        let size = file.size();
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|&i| (entries[i].1.offset, entries[i].1.bytes));
        let mut end = start;
        for (name, entry) in order.iter().map(|&i| &entries[i]) {
            if entry.offset < end {
                return Err(malformed(format!(
                    "tensor {name} overlaps the one before it or the header"
                )));
            }
            if dense && entry.offset > end {
                return Err(malformed(format!(
                    "{} bytes before tensor {name} belong to nothing",
                    entry.offset - end
                )));
            }
            end = entry.offset.checked_add(entry.bytes).filter(|&end| end <= size).ok_or_else(|| {
                malformed(format!(
                    "tensor {name} should end {} bytes after byte {}, but the file has {size} bytes; it was cut short, download it again",
                    entry.bytes, entry.offset
                ))
            })?;
        }
        if dense && end != size {
            return Err(malformed(format!(
                "{} bytes after the last tensor belong to nothing",
                size - end
            )));
        }
        let mut table = BTreeMap::new();
        for (name, entry) in entries {
            if table.contains_key(&name) {
                return Err(malformed(format!("tensor {name} is there twice")));
            }
            table.insert(name, entry);
        }
        Ok(Self { files: vec![file], entries: table })
    }
}

/// Bytes that a tensor of `shape` takes in `encoding`, or what is wrong with that.
fn byte_length(shape: &[u64], encoding: Encoding) -> Result<u64, String> {
    if shape.len() > MAX_DIMENSIONS {
        return Err(format!("has {} dimensions, more than {MAX_DIMENSIONS}", shape.len()));
    }
    if shape.contains(&0) {
        return Err(format!("has a size of zero: {shape:?}"));
    }
    let values = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    let values = values.ok_or_else(|| format!("has sizes whose product overflows: {shape:?}"))?;
    let (block_values, block_bytes) = encoding.block();
    if !shape.last().unwrap_or(&1).is_multiple_of(block_values) {
        return Err(format!(
            "has rows of {} values, which {encoding} cannot write: it takes {block_values} at a time",
            shape.last().unwrap_or(&1)
        ));
    }
    (values / block_values)
        .checked_mul(block_bytes)
        .ok_or_else(|| format!("has sizes whose product overflows: {shape:?}"))
}

#[cfg(test)]
mod tests;
