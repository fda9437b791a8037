// SPDX-License-Identifier: Apache-2.0

use pol_primitives::Hash;

/// Bytes from which on threads share the work.
const SHARED_BYTES: usize = 1 << 20;

/// Returns the BLAKE3 hash of `values` as little-endian float32. Large arrays are hashed by all
/// threads of the pool that the call comes from, or of rayon's own.
///
/// The hash of a model's parameters in canonical order is the model's root. The hash of any other
/// vector, such as an optimiser moment, is the address of its blob.
pub fn hash_values(values: &[f32]) -> Hash {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let mut hasher = blake3::Hasher::new();
    if bytes.len() < SHARED_BYTES {
        hasher.update(bytes);
    } else {
        hasher.update_rayon(bytes);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hashed_as_little_endian_bytes() {
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(hash_values(&[1.5, -2.0]), *blake3::hash(&bytes).as_bytes());
    }

    #[test]
    fn threads_do_not_change_a_hash() {
        let values: Vec<f32> = (0..700_001).map(|value| value as f32 * 0.25).collect();
        let whole = *blake3::hash(bytemuck::cast_slice(&values)).as_bytes();
        assert_eq!(hash_values(&values), whole);
    }
}
