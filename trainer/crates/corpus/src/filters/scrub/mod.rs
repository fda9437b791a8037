// SPDX-License-Identifier: Apache-2.0

//! Replacement of personal and secret data by placeholders.
//!
//! Each kind has one placeholder in square brackets, which no rule touches and which composes with
//! no accent. The search is strict where a checksum or a fixed form exists, and reads the words
//! around a number where it does not: most numbers in a text belong to nobody.

mod bank;
mod email;
mod internet;
mod phone;
mod secret;

use std::ops::Range;

pub(super) use bank::{Cards, Ibans};
pub(super) use email::Emails;
pub(super) use internet::Addresses;
pub(super) use phone::Phones;
pub(super) use secret::{Keys, PrivateKeys};

use super::rule::{Edit, Edited, find_byte};

/// Search for one kind of data.
pub(super) trait Search: Send + Sync {
    /// Placeholder for what is found.
    const PLACEHOLDER: &'static str;

    /// Returns the places of the data, ascending and apart.
    fn search(&self, text: &str) -> Vec<Range<usize>>;
}

/// Edit that puts placeholders in place of data.
pub(super) struct Scrub<S>(pub(super) S);

impl<S: Search> Edit for Scrub<S> {
    fn edit(&self, text: &str) -> Option<Edited> {
        let places = self.0.search(text);
        if places.is_empty() {
            return None;
        }
        let (mut edited, mut copied) = (String::with_capacity(text.len()), 0);
        for place in &places {
            edited.push_str(&text[copied..place.start]);
            edited.push_str(S::PLACEHOLDER);
            copied = place.end;
        }
        edited.push_str(&text[copied..]);
        Some(Edited { text: edited, changes: places.len() as u64 })
    }
}

/// Returns the starts of the rows of digits in a text.
fn numbers(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = find_byte(text, at, u8::is_ascii_digit)?;
        at = start + digits(text, start);
        Some(start)
    })
}

/// Returns the number of digits from an offset on.
fn digits(text: &[u8], start: usize) -> usize {
    text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Returns the byte before an offset.
fn before(text: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).map(|previous| text[previous])
}

/// Tells whether a byte belongs to a word of ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Tells whether the byte before a place, and the byte after it, belong to no word.
fn is_apart(text: &[u8], place: &Range<usize>) -> bool {
    !before(text, place.start).is_some_and(is_word)
        && !text.get(place.end).copied().is_some_and(is_word)
}

/// Returns the places that begin after the end of every earlier one.
fn apart(found: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut taken = 0;
    found
        .filter(|place| {
            let is_free = place.start >= taken;
            taken = if is_free { place.end } else { taken };
            is_free
        })
        .collect()
}

/// Asserts that a search finds one thing in some texts, and nothing in others.
#[cfg(test)]
fn check<S: Search>(search: S, found: &[(&str, &str)], missed: &[&str]) {
    let scrub = Scrub(search);
    for (text, expected) in found {
        let edited = scrub.edit(text).map(|edited| edited.text);
        assert_eq!(edited.as_deref(), Some(*expected), "{text}");
    }
    for text in missed {
        assert_eq!(scrub.edit(text).map(|edited| edited.text), None, "{text}");
    }
}
