// SPDX-License-Identifier: Apache-2.0

//! Space on the disk that training takes.

use crate::{HardwareError, disk_space};
use std::path::Path;

/// Bytes of a training state for each parameter: the value, both moments of Adam, and the error
/// feedback, in float32.
const STATE_BYTES: u64 = 16;
/// Number of states whose space is left for all that is not a state of an update: the carry to the
/// next lease, a state that is being replaced, the head, payloads, and two copies that audits ask
/// for.
const RESERVED_STATES: u64 = 6;
/// Number of states that an update keeps at least: it is trained again from the first one, and goes
/// on from the last one.
const KEPT_STATES: u64 = 2;

/// Returns the bytes that training states may take on the disk of the folder `path`, which need not
/// exist yet. `stored` bytes of states are there already, and the model has `parameters` values.
///
/// # Errors
///
/// Fails if the disk is too small for the states of one update, or if the operating system does not
/// tell its free space.
pub fn state_space(path: &Path, parameters: u64, stored: u64) -> Result<u64, HardwareError> {
    let free = disk_space(path)?.free_bytes;
    let states = |count: u64| parameters.saturating_mul(STATE_BYTES).saturating_mul(count);
    let (space, needed) = (free.saturating_add(stored), states(RESERVED_STATES + KEPT_STATES));
    if space < needed {
        let needed = needed.saturating_sub(stored);
        return Err(HardwareError::TooLittleDisk { path: path.to_owned(), free, needed });
    }
    Ok(space - states(RESERVED_STATES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_states_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet");
        let space = |stored| state_space(&path, 1_000, stored).unwrap();
        assert!(space(1 << 50) >= 1 << 50 && space(0) < 1 << 50);
    }

    #[test]
    fn a_disk_without_space_for_an_update_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let parameters = 1 << 50;
        let error = state_space(folder.path(), parameters, 0).unwrap_err();
        let HardwareError::TooLittleDisk { needed, .. } = error else { panic!("{error}") };
        assert_eq!(needed, 8 * 16 * parameters);
        let space = state_space(folder.path(), parameters, needed).unwrap();
        assert!(space >= 2 * 16 * parameters);
        assert!(state_space(folder.path(), u64::MAX, 0).is_err());
    }
}
