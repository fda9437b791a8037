// SPDX-License-Identifier: Apache-2.0

//! Files of configurations.

use crate::{Config, ConfigError, Node};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Maximum size of a file in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Its content, with paths that do not depend on the working folder.
    pub config: Config,
    /// Notes for whoever wrote it.
    pub notes: Vec<String>,
}

impl ConfigFile {
    /// Reads a configuration. Paths in it are relative to its folder.
    ///
    /// # Errors
    ///
    /// Fails with the path if the file cannot be read, is larger than [`MAX_BYTES`], or
    /// [cannot be parsed](Config::parse).
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let at = |source| ConfigError::At { path: path.to_owned(), source: Box::new(source) };
        let mut config = read_text(path).and_then(|text| Config::parse(&text)).map_err(at)?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        let mut notes = config.notes();
        let Node { account, key_file, .. } = &config.node;
        if (account.is_some() || key_file.is_some()) && others_can_read(path) {
            notes.push(format!(
                "it names a key, and every user of this machine can read it; run `chmod 600 \
                 {}`",
                path.display()
            ));
        }
        Ok(Self { path: path.to_owned(), config, notes })
    }
}

/// Reads a text of at most [`MAX_BYTES`] bytes.
///
/// # Errors
///
/// Fails if the file cannot be read, is none, is larger, or is no UTF-8.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(ConfigError::File)?.is_file() {
        return Err(ConfigError::Special);
    }
    let file = File::open(path).map_err(ConfigError::File)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(ConfigError::File)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigError::TooLarge);
    }
    let invalid = |error| ConfigError::File(io::Error::new(io::ErrorKind::InvalidData, error));
    String::from_utf8(bytes).map_err(invalid)
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "[node]\nbase_path = \"state\"\ndata = \"/data\"\n").unwrap();
        let file = ConfigFile::read(&path).unwrap();
        assert_eq!(file.config.node.base_path, Some(folder.path().join("state")));
        assert_eq!(file.config.node.data, Some("/data".into()));
        assert!(file.notes.is_empty());
        let index = |index: &str| {
            let text = format!("[node]\napi_tokens = \"t.json\"\napi_index = \"{index}\"\n");
            fs::write(&path, text).unwrap();
            let node = ConfigFile::read(&path).unwrap().config.node;
            assert_eq!(node.api_tokens, Some(folder.path().join("t.json")));
            node.api_index.unwrap()
        };
        assert_eq!(index("i.db"), folder.path().join("i.db").to_str().unwrap());
        assert_eq!(index("postgres://pol@host/pol"), "postgres://pol@host/pol");
    }

    #[test]
    fn files_are_bounded_and_named_in_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let refusal = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            let error = ConfigFile::read(&path).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            error
        };
        let comment = vec![b'#'; MAX_BYTES as usize];
        assert!(refusal(&[&comment[..], b"#"].concat()).contains("larger than 1048576 bytes"));
        assert!(refusal(&[&comment[1..], "ä".as_bytes()].concat()).contains("larger than"));
        assert!(refusal(b"\xff").contains("cannot read it"));
        assert!(refusal(b"[node]\nprot = 1").contains("node.port?"));
        fs::write(&path, &comment).unwrap();
        assert!(ConfigFile::read(&path).is_ok());
        fs::remove_file(&path).unwrap();
        assert!(ConfigFile::read(&path).unwrap_err().to_string().contains("cannot read it"));
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_folders_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [&pipe, folder.path(), Path::new("/dev/null")] {
            let error = ConfigFile::read(path).unwrap_err().to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_names_a_key_is_not_for_everybody() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "[node]\nkey_file = \"key.json\"\n").unwrap();
        let notes = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            ConfigFile::read(&path).unwrap().notes
        };
        assert!(notes(0o644)[0].contains("chmod 600"));
        assert!(notes(0o640).is_empty());
    }
}
