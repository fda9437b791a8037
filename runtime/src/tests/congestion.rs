// SPDX-License-Identifier: Apache-2.0

//! Refusal of calls before inclusion, and room in full blocks.

use super::*;
use frame_support::{
    dispatch::{DispatchClass, GetDispatchInfo},
    storage::{TransactionOutcome, with_transaction},
    traits::InstanceFilter,
};
use pallet_proof_of_learning::{Call, Error, WeightInfo};
use pol_primitives::{
    recipe::Tier,
    submission::{RevealSet, TrainingClaims},
};
use sp_runtime::{
    traits::Hash as _,
    transaction_validity::{TransactionSource, TransactionValidity},
};

/// Validates a signed call as the transaction pool does.
fn validate(by: &str, call: impl Into<RuntimeCall>, tip: Balance) -> TransactionValidity {
    let extrinsic = signed_with_tip(&pair(by), call.into(), tip);
    with_transaction(|| {
        let parent = System::block_hash(System::block_number());
        let validity =
            Executive::validate_transaction(TransactionSource::External, extrinsic, parent);
        TransactionOutcome::Rollback(Ok::<_, DispatchError>(validity))
    })
    .unwrap()
}

/// Returns the refusal for an error of the learning pallet.
fn refusal(error: Error<Runtime>) -> TransactionValidity {
    let DispatchError::Module(module) = error.into() else { panic!("it is of a pallet") };
    Err(TransactionValidityError::Invalid(InvalidTransaction::Custom(module.error[0])))
}

fn commit() -> RuntimeCall {
    Call::commit { round: 0, commitment: [1; 32], claims: TrainingClaims::default() }.into()
}

fn report() -> RuntimeCall {
    Call::report_held { round: 0, held: RevealSet::default() }.into()
}

#[test]
fn no_tip_brings_a_call_into_a_block_that_it_would_fail_in() {
    genesis(DEV).execute_with(|| {
        let join = || Call::join_round { tier: Tier::Whale };
        assert_eq!(validate("//Bob", join(), POL), refusal(Error::NotJoining));
        let before = Balances::free_balance(account(&pair("//Bob")));
        let flood = vec![(pair("//Bob"), join().into()); 13];
        let results = Chain::new().try_block(flood);
        assert_eq!(results, vec![Err(Error::<Runtime>::NotJoining.into()); 13]);
        assert_eq!(Balances::free_balance(account(&pair("//Bob"))), before, "no fee");
        assert_eq!(ProofOfLearning::overview().now, 1, "nor time");
    });
}

#[test]
fn duties_have_the_reserved_room_alone_or_through_a_proxy() {
    genesis(DEV).execute_with(|| {
        let proxied = || pallet_proxy::Call::proxy {
            real: account(&pair("//Alice")).into(),
            force_proxy_type: None,
            call: Box::new(commit()),
        };
        assert_eq!(validate("//Alice", commit(), 0), refusal(Error::NotTraining));
        assert_eq!(validate("//Bob", proxied(), 0), refusal(Error::ReservedRoom));
        let delegate = account(&pair("//Bob"));
        let add = |delay| {
            let kind = configs::ProxyType::Learning;
            let alice = RuntimeOrigin::signed(account(&pair("//Alice")));
            Proxy::add_proxy(alice, delegate.clone().into(), kind, delay).unwrap();
        };
        add(5);
        assert_eq!(validate("//Bob", proxied(), 0), refusal(Error::ReservedRoom), "not at once");
        let alice = RuntimeOrigin::signed(account(&pair("//Alice")));
        Proxy::remove_proxies(alice).unwrap();
        add(0);
        assert_eq!(validate("//Bob", proxied(), 0), refusal(Error::NotTraining));

        let batch = |calls| pallet_utility::Call::batch { calls };
        let duties = batch(vec![commit(), report()]);
        assert_eq!(duties.get_dispatch_info().class, DispatchClass::Operational);
        assert_eq!(validate("//Alice", duties, 0), refusal(Error::ReservedRoom));
        let mixed = batch(vec![commit(), frame_system::Call::remark { remark: vec![] }.into()]);
        assert!(validate("//Alice", mixed, 0).is_ok(), "among normal calls it is a normal one");
    });
}

#[test]
fn governance_has_the_reserved_room_and_others_have_not() {
    genesis(DEV).execute_with(|| {
        let pages = || RuntimeCall::from(frame_system::Call::set_heap_pages { pages: 1 });
        let sudo = || pallet_sudo::Call::sudo { call: Box::new(pages()) };
        assert_eq!(validate("//Alice", pages(), POL), refusal(Error::ReservedRoom));
        assert_eq!(validate("//Bob", sudo(), POL), refusal(Error::ReservedRoom));
        let reserved = validate("//Alice", sudo(), 0).unwrap().priority;
        let remark = frame_system::Call::remark { remark: vec![] };
        let outbid = validate("//Bob", remark, 1_000 * POL).unwrap().priority;
        assert!(reserved > outbid, "{reserved} {outbid}");
        let upgrade = frame_system::Call::apply_authorized_upgrade { code: vec![1] };
        assert_eq!(validate("//Bob", upgrade.clone(), 0), refusal(Error::ReservedRoom));
        let hash = BlakeTwo256::hash(&[1]);
        System::authorize_upgrade_without_checks(RuntimeOrigin::root(), hash).unwrap();
        assert!(validate("//Bob", upgrade, 0).is_ok());
        let other = frame_system::Call::apply_authorized_upgrade { code: vec![2] };
        assert_eq!(validate("//Bob", other, 0), refusal(Error::ReservedRoom));
    });
}

#[test]
fn calls_of_the_council_come_after_duties_and_are_short() {
    type Motions = pallet_collective::Call<Runtime, configs::AuthorityCouncil>;
    genesis(LOCAL).execute_with(|| {
        let remark = |bytes| {
            Box::new(RuntimeCall::from(frame_system::Call::remark { remark: vec![0; bytes] }))
        };
        let execute =
            |bytes| Motions::execute { proposal: remark(bytes), length_bound: bytes as u32 + 9 };
        let propose = |bytes| Motions::propose {
            threshold: 2,
            proposal: remark(bytes),
            length_bound: bytes as u32 + 9,
        };
        let long = 64 << 10;
        let priorities = [
            validate("//Alice", execute(100), 0).unwrap().priority,
            validate("//Alice", propose(long - 100), 0).unwrap().priority,
        ];
        let outbid = frame_system::Call::remark { remark: vec![] };
        let outbid = validate("//Alice", outbid, 1_000 * POL).unwrap().priority;
        for priority in priorities {
            assert!(outbid < priority && priority < u64::MAX, "{priority}");
        }
        assert_eq!(validate("//Alice", execute(long), 0), refusal(Error::ReservedRoom));
        assert_eq!(validate("//Alice", propose(long), 0), refusal(Error::ReservedRoom));
        assert_eq!(validate("//Dave", execute(100), 0), refusal(Error::ReservedRoom));

        let member = account(&pair("//Alice"));
        let by_proxy = || pallet_proxy::Call::proxy {
            real: member.clone().into(),
            force_proxy_type: None,
            call: Box::new(propose(100).into()),
        };
        assert_eq!(validate("//Dave", by_proxy(), 0), refusal(Error::ReservedRoom));
        let (origin, proxy) = (RuntimeOrigin::signed(member.clone()), account(&pair("//Dave")));
        Proxy::add_proxy(origin, proxy.into(), configs::ProxyType::Any, 0).unwrap();
        let priority = validate("//Dave", by_proxy(), 0).unwrap().priority;
        assert!(outbid < priority && priority < u64::MAX, "a proxy has the member's room");
    });
}

#[test]
fn other_wrappers_of_a_duty_have_no_room() {
    genesis(DEV).execute_with(|| {
        let call = || Box::new(commit());
        let alice = account(&pair("//Alice"));
        let wrapped: [RuntimeCall; 2] = [
            pallet_utility::Call::as_derivative { index: 0, call: call() }.into(),
            pallet_proxy::Call::proxy_announced {
                delegate: alice.clone().into(),
                real: alice.into(),
                force_proxy_type: None,
                call: call(),
            }
            .into(),
        ];
        for call in wrapped {
            assert_eq!(validate("//Alice", call, 0), refusal(Error::ReservedRoom));
        }
    });
}

#[test]
fn the_reserved_room_holds_the_duties_of_a_full_round_in_few_blocks() {
    type Weights = <Runtime as pallet_proof_of_learning::Config>::WeightInfo;
    let limits = <Runtime as frame_system::Config>::BlockWeights::get();
    let class = limits.get(DispatchClass::Operational);
    let room = class.reserved.unwrap().ref_time();
    let overhead = class.base_extrinsic.saturating_add(Weights::admit()).ref_time();
    let blocks = |call: RuntimeCall, count: u64| {
        let info = call.get_dispatch_info();
        assert_eq!(info.class, DispatchClass::Operational, "{call:?}");
        (count * (overhead + info.call_weight.ref_time())).div_ceil(room)
    };
    // 64 trainers, and a thousand validators. Phases and stages last twenty blocks and more.
    let (trainers, validators) = (pol_primitives::MAX_SUBMISSIONS.into(), 1_000);
    assert!(blocks(commit(), trainers) <= 2);
    let serve = Call::serve_states { audit: 0, states: Default::default() };
    assert!(blocks(serve.into(), trainers) <= 2);
    assert!(blocks(report(), validators) <= 10);
    let commit_audit = Call::commit_audit { audit: 0, commitment: [1; 32] };
    assert!(blocks(commit_audit.into(), validators) <= 10);
}

#[test]
fn a_training_machine_can_keep_its_principal_in_its_role() {
    let learning = configs::ProxyType::Learning;
    let allows = |call: RuntimeCall| learning.filter(&call);
    assert!(allows(commit()));
    assert!(allows(pallet_pol_staking::Call::unchill {}.into()));
    assert!(!allows(pallet_pol_staking::Call::bond_extra { amount: POL }.into()));
    assert!(!allows(pallet_pol_staking::Call::unbond {}.into()));
    let to = account(&pair("//Bob")).into();
    assert!(!allows(pallet_balances::Call::transfer_keep_alive { dest: to, value: POL }.into()));
}

#[test]
fn a_full_block_has_its_price() {
    genesis(DEV).execute_with(|| {
        let share = configs::CongestedShare::get();
        let normal = DispatchClass::Normal;
        let weights = <Runtime as frame_system::Config>::BlockWeights::get();
        let compute = share * weights.get(normal).max_total.unwrap();
        assert_eq!(TransactionPayment::weight_to_fee(compute), 600 * MILLI_POL);
        let bytes = share * *<Runtime as frame_system::Config>::BlockLength::get().max.get(normal);
        let price = TransactionPayment::length_to_fee(bytes);
        assert_eq!(price / (100 * MILLI_POL), 31, "{price}");
    });
}
