// SPDX-License-Identifier: Apache-2.0

//! The set of active validators and the freeze of stakes.

use super::*;

#[test]
fn a_validator_is_active_once_it_has_an_endpoint() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Validator, 6_000 * POL));
        assert_eq!((Staking::validator_stake(&1), Staking::total_validator_stake()), (None, 0));
        let nowhere = Endpoint { addresses: BoundedVec::new(), ..endpoint(1) };
        assert_noop!(Staking::set_endpoint(Origin::signed(1), nowhere), PalletError::NoAddress);
        take_events();
        assert_ok!(Staking::set_endpoint(Origin::signed(1), endpoint(1)));
        assert_eq!(
            take_events(),
            [
                Event::StakeChanged { who: 1, stake: Some(6_000 * POL) },
                Event::EndpointSet { who: 1 }
            ]
        );
        assert_eq!(
            (Staking::validator_stake(&1), Staking::total_validator_stake()),
            (Some(6_000 * POL), 6_000 * POL)
        );

        assert_ok!(Staking::bond_extra(Origin::signed(1), POL));
        assert_eq!(TotalStake::<Test>::get(), 6_001 * POL);
        assert_ok!(Staking::unbond(Origin::signed(1)));
        assert_eq!((Staking::validator_stake(&1), Staking::total_validator_stake()), (None, 0));
    });
}

#[test]
fn trainers_do_not_attest() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 6_000 * POL));
        assert_ok!(Staking::set_endpoint(Origin::signed(1), endpoint(1)));
        assert_eq!(Staking::validator_stake(&1), None);
        assert!(validators().is_empty());
        assert_noop!(Staking::chill(Origin::signed(2), 1), PalletError::NotActive);
    });
}

#[test]
fn the_word_of_a_newcomer_counts_once_it_acts() {
    run(|| {
        activate(1, 5_000);
        activate(2, 9_000);
        let counted = || {
            let stakes = <Staking as pol_primitives::traits::ValidatorStakes<_>>::stakes();
            stakes.into_iter().map(|(who, _)| who).collect::<Vec<_>>()
        };
        // Nobody has acted, so that all count.
        assert_eq!(counted(), [1, 2]);
        Staking::note_active(&1);
        assert_eq!(counted(), [1]);
        Staking::note_active(&2);
        assert_eq!(counted(), [1, 2]);
    });
}

#[test]
fn a_full_list_of_validators_gives_way_to_higher_stakes() {
    run(|| {
        for who in [3, 1, 2] {
            activate(who, 5_000);
        }
        take_events();
        // An equal stake waits for a place.
        activate(4, 5_000);
        assert_eq!(validators(), [1, 2, 3]);
        assert!(take_events().contains(&Event::Waiting { who: 4 }));
        assert_eq!(Staking::validator_stake(&4), None);
        assert_noop!(Staking::unchill(Origin::signed(4)), PalletError::NoPlace);
        // A higher one takes the place of the lowest, which stays bonded and returns with more.
        assert_ok!(Staking::bond_extra(Origin::signed(4), POL));
        assert_eq!(validators(), [2, 3, 4]);
        assert_eq!(Staking::total_validator_stake(), 15_001 * POL);
        assert_eq!((held(1), Staking::validator_stake(&1)), (5_000 * POL, None));
        assert_ok!(Staking::bond_extra(Origin::signed(1), 2 * POL));
        assert_eq!(validators(), [1, 3, 4]);
        // Whoever waits returns when there is room.
        assert_ok!(Staking::unbond(Origin::signed(3)));
        assert_ok!(Staking::unchill(Origin::signed(2)));
        assert_eq!(validators(), [1, 2, 4]);
        assert_noop!(Staking::unchill(Origin::signed(2)), PalletError::NotChilled);
    });
}

fn newcomers() -> Vec<AccountId> {
    Newcomers::<Test>::get().into_inner()
}

#[test]
fn a_validator_is_a_newcomer_until_it_acts() {
    run(|| {
        for who in [3, 1, 2] {
            activate(who, 5_000);
        }
        assert_eq!(newcomers(), [1, 2, 3]);
        Staking::note_active(&2);
        Staking::note_attested(&1, 0);
        assert_eq!(newcomers(), [3]);
        // Whoever leaves and returns has to act again, and so has one that lost too much.
        assert_eq!(Staking::slash(&1, 501 * POL), 501 * POL);
        assert_ok!(Staking::bond_extra(Origin::signed(1), 501 * POL));
        assert_eq!(newcomers(), [1, 3]);
        AttestPhases::set(3);
        assert_ok!(Staking::chill(Origin::signed(9), 2));
        assert_ok!(Staking::unchill(Origin::signed(2)));
        assert_eq!(newcomers(), [1, 2, 3]);
        assert_ok!(Staking::unbond(Origin::signed(3)));
        assert_eq!(newcomers(), [1, 2]);
        // An act of an account that is no active validator changes nothing.
        Staking::note_active(&3);
        Staking::note_active(&77);
        Staking::note_attested(&3, 3);
        assert!(!Ledgers::<Test>::get(3).unwrap().acted);
    });
}

#[test]
fn members_at_genesis_are_no_newcomers() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        assert_ok!(Staking::set_endpoint(Origin::signed(1), endpoint(1)));
        assert_eq!((validators(), newcomers()), (vec![1], vec![]));
    });
}

#[test]
fn wrong_roots_are_counted_in_a_row() {
    run(|| {
        activate(1, 5_000);
        let wrong = [false, false, true, false].map(|right| Staking::note_root(&1, right));
        assert_eq!((wrong, Staking::note_root(&77, false)), ([1, 2, 0, 1], 0));
    });
}

#[test]
fn a_validator_is_chilled_only_after_missed_phases() {
    run(|| {
        AttestPhases::set(10);
        activate(1, 5_000);
        activate(2, 5_000);
        AttestPhases::set(12);
        assert_noop!(Staking::chill(Origin::signed(9), 1), PalletError::IsAlive);
        // Account 2 attests in the current phase, the thirteenth.
        Staking::note_attested(&2, 12);
        let attested = |who| [9, 12, 13].map(|phase| Staking::has_attested(&who, phase));
        assert_eq!((attested(2), attested(77)), ([true, true, false], [false; 3]));
        // A late attestation of an earlier phase does not lower the count of account 2. Account 1
        // has attested that phase only.
        Staking::note_attested(&2, 10);
        Staking::note_attested(&1, 9);
        AttestPhases::set(13);
        take_events();
        assert_ok!(Staking::chill(Origin::signed(9), 1));
        assert_eq!(
            take_events(),
            [Event::StakeChanged { who: 1, stake: None }, Event::Chilled { who: 1 }]
        );
        assert_noop!(Staking::chill(Origin::signed(9), 1), PalletError::NotActive);
        assert_eq!(
            (Staking::validator_stake(&1), Staking::total_validator_stake()),
            (None, 5_000 * POL)
        );
        assert!(Staking::member(1).unwrap().chilled);

        AttestPhases::set(15);
        assert_noop!(Staking::chill(Origin::signed(9), 2), PalletError::IsAlive);
        assert_noop!(Staking::unchill(Origin::signed(2)), PalletError::NotChilled);
        take_events();
        assert_ok!(Staking::unchill(Origin::signed(1)));
        assert_eq!(
            take_events(),
            [Event::StakeChanged { who: 1, stake: Some(5_000 * POL) }, Event::Unchilled { who: 1 }]
        );
        // The count of missed phases starts at zero.
        AttestPhases::set(17);
        assert_noop!(Staking::chill(Origin::signed(9), 1), PalletError::IsAlive);
        AttestPhases::set(18);
        assert_ok!(Staking::chill(Origin::signed(9), 1));
    });
}

#[test]
fn a_slashed_validator_leaves_and_can_return() {
    run(|| {
        activate(1, 5_000);
        activate(2, 7_000);
        assert_eq!(Staking::slash(&2, 1_000 * POL), 1_000 * POL);
        assert_eq!(TotalStake::<Test>::get(), 11_000 * POL);
        // It keeps its role with nine tenths of the minimum, and takes it up again with all of it.
        assert_eq!(Staking::slash(&2, 1_500 * POL), 1_500 * POL);
        assert_eq!(validators(), [1, 2]);
        assert_eq!(Staking::slash(&2, POL), POL);
        assert_eq!(validators(), [1]);
        assert_eq!(TotalStake::<Test>::get(), 5_000 * POL);
        AttestPhases::set(7);
        assert_ok!(Staking::bond_extra(Origin::signed(2), 500 * POL));
        assert_eq!(Staking::validator_stake(&2), None);
        assert_ok!(Staking::bond_extra(Origin::signed(2), POL));
        assert_eq!(Staking::validator_stake(&2), Some(5_000 * POL));
        assert_noop!(Staking::chill(Origin::signed(9), 2), PalletError::IsAlive);
    });
}

#[test]
fn the_list_of_stakes_follows_every_change() {
    run(|| {
        assert_eq!(Staking::stakes(), []);
        activate(3, 5_000);
        activate(1, 6_000);
        assert_ok!(Staking::bond(Origin::signed(2), Role::Validator, 5_000 * POL));
        assert_eq!(Staking::stakes(), [(1, 6_000 * POL), (3, 5_000 * POL)]);
        assert_ok!(Staking::bond_extra(Origin::signed(3), 2_000 * POL));
        assert_eq!(Staking::seize(&1, 500 * POL, &9), 500 * POL);
        assert_eq!(Staking::slash(&3, 1_000 * POL), 1_000 * POL);
        assert_eq!(Staking::stakes(), [(1, 5_500 * POL), (3, 6_000 * POL)]);
        assert_eq!(Staking::total_validator_stake(), 11_500 * POL);
        // A validator below nine tenths of the minimum bond leaves the list.
        assert_eq!(Staking::seize(&1, 1_001 * POL, &9), 1_001 * POL);
        assert_eq!(Staking::stakes(), [(3, 6_000 * POL)]);
    });
}
