//! The check of a state finds what does not add up.

use super::{learning::Network, *};
use crate::check::Broken;
use frame_support::traits::fungible::MutateHold;
use pol_primitives::{
    prf::Prf,
    rewards::{Books, RoundPool},
    traits::ShardPool,
};

/// Checks the state of the dev preset after `change`.
fn check_after(change: impl FnOnce()) -> Broken {
    genesis(DEV).execute_with(|| {
        assert!(check_state().is_ok());
        change();
        check_state().expect_err("the change went unnoticed")
    })
}

fn assert_broken(broken: Broken, expected: &str, what: &str) {
    let Broken::Equation { part, equation } = &broken else { panic!("{broken}") };
    assert_eq!(*part, expected);
    assert!(equation.contains(what) && broken.to_string().contains(what), "{broken}");
}

#[test]
fn a_sound_state_is_summed_up() {
    genesis(DEV).execute_with(|| {
        let summary = check_state().unwrap();
        assert_eq!(
            (summary.block, summary.round, summary.phase, summary.head),
            (0, 0, Phase::Idle, None)
        );
        assert_eq!((summary.leased, summary.audits, summary.books), (0, 0, Books::default()));
        assert_eq!(summary.held, Role::Authority.minimum_bond());
        assert_eq!(summary.issuance, 44 * presets_of::ENDOWMENT + 2 * EXISTENTIAL_DEPOSIT);
    });
}

#[test]
fn money_from_nowhere_is_found() {
    let broken =
        check_after(|| pallet_balances::TotalIssuance::<Runtime>::mutate(|issued| *issued -= 1));
    assert_broken(broken, "Balances", "what is issued");
    let broken =
        check_after(|| pallet_pol_rewards::Books::<Runtime>::mutate(|books| books.paid = 1));
    assert_broken(broken, "Rewards", "paid");
}

#[test]
fn a_hold_without_a_bond_is_found() {
    let broken = check_after(|| {
        let reason = pallet_pol_staking::HoldReason::Bond.into();
        Balances::hold(&reason, &account(&pair("//Bob")), POL).unwrap();
    });
    assert_broken(broken, "Balances, PolStaking and Lineage", "Bond");
}

#[test]
fn rewards_that_wait_for_nothing_are_found() {
    let broken = check_after(|| {
        pallet_pol_rewards::LastEmitted::<Runtime>::put(1);
        pallet_pol_rewards::Pools::<Runtime>::insert(
            1,
            RoundPool { unsettled: 1, ..Default::default() },
        );
    });
    assert_broken(broken, "Rewards and ProofOfLearning", "updates not settled (0)");
}

#[test]
fn shards_without_a_lease_or_an_update_are_found() {
    genesis(DEV).execute_with(|| {
        Network::new(1, 0);
        let shards =
            <Lineage as ShardPool<AccountId>>::lease(1, &mut Prf::new("test", &[0; 32], &[]));
        assert_broken(check_state().unwrap_err(), "Lineage and ProofOfLearning", "lent (1)");
        <Lineage as ShardPool<AccountId>>::consume(&shards, 7, 3, &[5]);
        assert_broken(
            check_state().unwrap_err(),
            "Lineage and ProofOfLearning",
            "update 3 of round 7",
        );
    });
}

#[test]
fn another_runtimes_state_is_not_judged() {
    let broken = check_after(|| {
        frame_system::LastRuntimeUpgrade::<Runtime>::mutate(|last| {
            if let Some(last) = last {
                last.spec_version = (VERSION.spec_version + 1).into();
            }
        });
    });
    assert_eq!(broken, Broken::OtherVersion(VERSION.spec_version + 1));
}
