// SPDX-License-Identifier: Apache-2.0

//! Characters and white space: one spelling for texts that look the same.
//!
//! Unicode's composed form (NFC, UAX #15) joins letters and their accents. Characters that nobody
//! sees go: controls, byte order marks, soft hyphens, zero-width spaces, and the marks of
//! direction by which source code deceives its readers (CVE-2021-42574). A joiner stays where it
//! shapes letters or emoji.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::rule::{Edit, Edited, find_byte};

/// Blank lines in a row that stay.
const MAX_BLANK_LINES: usize = 2;

/// Removal of invisible characters, with `\n` for every end of a line and ` ` for spaces of all
/// widths.
pub(super) struct Characters;

impl Edit for Characters {
    fn edit(&self, text: &str) -> Option<Edited> {
        if !has_special(text) {
            return None;
        }
        let (mut edited, mut changes) = (String::with_capacity(text.len()), 0);
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let kept = match character {
                '\r' => {
                    characters.next_if_eq(&'\n');
                    Some('\n')
                }
                '\u{200C}' | '\u{200D}' => {
                    let joins = edited.chars().next_back().is_some_and(is_shaped)
                        && characters.peek().copied().is_some_and(is_shaped);
                    joins.then_some(character)
                }
                other => visible(other),
            };
            changes += u64::from(kept != Some(character));
            edited.extend(kept);
        }
        (changes > 0).then_some(Edited { text: edited, changes })
    }
}

/// Tells whether a character of a text may have to go or change.
fn has_special(text: &str) -> bool {
    let is_rare = |it: &u8| !matches!(it, b'\t' | b'\n' | b' '..=b'~');
    let mut at = 0;
    while let Some(rare) = find_byte(text.as_bytes(), at, is_rare) {
        let Some(character) = text[rare..].chars().next() else { break };
        if matches!(character, '\u{200C}' | '\u{200D}') || visible(character) != Some(character) {
            return true;
        }
        at = rare + character.len_utf8();
    }
    false
}

/// Returns the visible form of a character, or nothing.
fn visible(character: char) -> Option<char> {
    match character {
        '\t' | '\n' | ' '..='~' => Some(character),
        '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' => Some(' '),
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' => None,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' => None,
        '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' => None,
        '\u{FDD0}'..='\u{FDEF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{FFFE}' | '\u{FFFF}' => None,
        '\u{E0000}'..='\u{E007F}' => None,
        _ => Some(character),
    }
}

/// Tells whether a joiner beside a character can change its shape: the scripts from Arabic to
/// Mongolian, and emoji. None of them has a canonical form outside of these ranges.
fn is_shaped(character: char) -> bool {
    matches!(character, '\u{620}'..='\u{109F}' | '\u{1780}'..='\u{180D}' | '\u{1810}'..='\u{18AF}'
        | '\u{2600}'..='\u{27BF}' | '\u{FE0F}' | '\u{1F000}'..='\u{1FAFF}')
}

/// Unicode's composed normal form. Texts that differ in it look the same.
pub(super) struct Composed;

impl Edit for Composed {
    fn edit(&self, text: &str) -> Option<Edited> {
        // Nothing composes with the end of a line.
        let is_composed =
            |line: &str| line.is_ascii() || is_nfc_quick(line.chars()) == IsNormalized::Yes;
        if text.split('\n').all(is_composed) {
            return None;
        }
        let composed: String = text.nfc().collect();
        let changes = text.lines().zip(composed.lines()).filter(|(old, new)| old != new).count();
        (composed != text).then_some(Edited { text: composed, changes: changes as u64 })
    }
}

/// Removal of white space at the ends of lines and of the text, and of blank lines after the
/// second in a row.
pub(super) struct Spacing;

impl Edit for Spacing {
    fn edit(&self, text: &str) -> Option<Edited> {
        let trimmed_end = text.trim_end();
        let (mut edited, mut copied, mut at) = (String::new(), 0, 0);
        let mut changes = u64::from(trimmed_end.len() < text.len());
        // Nothing precedes the first line, so that blank lines there are too many at once.
        let mut blank = MAX_BLANK_LINES;
        for line in trimmed_end.split_inclusive('\n') {
            let body = line.strip_suffix('\n').unwrap_or(line);
            let trimmed = body.trim_end();
            blank = if trimmed.is_empty() { blank + 1 } else { 0 };
            let stays = blank <= MAX_BLANK_LINES;
            if !stays || trimmed.len() < body.len() {
                edited.push_str(&text[copied..at + if stays { trimmed.len() } else { 0 }]);
                copied = at + if stays { body.len() } else { line.len() };
                changes += 1;
            }
            at += line.len();
        }
        edited.push_str(&trimmed_end[copied..]);
        (changes > 0).then_some(Edited { text: edited, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(edit: &impl Edit, text: &str) -> String {
        edit.edit(text).map_or_else(|| text.to_owned(), |edited| edited.text)
    }

    #[test]
    fn invisible_characters_go() {
        let text = "\u{FEFF}a\u{AD}b\u{200B}c\0\u{7F}\u{202E}d\u{E0041}";
        assert_eq!(edited(&Characters, text), "abcd");
        assert_eq!(Characters.edit(text).unwrap().changes, 7);
        assert_eq!(edited(&Characters, "tab\tand é stay\n"), "tab\tand é stay\n");
    }

    #[test]
    fn ends_of_lines_and_spaces_have_one_form() {
        assert_eq!(edited(&Characters, "a\r\nb\rc\u{2028}d\u{85}e\u{C}f"), "a\nb\nc\nd\ne\nf");
        assert_eq!(edited(&Characters, "a\u{A0}b\u{2009}c\u{3000}d"), "a b c\u{3000}d");
    }

    #[test]
    fn joiners_stay_where_they_shape() {
        for text in ["می\u{200C}خواهم", "क्\u{200D}ष", "👩\u{200D}🚀", "❤\u{FE0F}\u{200D}🔥"]
        {
            assert!(Characters.edit(text).is_none(), "{text}");
        }
        assert_eq!(edited(&Characters, "a\u{200D}b\u{200C}"), "ab");
        assert_eq!(edited(&Characters, "می\u{200C}\u{200C}خ"), "می\u{200C}خ");
    }

    #[test]
    fn accents_are_composed() {
        assert_eq!(edited(&Composed, "Cafe\u{301}\nplain"), "Café\nplain");
        assert_eq!(Composed.edit("Cafe\u{301}\nplain").unwrap().changes, 1);
        assert_eq!(edited(&Composed, "\u{212B}"), "Å");
        assert!(Composed.edit("Café").is_none());
    }

    #[test]
    fn white_space_that_says_nothing_goes() {
        assert_eq!(edited(&Spacing, "\n\na  \n\n\n\n\nb\t\n\n c \n\n"), "a\n\n\nb\n\n c");
        assert!(Spacing.edit("a\n\n\nb").is_none());
        assert_eq!(edited(&Spacing, " \n\t\n"), "");
        assert_eq!(Spacing.edit("a \n\n\n\nb\n").unwrap().changes, 3);
    }
}
