// SPDX-License-Identifier: Apache-2.0

//! Texts with their measures.

use std::cell::OnceCell;

use super::{
    lines::LineCounts,
    repetition::{Duplicates, Repetition},
    words::Words,
};

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
