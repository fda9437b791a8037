// SPDX-License-Identifier: Apache-2.0

//! Tests by topic. Every test ends with a check of the pallet's invariants.

mod audits;
mod beacon;
mod commitments;
mod congestion;
mod excisions;
mod expiry;
mod governance;
mod heads;
mod leases;
mod metrics;
mod native;
mod places;
mod properties;
mod queries;
mod rewrites;
mod rounds;
mod second_draws;
mod settlement;
mod work;

use crate::{mock::*, pallet::*};
use pol_primitives::{audit::AuditConfig, rewards::RoundEarnings};
use polkadot_sdk::frame_support::assert_ok;

/// Earnings of a seat that was right.
const SEAT: RoundEarnings = RoundEarnings { training: 0, seats: 1, effect: 0 };

/// Gives all three validators a seat on every update, and the first two enough seats of a second
/// draw to decide.
fn all_three() {
    Validators::insert(13, 20);
    let config = AuditConfig { seats: 3, more_seats: 16, ..AUDITS };
    assert_ok!(Learning::set_audits(RuntimeOrigin::root(), config));
}

/// Asserts that only the permanent records of the audit and its update are left.
#[track_caller]
fn assert_gone(id: u32, round: u32, trainer: AccountId) {
    assert_eq!((Audits::<Test>::get(id), Learning::audit_response(id, &trainer)), (None, None));
    assert_eq!(
        (
            AuditCommitments::<Test>::iter_prefix(id).count(),
            Findings::<Test>::iter_prefix(id).count()
        ),
        (0, 0)
    );
    assert_eq!(
        (Submissions::<Test>::get(round, trainer), Learning::audited_lease(round, &trainer)),
        (None, None)
    );
    assert!(!UndrawnUpdates::<Test>::exists());
}

/// Returns the earnings from the update settled last.
fn earned() -> Vec<(AccountId, RoundEarnings)> {
    Earnings::get().pop().unwrap().1
}

/// Returns the earnings of the `panel` if only its seats are paid.
fn seats_only(panel: &[AccountId]) -> Vec<(AccountId, RoundEarnings)> {
    panel.iter().map(|&account| (account, SEAT)).collect()
}

/// Settles trainer 1's update of the audit as withheld.
fn withhold(id: u32) {
    run(AUDITS.serve);
    settle(id, 1);
}
