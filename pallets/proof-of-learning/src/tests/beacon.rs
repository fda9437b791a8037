// SPDX-License-Identifier: Apache-2.0

//! Draws that wait for a beacon.

use super::*;
use crate::types::PendingAudits;
use pol_primitives::{Hash, audit::PendingAudit, digest};
use polkadot_sdk::{
    frame_support::storage::with_transaction,
    sp_runtime::{DispatchError, TransactionOutcome},
};

/// Number of blocks of randomness that are mixed into a draw.
const MIX: u32 = 2;

/// Includes the update of trainer 1 on a chain with a beacon, and runs until a draw waits for the
/// pulse. Returns the sealed mixture.
fn wait_for_pulse() -> Hash {
    AuditSettings::<Test>::put(AuditConfig { mix: MIX, ..AUDITS });
    PulseState::put(None::<Hash>);
    train(&[1]);
    adopt([5; 32]);
    run(MIX);
    assert!(!SealedMixture::<Test>::exists());
    run(1);
    let (sealed_at, mixture) = SealedMixture::<Test>::get().unwrap();
    assert_eq!(mixture, MixedRandomness::<Test>::get());
    assert!(sealed_at > MIX && UndrawnUpdates::<Test>::exists());
    mixture
}

/// Returns the seed and the number of seats of the only case of the only audit.
fn drawn() -> (Hash, usize) {
    let audits = Learning::audits(0);
    assert_eq!(audits.len(), 1);
    (audits[0].1.seed, audits[0].1.cases[0].seats.len())
}

fn seed_of(randomness: Hash) -> Hash {
    digest(b"pol/audit-seed/1", &(randomness, 1u32, 0u8))
}

#[test]
fn a_draw_takes_the_sealed_mixture_and_the_pulse() {
    in_round_one(|| {
        let mixture = wait_for_pulse();
        run(3);
        assert!(Learning::audits(0).is_empty(), "the pulse is missing");
        assert_ne!(MixedRandomness::<Test>::get(), mixture);
        assert_eq!(SealedMixture::<Test>::get().unwrap().1, mixture, "later blocks change nothing");
        PulseState::put(Some([7u8; 32]));
        run(1);
        let seed = seed_of(digest(b"pol/pulse/1", &(mixture, [7u8; 32])));
        assert_eq!(drawn(), (seed, usize::from(AUDITS.seats)));
        assert!(!SealedMixture::<Test>::exists() && !AwaitedUntil::exists(), "released");
        assert!(!UndrawnUpdates::<Test>::exists());
    });
}

#[test]
fn without_a_pulse_the_draw_takes_the_mixture_with_one_seat_more() {
    in_round_one(|| {
        let mixture = wait_for_pulse();
        run(PATIENCE);
        assert!(Learning::audits(0).is_empty());
        run(1);
        let mixed = MixedRandomness::<Test>::get();
        assert_ne!(mixed, mixture, "the sealed mixture has been known for long");
        assert_eq!(drawn(), (seed_of(mixed), usize::from(AUDITS.seats) + 1));
        assert!(!SealedMixture::<Test>::exists() && !AwaitedUntil::exists(), "released");
    });
}

/// Draws for updates of three draws, of which the last came after the mixture was sealed.
fn draw_three(mixture: Hash) {
    let (update, since) = UndrawnUpdates::<Test>::get()[0].clone();
    let of = |round| PendingAudit { round, ..update.clone() };
    let waiting = vec![(of(1), since), (of(2), since), (of(3), since + MIX + 1)];
    UndrawnUpdates::<Test>::put(PendingAudits::truncate_from(waiting));
    PulseState::put(Some([7u8; 32]));
    Learning::draw_audit();
    assert!(SealedMixture::<Test>::exists() && AwaitedUntil::exists(), "another draw needs them");
    Learning::draw_audit();
    let randomness = digest(b"pol/pulse/1", &(mixture, [7u8; 32]));
    let seeds: Vec<Hash> = Audits::<Test>::iter_values().map(|audit| audit.seed).collect();
    assert_eq!(seeds.len(), 2);
    for round in [1u32, 2] {
        assert!(seeds.contains(&digest(b"pol/audit-seed/1", &(randomness, round, 0u8))));
    }
    assert!(!SealedMixture::<Test>::exists() && !AwaitedUntil::exists(), "released");
    assert_eq!(UndrawnUpdates::<Test>::decode_len(), Some(1), "the last waits for another pulse");
}

#[test]
fn one_pulse_serves_all_updates_that_waited_when_the_mixture_was_sealed() {
    in_round_one(|| {
        let mixture = wait_for_pulse();
        // The updates are invented, so the state is not kept.
        let tried = with_transaction(|| {
            draw_three(mixture);
            TransactionOutcome::Rollback(Ok::<(), DispatchError>(()))
        });
        assert_ok!(tried);
    });
}

#[test]
fn a_longer_mix_unseals_the_mixture() {
    in_round_one(|| {
        wait_for_pulse();
        PulseState::put(Some([7u8; 32]));
        AuditSettings::<Test>::put(AuditConfig { mix: MIX + 4, ..AUDITS });
        run(1);
        assert!(Learning::audits(0).is_empty() && !SealedMixture::<Test>::exists());
        assert!(UndrawnUpdates::<Test>::exists() && !AwaitedUntil::exists());
        run(4);
        assert_eq!(Learning::audits(0).len(), 1);
    });
}
