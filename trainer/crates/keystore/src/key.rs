// SPDX-License-Identifier: Apache-2.0

//! Secret keys of accounts.

use crate::{NoRandomness, random};
use schnorrkel::{
    ExpansionMode, Keypair, MiniSecretKey,
    derive::{ChainCode, Derivation},
};
use std::fmt;
use substrate_bip39::mini_secret_from_entropy;
use subxt_signer::{DeriveJunction, ExposeSecret, SecretUri, bip39::Mnemonic};
use subxt_utils_accountid32::AccountId32;
use zeroize::Zeroizing;

/// Account, identified by its sr25519 public key.
pub type AccountId = [u8; 32];

/// Context of signatures on Substrate chains.
const CONTEXT: &[u8] = b"substrate";
/// Longest SS58 address.
const MAX_ADDRESS_CHARACTERS: usize = 64;

/// Error of a text that is not a secret. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret is neither a phrase of 12 to 24 words, nor 0x and 64 hexadecimal digits, nor a \
     path like //Alice"
)]
pub struct InvalidSecret;

/// sr25519 key of an account. It is wiped from memory when it is dropped, and its `Debug` shows the
/// account only.
#[derive(Clone)]
pub struct SecretKey(Keypair);

impl SecretKey {
    /// Creates a key from a secret phrase, from `0x` and a seed in hexadecimal digits, or from a
    /// development path like `//Alice`. Each may be followed by derivation junctions
    /// (`//hard/soft`) and `///password`.
    ///
    /// # Errors
    ///
    /// Fails if `uri` is none of these.
    pub fn from_uri(uri: &str) -> Result<Self, InvalidSecret> {
        let uri = uri.trim();
        // The library would put the public development phrase in place of a secret that is not
        // there, as it does for paths of development keys.
        let is_development =
            uri.strip_prefix("//").is_some_and(|path| path.starts_with(|first: char| first != '/'));
        if uri.is_empty() || (uri.starts_with('/') && !is_development) {
            return Err(InvalidSecret);
        }
        let uri: SecretUri = uri.parse().map_err(|_| InvalidSecret)?;
        let phrase = uri.phrase.expose_secret();
        let root = match phrase.strip_prefix("0x") {
            Some(digits) => {
                let mut seed = Zeroizing::new([0; 32]);
                hex::decode_to_slice(digits, &mut seed[..]).map_err(|_| InvalidSecret)?;
                Self::from_seed(&seed)?
            }
            None => {
                let words: Mnemonic = phrase.parse().map_err(|_| InvalidSecret)?;
                let (entropy, length) = words.to_entropy_array();
                let entropy = Zeroizing::new(entropy);
                let password =
                    uri.password.as_ref().map_or("", |password| password.expose_secret());
                let seed = mini_secret_from_entropy(&entropy[..length], password);
                Self(seed.map_err(|_| InvalidSecret)?.expand_to_keypair(ExpansionMode::Ed25519))
            }
        };
        Ok(uri.junctions.into_iter().fold(root, Self::derived))
    }

    /// Creates the key that a seed of 32 bytes expands to.
    ///
    /// # Errors
    ///
    /// Every seed has a key.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, InvalidSecret> {
        let seed = MiniSecretKey::from_bytes(seed).map_err(|_| InvalidSecret)?;
        Ok(Self(seed.expand_to_keypair(ExpansionMode::Ed25519)))
    }

    /// Creates a key from the form that keystores have it in.
    pub(crate) fn from_ed25519_bytes(bytes: &[u8]) -> Result<Self, InvalidSecret> {
        let secret = schnorrkel::SecretKey::from_ed25519_bytes(bytes).map_err(|_| InvalidSecret)?;
        Ok(Self(secret.to_keypair()))
    }

    /// Returns the form that keystores have the key in.
    pub(crate) fn to_ed25519_bytes(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.0.secret.to_ed25519_bytes())
    }

    fn derived(self, junction: DeriveJunction) -> Self {
        let secret = &self.0.secret;
        let derived = match junction {
            DeriveJunction::Soft(code) => secret.derived_key_simple(ChainCode(code), b"").0,
            DeriveJunction::Hard(code) => {
                let seed = secret.hard_derive_mini_secret_key(Some(ChainCode(code)), b"").0;
                seed.expand(ExpansionMode::Ed25519)
            }
        };
        Self(derived.to_keypair())
    }

    /// Returns the account of the key.
    pub fn account(&self) -> AccountId {
        self.0.public.to_bytes()
    }

    /// Signs a message as a Substrate chain verifies it.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign_simple(CONTEXT, message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKey").field(&format_address(&self.account())).finish()
    }
}

/// Returns a new secret phrase of 24 words, from the operating system's randomness.
///
/// # Errors
///
/// Fails if the system gives no randomness.
pub fn generate_phrase() -> Result<Zeroizing<String>, NoRandomness> {
    let phrase = Mnemonic::from_entropy(&random::<32>()?[..]);
    let phrase = phrase.map_err(|error| NoRandomness(error.to_string()))?;
    Ok(Zeroizing::new(phrase.to_string()))
}

/// Returns the SS58 address of an account with the generic prefix, 42.
pub(crate) fn format_address(account: &AccountId) -> String {
    AccountId32(*account).to_string()
}

/// Parses an SS58 address of any network.
pub(crate) fn parse_address(text: &str) -> Option<AccountId> {
    // Decoding takes time that grows with the square of the length.
    let text = Some(text).filter(|text| text.len() <= MAX_ADDRESS_CHARACTERS)?;
    text.parse().ok().map(|AccountId32(account)| account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PHRASE: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";

    fn address(uri: &str) -> String {
        format_address(&SecretKey::from_uri(uri).unwrap().account())
    }

    #[test]
    fn known_secrets_have_their_accounts() {
        let alice = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
        assert_eq!(address("//Alice"), alice);
        assert_eq!(address(" //Alice\n"), alice);
        assert_eq!(address(&format!("{PHRASE}//Alice")), alice);
        // The seed of that key, as `subkey` prints it.
        let seed = "0xe5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
        assert_eq!(address(seed), alice);
        // Made by @polkadot/keyring, with a hard and a soft junction.
        let derived = "5F7TLEEog5juEw4e442RyJGoLzSTDS9H1XQnEsfds9qZ9e59";
        assert_eq!(address(&format!("{PHRASE}//fixture/soft")), derived);
        assert_ne!(address(&format!("{PHRASE}///password")), address(PHRASE));
    }

    #[test]
    fn generated_phrases_are_secrets_and_differ() {
        let [one, two] = [generate_phrase().unwrap(), generate_phrase().unwrap()];
        assert_eq!(one.split(' ').count(), 24);
        assert_ne!(address(&one), address(&two));
    }

    #[test]
    fn errors_and_debug_keep_secrets() {
        for nothing in ["", " ", "/soft", "///password"] {
            assert_eq!(SecretKey::from_uri(nothing).unwrap_err(), InvalidSecret, "{nothing}");
        }
        let error = SecretKey::from_uri("zebra zebra zebra").unwrap_err().to_string();
        assert!(!error.contains("zebra"), "{error}");
        let shown = format!("{:?}", SecretKey::from_uri("//Alice").unwrap());
        assert!(shown.starts_with("SecretKey(\"5Grwva"), "{shown}");
    }

    #[test]
    fn keys_sign() {
        let key = SecretKey::from_uri("//Alice").unwrap();
        let signature = schnorrkel::Signature::from_bytes(&key.sign(b"message")).unwrap();
        assert!(key.0.public.verify_simple(CONTEXT, b"message", &signature).is_ok());
        assert!(key.0.public.verify_simple(CONTEXT, b"other", &signature).is_err());
    }

    proptest! {
        #[test]
        fn keys_are_read_as_written(seed: [u8; 32], path in "(//?[a-z]{1,9}){0,3}") {
            let uri = format!("0x{}{path}", hex::encode(seed));
            let key = SecretKey::from_uri(&uri).unwrap();
            let read = SecretKey::from_ed25519_bytes(&key.to_ed25519_bytes()[..]).unwrap();
            prop_assert_eq!(read.account(), key.account());
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (SecretKey::from_uri(&text), parse_address(&text));
        }
    }
}
