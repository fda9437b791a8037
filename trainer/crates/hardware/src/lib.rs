// SPDX-License-Identifier: Apache-2.0

//! Describes the machine and selects the tier of leases that fits it.
//!
//! [`detect`] describes the machine as the process may use it, which can be less than what is built
//! in: the cores of its affinity mask and quota, and the memory of its control group. The
//! selection is made by pure functions of a [`Machine`] and a recipe.
//!
//! - [`Machine`] and [`detect`]: cores, memory, disk, vector extensions, GPUs.
//! - [`largest_fitting_tier`]: the tier for `--tier auto`.
//! - [`memory_needed`] and [`max_workers`]: the memory that training takes, and the number of
//!   micro-batches that fit in it at a time.
//! - [`disk_space`] and [`require_disk`]: the space on a disk, and a check before large files are
//!   written.
//! - [`state_space`]: the space on a disk that training states may take.
//!
//! The workspace's terms are explained in `docs/glossary.md`.
//!
//! # Example
//!
//! ```
//! use pol_hardware::{detect, require_disk};
//! use std::path::Path;
//!
//! let state = Path::new("not/created/yet");
//! let machine = detect(state)?;
//! assert!(machine.cores >= 1);
//! println!("{}: {} cores, {} GPUs", machine.cpu, machine.cores, machine.gpus.len());
//! require_disk(state, 1)?;
//! # Ok::<(), pol_hardware::HardwareError>(())
//! ```

mod error;
mod machine;
mod states;
mod tier;

pub use error::HardwareError;
pub use machine::{DiskSpace, Machine, MemoryUse, detect, disk_space, memory, require_disk};
pub use states::state_space;
pub use tier::{largest_fitting_tier, max_workers, memory_needed};
