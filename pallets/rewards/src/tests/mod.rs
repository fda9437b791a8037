// SPDX-License-Identifier: Apache-2.0

//! Tests of emission, claims, fines and the invariants.

mod claims;
mod emission;
mod fines;
mod properties;

use crate::{
    Call, DescendingRound, Earnings, Error, Event, LastEmitted, MAX_FORFEITED_ROUNDS, Pools,
    mock::{RuntimeOrigin as Origin, *},
};
use pol_primitives::{
    Balance, MILLION, POL, RoundNumber,
    queries::PendingReward,
    rewards::{EmissionSchedule, EmissionShares, Ledger, RoundEarnings},
    traits::Payouts,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::Inspect},
    sp_runtime::{DispatchError, TokenError},
};

type PalletError = Error<Test>;

/// Returns the balance of the pot beyond its existential deposit.
fn pot() -> Balance {
    Balances::balance(&Rewards::pot_account()) - DEPOSIT
}

/// Returns the balance of the treasury beyond its existential deposit.
fn treasury() -> Balance {
    Balances::balance(&Rewards::treasury_account()) - DEPOSIT
}

fn earned(training: u128, seats: u32, effect: u64) -> RoundEarnings {
    RoundEarnings { training, seats, effect }
}

/// Returns the balance of the account beyond its initial one.
fn gained(who: AccountId) -> Balance {
    Balances::balance(&who) - 1_000 * POL
}

fn claim(who: AccountId, round: RoundNumber) -> polkadot_sdk::sp_runtime::DispatchResult {
    Rewards::claim(Origin::signed(who), round)
}

/// Emits for `round` with one update, settles it with the earnings `earned`, and waits until they
/// can be claimed.
fn settled_round(round: RoundNumber, earned: &[(AccountId, RoundEarnings)]) {
    Rewards::emit_round(round, 1);
    Rewards::record_settlement(round, earned);
    Round::set(round + INITIAL_ESCROW);
}

/// Returns the pallet's events since the last call.
fn take_events() -> Vec<Event<Test>> {
    let events = System::read_events_for_pallet::<Event<Test>>();
    System::reset_events();
    events
}

#[test]
fn calls_keep_their_indices() {
    use codec::Encode;
    assert_eq!(Call::<Test>::set_emission { emission: EmissionSchedule::default() }.encode()[0], 0);
    assert_eq!(Call::<Test>::claim { round: 0 }.encode()[0], 1);
}
