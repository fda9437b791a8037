// SPDX-License-Identifier: Apache-2.0

//! Cleaning: rules that change texts, and rules that drop them.
//!
//! A [`Cleaner`] asks the rules of a [`CleanConfig`] one after the other and keeps a
//! [`Decision`] of each. All numbers are integers, and shares are cut to millionths.
//!
//! ```
//! use pol_corpus::filters::{CleanConfig, Cleaner, Preset};
//!
//! let cleaner = Cleaner::new(&CleanConfig::of(Preset::Books))?;
//! let cleaned = cleaner.clean("Ask  jane@doe.org.\r\nShe knows the way.".to_owned());
//! assert_eq!(cleaned.text.as_deref(), Some("Ask  [EMAIL].\nShe knows the way."));
//! # Ok::<(), pol_corpus::CorpusError>(())
//! ```
//!
//! # Order
//!
//! All rules that change a text come before the first that judges it. The changes are repeated
//! until none applies, at most eight times. Hence a clean text stays as it is, and the measures
//! describe the text that is kept: anybody who has it can measure again.
//!
//! # Sources, and differences from datatrove
//!
//! The limits of `gopher.*` are those of arXiv 2112.11446, appendix A1. Those of `c4.*` come from
//! arXiv 1910.10683, section 2.2, and its published program, and those of `fineweb.*` from arXiv
//! 2406.17557. `code.*` has the limits by which StarCoder (arXiv 2305.06161) drops files, after
//! Codex (arXiv 2107.03374).
//!
//! datatrove 0.10, the program behind FineWeb, has 25 of these measures with the same limits. On
//! 473 documents (verse, README files, pages of this project, and texts made at both sides of
//! limits) the two agree in 99 % of 11,825 decisions. A 26th, `gopher.alphabetic_words`, agrees in
//! 163 of 473. They differ in these points:
//!
//! - datatrove measures before it removes lines, and takes out blank lines with them. Here lines go
//!   first, and blank lines stay between paragraphs. They count in no share.
//! - Its words come from spaCy, and signs count among them. Verse and README files have more than a
//!   fifth of signs, and so have too few words with letters there. Here shares of signs and of
//!   words with letters refer to the parts between white space.
//! - spaCy splits `don't` and some addresses, and each sign of a row. Here apostrophes join
//!   letters, an address or a path is one word and has no length, and a row of one sign counts
//!   once. A line drawn with signs is no repetition.
//! - A sequence of words that occurs once is not repeated. There it may be the most common one of
//!   a short text.
//! - Scripts without spaces between words have no measures of word length and of sequences.
//!   Languages other than English have none of stop words.
//! - Limits of FineWeb are themselves excluded, as its paper says. The limit of characters in
//!   repeated lines is the paper's 0.1, where datatrove's default is 0.01. Its share of line breaks
//!   among words, which the paper does not have, is left out.
//! - Terminal punctuation may stand before closing quotes and brackets. A sentence does not end
//!   before a small letter.
//!
//! # Speed
//!
//! `cargo run --release -p pol-corpus --example clean_speed -- PATH` measures one core. With the
//! preset for the web, Shakespeare and Milton in 49 files run at 31 MB/s, and at 27 MB/s if every
//! judgement is made of every text. Identification of the language takes 0.1 ms a document, so that
//! pieces of 5 KB run at 19 MB/s.

mod boilerplate;
mod catalogue;
mod characters;
mod config;
mod language;
mod lines;
mod names;
mod opt_out;
mod page;
mod repetition;
mod rule;
mod scrub;
mod share;
#[cfg(test)]
mod tests;
mod words;

use pol_primitives::Hash;

pub(crate) use names::rule_name;

pub use config::{CleanConfig, Preset, RULES_VERSION, Setting};
pub use opt_out::{OptOutList, OptOutMatch};
pub use page::Page;
pub use rule::{Outcome, Rule};

use crate::{CorpusError, Decision, Verdict};

/// Times that the changes are repeated at most. Two suffice for nearly all texts: one to change
/// them, and one to find nothing more.
const MAX_ROUNDS: usize = 8;

/// Rules in force. Pure: a text and a configuration give the same result on any machine.
pub struct Cleaner {
    edits: Vec<Box<dyn Rule>>,
    checks: Vec<Box<dyn Rule>>,
    digest: Hash,
}

/// Result of cleaning a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// Clean text, unless a rule dropped the document.
    pub text: Option<String>,
    /// Decisions, in the order in which the rules were asked. If the document was dropped, the last
    /// one says why.
    pub decisions: Vec<Decision>,
    /// Language as an ISO 639-3 code, if it was asked for and could be told.
    pub language: Option<String>,
}

impl Cleaner {
    /// Prepares the rules of a configuration.
    ///
    /// # Errors
    ///
    /// [`CorpusError::InvalidOption`], if a rule or a language is unknown, or limits exclude
    /// everything.
    pub fn new(config: &CleanConfig) -> Result<Self, CorpusError> {
        let active = config.active()?;
        let digest = config::digest(config, &active);
        let (mut edits, mut checks) = (Vec::new(), Vec::new());
        for it in active {
            let rules = if it.entry.is_edit() { &mut edits } else { &mut checks };
            rules.push(it.entry.build(config, it.limits)?);
        }
        Ok(Self { edits, checks, digest })
    }

    /// Returns a hash of the version of the rules, their limits, and lists. Texts that were cleaned
    /// under the same one were cleaned alike.
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// Returns the names of the rules, in the order in which they are asked.
    pub fn rules(&self) -> impl Iterator<Item = &'static str> {
        self.edits.iter().chain(&self.checks).map(|rule| rule.name())
    }

    /// Cleans a text. Rules behind the one that drops it are not asked.
    #[must_use]
    pub fn clean(&self, text: String) -> Cleaned {
        let mut page = Page::new(text);
        let mut decisions = self.edit(&mut page);
        let mut is_dropped = false;
        for rule in &self.checks {
            let outcome = rule.apply(&mut page);
            decisions.push(outcome.decision(rule.name()));
            is_dropped = outcome.verdict == Verdict::Dropped;
            if is_dropped {
                break;
            }
        }
        let language = page.language().map(str::to_owned);
        Cleaned { text: (!is_dropped).then(|| page.into_text()), decisions, language }
    }

    /// Changes a page until no rule changes it further, and returns a decision of each rule.
    fn edit(&self, page: &mut Page) -> Vec<Decision> {
        let mut changes = vec![0; self.edits.len()];
        // Each rule has to find nothing after the last change of any.
        let mut unchanged = 0;
        let rounds = std::iter::repeat_n(&self.edits, MAX_ROUNDS);
        for (index, rule) in rounds.flat_map(|edits| edits.iter().enumerate()) {
            let outcome = rule.apply(page);
            changes[index] += outcome.measured.unwrap_or_default();
            unchanged = if outcome.verdict == Verdict::Changed { 0 } else { unchanged + 1 };
            if unchanged == self.edits.len() {
                break;
            }
        }
        let decisions = self.edits.iter().zip(changes).map(|(rule, changes)| {
            let verdict = if changes > 0 { Verdict::Changed } else { Verdict::Passed };
            Outcome { verdict, measured: Some(changes) }.decision(rule.name())
        });
        decisions.collect()
    }
}
