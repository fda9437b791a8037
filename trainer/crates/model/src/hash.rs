// SPDX-License-Identifier: Apache-2.0

use pol_primitives::Hash;

/// Returns the BLAKE3 hash of `values` as little-endian float32.
///
/// The hash of a model's parameters in canonical order is the model's root. The hash of any other
/// vector, such as an optimiser moment, is the address of its blob.
pub fn hash_values(values: &[f32]) -> Hash {
    *blake3::hash(bytemuck::cast_slice(values)).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hashed_as_little_endian_bytes() {
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(hash_values(&[1.5, -2.0]), *blake3::hash(&bytes).as_bytes());
    }
}
