// SPDX-License-Identifier: Apache-2.0

//! Election of the authorities, and what keeps accounts out of it.

use super::*;
use crate::{Authored, Candidates, Probations};
use pol_primitives::election::{Candidacy, PROBATION};
use polkadot_sdk::{
    frame_support::traits::Hooks,
    pallet_authorship::EventHandler,
    pallet_session::SessionManager,
    sp_runtime::{DispatchError, Perbill, testing::UintAuthorityId},
};

fn set_keys(who: AccountId, key: u64) {
    let keys = SessionKeys { dummy: UintAuthorityId(key) };
    let proof = {
        use codec::Encode;
        use polkadot_sdk::sp_runtime::RuntimeAppPublic;
        UintAuthorityId(key).sign(&who.encode()).unwrap().encode()
    };
    assert_ok!(Session::set_keys(Origin::signed(who), keys, proof));
}

fn bond_authority(who: AccountId, bond: u128) {
    assert_ok!(Staking::bond(Origin::signed(who), Role::Authority, bond * POL));
}

/// Bonds an authority that has keys and an endpoint, as an operator does.
fn join(who: AccountId, bond: u128) {
    bond_authority(who, bond);
    assert_ok!(Staking::set_endpoint(Origin::signed(who), endpoint(1)));
    set_keys(who, who);
}

fn set_target(target: u32) {
    assert_ok!(Staking::set_authority_target(Origin::root(), target));
}

/// Runs a session of 60 blocks, which all authorities but `silent` ones share. Returns the
/// authorities of the next session.
fn session(silent: &[AccountId]) -> Vec<AccountId> {
    let alive: Vec<_> =
        Session::validators().into_iter().filter(|who| !silent.contains(who)).collect();
    for block in 0..60 {
        if let Some(author) = alive.get(block % alive.len().max(1)) {
            Staking::note_author(*author);
        }
    }
    Session::rotate_session();
    assert_eq!(Authored::<Test>::iter().count(), 0);
    Staking::do_try_state().unwrap();
    Session::validators()
}

fn sessions(count: usize, silent: &[AccountId]) -> Vec<AccountId> {
    for _ in 0..count {
        session(silent);
    }
    Session::validators()
}

fn candidates() -> Vec<AccountId> {
    Candidates::<Test>::get().into_iter().map(|(who, _)| who).collect()
}

fn candidacy(who: AccountId) -> Candidacy {
    Candidates::<Test>::get().into_iter().find(|(other, _)| *other == who).unwrap().1
}

/// Three authorities of the smallest bond.
const THREE: [(AccountId, Role, Balance); 3] = [
    (1, Role::Authority, 10_000 * POL),
    (2, Role::Authority, 10_000 * POL),
    (3, Role::Authority, 10_000 * POL),
];

#[test]
fn genesis_authorities_are_elected() {
    let members = [
        (1, Role::Authority, 10_000 * POL),
        (2, Role::Authority, 12_000 * POL),
        (3, Role::Trainer, 1_000 * POL),
    ];
    with_genesis(&members, &[1, 2], || {
        assert_eq!(Session::validators(), [1, 2]);
        assert_eq!((held(1), held(2), held(3)), (10_000 * POL, 12_000 * POL, 1_000 * POL));
        // They need no endpoint as long as they produce blocks.
        assert_eq!(sessions(4, &[]), [1, 2]);
    });
}

#[test]
fn without_candidates_the_genesis_keys_stay() {
    with_genesis(&[], &[5], || {
        assert_eq!(Session::validators(), [5]);
        assert_eq!(sessions(3, &[]), [5]);
    });
}

#[test]
#[should_panic(expected = "the genesis bond of 201 as Trainer is impossible")]
fn genesis_rejects_a_bond_without_funds() {
    with_genesis(&[(201, Role::Trainer, 1_000 * POL)], &[], || ());
}

#[test]
fn genesis_is_read_from_json() {
    let json = r#"{ "members": [[7, "authority", 10000000000000000]] }"#;
    let parsed: GenesisConfig<Test> = serde_json::from_str(json).unwrap();
    assert_eq!(parsed.members, [(7, Role::Authority, 10_000 * POL)]);
}

#[test]
fn newcomers_enter_after_a_full_session_of_readiness() {
    with_genesis(&THREE[..1], &[1], || {
        join(2, 10_000);
        // Ready at the first election and at the second, so elected there, for the session after.
        assert_eq!(session(&[]), [1]);
        assert_eq!(candidacy(2).ready, 1);
        assert_eq!(session(&[]), [1]);
        assert_eq!(candidacy(2).ready, PROBATION);
        assert_eq!(session(&[]), [1, 2]);
    });
}

#[test]
fn candidates_need_keys_and_an_endpoint() {
    with_genesis(&THREE[..1], &[1], || {
        bond_authority(2, 50_000);
        assert_ok!(Staking::set_endpoint(Origin::signed(2), endpoint(1)));
        bond_authority(3, 60_000);
        set_keys(3, 3);
        assert_eq!(sessions(5, &[]), [1]);
        set_keys(2, 2);
        assert_eq!(sessions(3, &[]), [1, 2]);
    });
}

#[test]
fn a_higher_weight_takes_the_place_of_the_lowest() {
    with_genesis(&THREE[..2], &[1, 2], || {
        join(3, 11_000);
        assert_eq!(sessions(3, &[]), [1, 3]);
        Ledgers::<Test>::mutate(2, |ledger| ledger.as_mut().unwrap().reputation = MILLION);
        set_target(3);
        assert_ok!(Staking::set_endpoint(Origin::signed(2), endpoint(2)));
        assert_eq!(sessions(3, &[]), [1, 2, 3]);
        set_target(2);
        assert_eq!(sessions(2, &[]), [2, 3]);
        assert_ok!(Staking::unbond(Origin::signed(2)));
        // It stays as long as nobody else could replace it, so that the set keeps its size.
        assert_eq!(sessions(2, &[]), [3]);
    });
}

#[test]
fn the_target_is_set_by_governance_within_bounds() {
    run(|| {
        assert_noop!(Staking::set_authority_target(Origin::signed(1), 3), DispatchError::BadOrigin);
        for target in [0, 9] {
            assert_noop!(
                Staking::set_authority_target(Origin::root(), target),
                PalletError::TargetOutOfRange
            );
        }
        set_target(8);
        assert_eq!(take_events(), [Event::AuthorityTargetSet { target: 8 }]);
    });
}

#[test]
fn bonds_without_nodes_do_not_stop_finality() {
    with_genesis(&THREE, &[1, 2, 3], || {
        set_target(8);
        let dead = [8, 9];
        dead.iter().for_each(|who| join(*who, 90_000));
        for number in 0..40 {
            let authorities = session(&dead);
            let missing = authorities.iter().filter(|who| dead.contains(who)).count();
            assert!(
                [1, 2, 3].iter().all(|who| authorities.contains(who)),
                "{authorities:?} in session {number}"
            );
            assert!(missing <= (authorities.len() - 1) / 3, "{authorities:?} cannot finalise");
            // They say again and again that they are back.
            for who in dead {
                let _ = Staking::unchill(Origin::signed(who));
            }
        }
        // Each absence doubled their probation, so they serve ever more rarely.
        assert!(dead.iter().all(|who| candidacy(*who).probation >= 4 * PROBATION));
        assert!(Staking::member(8).unwrap().bonded);
    });
}

#[test]
fn whoever_produces_no_block_is_out_until_it_says_that_it_is_back() {
    let members: Vec<_> = (1..=4).map(|who| (who, Role::Authority, 10_000 * POL)).collect();
    with_genesis(&members, &[1, 2, 3, 4], || {
        set_target(4);
        assert_ok!(Staking::set_endpoint(Origin::signed(4), endpoint(1)));
        take_events();
        session(&[4]);
        let left = 9_980 * POL;
        assert_eq!(
            take_events(),
            [
                Event::Absent { who: 4 },
                Event::StakeChanged { who: 4, stake: Some(left) },
                Event::Slashed { who: 4, amount: 20 * POL }
            ]
        );
        assert!(Staking::member(4).unwrap().absent);
        assert_eq!(session(&[4]), [1, 2, 3]);
        assert_eq!(sessions(6, &[]), [1, 2, 3]);
        take_events();
        assert_ok!(Staking::unchill(Origin::signed(4)));
        assert_eq!(take_events(), [Event::Unchilled { who: 4 }]);
        assert_noop!(Staking::unchill(Origin::signed(4)), PalletError::NotChilled);
        // Its probation is twice as long, and so is its next penalty.
        assert_eq!(sessions(4, &[]), [1, 2, 3]);
        assert_eq!(session(&[4]), [1, 2, 3, 4]);
        session(&[4]);
        assert_eq!(held(4), left - 40 * POL);
    });
}

#[test]
fn absences_are_not_forgotten_with_the_place_of_a_candidate() {
    let members: Vec<_> = (1..=4).map(|who| (who, Role::Authority, 10_000 * POL)).collect();
    with_genesis(&members, &[1, 2, 3, 4], || {
        set_target(4);
        assert_ok!(Staking::set_endpoint(Origin::signed(4), endpoint(1)));
        session(&[4]);
        assert_eq!(held(4), 9_980 * POL);
        // Penalties take its place, and it bonds more to be a candidate again.
        assert_eq!(Staking::slash(&4, 1_000 * POL), 1_000 * POL);
        assert_eq!(candidates(), [1, 2, 3]);
        sessions(2, &[]);
        assert_ok!(Staking::bond_extra(Origin::signed(4), 1_020 * POL));
        assert_eq!(candidates(), [1, 2, 3, 4]);
        assert_eq!(candidacy(4).probation, 2 * PROBATION);
        // The next absence costs twice as much.
        assert_eq!(sessions(5, &[]), [1, 2, 3, 4]);
        session(&[4]);
        assert_eq!(held(4), 9_960 * POL);
        // Only the end of the bond ends it.
        assert_ok!(Staking::unbond(Origin::signed(4)));
        sessions(2, &[]);
        assert!(Probations::<Test>::contains_key(4));
        System::set_block_number(1 + UNBONDING_PERIOD);
        assert_ok!(Staking::withdraw(Origin::signed(4)));
        assert!(!Probations::<Test>::contains_key(4));
        Staking::do_try_state().unwrap();
    });
}

#[test]
fn whoever_leaves_out_many_of_its_blocks_is_absent_too() {
    let members: Vec<_> = (1..=4).map(|who| (who, Role::Authority, 10_000 * POL)).collect();
    with_genesis(&members, &[1, 2, 3, 4], || {
        set_target(4);
        // It makes a block now and then: one in five of its share of fifteen.
        let mut few = |_| {
            (0..57).for_each(|block| Staking::note_author(1 + block % 3));
            (0..3).for_each(|_| Staking::note_author(4));
            Session::rotate_session();
            held(4)
        };
        let bonds: Vec<_> = (0..4).map(&mut few).collect();
        // Each session it falls 8.25 blocks further behind three quarters of its share.
        assert_eq!(bonds, [10_000, 10_000, 10_000, 9_980].map(|bond| bond * POL));
        assert!(Staking::member(4).unwrap().absent);
        assert_eq!((held(1), held(2), held(3)), (10_000 * POL, 10_000 * POL, 10_000 * POL));
    });
}

#[test]
fn a_partition_does_not_empty_the_set_at_once() {
    let members: Vec<_> = (1..=4).map(|who| (who, Role::Authority, 10_000 * POL)).collect();
    with_genesis(&members, &[1, 2, 3, 4], || {
        set_target(4);
        let sizes: Vec<_> = (0..6).map(|_| session(&[2, 3, 4]).len()).collect();
        assert_eq!(sizes, [4, 3, 2, 1, 1, 1]);
        assert_eq!(Session::validators(), [1]);
        // It is nobody's fault if more are cut off than finality tolerates.
        assert_eq!((held(2), held(3), held(4)), (10_000 * POL, 10_000 * POL, 10_000 * POL));
    });
}

#[test]
fn a_chain_without_blocks_makes_nobody_absent() {
    with_genesis(&THREE, &[1, 2, 3], || {
        set_target(3);
        for _ in 0..5 {
            Session::rotate_session();
        }
        assert_eq!(Session::validators(), [1, 2, 3]);
    });
}

#[test]
fn equivocation_bars_from_elections_for_the_unbonding_period() {
    let members: Vec<_> = (1..=5).map(|who| (who, Role::Authority, 10_000 * POL)).collect();
    with_genesis(&members, &[1, 2, 3, 4, 5], || {
        set_target(8);
        assert_ok!(Staking::set_endpoint(Origin::signed(5), endpoint(1)));
        session(&[]);
        take_events();
        // One of five loses (3/5)².
        let tenth = Perbill::from_percent(10);
        assert!(Staking::is_punishable(&5));
        Staking::punish_equivocation(&5, tenth);
        assert!(!Staking::is_punishable(&5));
        let until = 1 + UNBONDING_PERIOD;
        assert_eq!(
            take_events(),
            [
                Event::Barred { who: 5, until },
                Event::StakeChanged { who: 5, stake: None },
                Event::Slashed { who: 5, amount: 3_600 * POL }
            ]
        );
        // The same again costs nothing, and a graver one the difference.
        Staking::punish_equivocation(&5, tenth);
        assert_eq!(held(5), 6_400 * POL);
        Staking::punish_equivocation(&5, Perbill::from_percent(50));
        assert_eq!(held(5), 5_000 * POL);
        Session::report_offence(5, Default::default());
        assert_eq!(Session::disabled_validators(), [4]);
        // It was elected for the next session already, and stays disabled in it.
        assert_eq!(session(&[5]), [1, 2, 3, 4, 5]);
        assert_eq!(Session::disabled_validators(), [4]);
        assert_eq!(session(&[5]), [1, 2, 3, 4]);
        assert_ok!(Staking::bond_extra(Origin::signed(5), 5_000 * POL));
        assert_noop!(Staking::unchill(Origin::signed(5)), PalletError::IsBarred);
        assert_eq!(candidates(), [1, 2, 3, 4]);
        System::set_block_number(until);
        assert_ok!(Staking::unchill(Origin::signed(5)));
        assert_eq!(sessions(3, &[]), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn equivocations_of_many_cost_each_of_them_more() {
    let members: Vec<_> = (1..=8).map(|who| (who, Role::Authority, 10_000 * POL)).collect();
    with_genesis(&members, &[1, 2, 3, 4, 5, 6, 7, 8], || {
        let tenth = Perbill::from_percent(10);
        Staking::punish_equivocation(&1, tenth);
        // (3 / 8)² of the bond.
        assert_eq!(held(1), 8_593_750 * POL / 1_000);
        // (3 · 2 / 8)² of it, also of the one that was fined before.
        Staking::punish_equivocation(&2, tenth);
        assert!(held(1).abs_diff(4_375 * POL) < POL && held(2) == 4_375 * POL);
        assert_eq!(held(3), 10_000 * POL);
        Staking::punish_equivocation(&3, tenth);
        assert_eq!((1..=4).map(held).collect::<Vec<_>>(), [0, 0, 0, 10_000 * POL]);
        // Nobody without a bond is barred.
        assert!(!Staking::is_punishable(&13));
        Staking::punish_equivocation(&13, tenth);
    });
}

#[test]
fn one_small_fine_removes_no_authority() {
    with_genesis(&THREE, &[1, 2, 3], || {
        set_target(3);
        assert_eq!(Staking::slash(&1, 1_000 * POL), 1_000 * POL);
        assert_eq!(sessions(3, &[]), [1, 2, 3]);
        assert_eq!(Staking::slash(&1, POL), POL);
        assert_eq!(candidates(), [2, 3]);
        // It has to come back with the whole minimum.
        assert_ok!(Staking::bond_extra(Origin::signed(1), 1_000 * POL));
        assert_eq!(candidates(), [2, 3]);
        assert_ok!(Staking::bond_extra(Origin::signed(1), POL));
        assert_eq!(candidates(), [1, 2, 3]);
    });
}

#[test]
fn keys_of_authorities_stay() {
    with_genesis(&THREE[..1], &[1], || {
        let purge = |who| Staking::purge_session_keys(Origin::signed(who));
        assert_noop!(purge(1), PalletError::KeysInUse);
        assert_ok!(Staking::unbond(Origin::signed(1)));
        System::set_block_number(1 + UNBONDING_PERIOD);
        // It still serves, since nobody replaced it, and the bond backs what it signs.
        assert_eq!(sessions(2, &[]), [1]);
        assert_noop!(Staking::withdraw(Origin::signed(1)), PalletError::StillUnbonding);
        assert_noop!(purge(1), PalletError::KeysInUse);
        set_keys(7, 7);
        assert_ok!(purge(7));
        assert!(purge(7).is_err());
    });
}

#[test]
fn new_keys_take_effect_with_unchanged_authorities() {
    with_genesis(&THREE[..1], &[1], || {
        assert_eq!(Staking::new_session(7), Some(vec![1]));
        set_keys(1, 77);
        assert_eq!(sessions(2, &[]), [1]);
        assert_eq!(Session::queued_keys(), [(1, SessionKeys { dummy: UintAuthorityId(77) })]);
    });
}

#[test]
fn sessions_end_after_their_period() {
    with_genesis(&THREE[..1], &[1], || {
        join(2, 10_000);
        for block in 2..=15 {
            System::set_block_number(block);
            <Session as Hooks<_>>::on_initialize(block);
        }
        assert_eq!(Session::validators(), [1, 2]);
    });
}

#[test]
fn a_full_list_of_candidates_gives_way_to_higher_bonds() {
    run(|| {
        for who in 1..=u64::from(crate::MAX_CANDIDATES) {
            bond_authority(who, 10_000);
        }
        take_events();
        // An equal bond waits.
        bond_authority(150, 10_000);
        assert!(!candidates().contains(&150));
        assert!(take_events().contains(&Event::Waiting { who: 150 }));
        assert_noop!(Staking::unchill(Origin::signed(150)), PalletError::NoPlace);
        // A higher one takes the place of the lowest, which stays bonded.
        assert_ok!(Staking::bond_extra(Origin::signed(150), POL));
        assert!(candidates().contains(&150) && !candidates().contains(&1));
        assert!(take_events().contains(&Event::Waiting { who: 1 }));
        assert_eq!(held(1), 10_000 * POL);
        assert!(Staking::member(1).unwrap().bonded);
        // It returns when there is room.
        assert_ok!(Staking::unbond(Origin::signed(77)));
        assert_ok!(Staking::unchill(Origin::signed(1)));
        assert!(candidates().contains(&1) && candidates().is_sorted());
    });
}

#[test]
fn no_bond_takes_the_place_of_an_authority_that_serves() {
    with_genesis(&THREE[..1], &[1], || {
        let last = u64::from(crate::MAX_CANDIDATES);
        for who in 2..=last {
            bond_authority(who, 20_000);
        }
        // The authority has the lowest bond of all, and the list is full.
        bond_authority(150, 20_001);
        assert!(candidates().contains(&150) && candidates().contains(&1));
        assert!(!candidates().contains(&2));
        assert_eq!(sessions(3, &[]), [1]);
    });
}

#[test]
fn an_absent_candidate_makes_room_for_any_bond() {
    with_genesis(&THREE, &[1, 2, 3], || {
        set_target(3);
        assert_ok!(Staking::bond_extra(Origin::signed(3), 40_000 * POL));
        assert_eq!(sessions(3, &[3]), [1, 2]);
        assert!(candidacy(3).absent);
        for who in 4..=u64::from(crate::MAX_CANDIDATES) {
            bond_authority(who, 20_000);
        }
        bond_authority(150, 10_000);
        assert!(candidates().contains(&150) && !candidates().contains(&3));
        // Nobody else makes room for so little.
        bond_authority(151, 10_000);
        assert!(!candidates().contains(&151));
        // The absent one comes back with its longer probation once it says so.
        assert_ok!(Staking::unchill(Origin::signed(3)));
        assert!(candidates().contains(&3) && !candidates().contains(&150));
        assert_eq!(candidacy(3).probation, 2 * PROBATION);
    });
}
