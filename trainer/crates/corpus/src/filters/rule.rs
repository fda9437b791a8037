// SPDX-License-Identifier: Apache-2.0

//! Rules, which change texts or judge them.

use super::page::Page;
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
    pub fn decision(self, rule: &'static str) -> Decision {
        Decision { rule: rule.into(), verdict: self.verdict, measured: self.measured }
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
        match self.edit.edit(page.text()) {
            Some(Edited { text, changes }) => {
                page.replace(text);
                Outcome { verdict: Verdict::Changed, measured: Some(changes) }
            }
            None => Outcome { verdict: Verdict::Passed, measured: Some(0) },
        }
    }
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
