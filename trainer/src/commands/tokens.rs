// SPDX-License-Identifier: Apache-2.0

//! Bearer tokens of the HTTP server.

use anyhow::Result;
use clap::{Args, Subcommand};
use pol_api::{Scope, TokenFile};
use serde_json::json;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  pol-trainer tokens add laptop --file tokens.json --scope read,generate
      print a new token once; the file keeps its hash
  pol-trainer tokens revoke laptop --file tokens.json
      refuse it from now on, also in a server that runs
  pol-trainer serve --model smollm2 --listen 0.0.0.0:8000 --tokens tokens.json

Scopes: read (facts about models and the network), generate (use of the model), train (control of \
training), admin (all).";

/// Subcommands of `tokens`.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TokensCommand {
    /// Make a token and print it, once.
    Add {
        /// Name, by which it is revoked.
        name: String,
        /// Permissions.
        #[arg(long, value_name = "SCOPE,…", value_delimiter = ',', required = true)]
        scope: Vec<Scope>,
        #[command(flatten)]
        file: FileOptions,
    },
    /// Show the names, scopes and times of all tokens.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: FileOptions,
    },
    /// Remove a token, which is refused from then on.
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        file: FileOptions,
    },
}

/// File of tokens.
#[derive(Args)]
pub(crate) struct FileOptions {
    /// File of tokens.
    #[arg(long, value_name = "FILE", env = "POL_TOKENS")]
    file: PathBuf,
}

/// Runs a subcommand of `tokens`.
pub(crate) fn run(command: TokensCommand) -> Result<()> {
    match command {
        TokensCommand::Add { name, scope, file } => {
            println!("{}", TokenFile::new(&file.file).add(&name, &scope)?);
        }
        TokensCommand::List { json, file } => {
            let tokens = TokenFile::new(&file.file).list()?;
            if tokens.is_empty() {
                eprintln!("{}", no_tokens(&file.file));
            }
            for token in tokens.iter() {
                let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.name()).collect();
                if json {
                    let (name, created) = (&token.name, token.created);
                    println!("{}", json!({ "name": name, "scopes": scopes, "created": created }));
                } else {
                    println!("{:<24} {}", token.name, scopes.join(","));
                }
            }
        }
        TokensCommand::Revoke { name, file } => TokenFile::new(&file.file).revoke(&name)?,
    }
    Ok(())
}

/// Returns the remedy for a file without tokens.
fn no_tokens(file: &Path) -> String {
    let file = file.display();
    format!(
        "{file} has no tokens yet; make one with `pol-trainer tokens add NAME --scope \
         read,generate --file {file}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_tokens_is_explained() {
        let text = no_tokens(Path::new("/tmp/none.json"));
        assert!(
            text.contains("no tokens yet") && text.ends_with("--file /tmp/none.json`"),
            "{text}"
        );
    }
}
