//! What validators measure of each head beside its loss. Nothing is paid or decided by it.

use crate::pallet::*;
use alloc::{collections::BTreeSet, vec::Vec};
use codec::Encode;
use pol_primitives::{
    RoundNumber, digest,
    metrics::{MeasuredHead, Measuring, ModelMetrics, Report},
    round::is_quorum,
    traits::Bonds,
};
use polkadot_sdk::{
    frame_support::{ensure, pallet_prelude::*, traits::Randomness},
    sp_runtime::TryRuntimeError,
};

impl<T: Config> Pallet<T> {
    /// Fixes what the newest head is measured by, in the first block after it: earlier, whoever
    /// trained it could have trained for it.
    pub(crate) fn seed_probes() {
        let Some(round) = CurrentHead::<T>::get().map(|head| head.round) else { return };
        if ProbeSeed::<T>::get().is_none_or(|(seeded, _)| seeded != round) {
            let (randomness, _) = T::Randomness::random(b"pol/probes");
            let seed = digest(b"pol/probe-seed/1", &(randomness, round));
            ProbeSeed::<T>::put((round, seed));
            Self::deposit_event(Event::ProbesDrawn { round, seed });
        }
    }

    /// Counts `who`'s report on the head of `round`; the quorum decides it.
    pub(crate) fn report_metrics(
        who: T::AccountId,
        round: RoundNumber,
        metrics: ModelMetrics,
    ) -> DispatchResult {
        let stake = T::Bonds::validator_stake(&who).ok_or(Error::<T>::NotAValidator)?;
        let newest = ProbeSeed::<T>::get().is_some_and(|(seeded, _)| seeded == round)
            && CurrentHead::<T>::get().is_some_and(|head| head.round == round);
        ensure!(newest, Error::<T>::NotTheHead);
        ensure!(!HeadMetrics::<T>::contains_key(round), Error::<T>::HeadIsMeasured);
        ensure!(metrics.is_valid(), Error::<T>::MetricsOutOfRange);

        let mut reports = HeadReports::<T>::get();
        ensure!(reports.iter().all(|report| report.account != who), Error::<T>::HeadReported);
        let report = Report { account: who.clone(), stake, metrics };
        if let Err(report) = reports.try_push(report) {
            // Places are for those with the most stake: nobody keeps others out with many small
            // bonds.
            let least = reports
                .iter_mut()
                .min_by_key(|other| other.stake)
                .filter(|other| other.stake < report.stake);
            *least.ok_or(Error::<T>::TooManyReports)? = report;
        }
        Self::deposit_event(Event::HeadReported { account: who, round });
        let reported = reports.iter().fold(0u128, |sum, report| sum.saturating_add(report.stake));
        HeadReports::<T>::put(reports);
        if is_quorum(reported, T::Bonds::total_validator_stake()) {
            Self::decide_metrics(round);
        }
        Ok(())
    }

    /// Makes the median of what was reported of the head of `round` its measurement, and forgets
    /// the reports.
    pub(crate) fn decide_metrics(round: RoundNumber) {
        let reports: Vec<_> = HeadReports::<T>::take()
            .into_iter()
            .map(|report| (report.stake, report.metrics))
            .collect();
        if let Some(measured) = MeasuredHead::new(&reports, T::Bonds::total_validator_stake()) {
            HeadMetrics::<T>::insert(round, measured);
            Self::deposit_event(Event::HeadMeasured { round, measured });
        }
    }

    /// What validators found of the head of `round`, once that is decided.
    pub fn measured(round: RoundNumber) -> Option<MeasuredHead> {
        HeadMetrics::<T>::get(round)
    }

    /// How the head is measured, and what was reported of it; none before the block after it.
    pub fn measuring() -> Option<Measuring<T::AccountId>> {
        let (round, seed) = ProbeSeed::<T>::get()?;
        let newest = CurrentHead::<T>::get().is_some_and(|head| head.round == round);
        newest.then(|| Measuring { round, seed, reports: HeadReports::<T>::get().into_inner() })
    }

    /// Reports are on the head, one of each validator, and wait for a quorum; only heads are
    /// measured.
    pub(crate) fn check_metrics() -> Result<(), TryRuntimeError> {
        let (reports, head) = (HeadReports::<T>::get(), CurrentHead::<T>::get());
        ensure!(reports.iter().all(|report| report.metrics.is_valid()), "shares are at most one");
        let accounts: BTreeSet<_> = reports.iter().map(|report| report.account.encode()).collect();
        ensure!(accounts.len() == reports.len(), "one report of each validator");
        let seeded = ProbeSeed::<T>::get().map(|(round, _)| round);
        ensure!(
            seeded.is_none_or(|seeded| head.is_some_and(|head| seeded <= head.round)),
            "probes are drawn for heads"
        );
        if !reports.is_empty() {
            let round = seeded.filter(|&seeded| head.is_some_and(|head| head.round == seeded));
            let round = round.ok_or("reports are on the head, whose probes are drawn")?;
            ensure!(
                !HeadMetrics::<T>::contains_key(round),
                "a head is reported on until it is measured"
            );
        }
        for (round, measured) in HeadMetrics::<T>::iter() {
            ensure!(
                measured.metrics.is_valid() && measured.share <= pol_primitives::MILLION,
                "shares are at most one"
            );
            let made = Records::<T>::get(round).is_some_and(|record| record.head.is_some());
            ensure!(made, "only heads are measured");
        }
        Ok(())
    }
}
