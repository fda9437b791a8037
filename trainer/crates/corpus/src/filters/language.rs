// SPDX-License-Identifier: Apache-2.0

//! Identification of languages.
//!
//! `whatlang` compares the alphabet and the commonest trigrams of a text with those of 70
//! languages. Its confidence is the lead of the best language over the second, and 1 from a
//! sufficient lead on. It is computed from counts by single additions, multiplications, and
//! divisions of 64-bit floats, each of which IEEE 754 rounds in one way, so that all machines
//! agree on its millionths. Languages that score the same have a confidence of zero. No threshold
//! admits it, so that the order of equals decides nothing.

use whatlang::{Info, Lang};

use super::{
    page::Page,
    rule::{Limits, Outcome, Rule},
};
use crate::{CorpusError, Verdict};

/// Longest text that is looked at as a whole, in bytes.
const WHOLE: usize = 1 << 10;
/// Number of samples of a longer text, at equal distances.
const SAMPLES: usize = 4;

/// Rule that states the language of a page, and drops other languages than the allowed ones.
pub(super) struct Language {
    name: &'static str,
    threshold: u64,
    /// Languages that pass. All, if it is empty.
    allowed: Vec<Lang>,
}

impl Language {
    /// Creates a rule from ISO 639-3 codes and the smallest confidence that counts.
    pub(super) fn new(
        name: &'static str,
        limits: Limits,
        codes: &[String],
    ) -> Result<Self, CorpusError> {
        let allowed = codes.iter().map(|code| {
            Lang::from_code(code.as_str()).ok_or_else(|| {
                CorpusError::InvalidOption(format!(
                    "languages: `{code}` is none that can be identified; write ISO 639-3 codes, \
                     such as `eng`"
                ))
            })
        });
        Ok(Self { name, threshold: limits.min.max(1), allowed: allowed.collect::<Result<_, _>>()? })
    }
}

impl Rule for Language {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&self, page: &mut Page) -> Outcome {
        let info = identify(page.text());
        let measured = info.as_ref().map(confidence);
        let known = info.filter(|it| confidence(it) >= self.threshold).map(|it| it.lang());
        if let Some(language) = known {
            page.set_language(language.code());
        }
        let passes = self.allowed.is_empty() || known.is_some_and(|it| self.allowed.contains(&it));
        Outcome { verdict: if passes { Verdict::Passed } else { Verdict::Dropped }, measured }
    }
}

/// Returns the confidence in millionths, cut and not rounded.
fn confidence(info: &Info) -> u64 {
    (info.confidence().clamp(0.0, 1.0) * f64::from(pol_primitives::MILLION)) as u64
}

/// Identifies the language of a text by samples of it.
fn identify(text: &str) -> Option<Info> {
    if text.len() <= WHOLE {
        return whatlang::detect(text);
    }
    let mut samples = String::with_capacity(WHOLE + SAMPLES);
    for sample in 0..SAMPLES {
        let start =
            text.ceil_char_boundary((text.len() - WHOLE / SAMPLES) / (SAMPLES - 1) * sample);
        let end = text.floor_char_boundary(start + WHOLE / SAMPLES).max(start);
        samples.push_str(&text[start..end]);
        samples.push(' ');
    }
    whatlang::detect(&samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "It is a truth universally acknowledged that a single man in possession \
                           of a good fortune must be in want of a wife.";
    const GERMAN: &str = "Jemand musste Josef K. verleumdet haben, denn ohne dass er etwas Böses \
                          getan hätte, wurde er eines Morgens verhaftet.";

    fn outcome(allowed: &[&str], threshold: u64, text: &str) -> (Outcome, Option<&'static str>) {
        let allowed: Vec<String> = allowed.iter().map(|&code| code.to_owned()).collect();
        let limits = Limits { min: threshold, max: u64::MAX };
        let mut page = Page::new(text.to_owned());
        let outcome = Language::new("language", limits, &allowed).unwrap().apply(&mut page);
        (outcome, page.language())
    }

    #[test]
    fn languages_are_stated_and_chosen() {
        let (english, language) = outcome(&[], 650_000, ENGLISH);
        assert_eq!((english.verdict, language), (Verdict::Passed, Some("eng")));
        assert_eq!(english.measured, Some(1_000_000));
        assert_eq!(outcome(&["deu", "eng"], 650_000, GERMAN).0.verdict, Verdict::Passed);
        assert_eq!(outcome(&["eng"], 650_000, GERMAN).0.verdict, Verdict::Dropped);
        let long = GERMAN.repeat(100);
        assert_eq!(outcome(&["deu"], 650_000, &long).1, Some("deu"));
    }

    #[test]
    fn doubt_is_no_language() {
        let (short, language) = outcome(&[], 1_000_001, "word");
        assert_eq!((short.verdict, language), (Verdict::Passed, None));
        // The last millionth decides.
        let measured = short.measured.unwrap();
        assert!(measured > 0);
        assert!(outcome(&[], measured, "word").1.is_some());
        assert!(outcome(&[], measured + 1, "word").1.is_none());
        assert_eq!(
            outcome(&["eng"], 1, "1 + 1 = 2"),
            (Outcome { verdict: Verdict::Dropped, measured: None }, None)
        );
    }

    #[test]
    fn unknown_codes_are_named() {
        let limits = Limits { min: 1, max: 1 };
        let error = Language::new("language", limits, &["en".to_owned()]).err().unwrap();
        assert!(error.to_string().contains("`en`"));
    }
}
