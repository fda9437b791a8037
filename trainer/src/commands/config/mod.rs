// SPDX-License-Identifier: Apache-2.0

//! `config`: checks, shows, begins, and describes configurations.

mod merge;

use super::run::RunOptions;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::json;
use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

pub(crate) use merge::merge;

const EXAMPLES: &str = "\
Examples:
  pol-trainer config init --out pol.toml                a file with every key, explained
  pol-trainer config check --config pol.toml            all that is wrong with a file, at once
  pol-trainer config check --config pol.toml --network  compared with the chain too
  pol-trainer config show --config pol.toml             each value, and where it is from
  pol-trainer config schema > pol.schema.json           for editors
  pol-trainer --config pol.toml --tier whale            take part

A flag comes before an environment variable, that before the file, and that before the default. \
Secrets never stand in a file. `data acquire --config` reads the section data_acquisition of the \
same file. docs/configuration.md lists all keys.";

/// Subcommands of `config`.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ConfigCommand {
    /// Check a configuration.
    Check(Box<CheckOptions>),
    /// Show each value that a member would start with, and its source.
    Show(Box<ShowOptions>),
    /// Write a configuration that explains every key and sets none.
    Init {
        /// File to make. An existing file is never overwritten. [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the JSON Schema of a configuration.
    Schema,
}

/// Options of `config check`.
#[derive(Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    run: RunOptions,
    /// Compare what the file states of the network with the chain.
    #[arg(long)]
    network: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `config show`.
#[derive(Args)]
pub(crate) struct ShowOptions {
    #[command(flatten)]
    run: RunOptions,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ConfigCommand {
    /// Returns the options of a member that the command is about.
    pub(crate) fn member(&mut self) -> Option<&mut RunOptions> {
        match self {
            Self::Check(options) => Some(&mut options.run),
            Self::Show(options) => Some(&mut options.run),
            Self::Init { .. } | Self::Schema => None,
        }
    }
}

/// Runs a subcommand of `config`.
pub(crate) async fn run(command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Check(options) => options.run().await,
        ConfigCommand::Show(options) => options.show(),
        ConfigCommand::Init { out: Some(path) } => init(&path),
        ConfigCommand::Init { out: None } => {
            print!("{}", pol_config::template());
            Ok(())
        }
        ConfigCommand::Schema => {
            println!("{}", serde_json::to_string_pretty(&pol_config::schema())?);
            Ok(())
        }
    }
}

impl CheckOptions {
    /// Says that the file is valid. It was read with the command line, or the program had ended.
    async fn run(self) -> Result<()> {
        let file = self.run.file.as_ref();
        let file = file.context("no file is given; name it with --config FILE")?;
        let mut notes = file.notes.clone();
        if file.config.data_acquisition.is_some()
            && let Err(error) = super::acquire::check(&file.path)
        {
            notes.push(format!("`pol-trainer data acquire` would refuse it: {error:#}"));
        }
        let mut has_recipe = None;
        if self.network {
            let chain = self.run.node.connect().await?;
            let machine = pol_hardware::detect(Path::new("."))?;
            has_recipe = Some(self.run.check_network(&chain, &machine).await?);
        }
        let path = file.path.display().to_string();
        if self.json {
            let facts = json!({
                "file": path, "network": self.network, "recipe": has_recipe, "notes": notes,
            });
            println!("{facts}");
            return Ok(());
        }
        notes.iter().for_each(|note| println!("note: {note}"));
        println!("{path} is valid{}", agreement(has_recipe));
        Ok(())
    }
}

/// Returns what was found of the network, if the file was compared with it.
fn agreement(has_recipe: Option<bool>) -> &'static str {
    match has_recipe {
        None => "",
        Some(true) => ", and agrees with the network",
        Some(false) => {
            "; its section blockchain agrees with the network, which has no recipe yet, so that \
             ai_training is not compared"
        }
    }
}

impl ShowOptions {
    /// Prints each value with its source.
    fn show(&self) -> Result<()> {
        let settings = self.run.settings();
        if self.json {
            println!("{}", serde_json::to_string_pretty(settings)?);
            return Ok(());
        }
        for (key, setting) in settings.iter() {
            println!("{key} = {} ({})", setting.value, setting.source.name());
        }
        Ok(())
    }
}

/// Writes the template into a new file, which only its owner may read.
fn init(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    ensure!(!path.exists(), "{} is there already; name another file", path.display());
    let written = options.open(path).and_then(|mut file| {
        file.write_all(pol_config::template().as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_without_a_recipe_does_not_agree() {
        assert_eq!(agreement(None), "");
        assert!(agreement(Some(true)).contains("agrees with the network"));
        let partly = agreement(Some(false));
        assert!(partly.contains("no recipe") && !partly.contains("and agrees"), "{partly}");
    }

    #[test]
    fn a_file_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pol.toml");
        init(&path).unwrap();
        let file = pol_config::ConfigFile::read(&path).unwrap();
        assert_eq!(file.config, pol_config::Config::default());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let error = init(&path).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        let error = init(Path::new("/nowhere/pol.toml")).unwrap_err().to_string();
        assert!(error.contains("cannot write /nowhere"), "{error}");
    }
}
