// SPDX-License-Identifier: Apache-2.0

//! Keys under a password, in the JSON format of Polkadot-JS.
//!
//! The format is that of version 3 as `@polkadot/keyring` and `@polkadot/util-crypto` 14 read and
//! write it: scrypt makes a key of the password, XSalsa20-Poly1305 (NaCl's secretbox) seals the
//! secret and the public key, and Base64 has the salt, the cost, the nonce and the sealed bytes.

use crate::{
    AccountId, Cost, NoRandomness, SecretKey,
    cost::COST_BYTES,
    key::{format_address, parse_address},
    random,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use crypto_secretbox::{
    KeyInit, Nonce, XSalsa20Poly1305,
    aead::{Aead, generic_array::GenericArray},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Version of the format.
const VERSION: &str = "3";
/// Kinds of content of a file with one sr25519 key.
const CONTENT: [&str; 2] = ["pkcs8", "sr25519"];
/// Names of the encryption.
const ENCRYPTION: [&str; 2] = ["scrypt", "xsalsa20-poly1305"];
/// Content of a file with the keys of several accounts.
const BATCH: &str = "batch-pkcs8";
/// Types of keys that wallets have beside sr25519.
const OTHER_TYPES: [&str; 3] = ["ed25519", "ecdsa", "ethereum"];
/// Bytes before the secret: the start of a PKCS #8 document.
const HEADER: [u8; 16] = [48, 83, 2, 1, 1, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
/// Bytes between the secret and the public key.
const DIVIDER: [u8; 5] = [161, 35, 3, 33, 0];
/// Bytes of the secret.
const SECRET_BYTES: usize = 64;
/// Bytes of the document: header, secret, divider and public key.
const DOCUMENT_BYTES: usize = HEADER.len() + SECRET_BYTES + DIVIDER.len() + 32;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Bytes of the sealed document, with its authentication tag.
const SEALED_BYTES: usize = DOCUMENT_BYTES + 16;
/// Bytes of a whole keystore before Base64.
const ENCODED_BYTES: usize = SALT_BYTES + COST_BYTES + NONCE_BYTES + SEALED_BYTES;

/// Errors of keystores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// The bytes are not a keystore.
    #[error("it is not a key file of Polkadot-JS")]
    NotKeystore,
    /// The keystore is damaged, which its form shows.
    #[error("it is damaged: {0}; restore it from a backup, or export it from the wallet again")]
    Damaged(&'static str),
    /// The format has another version.
    #[error("it has another version of the format than 3: export it from a newer wallet again")]
    OtherVersion,
    /// The key is of another type.
    #[error(
        "it holds a key of type {0}, and accounts here have sr25519 keys: make one with \
         `pol-trainer keys generate`, or choose sr25519 (Schnorrkel) in the wallet"
    )]
    OtherKeyType(&'static str),
    /// The file holds the keys of several accounts.
    #[error("it holds several accounts: export each account of the wallet by itself")]
    SeveralAccounts,
    /// The key is not encrypted.
    #[error("it is not encrypted: export it from the wallet again, with a password")]
    NotEncrypted,
    /// The key is encrypted in another way.
    #[error("it is encrypted in another way than by scrypt and XSalsa20-Poly1305")]
    OtherEncryption,
    /// Its password would take too much memory or time to check.
    #[error(
        "checking its password would take more than 256 MiB or too long (scrypt with N={n}, \
         r={r}, p={p}): export it with the usual settings of a wallet"
    )]
    TooCostly {
        /// Cost in memory and time.
        n: u32,
        /// Size of a block.
        r: u32,
        /// Number of lanes.
        p: u32,
    },
    /// The password is wrong, or the sealed bytes are damaged.
    #[error("the password is wrong")]
    WrongPassword,
    /// The secret is that of another account than the file states.
    #[error("its secret is not that of its account: restore it from a backup")]
    OtherAccount,
    /// The password is empty.
    #[error("the password is empty, and a keystore needs one")]
    NoPassword,
    /// The system gave no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Key of an account under a password.
///
/// The account is known without the password. It is certain only once the key is
/// [decrypted](Self::decrypt).
#[derive(Clone, Debug, PartialEq)]
pub struct Keystore {
    account: AccountId,
    /// Facts for people, among them the name.
    meta: Map<String, Value>,
    salt: [u8; SALT_BYTES],
    cost: Cost,
    nonce: [u8; NONCE_BYTES],
    sealed: Vec<u8>,
}

/// JSON of a keystore.
#[derive(Serialize, Deserialize)]
struct Document {
    encoded: String,
    encoding: Encoding,
    #[serde(default)]
    address: String,
    #[serde(default)]
    meta: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Encoding {
    content: Vec<String>,
    r#type: Names,
    version: String,
}

/// Names in a list, or the only one, as early versions have it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Names {
    Many(Vec<String>),
    One(String),
}

impl Keystore {
    /// Encrypts a key. Wallets show `name`.
    ///
    /// # Errors
    ///
    /// Fails if the password is empty, and if the system gives no randomness.
    pub fn encrypt(
        key: &SecretKey,
        password: &str,
        name: &str,
        cost: Cost,
    ) -> Result<Self, KeystoreError> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created = u64::try_from(created.as_millis()).unwrap_or(u64::MAX);
        let meta = [("name", name.into()), ("whenCreated", created.into())];
        let meta = meta.map(|(key, value): (&str, Value)| (key.to_owned(), value));
        Self::seal(key, password, Map::from_iter(meta), cost)
    }

    fn seal(
        key: &SecretKey,
        password: &str,
        meta: Map<String, Value>,
        cost: Cost,
    ) -> Result<Self, KeystoreError> {
        if password.is_empty() {
            return Err(KeystoreError::NoPassword);
        }
        let (salt, nonce) = (*random()?, *random()?);
        let account = key.account();
        // Of its size from the start, so that no copy stays behind.
        let mut document = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES));
        document.extend_from_slice(&HEADER);
        document.extend_from_slice(&key.to_ed25519_bytes()[..]);
        document.extend_from_slice(&DIVIDER);
        document.extend_from_slice(&account);
        let mut keystore = Self { account, meta, salt, cost, nonce, sealed: Vec::new() };
        let sealed = keystore.cipher(password)?.encrypt(&keystore.nonce(), &document[..]);
        // Fails for documents of gigabytes only.
        keystore.sealed = sealed.map_err(|_| KeystoreError::OtherEncryption)?;
        Ok(keystore)
    }

    fn cipher(&self, password: &str) -> Result<XSalsa20Poly1305, KeystoreError> {
        let key = self.cost.derive(password, &self.salt).ok_or(KeystoreError::OtherEncryption)?;
        Ok(XSalsa20Poly1305::new(GenericArray::from_slice(&key[..])))
    }

    fn nonce(&self) -> Nonce {
        Nonce::from(self.nonce)
    }

    /// Decrypts the key.
    ///
    /// # Errors
    ///
    /// Fails if the password is wrong or the key is damaged.
    pub fn decrypt(&self, password: &str) -> Result<SecretKey, KeystoreError> {
        let opened = self.cipher(password)?.decrypt(&self.nonce(), &self.sealed[..]);
        let document = Zeroizing::new(opened.map_err(|_| KeystoreError::WrongPassword)?);
        let parts = document.strip_prefix(&HEADER).and_then(|rest| {
            let (secret, rest) = rest.split_at_checked(SECRET_BYTES)?;
            Some((secret, rest.strip_prefix(&DIVIDER)?))
        });
        let (secret, public) =
            parts.ok_or(KeystoreError::Damaged("no key is under its password"))?;
        let key = SecretKey::from_ed25519_bytes(secret)
            .map_err(|_| KeystoreError::Damaged("its secret is not a key"))?;
        let account = key.account();
        let is_own = account == self.account && account == public;
        if is_own { Ok(key) } else { Err(KeystoreError::OtherAccount) }
    }

    /// Returns the same key, with the same facts for people, under another password.
    ///
    /// # Errors
    ///
    /// Fails if the old password is wrong, and as [`Self::encrypt`] does.
    pub fn with_password(&self, old: &str, new: &str, cost: Cost) -> Result<Self, KeystoreError> {
        Self::seal(&self.decrypt(old)?, new, self.meta.clone(), cost)
    }

    /// Reads a keystore from its JSON, without its password.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are no keystore of version 3 with one encrypted sr25519 key, and if its
    /// cost is out of [bounds](Cost).
    pub fn parse(json: &[u8]) -> Result<Self, KeystoreError> {
        let document: Document =
            serde_json::from_slice(json).map_err(|_| KeystoreError::NotKeystore)?;
        document.encoding.check()?;
        let account = parse_address(&document.address)
            .ok_or(KeystoreError::Damaged("its address is mistyped"))?;
        let damaged = KeystoreError::Damaged("its encrypted part is cut off or mistyped");
        let bytes = Some(document.encoded)
            .filter(|text| text.len() <= 2 * ENCODED_BYTES)
            .and_then(|text| STANDARD.decode(text).ok())
            .filter(|bytes| bytes.len() == ENCODED_BYTES)
            .ok_or(damaged.clone())?;
        let parts = || {
            let (salt, rest) = bytes.split_first_chunk()?;
            let (cost, rest) = rest.split_first_chunk()?;
            let (nonce, sealed) = rest.split_first_chunk()?;
            Some((*salt, cost, *nonce, sealed.to_vec()))
        };
        let (salt, cost, nonce, sealed) = parts().ok_or(damaged)?;
        let cost = Cost::read(cost).map_err(|[n, r, p]| KeystoreError::TooCostly { n, r, p })?;
        Ok(Self { account, meta: document.meta, salt, cost, nonce, sealed })
    }

    /// Returns the JSON of the keystore, which [`Self::parse`] and wallets read.
    pub fn to_json(&self) -> Vec<u8> {
        let parts = [&self.salt[..], &self.cost.to_bytes(), &self.nonce, &self.sealed];
        let owned = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let document = Document {
            encoded: STANDARD.encode(parts.concat()),
            encoding: Encoding {
                content: owned(CONTENT),
                r#type: Names::Many(owned(ENCRYPTION)),
                version: VERSION.to_owned(),
            },
            address: format_address(&self.account),
            meta: self.meta.clone(),
        };
        // Texts and a map with texts as keys always have a JSON.
        let mut json = serde_json::to_vec_pretty(&document).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// Returns the account that the file states.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Returns the cost of a guess at the password.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns the name for people.
    pub fn name(&self) -> Option<&str> {
        self.meta.get("name").and_then(Value::as_str)
    }
}

impl Encoding {
    /// Checks that the encoding is that of one encrypted sr25519 key.
    fn check(&self) -> Result<(), KeystoreError> {
        let has = |name: &str| self.content.iter().any(|known| known == name);
        let names = match &self.r#type {
            Names::Many(names) => &names[..],
            Names::One(name) => std::slice::from_ref(name),
        };
        let other = OTHER_TYPES.into_iter().find(|kind| has(kind));
        if self.version != VERSION {
            Err(KeystoreError::OtherVersion)
        } else if has(BATCH) {
            Err(KeystoreError::SeveralAccounts)
        } else if let Some(other) = other {
            Err(KeystoreError::OtherKeyType(other))
        } else if self.content != CONTENT {
            Err(KeystoreError::OtherKeyType("unknown to this program"))
        } else if names == ["none"] {
            Err(KeystoreError::NotEncrypted)
        } else if names != ENCRYPTION {
            Err(KeystoreError::OtherEncryption)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
