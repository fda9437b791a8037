// SPDX-License-Identifier: Apache-2.0

//! Seeds and decisions of the measurement of heads.

use crate::pallet::*;
use alloc::vec::Vec;
use pol_primitives::{
    Balance, RoundNumber, digest,
    metrics::{HeadMeasurement, MetricsReport, ModelMetrics},
};
use polkadot_sdk::frame_support::traits::Randomness;

impl<T: Config> Pallet<T> {
    /// Draws the seed of the newest head's probes, in the first block after it. Had the seed been
    /// known earlier, a trainer of the head could have trained for its probes.
    pub(crate) fn seed_probes() {
        let Some(round) = CurrentHead::<T>::get().map(|head| head.round) else { return };
        if ProbeSeed::<T>::get().is_none_or(|(seeded, _)| seeded != round) {
            let (randomness, _) = T::Randomness::random(b"pol/probes");
            let seed = digest(b"pol/probe-seed/1", &(randomness, round));
            ProbeSeed::<T>::put((round, seed));
            Self::deposit_event(Event::ProbesDrawn { round, seed });
        }
    }

    /// Returns the reports on the newest head with the stakes of their validators, and the stake of
    /// all. Parts and whole are those of this moment, whatever changed since the reports.
    pub(crate) fn counted_reports() -> (Vec<(Balance, ModelMetrics)>, Balance) {
        // Bonds without nodes keep no head unmeasured.
        let stakes = Self::stakes_that_count();
        let whole = stakes.iter().fold(0, |sum: Balance, (_, stake)| sum.saturating_add(*stake));
        let counted = |report: MetricsReport<T::AccountId>| {
            let at = stakes.binary_search_by(|(who, _)| who.cmp(&report.account)).ok()?;
            stakes.get(at).map(|(_, stake)| (*stake, report.metrics))
        };
        (HeadReports::<T>::get().into_iter().filter_map(counted).collect(), whole)
    }

    /// Makes the median of the reports on the head of `round` its measurement, and removes the
    /// reports.
    pub(crate) fn decide_metrics(round: RoundNumber) {
        let (reports, whole) = Self::counted_reports();
        HeadReports::<T>::kill();
        if let Some(measured) = HeadMeasurement::new(&reports, whole) {
            HeadMetrics::<T>::insert(round, measured);
            Self::deposit_event(Event::HeadMeasured { round, measured });
        }
    }
}
