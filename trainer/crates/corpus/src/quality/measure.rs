// SPDX-License-Identifier: Apache-2.0

//! Measure of how well scores tell good text from poor.

use pol_primitives::{MILLION, Ppm};
use serde::Serialize;
use std::collections::BTreeMap;

/// Thresholds that a report tells the effect of.
const THRESHOLDS: [Ppm; 3] = [100_000, 250_000, 500_000];

/// Returns the area under the receiver operating characteristic, in millionths: the probability
/// that a good text scores higher than a poor one, where a tie counts half (Mann and Whitney).
///
/// Returns `None` if one of the two has no scores.
pub fn auroc(good: &[Ppm], poor: &[Ppm]) -> Option<Ppm> {
    let mut poor = poor.to_vec();
    poor.sort_unstable();
    let pairs = good.len() as u128 * poor.len() as u128;
    let halves = good.iter().fold(0u128, |halves, score| {
        let below = poor.partition_point(|other| other < score);
        let not_above = poor.partition_point(|other| other <= score);
        halves + (below + not_above) as u128
    });
    let area = (halves * u128::from(MILLION)).checked_div(2 * pairs)?;
    Some(area as Ppm)
}

/// Scores of labelled texts, by their kinds.
#[derive(Clone, Debug, Default)]
pub struct Measurement {
    scores: BTreeMap<(bool, String), Vec<Ppm>>,
}

/// Success of a model in telling good texts from poor, in millionths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QualityReport {
    /// Number of good texts.
    pub good: u64,
    /// Number of poor texts.
    pub poor: u64,
    /// Area under the curve, unless one of both has no texts.
    pub auroc: Option<Ppm>,
    /// Effects of thresholds.
    pub thresholds: Vec<ThresholdReport>,
    /// Kinds of text, the poor ones first.
    pub kinds: Vec<KindReport>,
}

/// Effect of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ThresholdReport {
    /// Least score that is kept.
    pub threshold: Ppm,
    /// Share of the good texts that is kept.
    pub good: Ppm,
    /// Share of the poor texts that is kept.
    pub poor: Ppm,
}

/// Scores of a kind of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindReport {
    /// Name.
    pub kind: String,
    /// `true` for texts to learn from.
    pub good: bool,
    /// Number of texts.
    pub texts: u64,
    /// Area under the curve between this kind and all texts of the other label.
    pub auroc: Option<Ppm>,
    /// Median of the scores.
    pub median: Ppm,
}

impl Measurement {
    /// Adds the score of a text.
    pub fn add(&mut self, good: bool, kind: &str, score: Ppm) {
        self.scores.entry((good, kind.to_owned())).or_default().push(score);
    }

    /// Returns the success of the model.
    pub fn report(mut self) -> QualityReport {
        let all = |label: bool| -> Vec<Ppm> {
            let of_label = self.scores.iter().filter(|((good, _), _)| *good == label);
            of_label.flat_map(|(_, scores)| scores).copied().collect()
        };
        let (good, poor) = (all(true), all(false));
        let kept = |scores: &[Ppm], threshold: Ppm| {
            let kept = scores.iter().filter(|score| **score >= threshold).count() as u128;
            (kept * u128::from(MILLION)).checked_div(scores.len() as u128).unwrap_or(0) as Ppm
        };
        let thresholds = THRESHOLDS.map(|threshold| ThresholdReport {
            threshold,
            good: kept(&good, threshold),
            poor: kept(&poor, threshold),
        });
        let kind = |((is_good, kind), scores): (&(bool, String), &mut Vec<Ppm>)| {
            scores.sort_unstable();
            KindReport {
                kind: kind.clone(),
                good: *is_good,
                texts: scores.len() as u64,
                auroc: if *is_good { auroc(scores, &poor) } else { auroc(&good, scores) },
                median: scores.get(scores.len() / 2).copied().unwrap_or(0),
            }
        };
        QualityReport {
            auroc: auroc(&good, &poor),
            thresholds: thresholds.into(),
            kinds: self.scores.iter_mut().map(kind).collect(),
            good: good.len() as u64,
            poor: poor.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_count_half() {
        assert_eq!(auroc(&[3, 4], &[1, 2]), Some(MILLION));
        assert_eq!(auroc(&[1, 2], &[3, 4]), Some(0));
        assert_eq!(auroc(&[1, 1], &[1, 1, 1]), Some(500_000));
        assert_eq!(auroc(&[2], &[1, 2]), Some(750_000));
        assert_eq!((auroc(&[], &[1]), auroc(&[1], &[])), (None, None));
    }

    #[test]
    fn a_report_tells_kinds_and_thresholds() {
        let mut measurement = Measurement::default();
        for (good, kind, score) in [
            (true, "books", 900_000),
            (true, "code", 300_000),
            (false, "menus", 50_000),
            (false, "mail", 600_000),
        ] {
            measurement.add(good, kind, score);
        }
        let report = measurement.report();
        assert_eq!((report.good, report.poor, report.auroc), (2, 2, Some(750_000)));
        let kinds: Vec<_> =
            report.kinds.iter().map(|kind| (&*kind.kind, kind.auroc, kind.median)).collect();
        assert_eq!(
            kinds,
            [
                ("mail", Some(500_000), 600_000),
                ("menus", Some(MILLION), 50_000),
                ("books", Some(MILLION), 900_000),
                ("code", Some(500_000), 300_000),
            ]
        );
        let kept = report.thresholds.iter().map(|kept| (kept.good, kept.poor));
        assert!(kept.eq([(MILLION, 500_000), (MILLION, 500_000), (500_000, 500_000)]));
        let empty = Measurement::default().report();
        assert_eq!((empty.auroc, empty.good, empty.thresholds[0].good), (None, 0, 0));
    }

    proptest! {
        #[test]
        fn sides_add_up(
            good in proptest::collection::vec(0..5u32, 1..20),
            poor in proptest::collection::vec(0..5u32, 1..20),
        ) {
            let sum = auroc(&good, &poor).unwrap() + auroc(&poor, &good).unwrap();
            prop_assert!((MILLION - 1..=MILLION).contains(&sum));
        }
    }
}
