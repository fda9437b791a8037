// SPDX-License-Identifier: Apache-2.0

//! Keys of this user: a folder in which each has a name.

use crate::password::PasswordOptions;
use anyhow::{Context, Result, bail};
use pol_keystore::{KeyFile, KeyFileError, SecretKey};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Environment variable with the folder, if it is not the default one.
const FOLDER_VARIABLE: &str = "POL_KEYS";
/// Extension of the files.
const EXTENSION: &str = "json";
/// Longest name of a key.
const MAX_NAME_CHARACTERS: usize = 64;

/// Folder of keys.
pub(crate) struct Keyring(PathBuf);

impl Keyring {
    /// Returns the folder that the environment names, or the default one of this user.
    pub(crate) fn of_user() -> Result<Self> {
        let named = env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty());
        let folder = named.map(PathBuf::from).or_else(|| Some(user_folder()?.join("keys")));
        folder.map(Self).with_context(|| {
            format!("neither HOME nor XDG_DATA_HOME is set; name a folder in {FOLDER_VARIABLE}")
        })
    }

    /// Returns the path of a key, which need not exist.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        if !is_name(name) {
            bail!(
                "'{name}' is not a name of a key: use up to {MAX_NAME_CHARACTERS} letters, \
                 digits, - and _, or name a file with --out"
            );
        }
        Ok(self.0.join(name).with_extension(EXTENSION))
    }

    /// Makes the folder, which only this user can enter, if it does not exist.
    pub(crate) fn create(&self) -> Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).with_context(|| self.0.display().to_string())
    }

    /// Returns the names of all keys in order, each with its content.
    pub(crate) fn list(&self) -> Result<Vec<(String, Result<KeyFile, KeyFileError>)>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| self.0.display().to_string())?,
        };
        let mut keys = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let is_key = path.extension().is_some_and(|extension| extension == EXTENSION);
            let name = path.file_stem().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|name| is_key && is_name(name)) {
                keys.push((name.to_owned(), KeyFile::read(&path)));
            }
        }
        keys.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(keys)
    }
}

/// Returns the path of a key that is named on the command line: a name in the folder of keys, or a
/// file.
pub(crate) fn find(name_or_file: &Path) -> Result<PathBuf> {
    let Some(name) = name_or_file.to_str().filter(|name| is_name(name)) else {
        return Ok(name_or_file.to_owned());
    };
    let named = Keyring::of_user().and_then(|keyring| keyring.path(name));
    match named {
        Ok(path) if path.exists() => Ok(path),
        Ok(path) if !name_or_file.exists() => bail!(
            "there is no key {name} in {} and no such file; `pol-trainer keys list` shows the \
             keys, and `pol-trainer keys generate {name}` makes one",
            path.parent().unwrap_or(Path::new(".")).display()
        ),
        _ => Ok(name_or_file.to_owned()),
    }
}

/// Returns the key of a file, decrypted with its password if it has one.
pub(crate) fn unlock(path: &Path, password: &PasswordOptions) -> Result<SecretKey> {
    match KeyFile::read(path)? {
        KeyFile::Plain(key) => {
            tracing::warn!(
                "the key in {} is not encrypted; `pol-trainer keys import NAME --from {}` makes an \
                 encrypted copy",
                path.display(),
                path.display()
            );
            Ok(key)
        }
        KeyFile::Encrypted(keystore) => {
            let password = password.password(&path.display().to_string())?;
            let key = keystore.decrypt(&password);
            key.map_err(|error| KeyFileError::Keystore { path: path.to_owned(), error }.into())
        }
    }
}

/// Returns the folder of this program's data about this user, or `None` if the environment names no
/// home.
pub(crate) fn user_folder() -> Option<PathBuf> {
    let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data =
        data.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local").join("share")));
    data.map(|data| data.join("pol-trainer"))
}

/// Returns `true` if a text may be the name of a key.
fn is_name(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    (1..=MAX_NAME_CHARACTERS).contains(&text.len()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_keystore::{Cost, Keystore, write_private};

    #[test]
    fn names_are_no_paths() {
        assert!(is_name("trainer-1") && is_name(&"x".repeat(64)));
        for text in ["", ".", "..", "a/b", "key.json", "a b", "ключ", &"x".repeat(65)] {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn keys_are_listed_in_order_with_their_faults() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring(folder.path().join("keys"));
        assert!(keyring.list().unwrap().is_empty(), "there is no folder yet");
        keyring.create().unwrap();
        let key = SecretKey::from_uri("//Alice").unwrap();
        let keystore =
            Keystore::encrypt(&key, "correct horse", "hot", Cost::new(4, 8, 1).unwrap()).unwrap();
        write_private(&keyring.path("hot").unwrap(), &keystore.to_json()).unwrap();
        write_private(&keyring.path("cold").unwrap(), b"{}").unwrap();
        write_private(&keyring.0.join("note.txt"), b"").unwrap();
        let keys = keyring.list().unwrap();
        let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cold", "hot"]);
        assert!(keys[0].1.is_err());
        assert_eq!(keys[1].1.as_ref().unwrap().account(), key.account());
        assert!(keyring.path("../hot").is_err());
    }

    #[test]
    fn a_path_is_a_file() {
        for file in ["./hot", "keys/hot.json", "hot.json"] {
            assert_eq!(find(Path::new(file)).unwrap(), Path::new(file));
        }
        let error = find(Path::new("no-such-key-of-a-test")).unwrap_err().to_string();
        assert!(error.contains("keys list"), "{error}");
    }
}
