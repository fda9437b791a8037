// SPDX-License-Identifier: Apache-2.0

//! Files with secrets, which only their owner may read.

use std::{
    env, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Maximum size of a file with a key or a password. Keystores have less than a kilobyte.
pub const MAX_FILE_BYTES: u64 = 1 << 16;
/// Environment variable with the folder of the secrets that systemd hands to a service.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Errors of files with secrets.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Underlying error.
        error: io::Error,
    },
    /// The file exists; a key is never overwritten.
    #[error("{} exists already and is left as it is: choose another path", .0.display())]
    Exists(PathBuf),
    /// Other users can read the file.
    #[error(
        "{} can be read by other users (mode {mode:o}): run chmod 600 on it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Permission bits of the file.
        mode: u32,
    },
    /// The path is a folder, a device, or a pipe.
    #[error("{} is not a regular file", .0.display())]
    Irregular(PathBuf),
    /// The file is larger than keys and passwords are.
    #[error("{} has more than {MAX_FILE_BYTES} bytes, so it holds something else", .0.display())]
    TooLarge(PathBuf),
}

/// Reads a file that no other user can read.
///
/// # Errors
///
/// Fails if the file cannot be read, is no regular file, has more than [`MAX_FILE_BYTES`], or is
/// open to others. Files that systemd hands to a service as credentials are as safe as it makes
/// them.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut file = open_regular(path)?;
    if !is_credential(path) {
        refuse_exposed(path, &file)?;
    }
    read(path, &mut file)
}

/// Reads a file that may be open to others, such as an encrypted one that a browser downloaded.
///
/// # Errors
///
/// Fails if the file cannot be read, is no regular file, or has more than [`MAX_FILE_BYTES`].
pub fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read(path, &mut open_regular(path)?)
}

/// Writes a new file that only its owner may read. It is whole from the start, and survives a power
/// cut.
///
/// # Errors
///
/// Fails if the file exists or cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    written(path, bytes)?.persist_noclobber(path).map_err(|refused| {
        match refused.error.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
            _ => failed(path)(refused.error),
        }
    })?;
    sync_folder(path)
}

/// Replaces a file by one that only its owner may read. At any moment the path has one of the two.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    written(path, bytes)?.persist(path).map_err(|refused| failed(path)(refused.error))?;
    sync_folder(path)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> FileError {
    move |error| FileError::Io { path: path.to_owned(), error }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a temporary file beside `path`. Such files are readable by their owner only.
fn written(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile, FileError> {
    let mut file = tempfile::NamedTempFile::new_in(folder(path)).map_err(failed(path))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed(path))?;
    Ok(file)
}

/// Makes a new name survive a power cut.
fn sync_folder(path: &Path) -> Result<(), FileError> {
    #[cfg(unix)]
    fs::File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(failed(path))?;
    Ok(())
}

/// Opens a file. A pipe, which might never be written to, is not opened.
fn open_regular(path: &Path) -> Result<fs::File, FileError> {
    if !fs::metadata(path).map_err(failed(path))?.is_file() {
        return Err(FileError::Irregular(path.to_owned()));
    }
    fs::File::open(path).map_err(failed(path))
}

fn read(path: &Path, file: &mut fs::File) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // Of its size from the start, so that no copy stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize + 1));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed(path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// Returns `true` if systemd hands the file to this service. Its permission bits then have the mask
/// of an access list, and not the access of a group.
pub fn is_credential(path: &Path) -> bool {
    env::var_os(CREDENTIALS_VARIABLE)
        .is_some_and(|folder| !folder.is_empty() && path.starts_with(folder))
}

#[cfg(unix)]
fn refuse_exposed(path: &Path, file: &fs::File) -> Result<(), FileError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map_err(failed(path))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(FileError::Exposed { path: path.to_owned(), mode }) }
}

/// Accepts every file: other systems protect a user's files without permission bits.
#[cfg(not(unix))]
fn refuse_exposed(_: &Path, _: &fs::File) -> Result<(), FileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_written_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        write_private(&path, b"first").unwrap();
        assert!(matches!(write_private(&path, b"second"), Err(FileError::Exists(_))));
        assert_eq!(read_private(&path).unwrap()[..], b"first"[..]);
        replace(&path, b"third").unwrap();
        assert_eq!(read_bounded(&path).unwrap()[..], b"third"[..]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn other_things_than_small_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        assert!(matches!(read_private(&path), Err(FileError::Io { .. })), "there is none");
        assert!(matches!(read_private(folder.path()), Err(FileError::Irregular(_))));
        write_private(&path, &vec![b' '; MAX_FILE_BYTES as usize]).unwrap();
        assert!(read_private(&path).is_ok());
        replace(&path, &vec![b' '; MAX_FILE_BYTES as usize + 1]).unwrap();
        assert!(matches!(read_private(&path), Err(FileError::TooLarge(_))));
        let nowhere = folder.path().join("none/key.json");
        assert!(matches!(write_private(&nowhere, b""), Err(FileError::Io { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn files_that_others_can_read_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        write_private(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_private(&path).unwrap_err();
            assert!(matches!(error, FileError::Exposed { mode: shown, .. } if shown == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert!(read_bounded(&path).is_ok());
        }
        replace(&path, b"secret").unwrap();
        assert!(read_private(&path).is_ok(), "what replaces it is private");
    }
}
