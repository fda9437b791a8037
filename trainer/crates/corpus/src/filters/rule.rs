// SPDX-License-Identifier: Apache-2.0

//! Rules, and the page that they are asked about.

use std::cell::OnceCell;

use super::{
    lines::LineCounts,
    repetition::{Duplicates, Repetition},
    words::Words,
};
use crate::{Decision, Verdict};

/// Rule that changes a text, or judges it.
pub trait Rule: Send + Sync {
    /// Returns the stable name, such as `gopher.words`.
    fn name(&self) -> &'static str;

    /// Changes or judges a page.
    fn apply(&self, page: &mut Page) -> Outcome;
}

/// Answer of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Verdict.
    pub verdict: Verdict,
    /// Quantity that the rule measured: a share in millionths, or a count.
    pub measured: Option<u64>,
}

impl Outcome {
    /// Returns the decision of a rule that gave this answer.
    #[must_use]
    pub fn decision(self, rule: &str) -> Decision {
        Decision { rule: rule.to_owned(), verdict: self.verdict, measured: self.measured }
    }
}

/// Range of a measure that passes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Smallest measure that passes.
    pub(super) min: u64,
    /// Largest measure that passes.
    pub(super) max: u64,
}

/// Text on its way through the rules, with measures that several of them share.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    language: Option<&'static str>,
    lines: OnceCell<LineCounts>,
    duplicates: OnceCell<Duplicates>,
    words: OnceCell<Words>,
    repetition: OnceCell<Repetition>,
}

impl Page {
    /// Creates a page of a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    /// Returns the text as the rules so far left it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text and gives up the measures.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    /// Puts another text in place of this one.
    pub fn replace(&mut self, text: String) {
        *self = Self::new(text);
    }

    /// Returns the language, as an ISO 639-3 code, if a rule could tell it.
    #[must_use]
    pub fn language(&self) -> Option<&'static str> {
        self.language
    }

    /// States the language.
    pub(super) fn set_language(&mut self, language: &'static str) {
        self.language = Some(language);
    }

    /// Returns counts of the lines.
    pub(super) fn lines(&self) -> &LineCounts {
        self.lines.get_or_init(|| LineCounts::new(&self.text))
    }

    /// Returns the repeated lines and paragraphs.
    pub(super) fn duplicates(&self) -> &Duplicates {
        self.duplicates.get_or_init(|| Duplicates::new(&self.text))
    }

    /// Returns the words.
    pub(super) fn words(&self) -> &Words {
        self.words.get_or_init(|| Words::new(&self.text))
    }

    /// Returns the repeated sequences of words.
    pub(super) fn repetition(&self) -> &Repetition {
        self.repetition.get_or_init(|| Repetition::new(self.words(), self.lines().characters))
    }
}

/// Measure of a page.
pub(super) type Measure = Box<dyn Fn(&Page) -> Option<u64> + Send + Sync>;

/// Rule that drops a page whose measure is outside of a range.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) limits: Limits,
    /// Measure, or nothing where it says nothing about the text.
    pub(super) measure: Measure,
}

impl Rule for Check {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&self, page: &mut Page) -> Outcome {
        let measured = (self.measure)(page);
        let passes = measured.is_none_or(|it| (self.limits.min..=self.limits.max).contains(&it));
        Outcome { verdict: if passes { Verdict::Passed } else { Verdict::Dropped }, measured }
    }
}

/// Text that an edit made of another.
pub(super) struct Edited {
    pub(super) text: String,
    /// Number of changes.
    pub(super) changes: u64,
}

/// Change of a text. Nothing, where the text stays as it is.
pub(super) trait Edit: Send + Sync {
    /// Returns the changed text.
    fn edit(&self, text: &str) -> Option<Edited>;
}

/// Rule that changes a page.
pub(super) struct EditRule<E> {
    pub(super) name: &'static str,
    pub(super) edit: E,
}

impl<E: Edit> Rule for EditRule<E> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&self, page: &mut Page) -> Outcome {
        match self.edit.edit(&page.text) {
            Some(Edited { text, changes }) => {
                page.replace(text);
                Outcome { verdict: Verdict::Changed, measured: Some(changes) }
            }
            None => Outcome { verdict: Verdict::Passed, measured: Some(0) },
        }
    }
}

/// Returns a share in millionths, cut and not rounded. The share of nothing is zero.
pub(super) fn ppm(part: u64, whole: u64) -> u64 {
    part.saturating_mul(u64::from(pol_primitives::MILLION)).checked_div(whole).unwrap_or(0)
}

/// Returns the next byte from an offset on that a predicate accepts. Blocks without one are passed
/// over as a whole.
pub(super) fn find_byte(text: &[u8], at: usize, accepts: impl Fn(&u8) -> bool) -> Option<usize> {
    const BLOCK: usize = 64;
    let rest = text.get(at..)?;
    let skipped = (rest.chunks_exact(BLOCK))
        .take_while(|block| !block.iter().fold(false, |any, byte| any | accepts(byte)))
        .count();
    let at = at + skipped * BLOCK;
    text[at..].iter().position(accepts).map(|offset| at + offset)
}
