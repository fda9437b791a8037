// SPDX-License-Identifier: Apache-2.0

//! Accounts as bytes and as text.

use pol_primitives::hex_hash;
use subxt::utils::AccountId32;

/// Account, identified by its sr25519 public key.
pub type AccountId = [u8; 32];

/// Error of a text that is not an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an account: give an SS58 address, or 0x and 64 hexadecimal digits")]
pub struct InvalidAccount(String);

/// Parses an account: an SS58 address of any network, or `0x` and 64 hexadecimal digits.
///
/// # Errors
///
/// Fails if `text` is neither.
pub fn parse_account(text: &str) -> Result<AccountId, InvalidAccount> {
    let account = if text.starts_with("0x") {
        hex_hash::parse(text)
    } else {
        text.parse().ok().map(|AccountId32(id)| id)
    };
    account.ok_or_else(|| InvalidAccount(text.to_owned()))
}

/// Returns the account's SS58 address with the generic prefix, 42.
pub fn format_account(account: &AccountId) -> String {
    AccountId32(*account).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
    const ALICE_HEX: &str = "0xd43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";

    #[test]
    fn a_known_account_reads_the_same_in_both_forms() {
        let account = parse_account(ALICE_HEX).unwrap();
        assert_eq!(parse_account(ALICE), Ok(account));
        assert_eq!(format_account(&account), ALICE);
    }

    #[test]
    fn other_texts_are_refused_with_advice() {
        let mistyped = ALICE.replace("Grwv", "Grww");
        for text in ["", "Alice", "0x", "0x12", &mistyped, &ALICE[1..], &ALICE_HEX[..65]] {
            let error = parse_account(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("SS58"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_account_is_read_as_written(account: AccountId) {
            prop_assert_eq!(parse_account(&format_account(&account)), Ok(account));
            let hex = format!("0x{}", hex::encode(account));
            prop_assert_eq!(parse_account(&hex), Ok(account));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse_account(&text);
        }
    }
}
