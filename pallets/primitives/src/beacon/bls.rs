// SPDX-License-Identifier: Apache-2.0

//! Points of BLS12-381 that pulses consist of, and the signer of a beacon with one key.

use super::{BeaconKey, BeaconRound, PulseSignature, message};
use crate::Hash;
use ark_bls12_381::{Fr, G1Affine, G1Projective, G2Affine, g1};
use ark_ec::{
    AffineRepr, CurveGroup,
    hashing::{
        HashToCurve, HashToCurveError, curve_maps::wb::WBMap,
        map_to_curve_hasher::MapToCurveBasedHasher,
    },
};
use ark_ff::{PrimeField, field_hashers::DefaultFieldHasher};
use ark_serialize::CanonicalSerialize;
use sha2_10::Sha256;
use sp_crypto_hashing::sha2_256;

/// Domain of the hash to G1, as RFC 9380 and drand name it.
const DOMAIN: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";

type Hasher = MapToCurveBasedHasher<G1Projective, DefaultFieldHasher<Sha256>, WBMap<g1::Config>>;

/// Hashes the message of `round` to a point of G1, by RFC 9380.
///
/// # Errors
///
/// Fails never for this curve, whose map is total.
pub fn hash_to_group(round: BeaconRound) -> Result<G1Affine, HashToCurveError> {
    Hasher::new(DOMAIN)?.hash(&message(round))
}

/// Secret key of a beacon that one process signs for. A beacon of several servers has none.
pub struct BeaconSecret(Fr);

impl BeaconSecret {
    /// Returns the key of the development networks, which everybody knows.
    pub fn development() -> Self {
        Self::from_seed(&sha2_256(b"pol/dev-beacon/1"))
    }

    /// Returns the key of a seed.
    pub fn from_seed(seed: &Hash) -> Self {
        Self(Fr::from_be_bytes_mod_order(seed))
    }

    /// Returns the public key.
    pub fn key(&self) -> BeaconKey {
        let mut key = [0; 96];
        let point = G2Affine::generator().mul_bigint(self.0.into_bigint()).into_affine();
        // A compressed point of G2 has exactly these bytes.
        let _ = point.serialize_compressed(&mut key[..]);
        key
    }

    /// Signs the pulse of `round`.
    ///
    /// # Errors
    ///
    /// Fails never for this curve, whose map is total.
    pub fn sign(&self, round: BeaconRound) -> Result<PulseSignature, HashToCurveError> {
        let mut signature = [0; 48];
        let point = hash_to_group(round)?.mul_bigint(self.0.into_bigint()).into_affine();
        // A compressed point of G1 has exactly these bytes.
        let _ = point.serialize_compressed(&mut signature[..]);
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex_hash::parse_bytes;

    #[test]
    fn the_development_key_is_that_of_another_implementation() {
        let key = "90b45e6a030e409e09b845109080aaea114f14a8e09870a32aeae2e9e2ca7df1\
                   848a432c32788bd75ebf42e761c5b89d0171296dc366e8eb51498582feda2c11\
                   fc11a451781bb736580d360c0454181fa4faf8b777a1bb35091ef992c12e318c";
        assert_eq!(Some(BeaconSecret::development().key()), parse_bytes(key));
    }
}
