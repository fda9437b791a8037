// SPDX-License-Identifier: Apache-2.0

//! Election of the authorities.

use super::*;
use crate::Candidates;
use polkadot_sdk::{
    frame_support::traits::Hooks, pallet_session::SessionManager,
    sp_runtime::testing::UintAuthorityId,
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

/// Ends two sessions, after which an election is in force, and returns the validators.
fn two_sessions() -> Vec<AccountId> {
    Session::rotate_session();
    Session::rotate_session();
    Session::validators()
}

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
        assert_eq!(two_sessions(), [1, 2]);
    });
}

#[test]
fn without_candidates_the_genesis_keys_stay() {
    with_genesis(&[], &[5], || {
        assert_eq!(Session::validators(), [5]);
        assert_eq!(two_sessions(), [5]);
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
fn the_highest_weights_are_elected_and_ties_go_by_account() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        for (who, bond) in [(2, 10_000), (3, 11_000), (4, 10_000)] {
            bond_authority(who, bond);
            set_keys(who, who);
        }
        assert_eq!(*Candidates::<Test>::get(), [1, 2, 3, 4]);
        assert_eq!(two_sessions(), [1, 3]);
        Ledgers::<Test>::mutate(4, |ledger| ledger.as_mut().unwrap().reputation = MILLION);
        assert_eq!(two_sessions(), [3, 4]);
        assert_ok!(Staking::unbond(Origin::signed(4)));
        assert_eq!(two_sessions(), [1, 3]);
        assert_eq!(Staking::slash(&3, 2_000 * POL), 2_000 * POL);
        assert_eq!(two_sessions(), [1, 2]);
        assert_ok!(Staking::bond_extra(Origin::signed(3), 5_000 * POL));
        assert_eq!(two_sessions(), [1, 3]);
    });
}

#[test]
fn reputation_decides_between_equal_bonds() {
    with_genesis(
        &[(1, Role::Authority, 10_000 * POL), (2, Role::Authority, 10_000 * POL)],
        &[1, 2],
        || {
            bond_authority(3, 10_000);
            set_keys(3, 3);
            assert_eq!(two_sessions(), [1, 2]);
            Staking::note_seat(&3, true);
            Staking::note_seat(&2, true);
            Staking::note_seat(&2, false);
            assert_eq!(two_sessions(), [2, 3]);
        },
    );
}

#[test]
fn candidates_without_keys_are_skipped() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        bond_authority(2, 50_000);
        bond_authority(3, 60_000);
        assert_eq!(two_sessions(), [1]);
        set_keys(2, 2);
        assert_eq!(two_sessions(), [1, 2]);
        assert_ok!(Session::purge_keys(Origin::signed(2)));
        assert_eq!(two_sessions(), [1]);
    });
}

#[test]
fn new_keys_take_effect_with_unchanged_authorities() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        assert_eq!(Staking::new_session(7), Some(vec![1]));
        set_keys(1, 77);
        assert_eq!(two_sessions(), [1]);
        assert_eq!(Session::queued_keys(), [(1, SessionKeys { dummy: UintAuthorityId(77) })]);
    });
}

#[test]
fn the_authorities_stay_if_there_is_no_candidate() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        assert_ok!(Staking::unbond(Origin::signed(1)));
        assert_eq!(two_sessions(), [1]);
    });
}

#[test]
fn sessions_end_after_their_period() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        bond_authority(2, 10_000);
        set_keys(2, 2);
        for block in 2..=10 {
            System::set_block_number(block);
            <Session as Hooks<_>>::on_initialize(block);
        }
        assert_eq!(Session::validators(), [1, 2]);
    });
}

#[test]
fn the_number_of_candidates_is_limited() {
    run(|| {
        for who in 1..=u64::from(crate::MAX_CANDIDATES) {
            bond_authority(who, 10_000);
        }
        assert_noop!(
            Staking::bond(Origin::signed(150), Role::Authority, 10_000 * POL),
            PalletError::TooManyCandidates
        );
        assert_ok!(Staking::unbond(Origin::signed(77)));
        bond_authority(150, 10_000);
    });
}
