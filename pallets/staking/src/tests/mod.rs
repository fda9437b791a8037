mod attesting;
mod bonding;
mod election;
mod properties;
mod reputation;

use crate::{
    Call, Endpoints, Error, Event, GenesisConfig, HoldReason, Ledgers, TotalStake, Validators,
    mock::{RuntimeOrigin as Origin, *},
};
use pol_primitives::{
    Balance, BoundedVec, MILLION, POL,
    peer::{Address, Endpoint, Role},
    traits::Bonds,
};
use polkadot_sdk::frame_support::{
    assert_noop, assert_ok,
    traits::fungible::{Inspect, InspectHold},
};

type Refusal = Error<Test>;

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

/// Those who take part in attesting, in the order in which they are kept.
fn validators() -> Vec<AccountId> {
    Validators::<Test>::get().into_iter().map(|(who, _)| who).collect()
}

/// The pallet's events so far, which are then forgotten.
fn events() -> Vec<Event<Test>> {
    let events = System::read_events_for_pallet::<Event<Test>>();
    System::reset_events();
    events
}
