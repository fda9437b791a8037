// SPDX-License-Identifier: Apache-2.0

//! Archives in the formats of tar (POSIX.1-2017 `pax` and `ustar`, and GNU).
//!
//! The headers are read by the `tar` crate. The walk is ours: its iterator lends the members, and
//! a member that is an archive again has to own its bytes.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tar::{EntryType, Header, PaxExtensions};

use super::{
    Context, Event, Next, Parser,
    source::{Fault, Source, refused},
};

const BLOCK: usize = 512;
/// Longest name or extended header, in bytes.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// Returns whether bytes start with the header of a member.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    let Some(block) = bytes.get(..BLOCK) else { return false };
    let header = Header::from_byte_slice(block);
    block[0] != 0 && checksum_holds(header, block) && header.entry_size().is_ok()
}

/// Returns whether the sum of a header is right, with the sum itself taken for spaces.
fn checksum_holds(header: &Header, block: &[u8]) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let expected = sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..]);
    header.cksum().is_ok_and(|stated| stated == expected)
}

/// Parser of an archive.
pub(super) struct Tar {
    context: Context,
    body: Arc<Mutex<Body>>,
}

/// Archive, and the rest of the member that is being read.
struct Body {
    source: Source,
    left: u64,
    padding: u64,
}

struct MemberReader(Arc<Mutex<Body>>);

fn lock(body: &Mutex<Body>) -> MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut body = lock(&self.0);
        let wanted = usize::try_from(body.left).map_or(buffer.len(), |left| buffer.len().min(left));
        if wanted == 0 {
            return Ok(0);
        }
        let read = body.source.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(refused("damaged: the archive ends within it"));
        }
        body.left -= read as u64;
        Ok(read)
    }
}

/// Name and size that extended headers state for the next member.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Tar {
    pub(super) fn new(context: Context, source: Source) -> Self {
        let body = Body { source, left: 0, padding: 0 };
        Self { context, body: Arc::new(Mutex::new(body)) }
    }

    fn member(&self, name: &[u8]) -> Event {
        let name = String::from_utf8_lossy(name).trim_start_matches("./").to_owned();
        self.context.member(name, Box::new(MemberReader(self.body.clone())))
    }
}

impl Parser for Tar {
    fn next(&mut self) -> Next {
        let mut extended = Extended::default();
        let mut body = lock(&self.body);
        loop {
            let Some(header) = body.next_header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::XHeader => extended.read_pax(&body.read_extension()?),
                EntryType::GNULongName => {
                    let mut name = body.read_extension()?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    extended.name = Some(name);
                }
                EntryType::Regular | EntryType::Continuous => {
                    let size = extended.size.unwrap_or(body.left);
                    body.set_size(size);
                    drop(body);
                    let name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
                    return Ok(Some(self.member(&name)));
                }
                EntryType::GNUSparse => {
                    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
                    return Ok(Some(self.context.refuse(vec![name], "a sparse file")));
                }
                // Folders, links and devices have no content. Global headers name no members.
                _ => extended = Extended::default(),
            }
        }
    }
}

impl Extended {
    fn read_pax(&mut self, bytes: &[u8]) {
        for extension in PaxExtensions::new(bytes).flatten() {
            match extension.key_bytes() {
                b"path" => self.name = Some(extension.value_bytes().to_vec()),
                b"size" => self.size = extension.value().ok().and_then(|size| size.parse().ok()),
                _ => {}
            }
        }
    }
}

impl Body {
    fn set_size(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Skips the rest of a member and returns the header of the next.
    fn next_header(&mut self) -> Result<Option<Header>, Fault> {
        let rest = self.left.saturating_add(self.padding);
        if self.source.skip_all(rest) < self.left {
            self.source.end()?;
            // The reader of the member told it.
            return Ok(None);
        }
        self.set_size(0);
        let block = self.source.fill(BLOCK);
        if block.is_empty() || block.iter().take(BLOCK).all(|byte| *byte == 0) {
            return self.source.finish().map(|()| None);
        }
        if !is_header(block) {
            self.source.end()?;
            return Err(Fault::Refused("damaged: a member without a valid header".into()));
        }
        let header = Header::from_byte_slice(&block[..BLOCK]).clone();
        self.source.skip(BLOCK);
        self.set_size(header.entry_size().map_err(Fault::from)?);
        Ok(Some(header))
    }

    /// Reads the content of a member that describes the next one.
    fn read_extension(&mut self) -> Result<Vec<u8>, Fault> {
        let size = usize::try_from(self.left.min(MAX_EXTENSION_BYTES + 1)).unwrap_or(usize::MAX);
        let bytes = self.source.fill(size);
        if size as u64 > MAX_EXTENSION_BYTES || bytes.len() < size {
            self.source.end()?;
            return Err(Fault::Refused("damaged: a member whose name does not end".into()));
        }
        let bytes = bytes[..size].to_vec();
        self.source.skip(size);
        self.left = 0;
        Ok(bytes)
    }
}
