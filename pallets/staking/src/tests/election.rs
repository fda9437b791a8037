//! Who produces blocks.

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

fn stand(who: AccountId, bond: u128) {
    assert_ok!(Staking::bond(Origin::signed(who), Role::Authority, bond * POL));
}

/// Ends as many sessions as it takes for an election to come into force.
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
fn genesis_refuses_a_bond_without_funds() {
    with_genesis(&[(201, Role::Trainer, 1_000 * POL)], &[], || ());
}

#[test]
fn genesis_is_read_from_json() {
    let json = r#"{ "members": [[7, "authority", 10000000000000000]] }"#;
    let parsed: GenesisConfig<Test> = serde_json::from_str(json).unwrap();
    assert_eq!(parsed.members, [(7, Role::Authority, 10_000 * POL)]);
}

#[test]
fn the_heaviest_are_elected_and_ties_go_by_account() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        for (who, bond) in [(2, 10_000), (3, 11_000), (4, 10_000)] {
            stand(who, bond);
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
fn verified_work_is_elected() {
    with_genesis(
        &[(1, Role::Authority, 10_000 * POL), (2, Role::Authority, 10_000 * POL)],
        &[1, 2],
        || {
            stand(3, 10_000);
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
fn candidates_without_keys_take_no_place() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        stand(2, 50_000);
        stand(3, 60_000);
        assert_eq!(two_sessions(), [1]);
        set_keys(2, 2);
        assert_eq!(two_sessions(), [1, 2]);
        assert_ok!(Session::purge_keys(Origin::signed(2)));
        assert_eq!(two_sessions(), [1]);
    });
}

#[test]
fn new_keys_come_into_force_without_other_authorities() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        assert_eq!(Staking::new_session(7), Some(vec![1]));
        set_keys(1, 77);
        assert_eq!(two_sessions(), [1]);
        assert_eq!(Session::queued_keys(), [(1, SessionKeys { dummy: UintAuthorityId(77) })]);
    });
}

#[test]
fn the_last_authorities_stay_when_nobody_stands() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        assert_ok!(Staking::unbond(Origin::signed(1)));
        assert_eq!(two_sessions(), [1]);
    });
}

#[test]
fn sessions_end_on_time() {
    with_genesis(&[(1, Role::Authority, 10_000 * POL)], &[1], || {
        stand(2, 10_000);
        set_keys(2, 2);
        for block in 2..=10 {
            System::set_block_number(block);
            <Session as Hooks<_>>::on_initialize(block);
        }
        assert_eq!(Session::validators(), [1, 2]);
    });
}

#[test]
fn standing_is_limited() {
    run(|| {
        for who in 1..=u64::from(crate::MAX_CANDIDATES) {
            stand(who, 10_000);
        }
        assert_noop!(
            Staking::bond(Origin::signed(150), Role::Authority, 10_000 * POL),
            Refusal::TooManyCandidates
        );
        assert_ok!(Staking::unbond(Origin::signed(77)));
        stand(150, 10_000);
    });
}
