// SPDX-License-Identifier: Apache-2.0

//! Keys of accounts, and the files that hold them.
//!
//! - [`SecretKey`] is an sr25519 key, made from a secret phrase, and signs. Its memory is wiped.
//! - [`Keystore`] is a key under a password, in the JSON format of Polkadot-JS, so that wallets
//!   read files of this program, and this program files of wallets.
//! - [`KeyFile`] is a file with a key: a keystore, or a plain seed as earlier versions wrote it.
//! - [`read_private`] and [`write_private`] guard the access to files with secrets.
//!
//! # Example
//!
//! ```
//! use pol_keystore::{Cost, Keystore, SecretKey};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = SecretKey::from_uri("//Alice")?;
//! # let cost = Cost::new(4, 8, 1).ok_or("cost")?;
//! # /*
//! let cost = Cost::STANDARD;
//! # */
//! let keystore = Keystore::encrypt(&key, "correct horse", "trainer", cost)?;
//! let json = keystore.to_json();
//! let read = Keystore::parse(&json)?.decrypt("correct horse")?;
//! assert_eq!(read.account(), key.account());
//! # Ok(())
//! # }
//! ```

mod cost;
mod file;
mod key;
mod key_file;
mod keystore;

pub use cost::Cost;
pub use file::{
    FileError, MAX_FILE_BYTES, is_credential, read_bounded, read_private, replace, write_private,
};
pub use key::{AccountId, InvalidSecret, SecretKey, generate_phrase};
pub use key_file::{KeyFile, KeyFileError};
pub use keystore::{Keystore, KeystoreError};

/// Failure of the operating system to give randomness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no randomness: {0}")]
pub struct NoRandomness(String);

/// Returns bytes of the operating system's randomness.
fn random<const N: usize>() -> Result<zeroize::Zeroizing<[u8; N]>, NoRandomness> {
    let mut bytes = zeroize::Zeroizing::new([0; N]);
    getrandom::fill(&mut bytes[..]).map_err(|error| NoRandomness(error.to_string()))?;
    Ok(bytes)
}
