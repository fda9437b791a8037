// SPDX-License-Identifier: Apache-2.0

use super::*;

fn verdict(findings: &[(usize, &Finding)]) -> Verdict {
    judge(Some(&OPENED), &said(findings))
}

#[test]
fn two_thirds_that_find_the_same_decide() {
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
fn two_of_three_seats_decide_and_ten_of_sixteen_do_not() {
    let (right, wrong) = (replayed(&[7], true), replayed(&[8], true));
    assert_eq!(verdict(&[(2, &right), (1, &wrong)]), Verdict::Valid);
    assert_eq!(verdict(&[(1, &right), (1, &wrong)]), Verdict::Unresolved);
    assert_eq!(verdict(&[(10, &right), (6, &wrong)]), Verdict::Unresolved);
    assert_eq!(verdict(&[(11, &right), (5, &wrong)]), Verdict::Valid);
    assert_eq!(judge(Some(&OPENED), &[(11, Some(&wrong)), (5, None)]), Verdict::Invalid);
    assert_eq!(judge(Some(&OPENED), &[(10, Some(&wrong)), (6, None)]), Verdict::Unresolved);
}

#[test]
fn the_first_draw_acquits_where_nobody_objects_and_does_nothing_else() {
    use Verdict::{Invalid, Unresolved, Valid, Withheld};
    let first = |found, opinions: &[Option<Verdict>]| verdict_of_draw(0, found, opinions);
    assert_eq!(first(Valid, &[Some(Valid); 3]), Valid);
    assert_eq!(first(Valid, &[Some(Valid), Some(Valid), None]), Valid, "silence is no objection");
    assert_eq!(first(Valid, &[Some(Valid), Some(Valid), Some(Invalid)]), Unresolved);
    assert_eq!(first(Valid, &[Some(Valid), Some(Valid), Some(Withheld)]), Unresolved);
    assert_eq!(first(Invalid, &[Some(Invalid); 3]), Unresolved, "three convict nobody");
    assert_eq!(first(Withheld, &[Some(Withheld); 3]), Unresolved);
    assert_eq!(first(Withheld, &[None; 3]), Withheld, "silence of the trainer is a fact");
    for found in [Valid, Invalid, Withheld, Unresolved] {
        assert_eq!(verdict_of_draw(1, found, &[Some(Invalid), Some(Valid)]), found);
    }
}

#[test]
fn opinions_are_those_of_the_findings() {
    let panel =
        [replayed(&[7], true), replayed(&[7], false), Finding::Impossible, Finding::Unavailable];
    let groups: Vec<Votes> =
        panel.iter().map(|finding| (1, Some(finding))).chain([(1, None)]).collect();
    use Verdict::{Invalid, Valid, Withheld};
    assert_eq!(
        exact::opinions(Some(&OPENED), &seats(&groups)),
        [Some(Valid), Some(Invalid), Some(Invalid), Some(Withheld), None]
    );
    assert_eq!(exact::opinions(None, &seats(&groups)), [None; 5]);
}

#[test]
fn earlier_seats_are_judged_by_the_second_draw() {
    use SeatResult::{Right, Silent, Wrong};
    use Verdict::{Invalid, Unresolved, Valid, Withheld};
    let results = |verdict| {
        [Some(Valid), Some(Invalid), Some(Withheld), None]
            .map(|opinion| EarlierSeat { account: 1u64, opinion }.result(verdict))
    };
    assert_eq!(results(Valid), [Some(Right), Some(Wrong), Some(Silent), Some(Silent)]);
    assert_eq!(results(Invalid), [None, Some(Right), None, Some(Silent)]);
    assert_eq!(results(Withheld), [None; 4]);
    assert_eq!(results(Unresolved), [None; 4]);
}

#[test]
fn silence_after_an_accusation_by_most_is_a_confession() {
    let silence = |opinions: &[Option<Verdict>]| {
        let seats = opinions.iter().map(|&opinion| EarlierSeat { account: 1, opinion });
        let earlier = BoundedVec::truncate_from(seats.collect());
        Case { earlier, ..case(&[1], 4) }.verdict_of_silence()
    };
    let (valid, invalid) = (Some(Verdict::Valid), Some(Verdict::Invalid));
    assert_eq!(silence(&[]), Verdict::Withheld);
    assert_eq!(silence(&[valid, valid, invalid]), Verdict::Withheld);
    assert_eq!(silence(&[invalid, None]), Verdict::Withheld);
    assert_eq!(silence(&[valid, invalid, invalid]), Verdict::Invalid);
    assert_eq!(silence(&[Some(Verdict::Withheld); 3]), Verdict::Withheld);
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
    assert_eq!(judge(None, &said(&[(1, &right), (1, &right)])), Verdict::Withheld);
    assert_eq!(judge(None, &[]), Verdict::Withheld);
}

#[test]
fn silence_decides_nothing() {
    let right = replayed(&[7], true);
    assert_eq!(judge(Some(&OPENED), &[]), Verdict::Unresolved);
    assert_eq!(judge(Some(&OPENED), &[(1, None), (1, None)]), Verdict::Unresolved);
    assert_eq!(judge(Some(&OPENED), &[(66, Some(&right)), (34, None)]), Verdict::Unresolved);
    assert_eq!(judge(Some(&OPENED), &[(67, Some(&right)), (33, None)]), Verdict::Valid);
}

#[test]
fn being_right_is_saying_what_the_verdict_says() {
    let (right, wrong, unpacked) =
        (replayed(&[7], true), replayed(&[8], true), replayed(&[7], false));
    let findings = [right, wrong, unpacked, Finding::Impossible, Finding::Unavailable];
    // Each in turn with most seats, beside one seat for every finding, and a silent one.
    for (at, verdict) in
        [Verdict::Valid, Verdict::Invalid, Verdict::Invalid, Verdict::Invalid, Verdict::Withheld]
            .into_iter()
            .enumerate()
    {
        let votes = |other| if other == at { 100 } else { 1 };
        let mut seats: Vec<Votes> =
            findings.iter().enumerate().map(|(other, found)| (votes(other), Some(found))).collect();
        seats.push((1, None));
        assert_eq!(judge(Some(&OPENED), &seats), verdict);
        let right: Vec<bool> = (0..6).map(|other| other == at).collect();
        assert_eq!(right_groups(Some(&OPENED), &seats), right);
        assert_eq!(right_groups(None, &seats), [false; 6]);
    }
    let undecided: Vec<Votes> = findings.iter().map(|found| (1, Some(found))).collect();
    assert_eq!(right_groups(Some(&OPENED), &undecided), [false; 5]);
}

#[test]
fn a_sketch_says_nothing_of_bits() {
    let sketched =
        Finding::Sketched { ends: BoundedVec::new(), measure: UpdateMeasurement::default() };
    let right = replayed(&[7], true);
    assert_eq!(verdict(&[(1, &sketched), (1, &sketched)]), Verdict::Unresolved);
    let seats = [(70, Some(&right)), (30, Some(&sketched))];
    assert_eq!(
        (judge(Some(&OPENED), &seats), right_groups(Some(&OPENED), &seats)),
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
    assert_eq!(right_groups(Some(&OPENED), &seats), [true, false, false, false, false]);
    assert_eq!(right_groups(None, &seats), [false; 5]);
    assert_eq!(right_groups(Some(&OPENED), &seats[1..]), [false; 4]);
    let replayed = replayed(&[7], true);
    assert_eq!(
        right_groups(Some(&OPENED), &[(70, Some(&replayed)), (30, Some(&guess))]),
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
    fn a_verdict_is_that_of_two_thirds(
        panel in prop::collection::vec((1usize..6, finding()), 0..17),
    ) {
        let seats: Vec<Votes> =
            panel.iter().map(|(votes, finding)| (*votes, finding.as_ref())).collect();
        let whole: usize = panel.iter().map(|(votes, _)| votes).sum();
        let verdict = judge(Some(&OPENED), &seats);
        let votes = |wanted: &Finding| {
            panel
                .iter()
                .filter(|(_, finding)| finding.as_ref() == Some(wanted))
                .map(|(votes, _)| votes)
                .sum()
        };
        let decided = panel
            .iter()
            .filter_map(|(_, finding)| finding.as_ref())
            .find(|finding| is_seat_quorum(votes(finding), whole));
        prop_assert_eq!(verdict == Verdict::Unresolved, decided.is_none());
        if let Some(decided) = decided {
            prop_assert_eq!(
                exact::vote(&OPENED, decided).map(|(verdict, _)| verdict),
                Some(verdict)
            );
            let right: Vec<bool> =
                panel.iter().map(|(_, finding)| finding.as_ref() == Some(decided)).collect();
            prop_assert_eq!(right_groups(Some(&OPENED), &seats), right);
        }
        let mut turned = seats.clone();
        turned.reverse();
        prop_assert_eq!(judge(Some(&OPENED), &turned), verdict, "the order of seats says nothing");
    }

    #[test]
    fn honest_two_thirds_are_not_overruled(
        liars in prop::collection::vec((1usize..6, finding()), 0..8),
        valid: bool,
    ) {
        let honest = replayed(&[if valid { 7 } else { 8 }], true);
        let lying: usize = liars.iter().map(|(votes, _)| votes).sum();
        let mut seats: Vec<Votes> =
            liars.iter().map(|(votes, finding)| (*votes, finding.as_ref())).collect();
        seats.push((lying * 2 + 1, Some(&honest)));
        prop_assert_eq!(
            judge(Some(&OPENED), &seats),
            if valid { Verdict::Valid } else { Verdict::Invalid }
        );
    }

    #[test]
    fn less_than_two_thirds_convict_nobody(
        liars in prop::collection::vec((1usize..6, finding()), 0..8),
    ) {
        // More than a third of the seats are honest: liars may stall, but neither convict nor, of a
        // cheat, acquit.
        let lying: usize = liars.iter().map(|(votes, _)| votes).sum();
        let seats_with = |honest: &Finding| {
            let mut seats: Vec<(usize, Option<Finding>)> = liars.clone();
            seats.push((lying / 2 + 1, Some(honest.clone())));
            judge(
                Some(&OPENED),
                &seats
                    .iter()
                    .map(|(votes, finding)| (*votes, finding.as_ref()))
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
        panel in prop::collection::vec((1usize..6, finding()), 1..10),
        silent: prop::sample::Index,
    ) {
        let seats: Vec<Votes> =
            panel.iter().map(|(votes, finding)| (*votes, finding.as_ref())).collect();
        let before = judge(Some(&OPENED), &seats);
        let mut after = seats.clone();
        after[silent.index(panel.len())].1 = None;
        let after = judge(Some(&OPENED), &after);
        prop_assert!(after == before || after == Verdict::Unresolved);
    }
}
