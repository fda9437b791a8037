// SPDX-License-Identifier: Apache-2.0

use super::*;

fn measure(gain: i32, error: u32, own: i32, quality: Ppm, shards: &[i32]) -> UpdateMeasurement {
    UpdateMeasurement {
        gain,
        error,
        own,
        quality,
        shards: BoundedVec::truncate_from(shards.to_vec()),
    }
}

#[test]
fn a_score_is_what_is_beyond_doubt() {
    let score = |gain, error| measure(gain, error, 0, 0, &[]).score();
    assert_eq!((score(100, 20), score(100, 50), score(100, 51)), (60, 0, 0));
    assert_eq!(
        (score(-5, 0), score(i32::MAX, 0), score(i32::MIN, u32::MAX)),
        (0, i32::MAX as u32, 0)
    );
}

#[test]
fn seats_that_agree_are_taken_at_their_word() {
    let same = measured(measure(5, 6, -7, 8, &[9, -10]));
    let panel = [(3, Some(&same)), (1, Some(&same)), (9, None)];
    assert_eq!(consensus(&OPENED, &panel), measure(5, 6, -7, 8, &[9, -10]));
}

#[test]
fn each_figure_has_a_median_of_its_own() {
    let panel = [
        measured(measure(1, 30, -1, 500, &[1, 300])),
        measured(measure(2, 20, -3, 2_000_000, &[2, 200])),
        measured(measure(3, 10, -2, 700, &[3, 100])),
    ];
    let seats: Vec<StakedFinding> = panel.iter().map(|finding| (1, Some(finding))).collect();
    assert_eq!(consensus(&OPENED, &seats), measure(2, 20, -2, 700, &[2, 200]));
    let all = measured(measure(0, 0, 0, 2_000_000, &[]));
    assert_eq!(
        consensus(&OPENED, &[(1, Some(&all))]).quality,
        MILLION,
        "no text is better than all different"
    );
}

#[test]
fn only_seats_that_are_right_are_measured_by() {
    let (right, liar) = (measured(measure(10, 1, 1, 1, &[1])), measure(1_000, 0, 0, 0, &[5]));
    let wrong = Finding::Replayed { ends: BoundedVec::new(), packed: true, measure: liar };
    let panel =
        [(1, Some(&right)), (99, Some(&wrong)), (99, Some(&Finding::Impossible)), (99, None)];
    assert_eq!(consensus(&OPENED, &panel).gain, 10);
    assert_eq!(consensus(&OPENED, &[]), UpdateMeasurement::default());
}

proptest! {
    #[test]
    fn a_minority_moves_no_figure_beyond_honest_ones(
        honest in prop::collection::vec((-1_000i32..1_000, 1u128..100), 1..9),
        liars in prop::collection::vec(any::<i32>(), 0..8),
    ) {
        let stake: Balance = honest.iter().map(|(_, stake)| stake).sum();
        let each = (stake - 1) / (liars.len() as u128).max(1);
        let panel: Vec<(Balance, Finding)> = honest
            .iter()
            .map(|&(gain, stake)| (stake, gain))
            .chain(liars.iter().map(|&gain| (each, gain)))
            .map(|(stake, gain)| {
                (stake, measured(measure(gain, gain.unsigned_abs(), gain, 5, &[gain])))
            })
            .collect();
        let seats: Vec<StakedFinding> =
            panel.iter().map(|(stake, finding)| (*stake, Some(finding))).collect();
        let (low, high) = (
            honest.iter().map(|(gain, _)| *gain).min().unwrap(),
            honest.iter().map(|(gain, _)| *gain).max().unwrap(),
        );
        let found = consensus(&OPENED, &seats);
        for figure in [found.gain, found.own, found.shards[0]] {
            prop_assert!((low..=high).contains(&figure), "{} is not in {}..={}", figure, low, high);
        }
        prop_assert!(
            found.error <= honest.iter().map(|(gain, _)| gain.unsigned_abs()).max().unwrap()
        );
    }
}
