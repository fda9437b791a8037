// SPDX-License-Identifier: Apache-2.0

use pol_primitives::Hash;

/// Bytes from which on threads share the work.
const SHARED_BYTES: usize = 1 << 20;

/// Adds `bytes` to what is hashed. Large pieces are hashed by all threads of the pool that the call
/// comes from, or of rayon's own.
pub fn update_hash(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    if bytes.len() < SHARED_BYTES {
        hasher.update(bytes);
    } else {
        hasher.update_rayon(bytes);
    }
}

/// Returns the BLAKE3 hash of `values` as little-endian float32, by as many threads as
/// [`update_hash`] uses.
///
/// The hash of a model's parameters in canonical order is the model's root. The hash of any other
/// vector, such as an optimiser moment, is the address of its blob.
pub fn hash_values(values: &[f32]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    update_hash(&mut hasher, bytemuck::cast_slice(values));
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

    #[test]
    fn pieces_of_any_size_give_one_hash() {
        let bytes: Vec<u8> = (0..5_000_000u32).map(|at| (at ^ (at >> 11)) as u8).collect();
        let mut hasher = blake3::Hasher::new();
        let (first, rest) = bytes.split_at(3 << 20);
        let (second, third) = rest.split_at(7);
        [first, second, third].into_iter().for_each(|piece| update_hash(&mut hasher, piece));
        assert_eq!(hasher.finalize(), blake3::hash(&bytes));
    }
}
