// SPDX-License-Identifier: Apache-2.0

//! Reports on heads, and their measurement.

use crate::{mock::*, pallet::*};
use pol_primitives::{
    Balance, MILLION,
    metrics::{HeadMeasurement, MAX_REPORTS, ModelMetrics},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

fn metrics(loss: u32) -> ModelMetrics {
    ModelMetrics {
        loss,
        auroc: Some(700_000),
        calibration_error: Some(20_000),
        ..Default::default()
    }
}

fn reports(validator: AccountId, round: u32, loss: u32) {
    assert_ok!(Learning::measure_head(signed(validator), round, metrics(loss)));
    assert_event(Event::HeadReported { account: validator, round });
}

fn refused(validator: AccountId, round: u32, metrics: ModelMetrics, error: Error<Test>) {
    assert_noop!(Learning::measure_head(signed(validator), round, metrics), error);
}

fn waiting() -> Vec<AccountId> {
    HeadReports::<Test>::get().iter().map(|report| report.account).collect()
}

#[test]
fn a_quorum_decides_the_median_by_stake() {
    in_round_one(|| {
        reports(11, 0, 30);
        assert_eq!((waiting(), Learning::head_measurement(0)), (vec![11], None));
        assert_ok!(Learning::do_try_state());
        // 67 of 100. The median is the smallest value with half of the reported stake at or below
        // it.
        reports(13, 0, 20);
        let measured = HeadMeasurement { metrics: metrics(30), share: 670_000 };
        assert_event(Event::HeadMeasured { round: 0, measured });
        assert_eq!((waiting(), Learning::head_measurement(0)), (vec![], Some(measured)));
        refused(12, 0, metrics(30), Error::HeadIsMeasured);
        // It changes nothing else.
        assert_eq!((Paid::get().len(), Noted::get(13).len(), round().number), (0, 0, 1));
    });
}

#[test]
fn stakes_count_as_they_are_when_they_are_counted() {
    in_round_one(|| {
        reports(11, 0, 30);
        // A slash of the reporter is missing in the part and in the whole.
        Validators::insert(11, 10);
        reports(12, 0, 20);
        assert_eq!((waiting(), Learning::head_measurement(0)), (vec![11, 12], None));
        Validators::remove(11);
        reports(13, 0, 20);
        let measured = HeadMeasurement { metrics: metrics(20), share: MILLION };
        assert_eq!(Learning::head_measurement(0), Some(measured));
    });
}

#[test]
fn idle_newcomers_keep_no_head_unmeasured() {
    in_round_one(|| {
        // As much stake as all others have. Their quorum would not be one of all.
        Validators::insert(14, 100);
        Newcomers::put(vec![14]);
        refused(14, 0, metrics(1), Error::NotAValidator);
        reports(11, 0, 30);
        reports(13, 0, 20);
        assert_eq!(Learning::head_measurement(0).map(|measured| measured.share), Some(670_000));
        Validators::remove(14);
    });
}

#[test]
fn the_next_head_decides_what_no_quorum_did() {
    in_round_one(|| {
        train(&[1]);
        reports(13, 0, 20);
        adopt([5; 32]);
        let measured = HeadMeasurement { metrics: metrics(20), share: 330_000 };
        assert_event(Event::HeadMeasured { round: 0, measured });
        assert_eq!(
            (waiting(), Learning::head_measurement(0), Learning::head_measurement(1)),
            (vec![], Some(measured), None)
        );
        // There was no report on the next one.
        run(1);
        train(&[1]);
        adopt([6; 32]);
        assert_eq!(
            (Learning::head_measurement(1), Learning::head_measurement(0)),
            (None, Some(measured))
        );
    });
}

#[test]
fn void_rounds_leave_the_head_to_be_measured() {
    in_round_one(|| {
        let seed = Learning::pending_measurement().unwrap().seed;
        train(&[1]);
        reports(11, 0, 30);
        run(LENGTHS.attest + LENGTHS.hold + 1);
        assert_eq!(round().number, 2);
        let measuring = Learning::pending_measurement().unwrap();
        assert_eq!((measuring.round, measuring.seed, measuring.reports.len()), (0, seed, 1));
        reports(12, 0, 30);
        assert_eq!(Learning::head_measurement(0).map(|measured| measured.share), Some(670_000));
    });
}

#[test]
fn probes_are_drawn_after_the_head_and_once() {
    on_chain(Some(recipe()), || {
        run(1);
        assert_eq!(Learning::pending_measurement(), None, "there is no head");
        attest_initial();
        // The seed must not be known when the head is made.
        assert_eq!(Learning::pending_measurement(), None);
        refused(11, 0, metrics(1), Error::NotTheHead);
        run(1);
        let first = Learning::pending_measurement().unwrap();
        assert_event(Event::ProbesDrawn { round: 0, seed: first.seed });
        train(&[1]);
        assert_eq!(Learning::pending_measurement().unwrap(), first);
        adopt([5; 32]);
        assert_eq!(Learning::pending_measurement(), None);
        run(1);
        let second = Learning::pending_measurement().unwrap();
        assert_eq!((first.round, second.round), (0, 1));
        assert_ne!(first.seed, second.seed);
    });
}

#[test]
fn an_idle_network_measures_its_last_head() {
    in_round_one(|| {
        train(&[1]);
        FreeShards::kill();
        adopt([5; 32]);
        run(3);
        assert_eq!(
            (round().phase, Learning::pending_measurement().map(|measuring| measuring.round)),
            (Default::default(), Some(1))
        );
        reports(11, 1, 30);
        reports(12, 1, 30);
        assert!(Learning::head_measurement(1).is_some());
    });
}

#[test]
fn each_misuse_is_refused() {
    in_round_one(|| {
        refused(1, 0, metrics(1), Error::NotAValidator);
        refused(11, 1, metrics(1), Error::NotTheHead);
        let beyond = Some(MILLION + 1);
        for metrics in [
            ModelMetrics { auroc: beyond, ..metrics(1) },
            ModelMetrics { calibration_error: beyond, ..metrics(1) },
            ModelMetrics { introspection: beyond, ..metrics(1) },
            ModelMetrics { coherence: beyond, ..metrics(1) },
            ModelMetrics { meta_cognition: beyond, ..metrics(1) },
            ModelMetrics { utilisation: beyond, ..metrics(1) },
            ModelMetrics { reasoning: beyond, ..metrics(1) },
        ] {
            refused(11, 0, metrics, Error::MetricsOutOfRange);
        }
        reports(11, 0, 1);
        refused(11, 0, metrics(2), Error::HeadReported);
        assert_eq!(waiting(), [11]);
        // Only the newest head is measured.
        train(&[1]);
        adopt([5; 32]);
        run(1);
        refused(12, 0, metrics(1), Error::NotTheHead);
    });
}

#[test]
fn places_are_for_the_most_stake() {
    in_round_one(|| {
        Validators::insert(10, 1_000_000);
        let crowd = 100..100 + AccountId::from(MAX_REPORTS);
        for account in crowd.clone() {
            Validators::insert(account, 10 + Balance::from(account == 150));
            reports(account, 0, 0);
        }
        Validators::insert(99, 10);
        refused(99, 0, metrics(1), Error::TooManyReports);
        // A report with the least stake makes place for each with more.
        reports(11, 0, 30);
        reports(12, 0, 30);
        assert_eq!(HeadReports::<Test>::get().len(), MAX_REPORTS as usize);
        let left = waiting();
        assert!([11, 12, 150].iter().all(|account| left.contains(account)));
        assert_eq!(crowd.filter(|account| !left.contains(account)).count(), 2);
        assert_ok!(Learning::do_try_state());
        reports(10, 0, 40);
        let measured = Learning::head_measurement(0).unwrap();
        assert_eq!(measured.metrics.loss, 40);
        assert!(measured.share > 990_000 && measured.share < MILLION);
    });
}
