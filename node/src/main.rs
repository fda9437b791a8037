// SPDX-License-Identifier: Apache-2.0

//! A node of the POL chain: block production, finality, networking and JSON-RPC.
#![allow(clippy::result_large_err, reason = "the SDK's own error type is large")]

mod chain_spec;
mod check_state;
mod cli;
mod client;
mod command;
mod rpc;
mod service;

use std::{error::Error, process::ExitCode};

fn main() -> ExitCode {
    match command::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
