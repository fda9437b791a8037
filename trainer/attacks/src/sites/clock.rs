// SPDX-License-Identifier: Apache-2.0

//! Wrong clocks, by libfaketime: a library that is loaded before the C library and shifts what that
//! says about the time of day. Timers keep their speed.

use std::{fs, path::PathBuf, process::Command};

/// Folder of the system's libraries, which have a folder for each architecture.
const LIBRARIES: &str = "/usr/lib";
/// The library in the folder of an architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// Returns the path of the library, or `None` if it is not installed.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir(LIBRARIES).ok()?.flatten();
    folders.map(|folder| folder.path().join(LIBRARY)).find(|library| library.exists())
}

/// Returns `true` if this machine can run processes with wrong clocks.
pub(crate) fn can_shift_clocks() -> bool {
    library().is_some()
}

/// Sets the clock of a process so many seconds ahead. Zero leaves it right.
pub(super) fn shift_clock(command: &mut Command, seconds: i32) {
    if let Some(library) = library().filter(|_| seconds != 0) {
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME", format!("{seconds:+}s"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn a_shifted_process_has_another_time() {
        if !can_shift_clocks() {
            eprintln!("libfaketime is not installed");
            return;
        }
        for ahead in [30, -30, 0] {
            let mut date = Command::new("date");
            shift_clock(date.arg("+%s"), ahead);
            let output = date.output().unwrap();
            let seen: i64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
            assert!((seen - now - i64::from(ahead)).abs() <= 2, "{seen} at {now}");
        }
    }
}
