// SPDX-License-Identifier: Apache-2.0

//! Accounts as bytes and as text.

use pol_primitives::hex_hash;
use subxt::utils::AccountId32;

/// Account, identified by its sr25519 public key.
pub type AccountId = [u8; 32];

/// Longest SS58 address in bytes: more than SS58 needs for 32 bytes.
const MAX_ADDRESS_BYTES: usize = 64;
/// Characters of a text that an error shows: as many as the longest account has.
const SHOWN_CHARACTERS: usize = 66;

/// Error of a text that is not an account. It shows the beginning of the text.
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
        // The decoder takes time with the square of the length, and panics at some long texts.
        let address = Some(text).filter(|text| text.len() <= MAX_ADDRESS_BYTES);
        address.and_then(|text| text.parse().ok()).map(|AccountId32(id)| id)
    };
    account.ok_or_else(|| InvalidAccount(shorten(text)))
}

/// Returns the part of a text that an error shows.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
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

    #[test]
    fn long_texts_are_refused_and_shortened() {
        for length in [65, 130, 133, 200, 1_000_000] {
            for character in ["1", "z", "é"] {
                let error = parse_account(&character.repeat(length)).unwrap_err().to_string();
                assert!(error.len() < 250 && error.contains("SS58"), "{length}: {error}");
                assert_eq!(error.contains('…'), length > SHOWN_CHARACTERS, "{length}: {error}");
            }
        }
        assert!(parse_account(&format!("0x{}", "1".repeat(1_000_000))).is_err());
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

        #[test]
        fn no_text_of_an_address_panics(text in "[1-9A-HJ-NP-Za-km-z]{0,300}") {
            let _ = parse_account(&text);
        }
    }
}
