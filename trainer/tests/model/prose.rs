// SPDX-License-Identifier: Apache-2.0

//! Made texts that the rules for the web keep.

use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const NOUNS: [&str; 32] = [
    "river", "valley", "museum", "bridge", "farmer", "teacher", "market", "garden", "window",
    "letter", "village", "forest", "captain", "doctor", "winter", "summer", "morning", "evening",
    "story", "question", "answer", "country", "family", "brother", "sister", "mountain", "island",
    "harbour", "railway", "engine", "kitchen", "school",
];
const VERBS: [&str; 16] = [
    "carried",
    "found",
    "built",
    "opened",
    "followed",
    "painted",
    "visited",
    "watched",
    "remembered",
    "described",
    "crossed",
    "left",
    "reached",
    "repaired",
    "sold",
    "showed",
];
const ADJECTIVES: [&str; 16] = [
    "old", "quiet", "wooden", "narrow", "bright", "famous", "empty", "distant", "careful",
    "modern", "green", "heavy", "early", "broken", "friendly", "small",
];
const SYLLABLES: [&str; 16] = [
    "ar", "bel", "cor", "den", "el", "fal", "gor", "hin", "is", "jor", "kel", "lun", "mar", "nor",
    "os", "pel",
];

/// Generator of numbers (Steele, Lea and Flood 2014, SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len() as u64) as usize]
    }

    /// Returns a name of some thousands.
    fn name(&mut self) -> String {
        let name: String = (0..3).map(|_| self.pick(&SYLLABLES)).collect();
        name[..1].to_uppercase() + &name[1..]
    }

    fn sentence(&mut self) -> String {
        let nouns: [_; 3] = std::array::from_fn(|_| self.pick(&NOUNS));
        let verbs: [_; 2] = std::array::from_fn(|_| self.pick(&VERBS));
        let adjectives: [_; 2] = std::array::from_fn(|_| self.pick(&ADJECTIVES));
        let ([a, b, c], [did, does], [one, other]) = (nouns, verbs, adjectives);
        let (name, year) = (self.name(), 1_000 + self.below(1_000));
        match self.below(4) {
            0 => format!("In {year} the {one} {a} of {name} {did} a {b} near the {other} {c}."),
            1 => {
                format!("People of {name} had {did} the {one} {a}, which {does} the {b} of {year}.")
            }
            2 => format!("{name} {did} the {a} with {year} others before a {one} {b} {does} it."),
            _ => format!("Between the {a} and the {b} was a {one} {c} that {name} {did} again."),
        }
    }
}

/// Returns a text of some sentences, five to a paragraph, which no other number gives.
pub(crate) fn prose(number: u64, sentences: u64) -> String {
    let mut random = Random(number << 32);
    let end = |sentence| if sentence % 5 == 4 { "\n\n" } else { " " };
    (0..sentences).map(|sentence| random.sentence() + end(sentence)).collect()
}

/// Returns rows of a table of texts, among them copies, near copies, texts with passages of others,
/// with addresses of people, and short ones, and lines that are no rows.
pub(crate) fn rows(count: u64) -> String {
    let mut lines = String::new();
    for number in 0..count {
        let earlier = number / 2;
        let text = match number % 12 {
            3 => prose(earlier, 20),
            5 => prose(earlier, 20).replacen("the", "this", 2),
            7 => prose(earlier, 20)[..900].to_owned() + "\n\n" + &prose(number, 40),
            9 => {
                prose(number, 20)
                    + "Write to jane@museum-of-the-valley.org or call +41 44 668 18 00."
            }
            11 if number % 5 == 0 => "Too short.".to_owned(),
            _ => prose(number, 20),
        };
        lines += &format!("{}\n", json!({ "text": text }));
        if number % 500 == 100 {
            lines += "no row\n";
        }
    }
    lines
}

/// Returns the files below a folder with their contents.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn add(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                add(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    add(folder, folder, &mut files);
    files
}

/// Fails with the names of the files that differ.
#[track_caller]
pub(crate) fn assert_same(
    found: &BTreeMap<PathBuf, Vec<u8>>,
    expected: &BTreeMap<PathBuf, Vec<u8>>,
) {
    let names = found.keys().chain(expected.keys());
    let other: Vec<_> = names.filter(|name| found.get(*name) != expected.get(*name)).collect();
    assert!(other.is_empty() && !expected.is_empty(), "these files differ: {other:?}");
}
