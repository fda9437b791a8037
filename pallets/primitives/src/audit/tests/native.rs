// SPDX-License-Identifier: Apache-2.0

//! Judgement within a distance.

use super::*;
use crate::{
    audit::native::{consensus, judge, right_seats},
    prf::Prf,
    sketch::{BUCKETS, PARTS, PartSketch, Sketch},
    trace::Carry,
};

const TOLERANCE: Ppm = 10_000;

/// A sketch whose parts all are `size`.
fn flat(size: i16) -> Sketch {
    Sketch { parts: [PartSketch::new(&[size.into(); BUCKETS], 0); PARTS] }
}

fn sketched(ends: &[Sketch], gain: i32) -> Finding {
    Finding::Sketched {
        ends: ends.to_vec().try_into().unwrap(),
        measure: UpdateMeasurement { gain, ..UpdateMeasurement::default() },
    }
}

fn replayed(size: i16) -> Finding {
    sketched(&[flat(size)], 0)
}

/// Judges seats given by their number, finding and binding.
fn verdict(seats: &[(usize, Option<&Finding>, Option<Binding>)]) -> Verdict {
    let seats: Vec<_> = seats
        .iter()
        .flat_map(|&(votes, finding, binding)| vec![Seat { finding, binding }; votes])
        .collect();
    judge(Some(&[flat(20_000)]), TOLERANCE, &seats)
}

#[test]
fn a_quorum_decides() {
    let (near, far, further) = (replayed(20_100), replayed(21_000), replayed(25_000));
    let (bound, other, lost) =
        (Some(Binding::Bound), Some(Binding::Mismatch), Some(Binding::Unavailable));
    assert_eq!(verdict(&[(67, Some(&near), bound), (33, Some(&far), bound)]), Verdict::Valid);
    assert_eq!(verdict(&[(33, Some(&near), bound), (67, Some(&far), bound)]), Verdict::Invalid);
    assert_eq!(
        verdict(&[(66, Some(&near), bound), (34, None, None)]),
        Verdict::Unresolved,
        "silence counts"
    );
    assert_eq!(
        verdict(&[(66, Some(&near), bound), (34, Some(&near), None)]),
        Verdict::Unresolved,
        "so does half of a word"
    );
    assert_eq!(
        verdict(&[(66, Some(&near), bound), (34, Some(&near), Some(Binding::Unchecked))]),
        Verdict::Unresolved,
        "so do ends that nobody checked"
    );
    assert_eq!(
        verdict(&[(50, Some(&far), bound), (50, Some(&further), bound)]),
        Verdict::Unresolved,
        "of one thing"
    );
    assert_eq!(verdict(&[(67, Some(&near), other), (33, Some(&near), bound)]), Verdict::Invalid);
    assert_eq!(verdict(&[(67, Some(&near), lost), (33, Some(&near), bound)]), Verdict::Withheld);
    assert_eq!(
        verdict(&[
            (40, Some(&near), lost),
            (27, Some(&Finding::Unavailable), None),
            (33, None, None)
        ]),
        Verdict::Withheld
    );
    assert_eq!(
        verdict(&[(67, Some(&Finding::Impossible), None), (33, Some(&near), bound)]),
        Verdict::Invalid
    );
    assert_eq!(verdict(&[]), Verdict::Unresolved);
    let seat = Seat { finding: Some(&near), binding: bound };
    assert_eq!(judge(None, TOLERANCE, &[seat]), Verdict::Withheld);
    assert_eq!(judge(Some(&[]), TOLERANCE, &[seat]), Verdict::Invalid, "another number of ends");
}

#[test]
fn seats_are_right_about_what_they_said() {
    let (near, far, further) = (replayed(20_100), replayed(21_000), replayed(25_000));
    let (bound, other, lost) =
        (Some(Binding::Bound), Some(Binding::Mismatch), Some(Binding::Unavailable));
    // As the first, twice as many others say.
    let right = |seats: &[(&Finding, Option<Binding>)]| {
        let seats: Vec<_> = seats
            .iter()
            .map(|&(finding, binding)| Seat { finding: Some(finding), binding })
            .collect();
        let seats = [vec![seats[0]; 2 * seats.len()], seats].concat();
        assert!(right_seats(None, TOLERANCE, &seats).iter().all(|right| !right));
        let right = right_seats(Some(&[flat(20_000)]), TOLERANCE, &seats);
        right[seats.len() / 3 * 2..].to_vec()
    };
    let exact = Finding::Replayed {
        ends: BoundedVec::new(),
        packed: true,
        measure: UpdateMeasurement::default(),
    };
    assert_eq!(
        right(&[(&near, bound), (&far, bound), (&near, None), (&near, other), (&exact, bound)]),
        [true, false, false, false, false]
    );
    assert_eq!(
        right(&[
            (&far, bound),
            (&near, bound),
            (&further, bound),
            (&Finding::Impossible, None),
            (&far, bound)
        ]),
        [true, false, false, false, true]
    );
    assert_eq!(right(&[(&near, other), (&far, other), (&near, bound)]), [true, true, false]);
    assert_eq!(
        right(&[(&near, lost), (&Finding::Unavailable, None), (&near, other)]),
        [true, true, false]
    );
    let seat = |finding| Seat { finding: Some(finding), binding: bound };
    assert_eq!(
        right_seats(Some(&[flat(20_000)]), TOLERANCE, &[seat(&near), seat(&far)]),
        [false; 2],
        "no quorum"
    );
}

#[test]
fn only_seats_within_the_tolerance_measure() {
    let findings = [(20_000, 5), (20_100, 7), (19_900, 6), (25_000, 900)]
        .map(|(size, gain)| sketched(&[flat(size)], gain));
    let seat = |finding| Seat { finding: Some(finding), binding: Some(Binding::Bound) };
    let mut seats: Vec<_> = findings.iter().map(seat).collect();
    assert_eq!(consensus(&[flat(20_000)], TOLERANCE, &seats).gain, 6);
    seats[0].binding = None;
    seats[2].binding = Some(Binding::Mismatch);
    assert_eq!(consensus(&[flat(20_000)], TOLERANCE, &seats).gain, 7);
    assert_eq!(consensus(&[flat(1)], TOLERANCE, &seats), UpdateMeasurement::default());
}

#[test]
fn an_end_follows_its_start() {
    let carry = |steps, feedback| Carry {
        first_moment: [1; 32],
        second_moment: [2; 32],
        feedback: [feedback; 32],
        steps,
    };
    let start = TraceState { leaf: 3, root: [1; 32], carry: carry(10, 7) };
    let end = |leaf, carry| SketchedEnd {
        state: TraceState { leaf, root: [2; 32], carry },
        sketch: flat(1),
    };
    let follows = |end: SketchedEnd| end.follows(&start, 3, 2);
    assert!(follows(end(4, carry(12, 7))));
    assert!(
        !follows(end(5, carry(12, 7)))
            && !follows(end(4, carry(11, 7)))
            && !follows(end(4, carry(12, 8)))
    );
    assert!(!end(4, carry(12, 7)).follows(&TraceState { leaf: 2, ..start }, 3, 2));
    let fresh = TraceState { leaf: 0, root: [1; 32], carry: Carry::default() };
    assert!(
        end(1, carry(2, 7)).follows(&fresh, 0, 2) && !end(1, carry(3, 7)).follows(&fresh, 0, 2)
    );
    assert!(!end(0, carry(12, 7)).follows(&TraceState { leaf: u16::MAX, ..start }, u16::MAX, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_opened_and_found_reads_back(
        root: Hash,
        steps: u64,
        leaf: u16,
        at: u8,
        gain: i32,
        seed: Hash,
    ) {
        let mut prf = Prf::new("part", &seed, &[]);
        let sums = core::array::from_fn(|_| i64::from(prf.below(2_000_001)) - 1_000_000);
        let sketch = Sketch { parts: [PartSketch::new(&sums, -20); PARTS] };
        let carry = Carry { first_moment: seed, second_moment: root, feedback: seed, steps };
        let end = SketchedEnd { state: TraceState { leaf, root, carry }, sketch };
        prop_assert_eq!(SketchedEnd::decode(&mut &end.encode()[..]), Ok(end));
        prop_assert!(end.encode().len() <= SketchedEnd::max_encoded_len());
        let evidence = Evidence::truncate_from(vec![(at, sketched(&[sketch], gain))]);
        prop_assert_eq!(Evidence::decode(&mut &evidence.encode()[..]), Ok(evidence.clone()));
        prop_assert!(
            Evidence::decode(&mut &evidence.encode()[..evidence.encode().len() - 1]).is_err()
        );
    }
}
