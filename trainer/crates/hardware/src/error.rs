// SPDX-License-Identifier: Apache-2.0

//! Errors, with their remedies.

use crate::tier::MEMORY_PERCENT;
use std::{fmt, io, path::PathBuf};

/// Error of describing the machine, or a shortage of memory or disk.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    /// The operating system refused to give information.
    #[error("cannot determine this machine's {property}: {source}")]
    Unknown {
        /// Requested property.
        property: &'static str,
        /// Error of the operating system.
        source: io::Error,
    },
    /// There is too little memory for the model in every tier that suits the machine.
    #[error(
        "training this model needs {} of memory, and {MEMORY_PERCENT} % of this machine's {} is \
         not enough; raise the memory limit or use a larger machine",
        ByteSize(*needed), ByteSize(*memory)
    )]
    TooLittleMemory {
        /// Bytes that the least demanding tier needs.
        needed: u64,
        /// Bytes of memory of the machine.
        memory: u64,
    },
    /// There is too little free space on the disk.
    #[error(
        "{} has {} free and needs {}; free some space or choose a folder on another disk",
        path.display(), ByteSize(*free), ByteSize(*needed)
    )]
    TooLittleDisk {
        /// Folder on the disk.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
}

/// Number of bytes, displayed in MiB or GiB.
struct ByteSize(u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.0 as f64 / f64::from(1 << 20);
        if mebibytes < 1024.0 {
            write!(f, "{mebibytes:.0} MiB")
        } else {
            write!(f, "{:.1} GiB", mebibytes / 1024.0)
        }
    }
}
