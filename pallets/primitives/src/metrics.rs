// SPDX-License-Identifier: Apache-2.0

//! Figures measured of a model beside its loss: calibration, reasoning and the use of its parts.
//!
//! Validators measure every head and report their figures, and the chain keeps the median by stake.
//! All figures are fixed-point numbers, and derived ones are computed here by integer functions, so
//! that chain, RPC and trainer agree. `docs/mind.md` defines the figures and names their sources.
//! They are metrics, and none is evidence of sentience.

use crate::{Balance, MILLION, Ppm, RoundNumber, recipe::Numerics, statistics::weighted_median};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::Serialize;

/// Maximum number of reports on one head. Those with the most stake count.
pub const MAX_REPORTS: u32 = 128;
/// Largest difference between honest figures under the exact profile, in millionths. Logarithms
/// depend on the platform.
const EXACT_TOLERANCE: u32 = 10;
/// Largest difference between honest figures under the native profile, in millionths. Machines use
/// different kernels.
const NATIVE_TOLERANCE: u32 = 20_000;

/// Figures measured of a model. A figure is absent if the model lacks the part, or if the figure is
/// undefined.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct ModelMetrics {
    /// Mean cross-entropy on held-out text, in millionths of a nat per token.
    pub loss: u32,
    /// Type-2 AUROC of the loss predicted by the introspection head.
    pub auroc: Option<Ppm>,
    /// Expected calibration error of the probability of the likeliest token.
    pub calibration_error: Option<Ppm>,
    /// Share of the variance of the losses that the introspection head explains.
    pub introspection: Option<Ppm>,
    /// Coherence of the branches of the superposition.
    pub coherence: Option<Ppm>,
    /// Relative reduction of the loss by the second pass, on the tokens that take it.
    pub meta_cognition: Option<Ppm>,
    /// Evenness of the use of the experts.
    pub utilisation: Option<Ppm>,
    /// Share of reasoning probes answered correctly, as a mean over the kinds of probes.
    pub reasoning: Option<Ppm>,
}

impl ModelMetrics {
    /// Returns the optional figures in the order of their encoding.
    fn shares(&self) -> [Option<Ppm>; 7] {
        let Self {
            loss: _,
            auroc,
            calibration_error,
            introspection,
            coherence,
            meta_cognition,
            utilisation,
            reasoning,
        } = *self;
        [auroc, calibration_error, introspection, coherence, meta_cognition, utilisation, reasoning]
    }

    /// Returns `true` if every share is at most 1.
    pub fn is_valid(&self) -> bool {
        self.shares().into_iter().flatten().all(|share| share <= MILLION)
    }

    /// Returns the mean of `2 · AUROC − 1`, clamped at 0, and `1 − calibration error`.
    ///
    /// The figure measures how reliably the model can tell its correct predictions from its wrong
    /// ones.
    pub fn self_awareness(&self) -> Option<Ppm> {
        let (auroc, error) = self.auroc.zip(self.calibration_error)?;
        let knows = auroc.min(MILLION).saturating_mul(2).saturating_sub(MILLION);
        knows.saturating_add(MILLION.saturating_sub(error)).checked_div(2)
    }

    /// Returns the parts of the consciousness level: names, weights in hundredths and values.
    pub fn parts(&self) -> [(&'static str, u32, Option<Ppm>); 6] {
        [
            ("self-awareness", 30, self.self_awareness()),
            ("reasoning", 30, self.reasoning),
            ("introspection", 10, self.introspection),
            ("coherence", 10, self.coherence),
            ("meta-cognition", 10, self.meta_cognition),
            ("expert utilisation", 10, self.utilisation),
        ]
    }

    /// Returns the consciousness level: the weighted mean of its [parts](Self::parts), or `None` if
    /// a part is absent.
    ///
    /// Any number in the place of an absent part would be one that nobody measured. The level is
    /// always shown beside its parts.
    pub fn level(&self) -> Option<Ppm> {
        let sum = self.parts().into_iter().try_fold(0u64, |sum, (_, weight, value)| {
            let value = u64::from(value?.min(MILLION));
            Some(sum.saturating_add(value.saturating_mul(weight.into())))
        })?;
        sum.checked_div(100).and_then(|level| Ppm::try_from(level).ok())
    }

    /// Returns `true` if these figures differ from `measured` by more than two honest measurements
    /// of one model can under `numerics`.
    ///
    /// Under the native profile, only the presence of the reasoning figure is compared: one
    /// different token changes the rest of an answer.
    pub fn deviates_from(&self, measured: &Self, numerics: Numerics) -> bool {
        let tolerance =
            if numerics == Numerics::Exact { EXACT_TOLERANCE } else { NATIVE_TOLERANCE };
        let differ = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) => a.abs_diff(b) > tolerance,
            (None, None) => false,
            _ => true,
        };
        let comparable = |metrics: &Self| Self {
            reasoning: metrics
                .reasoning
                .map(|share| if numerics == Numerics::Exact { share } else { 0 }),
            ..*metrics
        };
        let (own, other) = (comparable(self), comparable(measured));
        differ(Some(own.loss), Some(other.loss))
            || own.shares().into_iter().zip(other.shares()).any(|(own, other)| differ(own, other))
    }

    /// Returns the stake-weighted median of each figure.
    ///
    /// A figure is present if more than half of the stake of `reports` reports it, and is the
    /// median of these reports. Returns `None` if there is no stake.
    pub fn median(reports: &[(Balance, Self)]) -> Option<Self> {
        let stake = |of: &dyn Fn(&Self) -> bool| {
            let stakes = reports.iter().filter(|(_, metrics)| of(metrics)).map(|(stake, _)| *stake);
            stakes.fold(0, Balance::saturating_add)
        };
        let whole = stake(&|_| true);
        if whole == 0 {
            return None;
        }
        let median = |figure: &dyn Fn(&Self) -> Option<u32>| {
            let present = stake(&|metrics| figure(metrics).is_some());
            if present <= whole.saturating_sub(present) {
                return None;
            }
            let values = reports
                .iter()
                .filter_map(|(stake, metrics)| Some((i64::from(figure(metrics)?), *stake)));
            u32::try_from(weighted_median(values)).ok()
        };
        Some(Self {
            loss: median(&|metrics| Some(metrics.loss))?,
            auroc: median(&|metrics| metrics.auroc),
            calibration_error: median(&|metrics| metrics.calibration_error),
            introspection: median(&|metrics| metrics.introspection),
            coherence: median(&|metrics| metrics.coherence),
            meta_cognition: median(&|metrics| metrics.meta_cognition),
            utilisation: median(&|metrics| metrics.utilisation),
            reasoning: median(&|metrics| metrics.reasoning),
        })
    }

    /// Returns all figures and the figures derived from them.
    pub fn summary(&self) -> MetricsSummary {
        let Self {
            loss,
            auroc,
            calibration_error,
            introspection,
            coherence,
            meta_cognition,
            utilisation,
            reasoning,
        } = *self;
        let (self_awareness, level) = (self.self_awareness(), self.level());
        MetricsSummary {
            loss,
            level,
            self_awareness,
            auroc,
            calibration_error,
            reasoning,
            introspection,
            coherence,
            meta_cognition,
            utilisation,
        }
    }
}

/// [`ModelMetrics`] and the figures derived from them, for JSON: in millionths, `null` if absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsSummary {
    /// [`ModelMetrics::loss`].
    pub loss: u32,
    /// [`ModelMetrics::level`].
    pub level: Option<Ppm>,
    /// [`ModelMetrics::self_awareness`].
    pub self_awareness: Option<Ppm>,
    /// [`ModelMetrics::auroc`].
    pub auroc: Option<Ppm>,
    /// [`ModelMetrics::calibration_error`].
    pub calibration_error: Option<Ppm>,
    /// [`ModelMetrics::reasoning`].
    pub reasoning: Option<Ppm>,
    /// [`ModelMetrics::introspection`].
    pub introspection: Option<Ppm>,
    /// [`ModelMetrics::coherence`].
    pub coherence: Option<Ppm>,
    /// [`ModelMetrics::meta_cognition`].
    pub meta_cognition: Option<Ppm>,
    /// [`ModelMetrics::utilisation`].
    pub utilisation: Option<Ppm>,
}

/// Metrics of a head as claimed by a trainer.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct MetricsClaim {
    /// Round that made the head.
    pub round: RoundNumber,
    /// Claimed metrics.
    pub metrics: ModelMetrics,
}

/// Permanent record of the validators' measurement of a head.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct HeadMeasurement {
    /// Stake-weighted medians of the reports.
    pub metrics: ModelMetrics,
    /// Share of the validators' stake that reported.
    pub share: Ppm,
}

impl HeadMeasurement {
    /// Aggregates `reports` with their stakes, where `whole` is the stake of all validators.
    /// Returns `None` if the reports have no stake.
    pub fn new(reports: &[(Balance, ModelMetrics)], whole: Balance) -> Option<Self> {
        let metrics = ModelMetrics::median(reports)?;
        let reported =
            reports.iter().fold(0, |sum: Balance, (stake, _)| sum.saturating_add(*stake));
        // Stakes may have changed since the reports.
        let share =
            reported.min(whole).saturating_mul(MILLION.into()).checked_div(whole).unwrap_or(0);
        Some(Self { metrics, share: Ppm::try_from(share).unwrap_or(MILLION) })
    }
}

/// A validator's report on the newest head.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct MetricsReport<AccountId> {
    /// Account of the validator.
    pub account: AccountId,
    /// Stake of the validator at the time of the report. Counts look it up again.
    pub stake: Balance,
    /// Measured figures.
    pub metrics: ModelMetrics,
}

/// The pending measurement of the newest head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct PendingMeasurement<AccountId> {
    /// Round that made the head.
    pub round: RoundNumber,
    /// Seed of the reasoning probes: randomness drawn after the head.
    pub seed: crate::Hash,
    /// Reports that wait for a quorum; empty after the decision.
    pub reports: Vec<MetricsReport<AccountId>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all() -> ModelMetrics {
        ModelMetrics {
            loss: 3_000_000,
            auroc: Some(750_000),
            calibration_error: Some(100_000),
            introspection: Some(200_000),
            coherence: Some(300_000),
            meta_cognition: Some(40_000),
            utilisation: Some(900_000),
            reasoning: Some(400_000),
        }
    }

    #[test]
    fn the_level_by_hand() {
        // Half of 2 · 0.75 − 1 and of 0.9; 0.3 · 0.7 + 0.3 · 0.4 + 0.1 · (0.2 + 0.3 + 0.04 + 0.9).
        assert_eq!((all().self_awareness(), all().level()), (Some(700_000), Some(474_000)));
        assert_eq!(all().parts().iter().map(|(_, weight, _)| weight).sum::<u32>(), 100);
        let zero = ModelMetrics { reasoning: Some(0), ..all() };
        assert_eq!(zero.level(), Some(354_000), "a part that is 0 is there");
        assert_eq!(
            ModelMetrics { auroc: Some(400_000), ..all() }.self_awareness(),
            Some(450_000),
            "less than chance is chance"
        );
        let summary = all().summary();
        assert_eq!((summary.level, summary.self_awareness), (Some(474_000), Some(700_000)));
    }

    #[test]
    fn no_part_is_left_out_of_the_level() {
        for without in [
            ModelMetrics { auroc: None, ..all() },
            ModelMetrics { calibration_error: None, ..all() },
            ModelMetrics { introspection: None, ..all() },
            ModelMetrics { coherence: None, ..all() },
            ModelMetrics { meta_cognition: None, ..all() },
            ModelMetrics { utilisation: None, ..all() },
            ModelMetrics { reasoning: None, ..all() },
            ModelMetrics::default(),
        ] {
            assert_eq!(without.level(), None, "{without:?}");
        }
    }

    #[test]
    fn what_is_shown_names_every_part() {
        let json = serde_json::to_value(all().summary()).unwrap();
        assert_eq!(
            (&json["level"], &json["selfAwareness"], &json["calibrationError"]),
            (&474_000.into(), &700_000.into(), &100_000.into())
        );
        let without = ModelMetrics { coherence: None, ..all() };
        let json = serde_json::to_value(without.summary()).unwrap();
        assert!(json["coherence"].is_null() && json["level"].is_null(), "{json}");
        assert_eq!(json.as_object().unwrap().len(), 10);
    }

    #[test]
    fn what_is_kept_of_a_round_is_small() {
        assert!(HeadMeasurement::max_encoded_len() < 64, "{}", HeadMeasurement::max_encoded_len());
        assert_eq!(
            MetricsClaim { round: 1, metrics: all() }.encode().len(),
            MetricsClaim::max_encoded_len()
        );
    }

    #[test]
    fn figures_are_compared_as_closely_as_the_profile_allows() {
        let native = Numerics::Native { tolerance: 10_000 };
        assert!(!all().deviates_from(&all(), Numerics::Exact));
        for (changed, exact, natively) in [
            (ModelMetrics { loss: 3_000_010, ..all() }, false, false),
            (ModelMetrics { loss: 3_000_011, ..all() }, true, false),
            (ModelMetrics { coherence: Some(320_001), ..all() }, true, true),
            (ModelMetrics { utilisation: None, ..all() }, true, true),
            (ModelMetrics { reasoning: Some(1), ..all() }, true, false),
            (ModelMetrics { reasoning: None, ..all() }, true, true),
        ] {
            assert_eq!(
                (
                    changed.deviates_from(&all(), Numerics::Exact),
                    changed.deviates_from(&all(), native)
                ),
                (exact, natively),
                "{changed:?}"
            );
            assert_eq!(all().deviates_from(&changed, native), natively);
        }
    }

    #[test]
    fn the_median_goes_by_stake() {
        let of = |loss, auroc| ModelMetrics { loss, auroc, ..Default::default() };
        assert_eq!(ModelMetrics::median(&[]), None);
        assert_eq!(ModelMetrics::median(&[(0, all())]), None);
        // Two small honest ones and a large liar with less than half of the stake.
        let reports = [(30, of(5, Some(6))), (49, of(0, Some(MILLION))), (21, of(5, Some(6)))];
        assert_eq!(ModelMetrics::median(&reports), Some(of(5, Some(6))));
        // Half of the stake is not more than half.
        assert_eq!(
            ModelMetrics::median(&[(5, of(1, Some(7))), (5, of(1, None))]),
            Some(of(1, None))
        );
        assert_eq!(
            ModelMetrics::median(&[(6, of(1, Some(7))), (5, of(1, None))]),
            Some(of(1, Some(7)))
        );
        let measured = HeadMeasurement::new(&reports, 200).unwrap();
        assert_eq!((measured.share, measured.metrics.loss), (500_000, 5));
        assert_eq!(
            HeadMeasurement::new(&reports, 50).map(|measured| measured.share),
            Some(MILLION),
            "stakes were withdrawn"
        );
    }

    fn metrics() -> impl Strategy<Value = ModelMetrics> {
        (any::<u32>(), any::<[Option<u32>; 7]>()).prop_map(|(loss, shares)| {
            let [
                auroc,
                calibration_error,
                introspection,
                coherence,
                meta_cognition,
                utilisation,
                reasoning,
            ] = shares;
            ModelMetrics {
                loss,
                auroc,
                calibration_error,
                introspection,
                coherence,
                meta_cognition,
                utilisation,
                reasoning,
            }
        })
    }

    proptest! {
        #[test]
        fn whatever_is_claimed_the_level_is_a_share(metrics in metrics()) {
            prop_assert!(metrics.self_awareness().is_none_or(|share| share <= MILLION));
            let is_whole = metrics.parts().iter().all(|(_, _, part)| part.is_some());
            prop_assert_eq!(metrics.level().is_some(), is_whole);
            let whole = ModelMetrics {
                auroc: metrics.auroc.or(Some(0)),
                calibration_error: metrics.calibration_error.or(Some(0)),
                introspection: metrics.introspection.or(Some(0)),
                coherence: metrics.coherence.or(Some(0)),
                meta_cognition: metrics.meta_cognition.or(Some(0)),
                utilisation: metrics.utilisation.or(Some(0)),
                reasoning: metrics.reasoning.or(Some(0)),
                ..metrics
            };
            prop_assert!(whole.level().is_some_and(|level| level <= MILLION));
        }

        #[test]
        fn metrics_are_what_they_were_written_as(metrics in metrics(), round: u32) {
            let claimed = MetricsClaim { round, metrics };
            let bytes = claimed.encode();
            prop_assert!(bytes.len() <= MetricsClaim::max_encoded_len());
            prop_assert_eq!(MetricsClaim::decode(&mut &bytes[..]), Ok(claimed));
            prop_assert_eq!(
                metrics.is_valid(),
                metrics.shares().into_iter().flatten().all(|share| share <= MILLION)
            );
        }

        #[test]
        fn more_than_half_of_the_stake_decides(
            mut reports in proptest::collection::vec((1u128..1 << 90, metrics()), 1..12),
            honest in metrics(),
        ) {
            let found = ModelMetrics::median(&reports).unwrap();
            let losses = || reports.iter().map(|(_, metrics)| metrics.loss);
            prop_assert!(losses().any(|loss| loss == found.loss), "a median is somebody's figure");
            let others: u128 = reports.iter().map(|(stake, _)| stake).sum();
            reports.push((others + 1, honest));
            prop_assert_eq!(ModelMetrics::median(&reports), Some(honest));
            reports.reverse();
            prop_assert_eq!(ModelMetrics::median(&reports), Some(honest));
        }
    }
}
