//! What draws, stages, verdicts and figures promise. Streams are fixed by their seeds, so
//! statistical tests always say the same.

use super::*;
use crate::POL;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The `number`-th of many seeds.
fn seed(number: u32) -> Hash {
    crate::digest(b"test", &number)
}

/// Pearson's chi-squared of `counts` against `chances`.
fn chi_squared(counts: &[u32], chances: &[f64]) -> f64 {
    let all: f64 = counts.iter().copied().map(f64::from).sum();
    counts
        .iter()
        .zip(chances)
        .map(|(&count, chance)| (f64::from(count) - all * chance).powi(2) / (all * chance))
        .sum()
}

fn replayed(ends: &[u8], packed: bool) -> Finding {
    let ends = BoundedVec::truncate_from(ends.iter().map(|&end| [end; 32]).collect());
    Finding::Replayed { ends, packed, measure: Measure::default() }
}

fn measured(measure: Measure) -> Finding {
    Finding::Replayed { ends: BoundedVec::truncate_from(OPENED.to_vec()), packed: true, measure }
}

fn seats<'a>(findings: &[(Balance, &'a Finding)]) -> Vec<Seat<'a>> {
    findings.iter().map(|&(stake, finding)| (stake, Some(finding))).collect()
}

fn undrawn(trainer: u64, segments: u16, known: &[u16]) -> Undrawn<u64> {
    let known = BoundedVec::truncate_from(known.to_vec());
    Undrawn { round: 5, draw: 0, trainer, index: trainer as u8, segments, known }
}

fn case(segments: &[u16], of: u16) -> Case<u64> {
    Case {
        trainer: 0,
        index: 0,
        segments: BoundedVec::truncate_from(segments.to_vec()),
        of,
        seats: BoundedVec::new(),
        served: false,
        opened: false,
        settled: false,
    }
}

/// What the trainer of the tests on verdicts opened.
const OPENED: [Hash; 1] = [[7; 32]];

mod draws {
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
            .map(|j| {
                (0..5).filter(|&i| i != j).map(|i| share[i] * share[j] / (1.0 - share[i])).sum()
            })
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
    fn updates_have_seats_of_their_own() {
        let drawn: BTreeSet<_> = (0..50u64)
            .map(|trainer| draw_seats(&seed(1), &(trainer + 100), &stakes(), 2))
            .collect();
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
        assert!(
            chi_squared(&[counts[0], counts[2], counts[3]], &[1.0 / 3.0; 3]) < 13.8,
            "{counts:?}"
        );
    }

    #[test]
    fn a_short_trace_is_replayed_in_its_second_draw_too() {
        assert_eq!(draw_segments(&seed(0), &1u64, 1, 1, &[0, 1]), [0]);
        assert_eq!(draw_segments(&seed(0), &1u64, 0, 1, &[]), [0u16; 0]);
    }

    #[test]
    fn an_audit_is_drawn_for_every_update() {
        let config = AuditConfig { seats: 3, more_seats: 4, segments: 2, ..Default::default() };
        let updates: Vec<_> = (0..6).map(|trainer| undrawn(trainer, 10, &[])).collect();
        let probe = vec![ShardId { manifest: 1, index: 2 }];
        let audit = Audit::draw(&config, seed(3), 77, &updates, &stakes(), probe.clone());
        assert_eq!((audit.round, audit.draw, audit.seed), (5, 0, seed(3)));
        assert_eq!((audit.stage, audit.since, audit.probe.to_vec()), (Stage::Serve, 77, probe));
        assert!(audit.holders.windows(2).all(|two| two[0].account < two[1].account));
        for holder in &audit.holders {
            assert_eq!(holder.stake, stakes()[holder.account as usize].1);
            assert!(!holder.committed && !holder.revealed);
        }
        for (case, update) in audit.cases.iter().zip(&updates) {
            assert_eq!((case.trainer, case.index, case.of), (update.trainer, update.index, 10));
            assert_eq!(
                case.segments.to_vec(),
                draw_segments(&seed(3), &update.trainer, 10, 2, &[])
            );
            let seated: Vec<u64> =
                case.seats.iter().map(|&at| audit.holders[usize::from(at)].account).collect();
            let drawn = draw_seats(&seed(3), &update.trainer, &stakes(), 3);
            assert_eq!(seated, drawn.iter().map(|&at| at as u64).collect::<Vec<_>>());
            assert_eq!((case.served, case.opened, case.settled), (false, false, false));
        }
        assert_eq!(audit.case(&4).map(|case| case.index), Some(4));
        assert_eq!(audit.case(&6), None);

        let again: Vec<_> =
            updates.iter().map(|update| Undrawn { draw: 1, ..update.clone() }).collect();
        let second = Audit::draw(&config, seed(4), 99, &again, &stakes(), vec![]);
        assert_eq!(second.draw, 1);
        assert!(second.cases.iter().all(|case| case.seats.len() == 4));
    }

    #[test]
    fn a_validator_has_its_seats_once_the_states_are_shown() {
        let mut audit = Audit::draw(
            &AuditConfig::default(),
            seed(3),
            0,
            &[undrawn(9, 10, &[])],
            &stakes(),
            vec![],
        );
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

    proptest! {
        #[test]
        fn seats_are_different_and_never_the_trainers(number: u32, stakes in prop::collection::vec(0u128..100 * POL, 0..30), count in 0usize..20, trainer in 0u64..40) {
            let stakes: Vec<(u64, Balance)> = (0u64..).zip(stakes).collect();
            let eligible = stakes.iter().filter(|(account, stake)| *account != trainer && *stake > 0).count();
            let drawn = draw_seats(&seed(number), &trainer, &stakes, count);
            prop_assert_eq!(drawn.len(), count.min(eligible), "all of them when there are no more");
            prop_assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len());
            prop_assert!(drawn.iter().all(|&at| stakes[at].0 != trainer && stakes[at].1 > 0));
        }

        #[test]
        fn segments_are_ascending_and_blind(number: u32, segments in 0u16..65, count in 0usize..6, known in prop::collection::vec(0u16..65, 0..19)) {
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
        fn no_state_shown_is_the_end_of_a_drawn_segment(number: u32, of in 1u16..65, count in 1usize..5) {
            let case = case(&draw_segments(&seed(number), &1u64, of, count, &[]), of);
            let (served, opened) = (case.served_leaves(), case.opened_leaves());
            prop_assert!(served.iter().all(|leaf| !opened.contains(leaf)));
            prop_assert!(served.windows(2).all(|two| two[0] < two[1]));
            prop_assert!(served.len() <= MAX_SERVED as usize && opened.len() == case.segments.len());
            // Each drawn segment can be replayed, from a state shown or from where the one before
            // it ended.
            for &segment in &case.segments {
                prop_assert!(served.contains(&segment) || case.segments.contains(&segment.wrapping_sub(1)));
            }
            // The final state is shown or replayed, so packing can be checked.
            prop_assert!(served.contains(&of) != opened.contains(&of));
            prop_assert!((served.len() + opened.len()) * 2 <= MAX_KNOWN as usize);
        }
    }

    #[test]
    fn runs_of_segments_need_one_start() {
        assert_eq!(case(&[2, 3, 7], 10).served_leaves(), [2, 7, 10]);
        assert_eq!(case(&[2, 3, 7], 10).opened_leaves(), [3, 4, 8]);
        assert_eq!(case(&[0, 9], 10).served_leaves(), [0, 9]);
        assert_eq!(case(&[0], 1).served_leaves(), [0]);
    }
}

mod stages {
    use super::*;

    const CONFIG: AuditConfig = AuditConfig {
        seats: 2,
        more_seats: 3,
        segments: 1,
        probe: 1,
        mix: 1,
        serve: 20,
        replay: 100,
        open: 10,
        reveal: 5,
        escrow: 2,
    };

    /// Two updates under audit by the same two validators, drawn at block 1,000.
    fn audit() -> Audit<u64> {
        let updates = [undrawn(8, 10, &[]), undrawn(9, 10, &[])];
        Audit::draw(&CONFIG, seed(1), 1_000, &updates, &[(1, POL), (2, POL)], vec![])
    }

    fn at(audit: &Audit<u64>) -> (Stage, BlockNumber) {
        (audit.stage, audit.since)
    }

    #[test]
    fn stages_end_when_everybody_is_done() {
        let mut audit = audit();
        audit.advance(&CONFIG, 1_003);
        assert_eq!(at(&audit), (Stage::Serve, 1_000));
        assert_eq!(audit.deadline(&CONFIG), Some(1_020));
        audit.cases[0].served = true;
        audit.advance(&CONFIG, 1_005);
        assert_eq!(at(&audit), (Stage::Serve, 1_000), "one trainer is missing");
        audit.cases[1].served = true;
        audit.advance(&CONFIG, 1_006);
        assert_eq!(at(&audit), (Stage::Replay, 1_006));
        audit.holders[0].committed = true;
        audit.advance(&CONFIG, 1_007);
        assert_eq!(at(&audit), (Stage::Replay, 1_006), "one seat is missing");
        audit.holders[1].committed = true;
        audit.advance(&CONFIG, 1_008);
        assert_eq!(at(&audit), (Stage::Open, 1_008));
        audit.cases.iter_mut().for_each(|case| case.opened = true);
        audit.advance(&CONFIG, 1_009);
        assert_eq!(at(&audit), (Stage::Reveal, 1_009));
        audit.holders.iter_mut().for_each(|holder| holder.revealed = true);
        audit.advance(&CONFIG, 1_010);
        assert_eq!(at(&audit), (Stage::Settle, 1_010));
        assert_eq!(audit.deadline(&CONFIG), None);
        audit.advance(&CONFIG, u32::MAX);
        assert_eq!(at(&audit), (Stage::Settle, 1_010), "settling takes as long as it takes");
    }

    #[test]
    fn stages_end_at_their_deadlines() {
        let mut audit = audit();
        audit.cases[0].served = true;
        audit.advance(&CONFIG, 1_019);
        assert_eq!(at(&audit), (Stage::Serve, 1_000));
        audit.advance(&CONFIG, 1_020);
        assert_eq!(at(&audit), (Stage::Replay, 1_020));
        audit.holders[0].committed = true;
        audit.advance(&CONFIG, 1_119);
        assert_eq!(at(&audit), (Stage::Replay, 1_020));
        audit.advance(&CONFIG, 1_500);
        assert_eq!(at(&audit), (Stage::Settle, 1_135), "opening and revealing were missed as well");
    }

    #[test]
    fn an_audit_that_nobody_serves_is_over_at_once_and_late_calls_do_not_move_it() {
        for now in [1_020, 1_021, 1_050, 5_000] {
            let mut audit = audit();
            audit.advance(&CONFIG, now);
            assert_eq!(at(&audit), (Stage::Settle, 1_020), "at block {now}");
        }
    }

    #[test]
    fn a_stage_that_waits_for_nobody_gives_the_next_one_no_extra_time() {
        // No validators: nobody replays, but the trainers who served still open.
        let mut audit = Audit::draw(
            &CONFIG,
            seed(1),
            1_000,
            &[undrawn(8, 10, &[]), undrawn(9, 10, &[])],
            &[],
            vec![],
        );
        audit.cases[0].served = true;
        for now in [1_025, 1_029] {
            let mut seen = audit.clone();
            seen.advance(&CONFIG, now);
            assert_eq!(at(&seen), (Stage::Open, 1_020), "seen at block {now}");
            assert_eq!(seen.deadline(&CONFIG), Some(1_030));
        }
        audit.advance(&CONFIG, 1_030);
        assert_eq!(at(&audit), (Stage::Settle, 1_030));
    }

    #[test]
    fn only_who_committed_is_waited_for_to_reveal() {
        let mut audit = audit();
        audit.cases.iter_mut().for_each(|case| case.served = true);
        audit.advance(&CONFIG, 1_001);
        audit.holders[0].committed = true;
        audit.advance(&CONFIG, 1_101);
        assert_eq!(at(&audit), (Stage::Open, 1_101));
        audit.cases.iter_mut().for_each(|case| case.opened = true);
        audit.advance(&CONFIG, 1_102);
        audit.holders[0].revealed = true;
        audit.advance(&CONFIG, 1_103);
        assert_eq!(at(&audit), (Stage::Settle, 1_103));
    }

    #[test]
    fn a_seat_on_a_case_that_was_not_served_is_not_waited_for() {
        let mut audit = audit();
        audit.cases[0].seats = BoundedVec::truncate_from(vec![0]);
        audit.cases[1].seats = BoundedVec::truncate_from(vec![1]);
        audit.cases[1].served = true;
        audit.advance(&CONFIG, 1_020);
        audit.holders[1].committed = true;
        audit.advance(&CONFIG, 1_021);
        assert_eq!(at(&audit), (Stage::Open, 1_021));
    }

    #[test]
    fn an_audit_of_nothing_is_over() {
        let mut audit = Audit::<u64>::draw(&CONFIG, seed(1), 1_000, &[], &[(1, POL)], vec![]);
        audit.advance(&CONFIG, 1_000);
        assert_eq!(at(&audit), (Stage::Settle, 1_000));
    }

    proptest! {
        /// Whoever looks in between changes nothing, whatever has been done by then.
        #[test]
        fn looking_changes_nothing(served: [bool; 2], committed: [bool; 2], opened: [bool; 2], revealed: [bool; 2], acted in 0u32..200, first in 0u32..200, second in 0u32..200) {
            let mut audit = audit();
            for (case, (served, opened)) in audit.cases.iter_mut().zip(served.into_iter().zip(opened)) {
                (case.served, case.opened) = (served, served && opened);
            }
            for (holder, (committed, revealed)) in audit.holders.iter_mut().zip(committed.into_iter().zip(revealed)) {
                (holder.committed, holder.revealed) = (committed, committed && revealed);
            }
            audit.advance(&CONFIG, 1_000 + acted);
            let (first, second) = (1_000 + acted + first.min(second), 1_000 + acted + first.max(second));
            let mut looked = audit.clone();
            looked.advance(&CONFIG, first);
            prop_assert!(looked.stage >= audit.stage && looked.since >= audit.since && looked.since <= first);
            let mut twice = looked.clone();
            twice.advance(&CONFIG, first);
            prop_assert_eq!(&twice, &looked);
            looked.advance(&CONFIG, second);
            audit.advance(&CONFIG, second);
            prop_assert_eq!(looked, audit);
        }
    }

    #[test]
    fn limits_are_checked() {
        assert!(AuditConfig::default().is_valid() && CONFIG.is_valid());
        for invalid in [
            AuditConfig { seats: 0, ..CONFIG },
            AuditConfig { more_seats: 2, ..CONFIG },
            AuditConfig { more_seats: 17, ..CONFIG },
            AuditConfig { segments: 0, ..CONFIG },
            AuditConfig { segments: 5, ..CONFIG },
            AuditConfig { probe: 0, ..CONFIG },
            AuditConfig { probe: 17, ..CONFIG },
            AuditConfig { serve: 0, ..CONFIG },
            AuditConfig { replay: 0, ..CONFIG },
            AuditConfig { open: 0, ..CONFIG },
            AuditConfig { reveal: 0, ..CONFIG },
            AuditConfig { escrow: 0, ..CONFIG },
        ] {
            assert!(!invalid.is_valid(), "{invalid:?}");
        }
    }
}

mod verdicts {
    use super::*;

    fn verdict(findings: &[(Balance, &Finding)]) -> Verdict {
        judge(Some(&OPENED), &seats(findings))
    }

    #[test]
    fn a_quorum_of_equal_findings_decides() {
        let (right, wrong) = (replayed(&[7], true), replayed(&[8], true));
        assert_eq!(verdict(&[(1, &right), (1, &right), (1, &right)]), Verdict::Valid);
        assert_eq!(verdict(&[(1, &wrong), (1, &wrong), (1, &wrong)]), Verdict::Invalid);
        assert_eq!(verdict(&[(67, &right), (33, &wrong)]), Verdict::Valid);
        assert_eq!(verdict(&[(66, &right), (34, &wrong)]), Verdict::Unresolved);
        assert_eq!(verdict(&[(33, &right), (67, &wrong)]), Verdict::Invalid);
        assert_eq!(
            verdict(&[(1, &Finding::Impossible), (1, &Finding::Impossible)]),
            Verdict::Invalid
        );
        assert_eq!(
            verdict(&[(1, &Finding::Unavailable), (1, &Finding::Unavailable)]),
            Verdict::Withheld
        );
        assert_eq!(
            verdict(&[(1, &Finding::Unavailable), (1, &Finding::Impossible)]),
            Verdict::Unresolved
        );
    }

    #[test]
    fn two_seats_of_three_with_equal_stakes_are_no_quorum() {
        let (right, wrong) = (replayed(&[7], true), replayed(&[8], true));
        assert_eq!(verdict(&[(1, &right), (1, &right), (1, &wrong)]), Verdict::Unresolved);
        assert_eq!(verdict(&[(1, &right), (1, &right), (1, &right), (1, &wrong)]), Verdict::Valid);
    }

    #[test]
    fn a_payload_that_packing_does_not_give_is_invalid() {
        assert_eq!(verdict(&[(1, &replayed(&[7], false))]), Verdict::Invalid);
        let (packed, not) = (replayed(&[8], true), replayed(&[8], false));
        assert_eq!(
            verdict(&[(1, &packed), (1, &not)]),
            Verdict::Unresolved,
            "they do not say the same"
        );
    }

    #[test]
    fn different_liars_decide_nothing_together() {
        let liars =
            [replayed(&[1], true), replayed(&[2], true), replayed(&[3], true), Finding::Impossible];
        assert_eq!(
            verdict(&liars.iter().map(|liar| (25, liar)).collect::<Vec<_>>()),
            Verdict::Unresolved
        );
        assert_eq!(verdict(&[(66, &liars[0]), (34, &liars[1])]), Verdict::Unresolved);
    }

    #[test]
    fn no_opening_is_no_defence() {
        let right = replayed(&[7], true);
        assert_eq!(judge(None, &seats(&[(1, &right), (1, &right)])), Verdict::Withheld);
        assert_eq!(judge(None, &[]), Verdict::Withheld);
    }

    #[test]
    fn silence_and_no_stake_decide_nothing() {
        let right = replayed(&[7], true);
        assert_eq!(judge(Some(&OPENED), &[]), Verdict::Unresolved);
        assert_eq!(judge(Some(&OPENED), &[(1, None), (1, None)]), Verdict::Unresolved);
        assert_eq!(judge(Some(&OPENED), &[(66, Some(&right)), (34, None)]), Verdict::Unresolved);
        assert_eq!(judge(Some(&OPENED), &[(67, Some(&right)), (33, None)]), Verdict::Valid);
        assert_eq!(verdict(&[(0, &right)]), Verdict::Unresolved);
    }

    #[test]
    fn being_right_is_saying_what_the_verdict_says() {
        let (right, wrong, unpacked) =
            (replayed(&[7], true), replayed(&[8], true), replayed(&[7], false));
        let findings = [right, wrong, unpacked, Finding::Impossible, Finding::Unavailable];
        // Each in turn with nearly all the stake, beside one seat for every finding, and a silent
        // one.
        for (at, verdict) in [
            Verdict::Valid,
            Verdict::Invalid,
            Verdict::Invalid,
            Verdict::Invalid,
            Verdict::Withheld,
        ]
        .into_iter()
        .enumerate()
        {
            let stake = |other| if other == at { 100 } else { 1 };
            let mut seats: Vec<Seat> = findings
                .iter()
                .enumerate()
                .map(|(other, found)| (stake(other), Some(found)))
                .collect();
            seats.push((1, None));
            assert_eq!(judge(Some(&OPENED), &seats), verdict);
            let right: Vec<bool> = (0..6).map(|other| other == at).collect();
            assert_eq!(right_seats(Some(&OPENED), &seats), right);
            assert_eq!(right_seats(None, &seats), [false; 6]);
        }
        let undecided: Vec<Seat> = findings.iter().map(|found| (1, Some(found))).collect();
        assert_eq!(right_seats(Some(&OPENED), &undecided), [false; 5]);
    }

    #[test]
    fn a_sketch_says_nothing_of_bits() {
        let sketched = Finding::Sketched { ends: BoundedVec::new(), measure: Measure::default() };
        let right = replayed(&[7], true);
        assert_eq!(verdict(&[(1, &sketched), (1, &sketched)]), Verdict::Unresolved);
        let seats = [(70, Some(&right)), (30, Some(&sketched))];
        assert_eq!(
            (judge(Some(&OPENED), &seats), right_seats(Some(&OPENED), &seats)),
            (Verdict::Valid, vec![true, false])
        );
    }

    #[test]
    fn guessing_that_an_update_is_invalid_is_not_being_right() {
        let (honest, guess, unpacked) =
            (replayed(&[8], true), replayed(&[9], true), replayed(&[8], false));
        let seats = [
            (80, Some(&honest)),
            (5, Some(&guess)),
            (5, Some(&unpacked)),
            (5, Some(&Finding::Impossible)),
            (5, None),
        ];
        assert_eq!(judge(Some(&OPENED), &seats), Verdict::Invalid);
        assert_eq!(right_seats(Some(&OPENED), &seats), [true, false, false, false, false]);
        assert_eq!(right_seats(None, &seats), [false; 5]);
        assert_eq!(right_seats(Some(&OPENED), &seats[1..]), [false; 4]);
        let replayed = replayed(&[7], true);
        assert_eq!(
            right_seats(Some(&OPENED), &[(70, Some(&replayed)), (30, Some(&guess))]),
            [true, false]
        );
    }

    /// Any finding, of few different ones.
    fn finding() -> impl Strategy<Value = Option<Finding>> {
        prop_oneof![
            Just(None),
            Just(Some(Finding::Impossible)),
            Just(Some(Finding::Unavailable)),
            (6u8..10, any::<bool>()).prop_map(|(end, packed)| Some(replayed(&[end], packed))),
        ]
    }

    proptest! {
        #[test]
        fn a_verdict_has_a_quorum_that_says_the_same(panel in prop::collection::vec((0u128..100 * POL, finding()), 0..17)) {
            let seats: Vec<Seat> = panel.iter().map(|(stake, finding)| (*stake, finding.as_ref())).collect();
            let whole: Balance = panel.iter().map(|(stake, _)| stake).sum();
            let verdict = judge(Some(&OPENED), &seats);
            let stake = |wanted: &Finding| panel.iter().filter(|(_, finding)| finding.as_ref() == Some(wanted)).map(|(stake, _)| stake).sum();
            let decided = panel.iter().filter_map(|(_, finding)| finding.as_ref()).find(|finding| is_quorum(stake(finding), whole));
            prop_assert_eq!(verdict == Verdict::Unresolved, decided.is_none());
            if let Some(decided) = decided {
                prop_assert_eq!(said(&OPENED, decided).map(|(verdict, _)| verdict), Some(verdict));
                let right: Vec<bool> = panel.iter().map(|(_, finding)| finding.as_ref() == Some(decided)).collect();
                prop_assert_eq!(right_seats(Some(&OPENED), &seats), right);
            }
            let mut turned = seats.clone();
            turned.reverse();
            prop_assert_eq!(judge(Some(&OPENED), &turned), verdict, "the order of seats says nothing");
        }

        #[test]
        fn an_honest_quorum_is_not_overruled(liars in prop::collection::vec((1u128..100, finding()), 0..8), valid: bool) {
            let honest = replayed(&[if valid { 7 } else { 8 }], true);
            let lying: Balance = liars.iter().map(|(stake, _)| stake).sum();
            let mut seats: Vec<Seat> = liars.iter().map(|(stake, finding)| (*stake, finding.as_ref())).collect();
            seats.push((lying * 67 / 33 + 1, Some(&honest)));
            prop_assert_eq!(judge(Some(&OPENED), &seats), if valid { Verdict::Valid } else { Verdict::Invalid });
        }

        #[test]
        fn less_than_a_quorum_convicts_nobody(liars in prop::collection::vec((1u128..100, finding()), 0..8)) {
            // A third and a bit of honest stake: liars may stall, but neither convict nor, of a
            // cheat, acquit.
            let lying: Balance = liars.iter().map(|(stake, _)| stake).sum();
            let seats_with = |honest: &Finding| {
                let mut seats: Vec<(Balance, Option<Finding>)> = liars.clone();
                seats.push((lying * 34 / 66 + 1, Some(honest.clone())));
                judge(Some(&OPENED), &seats.iter().map(|(stake, finding)| (*stake, finding.as_ref())).collect::<Vec<_>>())
            };
            let honest = seats_with(&replayed(&[7], true));
            prop_assert!(honest == Verdict::Valid || honest == Verdict::Unresolved, "{:?}", honest);
            let cheat = seats_with(&replayed(&[9], false));
            prop_assert!(cheat == Verdict::Invalid || cheat == Verdict::Unresolved, "{:?}", cheat);
        }

        #[test]
        fn falling_silent_decides_nothing_new(panel in prop::collection::vec((1u128..100, finding()), 1..10), silent: prop::sample::Index) {
            let seats: Vec<Seat> = panel.iter().map(|(stake, finding)| (*stake, finding.as_ref())).collect();
            let before = judge(Some(&OPENED), &seats);
            let mut after = seats.clone();
            after[silent.index(panel.len())].1 = None;
            let after = judge(Some(&OPENED), &after);
            prop_assert!(after == before || after == Verdict::Unresolved);
        }
    }
}

mod figures {
    use super::*;

    fn measure(gain: i32, error: u32, own: i32, quality: Ppm, shards: &[i32]) -> Measure {
        Measure { gain, error, own, quality, shards: BoundedVec::truncate_from(shards.to_vec()) }
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
        let seats: Vec<Seat> = panel.iter().map(|finding| (1, Some(finding))).collect();
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
        assert_eq!(consensus(&OPENED, &[]), Measure::default());
    }

    #[test]
    fn the_median_is_by_weight() {
        let median = |values: &[(i64, Balance)]| weighted_median(values.iter().copied());
        assert_eq!(median(&[]), 0);
        assert_eq!(median(&[(5, 0)]), 5);
        assert_eq!(median(&[(1, 1), (2, 1)]), 1);
        assert_eq!(median(&[(9, 1), (1, 3), (2, 1)]), 1);
        assert_eq!(median(&[(1, 2), (2, 1), (9, 4)]), 9);
    }

    #[test]
    fn a_weight_never_overflows_nor_does_the_sum_of_a_round() {
        let largest = weight(u32::MAX, u64::MAX, MILLION, MILLION);
        assert_eq!(largest, u128::from(u32::MAX) * u128::from(u64::MAX) * u128::from(MILLION));
        assert!(largest.checked_mul(MAX_SUBMISSIONS.into()).is_some());
        assert_eq!(weight(10, 4_096, MILLION, 500_000), 10 * 4_096 * 500_000);
        assert_eq!(
            (weight(0, 9, 9, 9), weight(9, 0, 9, 9), weight(9, 9, 0, 9), weight(9, 9, 9, 0)),
            (0, 0, 0, 0)
        );
        assert_eq!(weight(1, 1, MILLION, u32::MAX), u128::from(MILLION), "quality is at most one");
    }

    #[test]
    fn reputation_comes_to_both_its_ends() {
        let after =
            |good| (0..300).fold(MILLION / 2, |reputation, _| move_reputation(reputation, good));
        assert_eq!((after(true), after(false)), (MILLION, 0));
        assert_eq!(move_reputation(0, true), 62_500);
        assert_eq!(move_reputation(MILLION, false), 937_500);
    }

    proptest! {
        #[test]
        fn the_median_is_one_of_its_values(values in prop::collection::vec((any::<i64>(), 0u128..1 << 80), 1..20)) {
            let median = weighted_median(values.iter().copied());
            prop_assert!(values.iter().any(|(value, _)| *value == median));
            let whole: Balance = values.iter().map(|(_, weight)| weight).sum();
            let up_to: Balance = values.iter().filter(|(value, _)| *value <= median).map(|(_, weight)| weight).sum();
            let below: Balance = values.iter().filter(|(value, _)| *value < median).map(|(_, weight)| weight).sum();
            prop_assert!(2 * up_to >= whole && (2 * below < whole || whole == 0));
        }

        #[test]
        fn the_median_is_monotone(values in prop::collection::vec((-1_000i64..1_000, 1u128..100), 1..12), at: prop::sample::Index, more in 0i64..1_000) {
            let before = weighted_median(values.iter().copied());
            let mut raised = values.clone();
            raised[at.index(values.len())].0 += more;
            prop_assert!(weighted_median(raised.into_iter()) >= before);
        }

        #[test]
        fn a_minority_moves_no_figure_beyond_honest_ones(honest in prop::collection::vec((-1_000i32..1_000, 1u128..100), 1..9), liars in prop::collection::vec(any::<i32>(), 0..8)) {
            let stake: Balance = honest.iter().map(|(_, stake)| stake).sum();
            let each = (stake - 1) / (liars.len() as u128).max(1);
            let panel: Vec<(Balance, Finding)> = honest.iter().map(|&(gain, stake)| (stake, gain))
                .chain(liars.iter().map(|&gain| (each, gain)))
                .map(|(stake, gain)| (stake, measured(measure(gain, gain.unsigned_abs(), gain, 5, &[gain]))))
                .collect();
            let seats: Vec<Seat> = panel.iter().map(|(stake, finding)| (*stake, Some(finding))).collect();
            let (low, high) = (honest.iter().map(|(gain, _)| *gain).min().unwrap(), honest.iter().map(|(gain, _)| *gain).max().unwrap());
            let found = consensus(&OPENED, &seats);
            for figure in [found.gain, found.own, found.shards[0]] {
                prop_assert!((low..=high).contains(&figure), "{} is not in {}..={}", figure, low, high);
            }
            prop_assert!(found.error <= honest.iter().map(|(gain, _)| gain.unsigned_abs()).max().unwrap());
        }

        #[test]
        fn a_weight_grows_with_each_factor(score: u32, tokens: u64, bonus in 0..=MILLION, quality in 0..=MILLION) {
            let base = weight(score, tokens, bonus, quality);
            prop_assert!(weight(score.saturating_add(1), tokens, bonus, quality) >= base);
            prop_assert!(weight(score, tokens.saturating_add(1), bonus, quality) >= base);
            prop_assert!(weight(score, tokens, bonus + 1, quality) >= base);
            prop_assert!(weight(score, tokens, bonus, quality + 1) >= base);
        }

        #[test]
        fn reputation_stays_a_share(reputation: Ppm) {
            let (up, down) = (move_reputation(reputation, true), move_reputation(reputation, false));
            prop_assert!(down <= reputation.min(MILLION) && reputation.min(MILLION) <= up && up <= MILLION);
            prop_assert!(up - reputation.min(MILLION) <= MILLION / 16 && reputation.min(MILLION) - down <= MILLION / 16);
        }
    }
}

mod encodings {
    use super::*;

    #[test]
    fn a_commitment_binds_all_evidence() {
        let evidence = |finding| Evidence::truncate_from(vec![(0, finding)]);
        let of = |account: u8, genesis: u8, audit, evidence: &Evidence, salt: u8| {
            evidence_commitment(&[account; 32], &[genesis; 32], audit, evidence, &[salt; 32])
        };
        let found = evidence(replayed(&[7], true));
        let commitment = of(1, 2, 3, &found, 4);
        assert_eq!(commitment, of(1, 2, 3, &found, 4));
        let larger = Measure { gain: 1, ..Default::default() };
        for other in [
            of(9, 2, 3, &found, 4),
            of(1, 9, 3, &found, 4),
            of(1, 2, 9, &found, 4),
            of(1, 2, 3, &found, 9),
            of(1, 2, 3, &Evidence::new(), 4),
            of(1, 2, 3, &evidence(replayed(&[8], true)), 4),
            of(1, 2, 3, &evidence(replayed(&[7], false)), 4),
            of(1, 2, 3, &evidence(replayed(&[7, 7], true)), 4),
            of(1, 2, 3, &evidence(measured(larger)), 4),
            of(1, 2, 3, &evidence(Finding::Impossible), 4),
            of(1, 2, 3, &evidence(Finding::Unavailable), 4),
            of(1, 2, 3, &Evidence::truncate_from(vec![(1, replayed(&[7], true))]), 4),
        ] {
            assert_ne!(commitment, other);
        }
        // An account's bytes cannot pass for the beginning of what follows them.
        let account = |bytes: &[u8]| evidence_commitment(bytes, &[0; 32], 0, &found, &[0; 32]);
        assert_ne!(account(&[0; 31]), account(&[0; 32]));
    }

    #[test]
    fn what_the_chain_stores_is_small() {
        type Account = [u8; 32];
        assert!(Case::<Account>::max_encoded_len() <= 96, "{}", Case::<Account>::max_encoded_len());
        assert!(
            Audit::<Account>::max_encoded_len() <= 64 * 1_024,
            "{}",
            Audit::<Account>::max_encoded_len()
        );
        assert!(
            Undrawn::<Account>::max_encoded_len() <= 96,
            "{}",
            Undrawn::<Account>::max_encoded_len()
        );
        assert!(Shown::max_encoded_len() <= 3 * 1_024, "{}", Shown::max_encoded_len());
        assert!(Finding::max_encoded_len() <= 2 * 1_024, "{}", Finding::max_encoded_len());
        assert!(Evidence::max_encoded_len() <= 128 * 1_024, "{}", Evidence::max_encoded_len());
    }

    #[test]
    fn the_largest_of_each_fits_its_bound() {
        let stakes: Vec<([u8; 32], Balance)> = (0..2_000u32)
            .map(|account| (crate::digest(b"account", &account), Balance::MAX / 4_096))
            .collect();
        let config = AuditConfig { seats: 15, more_seats: 16, segments: 4, ..Default::default() };
        let updates: Vec<_> = (0..64u8)
            .map(|index| Undrawn {
                round: u32::MAX,
                draw: 1,
                trainer: [index; 32],
                index,
                segments: 64,
                known: BoundedVec::truncate_from((0..20).collect()),
            })
            .collect();
        let mut stakes = stakes;
        stakes.sort();
        let audit = Audit::draw(
            &config,
            [9; 32],
            u32::MAX,
            &updates,
            &stakes,
            vec![ShardId { manifest: 1, index: 1 }; 16],
        );
        assert!(
            audit.holders.len() > 600
                && audit
                    .cases
                    .iter()
                    .all(|case| case.seats.len() == 16 && case.segments.len() == 4)
        );
        assert!(audit.encode().len() <= Audit::<[u8; 32]>::max_encoded_len());
        assert_eq!(Audit::decode(&mut &audit.encode()[..]), Ok(audit));

        let measure =
            Measure { shards: BoundedVec::truncate_from(vec![i32::MIN; 64]), ..Default::default() };
        let finding = Finding::Replayed {
            ends: BoundedVec::truncate_from(vec![[1; 32]; 4]),
            packed: true,
            measure,
        };
        let evidence = Evidence::truncate_from((0..64).map(|at| (at, finding.clone())).collect());
        assert!(evidence.encode().len() <= Evidence::max_encoded_len());
        assert_eq!(Evidence::decode(&mut &evidence.encode()[..]), Ok(evidence.clone()));
        let mut cut = evidence.encode();
        cut.pop();
        assert!(Evidence::decode(&mut &cut[..]).is_err());
    }

    #[test]
    fn evidence_on_too_many_cases_is_refused() {
        let many = vec![(0u8, Finding::Impossible); 65].encode();
        assert!(Evidence::decode(&mut &many[..]).is_err());
    }
}
