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
use std::process::ExitCode;

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
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(commands::run(options));
            // Blocking work that is still running has nothing left to tell anybody.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pol-trainer: {}", failure::explain(&error));
            ExitCode::FAILURE
        }
    }
}
