// SPDX-License-Identifier: Apache-2.0

//! Cleaning of documents, and their division into blocks.

/// Largest block, in bytes. Blocks are the unit of deduplication and of the held-out split.
pub(crate) const MAX_BLOCK_BYTES: usize = 8 << 10;
/// Most blank lines kept in a row.
const MAX_BLANK_LINES: usize = 2;
/// Most lines of a marker of Project Gutenberg, whose titles may be long.
const MAX_MARKER_LINES: usize = 4;

/// Text of a document after cleaning.
pub(crate) struct CleanText {
    /// Lines without trailing space, ended by `\n`, with at most two blank lines in a row.
    pub(crate) text: String,
    /// Number of byte sequences that were not UTF-8, each replaced by U+FFFD.
    pub(crate) invalid: u64,
}

/// Decodes and cleans a document.
pub(crate) fn clean(bytes: &[u8]) -> CleanText {
    let (decoded, invalid) = decode(bytes);
    let decoded = decoded.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = decoded.split('\n').map(str::trim_end).collect();
    let mut text = String::with_capacity(decoded.len());
    let mut blank = 0;
    for line in without_licence(&lines) {
        if line.is_empty() {
            blank += 1;
            continue;
        }
        if !text.is_empty() {
            text.extend(std::iter::repeat_n('\n', blank.min(MAX_BLANK_LINES)));
        }
        blank = 0;
        text.push_str(line);
        text.push('\n');
    }
    CleanText { text, invalid }
}

/// Decodes UTF-8. Returns the text and the number of invalid sequences.
fn decode(bytes: &[u8]) -> (String, u64) {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
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

/// Returns the lines between Project Gutenberg's licence texts, or all lines if there are none.
fn without_licence<'a, 'b>(lines: &'b [&'a str]) -> &'b [&'a str] {
    let end = lines.iter().position(|line| is_end(line)).unwrap_or(lines.len());
    let before = &lines[..end];
    // Early files have several headers in a row: the last marker with text after it counts.
    before
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, line)| is_start(line))
        .map(|(at, _)| &before[after_marker(before, at)..])
        .find(|rest| rest.iter().any(|line| !line.is_empty()))
        .unwrap_or(before)
}

fn is_start(line: &str) -> bool {
    let line = line.trim_start().to_uppercase();
    let text_starts =
        line.starts_with("***") && line.contains("START OF TH") && line.contains("GUTENBERG");
    let small_print_ends = line.starts_with("*END") && line.contains("THE SMALL PRINT");
    text_starts || small_print_ends
}

fn is_end(line: &str) -> bool {
    let line = line.trim_start().to_uppercase();
    let starred = line.starts_with("***") && line.contains("END OF TH");
    (starred || line.starts_with("END OF ")) && line.contains("GUTENBERG")
}

/// Returns the index of the line after the marker that starts at `at`.
fn after_marker(lines: &[&str], at: usize) -> usize {
    let closing = lines
        .iter()
        .skip(at)
        .take(MAX_MARKER_LINES)
        .take_while(|line| !line.is_empty())
        .position(|line| line.ends_with('*'));
    at + closing.unwrap_or(0) + 1
}

/// Cuts text into blocks of at most [`MAX_BLOCK_BYTES`], at the ends of paragraphs where possible.
/// The concatenation of the blocks is the text.
pub(crate) fn blocks(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (block, rest) = text.split_at(block_length(text));
        text = rest;
        (!block.is_empty()).then_some(block)
    })
}

/// Returns the length of the first block of `text`, in bytes.
fn block_length(text: &str) -> usize {
    if text.len() <= MAX_BLOCK_BYTES {
        return text.len();
    }
    let window = &text[..text.floor_char_boundary(MAX_BLOCK_BYTES)];
    ["\n\n", "\n", " "]
        .iter()
        .find_map(|separator| window.rfind(separator).map(|at| at + separator.len()))
        .unwrap_or(window.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cleaned(text: &str) -> String {
        clean(text.as_bytes()).text
    }

    #[test]
    fn line_ends_marks_and_blanks_are_normalised() {
        assert_eq!(
            cleaned("\u{feff}\r\n\r\nOne \t\r\nTwo\r\r\n\n\n\n\nThree"),
            "One\nTwo\n\n\nThree\n"
        );
        assert_eq!(cleaned(" \n\n "), "");
        assert_eq!(cleaned("  indented\n"), "  indented\n");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_and_counted() {
        let CleanText { text, invalid } = clean(b"caf\xe9 na\xefve \xc3\xa9t\xc3\xa9");
        assert_eq!((text.as_str(), invalid), ("caf\u{fffd} na\u{fffd}ve \u{e9}t\u{e9}\n", 2));
    }

    #[test]
    fn licences_are_not_text() {
        let modern = "The Project Gutenberg eBook of X\nlicence\n\n\
                      *** START OF THE PROJECT GUTENBERG EBOOK X, OR\nTHE Y ***\n\nText.\n\n\
                      *** END OF THE PROJECT GUTENBERG EBOOK X ***\nSTART: FULL LICENSE\n";
        assert_eq!(cleaned(modern), "Text.\n");
        let small_print = "**Welcome**\n\
                           ***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nlegal\n\
                           *END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\
                           Text.\nEnd of Project Gutenberg's Etext of X\nmore\n";
        assert_eq!(cleaned(small_print), "Text.\n");
        let both = "*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n\nText.\n\n\
                    *** END OF THIS PROJECT GUTENBERG EBOOK X ***\nlegal\n\
                    *END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.02.11.02*END*\n";
        assert_eq!(cleaned(both), "Text.\n");
    }

    #[test]
    fn text_like_a_marker_stays() {
        for text in [
            "***\n\nTHE END OF THE FIRST BOOK.\n",
            "*** START OF THE SHOW\nEnd of the line.\n",
            "A\n*END*\n",
        ] {
            assert_eq!(cleaned(text), text);
        }
    }

    #[test]
    fn blocks_end_at_paragraphs_lines_or_words() {
        let paragraph = format!("{}\n\n", "word ".repeat(300).trim_end());
        let text = paragraph.repeat(20);
        assert!(
            blocks(&text).all(|block| block.ends_with("\n\n") && block.len() > MAX_BLOCK_BYTES / 2)
        );
        let line = "word ".repeat(5_000);
        assert!(blocks(&line).all(|block| block.ends_with(' ')));
    }

    proptest! {
        #[test]
        fn blocks_are_the_text(
            parts in prop::collection::vec(
                ("[a-z\u{e9}\u{1f600} \n]{0,40}", 1usize..800),
                0..12,
            ),
        ) {
            let text: String = parts.iter().map(|(part, times)| part.repeat(*times)).collect();
            prop_assert_eq!(blocks(&text).collect::<String>(), text.as_str());
            prop_assert!(blocks(&text).all(|block| block.len() <= MAX_BLOCK_BYTES));
        }

        #[test]
        fn cleaning_is_idempotent(bytes: Vec<u8>, text in "([ -~\r\n\t]|\n\n){0,200}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let once = clean(bytes).text;
                prop_assert_eq!(clean(once.as_bytes()).text, once.as_str());
            }
        }
    }
}
