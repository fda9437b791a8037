// SPDX-License-Identifier: Apache-2.0

//! Keys of accounts.

use crate::options::KeyOptions;
use anyhow::Result;
use clap::Subcommand;
use pol_chain::Signer;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  pol-trainer keys generate --out key.json     make a key and print its address
  pol-trainer keys show --key-file key.json    print the address again
  pol-trainer --key-file key.json              take part with this account";

/// Subcommands of `keys`.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum KeysCommand {
    /// Make a key, write it to a file that only you can read, and print its address.
    Generate {
        /// File to make. An existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the address of an account, never its secret.
    Show {
        #[command(flatten)]
        key: KeyOptions,
    },
}

/// Runs a subcommand of `keys`.
pub(crate) fn run(command: KeysCommand) -> Result<()> {
    let signer = match command {
        KeysCommand::Generate { out } => Signer::generate(&out)?,
        KeysCommand::Show { key } => key.signer()?,
    };
    println!("{}", signer.ss58());
    Ok(())
}
