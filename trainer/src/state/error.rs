// SPDX-License-Identifier: Apache-2.0

use std::{io, path::PathBuf};

/// An error of the state folder.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Something else than a folder is at its path.
    #[error(
        "{0} is no folder; name one, or one to make, with --base-path, or with \
         provider.base_path in the configuration of `data acquire`"
    )]
    NoFolder(PathBuf),
    /// Another process holds the folder.
    #[error(
        "{0} is in use by another pol-trainer; give each its own --base-path, or \
         provider.base_path in the configuration of `data acquire`"
    )]
    InUse(PathBuf),
    /// The folder belongs to another chain.
    #[error(
        "{path} belongs to a chain whose first block is 0x{known}, and the node's is 0x{found}. \
         If the chain was started anew, remove the folder; to keep it, name another with \
         --base-path, or with provider.base_path in the configuration of `data acquire`"
    )]
    OtherChain {
        /// The folder.
        path: PathBuf,
        /// First block of the folder's chain, in hexadecimal.
        known: String,
        /// First block of the node's chain, in hexadecimal.
        found: String,
    },
    /// The disk is too small, or cannot be asked.
    #[error(transparent)]
    Disk(#[from] pol_hardware::HardwareError),
    /// A file has other contents than were written.
    #[error("{path} is damaged ({reason}). Move it away to go on without it: {consequence}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Kind of damage.
        reason: String,
        /// Cost of going on without the file.
        consequence: &'static str,
    },
}
