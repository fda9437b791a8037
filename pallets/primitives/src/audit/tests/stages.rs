// SPDX-License-Identifier: Apache-2.0

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
    let updates = [pending(8, 10, &[]), pending(9, 10, &[])];
    Audit::draw(&CONFIG, seed(1), 1_000, &updates, &[(1, POL), (2, POL)], vec![], 4)
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
    // There are no validators to replay, but the trainers who served still open.
    let mut audit = Audit::draw(
        &CONFIG,
        seed(1),
        1_000,
        &[pending(8, 10, &[]), pending(9, 10, &[])],
        &[],
        vec![],
        4,
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
    let mut audit = Audit::<u64>::draw(&CONFIG, seed(1), 1_000, &[], &[(1, POL)], vec![], 4);
    audit.advance(&CONFIG, 1_000);
    assert_eq!(at(&audit), (Stage::Settle, 1_000));
}

proptest! {
    /// Additional calls of `advance` change nothing in any state of the audit.
    #[test]
    fn looking_changes_nothing(
        served: [bool; 2],
        committed: [bool; 2],
        opened: [bool; 2],
        revealed: [bool; 2],
        acted in 0u32..200,
        first in 0u32..200,
        second in 0u32..200,
    ) {
        let mut audit = audit();
        for (case, (served, opened)) in audit.cases.iter_mut().zip(served.into_iter().zip(opened)) {
            (case.served, case.opened) = (served, served && opened);
        }
        for (holder, (committed, revealed)) in
            audit.holders.iter_mut().zip(committed.into_iter().zip(revealed))
        {
            (holder.committed, holder.revealed) = (committed, committed && revealed);
        }
        audit.advance(&CONFIG, 1_000 + acted);
        let (first, second) =
            (1_000 + acted + first.min(second), 1_000 + acted + first.max(second));
        let mut looked = audit.clone();
        looked.advance(&CONFIG, first);
        prop_assert!(
            looked.stage >= audit.stage && looked.since >= audit.since && looked.since <= first
        );
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
        AuditConfig { reveal: crate::round::MAX_LENGTH + 1, ..CONFIG },
        AuditConfig { escrow: 0, ..CONFIG },
        AuditConfig { escrow: MAX_ESCROW_ROUNDS + 1, ..CONFIG },
    ] {
        assert!(!invalid.is_valid(), "{invalid:?}");
    }
}

#[test]
fn one_seat_more_stays_within_the_limits() {
    let more = CONFIG.with_one_seat_more();
    assert_eq!(more, AuditConfig { seats: 3, more_seats: 4, ..CONFIG });
    let most = AuditConfig { seats: 15, more_seats: 16, ..CONFIG }.with_one_seat_more();
    assert_eq!((most.seats, most.more_seats), (16, 16));
}
