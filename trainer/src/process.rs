//! A program from its start to its end.

use crate::{cli::LogOptions, failure};
use pol_engine::determinism::{self, Mode};
use std::{ffi::c_int, future::Future, io::Write};

unsafe extern "C" {
    /// Ends the process at once (POSIX).
    safe fn _exit(status: c_int) -> !;
}

/// Runs `work` as everything that the program `name` does, and ends the process: with 1 and the error on standard error
/// where it fails. `numerics` is how it computes, if it computes anything with a model.
pub fn run(name: &str, numerics: Option<Mode>, log: &LogOptions, work: impl Future<Output = anyhow::Result<()>>) -> ! {
    // Before anything loads a kernel: the exact profile is chosen by the environment the process starts with.
    if let Some(mode) = numerics
        && let Err(error) = determinism::ensure(mode)
    {
        eprintln!("{name}: {error}");
        _exit(1);
    }
    log.start();
    let outcome =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from).and_then(|runtime| {
            let outcome = runtime.block_on(work);
            runtime.shutdown_background();
            outcome
        });
    if let Err(error) = &outcome {
        eprintln!("{name}: {}", failure::explain(error));
    }
    // A thread may still be training, and would crash if libtorch were taken down under it by an orderly exit. What it
    // leaves on disk is whole at any moment.
    let _ = std::io::stdout().flush();
    _exit(outcome.is_err().into())
}
