// SPDX-License-Identifier: Apache-2.0

//! Bounds of numbers, and files that have to be there.

use anyhow::{Result, bail, ensure};
use std::{ops::RangeInclusive, path::Path};

/// Fails if a number that is given is out of its range.
pub(super) fn check_range(
    field: &str,
    given: Option<u64>,
    range: RangeInclusive<u64>,
) -> Result<()> {
    match given {
        Some(number) if !range.contains(&number) => bail!(
            "{field}: {number} is out of its range, {} to {}; change it, or leave it out",
            range.start(),
            range.end()
        ),
        _ => Ok(()),
    }
}

/// Fails if there is no file. A pipe or device would be waited for, or have no end.
pub(super) fn check_file(field: &str, path: &Path) -> Result<()> {
    ensure!(path.is_file(), "{field}: {} is no file; name one that is there", path.display());
    Ok(())
}

/// Fails if there is neither a file nor a folder.
pub(super) fn check_path(field: &str, path: &Path) -> Result<()> {
    ensure!(path.exists(), "{field}: {} is not there", path.display());
    ensure!(
        path.is_file() || path.is_dir(),
        "{field}: {} is neither a file nor a folder; a pipe can be read by `pol-trainer data \
         ingest --input` only",
        path.display()
    );
    Ok(())
}
