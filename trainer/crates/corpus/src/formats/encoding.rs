// SPDX-License-Identifier: Apache-2.0

//! Encodings of text, by byte order mark, statement, or guess.
//!
//! Names and decoders are those of the WHATWG Encoding Standard.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    CoderResult, Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252,
};

use super::source::Source;

/// Share of bytes that may be control characters in text: one of this many.
const CONTROLS: usize = 32;
/// Share of pairs with a zero on the same side that UTF-16 without a mark has: one of this many.
const ZEROS: usize = 3;
/// Longest character in UTF-8, in bytes.
const MAX_CHARACTER: usize = 4;

/// Encoding of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// Nothing but ASCII was seen so far.
    Undecided,
    /// The encoding is known, or was guessed.
    Known(&'static Encoding),
}

/// Start of a document, decoded.
pub(super) struct Head<'a> {
    pub(super) charset: Charset,
    /// Length of the byte order mark.
    pub(super) mark: usize,
    pub(super) text: Cow<'a, str>,
}

/// Finds the encoding of a document from its first bytes and the name that its source states.
/// Returns an error in words if the bytes are no text.
pub(super) fn head<'a>(bytes: &'a [u8], stated: Option<&str>) -> Result<Head<'a>, String> {
    if bytes.starts_with(&[0, 0, 0xfe, 0xff]) || bytes.starts_with(&[0xff, 0xfe, 0, 0]) {
        return Err("UTF-32, which is not read; convert it to UTF-8".into());
    }
    let stated = stated.and_then(|label| Encoding::for_label(label.trim().as_bytes()));
    let (charset, mark) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (Charset::Known(encoding), mark),
        None => (guess(bytes, stated), 0),
    };
    let body = &bytes[mark..];
    if !is_utf_16(charset) && is_binary(body) {
        return Err("binary data, not text".into());
    }
    let text = match charset {
        Charset::Known(encoding) => encoding.decode_without_bom_handling(body).0,
        Charset::Undecided => String::from_utf8_lossy(body),
    };
    Ok(Head { charset, mark, text })
}

pub(super) fn is_utf_16(charset: Charset) -> bool {
    matches!(charset, Charset::Known(encoding) if encoding == UTF_16LE || encoding == UTF_16BE)
}

/// Returns whether bytes in an encoding that extends ASCII have too many control characters.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    if memchr::memchr(0, bytes).is_some() {
        return true;
    }
    let controls = bytes
        .iter()
        .filter(|byte| matches!(byte, 1..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f))
        .count();
    controls > 2 + bytes.len() / CONTROLS
}

fn guess(bytes: &[u8], stated: Option<&'static Encoding>) -> Charset {
    if let Some(encoding) = utf_16_without_mark(bytes) {
        return Charset::Known(encoding);
    }
    match stated {
        // What is stated as UTF-16 and has no zeros is not: see "determining the character
        // encoding" of the HTML standard, which reads it as UTF-8.
        Some(encoding) if encoding != UTF_8 && encoding.is_ascii_compatible() => {
            match decide(bytes) {
                Charset::Known(found) if found == UTF_8 => Charset::Known(UTF_8),
                _ => Charset::Known(encoding),
            }
        }
        _ => decide(bytes),
    }
}

/// Recognises UTF-16 by the zeros beside the letters of ASCII.
fn utf_16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    memchr::memchr(0, bytes)?;
    let pairs = bytes.chunks_exact(2);
    let (number, mut zeros) = (pairs.len(), [0; 2]);
    for pair in pairs {
        zeros[0] += usize::from(pair[0] == 0 && pair[1] != 0);
        zeros[1] += usize::from(pair[1] == 0 && pair[0] != 0);
    }
    let many = |zeros: usize| zeros > 1 && zeros > number / ZEROS;
    match (many(zeros[0]), many(zeros[1])) {
        (true, false) if zeros[1] == 0 => Some(UTF_16BE),
        (false, true) if zeros[0] == 0 => Some(UTF_16LE),
        _ => None,
    }
}

/// Decides on an encoding from a part of a document that may end within a character.
pub(super) fn decide(bytes: &[u8]) -> Charset {
    // An escape starts the sequences of ISO-2022-JP, which is ASCII otherwise.
    if bytes.is_ascii() && !bytes.contains(&0x1b) {
        return Charset::Undecided;
    }
    let (mut valid, mut invalid) = (0usize, 0usize);
    let mut end = 0;
    for chunk in bytes.utf8_chunks() {
        valid += chunk.valid().bytes().filter(|byte| *byte >= 0xc0).count();
        end += chunk.valid().len() + chunk.invalid().len();
        let cut_off = end == bytes.len() && chunk.invalid().len() < 4 && {
            let tail = chunk.invalid();
            std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none())
        };
        invalid += usize::from(!chunk.invalid().is_empty() && !cut_off);
    }
    if invalid <= valid && valid > 0 {
        return Charset::Known(UTF_8);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, true);
    match detector.guess(None, Utf8Detection::Deny) {
        // Escapes of terminals, and nothing else that is not ASCII.
        encoding if bytes.is_ascii() && encoding == WINDOWS_1252 => Charset::Undecided,
        encoding => Charset::Known(encoding),
    }
}

/// Decodes a part of a document. Returns the text and the number of invalid sequences.
pub(super) fn decode(charset: Charset, bytes: &[u8]) -> (String, u64) {
    if let Charset::Known(encoding) = charset
        && encoding != UTF_8
    {
        return decode_legacy(encoding, bytes);
    }
    // Copies of whole valid texts are the case that has to be fast.
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (text.to_owned(), 0);
    }
    let mut text = String::with_capacity(bytes.len());
    let mut invalid = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            invalid += 1;
        }
    }
    (text, invalid)
}

fn decode_legacy(encoding: &'static Encoding, bytes: &[u8]) -> (String, u64) {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (mut text, mut invalid, mut read) = (String::new(), 0, 0);
    loop {
        let rest = &bytes[read..];
        text.reserve(decoder.max_utf8_buffer_length_without_replacement(rest.len()).unwrap_or(0));
        let (result, taken) = decoder.decode_to_string_without_replacement(rest, &mut text, true);
        read += taken;
        match result {
            DecoderResult::InputEmpty => return (text, invalid),
            DecoderResult::OutputFull => text.reserve(rest.len() + 16),
            DecoderResult::Malformed(..) => {
                text.push(char::REPLACEMENT_CHARACTER);
                invalid += 1;
            }
        }
    }
}

/// Makes line ends `\n`.
pub(super) fn normalise_line_ends(text: String) -> String {
    let Some(first) = memchr::memchr(b'\r', text.as_bytes()) else { return text };
    let mut normal = String::with_capacity(text.len());
    let (mut rest, mut at) = (text.as_str(), first);
    loop {
        normal.push_str(&rest[..at]);
        normal.push('\n');
        rest = &rest[at + 1..];
        rest = rest.strip_prefix('\n').unwrap_or(rest);
        match memchr::memchr(b'\r', rest.as_bytes()) {
            Some(next) => at = next,
            None => break,
        }
    }
    normal.push_str(rest);
    normal
}

/// Reader that turns another encoding into UTF-8, for parsers of structured text.
pub(super) struct Transcoder {
    source: Source,
    decoder: Decoder,
    finished: bool,
}

impl Transcoder {
    pub(super) fn new(source: Source, encoding: &'static Encoding) -> Self {
        Self { source, decoder: encoding.new_decoder_without_bom_handling(), finished: false }
    }
}

impl Read for Transcoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.finished {
            let bytes = self.source.fill(1);
            let last = bytes.is_empty();
            let (result, read, written, _) = self.decoder.decode_to_utf8(bytes, buffer, last);
            self.source.skip(read);
            self.finished = last && result == CoderResult::InputEmpty;
            if written > 0 || buffer.len() < MAX_CHARACTER {
                return Ok(written);
            }
        }
        self.source.end().map(|()| 0).map_err(io::Error::other)
    }
}
