// SPDX-License-Identifier: Apache-2.0

//! Files that somebody names: neither a device without an end nor a pipe that says nothing.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

/// Largest text that somebody writes by hand or with a command, in bytes.
pub(crate) const MAX_TEXT: u64 = 1 << 20;

/// Reads a file of at most `limit` bytes.
///
/// # Errors
///
/// Fails if it cannot be read, is no regular file, or is larger.
pub(crate) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe waits for whoever writes to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let reason = format!("it has more than {limit} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// Reads a text as [`read_limited`] does, of at most [`MAX_TEXT`] bytes.
///
/// # Errors
///
/// Fails as it does, and if the file is no UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |error| io::Error::new(ErrorKind::InvalidData, error);
    String::from_utf8(read_limited(path, MAX_TEXT)?).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_limited(&path, 4).unwrap(), b"four");
        assert_eq!(read_limited(&path, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_text(&path).unwrap(), "four");
        for special in [Path::new("/dev/zero"), folder.path()] {
            let error = read_limited(special, 4).unwrap_err().to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read_text(&path).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
