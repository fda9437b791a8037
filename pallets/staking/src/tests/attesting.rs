//! Who takes part in attesting, and when that may change.

use super::*;

#[test]
fn a_validator_takes_part_once_it_can_be_reached() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Validator, 6_000 * POL));
        assert_eq!((Staking::validator_stake(&1), Staking::total_validator_stake()), (None, 0));
        let nowhere = Endpoint { addresses: BoundedVec::new(), ..endpoint(1) };
        assert_noop!(Staking::set_endpoint(Origin::signed(1), nowhere), Refusal::NoAddress);
        events();
        assert_ok!(Staking::set_endpoint(Origin::signed(1), endpoint(1)));
        assert_eq!(
            events(),
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
fn trainers_take_no_part() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 6_000 * POL));
        assert_ok!(Staking::set_endpoint(Origin::signed(1), endpoint(1)));
        assert_eq!(Staking::validator_stake(&1), None);
        assert!(validators().is_empty());
        assert_noop!(Staking::chill(Origin::signed(2), 1), Refusal::NotActive);
    });
}

#[test]
fn places_are_limited() {
    run(|| {
        for who in [3, 1, 2] {
            activate(who, 5_000);
        }
        assert_eq!(validators(), [1, 2, 3]);
        assert_ok!(Staking::bond(Origin::signed(4), Role::Validator, 5_000 * POL));
        assert_noop!(
            Staking::set_endpoint(Origin::signed(4), endpoint(4)),
            Refusal::TooManyValidators
        );
        assert_ok!(Staking::unbond(Origin::signed(2)));
        assert_ok!(Staking::set_endpoint(Origin::signed(4), endpoint(4)));
        assert_eq!(validators(), [1, 3, 4]);
    });
}

#[test]
fn stake_stands_still_while_a_quorum_is_counted() {
    run(|| {
        activate(1, 5_000);
        activate(2, 5_000);
        AttestPhases::set(3);
        assert_ok!(Staking::chill(Origin::signed(9), 2));
        assert_ok!(Staking::bond(Origin::signed(3), Role::Validator, 5_000 * POL));
        assert_ok!(Staking::bond(Origin::signed(4), Role::Trainer, 1_000 * POL));
        Attesting::set(true);
        assert_noop!(Staking::bond_extra(Origin::signed(1), POL), Refusal::StakeIsFrozen);
        assert_noop!(Staking::unbond(Origin::signed(1)), Refusal::StakeIsFrozen);
        assert_noop!(Staking::chill(Origin::signed(9), 1), Refusal::StakeIsFrozen);
        assert_noop!(Staking::unchill(Origin::signed(2)), Refusal::StakeIsFrozen);
        assert_noop!(Staking::set_endpoint(Origin::signed(3), endpoint(3)), Refusal::StakeIsFrozen);
        // What changes no stake is free to go on.
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
fn the_silent_are_chilled_and_the_living_are_not() {
    run(|| {
        AttestPhases::set(10);
        activate(1, 5_000);
        activate(2, 5_000);
        AttestPhases::set(12);
        assert_noop!(Staking::chill(Origin::signed(9), 1), Refusal::IsAlive);
        // Account 2 attests in the phase under way, which ends as the thirteenth.
        Staking::note_attested(&2, 12);
        // To come late to an earlier one takes nothing away, and gives account 1 that one only.
        Staking::note_attested(&2, 10);
        Staking::note_attested(&1, 9);
        AttestPhases::set(13);
        events();
        assert_ok!(Staking::chill(Origin::signed(9), 1));
        assert_eq!(
            events(),
            [Event::StakeChanged { who: 1, stake: None }, Event::Chilled { who: 1 }]
        );
        assert_noop!(Staking::chill(Origin::signed(9), 1), Refusal::NotActive);
        assert_eq!(
            (Staking::validator_stake(&1), Staking::total_validator_stake()),
            (None, 5_000 * POL)
        );
        assert!(Staking::member(1).unwrap().chilled);

        AttestPhases::set(15);
        assert_noop!(Staking::chill(Origin::signed(9), 2), Refusal::IsAlive);
        assert_noop!(Staking::unchill(Origin::signed(2)), Refusal::NotChilled);
        events();
        assert_ok!(Staking::unchill(Origin::signed(1)));
        assert_eq!(
            events(),
            [Event::StakeChanged { who: 1, stake: Some(5_000 * POL) }, Event::Unchilled { who: 1 }]
        );
        // It starts with nothing missed.
        AttestPhases::set(17);
        assert_noop!(Staking::chill(Origin::signed(9), 1), Refusal::IsAlive);
        AttestPhases::set(18);
        assert_ok!(Staking::chill(Origin::signed(9), 1));
    });
}

#[test]
fn a_slashed_validator_leaves_and_can_come_back() {
    run(|| {
        activate(1, 5_000);
        activate(2, 7_000);
        // Slashes do not wait for the end of a phase.
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
        assert_noop!(Staking::chill(Origin::signed(9), 2), Refusal::IsAlive);
    });
}

#[test]
fn seats_are_drawn_by_the_stakes_as_they_are() {
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
        // Who has too little left is drawn no more.
        assert_eq!(Staking::seize(&1, 501 * POL, &9), 501 * POL);
        assert_eq!(Staking::stakes(), [(3, 6_000 * POL)]);
    });
}

#[test]
fn the_lead_rotates_from_one_the_seed_names() {
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
