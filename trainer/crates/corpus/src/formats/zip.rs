// SPDX-License-Identifier: Apache-2.0

//! Archives in the format of zip (PKWARE's APPNOTE.TXT, version 6.3.10).
//!
//! The `rawzip` crate reads the table of contents, which is last and decides, and the headers of
//! members. The limits are ours: of members, of what is made of the archive in all, however often
//! members lie over each other, and of nesting. Names of members are never paths on the disk.

use std::{
    io::{self, Read},
    sync::Arc,
};

use flate2::read::DeflateDecoder;
use memchr::memmem;
use rawzip::{
    CompressionMethod, Crc32, ErrorKind, RECOMMENDED_BUFFER_SIZE, RangeReader, ReaderAt,
    ZipArchive, ZipArchiveEntryWayfinder, ZipFileHeaderRecord, ZipLocator,
};

use super::{
    Context, Next, Parser, guarded,
    random::{RandomAccess, failed, random_access},
    source::{Expanded, Fault, Source, refused},
};

/// Start of the header of a member, which archives begin with.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
/// Position of the name in that header.
const NAME: usize = 30;
/// Most members of an archive.
const MAX_MEMBERS: u64 = 1 << 20;
/// Longest table of contents, in bytes.
const MAX_TABLE_BYTES: u64 = 256 << 20;
/// Most entries that are held at a time, and bytes of their names after which it is enough.
const BATCH: (usize, usize) = (1 << 14, 4 << 20);
/// Bytes of the table of contents that are read at a time, and longest entry of it.
const BUFFER: usize = RECOMMENDED_BUFFER_SIZE;
/// Starts of the names of first members in documents of Office (ECMA-376, part 2).
const OFFICE: [&[u8]; 3] = [b"[Content_Types].xml", b"_rels/.rels", b"docProps/"];

/// Returns a refusal of the documents of office programs, which are archives of XML.
pub(super) fn office_document(bytes: &[u8]) -> Option<&'static str> {
    let name = bytes.get(NAME..)?;
    // OpenDocument, version 1.3, part 2, section 3.3: the media type comes first, not compressed.
    let head = &name[..name.len().min(128)];
    let is_open = name.starts_with(b"mimetype") && memmem::find(head, b".oasis.").is_some();
    let is_office = is_open || OFFICE.iter().any(|start| name.starts_with(start));
    is_office.then_some("an Office document; save it as plain text first")
}

/// Bytes of an archive, with their number.
#[derive(Clone)]
struct Archive {
    file: Arc<dyn RandomAccess>,
    size: u64,
}

impl ReaderAt for Archive {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let bytes = self.file.read_at(offset, length).map_err(failed)?;
        let bytes = bytes.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer[..length].copy_from_slice(bytes);
        Ok(length)
    }
}

/// Entry of the table of contents.
struct Entry {
    name: String,
    /// Place of the member, or the reason why it is not read.
    place: Result<ZipArchiveEntryWayfinder, String>,
    is_packed: bool,
    checksum: u32,
}

impl Entry {
    /// Returns the entry of a member, unless it has no content, as folders and links.
    fn of(record: &ZipFileHeaderRecord<'_>) -> Option<Self> {
        if record.is_dir() || record.mode().is_symlink() {
            return None;
        }
        let name = String::from_utf8_lossy(record.file_path().as_bytes()).into_owned();
        // Some programs of Windows write its separator.
        let name = if name.contains('/') { name } else { name.replace('\\', "/") };
        let method = record.compression_method();
        let place = match method {
            _ if record.flags().is_encrypted() => {
                Err("encrypted; unpack it with its password first".to_owned())
            }
            CompressionMethod::STORE | CompressionMethod::DEFLATE => Ok(record.wayfinder()),
            other => Err(format!(
                "compressed by method {other}; unpack the archive, or make it with deflate"
            )),
        };
        Some(Self {
            name: name.trim_start_matches("./").trim_start_matches('/').to_owned(),
            place,
            is_packed: method == CompressionMethod::DEFLATE,
            checksum: record.crc32(),
        })
    }
}

/// Parser of an archive.
struct Zip {
    context: Context,
    archive: ZipArchive<Archive>,
    /// Entries of the next members, in the order of the table of contents.
    entries: std::vec::IntoIter<Entry>,
    /// Number of entries that were read, with those of folders.
    read: u64,
    is_done: bool,
}

/// Opens an archive, or a stream by way of a temporary file.
pub(super) fn open(
    context: Context,
    source: Source,
    file: Option<Arc<dyn RandomAccess>>,
) -> Result<Box<dyn Parser>, Fault> {
    let is_file = file.is_some();
    let file = random_access(&context, source, file)?;
    let size = file.size().map_err(Fault::Failed)?;
    if is_file {
        // A stream was counted when it was read.
        context.shared.budget.read(usize::try_from(size).unwrap_or(usize::MAX));
    }
    let located = guarded(|| {
        let archive = Archive { file, size };
        ZipLocator::new().locate_in_reader(archive, &mut vec![0; BUFFER], size)
    })?;
    let archive = located.map_err(|(_, error)| match error.kind() {
        ErrorKind::IO(_) => fault(error),
        _ => Fault::Refused(
            "damaged: a zip archive without its end, where its table of contents is".into(),
        ),
    })?;
    let table = archive.eocd_offset().saturating_sub(archive.directory_offset());
    if table > MAX_TABLE_BYTES {
        return Err(Fault::Refused(format!("a table of contents of {table} bytes")));
    }
    let entries = Vec::new().into_iter();
    Ok(Box::new(Zip { context, archive, entries, read: 0, is_done: false }))
}

/// Tells a disk that failed from an archive that is damaged.
fn fault(error: rawzip::Error) -> Fault {
    match error.into_kind() {
        ErrorKind::IO(error) => error.into(),
        kind => Fault::Refused(format!("damaged: {kind}")),
    }
}

impl Zip {
    /// Reads the next entries. The table of contents is passed over from its start, so that no more
    /// of it is held than that.
    fn read_entries(&mut self) -> Result<(), Fault> {
        let (mut buffer, mut entries, mut bytes) = (vec![0; BUFFER], Vec::new(), 0);
        let mut table = self.archive.entries(&mut buffer);
        let (mut number, mut is_done) = (0, false);
        while entries.len() < BATCH.0 && bytes < BATCH.1 {
            let Some(record) = table.next_entry().map_err(fault)? else {
                is_done = true;
                break;
            };
            number += 1;
            if number > MAX_MEMBERS {
                let reason = format!("an archive of over {MAX_MEMBERS} members; unpack it first");
                return Err(Fault::Refused(reason));
            }
            if number > self.read
                && let Some(entry) = Entry::of(&record)
            {
                bytes += entry.name.len();
                entries.push(entry);
            }
        }
        (self.read, self.is_done) = (number, is_done);
        self.entries = entries.into_iter();
        Ok(())
    }

    /// Returns the next entry.
    fn next_entry(&mut self) -> Result<Option<Entry>, Fault> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Ok(Some(entry));
            }
            if self.is_done {
                break;
            }
            guarded(|| self.read_entries())??;
        }
        // Programs that know no other number write it modulo 2¹⁶.
        let stated = self.archive.entries_hint();
        if self.read % (1 << 16) == stated % (1 << 16) {
            return Ok(None);
        }
        Err(Fault::Refused(format!("damaged: {} members of {stated} that it states", self.read)))
    }

    /// Returns the contents of a member.
    fn reader(
        &self,
        place: ZipArchiveEntryWayfinder,
        is_packed: bool,
        checksum: u32,
    ) -> Result<MemberReader, Fault> {
        let member =
            guarded(|| self.archive.get_entry(place).map(|member| member.compressed_data_range()))?;
        let (start, end) = member.map_err(fault)?;
        let packed = RangeReader::new(self.archive.get_ref().clone(), start..end);
        let reader: Box<dyn Read + Send> =
            if is_packed { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
        let left = place.uncompressed_size_hint();
        Ok(MemberReader { reader, sum: Crc32::new(), checksum, left })
    }
}

impl Parser for Zip {
    fn next(&mut self) -> Next {
        let Some(Entry { name, place, is_packed, checksum }) = self.next_entry()? else {
            return Ok(None);
        };
        let opened = place.map_err(Fault::Refused);
        match opened.and_then(|place| self.reader(place, is_packed, checksum)) {
            Ok(reader) => {
                let reader = Expanded::new(reader, self.context.shared.budget.clone());
                Ok(Some(self.context.member(name, Box::new(reader))))
            }
            Err(Fault::Refused(reason)) => Ok(Some(self.context.refuse(vec![name], reason))),
            Err(failed) => Err(failed),
        }
    }
}

/// Contents of a member, which have to be as the table of contents states.
struct MemberReader {
    reader: Box<dyn Read + Send>,
    sum: Crc32,
    checksum: u32,
    /// Bytes that follow.
    left: u64,
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.sum.update(&buffer[..read]);
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| refused("damaged: longer than the archive states"))?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        if self.left > 0 || self.sum.checksum() != self.checksum {
            return Err(refused("damaged: other bytes than the archive states"));
        }
        Ok(0)
    }
}
