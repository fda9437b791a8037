// SPDX-License-Identifier: Apache-2.0

//! Tests of emission, claims, fines and the invariants.

mod claims;
mod emission;
mod expiry;
mod explanations;
mod fines;
mod properties;

use crate::{
    Call, DescendingRound, Earnings, Error, Event, LastEmitted, MAX_UNSETTLED_ROUNDS, Pools,
    UnsettledRounds,
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

/// Blocks of a round. With the default schedule, they emit as much as a round may.
const BLOCKS: u32 = 100;

/// Emits for a round of a hundred blocks. All rounds before it took as long.
fn emit(round: RoundNumber, updates: u32) {
    let end = |round: RoundNumber| round.saturating_mul(BLOCKS);
    Rewards::emit_round(round, end(round.saturating_sub(1))..end(round), updates);
}

/// Settles an update that improved something.
fn settle(round: RoundNumber, earned: &[(AccountId, RoundEarnings)]) {
    Rewards::record_settlement(round, true, earned);
}

/// Emits for `round` with one update, settles it with the earnings `earned`, and waits until they
/// can be claimed.
fn settled_round(round: RoundNumber, earned: &[(AccountId, RoundEarnings)]) {
    emit(round, 1);
    settle(round, earned);
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
