// SPDX-License-Identifier: Apache-2.0

//! Readers of the file formats of weights: safetensors and GGUF.
//!
//! Every claim of a file is checked before memory is allocated or bytes are read: counts against
//! the remaining bytes, products against overflow, ranges against the file's length and each other.
//! Values are decoded on request, one tensor at a time, so a table of any size needs little memory.
//! Files are read by position and not mapped, so that a file that shrinks is an error and not a
//! signal.
//!
//! This module uses nothing from the rest of the crate, so that fuzz targets need no libtorch.

pub mod encoding;
pub mod gguf;
pub mod safetensors;

pub use encoding::Encoding;

use std::{collections::BTreeMap, fmt, fs::File, io, os::unix::fs::FileExt, path::Path};

/// Error of reading a file of weights.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system could not read it.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is the pointer that Git has in the place of a large file.
    #[error("is a Git LFS pointer, not the file: run `git lfs pull` in its folder")]
    Pointer,
    /// It violates its format.
    #[error("is not a valid {format} file: {reason}")]
    Malformed {
        /// Name of the format.
        format: &'static str,
        /// Violation.
        reason: String,
    },
    /// It holds something that is not supported.
    #[error("{0}")]
    Unsupported(String),
}

/// Types that bytes can be read from at any position.
pub trait ReadAt: Send + Sync {
    /// Returns the number of bytes.
    fn size(&self) -> u64;
    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// Fails if there are fewer bytes or the system cannot read them.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for Vec<u8> {
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

/// A file on disk with its length when it was opened.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    size: u64,
}

impl DiskFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl ReadAt for DiskFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(
                error.kind(),
                "it has become shorter since it was opened; \
                 wait until it is written, or get it again",
            ),
            _ => error,
        })
    }
}

/// Place, shape and encoding of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Sizes, outermost first.
    pub shape: Vec<u64>,
    /// Encoding of the values.
    pub encoding: Encoding,
    /// Offset of the first byte in the file.
    offset: u64,
    /// Length in bytes.
    bytes: u64,
    /// Index of the file in the table.
    file: usize,
    /// Set if numbers of several bytes begin with the highest one.
    is_big_endian: bool,
}

impl TensorEntry {
    /// Returns the number of values.
    pub fn len(&self) -> u64 {
        // Checked for overflow when the entry was created.
        self.shape.iter().product()
    }

    /// Returns `true` if there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Tensors of a checkpoint, from one file or several.
#[derive(Default)]
pub struct TensorTable {
    files: Vec<Box<dyn ReadAt>>,
    entries: BTreeMap<String, TensorEntry>,
}

impl fmt::Debug for TensorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorTable").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// Start of the pointer that Git has in the place of a large file.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Fails if `bytes`, the start of a file, are those of a pointer of Git LFS.
pub(crate) fn refuse_pointer(bytes: &[u8]) -> Result<(), FileError> {
    if bytes.starts_with(POINTER) { Err(FileError::Pointer) } else { Ok(()) }
}

/// Fails if `file` is a pointer of Git LFS.
fn refuse_pointer_file(file: &dyn ReadAt) -> Result<(), FileError> {
    if file.size() < POINTER.len() as u64 {
        return Ok(());
    }
    let mut start = [0; POINTER.len()];
    file.read_at(0, &mut start)?;
    refuse_pointer(&start)
}

/// Maximum number of bytes decoded at a time.
const CHUNK: usize = 1 << 20;
/// Maximum number of values of a tensor compared at a time: a whole number of blocks of every
/// encoding.
const COMPARED_VALUES: u64 = 1 << 18;
/// Maximum number of dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

impl TensorTable {
    /// Returns the tensors by name.
    pub fn entries(&self) -> &BTreeMap<String, TensorEntry> {
        &self.entries
    }

    /// Returns `true` if all tensors are in one file.
    pub(crate) fn is_one_file(&self) -> bool {
        self.files.len() == 1
    }

    /// Adds the tensors of another table.
    ///
    /// # Errors
    ///
    /// Fails with the name of a tensor that is in both tables.
    pub fn merge(&mut self, other: TensorTable) -> Result<(), String> {
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

    /// Changes the names of tensors. Returns the number of changed ones.
    ///
    /// # Errors
    ///
    /// Fails with a name that two tensors would have.
    pub(crate) fn rename(&mut self, rename: impl Fn(&str) -> String) -> Result<usize, String> {
        let mut changed = 0;
        for (name, entry) in std::mem::take(&mut self.entries) {
            let new = rename(&name);
            changed += usize::from(new != name);
            if self.entries.contains_key(&new) {
                return Err(new);
            }
            self.entries.insert(new, entry);
        }
        Ok(changed)
    }

    /// Decodes the values of `entry` in row-major order.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or the encoding is not one of weights.
    pub fn decode(&self, entry: &TensorEntry) -> Result<Vec<f32>, FileError> {
        let length = usize::try_from(entry.len()).map_err(io::Error::other)?;
        let mut values = vec![0.0; length];
        self.decode_part(entry, 0, &mut values)?;
        Ok(values)
    }

    /// Decodes as many values of `entry` as fit into `values`, from value `first` on. The part has
    /// to begin and end between blocks of the encoding.
    ///
    /// # Errors
    ///
    /// Fails if the tensor has fewer values, if a block would be divided, if the file cannot be
    /// read, or if the encoding is not one of weights.
    pub(crate) fn decode_part(
        &self,
        entry: &TensorEntry,
        first: u64,
        values: &mut [f32],
    ) -> Result<(), FileError> {
        let (block_values, block_bytes) = entry.encoding.block();
        let length = values.len() as u64;
        if first.checked_add(length).is_none_or(|end| end > entry.len()) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if !first.is_multiple_of(block_values) || !length.is_multiple_of(block_values) {
            let reason = format!("{} writes {block_values} values at a time", entry.encoding);
            return Err(FileError::Unsupported(reason));
        }
        let file =
            self.files.get(entry.file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let blocks = (CHUNK as u64 / block_bytes).min(length / block_values).max(1);
        let mut bytes = vec![0; (blocks * block_bytes) as usize];
        // Within the file, as the entry is, whose length was checked above.
        let mut offset = entry.offset + first / block_values * block_bytes;
        for part in values.chunks_mut((blocks * block_values) as usize) {
            let bytes = &mut bytes[..part.len() / block_values as usize * block_bytes as usize];
            file.read_at(offset, bytes)?;
            offset += bytes.len() as u64;
            if entry.is_big_endian {
                entry.encoding.swap_bytes(bytes);
            }
            entry.encoding.decode(bytes, part).map_err(FileError::Unsupported)?;
        }
        Ok(())
    }

    /// Returns `true` if two tensors have the same shape and the same values. Both are decoded in
    /// parts, since embeddings of a large model take gigabytes as float32.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or an encoding is not one of weights.
    pub(crate) fn have_same_values(
        &self,
        one: &TensorEntry,
        other: &TensorEntry,
    ) -> Result<bool, FileError> {
        if one.shape != other.shape {
            return Ok(false);
        }
        let (mut first, size) = (0, one.len());
        while first < size {
            let length = (size - first).min(COMPARED_VALUES) as usize;
            let (mut values, mut others) = (vec![0.0; length], vec![0.0; length]);
            self.decode_part(one, first, &mut values)?;
            self.decode_part(other, first, &mut others)?;
            if values != others {
                return Ok(false);
            }
            first += length as u64;
        }
        Ok(true)
    }

    /// Creates the table of one file from the `entries` that it claims.
    ///
    /// # Errors
    ///
    /// Fails if a range is not between `start` and the end of `file`, if ranges overlap, if `dense`
    /// is set and there is a gap, or if a name occurs twice.
    fn new(
        file: Box<dyn ReadAt>,
        entries: Vec<(String, TensorEntry)>,
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
            end = entry.offset.checked_add(entry.bytes).filter(|&end| end <= size).ok_or_else(
                || {
                    malformed(format!(
                        "tensor {name} should end {} bytes after byte {}, but the file has {size} \
                     bytes; it was cut short, download it again",
                        entry.bytes, entry.offset
                    ))
                },
            )?;
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

/// Returns the number of bytes of a tensor of `shape` in `encoding`.
///
/// # Errors
///
/// Fails with the violation if there is no such tensor.
fn byte_length(shape: &[u64], encoding: Encoding) -> Result<u64, String> {
    if shape.len() > MAX_DIMENSIONS {
        return Err(format!("has {} dimensions, more than {MAX_DIMENSIONS}", shape.len()));
    }
    let values = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    let values = values.ok_or_else(|| format!("has sizes whose product overflows: {shape:?}"))?;
    let (block_values, block_bytes) = encoding.block();
    if !shape.last().unwrap_or(&1).is_multiple_of(block_values) {
        return Err(format!(
            "has rows of {} values, which {encoding} cannot write: \
             it takes {block_values} at a time",
            shape.last().unwrap_or(&1)
        ));
    }
    (values / block_values)
        .checked_mul(block_bytes)
        .ok_or_else(|| format!("has sizes whose product overflows: {shape:?}"))
}

#[cfg(test)]
mod tests;
