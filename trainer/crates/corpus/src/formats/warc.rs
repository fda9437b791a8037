// SPDX-License-Identifier: Apache-2.0

//! WARC files (ISO 28500): pages as a crawler received them, and texts made of them.
//!
//! Damage costs the records that it touches. Compressed files have a gzip member for each record,
//! and reading goes on with the next. In files that are not compressed, the start of the next
//! record is searched for.

use std::io::Cursor;

use memchr::memmem;

use super::{
    Context, Event, Member, Next, Parser,
    source::{Fault, Source},
};

/// Longest header of a record or of a response, in bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;
const VERSION: &[u8] = b"WARC/";
/// End of a record, with the start of the next one.
const BOUNDARY: &[u8] = b"\r\n\r\nWARC/";
/// Headers of a response that state terms of use: of search engines, and of the TDM Reservation
/// Protocol.
const SIGNALS: &[&str] = &["x-robots-tag", "tdm-reservation", "tdm-policy"];

/// Parser of records.
pub(super) struct Warc {
    source: Source,
    record: Record,
}

/// Record that is being read.
struct Record {
    context: Context,
    number: u64,
}

/// Header of a record or of a response: lines of a name and a value.
struct Header<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Header<'a> {
    /// Parses the header that bytes start with, after its first line. Returns the first line and
    /// the length of all.
    fn parse(bytes: &'a [u8]) -> Option<(&'a str, Self, usize)> {
        let bytes = &bytes[..bytes.len().min(MAX_HEADER_BYTES)];
        let (end, length) = [&b"\r\n\r\n"[..], b"\n\n"]
            .iter()
            .filter_map(|blank| memmem::find(bytes, blank).map(|at| (at, at + blank.len())))
            .min()?;
        // Names of hosts and files in old headers are in any encoding: those lines are left out.
        let mut lines = bytes[..end]
            .split(|byte| *byte == b'\n')
            .map(|line| std::str::from_utf8(line).unwrap_or_default().trim());
        let first = lines.next()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.trim(), value.trim())).collect();
        Some((first, Self(fields), length))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }
}

impl Warc {
    pub(super) fn new(context: Context, source: Source) -> Self {
        Self { source, record: Record { context, number: 0 } }
    }

    /// Skips line ends before a record. Returns whether there is anything behind them.
    fn skip_line_ends(&mut self) -> bool {
        loop {
            let bytes = self.source.fill(VERSION.len());
            let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if blank == 0 {
                return !bytes.is_empty();
            }
            self.source.skip(blank);
        }
    }

    /// Skips to the next start of a record, past the one that may be here.
    fn resynchronise(&mut self) {
        self.source.skip(1);
        loop {
            let bytes = self.source.fill(BOUNDARY.len());
            if let Some(at) = memmem::find(bytes, BOUNDARY) {
                self.source.skip(at);
                return;
            }
            let passed = bytes.len().saturating_sub(BOUNDARY.len() - 1);
            if passed == 0 {
                self.source.skip(BOUNDARY.len());
                return;
            }
            self.source.skip(passed);
        }
    }

    /// Reads the record that is here. Returns nothing for one that holds no document.
    fn read(&mut self) -> Result<Option<Event>, String> {
        let bytes = self.source.fill(MAX_HEADER_BYTES);
        if !bytes.starts_with(VERSION) {
            self.resynchronise();
            return Err("damaged: no record starts here".into());
        }
        let parsed = Header::parse(bytes).and_then(|(_, header, start)| {
            Some((start, header.get("content-length")?.parse::<u64>().ok()?))
        });
        let Some((start, length)) = parsed else {
            self.resynchronise();
            return Err("damaged: a record without a valid header".into());
        };
        let limit = self.record.context.limits().row;
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= limit) else {
            self.skip_record(start, length);
            return Err(format!("a record of over {limit} bytes"));
        };
        let end = start + length;
        let bytes = self.source.fill(end + BOUNDARY.len());
        let after = &bytes[bytes.len().min(end)..];
        if bytes.len() < end || !(after.is_empty() || after.starts_with(b"\r\n")) {
            self.resynchronise();
            return Err("damaged: the record does not have the length that it states".into());
        }
        let is_last = bytes.len() < end + BOUNDARY.len();
        if is_last && self.source.is_damaged() {
            // A compressed record is whole if the checksum of its member is, which comes last.
            self.source.skip(end);
            return Ok(None);
        }
        let bytes = self.source.buffered();
        let event = self.record.event(&bytes[..start], &bytes[start..end]);
        self.source.skip(end);
        Ok(event)
    }

    /// Skips a record that is too long, unless its length is wrong.
    fn skip_record(&mut self, start: usize, length: u64) {
        self.source.skip(start);
        let skipped = self.source.skip_all(length);
        if skipped == length && !self.source.fill(2).starts_with(b"\r\n") {
            self.resynchronise();
        }
    }
}

impl Record {
    fn refuse(&self, reason: impl Into<String>) -> Event {
        self.context.refuse(vec![format!("record {}", self.number)], reason)
    }

    fn event(&self, header: &[u8], block: &[u8]) -> Option<Event> {
        let (_, header, _) = Header::parse(header)?;
        let media = header.get("content-type").unwrap_or_default();
        match header.get("warc-type")? {
            "response" if media.starts_with("application/http") => {
                Some(self.response(&header, block))
            }
            "conversion" | "resource" => {
                Some(self.member(&header, Some(media), Vec::new(), block.to_vec()))
            }
            _ => None,
        }
    }

    fn response(&self, record: &Header<'_>, block: &[u8]) -> Event {
        let Some((status, header, start)) = Header::parse(block) else {
            return self.refuse("damaged: a response without a header");
        };
        let code = status.split_whitespace().nth(1).unwrap_or_default();
        if code != "200" {
            let code: String = code.chars().take(8).collect();
            return self.refuse(format!("a response with status {code}, not a page"));
        }
        let signals = SIGNALS
            .iter()
            .flat_map(|name| header.all(name).map(move |value| format!("{name}: {value}")))
            .collect();
        let chunked = header
            .get("transfer-encoding")
            .is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"));
        let body = &block[start..];
        // Some crawlers join the chunks and keep the header.
        let body = chunked.then(|| join_chunks(body)).flatten().unwrap_or_else(|| body.to_vec());
        self.member(record, header.get("content-type"), signals, body)
    }

    fn member(
        &self,
        header: &Header<'_>,
        media: Option<&str>,
        signals: Vec<String>,
        body: Vec<u8>,
    ) -> Event {
        let uri = header.get("warc-target-uri").unwrap_or_default().trim_matches(['<', '>']);
        let mut parts = vec![format!("record {}", self.number)];
        if !uri.is_empty() {
            parts.push(uri.to_owned());
        }
        let mut origin = self.context.origin(parts);
        origin.fetched = header.get("warc-date").and_then(seconds).or(origin.fetched);
        origin.signals.extend(signals);
        Event::Member(Member {
            origin,
            name: uri.to_owned(),
            media: media.map(str::to_owned),
            reader: Box::new(Cursor::new(body)),
        })
    }
}

impl Parser for Warc {
    fn next(&mut self) -> Next {
        loop {
            if !self.skip_line_ends() {
                match self.source.end() {
                    Err(Fault::Refused(reason) | Fault::Between(reason))
                        if self.source.resume() =>
                    {
                        return Ok(Some(self.record.refuse(reason)));
                    }
                    end => return end.map(|()| None),
                }
            }
            self.record.number += 1;
            match self.read() {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(reason) => return Ok(Some(self.record.refuse(reason))),
            }
        }
    }
}

/// Joins the chunks of a body (RFC 9112, section 7.1). Returns nothing if it has none.
fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let end = memmem::find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

/// Returns the seconds since 1970 of a date such as `2026-01-31T12:34:56Z`.
fn seconds(date: &str) -> Option<u64> {
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let sane =
        (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that start in March end with the leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days.checked_sub(719_468)?) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2024-02-29T12:00:00Z"), Some(1_709_208_000));
        assert_eq!(seconds("2026-11-28T13:00:00.123456Z"), Some(1_795_870_800));
        for wrong in ["", "2026", "2026-13-01T00:00:00Z", "1969-01-01T00:00:00Z", "é026-01-01T00"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(
            join_chunks(b"3\r\nOne\r\n4;x=y\r\nTwo.\r\n0\r\n\r\n"),
            Some(b"OneTwo.".to_vec())
        );
        for wrong in [&b"<html>"[..], b"5\r\nOne\r\n0\r\n", b"ffffffffffffffff\r\n", b""] {
            assert_eq!(join_chunks(wrong), None);
        }
    }
}
