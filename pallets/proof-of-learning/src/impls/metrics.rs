// SPDX-License-Identifier: Apache-2.0

//! Seeds and decisions of the measurement of heads.

use crate::pallet::*;
use alloc::vec::Vec;
use pol_primitives::{RoundNumber, digest, metrics::HeadMeasurement, traits::Bonds};
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

    /// Makes the median of the reports on the head of `round` its measurement, and removes the
    /// reports.
    pub(crate) fn decide_metrics(round: RoundNumber) {
        let reports: Vec<_> = HeadReports::<T>::take()
            .into_iter()
            .map(|report| (report.stake, report.metrics))
            .collect();
        if let Some(measured) = HeadMeasurement::new(&reports, T::Bonds::total_validator_stake()) {
            HeadMetrics::<T>::insert(round, measured);
            Self::deposit_event(Event::HeadMeasured { round, measured });
        }
    }
}
