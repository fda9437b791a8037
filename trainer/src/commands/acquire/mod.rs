// SPDX-License-Identifier: Apache-2.0

//! `data acquire`: fills a network's data from its sources.

mod collect;
mod config;
mod display;
mod read;
mod seed;
mod state;
mod suppliers;
mod synthesis;

use crate::roles::shutdown_signal;
use anyhow::{Result, bail};
use clap::Args;
use collect::{Collector, Ended};
use config::{Config, SourceConfig};
use serde_json::json;
use std::{path::PathBuf, time::Duration};
use tokio::sync::watch;

/// Time after which sources are asked again that may have news.
const WATCH_INTERVAL: Duration = Duration::from_secs(600);

const ACQUIRE_EXAMPLES: &str = "\
Examples:
  pol-trainer data acquire --config acquire.toml --dry-run
      the sources in their order, without asking any
  pol-trainer data acquire --config acquire.toml
      fill the store of each source up to its budget, and make data of it
  pol-trainer data acquire --config acquire.toml --only pages --watch
      go on asking one source until Ctrl-C
  pol-trainer data summary acquired --svg acquired.svg
      the result, in words and as a picture

Sources of kind pretrained come first, then data sets, the web, and text that is made. Each has a \
folder below `out`: raw holds its documents as they came, data what `data ingest` makes of them. A \
run that is stopped or killed goes on where it was. Secrets are taken from HF_TOKEN, GITHUB_TOKEN, \
STACK_EXCHANGE_KEY, and MASTODON_TOKEN, never from the file.";

/// Options of `data acquire`.
#[derive(Args)]
#[command(after_help = ACQUIRE_EXAMPLES)]
pub(crate) struct AcquireOptions {
    /// Configuration in TOML, or in JSON with a section data_acquisition.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Source to ask. Can be repeated. [default: all]
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Go on asking sources that may have news.
    #[arg(long)]
    watch: bool,
    /// Print the sources in their order, and ask none.
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
    /// Print a JSON object for each source, and the progress as a JSON object per line on standard
    /// error.
    #[arg(long)]
    json: bool,
}

impl AcquireOptions {
    /// Asks the sources, and makes data of what they have.
    pub(crate) async fn run(self) -> Result<()> {
        let config = read::read(&self.config)?;
        let plan = config.plan(&self.only)?;
        if self.dry_run {
            return plan.into_iter().try_for_each(|source| self.describe(&config, source));
        }
        let mut needs_client = false;
        for source in &plan {
            needs_client |= source.supplier()?.needs_client();
        }
        let collector = Collector {
            config: &config,
            client: needs_client.then(|| config.client()).transpose()?,
            stop: Stop::listen(),
            json: self.json,
        };
        self.collect(&collector, plan).await
    }

    /// Collects sources in rounds, as long as they may have news and the operator wants it.
    async fn collect(&self, collector: &Collector<'_>, mut plan: Vec<&SourceConfig>) -> Result<()> {
        loop {
            let (count, mut failed, mut waiting) = (plan.len(), Vec::new(), Vec::new());
            for source in plan {
                if collector.stop.is_set() {
                    break;
                }
                let outcome = collector.collect(source).await;
                outcome.print(self.json)?;
                if outcome.error.is_some() {
                    failed.push(outcome.source);
                    waiting.push(source);
                } else if outcome.ended == Some(Ended::Idle) {
                    waiting.push(source);
                }
            }
            if collector.stop.is_set() {
                eprintln!("stopped; the same command goes on from here");
                return Ok(());
            }
            if !self.watch || waiting.is_empty() {
                if failed.is_empty() {
                    return Ok(());
                }
                bail!(
                    "{} of {count} sources failed: {}; mend it as said above and run the same \
                     command again, which keeps all that was collected",
                    failed.len(),
                    failed.join(", ")
                );
            }
            plan = waiting;
            tokio::select! {
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
                () = collector.stop.clone().wait() => {}
            }
        }
    }

    /// Prints what would be done for a source.
    fn describe(&self, config: &Config, source: &SourceConfig) -> Result<()> {
        let supplier = source.supplier()?.describe();
        let (max_bytes, folder) = (source.max_bytes(config), config.out.join(&source.name));
        if self.json {
            let line = json!({
                "source": source.name,
                "kind": source.kind,
                "supplier": supplier,
                "max_bytes": max_bytes,
                "folder": folder,
            });
            println!("{line}");
        } else {
            let budget = max_bytes.map_or("no budget".to_owned(), |max| format!("{max} bytes"));
            println!(
                "{} ({}): {supplier}; {budget}; {}",
                source.name,
                source.kind.name(),
                folder.display()
            );
        }
        Ok(())
    }
}

/// Wish of the operator to stop, by Ctrl-C or SIGTERM.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            shutdown_signal().await;
            let _ = sender.send(true);
        });
        Self(receiver)
    }

    fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the wish.
    async fn wait(mut self) {
        let has_ended = self.0.wait_for(|is_set| *is_set).await.is_err();
        if has_ended {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests;
