// SPDX-License-Identifier: Apache-2.0

//! Books of Project Gutenberg, between the licence texts that its files carry.
//!
//! The markers are those of its files since 1993. A book ends where a line says so. The licence
//! after it reaches to the last paragraph that names the project. A header reaches from the first
//! paragraph that names the project to the marker of the start.

use memchr::memmem;

use super::lines::Units;

/// Longest header or licence text, in bytes. Those of the project have under 24 KB.
pub(super) const MAX_LICENCE_BYTES: usize = 64 << 10;
/// Longest text before a header that is taken for a part of it: titles and notes on the file.
const MAX_TITLE_BYTES: usize = 2 << 10;
/// Most lines of a marker, whose titles may be long.
const MAX_MARKER_LINES: usize = 4;

/// Next part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text of this length. More of it may follow.
    Text(usize),
    /// Header of this length, after which a book starts.
    Header(usize),
    /// Marker of this length, after which a licence text starts.
    End(usize),
    /// Licence text of this length, which may be none.
    Licence(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Start,
    End,
}

/// Finds the next part at the start of `bytes`, which end the text or are longer than any licence.
/// `fresh` says that nothing of the present text was handed out yet, and `licence` that a licence
/// may come next.
pub(super) fn next_part(bytes: &[u8], units: Units, fresh: bool, licence: bool) -> Part {
    let (mark, start, end) = match marker(bytes, units) {
        Some((mark, start, end)) if !licence || start < MAX_LICENCE_BYTES => (mark, start, end),
        _ if licence => return Part::Licence(licence_length(bytes, units)),
        _ => return Part::Text(bytes.len()),
    };
    if licence {
        return match mark {
            Mark::Start => Part::Header(end),
            // Some files have two end markers.
            Mark::End => Part::End(end),
        };
    }
    match mark {
        Mark::End if start == 0 => Part::End(end),
        Mark::End => Part::Text(start),
        Mark::Start => {
            let first = start.saturating_sub(MAX_LICENCE_BYTES);
            let first = first - first % units.width();
            let header = first + header_start(&bytes[first..start], units);
            let short = header < MAX_TITLE_BYTES * units.width();
            if header == 0 || (fresh && short) { Part::Header(end) } else { Part::Text(header) }
        }
    }
}

/// Finds the first marker. Returns its kind, its start, and its end.
fn marker(bytes: &[u8], units: Units) -> Option<(Mark, usize, usize)> {
    if !names_project(bytes, units) {
        return None;
    }
    let mut start = 0;
    while start < bytes.len() {
        let line = units.line(&bytes[start..]);
        if let Some(mark) = mark(&units.ascii(line)) {
            let end = start + marker_length(&bytes[start..], units);
            return Some((mark, start, end));
        }
        start += line.len();
    }
    None
}

/// Returns whether the name of the project, or of its old licence, is anywhere in the text.
fn names_project(bytes: &[u8], units: Units) -> bool {
    ["utenberg", "UTENBERG", "SMALL PRINT"].iter().any(|name| match units {
        Units::Bytes => memmem::find(bytes, name.as_bytes()).is_some(),
        Units::Little => memmem::find(bytes, &wide(name, u16::to_le_bytes)).is_some(),
        Units::Big => memmem::find(bytes, &wide(name, u16::to_be_bytes)).is_some(),
    })
}

fn wide(name: &str, bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    name.encode_utf16().flat_map(bytes).collect()
}

/// Returns the marker that a line is. Lines of text may mention the project and the end of things.
fn mark(line: &[u8]) -> Option<Mark> {
    if !matches!(line.first(), Some(b'*' | b'E' | b'e')) || line.len() > 400 {
        return None;
    }
    let line = String::from_utf8_lossy(line).to_ascii_uppercase();
    let starred = line.starts_with("***");
    let names = line.contains("GUTENBERG");
    let small_print_ends = line.starts_with("*END") && line.contains("THE SMALL PRINT");
    if (starred && names && line.contains("START OF TH")) || small_print_ends {
        return Some(Mark::Start);
    }
    let end = line.strip_prefix("END OF ").map(|rest| {
        ["THE ", "THIS "].iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest)
    });
    let plain = end.is_some_and(|rest| rest.starts_with("PROJECT GUTENBERG"));
    (plain || (starred && names && line.contains("END OF TH"))).then_some(Mark::End)
}

/// Returns the length of the marker that bytes start with. A marker of several lines ends with a
/// star.
fn marker_length(bytes: &[u8], units: Units) -> usize {
    let first = units.line(bytes).len();
    let mut end = 0;
    for _ in 0..MAX_MARKER_LINES {
        let line = units.line(&bytes[end..]);
        let text = units.ascii(line);
        end += line.len();
        match text.last() {
            None => break,
            Some(b'*') => return end,
            _ => {}
        }
    }
    first
}

/// Returns the start of the first paragraph that names the project or its licence, or the end.
fn header_start(bytes: &[u8], units: Units) -> usize {
    paragraphs(bytes, units).find(|(.., named)| *named).map_or(bytes.len(), |(start, ..)| start)
}

/// Returns the end of the last paragraph that names the project, or zero.
fn licence_length(bytes: &[u8], units: Units) -> usize {
    let bytes = &bytes[..bytes.len().min(MAX_LICENCE_BYTES)];
    paragraphs(bytes, units).filter(|(.., named)| *named).last().map_or(0, |(_, end, _)| end)
}

/// Iterates over paragraphs: start, end, and whether they name the project.
fn paragraphs(bytes: &[u8], units: Units) -> impl Iterator<Item = (usize, usize, bool)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= bytes.len() {
            return None;
        }
        let first = start;
        let mut named = false;
        while start < bytes.len() {
            let line = units.line(&bytes[start..]);
            start += line.len();
            let text = units.ascii(line);
            if text.is_empty() {
                break;
            }
            let text = text.to_ascii_uppercase();
            named |= ["GUTENBERG", "THE SMALL PRINT", "FULL LICENSE"]
                .iter()
                .any(|name| memmem::find(&text, name.as_bytes()).is_some());
        }
        Some((first, start, named))
    })
}
