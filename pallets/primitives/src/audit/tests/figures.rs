// SPDX-License-Identifier: Apache-2.0

use super::*;

fn measure(gain: i32, own: i32, quality: Ppm, shards: &[i32]) -> UpdateMeasurement {
    UpdateMeasurement { gain, own, quality, shards: BoundedVec::truncate_from(shards.to_vec()) }
}

#[test]
fn a_score_is_a_gain_and_never_negative() {
    let score = |gain| measure(gain, 0, 0, &[]).score();
    assert_eq!((score(100), score(0), score(-5)), (100, 0, 0));
    assert_eq!((score(i32::MAX), score(i32::MIN)), (i32::MAX as u32, 0));
}

#[test]
fn seats_that_agree_are_taken_at_their_word() {
    let same = measured(measure(5, -7, 8, &[9, -10]));
    let panel = [(3, Some(&same)), (1, Some(&same)), (9, None)];
    assert_eq!(consensus(&OPENED, &panel), measure(5, -7, 8, &[9, -10]));
}

#[test]
fn each_figure_has_a_median_of_its_own() {
    let panel = [
        measured(measure(1, -1, 500, &[1, 300])),
        measured(measure(2, -3, 2_000_000, &[2, 200])),
        measured(measure(3, -2, 700, &[3, 100])),
    ];
    let seats: Vec<Votes> = panel.iter().map(|finding| (1, Some(finding))).collect();
    assert_eq!(consensus(&OPENED, &seats), measure(2, -2, 700, &[2, 200]));
    let all = measured(measure(0, 0, 2_000_000, &[]));
    assert_eq!(
        consensus(&OPENED, &[(1, Some(&all))]).quality,
        MILLION,
        "no text is better than all different"
    );
}

#[test]
fn only_seats_that_are_right_are_measured_by() {
    let (right, liar) = (measured(measure(10, 1, 1, &[1])), measure(1_000, 0, 0, &[5]));
    let wrong = Finding::Replayed { ends: BoundedVec::new(), packed: true, measure: liar };
    let panel =
        [(1, Some(&right)), (99, Some(&wrong)), (99, Some(&Finding::Impossible)), (99, None)];
    assert_eq!(consensus(&OPENED, &panel).gain, 10);
    assert_eq!(consensus(&OPENED, &[]), UpdateMeasurement::default());
}

#[test]
fn one_of_three_seats_sets_no_figure_and_one_of_two_raises_none() {
    let (honest, liar) = (measured(measure(10, 1, 1, &[1])), measured(measure(999, 9, 9, &[9])));
    let gain = |panel: &[Votes]| consensus(&OPENED, panel).gain;
    assert_eq!(gain(&[(2, Some(&honest)), (1, Some(&liar))]), 10);
    assert_eq!(gain(&[(1, Some(&honest)), (1, Some(&liar)), (1, None)]), 10);
    assert_eq!(gain(&[(1, Some(&honest)), (2, Some(&liar))]), 999);
}

proptest! {
    #[test]
    fn a_minority_moves_no_figure_beyond_honest_ones(
        honest in prop::collection::vec((-1_000i32..1_000, 1usize..6), 1..9),
        liars in prop::collection::vec(any::<i32>(), 0..8),
    ) {
        let votes: usize = honest.iter().map(|(_, votes)| votes).sum();
        let each = (votes - 1) / liars.len().max(1);
        let panel: Vec<(usize, Finding)> = honest
            .iter()
            .map(|&(gain, votes)| (votes, gain))
            .chain(liars.iter().map(|&gain| (each, gain)))
            .map(|(votes, gain)| (votes, measured(measure(gain, gain, 5, &[gain]))))
            .collect();
        let seats: Vec<Votes> =
            panel.iter().map(|(votes, finding)| (*votes, Some(finding))).collect();
        let (low, high) = (
            honest.iter().map(|(gain, _)| *gain).min().unwrap(),
            honest.iter().map(|(gain, _)| *gain).max().unwrap(),
        );
        let found = consensus(&OPENED, &seats);
        for figure in [found.gain, found.own, found.shards[0]] {
            prop_assert!((low..=high).contains(&figure), "{} is not in {}..={}", figure, low, high);
        }
    }
}
