// SPDX-License-Identifier: Apache-2.0

//! Bytes that are read at any position.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Context,
    source::{Fault, Source},
};

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// Bytes that can be read at any position, such as a file on the disk or on a server.
pub trait RandomAccess: Send + Sync {
    /// Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// Fails if the number cannot be had.
    fn size(&self) -> io::Result<u64>;

    /// Returns `length` bytes from `start` on.
    ///
    /// # Errors
    ///
    /// Fails if there are fewer bytes, or if they cannot be had.
    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes>;
}

impl RandomAccess for File {
    fn size(&self) -> io::Result<u64> {
        let mut file = self;
        file.seek(SeekFrom::End(0))
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let mut file = self;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Returns the file that a source reads, or a temporary file with the bytes of a stream.
pub(super) fn random_access(
    context: &Context,
    source: Source,
    file: Option<Arc<dyn RandomAccess>>,
) -> Result<Arc<dyn RandomAccess>, Fault> {
    match file {
        Some(file) => Ok(file),
        None => Ok(Arc::new(spool(source, context.shared.options.temporary.as_deref())?)),
    }
}

fn spool(mut source: Source, folder: Option<&Path>) -> Result<File, Fault> {
    let file = match folder {
        Some(folder) => tempfile::tempfile_in(folder),
        None => tempfile::tempfile(),
    };
    let mut file = file.map_err(Fault::Failed)?;
    loop {
        let bytes = source.fill(CHUNK);
        if bytes.is_empty() {
            source.end()?;
            return Ok(file);
        }
        file.write_all(bytes).map_err(Fault::Failed)?;
        let length = bytes.len();
        source.skip(length);
    }
}

/// Reader from a position on.
pub(super) struct ReaderAt {
    file: Arc<dyn RandomAccess>,
    position: u64,
    size: u64,
}

impl ReaderAt {
    pub(super) fn new(file: Arc<dyn RandomAccess>, position: u64) -> io::Result<Self> {
        let size = file.size()?;
        Ok(Self { file, position, size })
    }
}

impl Read for ReaderAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let bytes = self.file.read_at(self.position, length).map_err(failed)?;
        let bytes = bytes.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer[..length].copy_from_slice(bytes);
        self.position += length as u64;
        Ok(length)
    }
}

/// Tells a disk or server that fails from a file that ends before its own table of contents says.
pub(super) fn failed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => error,
        _ => io::Error::other(Fault::Failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn files_are_read_at_any_position() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        assert_eq!(file.size().unwrap(), 10);
        assert_eq!(file.read_at(7, 3).unwrap(), &b"789"[..]);
        assert!(file.read_at(7, 4).is_err());
        let mut text = String::new();
        let file: Arc<dyn RandomAccess> = Arc::new(file);
        ReaderAt::new(file, 4).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "456789");
    }
}
