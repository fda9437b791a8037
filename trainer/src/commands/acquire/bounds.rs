// SPDX-License-Identifier: Apache-2.0

//! Mistakes of a configuration: numbers out of their bounds, files that are not there, and others.

use crate::error::explain;
use anyhow::{Result, bail, ensure};
use std::{ops::RangeInclusive, path::Path};

/// Mistakes of a configuration, which are told together.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<String>);

impl Mistakes {
    /// Adds the error of a check, once.
    pub(super) fn check(&mut self, checked: Result<()>) {
        if let Err(error) = checked {
            self.require(false, || explain(&error));
        }
    }

    /// Adds a mistake unless something is right.
    pub(super) fn require(&mut self, is_right: bool, mistake: impl FnOnce() -> String) {
        if is_right {
            return;
        }
        let mistake = mistake();
        if !self.0.contains(&mistake) {
            self.0.push(mistake);
        }
    }

    /// Adds the mistakes of a part, which is named before each.
    pub(super) fn add(&mut self, part: &str, other: Self) {
        self.0.extend(other.0.into_iter().map(|mistake| format!("{part}: {mistake}")));
    }

    /// Adds other mistakes.
    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns `true` if there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fails if there is a mistake, with all of them.
    pub(super) fn finish(self) -> Result<()> {
        match self.0.as_slice() {
            [] => Ok(()),
            [mistake] => bail!("{mistake}"),
            mistakes => {
                bail!("{} values have to change\n  {}", mistakes.len(), mistakes.join("\n  "))
            }
        }
    }
}

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
