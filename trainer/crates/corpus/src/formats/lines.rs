// SPDX-License-Identifier: Apache-2.0

//! Lines of undecoded text.
//!
//! Text is cut before it is decoded, so that the raw bytes of each piece are known. Line ends and
//! the letters of ASCII are single bytes in all encodings but UTF-16, where they are single units.

use std::borrow::Cow;

use encoding_rs::{UTF_16BE, UTF_16LE};

use super::encoding::Charset;

/// Units that the characters of ASCII are in an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Units {
    Bytes,
    Little,
    Big,
}

impl Units {
    pub(super) fn of(charset: Charset) -> Self {
        match charset {
            Charset::Known(encoding) if encoding == UTF_16LE => Self::Little,
            Charset::Known(encoding) if encoding == UTF_16BE => Self::Big,
            _ => Self::Bytes,
        }
    }

    pub(super) fn width(self) -> usize {
        if self == Self::Bytes { 1 } else { 2 }
    }

    /// Returns the unit that ends at `end`, and zero before the start.
    fn before(self, bytes: &[u8], end: usize) -> u16 {
        let unit = end.checked_sub(self.width()).and_then(|start| bytes.get(start..end));
        match (self, unit) {
            (Self::Bytes, Some(&[byte])) => u16::from(byte),
            (Self::Little, Some(&[low, high])) => u16::from_le_bytes([low, high]),
            (Self::Big, Some(&[high, low])) => u16::from_be_bytes([high, low]),
            _ => 0,
        }
    }

    /// Returns the bytes up to and with the first line end, or all bytes.
    pub(super) fn line(self, bytes: &[u8]) -> &[u8] {
        let (width, mut end) = (self.width(), 0);
        if self == Self::Bytes {
            end = memchr::memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        } else {
            while end < bytes.len() && !is_line_end(self.before(bytes, end + width)) {
                end += width;
            }
        }
        let mut end = end + width;
        if self.before(bytes, end) == CARRIAGE_RETURN
            && self.before(bytes, end + width) == LINE_FEED
        {
            end += width;
        }
        &bytes[..end.min(bytes.len())]
    }

    /// Returns a line's characters of ASCII, without space around them.
    pub(super) fn ascii(self, line: &[u8]) -> Cow<'_, [u8]> {
        if self == Self::Bytes {
            return Cow::Borrowed(line.trim_ascii());
        }
        let units = (self.width()..=line.len()).step_by(self.width());
        let bytes: Vec<u8> =
            units.map(|end| u8::try_from(self.before(line, end)).unwrap_or(u8::MAX)).collect();
        Cow::Owned(bytes.trim_ascii().to_vec())
    }

    /// Returns the length of a first piece of at most `window` bytes. It ends at the end of a
    /// paragraph, a line, or a word where the second half of the window has one.
    pub(super) fn cut(self, bytes: &[u8], window: usize) -> usize {
        if bytes.len() <= window {
            return bytes.len();
        }
        let width = self.width();
        let window = window - window % width;
        let (mut line, mut word) = (None, None);
        for end in (window / 2..=window).rev().filter(|end| end % width == 0) {
            match self.before(bytes, end) {
                CARRIAGE_RETURN if self.before(bytes, end + width) == LINE_FEED => {}
                LINE_FEED | CARRIAGE_RETURN => {
                    if self.ends_blank_line(bytes, end) {
                        return end;
                    }
                    line = line.or(Some(end));
                }
                SPACE => word = word.or(Some(end)),
                _ => {}
            }
        }
        line.or(word).unwrap_or_else(|| self.character_end(bytes, window))
    }

    /// Returns whether the line that ends at `end` has no characters.
    fn ends_blank_line(self, bytes: &[u8], end: usize) -> bool {
        let mut start = end - self.width();
        if self.before(bytes, end) == LINE_FEED && self.before(bytes, start) == CARRIAGE_RETURN {
            start -= self.width();
        }
        start == 0 || is_line_end(self.before(bytes, start))
    }

    /// Returns the end of the last whole character, in UTF-8 and UTF-16.
    fn character_end(self, bytes: &[u8], window: usize) -> usize {
        let continues = |end: usize| match self {
            Self::Bytes => bytes.get(end).is_some_and(|byte| (0x80..0xc0).contains(byte)),
            _ => (0xdc00..0xe000).contains(&self.before(bytes, end + self.width())),
        };
        let longest = 3 * self.width();
        (window.saturating_sub(longest)..=window)
            .rev()
            .find(|end| end % self.width() == 0 && *end > 0 && !continues(*end))
            .unwrap_or(window)
    }
}

const LINE_FEED: u16 = 0x0a;
const CARRIAGE_RETURN: u16 = 0x0d;
const SPACE: u16 = 0x20;

fn is_line_end(unit: u16) -> bool {
    matches!(unit, LINE_FEED | CARRIAGE_RETURN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wide(text: &str, units: Units) -> Vec<u8> {
        match units {
            Units::Bytes => text.as_bytes().to_vec(),
            Units::Little => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Units::Big => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }

    #[test]
    fn lines_end_in_any_convention() {
        for units in [Units::Bytes, Units::Little, Units::Big] {
            let text = wide("one\r\ntwo\rthree\nfour", units);
            let mut rest = text.as_slice();
            let mut lines = Vec::new();
            while !rest.is_empty() {
                let line = units.line(rest);
                lines.push(String::from_utf8(units.ascii(line).into_owned()).unwrap());
                rest = &rest[line.len()..];
            }
            assert_eq!(lines, ["one", "two", "three", "four"], "{units:?}");
        }
    }

    #[test]
    fn pieces_end_at_paragraphs_lines_or_words() {
        for units in [Units::Bytes, Units::Little, Units::Big] {
            let cut = |text: &str, window: usize| {
                let bytes = wide(text, units);
                units.cut(&bytes, window * units.width()) / units.width()
            };
            assert_eq!(cut("one two\n\nthree\nfour five", 18), 9, "{units:?}");
            assert_eq!(cut("one two\r\n\r\nthree\r\nfour", 20), 11);
            assert_eq!(cut("one two\r\rthree\rfour five", 18), 9);
            assert_eq!(cut("one two\nthree four five", 15), 8);
            assert_eq!(cut("one two three", 10), 8);
            assert_eq!(cut("onetwothree", 10), 10);
            assert_eq!(cut("short", 10), 5);
        }
        assert_eq!(Units::Bytes.cut("ééééé".as_bytes(), 5), 4);
        assert_eq!(Units::Little.cut(&wide("😀😀😀", Units::Little), 6), 4);
    }

    proptest! {
        #[test]
        fn cuts_make_progress_within_the_window(bytes: Vec<u8>, window in 8usize..40) {
            for units in [Units::Bytes, Units::Little, Units::Big] {
                let cut = units.cut(&bytes, window);
                prop_assert!(cut <= bytes.len() && (cut > 0) != bytes.is_empty());
                prop_assert!(cut <= window || cut == bytes.len());
                let line = units.line(&bytes);
                prop_assert_eq!(line.is_empty(), bytes.is_empty());
            }
        }
    }
}
