// SPDX-License-Identifier: Apache-2.0

//! Telephone numbers.
//!
//! Three forms are told from other numbers: international ones after a plus sign (ITU-T E.164),
//! North American ones in groups of three, three, and four digits, and any after a word such as
//! `Tel.`

use std::ops::Range;

use aho_corasick::AhoCorasick;

use super::{Search, apart, before, digits, is_apart};
use crate::{
    CorpusError,
    filters::{boilerplate::automaton, rule::find_byte},
};

/// Words before telephone numbers.
const LABELS: [&str; 11] = [
    "fax",
    "mobil",
    "mobile",
    "phone",
    "tel",
    "telefax",
    "telefon",
    "telefone",
    "telephone",
    "téléphone",
    "whatsapp",
];

/// Digits of the longest number.
const MAX_DIGITS: usize = 15;

/// Search for telephone numbers.
pub(in super::super) struct Phones {
    labels: AhoCorasick,
}

impl Phones {
    /// Prepares the search for words before numbers.
    pub(in super::super) fn new() -> Result<Self, CorpusError> {
        Ok(Self { labels: automaton(&LABELS)? })
    }
}

impl Search for Phones {
    const PLACEHOLDER: &'static str = "[PHONE]";

    fn search(&self, text: &str) -> Vec<Range<usize>> {
        let (bytes, lower) = (text.as_bytes(), text.to_ascii_lowercase());
        let labelled = self.labels.find_iter(&lower).filter_map(|label| {
            let is_inside = before(bytes, label.start()).is_some_and(|it| it.is_ascii_alphabetic());
            (!is_inside).then(|| labelled_start(bytes, label.end()))?
        });
        let mut starts: Vec<(usize, bool)> = labelled.map(|start| (start, true)).collect();
        let is_start = |it: &u8| it.is_ascii_digit() || matches!(it, b'+' | b'(');
        let mut at = 0;
        while let Some(start) = find_byte(bytes, at, is_start) {
            starts.push((start, false));
            at = start + digits(bytes, start).max(1);
        }
        starts.sort_unstable_by_key(|&(start, is_labelled)| (start, !is_labelled));
        starts.dedup_by_key(|&mut (start, _)| start);
        let labelled = |start| starts.binary_search(&(start, true)).is_ok();
        apart(starts.iter().map(|&(start, _)| start).filter_map(|start| {
            let place = if labelled(start) {
                walk(bytes, start, 7, 7)
            } else if bytes[start] == b'+' {
                bytes.get(start + 1).filter(|it| matches!(it, b'1'..=b'9'))?;
                walk(bytes, start, 8, 10)
            } else {
                north_american(bytes, start)
            }?;
            is_apart(bytes, &place).then_some(place)
        }))
    }
}

/// Returns the start of a number after its label, past signs and spaces.
fn labelled_start(text: &[u8], end: usize) -> Option<usize> {
    let is_sign = |it: &&u8| matches!(it, b' ' | b'.' | b':' | b'\t');
    let start = end + text[end..].iter().take(4).take_while(is_sign).count();
    let first = text.get(start)?;
    (start > end && (first.is_ascii_digit() || matches!(first, b'+' | b'('))).then_some(start)
}

/// Returns the place of digits in groups, if they are enough: with separators between
/// them, or without.
fn walk(text: &[u8], start: usize, enough: usize, enough_in_one: usize) -> Option<Range<usize>> {
    let (mut at, mut end, mut count, mut groups) = (start, start, 0, 0);
    loop {
        let is_separator = |it: &&u8| matches!(it, b' ' | b'.' | b'-' | b'/' | b'(' | b')' | b'+');
        let separators = text[at..].iter().take(3).take_while(is_separator).count();
        let length = digits(text, at + separators);
        if length == 0 || separators == 3 {
            break;
        }
        at += separators + length;
        end = at;
        count += length;
        groups += 1;
        if count > MAX_DIGITS {
            return None;
        }
    }
    let least = if groups > 1 { enough } else { enough_in_one };
    (least..=MAX_DIGITS).contains(&count).then_some(start..end)
}

/// Returns the place of a number such as `(212) 555-2368` or `1-212-555-2368`. Numbers for fiction,
/// 555-0100 to 555-0199, belong to nobody.
fn north_american(text: &[u8], start: usize) -> Option<Range<usize>> {
    if before(text, start).is_some_and(|it| b".-+$".contains(&it)) {
        return None;
    }
    let mut at = start;
    if text[at] == b'1' && matches!(text.get(at + 1), Some(b' ' | b'-' | b'.')) {
        at += 2;
    }
    let is_open = text.get(at) == Some(&b'(');
    at += usize::from(is_open);
    let area = group(text, at, 3)?;
    at += 3;
    let separator = if is_open {
        text.get(at).filter(|&&it| it == b')')?;
        at += 1;
        at += usize::from(text.get(at) == Some(&b' '));
        None
    } else {
        let separator = *text.get(at).filter(|it| matches!(it, b'-' | b'.'))?;
        at += 1;
        Some(separator)
    };
    let exchange = group(text, at, 3)?;
    at += 3;
    let second = *text.get(at).filter(|it| matches!(it, b'-' | b'.' | b' '))?;
    let line = group(text, at + 1, 4)?;
    at += 5;
    let is_longer = matches!(text.get(at), Some(b'-' | b'.'))
        && text.get(at + 1).is_some_and(u8::is_ascii_digit);
    let is_fiction = exchange == b"555" && line.starts_with(b"01");
    let is_number =
        area[0] >= b'2' && exchange[0] >= b'2' && separator.is_none_or(|it| it == second);
    (is_number && !is_longer && !is_fiction).then_some(start..at)
}

/// Returns a group of exactly so many digits.
fn group(text: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    (at <= text.len() && digits(text, at) == length).then(|| &text[at..at + length])
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn telephone_numbers_are_told_from_other_numbers() {
        check(
            Phones::new().unwrap(),
            &[
                ("Call +49 (0)30 1234-567 now", "Call [PHONE] now"),
                ("+442079460958.", "[PHONE]."),
                ("(212) 555-2368 or 212.555.2368", "[PHONE] or [PHONE]"),
                ("1-800-234-5678", "[PHONE]"),
                ("Tel.: 030/123 45 67, Fax 1234567", "Tel.: [PHONE], Fax [PHONE]"),
                ("Téléphone : 01 23 45 67 89", "Téléphone : [PHONE]"),
            ],
            &[
                "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, ISSN 2049-3630",
                "2021-05-12, 1914-1918, 10:30-12:45, 12.05.2021",
                "C++11, x +12345, +1 000, 3 + 123456789012",
                "212-555-0123 is fiction, 112-555-2368, 212-155-2368, 212-555-2368-9",
                "hotel 1234567, tel, tel 12345, phone it in, 1234567",
                "$212.555.2368 and 3.212.555.2368 and 555-2368",
                "+1234567890123456 and DOI 10.1000/182",
            ],
        );
    }
}
