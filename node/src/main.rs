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

/// Words of the database about a folder that another process has open.
const IN_USE: &str = "Database file is in use";

fn main() -> ExitCode {
    match command::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {}", in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// Returns an error with its causes, a line each, and a remedy where the SDK names none.
fn in_words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!("\n  because: {cause}");
        next = cause.source();
    }
    if text.contains(IN_USE) {
        text += "\n  another process, such as a node that still runs, has this base path open; \
                 stop it, or name another folder with --base-path";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use polkadot_sdk::{sc_cli, sc_service, sp_blockchain};

    #[test]
    fn errors_name_their_causes_and_a_remedy() {
        let error = |reason: &str| {
            let backend = sp_blockchain::Error::Backend(reason.into());
            in_words(&sc_cli::Error::Service(sc_service::Error::Client(backend)))
        };
        assert_eq!(error("it is full"), "Backend error: it is full");
        let in_use = error("Database file is in use. (Resource temporarily unavailable)");
        assert!(in_use.contains("--base-path"), "{in_use}");
    }
}
