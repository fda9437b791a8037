// SPDX-License-Identifier: Apache-2.0

//! Tests of the calls, the traits and the invariants.

mod attesting;
mod bonding;
mod election;
mod properties;
mod reputation;

use crate::{
    Call, Endpoints, Error, Event, GenesisConfig, HoldReason, Ledgers, Newcomers, TotalStake,
    Validators,
    mock::{RuntimeOrigin as Origin, *},
};
use pol_primitives::{
    Balance, BoundedVec, MILLION, POL,
    audit::{SeatResult, SeatTally},
    member::{Address, Endpoint, Role},
    traits::Bonds,
};
use polkadot_sdk::frame_support::{
    assert_noop, assert_ok,
    traits::fungible::{Inspect, InspectHold},
};

type PalletError = Error<Test>;

/// Returns what an audit says of one seat.
fn tally(right: bool) -> SeatTally {
    let mut tally = SeatTally::default();
    tally.note(if right { SeatResult::Right } else { SeatResult::Silent });
    tally
}

fn endpoint(id: u8) -> Endpoint {
    let addresses =
        BoundedVec::truncate_from(vec![Address::V4([127, 0, 0, 1], 4_000 + u16::from(id))]);
    Endpoint { id: [id; 32], addresses }
}

fn held(who: AccountId) -> u128 {
    Balances::balance_on_hold(&HoldReason::Bond.into(), &who)
}

/// Bonds `who` as a validator with `bond` POL and registers its endpoint.
fn activate(who: AccountId, bond: u128) {
    assert_ok!(Staking::bond(Origin::signed(who), Role::Validator, bond * POL));
    assert_ok!(Staking::set_endpoint(Origin::signed(who), endpoint(1)));
}

/// Returns the active validators in storage order.
fn validators() -> Vec<AccountId> {
    Validators::<Test>::get().into_iter().map(|(who, _)| who).collect()
}

/// Returns the pallet's events since the last call.
fn take_events() -> Vec<Event<Test>> {
    let events = System::read_events_for_pallet::<Event<Test>>();
    System::reset_events();
    events
}
