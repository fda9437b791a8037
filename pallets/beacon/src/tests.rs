// SPDX-License-Identifier: Apache-2.0

//! Tests of pulses, of the beacon's replacement, and of the checks of the transaction pool.

use crate::{
    AwaitedPulse, Call, Error, Event,
    mock::{RuntimeOrigin as Origin, *},
};
use pol_primitives::{
    beacon::{self, BeaconConfig, BeaconRound, Pulse, bls::BeaconSecret, randomness},
    traits::Beacon as _,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::{
        DispatchError,
        transaction_validity::{
            InvalidTransaction, TransactionSource, TransactionValidityError, ValidTransaction,
        },
    },
};

type PalletError = Error<Test>;

/// Round that a draw waits for if it begins in block 1: the first that is due at 1,010 or later.
const ROUND: BeaconRound = 305;

fn submit(round: BeaconRound, signature: [u8; 48]) -> Result<(), DispatchError> {
    Beacon::submit_pulse(Origin::none(), round, signature)
}

/// Returns the answers of the pool, and of the check before the block, to a pulse.
#[allow(deprecated)]
fn pool(
    round: BeaconRound,
    signature: [u8; 48],
) -> (Result<ValidTransaction, TransactionValidityError>, Result<(), TransactionValidityError>) {
    use polkadot_sdk::sp_runtime::traits::ValidateUnsigned;
    let call = Call::submit_pulse { round, signature };
    let validity = Beacon::validate_unsigned(TransactionSource::External, &call);
    (validity, Beacon::pre_dispatch(&call))
}

fn custom(code: u8) -> TransactionValidityError {
    InvalidTransaction::Custom(code).into()
}

/// Asserts that the call, the pool, and the check before the block refuse the pulse alike.
fn assert_refused(round: BeaconRound, signature: [u8; 48], error: PalletError, code: u8) {
    let call = Beacon::submit_pulse(Origin::none(), round, signature);
    assert_noop!(call, error);
    let (validity, check) = pool(round, signature);
    assert_eq!(validity.unwrap_err(), custom(code));
    assert_eq!(check, Err(custom(code)));
}

#[test]
fn calls_keep_their_indices() {
    use codec::Encode;
    let pulse = Call::<Test>::submit_pulse { round: 0, signature: [0; 48] };
    assert_eq!(pulse.encode()[0], 0);
    assert_eq!(Call::<Test>::set_beacon { beacon: None }.encode()[0], 1);
}

#[test]
fn the_awaited_pulse_arrives_once() {
    run(|secret| {
        assert!(Beacon::await_pulse());
        assert_eq!(Beacon::pulse(), Pulse::Awaited);
        let signature = secret.sign(ROUND).unwrap();
        let (validity, check) = pool(ROUND, signature);
        let validity = validity.unwrap();
        assert_eq!((validity.longevity, validity.propagate), (PATIENCE.into(), true));
        assert_eq!(check, Ok(()));
        assert_ok!(submit(ROUND, signature));
        let random = randomness(&signature);
        assert_eq!(Beacon::pulse(), Pulse::Arrived(random));
        assert_eq!(
            System::read_events_for_pallet::<Event<Test>>(),
            [
                Event::PulseAwaited { round: ROUND, due: 1_012, until: 1 + PATIENCE },
                Event::PulseAccepted { round: ROUND, randomness: random },
            ]
        );
        // A replay: once while the draw uses it, and once it is over.
        assert_refused(ROUND, signature, Error::PulseKnown, 2);
        System::set_block_number(2 + PATIENCE);
        assert_eq!(Beacon::pulse(), Pulse::Arrived(random), "draws may still use it");
        Beacon::release();
        assert_refused(ROUND, signature, Error::NotAwaited, 0);
    });
}

#[test]
fn other_pulses_are_refused() {
    run(|secret| {
        let signature = secret.sign(ROUND).unwrap();
        assert_refused(ROUND, signature, Error::NotAwaited, 0);
        Beacon::await_pulse();
        for round in [0, ROUND - 1, ROUND + 1, u64::MAX] {
            assert_refused(round, secret.sign(round).unwrap(), Error::WrongRound, 1);
        }
        assert_refused(ROUND, secret.sign(ROUND - 1).unwrap(), Error::ForgedPulse, 5);
        let stranger = BeaconSecret::from_seed(&[9; 32]).sign(ROUND).unwrap();
        assert_refused(ROUND, stranger, Error::ForgedPulse, 5);
        assert_refused(ROUND, [0xff; 48], Error::MalformedPulse, 4);
        assert_eq!(Beacon::pulse(), Pulse::Awaited);
        assert_noop!(
            Beacon::submit_pulse(Origin::signed(1), ROUND, signature),
            DispatchError::BadOrigin
        );
        assert_ok!(submit(ROUND, signature));
    });
}

#[test]
fn a_late_pulse_is_refused() {
    run(|secret| {
        Beacon::await_pulse();
        let signature = secret.sign(ROUND).unwrap();
        System::set_block_number(1 + PATIENCE);
        assert_eq!((Beacon::pulse(), pool(ROUND, signature).1), (Pulse::Awaited, Ok(())));
        System::set_block_number(2 + PATIENCE);
        assert_eq!(Beacon::pulse(), Pulse::Missed);
        assert_refused(ROUND, signature, Error::TooLate, 3);
        Beacon::release();
        assert!(!AwaitedPulse::<Test>::exists());
        System::assert_last_event(Event::PulseMissed { round: ROUND }.into());
    });
}

#[test]
fn without_a_beacon_nothing_is_awaited() {
    run_with(None, || {
        assert!(!Beacon::await_pulse());
        assert_eq!(Beacon::pulse(), Pulse::Missed);
        Beacon::release();
        assert!(System::events().is_empty());
        let signature = BeaconSecret::development().sign(ROUND).unwrap();
        assert_refused(ROUND, signature, Error::NotAwaited, 0);
    });
}

#[test]
fn governance_replaces_the_beacon() {
    run(|secret| {
        Beacon::await_pulse();
        let other = BeaconConfig { genesis: 400, ..beacon(&BeaconSecret::from_seed(&[3; 32])) };
        assert_noop!(Beacon::set_beacon(Origin::signed(1), None), DispatchError::BadOrigin);
        assert_ok!(Beacon::set_beacon(Origin::root(), Some(other.clone())));
        System::assert_last_event(Event::BeaconSet { beacon: Some(other.clone()) }.into());
        // Rounds of the other beacon that are long past must not serve the draws that waited.
        assert_eq!((Beacon::beacon(), Beacon::pulse()), (Some(other), Pulse::Missed));
        let signature = secret.sign(ROUND).unwrap();
        assert_refused(ROUND, signature, Error::NotAwaited, 0);
        Beacon::await_pulse();
        let awaited = Beacon::awaited_pulse().unwrap();
        assert_eq!(awaited.round, ROUND - 100);
        assert_refused(awaited.round, secret.sign(awaited.round).unwrap(), Error::ForgedPulse, 5);
        assert_ok!(Beacon::set_beacon(Origin::root(), None));
        assert_eq!((Beacon::beacon(), Beacon::awaited_pulse()), (None, None));
    });
}

#[test]
fn unusable_beacons_are_refused() {
    run(|secret| {
        let valid = beacon(secret);
        let set = |beacon| Beacon::set_beacon(Origin::root(), Some(beacon));
        for beacon in [
            BeaconConfig { period: 0, ..valid.clone() },
            BeaconConfig { patience: 0, ..valid.clone() },
        ] {
            assert_noop!(set(beacon), PalletError::NoRounds);
        }
        for beacon in [
            BeaconConfig { patience: 101, ..valid.clone() },
            BeaconConfig { margin: 3 * PATIENCE - 3, ..valid.clone() },
            BeaconConfig { period: u32::MAX, ..valid.clone() },
        ] {
            assert_noop!(set(beacon), PalletError::WrongPatience);
        }
        let key = [0; 96];
        assert_noop!(set(BeaconConfig { key, ..valid.clone() }), PalletError::InvalidKey);
        assert_eq!(Beacon::beacon(), Some(valid));
    });
}

#[test]
#[should_panic(expected = "the genesis beacon is invalid")]
fn an_unusable_beacon_makes_no_genesis() {
    let beacon = BeaconConfig { period: 0, ..beacon(&BeaconSecret::development()) };
    run_with(Some(beacon), || ());
}

#[test]
fn the_invariants_find_a_pulse_without_a_beacon() {
    run_with(None, || {
        let awaited = beacon::AwaitedPulse { round: 1, until: 5, randomness: None };
        AwaitedPulse::<Test>::put(awaited);
        assert!(Beacon::do_try_state().is_err());
        AwaitedPulse::<Test>::kill();
    });
}
