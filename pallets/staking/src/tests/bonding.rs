// SPDX-License-Identifier: Apache-2.0

//! Roles and their bonds.

use super::*;

#[test]
fn a_bond_is_held_and_released() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 1_500 * POL));
        assert!(Staking::is_trainer(&1));
        assert_eq!((held(1), Balances::balance(&1)), (1_500 * POL, WEALTH - 1_500 * POL));
        assert_eq!(
            take_events(),
            [Event::Bonded { who: 1, role: Role::Trainer, amount: 1_500 * POL }]
        );

        assert_noop!(Staking::withdraw(Origin::signed(1)), PalletError::RoleNotEnded);
        assert_ok!(Staking::set_endpoint(Origin::signed(1), endpoint(1)));
        assert_ok!(Staking::unbond(Origin::signed(1)));
        assert!(!Staking::is_trainer(&1));
        assert_eq!(held(1), 1_500 * POL);
        assert_eq!(
            take_events(),
            [Event::EndpointSet { who: 1 }, Event::Unbonded { who: 1, free_at: 11 }]
        );
        assert_noop!(Staking::unbond(Origin::signed(1)), PalletError::RoleEnded);
        assert_noop!(Staking::bond_extra(Origin::signed(1), POL), PalletError::RoleEnded);
        assert_noop!(
            Staking::bond(Origin::signed(1), Role::Trainer, 1_000 * POL),
            PalletError::AlreadyBonded
        );

        System::set_block_number(10);
        assert_noop!(Staking::withdraw(Origin::signed(1)), PalletError::StillUnbonding);
        System::set_block_number(11);
        assert_ok!(Staking::withdraw(Origin::signed(1)));
        assert_eq!((held(1), Balances::balance(&1)), (0, WEALTH));
        assert_eq!(take_events(), [Event::Withdrawn { who: 1, amount: 1_500 * POL }]);
        assert_eq!(Left::take(), [1], "others learn of it");
        assert!(Ledgers::<Test>::get(1).is_none() && Endpoints::<Test>::get(1).is_none());
        assert_ok!(Staking::bond(Origin::signed(1), Role::Validator, 5_000 * POL));
    });
}

#[test]
fn each_role_has_its_minimum() {
    run(|| {
        for (who, role) in [(1, Role::Trainer), (2, Role::Validator), (3, Role::Authority)] {
            let minimum = role.minimum_bond();
            assert_noop!(
                Staking::bond(Origin::signed(who), role, minimum - 1),
                PalletError::BondTooSmall
            );
            assert_ok!(Staking::bond(Origin::signed(who), role, minimum));
            assert_noop!(
                Staking::bond(Origin::signed(who), role, minimum),
                PalletError::AlreadyBonded
            );
        }
    });
}

#[test]
fn a_bond_requires_funds() {
    run(|| {
        // The existential deposit, one POL, stays free.
        assert_noop!(
            Staking::bond(Origin::signed(1), Role::Trainer, WEALTH),
            PalletError::InsufficientFunds
        );
        assert_noop!(
            Staking::bond(Origin::signed(999), Role::Trainer, 1_000 * POL),
            PalletError::InsufficientFunds
        );
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, WEALTH - POL));
        assert_noop!(Staking::bond_extra(Origin::signed(1), 1), PalletError::InsufficientFunds);
    });
}

#[test]
fn calls_without_a_bond_are_refused() {
    run(|| {
        assert_noop!(Staking::bond_extra(Origin::signed(1), 1), PalletError::NotBonded);
        assert_noop!(Staking::unbond(Origin::signed(1)), PalletError::NotBonded);
        assert_noop!(Staking::withdraw(Origin::signed(1)), PalletError::NotBonded);
        assert_noop!(Staking::set_endpoint(Origin::signed(1), endpoint(1)), PalletError::NotBonded);
        assert_noop!(Staking::chill(Origin::signed(1), 2), PalletError::NotBonded);
        assert_noop!(Staking::unchill(Origin::signed(1)), PalletError::NotBonded);
        assert!(!Staking::is_trainer(&1));
        assert_eq!((Staking::slash(&1, POL), Staking::seize(&1, POL, &2)), (0, 0));
    });
}

#[test]
fn a_slashed_trainer_can_act_again_once_its_bond_is_restored() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 1_200 * POL));
        let issuance = Balances::total_issuance();
        take_events();
        assert_eq!(Staking::slash(&1, 100 * POL), 100 * POL);
        assert!(Staking::is_trainer(&1));
        assert_eq!(Staking::slash(&1, 300 * POL), 300 * POL);
        assert!(!Staking::is_trainer(&1));
        assert_eq!((held(1), issuance - Balances::total_issuance()), (800 * POL, 400 * POL));
        assert_eq!(
            take_events(),
            [
                Event::Slashed { who: 1, amount: 100 * POL },
                Event::Slashed { who: 1, amount: 300 * POL }
            ]
        );
        assert_ok!(Staking::bond_extra(Origin::signed(1), 200 * POL));
        assert!(Staking::is_trainer(&1));
        assert_eq!(take_events(), [Event::BondRaised { who: 1, amount: 200 * POL }]);
    });
}

#[test]
fn an_unbonding_account_can_be_slashed() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 1_000 * POL));
        assert_ok!(Staking::unbond(Origin::signed(1)));
        assert_eq!(Staking::slashable(&1), 1_000 * POL);
        assert_eq!(Staking::slash(&1, 2_000 * POL), 1_000 * POL);
        assert_eq!(Staking::slashable(&1), 0);
        assert_eq!(Staking::slash(&1, POL), 0);
        System::set_block_number(1 + UNBONDING_PERIOD);
        assert_ok!(Staking::withdraw(Origin::signed(1)));
        assert_eq!(Balances::total_balance(&1), WEALTH - 1_000 * POL);
    });
}

#[test]
fn a_locked_bond_is_not_withdrawn() {
    run(|| {
        assert_eq!(Staking::free_bond(&1), 0);
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 2_000 * POL));
        assert_eq!(Staking::free_bond(&1), 2_000 * POL);
        Staking::lock(&1, 900 * POL);
        Staking::lock(&1, 900 * POL);
        assert_eq!((Staking::free_bond(&1), held(1)), (200 * POL, 2_000 * POL));
        assert_eq!(Staking::member(1).unwrap().locked, 1_800 * POL);
        assert_ok!(Staking::unbond(Origin::signed(1)));
        assert_eq!(Staking::free_bond(&1), 0);
        System::set_block_number(1 + UNBONDING_PERIOD);
        assert_noop!(Staking::withdraw(Origin::signed(1)), PalletError::StillLocked);
        // Penalties reach it twice.
        for left in [1_100, 200] {
            Staking::unlock(&1, 900 * POL);
            assert_eq!(Staking::seize(&1, 900 * POL, &2), 900 * POL);
            assert_eq!(held(1), left * POL);
        }
        assert_ok!(Staking::withdraw(Origin::signed(1)));
        // Without a ledger there is nothing to lock.
        Staking::lock(&1, POL);
        Staking::unlock(&1, POL);
        assert_eq!(Staking::free_bond(&1), 0);
        // Only trainers make updates.
        assert_ok!(Staking::bond(Origin::signed(3), Role::Validator, 5_000 * POL));
        assert_eq!(Staking::free_bond(&3), 0);
    });
}

#[test]
fn every_role_outlasts_a_small_penalty() {
    run(|| {
        for (who, role) in [(1, Role::Trainer), (2, Role::Validator), (3, Role::Authority)] {
            let (minimum, kept) = (role.minimum_bond(), role.kept_bond());
            assert_ok!(Staking::bond(Origin::signed(who), role, minimum));
            assert_eq!(Staking::slash(&who, minimum - kept), minimum - kept);
            assert!(Ledgers::<Test>::get(who).unwrap().is_bonded());
            assert_eq!(Staking::slash(&who, 1), 1);
            assert!(!Ledgers::<Test>::get(who).unwrap().is_bonded());
            assert_ok!(Staking::bond_extra(Origin::signed(who), minimum - kept));
            assert!(!Ledgers::<Test>::get(who).unwrap().is_bonded(), "the whole bond is needed");
            assert_ok!(Staking::bond_extra(Origin::signed(who), 1));
            assert!(Ledgers::<Test>::get(who).unwrap().is_bonded());
        }
    });
}

#[test]
fn a_seized_amount_arrives_in_full() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 1_200 * POL));
        let issuance = Balances::total_issuance();
        take_events();
        assert_eq!(Staking::seize(&1, 200 * POL, &2), 200 * POL);
        assert!(Staking::is_trainer(&1));
        assert_eq!((held(1), Balances::balance(&2)), (1_000 * POL, WEALTH + 200 * POL));
        // The rest of the bond, also after the end of the role, and no more.
        assert_ok!(Staking::unbond(Origin::signed(1)));
        assert_eq!(Staking::seize(&1, Balance::MAX, &2), 1_000 * POL);
        assert_eq!(Staking::seize(&1, POL, &2), 0);
        assert_eq!(
            (held(1), Balances::balance(&2), Staking::slashable(&1)),
            (0, WEALTH + 1_200 * POL, 0)
        );
        assert_eq!(Balances::total_issuance(), issuance);
        assert_eq!(
            take_events(),
            [
                Event::Seized { who: 1, amount: 200 * POL, to: 2 },
                Event::Unbonded { who: 1, free_at: 11 },
                Event::Seized { who: 1, amount: 1_000 * POL, to: 2 },
            ]
        );
        System::set_block_number(1 + UNBONDING_PERIOD);
        assert_ok!(Staking::withdraw(Origin::signed(1)));
        assert_eq!(Balances::total_balance(&1), WEALTH - 1_200 * POL);
    });
}

#[test]
fn a_bond_is_kept_if_the_receiver_cannot_exist() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 1_000 * POL));
        // Less than the existential deposit, to an account that does not exist.
        assert_eq!(Staking::seize(&1, POL - 1, &999), 0);
        assert_eq!((held(1), Balances::total_balance(&999)), (1_000 * POL, 0));
        assert_eq!(Staking::seize(&1, POL, &999), POL);
        assert_eq!(Balances::balance(&999), POL);
    });
}

#[test]
fn members_are_paged() {
    run(|| {
        for who in 1..=130 {
            assert_ok!(Staking::bond(Origin::signed(who), Role::Trainer, 1_000 * POL));
        }
        assert_ok!(Staking::set_endpoint(Origin::signed(7), endpoint(7)));
        assert_ok!(Staking::unbond(Origin::signed(8)));
        let first = Staking::members(None);
        let second = Staking::members(first.last().map(|member| member.account));
        assert_eq!((first.len(), second.len()), (100, 30));
        let mut accounts: Vec<_> =
            first.iter().chain(&second).map(|member| member.account).collect();
        accounts.sort_unstable();
        assert_eq!(accounts, (1..=130).collect::<Vec<_>>());

        let member = Staking::member(7).unwrap();
        assert_eq!((member.role, member.bond, member.chilled), (Role::Trainer, 1_000 * POL, false));
        assert_eq!(member.endpoint, Some(endpoint(7)));
        assert_eq!(Staking::member(8).unwrap().bond, 0, "the bond of an ended role does not count");
        assert_eq!(Staking::member(131), None);
    });
}

#[test]
fn calls_keep_their_indices() {
    use codec::Encode;
    let index = |call: Call<Test>| call.encode()[0];
    assert_eq!(index(Call::bond { role: Role::Trainer, amount: 0 }), 0);
    assert_eq!(index(Call::bond_extra { amount: 0 }), 1);
    assert_eq!(index(Call::unbond {}), 2);
    assert_eq!(index(Call::withdraw {}), 3);
    assert_eq!(index(Call::set_endpoint { endpoint: endpoint(1) }), 4);
    assert_eq!(index(Call::chill { validator: 1 }), 5);
    assert_eq!(index(Call::unchill {}), 6);
    assert_eq!(index(Call::set_authority_target { target: 1 }), 7);
    assert_eq!(index(Call::purge_session_keys {}), 8);
}
