// SPDX-License-Identifier: Apache-2.0

//! `data acquire`: fills a network's data from its sources.

mod address;
mod bounds;
mod collect;
mod config;
mod counts;
mod croissant;
mod demand;
mod derivation;
mod display;
mod events;
mod network;
mod provider;
mod provider_config;
mod read;
mod refusals;
mod seed;
mod serving;
pub(super) mod state;
mod suppliers;
mod synthesis;
mod watcher;

use crate::{
    api::ApiOptions,
    disk,
    monitoring::MetricsOptions,
    options::{KeyOptions, NodeOptions},
    password::PasswordOptions,
    roles::shutdown_signal,
};
use anyhow::{Result, bail, ensure};
use clap::Args;
use collect::{Collector, Ended, Outcome};
use config::{Config, Kind, SourceConfig};
use events::Events;
pub(super) use network::FetchSignaturesOptions;
use pol_metrics::PassEnd;
use provider::Provider;
use serde_json::{Map, Value, json};
use std::{
    cell::RefCell,
    env,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::watch;

/// Folder of the documents as they came, in the folder of a source.
const RAW: &str = "raw";
/// Time after which sources are asked again that may have news.
const WATCH_INTERVAL: Duration = Duration::from_secs(600);
/// Time between two looks for room on a full disk.
const ROOM_INTERVAL: Duration = Duration::from_secs(5);
/// Environment variable with the key file of a provider's account.
const KEY_FILE_VARIABLE: &str = "POL_KEY_FILE";

const ACQUIRE_EXAMPLES: &str = "\
Examples:
  pol-trainer data acquire --config acquire.toml --dry-run
      the sources in their order, without asking any
  pol-trainer data acquire --config acquire.toml
      fill the store of each source up to its budget, and make data of it
  pol-trainer data acquire --config acquire.toml --only pages --watch
      go on asking one source until Ctrl-C
  pol-trainer data acquire --config acquire.toml --key-file key.json --watch
      as a provider: register the data, serve them, and draw more while the network runs low
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
    /// Configuration in TOML, or that of a member, in TOML or JSON, with a section
    /// data_acquisition.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Source to ask. Can be repeated. [default: all]
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Go on asking sources that may have news. A provider goes on serving.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    metrics: MetricsOptions,
    #[command(flatten)]
    api: ApiOptions,
    /// Key of a provider's account, a name or a file: register the data on the chain, and serve
    /// them.
    #[arg(long = "account", visible_alias = "key-file", value_name = "NAME|FILE")]
    key_file: Option<PathBuf>,
    /// The same with a development account, whose key is public: trainer-1, ….
    #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
    dev_account: Option<String>,
    #[command(flatten)]
    password: PasswordOptions,
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
        config.check_tokenizer()?;
        let (stop, events) = (Stop::listen(), Events::new(self.json));
        let server = self.api.bind().await?;
        let mut monitoring = self.metrics.start("provider").await?;
        monitoring.follow_disk(config.out.clone());
        pol_metrics::data().last_document_timestamp_seconds.set_now();
        if !self.provides(&config) {
            if server.is_some() {
                tracing::warn!("only a provider, which --account makes, has the HTTP interface");
            }
            monitoring.need_nothing();
            return self.collect(&config, plan, stop, None).await;
        }
        let (node, key) = (self.node(&config), self.key(&config));
        let started = Provider::start(&config, &node, &key, events, stop.clone(), self.watch);
        let (provider, watching) = tokio::select! {
            started = started => started?,
            () = stop.clone().wait() => {
                events.print_stopped();
                return Ok(());
            }
        };
        let api = match server {
            Some(server) => {
                monitoring.record("provider");
                Some(server.start(provider.api_parts(&self.api.parts).await?)?)
            }
            None => None,
        };
        provider.follow_chain(&mut monitoring);
        let done = tokio::select! {
            done = self.collect(&config, plan, stop, Some(&provider)) => done,
            ended = watching => {
                ended?.and_then(|()| bail!("the watch of the chain ended; run the command again"))
            }
        };
        if let Some(api) = api {
            api.end().await;
        }
        provider.end().await;
        done
    }

    /// Returns `true` if the data are to be registered.
    fn provides(&self, config: &Config) -> bool {
        config.provider.is_some() || self.key_file.is_some() || self.dev_account.is_some()
    }

    /// Returns the nodes that the command line or the configuration names.
    fn node(&self, config: &Config) -> NodeOptions {
        let configured = config.provider.as_ref().filter(|_| !self.node.is_given());
        configured.map_or_else(|| self.node.clone(), |of| NodeOptions { urls: of.node.clone() })
    }

    /// Returns the account that the command line, the configuration, or the environment names.
    fn key(&self, config: &Config) -> KeyOptions {
        let configured = || config.provider.as_ref().and_then(|of| of.key_file.clone());
        let environment = || env::var_os(KEY_FILE_VARIABLE).map(PathBuf::from);
        let key_file = self.key_file.clone().or_else(configured).or_else(environment);
        let (dev_account, password) = (self.dev_account.clone(), self.password.clone());
        KeyOptions { key_file, dev_account, password, ..KeyOptions::default() }
    }

    /// Collects sources in rounds, as long as they may have news and the operator wants it. A
    /// provider goes on as long as the operator wants it.
    async fn collect(
        &self,
        config: &Config,
        mut plan: Vec<&SourceConfig>,
        stop: Stop,
        provider: Option<&Provider<'_>>,
    ) -> Result<()> {
        let mut needs_client = false;
        for source in &plan {
            needs_client |= source.supplier()?.needs_client();
        }
        let collector = Collector {
            config,
            client: needs_client.then(|| config.client()).transpose()?,
            stop: stop.clone(),
            json: self.json,
            batch_bytes: provider.map(Provider::batch_bytes),
            network: provider.and_then(Provider::network),
            verified: RefCell::default(),
            broken: RefCell::default(),
        };
        loop {
            if let Some(provider) = provider {
                provider.tidy().await;
            }
            let (count, mut pass) = (plan.len(), Pass::default());
            for source in plan {
                if stop.is_set() {
                    break;
                }
                let outcome = match provider {
                    Some(provider) => provider.provide(&collector, source).await?,
                    None => collector.collect(source).await,
                };
                outcome.print(self.json)?;
                count_pass(&outcome);
                pass.note(source, &outcome);
            }
            if stop.is_set() {
                Events::new(self.json).print_stopped();
                return Ok(());
            }
            // What is broken is told again in each pass.
            pass.broken = collector.broken.take().into_keys().collect();
            if !self.watch || (pass.waiting.is_empty() && provider.is_none()) {
                return pass.result(count);
            }
            plan = pass.waiting;
            if let Some(error) = &pass.full_disk {
                disk::note_failure(&config.out, error);
            }
            tokio::select! {
                () = wait_for_room(&config.out), if pass.full_disk.is_some() => {}
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
                () = wait_for_demand(provider, &pass.held) => {}
                () = stop.clone().wait() => {}
            }
        }
    }

    /// Prints what would be done for a source.
    fn describe(&self, config: &Config, source: &SourceConfig) -> Result<()> {
        let supplier = source.supplier()?.describe();
        let (max_bytes, folder) = (source.max_bytes(config), config.out.join(&source.name));
        let terms = source.terms()?;
        if self.json {
            let line = json!({
                "source": source.name,
                "kind": source.kind,
                "supplier": supplier,
                "address": terms.address(),
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

/// Checks the keys of the section `data_acquisition` of a member's configuration, and the types of
/// their values.
pub(super) fn check_keys(section: Map<String, Value>) -> Result<()> {
    seed::parse_section(section).map(drop)
}

/// Checks that `data acquire` can start with a configuration.
pub(super) fn check(path: &Path) -> Result<()> {
    read::read(path).map(drop)
}

/// Sources after one pass over them.
#[derive(Default)]
struct Pass<'a> {
    /// Sources that may have news, that failed, or that are not drawn from for now.
    waiting: Vec<&'a SourceConfig>,
    /// Names of those that failed.
    failed: Vec<String>,
    /// Names of sources with data that others were not compared with.
    broken: Vec<String>,
    /// Kinds that are not drawn from for now.
    held: Vec<Kind>,
    /// Error of a source for which the disk has no room.
    full_disk: Option<String>,
}

impl<'a> Pass<'a> {
    fn note(&mut self, source: &'a SourceConfig, outcome: &Outcome) {
        if outcome.error.is_some() {
            self.failed.push(source.name.clone());
        }
        if outcome.is_disk_full {
            self.full_disk.clone_from(&outcome.error);
        }
        if outcome.ended == Some(Ended::Held) {
            self.held.push(source.kind);
        }
        let may_go_on = matches!(outcome.ended, Some(Ended::Idle | Ended::Held | Ended::Spent));
        if outcome.error.is_some() || may_go_on {
            self.waiting.push(source);
        }
    }

    /// Fails if a source failed of the `count` that there are, or if data are broken.
    fn result(self, count: usize) -> Result<()> {
        let Self { failed, broken, .. } = self;
        let mut mistakes = Vec::new();
        if !failed.is_empty() {
            let names = failed.join(", ");
            mistakes.push(format!("{} of {count} sources failed: {names}", failed.len()));
        }
        if !broken.is_empty() {
            let names = broken.join(", ");
            mistakes.push(format!("data of these sources could not be compared with: {names}"));
        }
        ensure!(
            mistakes.is_empty(),
            "{}; mend it as said above and run the same command again, which keeps all that was \
             collected",
            mistakes.join("; ")
        );
        Ok(())
    }
}

/// Counts a pass over a source.
fn count_pass(outcome: &Outcome) {
    let end = match outcome.ended {
        _ if outcome.error.is_some() => PassEnd::Failed,
        Some(Ended::Done) => PassEnd::Done,
        Some(Ended::Idle) => PassEnd::Idle,
        Some(Ended::Budget) => PassEnd::Budget,
        Some(Ended::Full) => PassEnd::Full,
        Some(Ended::Held) => PassEnd::Held,
        Some(Ended::Spent) => PassEnd::Spent,
        Some(Ended::Stopped) | None => PassEnd::Stopped,
    };
    pol_metrics::data().source_passes_total.count(end);
}

/// Waits until the network runs low on text of one of these kinds.
async fn wait_for_demand(provider: Option<&Provider<'_>>, kinds: &[Kind]) {
    match provider {
        Some(provider) => provider.wait_for_demand(kinds).await,
        None => std::future::pending().await,
    }
}

/// Waits until the disk of a folder has room again.
async fn wait_for_room(folder: &Path) {
    while disk::is_full(folder) {
        tokio::time::sleep(ROOM_INTERVAL).await;
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
