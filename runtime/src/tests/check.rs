// SPDX-License-Identifier: Apache-2.0

//! Checks of a state find broken invariants.

use super::{network::TestNetwork, *};
use crate::check::StateError;
use frame_support::traits::fungible::MutateHold;
use pol_primitives::{
    prf::Prf,
    rewards::{Ledger, RoundPool},
    traits::ShardPool,
};

/// Returns the error of the checks after `change` to the state of the development preset.
fn check_after(change: impl FnOnce()) -> StateError {
    genesis(DEV).execute_with(|| {
        assert!(check_state().is_ok());
        change();
        check_state().expect_err("the change went unnoticed")
    })
}

fn assert_broken(error: StateError, expected: &str, text: &str) {
    let StateError::BrokenEquation { part, equation } = &error else { panic!("{error}") };
    assert_eq!(*part, expected);
    assert!(equation.contains(text) && error.to_string().contains(text), "{error}");
}

#[test]
fn a_consistent_state_is_summarized() {
    genesis(DEV).execute_with(|| {
        let summary = check_state().unwrap();
        assert_eq!(
            (summary.block, summary.round, summary.phase, summary.head),
            (0, 0, Phase::Idle, None)
        );
        assert_eq!((summary.leased, summary.audits, summary.books), (0, 0, Ledger::default()));
        assert_eq!(summary.held, Role::Authority.minimum_bond());
        assert_eq!(summary.issuance, 44 * presets_of::ENDOWMENT + 2 * EXISTENTIAL_DEPOSIT);
    });
}

#[test]
fn unissued_funds_are_found() {
    let error =
        check_after(|| pallet_balances::TotalIssuance::<Runtime>::mutate(|issued| *issued -= 1));
    assert_broken(error, "Balances", "total issuance");
    let error =
        check_after(|| pallet_pol_rewards::RewardLedger::<Runtime>::mutate(|books| books.paid = 1));
    assert_broken(error, "Rewards", "paid");
}

#[test]
fn a_hold_without_a_bond_is_found() {
    let error = check_after(|| {
        let reason = pallet_pol_staking::HoldReason::Bond.into();
        Balances::hold(&reason, &account(&pair("//Bob")), POL).unwrap();
    });
    assert_broken(error, "Balances, PolStaking and Lineage", "Bond");
}

#[test]
fn a_council_of_others_is_found() {
    let error = check_after(|| {
        type Members = pallet_collective::Members<Runtime, crate::configs::AuthorityCouncil>;
        Members::mutate(|members| members.push(account(&pair("//Bob"))));
    });
    assert_broken(error, "Council and Session", "members of the council");
}

#[test]
fn rewards_without_unsettled_updates_are_found() {
    let error = check_after(|| {
        pallet_pol_rewards::LastEmitted::<Runtime>::put((1, 1));
        pallet_pol_rewards::UnsettledRounds::<Runtime>::put(
            frame_support::BoundedVec::try_from(vec![1]).unwrap(),
        );
        pallet_pol_rewards::Pools::<Runtime>::insert(
            1,
            RoundPool { unsettled: 1, ..Default::default() },
        );
    });
    assert_broken(error, "Rewards and ProofOfLearning", "unsettled updates (0)");
}

#[test]
fn a_lock_without_an_update_is_found() {
    let error = check_after(|| {
        let alice = account(&pair("//Alice"));
        pallet_pol_staking::Ledgers::<Runtime>::mutate_extant(alice, |ledger| ledger.locked = POL);
    });
    assert_broken(error, "PolStaking and ProofOfLearning", "locked");
}

#[test]
fn shards_without_a_lease_or_an_update_are_found() {
    genesis(DEV).execute_with(|| {
        TestNetwork::new(1, 0);
        let shards =
            <Lineage as ShardPool<AccountId>>::lease(1, &mut Prf::new("test", &[0; 32], &[]));
        assert_broken(
            check_state().unwrap_err(),
            "Lineage and ProofOfLearning",
            "leased from the pool (1)",
        );
        <Lineage as ShardPool<AccountId>>::consume(&shards, 7, 3, &[5]);
        assert_broken(
            check_state().unwrap_err(),
            "Lineage and ProofOfLearning",
            "update 3 of round 7",
        );
    });
}

#[test]
fn a_state_of_another_version_is_not_checked() {
    let error = check_after(|| {
        frame_system::LastRuntimeUpgrade::<Runtime>::mutate(|last| {
            if let Some(last) = last {
                last.spec_version = (VERSION.spec_version + 1).into();
            }
        });
    });
    assert_eq!(error, StateError::VersionMismatch(VERSION.spec_version + 1));
}
