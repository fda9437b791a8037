// SPDX-License-Identifier: Apache-2.0

//! All rules, in the order in which they are asked, with their limits and presets.

use memchr::memchr_iter;

use super::{
    CleanConfig, Preset,
    boilerplate::{
        Boilerplate, Citations, Lines, POLICY, Phrases, automaton, has_no_long_word, has_words,
        is_finished,
    },
    characters::{Characters, Composed, Spacing},
    language::Language,
    page::Page,
    rule::{Check, Edit, EditRule, Limits, Rule},
    scrub::{Addresses, Cards, Emails, Ibans, Keys, Phones, PrivateKeys, Scrub},
    share::ppm,
};
use crate::CorpusError;

/// Rule that can be made.
pub(super) struct Entry {
    /// Name of the rule.
    pub(super) name: &'static str,
    /// Limits, unless the configuration states others.
    pub(super) limits: Limits,
    /// Presets that ask the rule.
    pub(super) presets: &'static [Preset],
    /// Maker of the rule.
    build: Build,
}

enum Build {
    /// Change of the text. All of them come before the first judgement.
    Edit(fn(&CleanConfig, Limits) -> BoxedEdit),
    /// Judgement by a measure.
    Check(fn(&Page) -> Option<u64>),
    /// Judgement by the number of times that a phrase occurs, in any case.
    Phrase(&'static str),
    /// Judgement of the language.
    Language,
}

type BoxedEdit = Result<Box<dyn Edit>, CorpusError>;

impl Edit for Box<dyn Edit> {
    fn edit(&self, text: &str) -> Option<super::rule::Edited> {
        (**self).edit(text)
    }
}

impl Entry {
    /// Tells whether the rule changes texts.
    pub(super) fn is_edit(&self) -> bool {
        matches!(self.build, Build::Edit(_))
    }

    /// Makes the rule.
    pub(super) fn build(
        &self,
        config: &CleanConfig,
        limits: Limits,
    ) -> Result<Box<dyn Rule>, CorpusError> {
        let name = self.name;
        Ok(match self.build {
            Build::Edit(edit) => Box::new(EditRule { name, edit: edit(config, limits)? }),
            Build::Check(measure) => Box::new(Check { name, limits, measure: Box::new(measure) }),
            Build::Phrase(phrase) => {
                let search = automaton(&[phrase])?;
                let measure = move |page: &Page| {
                    Some(search.find_iter(&page.text().to_ascii_lowercase()).count() as u64)
                };
                Box::new(Check { name, limits, measure: Box::new(measure) })
            }
            Build::Language => Box::new(Language::new(name, limits, &config.languages)?),
        })
    }
}

const ALL: &[Preset] = &[Preset::Web, Preset::Books, Preset::Code, Preset::Dialogue];
const PROSE: &[Preset] = &[Preset::Web, Preset::Books, Preset::Dialogue];
const WEB_AND_DIALOGUE: &[Preset] = &[Preset::Web, Preset::Dialogue];
const WEB_AND_BOOKS: &[Preset] = &[Preset::Web, Preset::Books];
const WEB: &[Preset] = &[Preset::Web];
const CODE: &[Preset] = &[Preset::Code];
const NONE: &[Preset] = &[];

const ANY: Limits = Limits { min: 0, max: u64::MAX };

const fn at_least(min: u64) -> Limits {
    Limits { min, max: u64::MAX }
}

const fn at_most(max: u64) -> Limits {
    Limits { min: 0, max }
}

const fn edit(
    name: &'static str,
    limits: Limits,
    presets: &'static [Preset],
    build: fn(&CleanConfig, Limits) -> BoxedEdit,
) -> Entry {
    Entry { name, limits, presets, build: Build::Edit(build) }
}

const fn check(
    name: &'static str,
    limits: Limits,
    presets: &'static [Preset],
    measure: fn(&Page) -> Option<u64>,
) -> Entry {
    Entry { name, limits, presets, build: Build::Check(measure) }
}

/// Returns the share of characters in repeated sequences of so many words. Without spaces between
/// words, nobody knows the words.
fn sequences(page: &Page, length: usize) -> Option<u64> {
    (!page.words().is_spaceless()).then(|| page.repetition().share(length))
}

/// Returns all rules in their order: first the changes, then the judgements, cheap ones first.
pub(super) fn entries() -> impl Iterator<Item = &'static Entry> {
    [&EDITS[..], TEXT, LINES, WORDS, REPETITION].into_iter().flatten()
}

static EDITS: [Entry; 17] = [
    edit("text.characters", ANY, ALL, |_, _| Ok(Box::new(Characters))),
    // Code may compare strings byte by byte.
    edit("text.composed", ANY, PROSE, |_, _| Ok(Box::new(Composed))),
    edit("c4.citations", ANY, WEB, |_, _| Ok(Box::new(Citations))),
    edit("scrub.private_key", ANY, ALL, |_, _| Ok(Box::new(Scrub(PrivateKeys)))),
    edit("scrub.key", ANY, ALL, |_, _| Ok(Box::new(Scrub(Keys::new()?)))),
    edit("scrub.email", ANY, ALL, |config, _| {
        Ok(Box::new(Scrub(Emails::new(&config.kept_domains))))
    }),
    edit("scrub.iban", ANY, ALL, |_, _| Ok(Box::new(Scrub(Ibans)))),
    edit("scrub.card", ANY, WEB_AND_DIALOGUE, |_, _| Ok(Box::new(Scrub(Cards)))),
    edit("scrub.ip", ANY, ALL, |_, _| Ok(Box::new(Scrub(Addresses)))),
    edit("scrub.phone", ANY, WEB_AND_DIALOGUE, |_, _| Ok(Box::new(Scrub(Phones::new()?)))),
    edit("lines.boilerplate", ANY, WEB, |_, _| Ok(Box::new(Boilerplate::new()?))),
    edit("c4.javascript", ANY, WEB, |_, _| Ok(Box::new(Phrases::new(&["javascript"])?))),
    edit("c4.policy", ANY, WEB, |_, _| Ok(Box::new(Phrases::new(&POLICY)?))),
    edit("c4.word_length", at_most(1_000), WEB, |_, limits| {
        Ok(Box::new(Lines(has_no_long_word(limits))))
    }),
    edit("c4.line_words", at_least(3), WEB, |_, limits| Ok(Box::new(Lines(has_words(limits))))),
    // FineWeb found that this rule drops too much, and has `fineweb.terminal_lines` instead.
    edit("c4.terminal", ANY, NONE, |_, _| Ok(Box::new(Lines(is_finished)))),
    edit("text.spacing", ANY, ALL, |_, _| Ok(Box::new(Spacing))),
];

static TEXT: &[Entry] = &[
    check("text.length", at_least(1), ALL, |page| Some(page.text().len() as u64)),
    check("text.undecoded", at_most(10_000), ALL, |page| {
        let undecoded = page.text().matches('\u{FFFD}').count() as u64;
        Some(ppm(undecoded, page.lines().characters))
    }),
    Entry {
        name: "c4.lorem_ipsum",
        limits: at_most(0),
        presets: WEB,
        build: Build::Phrase("lorem ipsum"),
    },
    check("c4.curly_brackets", at_most(0), WEB, |page| {
        Some(memchr_iter(b'{', page.text().as_bytes()).count() as u64)
    }),
];

static LINES: &[Entry] = &[
    check("c4.sentences", at_least(5), WEB, |page| Some(page.lines().sentences)),
    check("gopher.bullets", at_most(900_000), WEB, |page| {
        Some(page.lines().share(page.lines().bullets))
    }),
    check("gopher.ellipsis_lines", at_most(300_000), WEB, |page| {
        Some(page.lines().share(page.lines().ellipses))
    }),
    check("fineweb.terminal_lines", at_least(120_001), WEB, |page| {
        Some(page.lines().share(page.lines().terminal))
    }),
    check("fineweb.short_lines", at_most(669_999), WEB, |page| {
        Some(page.lines().share(page.lines().short))
    }),
    check("fineweb.duplicate_line_characters", at_most(99_999), WEB, |page| {
        Some(page.duplicates().lines.character_share())
    }),
    check("code.longest_line", at_most(1_000), CODE, |page| Some(page.lines().longest)),
    check("code.mean_line", at_most(100), CODE, |page| {
        page.lines().line_characters.checked_div(page.lines().lines)
    }),
    check("code.alphanumeric", at_least(250_000), CODE, |page| {
        let alphanumeric = page.text().chars().filter(|it| it.is_alphanumeric()).count() as u64;
        Some(ppm(alphanumeric, page.lines().characters))
    }),
];

static WORDS: &[Entry] = &[
    check("gopher.words", Limits { min: 50, max: 100_000 }, WEB, |page| Some(page.words().words)),
    check(
        "gopher.mean_word_length",
        Limits { min: 3_000_000, max: 10_000_000 },
        WEB_AND_BOOKS,
        |page| {
            let words = page.words();
            (!words.is_spaceless()).then(|| words.mean_length())
        },
    ),
    check("gopher.hashes", at_most(100_000), WEB_AND_DIALOGUE, |page| {
        Some(ppm(page.words().hashes, page.words().or_chunks()))
    }),
    check("gopher.ellipses", at_most(100_000), WEB, |page| {
        Some(ppm(page.words().ellipses, page.words().or_chunks()))
    }),
    check("gopher.alphabetic_words", at_least(800_000), PROSE, |page| {
        Some(ppm(page.words().alphabetic, page.words().chunks))
    }),
    Entry { name: "language", limits: at_least(650_000), presets: PROSE, build: Build::Language },
    check("gopher.stop_words", at_least(2), WEB, |page| {
        page.language().is_none_or(|it| it == "eng").then(|| page.words().stop_words)
    }),
];

static REPETITION: &[Entry] = &[
    check("gopher.duplicate_lines", at_most(300_000), WEB, |page| {
        Some(page.duplicates().lines.share())
    }),
    check("gopher.duplicate_line_characters", at_most(200_000), WEB, |page| {
        Some(page.duplicates().lines.character_share())
    }),
    check("gopher.duplicate_paragraphs", at_most(300_000), WEB, |page| {
        Some(page.duplicates().paragraphs.share())
    }),
    check("gopher.duplicate_paragraph_characters", at_most(200_000), WEB, |page| {
        Some(page.duplicates().paragraphs.character_share())
    }),
    check("gopher.top_2_gram", at_most(200_000), WEB, |page| sequences(page, 2)),
    check("gopher.top_3_gram", at_most(180_000), WEB, |page| sequences(page, 3)),
    check("gopher.top_4_gram", at_most(160_000), WEB, |page| sequences(page, 4)),
    check("gopher.repeated_5_grams", at_most(150_000), WEB, |page| sequences(page, 5)),
    check("gopher.repeated_6_grams", at_most(140_000), WEB, |page| sequences(page, 6)),
    check("gopher.repeated_7_grams", at_most(130_000), WEB, |page| sequences(page, 7)),
    check("gopher.repeated_8_grams", at_most(120_000), WEB, |page| sequences(page, 8)),
    check("gopher.repeated_9_grams", at_most(110_000), WEB, |page| sequences(page, 9)),
    check("gopher.repeated_10_grams", at_most(100_000), WEB, |page| sequences(page, 10)),
];
