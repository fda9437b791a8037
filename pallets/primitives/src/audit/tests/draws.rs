// SPDX-License-Identifier: Apache-2.0

use super::*;

/// Stakes of validators 0 to 4.
const STAKES: [Balance; 5] = [1, 2, 3, 4, 10];

fn stakes() -> Vec<(u64, Balance)> {
    (0u64..).zip(STAKES).map(|(account, stake)| (account, stake * 5_000 * POL)).collect()
}

#[test]
fn seats_follow_stake() {
    let share: Vec<f64> = STAKES.iter().map(|&stake| stake as f64 / 20.0).collect();
    // The second seat goes to j with the sum over all i before it of s_i · s_j / (1 − s_i).
    let second: Vec<f64> = (0..5)
        .map(|j| (0..5).filter(|&i| i != j).map(|i| share[i] * share[j] / (1.0 - share[i])).sum())
        .collect();
    let mut counts = [[0u32; 5]; 2];
    for number in 0..20_000 {
        let drawn = draw_seats(&seed(number), &99, &stakes(), 2);
        counts[0][drawn[0]] += 1;
        counts[1][drawn[1]] += 1;
    }
    // The 0.999 quantile with 4 degrees of freedom is 18.5.
    assert!(chi_squared(&counts[0], &share) < 18.5, "{counts:?}");
    assert!(chi_squared(&counts[1], &second) < 18.5, "{counts:?}");
    assert!(
        chi_squared(&counts[0], &[0.2; 5]) > 1_000.0,
        "the test would not see a draw that ignores stake"
    );
}

#[test]
fn newcomers_get_no_seats_while_the_others_have_a_third_of_the_stake() {
    let accounts = |newcomers: &[u64]| -> Vec<u64> {
        seated_stakes(stakes(), newcomers).into_iter().map(|(account, _)| account).collect()
    };
    assert_eq!(accounts(&[]), [0, 1, 2, 3, 4]);
    assert_eq!(accounts(&[4]), [0, 1, 2, 3]);
    // Validators 0 to 2 have 6 of 20 parts, and 0 and 2 to 3 have 8.
    assert_eq!(accounts(&[3, 4]), [0, 1, 2, 3, 4]);
    assert_eq!(accounts(&[1, 4]), [0, 2, 3]);
    assert_eq!(accounts(&[0, 1, 2, 3, 4]), [0, 1, 2, 3, 4]);
}

#[test]
fn updates_have_seats_of_their_own() {
    let drawn: BTreeSet<_> =
        (0..50u64).map(|trainer| draw_seats(&seed(1), &(trainer + 100), &stakes(), 2)).collect();
    assert!(drawn.len() > 5, "{drawn:?}");
}

#[test]
fn segments_are_drawn_uniformly() {
    let (mut single, mut pairs) = ([0u32; 10], [0u32; 45]);
    for number in 0..20_000 {
        single[usize::from(draw_segments(&seed(number), &1u64, 10, 1, &[])[0])] += 1;
        let pair = draw_segments(&seed(number), &2u64, 10, 2, &[]);
        let (low, high) = (usize::from(pair[0]), usize::from(pair[1]));
        pairs[high * (high - 1) / 2 + low] += 1;
    }
    // The 0.999 quantiles with 9 and 44 degrees of freedom are 27.9 and 78.7.
    assert!(chi_squared(&single, &[0.1; 10]) < 27.9, "{single:?}");
    assert!(chi_squared(&pairs, &[1.0 / 45.0; 45]) < 78.7, "{pairs:?}");
}

#[test]
fn segments_with_known_ends_are_not_drawn_while_there_are_others() {
    let mut counts = [0u32; 5];
    for number in 0..3_000 {
        counts[usize::from(draw_segments(&seed(number), &1u64, 5, 1, &[2, 5])[0])] += 1;
    }
    assert_eq!((counts[1], counts[4]), (0, 0));
    // The 0.999 quantile with 2 degrees of freedom is 13.8.
    assert!(chi_squared(&[counts[0], counts[2], counts[3]], &[1.0 / 3.0; 3]) < 13.8, "{counts:?}");
}

#[test]
fn a_short_trace_is_replayed_in_its_second_draw_too() {
    assert_eq!(draw_segments(&seed(0), &1u64, 1, 1, &[0, 1]), [0]);
    assert_eq!(draw_segments(&seed(0), &1u64, 0, 1, &[]), [0u16; 0]);
}

#[test]
fn an_audit_is_drawn_for_every_update() {
    let config = AuditConfig { seats: 3, more_seats: 4, segments: 2, ..Default::default() };
    let updates: Vec<_> = (0..6).map(|trainer| pending(trainer, 10, &[])).collect();
    let probe = vec![ShardId { manifest: 1, index: 2 }];
    let audit = Audit::draw(&config, seed(3), 77, &updates, &stakes(), probe.clone(), 4);
    assert_eq!((audit.round, audit.draw, audit.seed), (5, 0, seed(3)));
    assert_eq!((audit.stage, audit.since, audit.probe.to_vec()), (Stage::Serve, 77, probe));
    assert!(audit.holders.windows(2).all(|two| two[0].account < two[1].account));
    for holder in &audit.holders {
        assert!(!holder.committed && !holder.revealed);
    }
    for (case, update) in audit.cases.iter().zip(&updates) {
        assert_eq!(
            (case.trainer, case.index, case.trace_segments),
            (update.trainer, update.index, 10)
        );
        assert_eq!(case.segments.to_vec(), draw_segments(&seed(3), &update.trainer, 10, 2, &[]));
        let seated: Vec<u64> =
            case.seats.iter().map(|&at| audit.holders[usize::from(at)].account).collect();
        let drawn = draw_seats(&seed(3), &update.trainer, &stakes(), 3);
        assert_eq!(seated, drawn.iter().map(|&at| at as u64).collect::<Vec<_>>());
        assert_eq!((case.served, case.opened, case.settled), (false, false, false));
    }
    assert_eq!(audit.case(&4).map(|case| case.index), Some(4));
    assert_eq!(audit.case(&6), None);

    let again: Vec<_> =
        updates.iter().map(|update| PendingAudit { draw: 1, ..update.clone() }).collect();
    let second = Audit::draw(&config, seed(4), 99, &again, &stakes(), vec![], 4);
    assert_eq!(second.draw, 1);
    assert!(second.cases.iter().all(|case| case.seats.len() == 4));
}

#[test]
fn a_validator_has_its_seats_once_the_states_are_shown() {
    let updates = [pending(9, 10, &[])];
    let config = AuditConfig::default();
    let mut audit = Audit::draw(&config, seed(3), 0, &updates, &stakes(), vec![], 4);
    let seated = audit.holders[0].account;
    assert_eq!(audit.holder(&seated), Some(0));
    assert_eq!(audit.seats_of(&seated).count(), 0);
    audit.cases[0].served = true;
    assert_eq!(
        audit.seats_of(&seated).map(|(at, case)| (at, case.trainer)).collect::<Vec<_>>(),
        [(0, 9)]
    );
    assert_eq!(audit.seats_of(&9).count(), 0);
}

/// Returns the number of seats of each validator in a proportional draw.
fn proportional(
    number: u32,
    stakes: &[(u64, Balance)],
    count: usize,
    earlier: &[u64],
) -> Vec<usize> {
    let drawn = draw_proportional_seats(&seed(number), &99, stakes, count, earlier);
    (0..stakes.len()).map(|at| drawn.iter().filter(|&&other| other == at).count()).collect()
}

#[test]
fn seats_of_a_second_draw_are_shares_of_the_stake() {
    // Shares of 1, 2, 3, 4 and 10 of 20: 0.8, 1.6, 2.4, 3.2 and 8 of 16 seats.
    let mut sums = [0usize; 5];
    for number in 0..5_000 {
        let held = proportional(number, &stakes(), 16, &[]);
        assert_eq!((held.iter().sum::<usize>(), held[4]), (16, 8));
        assert!((0..=1).contains(&held[0]) && (1..=2).contains(&held[1]), "{held:?}");
        assert!((2..=3).contains(&held[2]) && (3..=4).contains(&held[3]), "{held:?}");
        sums.iter_mut().zip(held).for_each(|(sum, held)| *sum += held);
    }
    for (sum, expected) in sums.into_iter().zip([0.8, 1.6, 2.4, 3.2, 8.0]) {
        assert!((sum as f64 / 5_000.0 - expected).abs() < 0.03, "{sums:?}");
    }
}

#[test]
fn dividing_stake_wins_no_seats_in_a_second_draw() {
    // Three validators of a million, and 35,000 in one account or in seven.
    let honest = (0..3u64).map(|account| (account, 1_000_000 * POL));
    let one: Vec<_> = honest.clone().chain([(3, 35_000 * POL)]).collect();
    let seven: Vec<_> = honest.chain((3..10).map(|account| (account, 5_000 * POL))).collect();
    let held = |stakes: &[(u64, Balance)]| -> Vec<usize> {
        (0..2_000).map(|number| proportional(number, stakes, 16, &[])[3..].iter().sum()).collect()
    };
    let (one, seven) = (held(&one), held(&seven));
    for held in [&one, &seven] {
        let mean = held.iter().sum::<usize>() as f64 / 2_000.0;
        assert!((mean - 16.0 * 35.0 / 3_035.0).abs() < 0.03, "{mean}");
    }
    assert!(one.iter().chain(&seven).all(|&held| held <= 2), "seven of ten accounts are no quorum");
}

#[test]
fn a_second_draw_is_fresh_where_enough_stake_is_left() {
    let equal: Vec<(u64, Balance)> = (0..40).map(|account| (account, 5_000 * POL)).collect();
    let held = proportional(1, &equal, 16, &[0, 1, 2]);
    assert_eq!((held[..3].iter().sum::<usize>(), held.iter().max()), (0, Some(&1)));
    assert!(proportional(1, &stakes(), 16, &[4])[4] > 0, "half of the stake is not left out");
    assert_eq!(proportional(1, &stakes()[..1], 16, &[0]), [16], "one validator judges alone");
    assert_eq!(proportional(1, &[], 16, &[]), [0usize; 0]);
}

#[test]
fn the_second_draw_replays_what_was_disputed_and_something_fresh() {
    let config = AuditConfig { segments: 2, ..Default::default() };
    let first = case(&[3, 7], 10);
    let second = |opinions: [Option<Verdict>; 2]| {
        PendingAudit::second(5, &first, [1u64, 2].into_iter().zip(opinions))
    };
    let segments = |update: &PendingAudit<u64>, limit| {
        let audit = Audit::draw(
            &config,
            seed(1),
            0,
            core::slice::from_ref(update),
            &stakes(),
            vec![],
            limit,
        );
        audit.cases[0].segments.to_vec()
    };
    let disputed = second([Some(Verdict::Valid), Some(Verdict::Invalid)]);
    assert_eq!((disputed.draw, disputed.disputed.to_vec()), (1, vec![3, 7]));
    assert_eq!(disputed.known.to_vec(), [3, 7, 10, 4, 8]);
    let drawn = segments(&disputed, MAX_AUDITED_SEGMENTS);
    assert_eq!((drawn.len(), drawn.contains(&3), drawn.contains(&7)), (4, true, true));
    let fresh = drawn.iter().filter(|&&at| at != 3 && at != 7);
    assert!(fresh.clone().count() == 2 && fresh.into_iter().all(|at| ![2, 6, 9].contains(at)));
    assert_eq!(segments(&disputed, 2), [3, 7], "there is no room for others");
    // A trainer that stalls the first seats keeps no segment from the second ones.
    for silent in [[Some(Verdict::Valid), None], [None, None]] {
        let drawn = segments(&second(silent), MAX_AUDITED_SEGMENTS);
        assert_eq!((drawn.len(), drawn.contains(&3), drawn.contains(&7)), (4, true, true));
    }
}

proptest! {
    #[test]
    fn proportional_seats_are_shares_rounded(
        number: u32,
        stakes in prop::collection::vec(0u128..100 * POL, 0..30),
        count in 1usize..17,
        trainer in 0u64..40,
    ) {
        let stakes: Vec<(u64, Balance)> = (0u64..).zip(stakes).collect();
        let whole: Balance = stakes
            .iter()
            .filter(|(account, _)| *account != trainer)
            .map(|(_, stake)| stake)
            .sum();
        let drawn = draw_proportional_seats(&seed(number), &trainer, &stakes, count, &[]);
        prop_assert_eq!(drawn.len(), if whole > 0 { count } else { 0 });
        for (at, (account, stake)) in stakes.iter().enumerate() {
            let held = drawn.iter().filter(|&&other| other == at).count() as u128;
            if *account == trainer || *stake == 0 {
                prop_assert_eq!(held, 0);
            } else {
                let (low, high) =
                    (stake * count as u128 / whole, (stake * count as u128).div_ceil(whole));
                prop_assert!((low..=high).contains(&held), "{} of {}..={}", held, low, high);
            }
        }
    }

    #[test]
    fn seats_are_different_and_never_the_trainers(
        number: u32,
        stakes in prop::collection::vec(0u128..100 * POL, 0..30),
        count in 0usize..20,
        trainer in 0u64..40,
    ) {
        let stakes: Vec<(u64, Balance)> = (0u64..).zip(stakes).collect();
        let eligible =
            stakes.iter().filter(|(account, stake)| *account != trainer && *stake > 0).count();
        let drawn = draw_seats(&seed(number), &trainer, &stakes, count);
        prop_assert_eq!(drawn.len(), count.min(eligible), "all of them when there are no more");
        prop_assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len());
        prop_assert!(drawn.iter().all(|&at| stakes[at].0 != trainer && stakes[at].1 > 0));
    }

    #[test]
    fn segments_are_ascending_and_blind(
        number: u32,
        segments in 0u16..65,
        count in 0usize..6,
        known in prop::collection::vec(0u16..65, 0..19),
    ) {
        let drawn = draw_segments(&seed(number), &1u64, segments, count, &known);
        let blind = (0..segments).filter(|segment| !known.contains(&(segment + 1))).count();
        prop_assert!(drawn.windows(2).all(|two| two[0] < two[1]));
        prop_assert!(drawn.iter().all(|&segment| segment < segments));
        if blind > 0 {
            prop_assert_eq!(drawn.len(), count.min(blind));
            prop_assert!(drawn.iter().all(|segment| !known.contains(&(segment + 1))));
        } else {
            prop_assert_eq!(drawn.len(), count.min(segments.into()));
        }
    }

    #[test]
    fn no_state_shown_is_the_end_of_a_drawn_segment(
        number: u32,
        of in 1u16..65,
        count in 1usize..5,
    ) {
        let case = case(&draw_segments(&seed(number), &1u64, of, count, &[]), of);
        let (served, opened) = (case.served_leaves(), case.opened_leaves());
        prop_assert!(served.iter().all(|leaf| !opened.contains(leaf)));
        prop_assert!(served.windows(2).all(|two| two[0] < two[1]));
        prop_assert!(
            served.len() <= MAX_SERVED_STATES as usize && opened.len() == case.segments.len()
        );
        // Each drawn segment can be replayed from a served state or from the end of the segment
        // before it.
        for &segment in &case.segments {
            prop_assert!(
                served.contains(&segment) || case.segments.contains(&segment.wrapping_sub(1))
            );
        }
        // The final state is served or replayed, so packing can be checked.
        prop_assert!(served.contains(&of) != opened.contains(&of));
        prop_assert!((served.len() + opened.len()) * 2 <= MAX_KNOWN_LEAVES as usize);
    }
}

#[test]
fn runs_of_segments_need_one_start() {
    assert_eq!(case(&[2, 3, 7], 10).served_leaves(), [2, 7, 10]);
    assert_eq!(case(&[2, 3, 7], 10).opened_leaves(), [3, 4, 8]);
    assert_eq!(case(&[0, 9], 10).served_leaves(), [0, 9]);
    assert_eq!(case(&[0], 1).served_leaves(), [0]);
}
