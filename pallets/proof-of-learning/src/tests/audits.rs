// SPDX-License-Identifier: Apache-2.0

//! Draws of audits, and the acts of trainers and seats in their stages.

use super::earned;
use crate::{mock::*, pallet::*, types::MAX_OPEN_AUDITS};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{
        Audit, AuditConfig, Evidence, Finding, LeafProof, MAX_AUDITED_SEGMENTS, PendingAudit,
        SeatHolder, Stage, StateProof,
    },
    digest,
    prf::Prf,
    round::Phase,
    submission::{Outcome, SubmissionStatus},
    trace::{Carry, MerkleProof},
    traits::{Bonds, ShardPool},
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        traits::{Randomness, UnfilteredDispatchable},
    },
    sp_runtime::{BuildStorage, DispatchError::BadOrigin},
};

fn serves(trainer: AccountId, id: u32, states: Vec<StateProof>, error: Error<Test>) {
    assert_noop!(
        Learning::serve_states(signed(trainer), id, BoundedVec::try_from(states).unwrap()),
        error
    );
}

fn commits(validator: AccountId, id: u32, error: Error<Test>) {
    assert_noop!(Learning::commit_audit(signed(validator), id, [1; 32]), error);
}

fn opens(trainer: AccountId, id: u32, ends: Vec<LeafProof>, error: Error<Test>) {
    assert_noop!(
        Learning::open_segments(signed(trainer), id, BoundedVec::try_from(ends).unwrap()),
        error
    );
}

fn reveals(validator: AccountId, id: u32, evidence: Evidence, salt: Hash, error: Error<Test>) {
    assert_noop!(Learning::reveal_audit(signed(validator), id, evidence, salt), error);
}

fn settles(id: u32, trainer: AccountId, error: Error<Test>) {
    assert_noop!(weightless(Learning::settle(signed(9), id, trainer)), error);
}

fn set(config: AuditConfig) {
    assert_ok!(Learning::set_audits(RuntimeOrigin::root(), config));
}

/// Lets every holder of a seat commit to honest evidence.
fn commit_all(id: u32) {
    for SeatHolder { account, .. } in audit(id).holders {
        assert_ok!(Learning::commit_audit(
            signed(account),
            id,
            hide(id, account, &evidence(id, account, HONEST))
        ));
    }
}

#[test]
fn a_draw_waits_for_the_randomness_of_later_blocks() {
    in_round_one(|| {
        AuditSettings::<Test>::put(AuditConfig { mix: 2, ..AUDITS });
        train(&[1]);
        adopt([5; 32]);
        let mut mixed = [0; 32];
        for _ in 0..3 {
            assert!(Learning::audits(0).is_empty());
            run(1);
            mixed = digest(b"pol/mix/1", &(mixed, BlockRandomness::random(b"pol/audit").0));
        }
        assert_eq!(Learning::audits(0)[0].1.seed, digest(b"pol/audit-seed/1", &(mixed, 1u32, 0u8)));
        run(1);
        assert_eq!(MixedRandomness::<Test>::get(), mixed, "no update waits");
    });
}

#[test]
fn a_validator_that_has_never_acted_gets_no_seat() {
    in_round_one(|| {
        let newcomer = 99;
        train_to_hold(&[1, 2, 3]);
        hold(&[0, 1, 2]);
        Validators::insert(newcomer, 80);
        Newcomers::put(vec![newcomer]);
        adopt([5; 32]);
        run(1);
        let (_, audit) = Learning::audits(0).pop().unwrap();
        let holders: Vec<_> = audit.holders.iter().map(|holder| holder.account).collect();
        assert!(!holders.is_empty() && !holders.contains(&newcomer), "{holders:?}");
        Validators::remove(newcomer);
    });
}

#[test]
fn a_bond_that_changes_once_updates_wait_changes_no_seat() {
    in_round_one(|| {
        let stakes = Stakes::stakes();
        train_to_hold(&[1, 2, 3]);
        hold(&[0, 1, 2]);
        adopt([5; 32]);
        let undrawn: Vec<_> =
            UndrawnUpdates::<Test>::get().into_iter().map(|(update, _)| update).collect();
        // Whoever knows the seed first raises a bond, and one that left comes back.
        let (validator, stake) = stakes[0];
        Validators::insert(validator, 10 * stake);
        Validators::insert(99, stake);
        assert_ok!(Learning::do_try_state());
        run(1);
        let (_, audit) = Learning::audits(0).pop().unwrap();
        let expected = Audit::draw(
            &AUDITS,
            audit.seed,
            System::block_number(),
            &undrawn,
            &stakes,
            audit.probe.to_vec(),
            MAX_AUDITED_SEGMENTS,
        );
        assert_eq!(audit, expected);
        assert_eq!(SeatStakes::<Test>::iter().count(), 0, "they are needed no more");
        Validators::insert(validator, stake);
        Validators::remove(99);
    });
}

#[test]
fn included_updates_are_drawn_in_the_next_block() {
    in_round_one(|| {
        train_to_hold(&[1, 2, 3]);
        hold(&[0, 2]);
        adopt([5; 32]);
        let statuses: Vec<_> =
            Learning::submissions(1).into_iter().map(|(_, submission)| submission.status).collect();
        assert_eq!(
            statuses,
            [SubmissionStatus::Included, SubmissionStatus::Revealed, SubmissionStatus::Included]
        );
        let waiting = |trainer, index| PendingAudit::first(1, trainer, index, 4);
        let undrawn: Vec<_> =
            UndrawnUpdates::<Test>::get().into_iter().map(|(update, _)| update).collect();
        assert_eq!(undrawn, [waiting(1, 0), waiting(3, 2)]);
        assert!(Learning::audits(0).is_empty());

        run(1);
        assert_event(Event::AuditDrawn { audit: 0, round: 1, draw: 0, cases: 2 });
        let mixed = digest(b"pol/mix/1", &([0u8; 32], BlockRandomness::random(b"pol/audit").0));
        let seed = digest(b"pol/audit-seed/1", &(mixed, 1u32, 0u8));
        let probe = Shards::sample(3, &mut Prf::new("pol/probe/1", &seed, &[]));
        let expected = Audit::draw(
            &AUDITS,
            seed,
            System::block_number(),
            &undrawn,
            &Stakes::stakes(),
            probe.clone(),
            MAX_AUDITED_SEGMENTS,
        );
        assert_eq!(Learning::audits(0), [(0, expected.clone())]);
        assert_eq!(
            (expected.stage, expected.since, expected.cases.len()),
            (Stage::Serve, System::block_number(), 2)
        );
        assert_eq!(
            (probe.len(), Shards::free_shards()),
            (3, SHARDS - 24),
            "the probe stays where it is"
        );
        for case in expected.cases {
            assert_eq!((case.seats.len(), case.segments.len(), case.trace_segments), (2, 1, 4));
        }
        assert!(!UndrawnUpdates::<Test>::exists());
        run(1);
        assert_eq!(NextAudit::<Test>::get(), 1, "once");
    });
}

#[test]
fn a_round_that_is_void_is_not_audited() {
    in_round_one(|| {
        train(&[1]);
        run(LENGTHS.attest + LENGTHS.hold + 2);
        assert_eq!((UndrawnUpdates::<Test>::exists(), NextAudit::<Test>::get()), (false, 0));
    });
}

#[test]
fn an_update_that_stopped_early_is_audited_where_it_was_trained() {
    in_round_one(|| {
        join(1);
        let reveal = work(1, 2);
        assert_ok!(Learning::commit(signed(1), 1, commitment(1, &reveal), Default::default()));
        run_until(Phase::Reveal);
        assert_ok!(Learning::reveal(signed(1), 1, reveal));
        run_until(Phase::Hold);
        hold(&[0]);
        adopt([5; 32]);
        run(1);
        let case = case(0, 1).0;
        assert_eq!(
            (case.trace_segments, case.segments.iter().all(|segment| *segment < 2)),
            (2, true)
        );
        examine(0, HONEST);
        settle(0, 1);
        assert_eq!(kept(1, 1).tokens, 4_096);
    });
}

#[test]
fn stages_end_as_soon_as_every_member_is_done() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        run(1);
        serve(id, &[1]);
        assert_event(Event::StatesServed { audit: id, account: 1 });
        assert_eq!(audit(id).stage, Stage::Serve, "the other trainer may still come");
        run(1);
        serve(id, &[2]);
        assert_eq!((audit(id).stage, audit(id).since), (Stage::Replay, System::block_number()));
        run(2);
        commit_all(id);
        let holders: Vec<_> = audit(id).holders.iter().map(|holder| holder.account).collect();
        holders
            .iter()
            .for_each(|&account| assert_event(Event::AuditCommitted { audit: id, account }));
        assert_eq!((audit(id).stage, audit(id).since), (Stage::Open, System::block_number()));
        open(id, &[1]);
        assert_event(Event::SegmentsOpened { audit: id, account: 1 });
        assert_eq!(audit(id).stage, Stage::Open);
        open(id, &[2]);
        assert_eq!(audit(id).stage, Stage::Reveal);
        for &account in &holders {
            assert_eq!(audit(id).stage, Stage::Reveal);
            assert_ok!(Learning::reveal_audit(
                signed(account),
                id,
                evidence(id, account, HONEST),
                SALT
            ));
            assert_event(Event::AuditRevealed { audit: id, account });
        }
        assert_eq!(audit(id).stage, Stage::Settle);
        assert_eq!(AuditCommitments::<Test>::iter().count(), 0);
        assert_eq!(Findings::<Test>::iter_prefix(id).count(), 4, "two seats on each of two cases");
    });
}

#[test]
fn stages_end_at_their_limits_without_the_missing() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        let drawn = System::block_number();
        serve(id, &[1]);
        run(AUDITS.serve - 1);
        assert_eq!(audit(id).stage, Stage::Serve);
        run(1);
        assert_eq!((audit(id).stage, audit(id).since), (Stage::Replay, drawn + 5));
        serves(2, id, served(id, 2), Error::WrongStage);
        let panel = panel(id, 1);
        let hidden = hide(id, panel[0], &evidence(id, panel[0], HONEST));
        assert_ok!(Learning::commit_audit(signed(panel[0]), id, hidden));
        run(AUDITS.replay - 1);
        assert_eq!(audit(id).stage, Stage::Replay);
        run(1);
        assert_eq!((audit(id).stage, audit(id).since), (Stage::Open, drawn + 15));
        commits(panel[1], id, Error::WrongStage);
        run(AUDITS.open - 1);
        open(id, &[1]);
        assert_eq!(
            (audit(id).stage, audit(id).since),
            (Stage::Reveal, drawn + 18),
            "the other has nothing to open"
        );
        run(AUDITS.reveal);
        assert_eq!((audit(id).stage, audit(id).since), (Stage::Settle, drawn + 24));
        reveals(panel[0], id, evidence(id, panel[0], HONEST), SALT, Error::WrongStage);
        opens(1, id, ends(id, 1), Error::WrongStage);
        // Storage holds the stage of the last call.
        assert_eq!(Audits::<Test>::get(id).unwrap().stage, Stage::Reveal);
    });
}

#[test]
fn an_audit_without_responses_can_be_settled_after_its_first_stage() {
    in_round_one(|| {
        let id = audited(&[1]);
        run(AUDITS.serve - 1);
        settles(id, 1, Error::WrongStage);
        run(1);
        assert_eq!(audit(id).stage, Stage::Settle, "who showed nothing leaves nothing to replay");
        settle(id, 1);
    });
}

#[test]
fn states_are_those_asked_for_with_their_proofs() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        let honest = served(id, 1);
        serves(1, id + 1, honest.clone(), Error::NoSuchAudit);
        serves(3, id, honest.clone(), Error::NotUnderAudit);
        serves(
            2,
            id,
            honest.clone(),
            if served(id, 2).len() == honest.len() {
                Error::WrongProof
            } else {
                Error::WrongStates
            },
        );
        serves(1, id, vec![], Error::WrongStates);
        let mut longer = honest.clone();
        longer.push(honest[0].clone());
        serves(1, id, longer, Error::WrongStates);
        for change in [
            (|served: &mut StateProof| served.state.leaf ^= 1) as fn(&mut StateProof),
            |served| served.state.root = [0; 32],
            |served| served.state.carry = Carry { steps: 99, ..served.state.carry },
            |served| served.proof = MerkleProof::new(),
        ] {
            let mut changed = honest.clone();
            change(&mut changed[0]);
            let wrong = if changed[0].state.leaf == honest[0].state.leaf {
                Error::WrongProof
            } else {
                Error::WrongStates
            };
            serves(1, id, changed, wrong);
        }
        serve(id, &[1]);
        let shown = Learning::audit_response(id, &1).unwrap();
        assert_eq!(
            shown.states.to_vec(),
            honest.iter().map(|served| served.state).collect::<Vec<_>>()
        );
        assert!(shown.ends.is_empty() && Learning::audit_response(id, &2).is_none());
        serves(1, id, honest, Error::AlreadyServed);
    });
}

#[test]
fn seats_commit_once_if_there_is_something_to_replay() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        commits(11, id, Error::WrongStage);
        commits(11, id + 1, Error::NoSuchAudit);
        serve(id, &[1]);
        run(AUDITS.serve);
        let seated = panel(id, 1);
        for (validator, _) in
            VALIDATORS.into_iter().filter(|(validator, _)| !seated.contains(validator))
        {
            // It may have one on the other update, whose states were not shown.
            commits(validator, id, Error::NoSeat);
        }
        for &validator in &seated {
            assert_ok!(Learning::commit_audit(signed(validator), id, [1; 32]));
            assert_eq!(AuditCommitments::<Test>::get(id, validator), Some([1; 32]));
            if validator == seated[0] {
                commits(validator, id, Error::SeatCommitted);
            }
        }
        assert_eq!(audit(id).stage, Stage::Open);
        commits(1, id, Error::WrongStage);
    });
}

#[test]
fn ends_are_those_drawn_with_their_proofs() {
    in_round_one(|| {
        let id = audited(&[1, 2, 3]);
        opens(1, id, vec![], Error::WrongStage);
        serve(id, &[1, 2]);
        run(AUDITS.serve + AUDITS.replay);
        let honest = ends(id, 1);
        opens(1, id + 1, honest.clone(), Error::NoSuchAudit);
        opens(4, id, honest.clone(), Error::NotUnderAudit);
        opens(3, id, ends(id, 3), Error::NotServed);
        opens(2, id, honest.clone(), Error::WrongProof);
        opens(1, id, vec![], Error::WrongEnds);
        opens(1, id, vec![honest[0].clone(), honest[0].clone()], Error::WrongEnds);
        opens(1, id, vec![LeafProof { digest: [0; 32], ..honest[0].clone() }], Error::WrongProof);
        opens(
            1,
            id,
            vec![LeafProof { proof: MerkleProof::new(), ..honest[0].clone() }],
            Error::WrongProof,
        );
        let before = Learning::audit_response(id, &1).unwrap();
        open(id, &[1]);
        let shown = Learning::audit_response(id, &1).unwrap();
        assert_eq!((shown.states, shown.ends.to_vec()), (before.states, vec![honest[0].digest]));
        opens(1, id, honest, Error::AlreadyOpened);
    });
}

#[test]
fn evidence_is_what_was_committed_to() {
    in_round_one(|| {
        let id = audited(&[1]);
        serve(id, &[1]);
        let [first, second] = panel(id, 1)[..] else { panic!("two seats") };
        let honest = evidence(id, first, HONEST);
        // The second copies the commitment of the first.
        for validator in [first, second] {
            assert_ok!(Learning::commit_audit(signed(validator), id, hide(id, first, &honest)));
        }
        reveals(first, id, honest.clone(), SALT, Error::WrongStage);
        open(id, &[1]);
        reveals(first, id + 1, honest.clone(), SALT, Error::NoSuchAudit);
        let without = VALIDATORS
            .iter()
            .map(|(account, _)| *account)
            .find(|account| ![first, second].contains(account))
            .unwrap();
        reveals(without, id, honest.clone(), SALT, Error::NoSeat);
        reveals(first, id, honest.clone(), [0; 32], Error::WrongEvidence);
        reveals(
            first,
            id,
            evidence(id, first, &|_, _| Some(Finding::Impossible)),
            SALT,
            Error::WrongEvidence,
        );
        reveals(second, id, honest.clone(), SALT, Error::WrongEvidence);
        assert_ok!(Learning::reveal_audit(signed(first), id, honest.clone(), SALT));
        assert_eq!(
            Findings::<Test>::iter_prefix(id).map(|(_, finding)| finding).collect::<Vec<_>>(),
            [(finding(id, 1), None)]
        );
        reveals(first, id, honest, SALT, Error::SeatRevealed);
    });
}

#[test]
fn who_did_not_commit_has_nothing_to_reveal() {
    in_round_one(|| {
        let id = audited(&[1]);
        serve(id, &[1]);
        let panel = panel(id, 1);
        assert_ok!(Learning::commit_audit(signed(panel[0]), id, [1; 32]));
        run(AUDITS.replay);
        open(id, &[1]);
        reveals(panel[1], id, evidence(id, panel[1], HONEST), SALT, Error::SeatNotCommitted);
    });
}

#[test]
fn evidence_measures_no_more_shards_than_are_drawn() {
    bad_evidence(|evidence| replayed(evidence, |_, shards| shards.fill(1)));
}

/// Asserts that evidence with `change` is refused. Its seat is on both updates of a round, but only
/// the first was shown.
fn bad_evidence(change: fn(&mut Vec<(u8, Finding)>)) {
    in_round_one(|| {
        set(AuditConfig { seats: 3, more_seats: 4, ..AUDITS });
        let id = audited(&[1, 2]);
        serve(id, &[1]);
        run(AUDITS.serve);
        let mut changed = evidence(id, 11, HONEST).into_inner();
        assert_eq!(changed.len(), 1);
        change(&mut changed);
        let changed = BoundedVec::try_from(changed).unwrap();
        assert_ok!(Learning::commit_audit(signed(11), id, hide(id, 11, &changed)));
        run(AUDITS.replay);
        open(id, &[1]);
        reveals(11, id, changed, SALT, Error::BadEvidence);
    });
}

fn replayed(evidence: &mut [(u8, Finding)], change: impl FnOnce(&mut Vec<Hash>, &mut Vec<i32>)) {
    let Finding::Replayed { ends, measure, .. } = &mut evidence[0].1 else {
        panic!("an honest finding")
    };
    let (mut changed_ends, mut shards) = (ends.to_vec(), measure.shards.to_vec());
    change(&mut changed_ends, &mut shards);
    *ends = BoundedVec::try_from(changed_ends).unwrap();
    measure.shards = BoundedVec::try_from(shards).unwrap();
}

#[test]
fn evidence_has_one_fitting_finding_for_each_seat() {
    bad_evidence(|evidence| evidence.clear());
    bad_evidence(|evidence| evidence[0].0 = 1);
    bad_evidence(|evidence| evidence.push((1, Finding::Unavailable)));
    bad_evidence(|evidence| evidence.push(evidence[0].clone()));
    bad_evidence(|evidence| replayed(evidence, |ends, _| ends.clear()));
    bad_evidence(|evidence| replayed(evidence, |ends, _| ends.push([0; 32])));
    bad_evidence(|evidence| replayed(evidence, |_, shards| shards.clear()));
    bad_evidence(|evidence| replayed(evidence, |_, shards| shards.push(0)));
}

#[test]
fn a_validator_may_be_silent_about_some_of_its_cases() {
    in_round_one(|| {
        set(AuditConfig { seats: 3, more_seats: 4, ..AUDITS });
        let id = audited(&[1, 2]);
        serve(id, &[1, 2]);
        let (_, first, _) = case(id, 1);
        let found = |validator| {
            let mut found = evidence(id, validator, HONEST).into_inner();
            found.retain(|(at, _)| validator != 13 || *at != first);
            BoundedVec::truncate_from(found)
        };
        for validator in [11, 12, 13] {
            let hidden = hide(id, validator, &found(validator));
            assert_ok!(Learning::commit_audit(signed(validator), id, hidden));
        }
        open(id, &[1, 2]);
        for validator in [11, 12, 13] {
            assert_ok!(Learning::reveal_audit(signed(validator), id, found(validator), SALT));
        }
        settle(id, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Valid);
        assert!(earned().iter().all(|(account, _)| *account != 13), "silence is unpaid");
        settle(id, 2);
        assert_eq!((kept(1, 2).outcome, Strikes::get(13)), (Outcome::Valid, 0));
    });
}

#[test]
fn cases_are_settled_once_when_everything_is_said() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        settles(id + 1, 1, Error::NoSuchAudit);
        settles(id, 1, Error::WrongStage);
        examine(id, HONEST);
        settles(id, 3, Error::NotUnderAudit);
        settle(id, 1);
        settles(id, 1, Error::AlreadySettled);
        settle(id, 2);
        assert_event(Event::AuditEnded { audit: id });
        settles(id, 2, Error::NoSuchAudit);
    });
}

#[test]
fn every_call_is_signed() {
    in_round_one(|| {
        let id = audited(&[1]);
        let calls = [
            Call::<Test>::serve_states { audit: id, states: BoundedVec::new() },
            Call::commit_audit { audit: id, commitment: [0; 32] },
            Call::open_segments { audit: id, ends: BoundedVec::new() },
            Call::reveal_audit { audit: id, evidence: BoundedVec::new(), salt: SALT },
            Call::open_sketches { audit: id, ends: BoundedVec::new() },
            Call::reveal_sketches {
                audit: id,
                evidence: BoundedVec::new(),
                bindings: BoundedVec::new(),
                salt: SALT,
            },
            Call::settle { audit: id, trainer: 1 },
        ];
        for call in calls {
            assert_eq!(
                call.dispatch_bypass_filter(RuntimeOrigin::none()).unwrap_err().error,
                BadOrigin
            );
        }
    });
}

#[test]
#[should_panic(expected = "numbers of audits must be positive")]
fn an_invalid_genesis_is_refused() {
    let config = GenesisConfig::<Test> {
        lengths: LENGTHS,
        audits: AuditConfig { seats: 0, ..AUDITS },
        ..Default::default()
    };
    config.build_storage().unwrap();
}

#[test]
fn runs_of_drawn_segments_are_shown_once() {
    in_round_one(|| {
        set(AuditConfig { segments: 4, ..AUDITS });
        let id = audited(&[1]);
        let case = case(id, 1).0;
        assert_eq!(
            (case.segments.to_vec(), case.served_leaves(), case.opened_leaves()),
            (vec![0, 1, 2, 3], vec![0], vec![1, 2, 3, 4])
        );
        examine(id, HONEST);
        settle(id, 1);
        assert!(kept(1, 1).outcome.stays());
    });
}

#[test]
fn several_audits_go_on_at_once() {
    in_round_one(|| {
        let first = audited(&[1, 2]);
        serve(first, &[1, 2]);
        let second = audited(&[1, 2]);
        let open: Vec<_> =
            Learning::audits(0).into_iter().map(|(id, audit)| (id, audit.round)).collect();
        assert_eq!(open, [(first, 1), (second, 2)]);
        serve(second, &[2, 1]);
        // Evidence is bound to its audit.
        let validator = panel(first, 1)[0];
        assert_ne!(
            hide(first, validator, &Evidence::new()),
            hide(second, validator, &Evidence::new())
        );
        commit_all(first);
        for id in [first, second] {
            assert_eq!(audit(id).cases.iter().filter(|case| case.served).count(), 2);
        }
        assert_eq!((audit(first).stage, audit(second).stage), (Stage::Open, Stage::Replay));
    });
}

#[test]
fn no_round_opens_while_too_much_is_not_settled() {
    in_round_one(|| {
        Trainers::insert(1, 10_000);
        for _ in 0..MAX_OPEN_AUDITS {
            assert_eq!(round().phase, Phase::Train);
            audited(&[1]);
        }
        run(3);
        assert_eq!((Audits::<Test>::count(), round().phase), (MAX_OPEN_AUDITS, Phase::Idle));
        // No state was shown, and the stage for it is long over.
        settle(0, 1);
        run(1);
        assert_eq!((round().phase, round().number), (Phase::Train, MAX_OPEN_AUDITS + 1));
    });
}

#[test]
fn no_round_opens_while_too_many_wait_for_a_draw() {
    let mut chain = chain(Some(recipe()));
    chain.execute_with(|| {
        run(1);
        attest_initial();
        let waiting = |round| (PendingAudit::first(round, 1, 0, 4), 0);
        UndrawnUpdates::<Test>::put(
            BoundedVec::try_from((0..67).map(waiting).collect::<Vec<_>>()).unwrap(),
        );
        for _ in 0..AGAIN {
            if Learning::waiting(0) > 65 {
                run(1);
            }
        }
        assert_eq!((UndrawnUpdates::<Test>::get().len(), round().phase), (65, Phase::Idle));
        run(1);
        assert_eq!(
            (UndrawnUpdates::<Test>::get().len(), round().phase),
            (64, Phase::Train),
            "a head of 64 updates has room"
        );
    });
}
