mod claims;
mod emission;
mod fines;
mod properties;

use crate::{
    Call, Earnings, Error, Event, LastEmitted, MAX_FORFEITED, NewestFirst, Pools,
    mock::{RuntimeOrigin as Origin, *},
};
use pol_primitives::{
    Balance, MILLION, POL, RoundNumber,
    rewards::{Books, Earned, Emission, Shares},
    traits::Payouts,
    view::Reward,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::Inspect},
    sp_runtime::{DispatchError, TokenError},
};

type Refusal = Error<Test>;

/// What the pot holds beyond its own existential deposit.
fn pot() -> Balance {
    Balances::balance(&Rewards::pot()) - DEPOSIT
}

/// What the treasury got.
fn treasury() -> Balance {
    Balances::balance(&Rewards::treasury()) - DEPOSIT
}

fn earned(training: u128, seats: u32, shards: u32) -> Earned {
    Earned { training, seats, shards }
}

/// What the account got beyond what it owned at first.
fn gained(who: AccountId) -> Balance {
    Balances::balance(&who) - 1_000 * POL
}

fn claim(who: AccountId, round: RoundNumber) -> polkadot_sdk::sp_runtime::DispatchResult {
    Rewards::claim(Origin::signed(who), round)
}

/// Concludes `round` with one update, by which `earned` was earned, and waits until it can be
/// claimed.
fn settled_round(round: RoundNumber, earned: &[(AccountId, Earned)]) {
    Rewards::round_concluded(round, 1);
    Rewards::settled(round, earned);
    Round::set(round + ESCROW);
}

/// The pallet's events so far, which are then forgotten.
fn events() -> Vec<Event<Test>> {
    let events = System::read_events_for_pallet::<Event<Test>>();
    System::reset_events();
    events
}

#[test]
fn calls_keep_their_indices() {
    use codec::Encode;
    assert_eq!(Call::<Test>::set_emission { emission: Emission::default() }.encode()[0], 0);
    assert_eq!(Call::<Test>::claim { round: 0 }.encode()[0], 1);
}
