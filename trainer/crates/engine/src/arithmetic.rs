// SPDX-License-Identifier: Apache-2.0

//! The name of the arithmetic of the exact profile.

use crate::EngineError;
use pol_primitives::{Hash, recipe::Recipe};

/// Version of the arithmetic: which operators a lease and its aggregation use, in which order. It
/// changes with every change of a bit.
pub const ARITHMETIC_VERSION: &str = "pol-exact/1";
/// Name of the arithmetic: BLAKE3 hash of [`ARITHMETIC_VERSION`], of the
/// [fingerprint](pol_numerics::FINGERPRINT) of the operators, and of leases of every family.
pub const ARITHMETIC: Hash = [
    0xa9, 0x0f, 0xdd, 0x9d, 0xac, 0xb6, 0x27, 0xf1, 0xb1, 0xa8, 0xd1, 0xdb, 0xdc, 0xc8, 0x65, 0xc5,
    0x21, 0x8a, 0x43, 0xe4, 0x2f, 0x3f, 0x7e, 0x7b, 0x07, 0xb2, 0x3b, 0xb1, 0xe0, 0x3f, 0x65, 0x9d,
];

/// Compares the arithmetic that `recipe` names with that of this software. A recipe that names none
/// leaves the version of the software to its members.
///
/// # Errors
///
/// Fails if the recipe names another arithmetic.
pub fn check_arithmetic(recipe: &Recipe) -> Result<(), EngineError> {
    match recipe.arithmetic {
        Some(named) if named != ARITHMETIC => Err(EngineError::Arithmetic { named }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gradient::mean_gradient, test_recipe::recipe};

    #[test]
    fn other_arithmetic_is_not_computed() {
        let named = |arithmetic| Recipe { arithmetic, ..recipe() };
        for own in [None, Some(ARITHMETIC)] {
            assert!(check_arithmetic(&named(own)).is_ok());
        }
        let other = named(Some([1; 32]));
        let error = mean_gradient(&other, &[], &[], 1, || false).unwrap_err();
        assert!(matches!(error, EngineError::Arithmetic { named } if named == [1; 32]));
        let text = error.to_string();
        assert!(text.contains("0101") && text.contains(ARITHMETIC_VERSION), "{text}");
    }
}
