// SPDX-License-Identifier: Apache-2.0

//! Short texts for people: hashes, amounts and roles.

use pol_primitives::{Balance, Hash, POL, member::Role};

/// Returns the first eight digits of a hash.
pub fn short_hash(hash: &Hash) -> String {
    format!("0x{}…", hex::encode(hash.first_chunk::<4>().copied().unwrap_or_default()))
}

/// Returns an amount in POL with up to six decimals; a smaller rest is cut off.
pub fn format_amount(balance: Balance) -> String {
    let (whole, rest) = (balance / POL, balance % POL);
    let text = format!("{whole}.{:06}", rest / (POL / 1_000_000));
    format!("{} POL", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Returns the name of a role as used on the command line.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Trainer => "trainer",
        Role::Validator => "validator",
        Role::Authority => "authority",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!(format_amount(0), "0 POL");
        assert_eq!(format_amount(1_000 * POL), "1000 POL");
        assert_eq!(format_amount(POL / 2 + 3 * POL), "3.5 POL");
        assert_eq!(format_amount(POL / 1_000_000 + 7), "0.000001 POL");
    }
}
