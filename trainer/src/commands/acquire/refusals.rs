// SPDX-License-Identifier: Apache-2.0

//! Refusals of a run, by their reasons.

use pol_corpus::Refusal;
use serde::Serialize;
use std::collections::BTreeMap;

/// Most reasons that are told apart.
const MAX_REASONS: usize = 1_000;
/// Most reasons that are listed.
const MAX_LISTED: usize = 5;

/// Reason with the number of things that were refused for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RefusalCount {
    reason: String,
    count: u64,
    /// Place of the first of them.
    example: String,
}

/// Refusals of a run, by their reasons.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<String, (u64, String)>);

impl Refusals {
    pub(super) fn note(&mut self, refusal: &Refusal) {
        if self.0.len() >= MAX_REASONS && !self.0.contains_key(&refusal.reason) {
            return;
        }
        let example = || (0, refusal.origin.location.clone());
        self.0.entry(refusal.reason.clone()).or_insert_with(example).0 += 1;
    }

    /// Returns the most frequent reasons.
    pub(super) fn listed(&self) -> Vec<RefusalCount> {
        let count = |(reason, (count, example)): (&String, &(u64, String))| RefusalCount {
            reason: reason.clone(),
            count: *count,
            example: example.clone(),
        };
        let mut listed: Vec<_> = self.0.iter().map(count).collect();
        listed.sort_by_key(|refusal| std::cmp::Reverse(refusal.count));
        listed.truncate(MAX_LISTED);
        listed
    }
}

/// Describes refusals for people.
pub(super) fn describe(refusals: &[RefusalCount]) -> String {
    let described = refusals.iter().map(|RefusalCount { reason, count, example }| {
        format!("{count} refused, such as {example}: {reason}")
    });
    described.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_corpus::Origin;

    #[test]
    fn the_most_frequent_reasons_are_listed() {
        let mut refusals = Refusals::default();
        for number in 0..3_000 {
            let location = format!("https://example.org/{number}");
            let reason = if number % 2 == 0 { "status 404".into() } else { number.to_string() };
            refusals.note(&Refusal { origin: Origin { location, ..Origin::default() }, reason });
        }
        let listed = refusals.listed();
        assert_eq!((listed.len(), refusals.0.len()), (MAX_LISTED, MAX_REASONS));
        assert_eq!(
            describe(&listed[..1]),
            "1500 refused, such as https://example.org/0: status 404"
        );
    }
}
