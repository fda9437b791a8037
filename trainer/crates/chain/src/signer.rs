// SPDX-License-Identifier: Apache-2.0

//! Signing keys of accounts.

use crate::{AccountId, format_account, parse_account};
use pol_primitives::hex_hash;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};
use subxt_signer::{SecretUri, sr25519::Keypair};

/// Errors of loading or creating a key. No message repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not a secret.
    #[error(
        "the secret is neither a phrase of 12 to 24 words, nor 0x and 64 hexadecimal digits, nor \
         a path like //Alice"
    )]
    InvalidSecret,
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set: put the account's secret phrase in it")]
    MissingVariable(String),
    /// The file cannot be read or written.
    #[error("key file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Underlying error.
        error: io::Error,
    },
    /// The file exists; a key is never overwritten.
    #[error(
        "key file {} exists already and is left as it is: choose another path",
        .0.display()
    )]
    Exists(PathBuf),
    /// Other users can read the file.
    #[error(
        "key file {} can be read by other users (mode {mode:o}): run chmod 600 on it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Permission bits of the file.
        mode: u32,
    },
    /// The file is not a key file, or is damaged.
    #[error("key file {} is damaged: {reason}; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Reason.
        reason: &'static str,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// Content of a key file: JSON that only its owner may read.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    /// SS58 address of the account, by which a damaged seed is detected.
    account: String,
    /// Secret of 32 bytes that the sr25519 key pair is expanded from.
    #[serde(with = "hex_hash")]
    seed: [u8; 32],
}

/// sr25519 key pair of an account. Its `Debug` shows the account only.
#[derive(Clone)]
pub struct Signer(pub(crate) Keypair);

impl Signer {
    /// Creates a signer from a secret phrase, from `0x` and a seed in hexadecimal, or from a
    /// development path like `//Alice`. Each may be followed by derivation junctions
    /// (`//hard/soft`) and `///password`.
    ///
    /// # Errors
    ///
    /// Fails if `uri` is none of these.
    pub fn from_uri(uri: &str) -> Result<Self, KeyError> {
        let uri: SecretUri = uri.trim().parse().map_err(|_| KeyError::InvalidSecret)?;
        Keypair::from_uri(&uri).map(Self).map_err(|_| KeyError::InvalidSecret)
    }

    /// Creates a signer from the environment variable `variable`, read as by
    /// [`Signer::from_uri`].
    ///
    /// # Errors
    ///
    /// Fails if the variable is not set or is not a secret.
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        let uri =
            std::env::var(variable).map_err(|_| KeyError::MissingVariable(variable.to_owned()))?;
        Self::from_uri(&uri)
    }

    /// Loads a key file made by [`Signer::generate`].
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, if other users can read it, and if it is damaged.
    pub fn from_keystore(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let damaged = |reason| KeyError::Damaged { path: path.to_owned(), reason };
        refuse_exposed(path)?;
        let bytes =
            fs::read(path).map_err(|error| KeyError::File { path: path.to_owned(), error })?;
        let KeyFile { account, seed } =
            serde_json::from_slice(&bytes).map_err(|_| damaged("it is not a key file"))?;
        let signer = Self::from_seed(seed)?;
        if parse_account(&account) != Ok(signer.account()) {
            return Err(damaged("its seed is not that of its account"));
        }
        Ok(signer)
    }

    /// Generates a key from the operating system's randomness and writes it to a new file that only
    /// its owner may read.
    ///
    /// # Errors
    ///
    /// Fails if the file exists or cannot be written, and if the system gives no randomness.
    pub fn generate(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyError::Randomness)?;
        let signer = Self::from_seed(seed)?;
        let failed = |error| KeyError::File { path: path.to_owned(), error };
        let mut text = serde_json::to_vec_pretty(&KeyFile { account: signer.ss58(), seed })
            .map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        let folder =
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Temporary files are readable by their owner only, so the file is whole and private from
        // the start.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist_noclobber(path).map_err(|refused| match refused.error.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
            _ => failed(refused.error),
        })?;
        // The new name must survive a power cut as well.
        #[cfg(unix)]
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(signer)
    }

    fn from_seed(seed: [u8; 32]) -> Result<Self, KeyError> {
        Keypair::from_secret_key(seed).map(Self).map_err(|_| KeyError::InvalidSecret)
    }

    /// Returns the account that the key signs for.
    pub fn account(&self) -> AccountId {
        self.0.public_key().0
    }

    /// Returns the account's SS58 address.
    pub fn ss58(&self) -> String {
        format_account(&self.account())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.ss58()).finish()
    }
}

#[cfg(unix)]
fn refuse_exposed(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata =
        fs::metadata(path).map_err(|error| KeyError::File { path: path.to_owned(), error })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Exposed { path: path.to_owned(), mode }) }
}

/// Accepts every file: other systems protect a user's files without permission bits.
#[cfg(not(unix))]
fn refuse_exposed(_: &Path) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_keys_are_the_known_ones() {
        let alice = Signer::from_uri("//Alice").unwrap();
        assert_eq!(alice.ss58(), "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
        assert_eq!(Signer::from_uri(" //Alice\n").unwrap().account(), alice.account());
        let phrase = "bottom drive obey lake curtain smoke basket hold race lonely fit walk//Alice";
        assert_eq!(Signer::from_uri(phrase).unwrap().account(), alice.account());
    }

    #[test]
    fn errors_and_debug_keep_secrets() {
        let secret = "zebra zebra zebra";
        assert!(!Signer::from_uri(secret).unwrap_err().to_string().contains("zebra"));
        let seed = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
        let signer = Signer::from_uri(&format!("0x{seed}")).unwrap();
        assert_eq!(format!("{signer:?}"), format!("Signer({:?})", signer.ss58()));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Signer::from_env("POL_TEST_NO_SUCH_KEY").unwrap_err();
        assert!(error.to_string().contains("POL_TEST_NO_SUCH_KEY"));
    }

    #[test]
    fn a_generated_key_is_read_back_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trainer.json");
        let made = Signer::generate(&path).unwrap();
        assert_eq!(Signer::from_keystore(&path).unwrap().account(), made.account());
        let before = fs::read(&path).unwrap();
        assert!(matches!(Signer::generate(&path), Err(KeyError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
        assert_ne!(
            Signer::generate(folder.path().join("other.json")).unwrap().account(),
            made.account()
        );
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        Signer::generate(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let alice = Signer::from_uri("//Alice").unwrap().ss58();
        let mut file: KeyFile = serde_json::from_str(&text).unwrap();
        file.account = alice;
        fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
        assert!(matches!(Signer::from_keystore(&path), Err(KeyError::Damaged { .. })));
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(Signer::from_keystore(&path), Err(KeyError::Damaged { .. })));
        assert!(matches!(
            Signer::from_keystore(folder.path().join("none")),
            Err(KeyError::File { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn files_that_others_can_read_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        Signer::generate(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Signer::from_keystore(&path).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { mode: 0o640, .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"));
    }
}
