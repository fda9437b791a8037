// SPDX-License-Identifier: Apache-2.0

//! Completions of shells and manual pages, made from the command line itself.

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use std::{fs, io, path::PathBuf};

/// Name of the program.
const PROGRAM: &str = "pol-trainer";

/// Options of `completions`.
#[derive(Args)]
pub(crate) struct CompletionsOptions {
    /// Shell that reads the completions.
    #[arg(value_enum)]
    shell: Shell,
}

/// Options of `man`.
#[derive(Args)]
pub(crate) struct ManOptions {
    /// Folder for the pages: one of the program, and one of each command.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl CompletionsOptions {
    /// Prints the completions of `program`.
    pub(crate) fn run(&self, mut program: Command) -> Result<()> {
        clap_complete::generate(self.shell, &mut program, PROGRAM, &mut io::stdout());
        Ok(())
    }
}

impl ManOptions {
    /// Writes the pages of `program`.
    pub(crate) fn run(&self, program: Command) -> Result<()> {
        let folder = || self.out.display().to_string();
        fs::create_dir_all(&self.out).with_context(folder)?;
        clap_mangen::generate_to(program.name(PROGRAM), &self.out).with_context(folder)
    }
}
