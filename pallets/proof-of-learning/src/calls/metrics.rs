// SPDX-License-Identifier: Apache-2.0

//! Reports of validators on the newest head. Nothing is paid or decided by them.

use crate::pallet::*;
use pol_primitives::{
    Balance, RoundNumber,
    metrics::{MetricsReport, ModelMetrics},
    round::is_quorum,
    traits::Bonds,
};
use polkadot_sdk::frame_support::pallet_prelude::*;

impl<T: Config> Pallet<T> {
    /// Checks a report on the head of `round`. Returns the stake of `who`.
    pub(crate) fn check_measuring(
        who: &T::AccountId,
        round: RoundNumber,
        metrics: &ModelMetrics,
    ) -> Result<Balance, Error<T>> {
        // Whoever has no stake is refused without a look at all stakes.
        ensure!(T::Bonds::validator_stake(who).is_some(), Error::<T>::NotAValidator);
        let mut stakes = Self::stakes_that_count().into_iter();
        let (_, stake) =
            stakes.find(|(account, _)| account == who).ok_or(Error::<T>::NotAValidator)?;
        let is_newest = ProbeSeed::<T>::get().is_some_and(|(seeded, _)| seeded == round)
            && CurrentHead::<T>::get().is_some_and(|head| head.round == round);
        ensure!(is_newest, Error::<T>::NotTheHead);
        ensure!(!HeadMetrics::<T>::contains_key(round), Error::<T>::HeadIsMeasured);
        ensure!(metrics.is_valid(), Error::<T>::MetricsOutOfRange);
        let reported = HeadReports::<T>::get().iter().any(|report| report.account == *who);
        ensure!(!reported, Error::<T>::HeadReported);
        Ok(stake)
    }

    /// Body of [`Pallet::measure_head`].
    pub(crate) fn do_measure_head(
        who: T::AccountId,
        round: RoundNumber,
        metrics: ModelMetrics,
    ) -> DispatchResult {
        let stake = Self::check_measuring(&who, round, &metrics)?;
        let mut reports = HeadReports::<T>::get();
        let report = MetricsReport { account: who.clone(), stake, metrics };
        if let Err(report) = reports.try_push(report) {
            // The most stake takes precedence, so that many small bonds cannot keep others out.
            let least = reports
                .iter_mut()
                .min_by_key(|other| other.stake)
                .filter(|other| other.stake < report.stake);
            *least.ok_or(Error::<T>::TooManyReports)? = report;
        }
        Self::deposit_event(Event::HeadReported { account: who, round });
        HeadReports::<T>::put(reports);
        let (reports, whole) = Self::counted_reports();
        let reported = reports.iter().fold(0u128, |sum, (stake, _)| sum.saturating_add(*stake));
        if is_quorum(reported, whole) {
            Self::decide_metrics(round);
        }
        Ok(())
    }
}
