// SPDX-License-Identifier: Apache-2.0

//! The target that `POL_FUZZ_TARGET` names, under libFuzzer. Its seeds are written into the folder
//! `POL_FUZZ_SEEDS` first. Without a name, the names of all targets are printed.

#![no_main]

use pol_fuzz::{Target, targets};
use std::{
    env, fs, panic,
    path::Path,
    process,
    sync::{Mutex, OnceLock, PoisonError},
};

static TARGET: OnceLock<&Target> = OnceLock::new();
/// Message of the last panic.
static MESSAGE: Mutex<String> = Mutex::new(String::new());

libfuzzer_sys::fuzz_target!(init: init(), |bytes: &[u8]| {
    if let Some(target) = TARGET.get()
        && panic::catch_unwind(|| (target.run)(bytes)).is_err()
    {
        fail(&MESSAGE.lock().unwrap_or_else(PoisonError::into_inner));
    }
});

fn init() {
    let Ok(name) = env::var("POL_FUZZ_TARGET") else {
        targets().for_each(|target| println!("{}", target.name));
        process::exit(0);
    };
    let Some(target) = targets().find(|target| target.name == name) else {
        eprintln!("pol-fuzz: there is no target {name}");
        process::exit(2);
    };
    if let Some(folder) = env::var_os("POL_FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            if let Err(error) = fs::write(Path::new(&folder).join(format!("seed-{number}")), seed) {
                eprintln!("pol-fuzz: cannot write into {}: {error}", folder.display());
                process::exit(2);
            }
        }
    }
    let _ = TARGET.set(target);
    // Some panics of libraries are caught where they are called. Those of our code are not meant
    // to be, also where something catches them.
    panic::set_hook(Box::new(|panic| {
        let is_library = panic.location().is_none_or(|at| at.file().contains("/registry/"));
        if !is_library {
            fail(&panic.to_string());
        }
        *MESSAGE.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
}

/// Ends the process, so that libFuzzer keeps the input.
fn fail(message: &str) -> ! {
    eprintln!("{message}");
    process::abort();
}
