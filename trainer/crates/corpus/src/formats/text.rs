// SPDX-License-Identifier: Apache-2.0

//! Plain text and Markdown, as a stream of pieces.

use std::collections::BTreeMap;

use super::{
    Context, Event, NO_TEXT, Next, Parser,
    encoding::{self, Charset},
    gutenberg::{self, MAX_LICENCE_BYTES, Part},
    lines::Units,
    source::Source,
};
use crate::MAX_PIECE_BYTES;

/// Growth of text from any encoding to UTF-8, and of bytes that are replaced.
const MAX_GROWTH: usize = 3;
/// Longest front matter, in bytes.
const MAX_FRONT_MATTER_BYTES: usize = 16 << 10;
/// Share of zeros in a piece above which it is no text: one byte of this many.
const ZEROS: usize = 1_000;

/// Parser of text.
pub(super) struct Text {
    context: Context,
    source: Source,
    tool: &'static str,
    charset: Charset,
    /// Most bytes of a piece, so that its text has no more than a piece may have.
    window: usize,
    /// Length of a byte order mark that comes next.
    mark: usize,
    /// Number of the present book, or zero outside of books.
    book: u32,
    books: u32,
    /// Nothing of the present book, or of the text outside, was handed out yet.
    fresh: bool,
    /// A licence may come next.
    licence: bool,
    /// Number of pieces handed out of each book.
    pieces: BTreeMap<u32, u32>,
    /// Something was handed out.
    used: bool,
}

impl Text {
    pub(super) fn new(
        context: Context,
        source: Source,
        charset: Charset,
        mark: usize,
        tool: &'static str,
    ) -> Self {
        Self {
            context,
            source,
            tool,
            charset,
            window: MAX_PIECE_BYTES,
            mark,
            book: 0,
            books: 0,
            fresh: true,
            licence: false,
            pieces: BTreeMap::new(),
            used: false,
        }
    }

    /// Takes the first piece of `available` bytes of text. Returns nothing for blank text.
    fn piece(&mut self, available: usize) -> Next {
        let (bytes, units) = (&self.source.buffered()[..available], Units::of(self.charset));
        let mut length = units.cut(bytes, self.window);
        if self.charset == Charset::Undecided {
            self.charset = encoding::decide(&bytes[..length]);
        }
        let mark = std::mem::take(&mut self.mark).min(length);
        let (mut text, mut invalid) = encoding::decode(self.charset, &bytes[mark..length]);
        while text.len() > MAX_PIECE_BYTES {
            self.window = (self.window / 4 * 3).max(MAX_PIECE_BYTES / MAX_GROWTH);
            length = units.cut(bytes, self.window);
            (text, invalid) = encoding::decode(self.charset, &bytes[mark..length]);
        }
        if length == self.source.buffered().len() {
            // A text that damage cut off looks like a whole one.
            self.source.end()?;
        }
        let raw = &self.source.buffered()[..length];
        let zeros = units == Units::Bytes && memchr::memchr_iter(0, raw).count() > length / ZEROS;
        let hash = blake3::hash(raw).into();
        self.source.skip(length);
        let mut text = encoding::normalise_line_ends(text);
        if !self.used {
            text.drain(..front_matter(&text));
        }
        if self.fresh && text.trim_ascii().is_empty() {
            return Ok(None);
        }
        (self.fresh, self.used) = (false, true);
        Ok(Some(self.hand_out(hash, invalid, text, zeros)))
    }

    fn hand_out(&mut self, raw: [u8; 32], invalid: u64, text: String, binary: bool) -> Event {
        let piece = self.pieces.entry(self.book).or_default();
        let number = *piece;
        *piece = piece.saturating_add(1);
        let mut parts = Vec::new();
        if self.book > 0 {
            parts.push(format!("book {}", self.book));
        }
        if binary {
            parts.push(format!("piece {number}"));
            return self.context.refuse(parts, "binary data within text");
        }
        let mut document = self.context.document(parts, self.tool, raw, invalid, text);
        document.piece = number;
        Event::Document(document)
    }
}

impl Parser for Text {
    fn next(&mut self) -> Next {
        loop {
            let bytes = self.source.fill(MAX_PIECE_BYTES + MAX_LICENCE_BYTES);
            if bytes.is_empty() {
                self.source.end()?;
                let empty = !std::mem::replace(&mut self.used, true);
                return Ok(empty.then(|| self.context.refuse(vec![], NO_TEXT)));
            }
            let units = Units::of(self.charset);
            let skipped = match gutenberg::next_part(bytes, units, self.fresh, self.licence) {
                Part::Text(length) => match self.piece(length)? {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                },
                Part::Header(length) => {
                    self.books += 1;
                    (self.book, self.fresh, self.licence) = (self.books, true, false);
                    length
                }
                Part::End(length) => {
                    (self.book, self.fresh, self.licence) = (0, true, true);
                    length
                }
                Part::Licence(length) => {
                    self.licence = false;
                    length
                }
            };
            self.mark = 0;
            self.source.skip(skipped);
        }
    }
}

/// Returns the length of the front matter that a text starts with: YAML between lines of `---`, or
/// TOML between lines of `+++`, as generators of static sites read it.
fn front_matter(text: &str) -> usize {
    let fence = match text.split('\n').next().map(str::trim_end) {
        Some(fence @ ("---" | "+++")) => fence,
        _ => return 0,
    };
    let mut end = text.find('\n').map_or(text.len(), |at| at + 1);
    let mut fields = false;
    for line in text[end..].split_inclusive('\n') {
        end += line.len();
        let line = line.trim_end();
        if end > MAX_FRONT_MATTER_BYTES {
            return 0;
        }
        if line == fence || (fence == "---" && line == "...") {
            return if fields { end } else { 0 };
        }
        let separator = if fence == "---" { ':' } else { '=' };
        let key = line.split_once(separator).map_or("", |(key, _)| key.trim());
        fields |= !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.\"".contains(&byte));
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_told_from_rules() {
        for (text, length) in [
            ("---\ntitle: A\ntags: [b]\n---\nText.", 27),
            ("+++\ntitle = \"A\"\n+++\nText.", 20),
            ("---\ntitle: A\n...\nText.", 17),
            ("---\nText between rules.\n---\nText.", 0),
            ("---\n---\nText.", 0),
            ("---\ntitle: A\nText.", 0),
            ("Text.\n---\na: b\n---\n", 0),
        ] {
            assert_eq!(front_matter(text), length, "{text:?}");
        }
    }
}
