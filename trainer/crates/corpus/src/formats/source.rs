// SPDX-License-Identifier: Apache-2.0

//! Bytes of an input: read ahead as far as a parser asks, and metered against bombs.

use std::{
    fmt,
    io::{self, BufRead, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes asked of a reader at a time.
const CHUNK: usize = 64 << 10;
/// Most bytes that a parser can go back.
const MAX_REWIND: usize = 1 << 20;

/// Reason for which reading ends.
#[derive(Debug)]
pub(super) enum Fault {
    /// The disk or pipe failed.
    Failed(io::Error),
    /// The bytes are not what they should be, in words for people.
    Refused(String),
    /// The same between two parts that are whole, of which some are lost.
    Between(String),
}

impl Fault {
    /// Says that so many documents before it are kept.
    pub(super) fn after(self, kept: u64) -> Self {
        match self {
            Self::Refused(reason) | Self::Between(reason) if kept > 0 => {
                Self::Refused(format!("{reason} (documents before it, which are kept: {kept})"))
            }
            fault => fault,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(formatter),
            Self::Refused(reason) | Self::Between(reason) => reason.fmt(formatter),
        }
    }
}

impl std::error::Error for Fault {}

impl From<io::Error> for Fault {
    /// Decoders hand on the errors of the reader below them as they are. Their own errors are
    /// about the bytes.
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(|own| Self::Refused(format!("damaged: {own}")))
    }
}

fn is_between(fault: &Fault) -> bool {
    matches!(fault, Fault::Between(_))
}

/// Returns a fault as an error that decoders hand on.
pub(super) fn refused(reason: impl Into<String>) -> io::Error {
    io::Error::other(Fault::Refused(reason.into()))
}

/// Limits on what is made of an input, so that small files cannot fill memory or time.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most layers of archives and compression within each other.
    pub depth: usize,
    /// Most decoded bytes for each byte of the input, beyond those of [`Self::free`].
    pub expansion: u64,
    /// Decoded bytes that any input may have: small files of many equal lines shrink a lot.
    pub free: u64,
    /// Most decoded bytes of an input.
    pub total: u64,
    /// Longest row of a table and longest record of a WARC file, in bytes.
    pub row: usize,
    /// Longest web page, in bytes.
    pub page: usize,
    /// Longest page of a Parquet column, in bytes.
    pub parquet_page: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 6,
            expansion: 256,
            free: 64 << 20,
            total: 16 << 40,
            row: 64 << 20,
            page: 8 << 20,
            parquet_page: 512 << 20,
        }
    }
}

/// Bytes read and bytes made of them.
#[derive(Debug)]
pub(super) struct Budget {
    read: AtomicU64,
    expanded: AtomicU64,
    expansion: u64,
    free: u64,
    total: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            read: AtomicU64::new(0),
            expanded: AtomicU64::new(0),
            expansion: limits.expansion,
            free: limits.free,
            total: limits.total,
        }
    }

    /// Returns the number of bytes of the input that were read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Counts bytes of the input.
    pub(super) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that a decoder made.
    pub(super) fn expand(&self, bytes: usize) -> Result<(), Fault> {
        let bytes = bytes as u64;
        let expanded = self.expanded.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let read = self.read.load(Ordering::Relaxed);
        let allowed = self.free.saturating_add(read.saturating_mul(self.expansion));
        if expanded > allowed.min(self.total) {
            return Err(Fault::Refused(format!(
                "expands from {read} to over {expanded} bytes, as archives made to do harm do; \
                 unpack it yourself if it is sound"
            )));
        }
        Ok(())
    }
}

/// Input itself. Its errors are those of the disk or pipe.
pub(super) struct Metered<R> {
    pub(super) reader: R,
    pub(super) budget: Arc<Budget>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(Fault::Failed(error)),
        })?;
        self.budget.read(read);
        Ok(read)
    }
}

/// Output of a decoder, within the budget.
pub(super) struct Expanded<R> {
    reader: R,
    budget: Arc<Budget>,
    spent: bool,
}

impl<R> Expanded<R> {
    pub(super) fn new(reader: R, budget: Arc<Budget>) -> Self {
        Self { reader, budget, spent: false }
    }
}

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.spent {
            return Ok(0);
        }
        let read = self.reader.read(buffer)?;
        self.budget.expand(read).map_err(|excess| {
            self.spent = true;
            io::Error::other(excess)
        })?;
        Ok(read)
    }
}

/// Reader with as much look-ahead as a parser asks for.
///
/// An error ends the bytes. [`Source::end`] tells it. A parser asks before it hands out what
/// reaches to the end of the bytes, because damage may have cut that off. What is whole before it
/// is kept.
pub(super) struct Source {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
    error: Option<io::Error>,
    recovers: bool,
    /// Position in the buffer that may be returned to.
    mark: Option<usize>,
}

impl Source {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            start: 0,
            ended: false,
            error: None,
            recovers: false,
            mark: None,
        }
    }

    /// Wraps a reader that goes on behind damage once it has reported it.
    pub(super) fn recovering(reader: Box<dyn Read + Send>) -> Self {
        Self { recovers: true, ..Self::new(reader) }
    }

    /// Returns the bytes that come next: at least `wanted`, or all there are.
    pub(super) fn fill(&mut self, wanted: usize) -> &[u8] {
        while !self.ended && self.buffer.len() - self.start < wanted {
            self.read_chunk();
        }
        self.buffered()
    }

    /// Returns the bytes that were read ahead.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Remembers the position, for as long as no more than [`MAX_REWIND`] bytes are used.
    pub(super) fn mark(&mut self) {
        self.mark = Some(self.start);
    }

    /// Returns to the position that was remembered, unless it is too far back.
    pub(super) fn rewind(&mut self) {
        self.start = self.mark.take().unwrap_or(self.start);
    }

    /// Drops bytes that were read ahead.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.start = self.buffer.len().min(self.start + bytes);
    }

    /// Drops bytes, whether or not they were read ahead. Returns the number of bytes there were.
    pub(super) fn skip_all(&mut self, bytes: u64) -> u64 {
        let mut left = bytes;
        while left > 0 {
            let here = self.fill(1).len();
            if here == 0 {
                break;
            }
            let step = usize::try_from(left).map_or(here, |left| left.min(here));
            self.skip(step);
            left -= step as u64;
        }
        bytes - left
    }

    /// Finds the first byte that is `wanted`, looking at no more than `limit` bytes. Returns the
    /// number of bytes up to and with it, or of all bytes, and whether it is there.
    pub(super) fn find(&mut self, wanted: u8, limit: usize) -> (usize, bool) {
        let mut searched = 0;
        loop {
            let bytes = self.fill(searched + 1);
            let end = bytes.len().min(limit);
            if let Some(at) = memchr::memchr(wanted, &bytes[searched.min(end)..end]) {
                return (searched + at + 1, true);
            }
            if bytes.len() <= searched || end == limit {
                return (end, false);
            }
            searched = end;
        }
    }

    /// Returns `true` if damage may have touched the last of the bytes that were read ahead, as it
    /// was not between two parts.
    pub(super) fn is_damaged(&self) -> bool {
        let fault = |error: &io::Error| error.get_ref()?.downcast_ref::<Fault>().map(is_between);
        self.error.as_ref().is_some_and(|error| fault(error) != Some(true))
    }

    /// Tells the end of the bytes from an error.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.error.take().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Drops what is left, so that damage in it is told too.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        self.skip_all(u64::MAX);
        self.end()
    }

    /// Reads on after an error, where the reader can. Returns whether it can.
    pub(super) fn resume(&mut self) -> bool {
        self.ended = !self.recovers;
        self.recovers
    }

    fn read_chunk(&mut self) {
        self.mark = self.mark.filter(|mark| self.start - mark <= MAX_REWIND);
        let kept = self.mark.unwrap_or(self.start);
        if kept > 0 && self.buffer.len() + CHUNK > self.buffer.capacity() {
            self.buffer.drain(..kept);
            self.start -= kept;
            self.mark = self.mark.map(|mark| mark - kept);
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + CHUNK, 0);
        let read = loop {
            match self.reader.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        // A reader that claims more than it was given room for is not believed.
        let read = read.map(|read| read.min(CHUNK));
        self.buffer.truncate(filled + read.as_ref().copied().unwrap_or(0));
        self.ended = !matches!(read, Ok(1..));
        self.error = read.err();
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let read = available.len().min(buffer.len());
        buffer[..read].copy_from_slice(&available[..read]);
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.fill(1).is_empty()
            && let Some(error) = self.error.take()
        {
            return Err(error);
        }
        Ok(self.buffered())
    }

    fn consume(&mut self, bytes: usize) {
        self.skip(bytes);
    }
}
