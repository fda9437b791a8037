// SPDX-License-Identifier: Apache-2.0

//! Documents that share a passage with text that nobody may train on.

use super::words::{is_sign, last_words, ngrams, normalise};
use crate::{Origin, error::CorpusError};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeSet};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Version of the rule. A change by which some document is judged otherwise raises it.
const RULE_VERSION: u32 = 1;
/// Bytes that a run of words of the references takes.
const RUN_BYTES: u64 = size_of::<(u64, u32)>() as u64;
/// Bytes that a reference takes beside its name and its runs.
const REFERENCE_BYTES: u64 = size_of::<Reference>() as u64;
/// Bits of a filter for each run of words.
const FILTER_BITS: usize = 16;
/// Characters that show nothing, by which two texts may differ: the soft hyphen, joiners and
/// spaces without width, and byte order marks.
const INVISIBLE: [char; 6] = ['\u{ad}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];

/// Options of decontamination.
///
/// Runs of 13 words are the practice of GPT-3 (arXiv 2005.14165, appendix C). Shorter references
/// are looked for as a whole, down to eight words as there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecontaminationConfig {
    /// Number of words in a run.
    pub ngram: u32,
    /// Fewest words of a reference.
    pub shortest: u32,
    /// Memory for the references, in bytes. Each word of theirs takes sixteen. A filter takes up to
    /// four more, which do not count.
    pub memory: u64,
}

impl Default for DecontaminationConfig {
    fn default() -> Self {
        Self { ngram: 13, shortest: 8, memory: 512 << 20 }
    }
}

/// Text that nobody may train on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// BLAKE3 of the text.
    pub text: Hash,
    /// Name of its place.
    pub name: String,
}

/// Finder of documents that share runs of words with held-out text or probes. Many threads can
/// share one.
///
/// It depends on the texts of the references alone, not on their names, their order, or the number
/// of their copies.
pub struct Decontaminator {
    /// Lengths of the runs, in words.
    lengths: BTreeSet<usize>,
    /// Hashes of runs in ascending order, each with the first reference that it is in.
    runs: Vec<(u64, u32)>,
    /// Bits for the highest bits of the hashes: most runs of documents are in no reference.
    filter: Vec<u64>,
    shift: u32,
    /// References by their hashes, in ascending order.
    references: Vec<Reference>,
    ignored: u64,
    digest: Hash,
}

/// Overlap of a document with the references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contamination {
    /// BLAKE3 of a reference that shares a run with it.
    pub reference: Hash,
    /// Number of runs of the document that are in references.
    pub shared: u64,
}

/// References on their way into a [`Decontaminator`], one after another.
pub struct DecontaminatorBuilder {
    config: DecontaminationConfig,
    lengths: BTreeSet<usize>,
    runs: Vec<(u64, u32)>,
    references: Vec<Reference>,
    /// Bytes that the references take beside their runs.
    named: u64,
    ignored: u64,
    /// Reference whose next piece may come.
    open: Option<OpenReference>,
}

/// Reference that may go on.
struct OpenReference {
    origin: Origin,
    piece: u32,
    name: String,
    hasher: blake3::Hasher,
    /// Last words so far, with which runs go on in the next piece.
    tail: String,
    /// Number of runs before it.
    before: usize,
}

impl DecontaminatorBuilder {
    /// Creates a builder without references.
    ///
    /// # Errors
    ///
    /// Fails if an option is out of its range.
    pub fn new(config: DecontaminationConfig) -> Result<Self, CorpusError> {
        let (n, shortest) = (config.ngram, config.shortest);
        if !(1..=64).contains(&n) || !(1..=n).contains(&shortest) {
            return Err(CorpusError::InvalidOption(format!(
                "decontamination by runs of {n} words and at least {shortest} is impossible; \
                 choose 1 to 64 words, and a least number that is not above it"
            )));
        }
        Ok(Self {
            config,
            lengths: BTreeSet::new(),
            runs: Vec::new(),
            references: Vec::new(),
            named: 0,
            ignored: 0,
            open: None,
        })
    }

    /// Adds a reference, or the next piece of the one before it: a run of words may begin in one
    /// piece and end in the next.
    ///
    /// # Errors
    ///
    /// Fails if the references do not fit in the memory for them.
    pub fn add(&mut self, origin: &Origin, piece: u32, text: &str) -> Result<(), CorpusError> {
        let goes_on = self
            .open
            .as_ref()
            .is_some_and(|open| open.piece.checked_add(1) == Some(piece) && open.origin == *origin);
        if !goes_on {
            self.close()?;
        }
        let (n, before) = (self.config.ngram as usize, self.runs.len());
        let open = self.open.get_or_insert_with(|| OpenReference::new(origin, before));
        open.piece = piece;
        open.hasher.update(text.as_bytes());
        if text.starts_with(char::is_whitespace) {
            open.tail.push(' ');
        }
        let mut normal = std::mem::take(&mut open.tail);
        normal.push_str(&comparable(text));
        // The last word may go on, so that one more is needed than a run has before its end.
        open.tail = last_words(&normal, n).to_owned();
        if text.ends_with(char::is_whitespace) {
            open.tail.push(' ');
        }
        let words = ngrams(&normal, 1, 0, |_| {});
        if words >= n { self.index(&normal, words, n) } else { Ok(()) }
    }

    /// Adds the runs of `length` words of the reference that may go on, out of `words` words.
    fn index(&mut self, normal: &str, words: usize, length: usize) -> Result<(), CorpusError> {
        let name = self.open.as_ref().map_or("", |open| open.name.as_str());
        let named = self.named + REFERENCE_BYTES + name.len() as u64;
        let runs = (self.runs.len() + words + 1 - length) as u64;
        if runs.saturating_mul(RUN_BYTES).saturating_add(named) > self.config.memory
            || self.references.len() >= u32::MAX as usize
        {
            return Err(CorpusError::InvalidOption(format!(
                "the texts to keep out of the data are too long: those up to {name} have {runs} \
                 runs of words, and {} MiB of memory hold {} at most; name fewer or shorter ones",
                self.config.memory >> 20,
                self.config.memory / RUN_BYTES
            )));
        }
        self.lengths.insert(length);
        let (runs, number) = (&mut self.runs, self.references.len() as u32);
        ngrams(normal, length, length as u64, |run| runs.push((run, number)));
        Ok(())
    }

    /// Ends the reference that may go on. One that is shorter than a run is one run.
    fn close(&mut self) -> Result<(), CorpusError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.runs.len() == open.before {
            let whole = std::mem::take(&mut open.tail);
            let words = ngrams(&whole, 1, 0, |_| {});
            if words >= self.config.shortest as usize {
                self.index(&whole, words, words)?;
            }
        }
        let Some(open) = self.open.take() else { return Ok(()) };
        if self.runs.len() == open.before {
            self.ignored += 1;
            return Ok(());
        }
        self.named += REFERENCE_BYTES + open.name.len() as u64;
        let text = *open.hasher.finalize().as_bytes();
        self.references.push(Reference { text, name: open.name });
        Ok(())
    }

    /// Returns the finder of documents that share runs of words with the references.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::add`] does.
    pub fn finish(mut self) -> Result<Decontaminator, CorpusError> {
        self.close()?;
        let Self { config, lengths, mut runs, references, ignored, .. } = self;
        // References are numbered by their hashes, so that their order does not show in anything.
        let mut sorted: Vec<_> = references.into_iter().zip(0u32..).collect();
        sorted.sort_unstable();
        let (mut references, mut numbers) = (Vec::<Reference>::new(), vec![0u32; sorted.len()]);
        for (reference, before) in sorted {
            if references.last().is_none_or(|last| last.text != reference.text) {
                references.push(reference);
            }
            numbers[before as usize] = references.len() as u32 - 1;
        }
        runs.iter_mut().for_each(|(_, reference)| *reference = numbers[*reference as usize]);
        runs.sort_unstable();
        runs.dedup_by_key(|(hash, _)| *hash);

        let bits = (runs.len() * FILTER_BITS).next_power_of_two().max(64);
        let shift = 64 - bits.trailing_zeros();
        let mut filter = vec![0; bits / 64];
        for (hash, _) in &runs {
            let bit = hash >> shift;
            filter[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        let digest = digest(&config, &references);
        Ok(Decontaminator { lengths, runs, filter, shift, references, ignored, digest })
    }
}

impl OpenReference {
    fn new(origin: &Origin, before: usize) -> Self {
        Self {
            origin: origin.clone(),
            piece: 0,
            name: origin.place(),
            hasher: blake3::Hasher::new(),
            tail: String::new(),
            before,
        }
    }
}

impl Decontaminator {
    /// Returns the references that are looked for, in the order of their hashes.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Returns the number of references that are too short to be looked for.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Returns the number of runs of words that are looked for.
    pub fn runs(&self) -> u64 {
        self.runs.len() as u64
    }

    /// Returns the digest of the rule and of the texts that are looked for.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// Returns the overlap of a document, if it shares a run of words with a reference.
    pub fn check(&self, text: &str) -> Option<Contamination> {
        let (mut shared, mut first) = (0, None);
        self.each_run(text, |index| {
            shared += 1;
            first.get_or_insert(self.runs[index].1);
        });
        let reference = self.references.get(first? as usize)?.text;
        Some(Contamination { reference, shared })
    }

    /// Calls `each` with the index of every run of a text that is in a reference.
    pub(super) fn each_run(&self, text: &str, mut each: impl FnMut(usize)) {
        let normal = comparable(text);
        for &length in &self.lengths {
            ngrams(&normal, length, length as u64, |run| {
                if let Some(index) = self.index(run) {
                    each(index);
                }
            });
        }
    }

    /// Returns the index of a run, if it is in a reference.
    fn index(&self, run: u64) -> Option<usize> {
        let bit = run >> self.shift;
        if self.filter[(bit / 64) as usize] >> (bit % 64) & 1 == 0 {
            return None;
        }
        self.runs.binary_search_by_key(&run, |(hash, _)| *hash).ok()
    }
}

/// Returns the digest of the rule and the texts, which are in the order of their hashes. The budget
/// of memory is no part of it.
fn digest(config: &DecontaminationConfig, references: &[Reference]) -> Hash {
    let DecontaminationConfig { ngram, shortest, memory: _ } = config;
    let mut hasher = blake3::Hasher::new_derive_key("pol-corpus 2026 decontamination");
    [RULE_VERSION, *ngram, *shortest].iter().for_each(|number| {
        hasher.update(&number.to_le_bytes());
    });
    references.iter().for_each(|reference| {
        hasher.update(&reference.text);
    });
    *hasher.finalize().as_bytes()
}

/// Returns a text as it is compared: in lower case, with ligatures, wide letters, and composed and
/// decomposed ones alike (Unicode's form NFKC), without characters that show nothing, and without
/// signs of arithmetic, which Markdown puts around words.
fn comparable(text: &str) -> String {
    let is_plain = text.is_ascii()
        || (is_nfkc_quick(text.chars()) == IsNormalized::Yes && !text.contains(INVISIBLE));
    let normal = normalise(&if is_plain {
        Cow::Borrowed(text)
    } else {
        let visible = text.chars().filter(|character| !INVISIBLE.contains(character));
        Cow::Owned(visible.nfkc().collect())
    });
    if normal.contains(is_sign) { normal.replace(is_sign, " ") } else { normal }
}

#[cfg(test)]
mod tests {
    use super::{super::words::mix, *};
    use proptest::prelude::*;

    fn origin(name: &str) -> Origin {
        Origin { location: name.into(), ..Origin::default() }
    }

    fn builder(config: DecontaminationConfig, texts: &[&str]) -> DecontaminatorBuilder {
        let mut builder = DecontaminatorBuilder::new(config).unwrap();
        for (text, number) in texts.iter().zip(0..) {
            builder.add(&origin(&format!("probe {number}")), 0, text).unwrap();
        }
        builder
    }

    fn finder(texts: &[&str]) -> Decontaminator {
        builder(DecontaminationConfig::default(), texts).finish().unwrap()
    }

    fn words(range: std::ops::Range<u32>) -> String {
        range.map(|n| format!("word{n} ")).collect()
    }

    /// Returns the name of the reference that a text shares a run with.
    fn found<'a>(finder: &'a Decontaminator, text: &str) -> Option<&'a str> {
        let text = finder.check(text)?.reference;
        let found = finder.references().iter().find(|reference| reference.text == text);
        Some(found.unwrap().name.as_str())
    }

    #[test]
    fn a_shared_run_of_thirteen_words_is_found_whatever_its_marks() {
        let quiz = "What is the capital of the old kingdom of Bohemia?";
        let finder = finder(&[&words(0..50), quiz, "too short"]);
        assert_eq!((finder.ignored(), finder.runs()), (1, 38 + 1));
        assert_eq!(finder.check(&words(38..90)), None);
        assert_eq!(finder.check(""), None);
        let text = words(37..90).replace(' ', ",\n").to_uppercase();
        let reference = *blake3::hash(words(0..50).as_bytes()).as_bytes();
        assert_eq!(finder.check(&text), Some(Contamination { reference, shared: 1 }));
        let quiz = "Q: what is the capital of the old kingdom of bohemia? A: Prague";
        assert_eq!(found(&finder, quiz), Some("probe 1"));
    }

    #[test]
    fn forms_of_the_same_letters_are_alike() {
        let plain = "The first office of the naïve cafés was found on the fifth floor of it";
        let finder = finder(&[plain]);
        for form in [
            "The ﬁrst oﬃce of the naïve cafés was found on the ﬁfth ﬂoor of it",
            "The first office of the nai\u{308}ve cafe\u{301}s was found on the fifth floor of it",
            "The fir\u{ad}st of\u{200b}fice of the naïve cafés was found on the \
             fifth fl\u{2060}oor",
            "Ｔｈｅ ｆｉｒｓｔ ｏｆｆｉｃｅ of the naïve cafés was found on the fifth floor of it",
        ] {
            assert_eq!(found(&finder, form), Some("probe 0"), "{form}");
        }
        assert_eq!(found(&finder, &plain.replace("office", "orifice")), None);
    }

    #[test]
    fn runs_are_found_across_the_pieces_of_a_reference() {
        let text = words(0..60);
        let (first, last) = text.split_at(text.find("word20").unwrap() + 3);
        let mut builder = builder(DecontaminationConfig::default(), &[]);
        // The last piece alone would be too short.
        let pieces = [first, &last[..210], &last[210..]];
        for (text, piece) in pieces.iter().zip(0..) {
            builder.add(&origin("long"), piece, text).unwrap();
        }
        builder.add(&origin("long"), 0, "another text of the same name").unwrap();
        let finder = builder.finish().unwrap();
        let texts: Vec<_> = finder.references().iter().map(|reference| reference.text).collect();
        assert_eq!(texts, [*blake3::hash(text.as_bytes()).as_bytes()]);
        assert_eq!(finder.ignored(), 1);
        for start in 0..=47 {
            let shared = finder.check(&words(start..start + 13)).map(|found| found.shared);
            assert_eq!(shared, Some(1), "{start}");
        }
        assert_eq!(finder.check(&words(48..60)), None);
    }

    /// Words of ordinary text by their frequency in English, the most frequent ones first.
    const COMMON: &str = "the of and to in a is that it was for on are as with his they at be this \
        from have or by one had not but what all were when we there can an your which their said \
        if do will each about how up out them then she many some so these would other into has \
        more her two like him see time could no make than first been its who now people my made \
        over did down only way find use may water long little very after words called just where \
        most know";

    /// Returns words as they come in ordinary text: half of them are among the ten most frequent.
    fn ordinary(seed: u64, count: u64) -> Vec<&'static str> {
        let common: Vec<_> = COMMON.split_whitespace().collect();
        let draw = |n: u64| {
            let mixed = mix((seed << 32) | n);
            let among = if mixed & 1 == 0 { 10 } else { common.len() as u64 };
            common[(mix(mixed) % among) as usize]
        };
        (0..count).map(draw).collect()
    }

    #[test]
    fn all_made_contamination_is_found_and_no_ordinary_text() {
        let references: Vec<_> = (0..300).map(|seed| ordinary(seed, 400)).collect();
        let texts: Vec<_> = references.iter().map(|words| words.join(" ")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let finder = finder(&texts);
        for seed in 300..600u64 {
            let document = ordinary(seed, 2_000);
            assert_eq!(finder.check(&document.join(" ")), None, "{seed}");
            let (number, at) = ((mix(seed) % 300) as usize, (mix(mix(seed)) % 380) as usize);
            let with = |length: usize, gap: &str| {
                let passage = references[number][at..at + length].join(gap);
                let (before, after) = document.split_at(at);
                [before.join(" "), "Xyz".into(), passage, "Xyz".into(), after.join(" ")].join(gap)
            };
            for document in [with(13, " "), with(13, ",\n— ").to_uppercase(), with(20, "** _<")] {
                let reference = *blake3::hash(texts[number].as_bytes()).as_bytes();
                assert_eq!(finder.check(&document).map(|found| found.reference), Some(reference));
            }
            assert_eq!(finder.check(&with(12, " ")), None, "{seed}");
        }
    }

    #[test]
    fn impossible_options_and_too_many_references_are_refused() {
        for (ngram, shortest) in [(0, 0), (65, 1), (13, 14), (13, 0)] {
            let config = DecontaminationConfig { ngram, shortest, ..Default::default() };
            let error = DecontaminatorBuilder::new(config).err().unwrap().to_string();
            assert!(error.contains("choose 1 to 64"), "{error}");
        }
        // Runs and names of two fit, and those of three do not.
        let each = 87 * RUN_BYTES + REFERENCE_BYTES + 7;
        let config = DecontaminationConfig { memory: 2 * each, ..Default::default() };
        let texts = [words(0..99), words(100..199)];
        let mut builder = builder(config, &[&texts[0], &texts[1]]);
        builder.add(&origin("probe 2"), 0, &words(0..7)).unwrap();
        builder.add(&origin("probe 3"), 0, &words(0..8)).unwrap();
        let error = builder.finish().err().unwrap().to_string();
        assert!(error.contains("up to probe 3") && error.contains("name fewer"), "{error}");
    }

    proptest! {
        #[test]
        fn runs_are_counted(
            reference in prop::collection::vec(0u8..4, 0..60),
            text in prop::collection::vec(0u8..4, 0..60),
        ) {
            let write = |words: &[u8]| words.iter().map(|n| format!("w{n} ")).collect::<String>();
            let config = DecontaminationConfig { ngram: 3, shortest: 3, ..Default::default() };
            let finder = builder(config, &[&write(&reference)]).finish().unwrap();
            let shared =
                text.windows(3).filter(|run| reference.windows(3).any(|r| r == *run)).count();
            let found = finder.check(&write(&text)).map_or(0, |found| found.shared);
            prop_assert_eq!(found, shared as u64);
        }

        #[test]
        fn order_and_copies_of_references_do_not_show(
            texts in prop::collection::vec(prop::collection::vec(0u8..5, 6..20), 1..8),
            order in any::<prop::sample::Index>(),
            document in prop::collection::vec(0u8..5, 0..40),
        ) {
            let write = |words: &[u8]| words.iter().map(|n| format!("w{n} ")).collect::<String>();
            let config = DecontaminationConfig { ngram: 9, shortest: 4, ..Default::default() };
            let texts: Vec<_> = texts.iter().map(|words| write(words)).collect();
            let mut other: Vec<_> = texts.iter().map(String::as_str).collect();
            let expected = builder(config.clone(), &other).finish().unwrap();
            other.rotate_left(order.index(texts.len()));
            other.push(&texts[0]);
            let found = builder(config, &other).finish().unwrap();
            prop_assert_eq!(found.digest(), expected.digest());
            let document = write(&document);
            prop_assert_eq!(found.check(&document), expected.check(&document));
        }

        #[test]
        fn runs_of_pieces_are_those_of_the_whole(
            words in prop::collection::vec("[a-c]{1,2}[ ,\n]{0,2}", 0..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let text = words.concat();
            let config = DecontaminationConfig { ngram: 5, shortest: 2, ..Default::default() };
            let whole = builder(config.clone(), &[&text]).finish().unwrap();
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            ends.sort_unstable();
            let (mut pieces, mut start) = (builder(config, &[]), 0);
            for (end, piece) in ends.into_iter().chain([text.len()]).zip(0..) {
                pieces.add(&origin("long"), piece, &text[start..end]).unwrap();
                start = end;
            }
            let pieces = pieces.finish().unwrap();
            prop_assert_eq!(pieces.digest(), whole.digest());
            // Words that were cut may give more runs.
            let runs: BTreeSet<_> = pieces.runs.iter().collect();
            prop_assert!(whole.runs.iter().all(|run| runs.contains(run)));
        }
    }
}
