// SPDX-License-Identifier: Apache-2.0

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

/// Size of the write buffer, in bytes.
const BUFFER: usize = 1 << 20;

/// Replaces the file at `path` by what `write` writes, atomically and durably.
///
/// The old file stays until the new one is on disk: readers, and a process started after a crash or
/// a power cut, find one of them whole. Only the owner may read the new file. Whatever a killed
/// process was writing is left in the same folder, under a name that begins with `.tmp`.
///
/// # Errors
///
/// Fails if `write` fails, or if the file cannot be created, synced or renamed.
pub fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut writer = BufWriter::with_capacity(BUFFER, file.as_file_mut());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name must survive a power cut as well.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace_file(&path, |file| file.write_all(b"old")).unwrap();
        let failed = replace_file(&path, |file| {
            file.write_all(b"ne")?;
            Err(io::Error::other("interrupted"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replace_file(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
