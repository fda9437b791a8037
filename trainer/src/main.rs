//! `pol-trainer`: trains the global model, and checks others doing the same.

mod cli;
mod commands;
mod data;
mod failure;
mod heldout;
mod model;
mod peer;
mod roles;
mod state;

use clap::Parser;
use std::{ffi::c_int, io::Write, process::ExitCode};

unsafe extern "C" {
    /// Ends the process at once (POSIX).
    safe fn _exit(status: c_int) -> !;
}

fn main() -> ExitCode {
    let options = cli::Options::parse();
    // Before anything loads a kernel: the exact profile is chosen by the environment the process starts with.
    if let Some(mode) = options.numerics()
        && let Err(error) = pol_engine::determinism::ensure(mode)
    {
        eprintln!("pol-trainer: {error}");
        return ExitCode::FAILURE;
    }
    options.log.start();
    let outcome =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from).and_then(|runtime| {
            let outcome = runtime.block_on(commands::run(options));
            runtime.shutdown_background();
            outcome
        });
    if let Err(error) = &outcome {
        eprintln!("pol-trainer: {}", failure::explain(error));
    }
    // A thread may still be training, and would crash if libtorch were taken down under it by an orderly exit. What it
    // leaves on disk is whole at any moment.
    let _ = std::io::stdout().flush();
    _exit(outcome.is_err().into())
}
