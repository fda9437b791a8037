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
fn the_number_of_validators_is_limited() {
    run(|| {
        for who in [3, 1, 2] {
            activate(who, 5_000);
        }
        assert_eq!(validators(), [1, 2, 3]);
        assert_ok!(Staking::bond(Origin::signed(4), Role::Validator, 5_000 * POL));
        assert_noop!(
            Staking::set_endpoint(Origin::signed(4), endpoint(4)),
            PalletError::TooManyValidators
        );
        assert_ok!(Staking::unbond(Origin::signed(2)));
        assert_ok!(Staking::set_endpoint(Origin::signed(4), endpoint(4)));
        assert_eq!(validators(), [1, 3, 4]);
    });
}

#[test]
fn stakes_are_frozen_while_a_quorum_is_counted() {
    run(|| {
        activate(1, 5_000);
        activate(2, 5_000);
        AttestPhases::set(3);
        assert_ok!(Staking::chill(Origin::signed(9), 2));
        assert_ok!(Staking::bond(Origin::signed(3), Role::Validator, 5_000 * POL));
        assert_ok!(Staking::bond(Origin::signed(4), Role::Trainer, 1_000 * POL));
        Attesting::set(true);
        assert_noop!(Staking::bond_extra(Origin::signed(1), POL), PalletError::StakeIsFrozen);
        assert_noop!(Staking::unbond(Origin::signed(1)), PalletError::StakeIsFrozen);
        assert_noop!(Staking::chill(Origin::signed(9), 1), PalletError::StakeIsFrozen);
        assert_noop!(Staking::unchill(Origin::signed(2)), PalletError::StakeIsFrozen);
        assert_noop!(
            Staking::set_endpoint(Origin::signed(3), endpoint(3)),
            PalletError::StakeIsFrozen
        );
        // Calls that change no stake are not frozen.
        assert_ok!(Staking::set_endpoint(Origin::signed(1), endpoint(9)));
        assert_ok!(Staking::bond_extra(Origin::signed(3), POL));
        assert_ok!(Staking::unbond(Origin::signed(4)));
        assert_ok!(Staking::unbond(Origin::signed(2)));
        assert_eq!(TotalStake::<Test>::get(), 5_000 * POL);
        Attesting::set(false);
        assert_ok!(Staking::set_endpoint(Origin::signed(3), endpoint(3)));
        assert_eq!(TotalStake::<Test>::get(), 10_001 * POL);
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
        // Penalties are not frozen.
        Attesting::set(true);
        assert_eq!(Staking::slash(&2, 1_000 * POL), 1_000 * POL);
        assert_eq!(TotalStake::<Test>::get(), 11_000 * POL);
        assert_eq!(Staking::slash(&2, 1_500 * POL), 1_500 * POL);
        assert_eq!(validators(), [1]);
        assert_eq!(TotalStake::<Test>::get(), 5_000 * POL);
        Attesting::set(false);
        AttestPhases::set(7);
        assert_ok!(Staking::bond_extra(Origin::signed(2), 500 * POL));
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
        // A validator below the minimum bond leaves the list.
        assert_eq!(Staking::seize(&1, 501 * POL, &9), 501 * POL);
        assert_eq!(Staking::stakes(), [(3, 6_000 * POL)]);
    });
}

#[test]
fn the_lead_rotates_from_a_start_given_by_the_seed() {
    run(|| {
        assert_eq!(Staking::lead(&[0; 32], 0), None);
        for who in [1, 2, 3] {
            activate(who, 5_000);
        }
        let mut seed = [0; 32];
        seed[0] = 4;
        let leads: Vec<_> = (0..4).filter_map(|turn| Staking::lead(&seed, turn)).collect();
        assert_eq!(leads, [2, 3, 1, 2]);
        assert!(Staking::lead(&[255; 32], u32::MAX).is_some());
    });
}
