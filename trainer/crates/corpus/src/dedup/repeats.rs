// SPDX-License-Identifier: Apache-2.0

//! Passages that occur more than once, within a document or across documents.

use super::{
    sort::ExternalSort,
    table::{Steps, Table, TableWriter, id_of},
    units::{Unit, units},
};
use crate::error::CorpusError;
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};

/// Version of the rules by which texts are cut into units and hashed.
const VERSION: u64 = 1;
/// Output of the search.
const REPEATS: &str = "repeats";
/// Bytes of a span: number of the document, start, end.
const SPAN: usize = 16;

/// Options of the search for repeated passages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepeatConfig {
    /// Fewest bytes of a passage, white space aside.
    pub bytes: u32,
    /// Memory to sort in, in bytes. The result does not depend on it.
    pub memory: u64,
}

impl Default for RepeatConfig {
    fn default() -> Self {
        Self { bytes: 400, memory: 256 << 20 }
    }
}

/// Search for passages of whole lines and sentences that occur more than once.
///
/// Of each passage the first occurrence stays, by the numbers of the documents. Every line and
/// sentence of the input therefore occurs in what remains. Passages are compared by 128 bits of
/// BLAKE3, so nobody can make one that is taken for another. The search takes about half the size
/// of the texts on disk, and its folder is its own.
pub struct RepeatFinder {
    config: RepeatConfig,
    steps: Steps,
    runs: ExternalSort<32>,
}

/// Repeated passages of the documents of a search, read from its folder.
pub struct Repeats(Table);

impl RepeatFinder {
    /// Opens a search in a folder, which is created if it is missing. `inputs` is a digest of the
    /// documents that are going to be added: results of other inputs in the folder are removed.
    ///
    /// # Errors
    ///
    /// Fails if an option is out of its range, or the folder cannot be written.
    pub fn open(folder: &Path, config: RepeatConfig, inputs: &Hash) -> Result<Self, CorpusError> {
        if config.bytes == 0 {
            return Err(CorpusError::InvalidOption(
                "repeated passages of 0 bytes are everywhere; choose 1 or more".into(),
            ));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&VERSION.to_be_bytes()).update(&config.bytes.to_be_bytes()).update(inputs);
        let steps = Steps::open(folder, &hasher.finalize())?;
        steps.clear(REPEATS, true)?;
        let memory = usize::try_from(config.memory / 2).unwrap_or(usize::MAX);
        Ok(Self { config, steps, runs: ExternalSort::new(folder, memory) })
    }

    /// Returns `true` if the passages were found before. Documents need not be added again.
    pub fn is_finished(&self) -> bool {
        self.steps.path(REPEATS).exists()
    }

    /// Adds a document, in any order.
    ///
    /// # Errors
    ///
    /// Fails if the text has 4 GiB or more, or the disk fails.
    pub fn add(&mut self, id: u64, text: &str) -> Result<(), CorpusError> {
        if u32::try_from(text.len()).is_err() {
            return Err(CorpusError::InvalidOption(format!(
                "document {id} has 4 GiB or more; hand it on in pieces"
            )));
        }
        let units = units(text);
        let mut record = [0; 32];
        record[16..24].copy_from_slice(&id.to_be_bytes());
        runs(&units, self.config.bytes as usize, |run| {
            let mut hasher = blake3::Hasher::new();
            for unit in &units[run.clone()] {
                hasher.update(&unit.hash);
            }
            let start = run.start.checked_sub(1).map_or(0, |before| units[before].end);
            record[..16].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
            record[24..28].copy_from_slice(&(start as u32).to_be_bytes());
            record[28..].copy_from_slice(&(units[run.end - 1].end as u32).to_be_bytes());
            self.runs.push(record)
        })
    }

    /// Finds the passages.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn finish(self) -> Result<Repeats, CorpusError> {
        let Self { config, steps, runs } = self;
        let path = steps.run(REPEATS, |writer| {
            let memory = usize::try_from(config.memory / 2).unwrap_or(usize::MAX);
            let mut spans = ExternalSort::<SPAN>::new(steps.folder(), memory);
            let mut last = None;
            for run in runs.finish()? {
                let (hash, span) = split(run?);
                if last.replace(hash) == Some(hash) {
                    spans.push(span)?;
                }
            }
            write_merged(spans, writer)
        })?;
        Ok(Repeats(Table::open(&path, [0, 0], SPAN, 1 << 10)?))
    }
}

impl Repeats {
    /// Returns the spans of a document to remove, in order. It is fastest if documents are asked
    /// for in order.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn spans(&mut self, id: u64) -> Result<Vec<Range<usize>>, CorpusError> {
        let mut spans = Vec::new();
        for index in self.0.lower_bound(id)?..self.0.len() {
            let record = self.0.record(index)?;
            if id_of(record) != id {
                break;
            }
            let ends = id_of(&record[8..]);
            spans.push((ends >> 32) as usize..ends as u32 as usize);
        }
        Ok(spans)
    }
}

/// Returns a text without the spans, which are in order.
pub fn cut(text: &str, spans: &[Range<usize>]) -> String {
    let (mut rest, mut start) = (String::with_capacity(text.len()), 0);
    for span in spans {
        rest.push_str(text.get(start..span.start).unwrap_or_default());
        start = span.end;
    }
    rest.push_str(text.get(start..).unwrap_or_default());
    rest
}

/// Calls `each` with the shortest runs of units that have `bytes` bytes: from each unit onwards,
/// and from each unit backwards. Together they cover any longer run.
fn runs(
    units: &[Unit],
    bytes: usize,
    mut each: impl FnMut(Range<usize>) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    let (mut start, mut size) = (0, 0);
    for (end, unit) in (1..).zip(units) {
        size += unit.solid;
        let first = start;
        while start < end && size >= bytes {
            each(start..end)?;
            size -= units[start].solid;
            start += 1;
        }
        // The last run above is also the shortest one backwards. Without it, that begins earlier.
        if start == first && start > 0 {
            each(start - 1..end)?;
        }
    }
    Ok(())
}

/// Returns the hash of a run, and its span.
fn split(run: [u8; 32]) -> ([u8; 16], [u8; SPAN]) {
    let (mut hash, mut span) = ([0; 16], [0; SPAN]);
    hash.copy_from_slice(&run[..16]);
    span.copy_from_slice(&run[16..]);
    (hash, span)
}

/// Writes spans in order, those that touch as one.
fn write_merged(spans: ExternalSort<SPAN>, writer: &mut TableWriter) -> Result<(), CorpusError> {
    let mut open: Option<[u8; SPAN]> = None;
    for span in spans.finish()? {
        let span = span?;
        match &mut open {
            Some(open) if open[..8] == span[..8] && span[8..12] <= open[12..] => {
                if span[12..] > open[12..] {
                    open[12..].copy_from_slice(&span[12..]);
                }
            }
            _ => {
                if let Some(open) = open.replace(span) {
                    writer.write(&open)?;
                }
            }
        }
    }
    open.map_or(Ok(()), |open| writer.write(&open))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, fs};

    fn config(bytes: u32, memory: u64) -> RepeatConfig {
        RepeatConfig { bytes, memory }
    }

    fn find(texts: &[String], config: RepeatConfig) -> Vec<Vec<Range<usize>>> {
        let folder = tempfile::tempdir().unwrap();
        let mut finder = RepeatFinder::open(folder.path(), config, &[0; 32]).unwrap();
        for (text, id) in texts.iter().zip(0..) {
            finder.add(id * 3, text).unwrap();
        }
        let mut repeats = finder.finish().unwrap();
        (0..texts.len() as u64).map(|id| repeats.spans(id * 3).unwrap()).collect()
    }

    fn line(number: usize) -> String {
        format!("This is the line with number {number}\n")
    }

    /// The same by comparing all runs of units with all earlier ones.
    fn reference(texts: &[Vec<usize>], bytes: usize) -> Vec<BTreeSet<usize>> {
        let size = |run: &[usize]| -> usize {
            run.iter().map(|n| line(*n).chars().filter(|c| !c.is_whitespace()).count()).sum()
        };
        let mut removed = vec![BTreeSet::new(); texts.len()];
        for (d, text) in texts.iter().enumerate() {
            for start in 0..text.len() {
                for end in start + 1..=text.len() {
                    let run = &text[start..end];
                    let earlier = texts[..=d].iter().enumerate().any(|(e, other)| {
                        other
                            .windows(run.len())
                            .enumerate()
                            .any(|(at, window)| (e < d || at < start) && window == run)
                    });
                    if earlier && size(run) >= bytes {
                        removed[d].extend(start..end);
                    }
                }
            }
        }
        removed
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn all_but_the_first_of_each_passage_is_found(
            texts in prop::collection::vec(prop::collection::vec(8usize..13, 0..14), 1..5),
            bytes in 1usize..120,
            memory in 0u64..4000,
        ) {
            let written: Vec<String> =
                texts.iter().map(|text| text.iter().map(|n| line(*n)).collect()).collect();
            let spans = find(&written, config(bytes as u32, memory));
            let removed = reference(&texts, bytes);
            let mut left = BTreeSet::new();
            for ((text, spans), (numbers, removed)) in
                written.iter().zip(&spans).zip(texts.iter().zip(removed))
            {
                let kept = (0..numbers.len()).filter(|n| !removed.contains(n));
                let kept: Vec<usize> = kept.map(|n| numbers[n]).collect();
                let expected: String = kept.iter().map(|n| line(*n)).collect();
                prop_assert_eq!(cut(text, spans), expected);
                left.extend(kept);
            }
            // Nothing is lost.
            prop_assert_eq!(left, texts.into_iter().flatten().collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn passages_are_found_between_other_text() {
        let passage: String =
            (0..12).map(|n| format!("Sentence {n} of a passage that many pages have. ")).collect();
        let texts = [
            format!("One page begins like this. {passage}And it ends so, in its own words."),
            format!("Another page.\n\n{passage}\n\nIts end is its own as well."),
            format!("A short quote of it is fine. {}", &passage[..98]),
        ];
        let spans = find(&texts, RepeatConfig::default());
        assert!(spans[0].is_empty() && spans[2].is_empty());
        assert_eq!(cut(&texts[1], &spans[1]), "Another page.\n\n\n\nIts end is its own as well.");
        assert_eq!(spans, find(&texts, config(400, 100)));
    }

    #[test]
    fn finished_searches_are_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let open = |bytes, inputs| {
            RepeatFinder::open(folder.path(), config(bytes, 1 << 20), &[inputs; 32]).unwrap()
        };
        let passage: String = (0..40).map(line).collect();
        let fill = |mut finder: RepeatFinder| {
            assert!(!finder.is_finished());
            finder.add(7, &passage).unwrap();
            finder.add(9, &passage).unwrap();
            finder
        };
        drop(fill(open(400, 1)));
        fs::write(open(400, 1).steps.path("repeats").with_extension("partial"), "torn").unwrap();
        let spans = fill(open(400, 1)).finish().unwrap().spans(9).unwrap();
        assert_eq!(spans, vec![0..passage.len()]);
        let finder = open(400, 1);
        assert!(finder.is_finished());
        assert_eq!(finder.finish().unwrap().spans(9).unwrap(), spans);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!open(400, 2).is_finished());
        assert!(!open(401, 1).is_finished());
        let error = RepeatFinder::open(folder.path(), config(0, 1), &[0; 32]).err().unwrap();
        assert!(error.to_string().contains("choose 1"), "{error}");
    }

    #[test]
    fn spans_outside_a_text_cut_nothing_else() {
        assert_eq!(cut("äbc", &[1..2, 90..99]), "");
        assert_eq!(cut("abc", &[]), "abc");
        assert_eq!(cut("abcdef", &[0..1, 3..4]), "bcef");
    }
}
