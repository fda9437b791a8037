// SPDX-License-Identifier: Apache-2.0

//! Passages that texts share with others, of which only some may be known at a time.

use super::Decontaminator;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs of words of references, with a mark for each that other texts have too. Many threads can
/// share it.
pub struct SharedRuns {
    finder: Decontaminator,
    /// A bit for each run.
    marks: Vec<AtomicU64>,
}

impl SharedRuns {
    /// Creates runs without a mark.
    pub fn new(finder: Decontaminator) -> Self {
        let marks = (0..finder.runs().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { finder, marks }
    }

    /// Marks the runs that a text has.
    pub fn mark(&self, text: &str) {
        self.finder.each_run(text, |index| {
            if let Some(marks) = self.marks.get(index / 64) {
                marks.fetch_or(1 << (index % 64), Ordering::Relaxed);
            }
        });
    }

    /// Returns the number of marked runs that a text has.
    pub fn count(&self, text: &str) -> u64 {
        let mut count = 0;
        self.finder.each_run(text, |index| {
            let marks = self.marks.get(index / 64).map_or(0, |it| it.load(Ordering::Relaxed));
            count += marks >> (index % 64) & 1;
        });
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Origin,
        dedup::{DecontaminationConfig, DecontaminatorBuilder},
    };

    fn words(range: std::ops::Range<u32>) -> String {
        range.map(|n| format!("word{n} ")).collect()
    }

    #[test]
    fn runs_are_counted_once_another_text_has_them() {
        let mut texts = DecontaminatorBuilder::new(DecontaminationConfig::default()).unwrap();
        let references = [words(0..200), words(300..309), words(100..160)];
        for (text, number) in references.iter().zip(0..) {
            let origin = Origin { location: format!("{number}"), ..Origin::default() };
            texts.add(&origin, 0, text).unwrap();
        }
        let shared = SharedRuns::new(texts.finish().unwrap());
        assert!(references.iter().all(|text| shared.count(text) == 0));
        // Fifteen words have three runs of thirteen, and both references have them.
        shared.mark(&format!("Before it, {} and behind it.", words(120..135)));
        assert_eq!([0, 1, 2].map(|at| shared.count(&references[at])), [3, 0, 3]);
        shared.mark(&words(120..136).to_uppercase());
        shared.mark(&words(301..309));
        assert_eq!([0, 1, 2].map(|at| shared.count(&references[at])), [4, 0, 4]);
        shared.mark(&words(299..310));
        assert_eq!(shared.count(&references[1]), 1, "a short text is looked for as a whole");
    }
}
