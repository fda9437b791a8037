// SPDX-License-Identifier: Apache-2.0

//! BLAKE3 of large pieces on all threads of a pool.

/// Bytes from which on threads share the work.
const SHARED_BYTES: usize = 1 << 20;

/// Adds `bytes` to what is hashed.
pub(crate) fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    if bytes.len() < SHARED_BYTES {
        hasher.update(bytes);
    } else {
        hasher.update_rayon(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_give_one_hash() {
        let bytes: Vec<u8> = (0..5_000_000u32).map(|at| (at ^ (at >> 11)) as u8).collect();
        let mut hasher = blake3::Hasher::new();
        let (first, rest) = bytes.split_at(3 << 20);
        let (second, third) = rest.split_at(7);
        [first, second, third].into_iter().for_each(|piece| update(&mut hasher, piece));
        assert_eq!(hasher.finalize(), blake3::hash(&bytes));
    }
}
