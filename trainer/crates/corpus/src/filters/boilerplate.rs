// SPDX-License-Identifier: Apache-2.0

//! Removal of lines that belong to a page and not to its text.
//!
//! C4 (arXiv 1910.10683, section 2.2, and its published program) drops lines without terminal
//! punctuation, lines of few words, and lines about JavaScript, cookies, and terms. RefinedWeb
//! (arXiv 2306.01116, line-wise corrections) adds counters and short lines of navigation.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{
    lines::ends_sentence,
    rule::{Edit, Edited, Limits},
};
use crate::CorpusError;

/// Removal of the lines that a predicate refuses. Blank lines stay.
pub(super) struct Lines<F>(pub(super) F);

impl<F: Fn(&str) -> bool + Send + Sync> Edit for Lines<F> {
    fn edit(&self, text: &str) -> Option<Edited> {
        retain(text, |line| (self.0)(&text[line]))
    }
}

/// Removes the lines that a predicate refuses. It is asked about the place of each line that is
/// not blank, without the white space around it.
fn retain(text: &str, keeps: impl Fn(Range<usize>) -> bool) -> Option<Edited> {
    let (mut edited, mut changes, mut copied, mut at) = (String::new(), 0, 0, 0);
    for line in text.split_inclusive('\n') {
        let start = at + line.len() - line.trim_start().len();
        let end = start + line.trim().len();
        if start < end && !keeps(start..end) {
            edited.push_str(&text[copied..at]);
            copied = at + line.len();
            changes += 1;
        }
        at += line.len();
    }
    (changes > 0).then(|| {
        edited.push_str(&text[copied..]);
        Edited { text: edited, changes }
    })
}

/// Removal of lines that contain one of some phrases, in any case.
pub(super) struct Phrases(AhoCorasick);

impl Phrases {
    /// Prepares the search for phrases in small letters.
    pub(super) fn new(phrases: &[&str]) -> Result<Self, CorpusError> {
        Ok(Self(automaton(phrases)?))
    }
}

impl Edit for Phrases {
    fn edit(&self, text: &str) -> Option<Edited> {
        let is_match = |text: &str| self.0.is_match(&text.to_ascii_lowercase());
        is_match(text).then(|| Lines(|line: &str| !is_match(line)).edit(text))?
    }
}

/// Returns a search for phrases that prefers the longest. It is quickest with distinct cases, so
/// that texts are searched in small letters.
pub(super) fn automaton(phrases: &[&str]) -> Result<AhoCorasick, CorpusError> {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(phrases)
        .map_err(|error| CorpusError::InvalidOption(format!("cannot search for phrases: {error}")))
}

/// Phrases of C4 about cookies and terms.
pub(super) const POLICY: [&str; 6] = [
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
];

/// Tells whether a line ends with terminal punctuation, and not with an ellipsis (C4).
pub(super) fn is_finished(line: &str) -> bool {
    ends_sentence(line) && !line.ends_with("...") && !line.ends_with('…')
}

/// Returns a predicate for lines with enough words (C4).
pub(super) fn has_words(limits: Limits) -> impl Fn(&str) -> bool + Send + Sync {
    move |line| {
        let enough = usize::try_from(limits.min).unwrap_or(usize::MAX);
        enough == 0
            || line.split_ascii_whitespace().nth(enough - 1).is_some()
            || line.split_whitespace().nth(enough - 1).is_some()
    }
}

/// Returns a predicate for lines without very long words (C4).
pub(super) fn has_no_long_word(limits: Limits) -> impl Fn(&str) -> bool + Send + Sync {
    move |line| {
        line.len() as u64 <= limits.max
            || line.split_whitespace().all(|word| word.chars().count() as u64 <= limits.max)
    }
}

/// Removal of marks that Wikipedia puts into its text: `[1]`, `[edit]`, `[citation needed]` (C4).
pub(super) struct Citations;

impl Edit for Citations {
    fn edit(&self, text: &str) -> Option<Edited> {
        let (mut edited, mut changes, mut copied) = (String::new(), 0, 0);
        for (start, _) in text.match_indices('[') {
            let rest = &text[start + 1..];
            let inner = rest.trim_start_matches(|it: char| it.is_ascii_digit());
            let length = if inner.starts_with(']') && rest.len() - inner.len() <= 4 {
                rest.len() - inner.len() + 2
            } else if let Some(mark) =
                ["edit]", "citation needed]"].iter().find(|mark| rest.starts_with(**mark))
            {
                mark.len() + 1
            } else {
                continue;
            };
            edited.push_str(&text[copied..start]);
            copied = start + length;
            changes += 1;
        }
        edited.push_str(&text[copied..]);
        (changes > 0).then_some(Edited { text: edited, changes })
    }
}

/// Removal of navigation, cookie notices, invitations to share, and counters.
pub(super) struct Boilerplate {
    cookies: AhoCorasick,
}

/// Longest line of navigation, in bytes.
const MAX_NAVIGATION: usize = 120;
/// Longest entry of a menu.
const MAX_ENTRY: usize = 20;
/// Longest cookie notice, in bytes.
const MAX_NOTICE: usize = 600;

/// Lines of navigation, in small letters and without signs around them. Ascending.
const NAVIGATION: [&str; 62] = [
    "about",
    "about us",
    "accept",
    "accept all",
    "accept cookies",
    "add a comment",
    "add to cart",
    "advertisement",
    "advertising",
    "all rights reserved",
    "archives",
    "back to top",
    "blog",
    "cart",
    "categories",
    "checkout",
    "close",
    "comments",
    "contact",
    "contact us",
    "continue reading",
    "create account",
    "faq",
    "forgot password",
    "home",
    "leave a comment",
    "leave a reply",
    "load more",
    "log in",
    "login",
    "logout",
    "main menu",
    "manage cookies",
    "menu",
    "my account",
    "newer posts",
    "next page",
    "older posts",
    "post a comment",
    "previous page",
    "privacy",
    "read more",
    "recent posts",
    "register",
    "related articles",
    "related posts",
    "scroll to top",
    "search",
    "see more",
    "show more",
    "sign in",
    "sign out",
    "sign up",
    "sitemap",
    "skip to content",
    "skip to main content",
    "skip to navigation",
    "skip to search",
    "subscribe",
    "toggle navigation",
    "view all",
    "view cart",
];

/// Beginnings of invitations to share. Ascending, and none begins with another.
const SHARING: [&str; 16] = [
    "click to email",
    "click to print",
    "click to share",
    "email this",
    "find us on",
    "follow us on",
    "like us on",
    "pin it",
    "pin this",
    "print this",
    "share on ",
    "share this",
    "share to ",
    "share via ",
    "share with ",
    "tweet this",
];

/// Objects that pages count.
const COUNTED: [&str; 14] = [
    "comment",
    "comments",
    "like",
    "likes",
    "share",
    "shares",
    "view",
    "views",
    "reply",
    "replies",
    "follower",
    "followers",
    "retweets",
    "votes",
];

/// Phrases of which a cookie notice has one, beside the word.
const COOKIES: [&str; 13] = [
    "accept",
    "agree to",
    "by clicking",
    "by continuing",
    "by using",
    "consent",
    "our site",
    "our website",
    "this site",
    "this website",
    "we and our partners",
    "we use",
    "your browser",
];

impl Boilerplate {
    /// Prepares the search for phrases.
    pub(super) fn new() -> Result<Self, CorpusError> {
        Ok(Self { cookies: automaton(&COOKIES)? })
    }
}

impl Edit for Boilerplate {
    fn edit(&self, text: &str) -> Option<Edited> {
        let lower = text.to_ascii_lowercase();
        let has_cookies = lower.contains("cookies");
        let is_notice = |line: &str| {
            has_cookies
                && line.len() <= MAX_NOTICE
                && line.contains("cookies")
                && self.cookies.is_match(line)
        };
        let is_navigation =
            |line: &str| line.len() <= MAX_NAVIGATION && (is_navigation(line) || is_sharing(line));
        retain(text, |line| !is_notice(&lower[line.clone()]) && !is_navigation(&lower[line]))
    }
}

/// Tells whether a line in small letters is an entry or a row of a menu, or a note of rights.
fn is_navigation(line: &str) -> bool {
    let bare = line.trim_matches(|it: char| !it.is_alphanumeric());
    let is_entry = bare.len() <= MAX_ENTRY && NAVIGATION.binary_search(&bare).is_ok();
    if is_entry || is_counter(bare) {
        return true;
    }
    if (line.starts_with('©') || line.starts_with("copyright")) && !line.contains(". ") {
        return true;
    }
    // A table's row starts with a bar. A row of a menu does not.
    let has_bars = line.contains('|') || !line.is_ascii();
    if !has_bars || line.starts_with('|') || ends_sentence(line) {
        return false;
    }
    let mut parts = line.split(['|', '›', '»', '·', '•']).map(str::trim);
    let is_entry = |part: &str| !part.is_empty() && part.split_whitespace().nth(3).is_none();
    parts.clone().count() >= 3 && parts.all(is_entry)
}

/// Tells whether a line in small letters is an invitation to share.
fn is_sharing(line: &str) -> bool {
    let last = SHARING.partition_point(|start| *start <= line).checked_sub(1);
    last.is_some_and(|last| line.starts_with(SHARING[last]))
        && line.split_whitespace().count() <= 12
}

/// Tells whether a line is a number of comments or the like.
fn is_counter(line: &str) -> bool {
    let is_numbered = line.starts_with(|it: char| it.is_ascii_digit());
    is_numbered
        && line.split_once(' ').is_some_and(|(number, object)| {
            number.bytes().all(|it| it.is_ascii_digit() || matches!(it, b',' | b'.' | b'k' | b'm'))
                && COUNTED.contains(&object)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(edit: &impl Edit, text: &str) -> String {
        edit.edit(text).map_or_else(|| text.to_owned(), |edited| edited.text)
    }

    #[test]
    fn lists_are_in_order() {
        assert!(NAVIGATION.is_sorted() && SHARING.is_sorted());
        assert!(NAVIGATION.iter().all(|entry| entry.len() <= MAX_ENTRY));
    }

    #[test]
    fn boilerplate_goes() {
        let boilerplate = Boilerplate::new().unwrap();
        for line in [
            "Home",
            "» Read more «",
            "Home | About us | Contact",
            "News › Europe › Elections",
            "Share this on Facebook",
            "12 Comments",
            "1,024 views",
            "© 2024 Somebody",
            "We use cookies to give you the best experience.",
            "This website stores cookies on your computer. Accept",
        ] {
            assert_eq!(edited(&boilerplate, line), "", "{line}");
        }
    }

    #[test]
    fn text_that_resembles_boilerplate_stays() {
        let boilerplate = Boilerplate::new().unwrap();
        for line in [
            "Home is where the heart is.",
            "She baked cookies for us.",
            "| a | b | c |",
            "Either one | or the other of them | may be right in the end",
            "Share this bread with the poor, said the old man to his sons, and they did so.",
            "He left 12 comments on it.",
            "• An item of a list",
            "Copyright law is old. It began with printing.",
            "",
        ] {
            assert_eq!(edited(&boilerplate, line), line);
        }
    }

    #[test]
    fn citations_go() {
        assert_eq!(edited(&Citations, "A[1] b[citation needed]. C [edit]\n[]"), "A b. C \n");
        assert!(Citations.edit("a[12345] b[x] c[1").is_none());
    }

    #[test]
    fn lines_are_judged_by_their_words() {
        let range = |min, max| Limits { min, max };
        assert!(has_words(range(3, 0))("one two three"));
        assert!(!has_words(range(3, 0))("one two"));
        assert!(has_words(range(0, 0))(""));
        assert!(has_no_long_word(range(0, 4))("four éééé four"));
        assert!(!has_no_long_word(range(0, 4))("four fives"));
        assert!(is_finished("She said “no.”") && is_finished("Why?"));
        assert!(!is_finished("and so on...") && !is_finished("A heading"));
    }

    #[test]
    fn lines_with_phrases_go_and_blank_lines_stay() {
        let phrases = Phrases::new(&["javascript"]).unwrap();
        assert_eq!(edited(&phrases, "a\n\nEnable JavaScript!\nb"), "a\n\nb");
        assert!(phrases.edit("java script").is_none());
    }
}
