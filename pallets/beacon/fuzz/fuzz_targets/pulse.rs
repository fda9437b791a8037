// SPDX-License-Identifier: Apache-2.0

//! Reads any bytes as a beacon and a pulse, and verifies the pulse by the beacon and by the key of
//! the development networks.

#![no_main]

use codec::Decode;
use pallet_pol_beacon::scheme::{is_valid_key, verify};
use pol_primitives::beacon::{BeaconConfig, BeaconRound, PulseSignature, bls::BeaconSecret};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let Ok(beacon) = BeaconConfig::decode(&mut input) else { return };
    let Ok((round, signature)) = <(BeaconRound, PulseSignature)>::decode(&mut input) else {
        return;
    };
    let _ = beacon.due(beacon.round_from(round));
    if is_valid_key(&beacon.key) {
        let _ = verify(&beacon.key, round, &signature);
    }
    let secret = BeaconSecret::development();
    let is_own = secret.sign(round).is_ok_and(|own| own == signature);
    assert_eq!(verify(&secret.key(), round, &signature).is_ok(), is_own);
});
