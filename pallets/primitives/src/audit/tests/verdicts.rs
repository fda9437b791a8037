// SPDX-License-Identifier: Apache-2.0

use super::*;

fn verdict(findings: &[(Balance, &Finding)]) -> Verdict {
    judge(Some(&OPENED), &staked(findings))
}

#[test]
fn a_quorum_of_equal_findings_decides() {
    let (right, wrong) = (replayed(&[7], true), replayed(&[8], true));
    assert_eq!(verdict(&[(1, &right), (1, &right), (1, &right)]), Verdict::Valid);
    assert_eq!(verdict(&[(1, &wrong), (1, &wrong), (1, &wrong)]), Verdict::Invalid);
    assert_eq!(verdict(&[(67, &right), (33, &wrong)]), Verdict::Valid);
    assert_eq!(verdict(&[(66, &right), (34, &wrong)]), Verdict::Unresolved);
    assert_eq!(verdict(&[(33, &right), (67, &wrong)]), Verdict::Invalid);
    assert_eq!(verdict(&[(1, &Finding::Impossible), (1, &Finding::Impossible)]), Verdict::Invalid);
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
    assert_eq!(judge(None, &staked(&[(1, &right), (1, &right)])), Verdict::Withheld);
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
    for (at, verdict) in
        [Verdict::Valid, Verdict::Invalid, Verdict::Invalid, Verdict::Invalid, Verdict::Withheld]
            .into_iter()
            .enumerate()
    {
        let stake = |other| if other == at { 100 } else { 1 };
        let mut seats: Vec<StakedFinding> =
            findings.iter().enumerate().map(|(other, found)| (stake(other), Some(found))).collect();
        seats.push((1, None));
        assert_eq!(judge(Some(&OPENED), &seats), verdict);
        let right: Vec<bool> = (0..6).map(|other| other == at).collect();
        assert_eq!(right_seats(Some(&OPENED), &seats), right);
        assert_eq!(right_seats(None, &seats), [false; 6]);
    }
    let undecided: Vec<StakedFinding> = findings.iter().map(|found| (1, Some(found))).collect();
    assert_eq!(right_seats(Some(&OPENED), &undecided), [false; 5]);
}

#[test]
fn a_sketch_says_nothing_of_bits() {
    let sketched =
        Finding::Sketched { ends: BoundedVec::new(), measure: UpdateMeasurement::default() };
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
    fn a_verdict_has_a_quorum_that_says_the_same(
        panel in prop::collection::vec((0u128..100 * POL, finding()), 0..17),
    ) {
        let seats: Vec<StakedFinding> =
            panel.iter().map(|(stake, finding)| (*stake, finding.as_ref())).collect();
        let whole: Balance = panel.iter().map(|(stake, _)| stake).sum();
        let verdict = judge(Some(&OPENED), &seats);
        let stake = |wanted: &Finding| {
            panel
                .iter()
                .filter(|(_, finding)| finding.as_ref() == Some(wanted))
                .map(|(stake, _)| stake)
                .sum()
        };
        let decided = panel
            .iter()
            .filter_map(|(_, finding)| finding.as_ref())
            .find(|finding| is_quorum(stake(finding), whole));
        prop_assert_eq!(verdict == Verdict::Unresolved, decided.is_none());
        if let Some(decided) = decided {
            prop_assert_eq!(
                exact::vote(&OPENED, decided).map(|(verdict, _)| verdict),
                Some(verdict)
            );
            let right: Vec<bool> =
                panel.iter().map(|(_, finding)| finding.as_ref() == Some(decided)).collect();
            prop_assert_eq!(right_seats(Some(&OPENED), &seats), right);
        }
        let mut turned = seats.clone();
        turned.reverse();
        prop_assert_eq!(judge(Some(&OPENED), &turned), verdict, "the order of seats says nothing");
    }

    #[test]
    fn an_honest_quorum_is_not_overruled(
        liars in prop::collection::vec((1u128..100, finding()), 0..8),
        valid: bool,
    ) {
        let honest = replayed(&[if valid { 7 } else { 8 }], true);
        let lying: Balance = liars.iter().map(|(stake, _)| stake).sum();
        let mut seats: Vec<StakedFinding> =
            liars.iter().map(|(stake, finding)| (*stake, finding.as_ref())).collect();
        seats.push((lying * 67 / 33 + 1, Some(&honest)));
        prop_assert_eq!(
            judge(Some(&OPENED), &seats),
            if valid { Verdict::Valid } else { Verdict::Invalid }
        );
    }

    #[test]
    fn less_than_a_quorum_convicts_nobody(
        liars in prop::collection::vec((1u128..100, finding()), 0..8),
    ) {
        // A third and a bit of honest stake: liars may stall, but neither convict nor, of a
        // cheat, acquit.
        let lying: Balance = liars.iter().map(|(stake, _)| stake).sum();
        let seats_with = |honest: &Finding| {
            let mut seats: Vec<(Balance, Option<Finding>)> = liars.clone();
            seats.push((lying * 34 / 66 + 1, Some(honest.clone())));
            judge(
                Some(&OPENED),
                &seats
                    .iter()
                    .map(|(stake, finding)| (*stake, finding.as_ref()))
                    .collect::<Vec<_>>(),
            )
        };
        let honest = seats_with(&replayed(&[7], true));
        prop_assert!(honest == Verdict::Valid || honest == Verdict::Unresolved, "{:?}", honest);
        let cheat = seats_with(&replayed(&[9], false));
        prop_assert!(cheat == Verdict::Invalid || cheat == Verdict::Unresolved, "{:?}", cheat);
    }

    #[test]
    fn falling_silent_decides_nothing_new(
        panel in prop::collection::vec((1u128..100, finding()), 1..10),
        silent: prop::sample::Index,
    ) {
        let seats: Vec<StakedFinding> =
            panel.iter().map(|(stake, finding)| (*stake, finding.as_ref())).collect();
        let before = judge(Some(&OPENED), &seats);
        let mut after = seats.clone();
        after[silent.index(panel.len())].1 = None;
        let after = judge(Some(&OPENED), &after);
        prop_assert!(after == before || after == Verdict::Unresolved);
    }
}
