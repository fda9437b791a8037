// SPDX-License-Identifier: Apache-2.0

//! The clock of deadlines in full blocks, and the room that blocks reserve for duties.

use super::*;
use crate::{extension::CheckAdmission, types::MAX_DUTIES_PER_BLOCK, weights::WeightInfo};
use codec::Encode;
use pol_primitives::{recipe::Tier, round::Phase, submission::Outcome};
use polkadot_sdk::{
    frame_support::{
        assert_noop,
        dispatch::{DispatchClass, GetDispatchInfo},
        pallet_prelude::{InvalidTransaction, Weight},
        traits::UnfilteredDispatchable,
    },
    frame_system::{
        self,
        limits::{BlockLength, BlockWeights},
    },
    sp_runtime::{
        DispatchError,
        traits::DispatchTransaction,
        transaction_validity::{
            TransactionPriority, TransactionSource, TransactionValidityError, ValidTransaction,
        },
    },
};

fn now() -> u32 {
    Learning::overview().now
}

/// Sets how much of the room for normal calls every block uses from now on.
fn fill(percent: u64, bytes: usize) {
    let limits = BlockWeights::default();
    let normal = limits.get(DispatchClass::Normal).max_total.unwrap();
    let used = Weight::from_parts(normal.ref_time() / 100 * percent, 0);
    System::set_block_consumed_resources(used, bytes);
}

/// Produces `blocks` full blocks, and then empty ones.
fn run_full(blocks: u32) {
    fill(90, 0);
    run(blocks);
    fill(0, 0);
}

// ---- The clock ----

#[test]
fn deadlines_stand_still_after_full_blocks() {
    in_round_one(|| {
        join(1);
        let (before, height) = (now(), System::block_number());
        run_full(3);
        let overview = Learning::overview();
        assert_eq!((overview.now, overview.height), (before, height + 3));
        assert!(round().is_joinable(now()), "joining stays open");
        run(1);
        assert_eq!(now(), before + 1);
        join(2);
        run(LENGTHS.train - 1);
        assert_eq!(round().phase, Phase::Idle, "nobody committed by the deadline");
        assert_eq!(now(), before + LENGTHS.train);
    });
}

#[test]
fn blocks_are_full_by_weight_of_any_class_or_by_length() {
    in_round_one(|| {
        let stands = |fill: &dyn Fn()| {
            let before = now();
            fill();
            run(1);
            System::set_block_consumed_resources(Weight::zero(), 0);
            let stood = now() == before;
            run(1);
            stood
        };
        assert!(!stands(&|| fill(80, 0)) && stands(&|| fill(81, 0)));
        let most = *BlockLength::default().max.get(DispatchClass::Normal) as usize;
        assert!(!stands(&|| fill(0, most / 100 * 79)) && stands(&|| fill(0, most / 100 * 81)));
        // Duties that fill the rest of the block count too.
        let duties = || {
            let most = BlockWeights::default().max_block;
            let (used, class) = (most / 100 * 81, DispatchClass::Operational);
            System::register_extra_weight_unchecked(used, class);
        };
        assert!(stands(&duties));
    });
}

#[test]
fn the_clock_cannot_be_stopped_for_good() {
    in_round_one(|| {
        let before = now();
        run_full(12 * (MaxStandstill::get() + 1));
        assert_eq!(now(), before + 12);
    });
}

#[test]
fn nobody_is_late_in_full_blocks() {
    in_round_one(|| {
        let id = audited(&[1]);
        // Far more blocks than the stage has, but not for the clock.
        run_full(2 * AUDITS.serve);
        serve(id, &[1]);
        assert!(audit(id).case(&1).unwrap().served);
        assert_eq!((Trainers::get(1), Fines::get()), (Some(10), vec![]));
    });
    in_round_one(|| {
        let id = audited(&[1]);
        run(2 * AUDITS.serve);
        settle(id, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Withheld, "blocks with room count");
    });
}

#[test]
fn every_lapse_in_a_row_costs_twice_the_one_before() {
    let lapse = || {
        join(1);
        run(LENGTHS.train);
        let before = Trainers::get(1).unwrap();
        assert_ok!(Learning::conclude(signed(9), 1));
        run(1);
        before - Trainers::get(1).unwrap()
    };
    in_round_one(|| {
        Trainers::insert(1, 1_000);
        assert_eq!([lapse(), lapse(), lapse()], [2, 4, 8]);
        train(&[1]);
        adopt([5; 32]);
        run(1);
        assert_ok!(Learning::conclude(signed(9), 1));
        assert_eq!(Learning::standing(&1).lapses, 2);
        assert_eq!(lapse(), 8, "an update makes up for one");
    });
}

#[test]
fn a_commitment_that_is_not_revealed_is_a_lapse_that_costs_no_less() {
    in_round_one(|| {
        Trainers::insert(1, 1_000);
        let no_show = || {
            join(1);
            commit(1);
            run_until(Phase::Reveal);
            run(LENGTHS.reveal);
            let before = Trainers::get(1).unwrap();
            assert_ok!(Learning::conclude(signed(9), 1));
            run(1);
            before - Trainers::get(1).unwrap()
        };
        // Lapses would cost 2, 4, 8 and 16.
        assert_eq!([no_show(), no_show(), no_show(), no_show()], [7, 7, 8, 16]);
        assert_eq!(Learning::standing(&1).lapses, 4);
    });
}

// ---- Admission ----

type Extension = CheckAdmission<Test, ()>;

/// Validates the call of `account` as the transaction pool does.
fn validate(
    account: AccountId,
    call: &RuntimeCall,
) -> Result<ValidTransaction, TransactionValidityError> {
    let info = call.get_dispatch_info();
    Extension::new()
        .validate_only(signed(account), call, &info, 0, TransactionSource::External, 0)
        .map(|(valid, ..)| valid)
}

/// Asserts that the call is refused before inclusion with the error that it would fail with.
#[track_caller]
fn refuses(account: AccountId, call: Call<Test>, error: Error<Test>) {
    let error = DispatchError::from(error);
    assert_eq!(Learning::admits(&account, &call), Err(error));
    let DispatchError::Module(module) = error else { panic!("{error:?}") };
    let code = InvalidTransaction::Custom(module.error[0]);
    let call = RuntimeCall::from(call);
    assert_eq!(validate(account, &call), Err(code.into()));
    assert_noop!(weightless(call.dispatch_bypass_filter(signed(account))), error);
}

/// Asserts that the call is admitted, and makes it.
#[track_caller]
fn makes(account: AccountId, call: Call<Test>, class: DispatchClass) {
    let call = RuntimeCall::from(call);
    let is_duty = class == DispatchClass::Operational;
    let priority = if is_duty { TransactionPriority::MAX } else { 0 };
    assert_eq!(call.get_dispatch_info().class, class);
    assert_eq!(validate(account, &call).unwrap().priority, priority);
    assert_ok!(call.dispatch_bypass_filter(signed(account)));
}

const DUTY: DispatchClass = DispatchClass::Operational;

#[test]
fn joining_is_refused_before_inclusion() {
    let join_round = || Call::join_round { tier: Tier::Participant };
    on_chain(Some(recipe()), || {
        run(1);
        refuses(1, join_round(), Error::NotJoining);
    });
    in_round_one(|| {
        refuses(10, join_round(), Error::NotATrainer);
        makes(1, join_round(), DispatchClass::Normal);
        refuses(1, join_round(), Error::AlreadyLeased);
        Since::insert(2, 1);
        CurrentRound::<Test>::mutate(|round| round.due = pol_primitives::MAX_SUBMISSIONS);
        refuses(2, join_round(), Error::RoundIsFull);
        CurrentRound::<Test>::mutate(|round| round.due = 1);
        FreeShards::kill();
        refuses(2, join_round(), Error::NoData);
    });
}

/// Asserts that the call is admitted although it fails in a block, where it pays for its checks.
#[track_caller]
fn fails_late(call: Call<Test>, error: Error<Test>) {
    let call = RuntimeCall::from(call);
    assert!(validate(2, &call).is_ok());
    let failed = call.dispatch_bypass_filter(signed(2)).unwrap_err();
    assert_eq!(failed.error, error.into());
    assert_eq!(failed.post_info.actual_weight, Some(<Test as Config>::WeightInfo::admit()));
}

#[test]
fn who_loses_a_race_keeps_its_nonce() {
    in_round_one(|| {
        fails_late(Call::conclude { account: 1 }, Error::NothingToConclude);
        let id = audited(&[1, 2]);
        refuses(2, Call::settle { audit: id, trainer: 1 }, Error::WrongStage);
        run(2 * AUDITS.serve);
        settle(id, 1);
        fails_late(Call::settle { audit: id, trainer: 1 }, Error::AlreadySettled);
        refuses(2, Call::settle { audit: id, trainer: 3 }, Error::NotUnderAudit);
        fails_late(Call::settle { audit: id + 1, trainer: 1 }, Error::NoSuchAudit);
    });
}

#[test]
fn an_account_has_one_pending_duty_of_each_kind_and_occasion() {
    in_round_one(|| {
        [1, 2].into_iter().for_each(join);
        let tags = |account, commitment| {
            let call = Call::commit { round: 1, commitment, claims: Default::default() };
            validate(account, &RuntimeCall::from(call)).unwrap().provides
        };
        assert_eq!(tags(1, [1; 32]), [(b"pol/duty", 1_u64, 3_u8, Some(1_u32)).encode()]);
        assert_eq!(tags(1, [1; 32]), tags(1, [2; 32]), "whatever it says");
        assert_ne!(tags(1, [1; 32]), tags(2, [1; 32]));
    });
    in_round_one(|| {
        train_to_hold(&[1, 2]);
        let tags = |account, held: &[u8]| {
            let call = Call::report_held { round: 1, held: included(held) };
            validate(account, &RuntimeCall::from(call)).map(|valid| valid.provides)
        };
        let first = tags(11, &[0]).unwrap();
        assert_ne!(first, tags(12, &[0]).unwrap());
        makes(11, Call::report_held { round: 1, held: included(&[0]) }, DUTY);
        assert_eq!(tags(11, &[0, 1]), Ok(first), "the next one follows the one that is included");
    });
}

#[test]
fn refused_calls_pay_for_their_checks_only() {
    in_round_one(|| {
        let failed = Learning::join_round(signed(10), Tier::Participant).unwrap_err();
        let paid = failed.post_info.actual_weight.unwrap();
        let reserved = Call::<Test>::join_round { tier: Tier::Participant }.get_dispatch_info();
        assert!(paid.ref_time() < reserved.call_weight.ref_time() / 5, "{paid}");
    });
}

#[test]
fn commitments_and_reveals_are_refused_before_inclusion() {
    in_round_one(|| {
        let commit =
            |round| Call::commit { round, commitment: [1; 32], claims: Default::default() };
        refuses(1, commit(2), Error::WrongRound);
        refuses(1, commit(1), Error::NoLease);
        join(1);
        join(2);
        let opening = work(1, 4);
        let commitment = commitment(1, &opening);
        let reveal = |reveal| Call::reveal { round: 1, reveal };
        refuses(1, reveal(opening.clone()), Error::NotRevealing);
        makes(1, Call::commit { round: 1, commitment, claims: Default::default() }, DUTY);
        refuses(1, commit(1), Error::AlreadyCommitted);
        run_until(Phase::Reveal);
        refuses(2, commit(1), Error::NotTraining);
        refuses(2, reveal(opening.clone()), Error::NotCommitted);
        let mut wrong = opening.clone();
        wrong.salt = [9; 32];
        refuses(1, reveal(wrong), Error::WrongOpening);
        makes(1, reveal(opening.clone()), DUTY);
        refuses(1, reveal(opening), Error::AlreadyRevealed);
    });
}

#[test]
fn reports_and_attestations_are_refused_before_inclusion() {
    in_round_one(|| {
        let report = |held: &[u8]| Call::report_held { round: 1, held: included(held) };
        let attest = |inputs, root| Call::attest_head { round: 1, inputs, root };
        refuses(11, report(&[0]), Error::NotHolding);
        train_to_hold(&[1, 2]);
        refuses(11, report(&[2]), Error::BadHeld);
        refuses(1, report(&[0]), Error::NotAValidator);
        makes(11, report(&[0]), DUTY);
        refuses(11, report(&[0]), Error::NothingMoreHeld);
        refuses(11, attest([0; 32], [5; 32]), Error::NotAttesting);
        makes(11, report(&[0, 1]), DUTY);
        [12, 13].into_iter().for_each(|validator| makes(validator, report(&[0, 1]), DUTY));
        run_until(Phase::Attest);
        let inputs = round().inputs;
        refuses(1, attest(inputs, [5; 32]), Error::NotAValidator);
        refuses(11, attest([0; 32], [5; 32]), Error::WrongInputs);
        makes(11, attest(inputs, [5; 32]), DUTY);
        refuses(11, attest(inputs, [5; 32]), Error::AlreadyAttested);
        makes(12, attest(inputs, [5; 32]), DUTY);
        refuses(13, attest(inputs, [6; 32]), Error::WrongRound);
    });
}

#[test]
fn acts_of_audits_are_refused_before_inclusion() {
    in_round_one(|| {
        let id = audited(&[1]);
        let serve = |audit, states: Vec<_>| Call::serve_states {
            audit,
            states: states.try_into().unwrap(),
        };
        let commit = |validator| Call::commit_audit {
            audit: id,
            commitment: hide(id, validator, &evidence(id, validator, HONEST)),
        };
        let open = || Call::open_segments { audit: id, ends: ends(id, 1).try_into().unwrap() };
        let reveal = |validator, salt| Call::reveal_audit {
            audit: id,
            evidence: evidence(id, validator, HONEST),
            salt,
        };
        refuses(1, serve(id + 1, vec![]), Error::NoSuchAudit);
        refuses(2, serve(id, vec![]), Error::NotUnderAudit);
        refuses(1, serve(id, vec![]), Error::WrongStates);
        refuses(1, open(), Error::WrongStage);
        makes(1, serve(id, served(id, 1)), DUTY);
        refuses(1, serve(id, served(id, 1)), Error::WrongStage);
        let seats = panel(id, 1);
        refuses(2, commit(seats[0]), Error::NoSeat);
        makes(seats[0], commit(seats[0]), DUTY);
        refuses(seats[0], commit(seats[0]), Error::SeatCommitted);
        seats[1..].iter().for_each(|&seat| makes(seat, commit(seat), DUTY));
        refuses(2, open(), Error::NotUnderAudit);
        makes(1, open(), DUTY);
        refuses(seats[0], reveal(seats[0], [0; 32]), Error::WrongEvidence);
        refuses(2, Call::settle { audit: id, trainer: 1 }, Error::WrongStage);
        makes(seats[0], reveal(seats[0], SALT), DUTY);
        refuses(seats[0], reveal(seats[0], SALT), Error::SeatRevealed);
        seats[1..].iter().for_each(|&seat| makes(seat, reveal(seat, SALT), DUTY));
        refuses(2, Call::settle { audit: id, trainer: 2 }, Error::NotUnderAudit);
        makes(2, Call::settle { audit: id, trainer: 1 }, DispatchClass::Normal);
    });
}

#[test]
fn governance_is_refused_to_others_before_inclusion() {
    in_round_one(|| {
        let call = RuntimeCall::from(Call::set_lengths { lengths: LENGTHS });
        let refused = InvalidTransaction::Custom(u8::MAX);
        assert_eq!(validate(1, &call), Err(refused.into()));
    });
}

#[test]
fn other_operational_calls_have_no_part_of_the_reserved_room() {
    in_round_one(|| {
        let call = RuntimeCall::from(frame_system::Call::set_heap_pages { pages: 1 });
        assert_eq!(call.get_dispatch_info().class, DUTY);
        let DispatchError::Module(module) = Error::<Test>::ReservedRoom.into() else { panic!() };
        let refused = InvalidTransaction::Custom(module.error[0]);
        assert_eq!(validate(1, &call), Err(refused.into()));
        let remark = RuntimeCall::from(frame_system::Call::remark { remark: vec![] });
        assert_eq!(validate(1, &remark).unwrap().priority, 0);
    });
}

#[test]
fn an_account_has_a_share_of_the_reserved_room_in_each_block() {
    in_round_one(|| {
        join(1);
        let commitment = commitment(1, &work(1, 4));
        let call =
            RuntimeCall::from(Call::commit { round: 1, commitment, claims: Default::default() });
        let info = call.get_dispatch_info();
        let prepare =
            || Extension::new().validate_and_prepare(signed(1), &call, &info, 0, 0).map(drop);
        for _ in 0..MAX_DUTIES_PER_BLOCK {
            assert_ok!(prepare());
        }
        assert_eq!(prepare(), Err(InvalidTransaction::ExhaustsResources.into()));
        assert!(Learning::take_room(2), "others have theirs");
        run(1);
        assert_ok!(prepare());
        assert_eq!(DutiesInBlock::<Test>::get().into_inner(), [1]);
    });
}
