// SPDX-License-Identifier: Apache-2.0

//! The quick simulation agrees with the formulas, within statistical error. Its seed is fixed, so
//! its result always is the same.

use pol_primitives::POL;
use pol_simulation::{
    Report, Settings,
    audits::Validators,
    collusion::{Accounts, Estimate, Rates},
    plot, run,
    statistics::Rate,
};
use std::sync::OnceLock;

/// Standard deviations of a confidence of 99.99 %: there are hundreds of comparisons.
const Z: f64 = 3.9;
/// Rounding of the end of an interval that should be zero.
const ROUNDING: f64 = 1e-12;

fn report() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| run(&Settings::quick(7)))
}

fn assert_agrees(rate: Rate, expected: f64, subject: &str) {
    let (low, high) = rate.interval(Z);
    assert!(
        (low - ROUNDING..=high).contains(&expected),
        "{subject}: {rate:?} is {low} to {high}, and should be {expected}"
    );
}

#[test]
fn cheats_are_caught_as_the_formula_says() {
    assert_eq!(report().detection.len(), 32);
    for found in &report().detection {
        // Trainers that skip more are other trainers, and more of them are caught.
        let less = report().detection.iter().filter(|other| other.updates == found.updates);
        for other in less.filter(|other| other.skipped < found.skipped) {
            let all = other.caught.hits == other.caught.trials;
            assert!(all || other.caught.hits < found.caught.hits, "{other:?} {found:?}");
        }
        assert_agrees(
            found.caught,
            found.expected,
            &format!("{} skipped, {} updates", found.skipped, found.updates),
        );
    }
}

#[test]
fn collusion_decides_as_often_as_counting_says() {
    for found in &report().collusion {
        let figures = [
            &found.passes_first,
            &found.passes,
            &found.caught,
            &found.convicted,
            &found.delayed,
            &found.silenced,
            &found.stalled,
            &found.score_set,
        ];
        for (at, Estimate { rate, expected }) in figures.into_iter().enumerate() {
            assert_agrees(*rate, *expected, &format!("figure {at} at {}", found.stake));
        }
    }
}

#[test]
fn grinding_is_worth_what_the_formula_says() {
    for found in &report().grinding.author {
        assert_agrees(
            found.caught.rate,
            found.caught.expected,
            &format!("{} of the blocks, {} skipped", found.share, found.skipped),
        );
    }
    for found in &report().grinding.author {
        assert!(found.best <= found.alone && found.best > 0.0, "{found:?}");
        let beacon = &found.beacon;
        assert_agrees(beacon.rate, beacon.expected, &format!("a beacon at {}", found.share));
        assert!(beacon.expected > 0.99 * found.alone, "a beacon leaves no choice: {found:?}");
    }
    for found in &report().grinding.blocking {
        assert!(
            found.unmixed < found.best && found.best < 1.0,
            "mixing must leave less choice: {found:?}"
        );
        assert!(found.beacon > found.best, "a beacon leaves less choice: {found:?}");
    }
}

#[test]
fn honesty_pays_best_under_the_shipped_parameters() {
    let (honest, cheats): (Vec<_>, Vec<_>) =
        report().trainers.iter().partition(|found| found.name == "honest");
    assert_eq!(honest[0].caught.hits, 0, "no honest trainer is found out");
    for found in cheats {
        assert!(found.profit < found.honest, "{found:?}");
        assert!(found.margin.is_none_or(|margin| margin > 1.0), "{found:?}");
    }
    for found in report().validators.iter().filter(|found| found.name != "honest") {
        assert!(found.profit < found.honest, "{found:?}");
    }
}

#[test]
fn one_validator_alone_decides_everything() {
    let alone = &report().small_networks[0];
    assert_eq!((alone.validators, alone.passes.share(), alone.convicted.share()), (1, 1.0, 1.0));
    for few in &report().small_networks[1..] {
        assert_eq!((few.passes.share(), few.convicted.share()), (0.0, 0.0), "{few:?}");
    }
}

#[test]
fn dividing_or_uniting_stake_convicts_nobody_below_a_fifth() {
    let coalitions = &report().coalitions;
    assert_eq!(coalitions.len(), 40);
    for found in coalitions.iter().filter(|found| found.stake < 0.25) {
        assert_eq!(found.rates.convicted.hits, 0, "{found:?}");
        assert!(found.rates.passes.share() < 0.03, "{found:?}");
    }
    for found in coalitions.iter().filter(|found| found.stake < 0.35) {
        assert!(found.rates.convicted.share() < 0.01, "{found:?}");
    }
    // An account has at most one of the first seats, and no more than its share of the others.
    for found in coalitions.iter().filter(|found| found.accounts == Accounts::One) {
        assert_eq!(found.rates.passes_first.hits, 0, "{found:?}");
    }
}

#[test]
fn a_giant_among_many_decides_nothing() {
    // With votes by stake, 20,304 of 30,304 would be a quorum of three seats.
    let honest = vec![5_000 * POL; 100];
    let giant = |strategy| Validators::with_stakes(&[20_304 * POL], &honest, strategy);
    let rates = Rates::count(&Settings::quick(7), "giant", giant);
    assert!(rates.delayed.hits > 100, "it objects where it sits: {rates:?}");
    let decided = [rates.passes, rates.convicted, rates.stalled, rates.score_set, rates.silenced];
    assert!(decided.iter().all(|rate| rate.hits == 0), "{rates:?}");
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let small = |seed| Settings {
        trials: 128,
        rounds: 4,
        trainers: 256,
        validators: 20,
        ..Settings::quick(seed)
    };
    let json = |seed| serde_json::to_string(&run(&small(seed))).unwrap();
    assert_eq!(json(1), json(1));
    assert_ne!(json(1), json(2));
}

#[test]
fn the_plots_are_one_well_formed_document() {
    let svg = plot::svg(report()).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    for label in
        ["updates", "trainers caught, %", "stake that colludes, %", "cheat passes", "skip 10 %"]
    {
        assert!(svg.contains(label), "{label}");
    }
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
}
