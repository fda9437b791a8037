// SPDX-License-Identifier: Apache-2.0

//! Files with a key, encrypted or plain.

use crate::{
    AccountId, FileError, InvalidSecret, Keystore, KeystoreError, SecretKey,
    key::{format_address, parse_address},
    read_bounded, read_private,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Errors of files with a key. No message repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("key file {0}")]
    File(#[from] FileError),
    /// The file is no keystore that this program can use.
    #[error("key file {}: {error}", path.display())]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Reason.
        error: KeystoreError,
    },
    /// The file has a plain seed that is damaged.
    #[error("key file {} is damaged: {reason}; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Reason.
        reason: &'static str,
    },
}

/// Key in a file.
#[derive(Clone, Debug)]
pub enum KeyFile {
    /// Key under a password.
    Encrypted(Keystore),
    /// Key that whoever reads the file has.
    Plain(SecretKey),
}

/// JSON of a plain seed.
#[derive(Serialize, Deserialize)]
struct PlainSeed {
    /// SS58 address of the account, by which a damaged seed is detected.
    account: String,
    /// Seed in hexadecimal digits.
    seed: String,
}

impl Drop for PlainSeed {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl KeyFile {
    /// Reads a file that no other user can read.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, if others can read it, and if it has no usable key.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        Self::parse(path, &read_private(path)?)
    }

    /// Reads a file, which others may read too if it is encrypted.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::read`] does.
    pub fn read_foreign(path: &Path) -> Result<Self, KeyFileError> {
        match Self::parse(path, &read_bounded(path)?)? {
            Self::Plain(_) => Self::read(path),
            encrypted => Ok(encrypted),
        }
    }

    fn parse(path: &Path, json: &[u8]) -> Result<Self, KeyFileError> {
        let path = || path.to_owned();
        let Ok(plain) = serde_json::from_slice::<PlainSeed>(json) else {
            let keystore = Keystore::parse(json).map(Self::Encrypted);
            return keystore.map_err(|error| KeyFileError::Keystore { path: path(), error });
        };
        let damaged = |reason| KeyFileError::Damaged { path: path(), reason };
        let key = plain.key().map_err(|_| damaged("its seed is not 64 hexadecimal digits"))?;
        if parse_address(&plain.account) != Some(key.account()) {
            return Err(damaged("its seed is not that of its account"));
        }
        Ok(Self::Plain(key))
    }

    /// Returns the JSON of a plain seed, which whoever reads it has.
    ///
    /// # Errors
    ///
    /// Fails as [`SecretKey::from_seed`] does.
    pub fn plain_json(seed: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, InvalidSecret> {
        let account = format_address(&SecretKey::from_seed(seed)?.account());
        let seed = format!("0x{}", *Zeroizing::new(hex::encode(seed)));
        let json = serde_json::to_vec_pretty(&PlainSeed { account, seed });
        let mut json = Zeroizing::new(json.map_err(|_| InvalidSecret)?);
        json.push(b'\n');
        Ok(json)
    }

    /// Returns the account of the key.
    pub fn account(&self) -> AccountId {
        match self {
            Self::Encrypted(keystore) => keystore.account(),
            Self::Plain(key) => key.account(),
        }
    }
}

impl PlainSeed {
    fn key(&self) -> Result<SecretKey, InvalidSecret> {
        let mut seed = Zeroizing::new([0; 32]);
        let digits = self.seed.strip_prefix("0x").ok_or(InvalidSecret)?;
        hex::decode_to_slice(digits, &mut seed[..]).map_err(|_| InvalidSecret)?;
        SecretKey::from_seed(&seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cost, replace, write_private};
    use std::fs;

    #[test]
    fn both_kinds_of_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let plain = KeyFile::plain_json(&[7; 32]).unwrap();
        write_private(&path, &plain).unwrap();
        let key = SecretKey::from_seed(&[7; 32]).unwrap();
        let read = KeyFile::read(&path).unwrap();
        assert!(matches!(&read, KeyFile::Plain(_)));
        assert_eq!(read.account(), key.account());
        let cost = Cost::new(4, 8, 1).unwrap();
        let keystore = Keystore::encrypt(&key, "password", "name", cost).unwrap();
        replace(&path, &keystore.to_json()).unwrap();
        let read = KeyFile::read(&path).unwrap();
        assert!(matches!(&read, KeyFile::Encrypted(_)));
        assert_eq!(read.account(), key.account());
    }

    #[test]
    fn damaged_seeds_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let json = String::from_utf8(KeyFile::plain_json(&[7; 32]).unwrap().to_vec()).unwrap();
        let other = String::from_utf8(KeyFile::plain_json(&[8; 32]).unwrap().to_vec()).unwrap();
        let account = |json: &str| json.lines().nth(1).unwrap().to_owned();
        let swapped = json.replace(&account(&json), &account(&other));
        for damaged in [swapped, json.replace("0x", "0y"), json.replace("07", "0")] {
            replace(&path, damaged.as_bytes()).unwrap();
            let error = KeyFile::read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Damaged { .. }), "{error}");
        }
        replace(&path, &json.as_bytes()[..json.len() / 2]).unwrap();
        let error = KeyFile::read(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Keystore { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn only_encrypted_files_may_be_open_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let open = || fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, include_bytes!("../tests/fixtures/older.json")).unwrap();
        open();
        assert!(matches!(KeyFile::read(&path), Err(KeyFileError::File(_))));
        assert!(KeyFile::read_foreign(&path).is_ok());
        replace(&path, &KeyFile::plain_json(&[7; 32]).unwrap()).unwrap();
        assert!(KeyFile::read_foreign(&path).is_ok());
        open();
        assert!(matches!(KeyFile::read_foreign(&path), Err(KeyFileError::File(_))));
    }
}
