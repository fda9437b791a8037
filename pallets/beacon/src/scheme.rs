// SPDX-License-Identifier: Apache-2.0

//! Verification of pulses. Pairings and products run in host functions of the node.

use ark_ec::{AffineRepr, pairing::Pairing};
use ark_ff::Zero;
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize, Compress, Validate};
use core::ops::Neg;
use pol_primitives::beacon::{BeaconKey, BeaconRound, PulseSignature, bls::hash_to_group};
use sp_crypto_ec_utils::bls12_381::{Bls12_381, G1Affine, G2Affine};

/// Reason why a signature is not the pulse of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPulse {
    /// The bytes are not the encoding of a point in the group of signatures.
    Malformed,
    /// The signature is not the beacon's for the round.
    Forged,
}

/// Returns `true` if the bytes are a public key that verifies pulses: a point of G2, in the group
/// of the right order, and not zero.
pub fn is_valid_key(key: &BeaconKey) -> bool {
    G2Affine::deserialize_compressed(&key[..]).is_ok_and(|point| !point.is_zero())
}

/// Checks that `signature` is the pulse of `round` by the beacon of the valid public key `key`.
///
/// # Errors
///
/// Fails if the signature is no point of G1, or not that of the beacon for the round.
pub fn verify(
    key: &BeaconKey,
    round: BeaconRound,
    signature: &PulseSignature,
) -> Result<(), BadPulse> {
    let signature = decode(signature).ok_or(BadPulse::Malformed)?;
    // The key was checked when it was set.
    let key = G2Affine::deserialize_with_mode(&key[..], Compress::Yes, Validate::No)
        .map_err(|_| BadPulse::Forged)?;
    let hashed = hash_to_group(round).ok().and_then(|point| point.xy()).ok_or(BadPulse::Forged)?;
    let hashed = G1Affine::new_unchecked(hashed.0, hashed.1);
    // e(signature, -generator) · e(hashed, key) = 1
    let product = Bls12_381::multi_pairing([signature, hashed], [G2Affine::generator().neg(), key]);
    if product.is_zero() { Ok(()) } else { Err(BadPulse::Forged) }
}

/// Decodes a point in its only valid encoding: another encoding of a pulse would give a choice of
/// randomness.
fn decode(signature: &PulseSignature) -> Option<G1Affine> {
    let point = G1Affine::deserialize_compressed(&signature[..]).ok()?;
    let mut canonical = [0; 48];
    point.serialize_compressed(&mut canonical[..]).ok()?;
    (canonical == *signature).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        beacon::{bls::BeaconSecret, randomness},
        hex_hash::{parse, parse_bytes},
    };
    use proptest::prelude::*;

    /// Public key of drand's network quicknet.
    const QUICKNET: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c\
                            8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb\
                            5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";
    /// Pulses of quicknet: round, signature and randomness.
    const PULSES: [(BeaconRound, &str, &str); 2] = [
        (
            1_000,
            "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125\
             e342b73a8dd2bacbe47e4b6b63ed5e39",
            "fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd",
        ),
        (
            657_413,
            "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be\
             41076862b98fad56e91a6b85b89cd97b",
            "fc1873a13f3545aeade8401532ef5519920652eee6b0d2b19ca12643b87b3587",
        ),
    ];

    #[test]
    fn pulses_of_drand_are_accepted() {
        let key = parse_bytes(QUICKNET).unwrap();
        assert!(is_valid_key(&key));
        for (round, signature, expected) in PULSES {
            let signature = parse_bytes(signature).unwrap();
            assert_eq!(verify(&key, round, &signature), Ok(()));
            assert_eq!(Some(randomness(&signature)), parse(expected));
            assert_eq!(verify(&key, round + 1, &signature), Err(BadPulse::Forged));
        }
    }

    #[test]
    fn only_the_holder_of_the_key_signs() {
        let [ours, other] = [[1; 32], [2; 32]].map(|seed| BeaconSecret::from_seed(&seed));
        let signature = ours.sign(7).unwrap();
        assert!(is_valid_key(&ours.key()));
        assert_eq!(verify(&ours.key(), 7, &signature), Ok(()));
        assert_eq!(verify(&other.key(), 7, &signature), Err(BadPulse::Forged));
        assert_eq!(verify(&ours.key(), 8, &signature), Err(BadPulse::Forged));
        // A signature has one negative, which has the same first coordinate.
        let mut negative = signature;
        negative[0] ^= 1 << 5;
        assert_eq!(verify(&ours.key(), 7, &negative), Err(BadPulse::Forged));
        // Zero is a point of the group, and would satisfy the equation if the key were zero too.
        let mut zero = [0; 48];
        zero[0] = 0xc0;
        assert_eq!(verify(&ours.key(), 7, &zero), Err(BadPulse::Forged));
        zero[47] = 1;
        assert_eq!(verify(&ours.key(), 7, &zero), Err(BadPulse::Malformed));
        assert_eq!(verify(&ours.key(), 7, &[0; 48]), Err(BadPulse::Malformed));
        assert_eq!(verify(&ours.key(), 7, &[255; 48]), Err(BadPulse::Malformed));
    }

    #[test]
    fn keys_outside_the_group_are_invalid() {
        let mut zero = [0; 96];
        assert!(!is_valid_key(&zero));
        zero[0] = 0xc0;
        assert!(!is_valid_key(&zero));
        let key = BeaconSecret::development().key();
        // Most coordinates near that of a key are on no point of the curve, and the others are on
        // points outside the group.
        for change in 1..=8 {
            let mut other = key;
            other[95] ^= change;
            assert!(!is_valid_key(&other));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_bytes_pass_as_a_pulse(bytes: [u8; 48], round: BeaconRound) {
            let key = BeaconSecret::development().key();
            prop_assert!(verify(&key, round, &bytes).is_err());
        }
    }
}
