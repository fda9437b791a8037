// SPDX-License-Identifier: Apache-2.0

//! Repeated draws by the chain's own functions, with fixed seeds.

use pol_primitives::Hash;

/// Draws of each kind.
pub(crate) const DRAWS: u32 = 10_000;

/// Returns seed number `number` of a domain.
pub(crate) fn seed(domain: &[u8], number: u32) -> Hash {
    pol_primitives::digest(domain, &number)
}
