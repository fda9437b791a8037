// SPDX-License-Identifier: Apache-2.0

//! Metrics of a process for Prometheus: the options, the endpoint, and the tasks that keep facts of
//! the chain and of the disk up to date. Other metrics are recorded where their events happen.

mod facts;

use anyhow::Result;
use clap::Args;
use facts::FactReader;
pub(crate) use facts::pol;
use futures::StreamExt;
use pol_chain::{AccountId, Chain};
use pol_metrics::Endpoint;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::task::{JoinSet, spawn_blocking};

/// Time without a new block after which a process that follows the chain is not ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Time between two looks at the disk.
const DISK_INTERVAL: Duration = Duration::from_secs(30);

/// Option of the endpoint for Prometheus.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MetricsOptions {
    /// Serve metrics for Prometheus, and /healthz and /readyz, at this address; without a value at
    /// 127.0.0.1:9616. Port 0 takes a free port. [default: none are served]
    #[arg(
        long,
        value_name = "IP:PORT",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:9616",
        env = "POL_METRICS"
    )]
    pub(crate) metrics: Option<SocketAddr>,
}

/// Part of the outside world that a process needs to be ready.
enum Need {
    /// New blocks of the chain.
    Blocks,
    Nothing,
}

/// Endpoint of this process, if it has one, and the tasks behind its metrics. They end when this
/// value is dropped.
pub(crate) struct Monitoring {
    _endpoint: Option<Endpoint>,
    /// Set if somebody may read the metrics.
    is_read: bool,
    need: Arc<OnceLock<Need>>,
    tasks: JoinSet<()>,
}

impl MetricsOptions {
    /// Starts to serve metrics of this process, which acts in `role`, if the options ask for it.
    /// The process is ready once it [follows a chain](Monitoring::follow_chain) or
    /// [needs none](Monitoring::need_nothing).
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be listened on.
    pub(crate) async fn start(&self, role: &str) -> Result<Monitoring> {
        let (mut endpoint, need) = (None, Arc::<OnceLock<Need>>::default());
        if let Some(listen) = self.metrics {
            pol_metrics::describe_process(role);
            let asked = need.clone();
            let unready = Arc::new(move || unready_reason(asked.get()));
            let started = Endpoint::start(listen, unready).await?;
            tracing::info!("metrics are at http://{}/metrics", started.address());
            endpoint = Some(started);
        }
        let is_read = endpoint.is_some();
        Ok(Monitoring { _endpoint: endpoint, is_read, need, tasks: JoinSet::new() })
    }
}

impl Monitoring {
    /// Records the metrics of this process, which acts in `role`, for another reader than the
    /// endpoint for Prometheus.
    pub(crate) fn record(&mut self, role: &str) {
        pol_metrics::describe_process(role);
        self.is_read = true;
    }

    /// Keeps the facts of the chain up to date, and those of `account`, if there is one.
    pub(crate) fn follow_chain(&mut self, chain: &Chain, account: Option<AccountId>) {
        if self.is_read {
            // A process follows one chain.
            let _ = self.need.set(Need::Blocks);
            self.tasks.spawn(follow(chain.clone(), FactReader::new(account)));
        }
    }

    /// Keeps the facts of the disk up to date on which `folder` is.
    pub(crate) fn follow_disk(&mut self, folder: PathBuf) {
        if self.is_read {
            self.tasks.spawn(watch_disk(folder));
        }
    }

    /// Declares a process ready that follows no chain.
    pub(crate) fn need_nothing(&self) {
        let _ = self.need.set(Need::Nothing);
    }
}

/// Returns the reason why the process is not ready, or `None` if it is.
fn unready_reason(need: Option<&Need>) -> Option<String> {
    match need {
        None => Some("the process is starting, or waits for a node".to_owned()),
        Some(Need::Nothing) => None,
        Some(Need::Blocks) => {
            let seen = pol_metrics::chain().last_block_timestamp_seconds.get();
            let since = pol_metrics::unix_seconds() - seen;
            if since.is_nan() {
                return Some("no block of the chain was seen yet".to_owned());
            }
            let is_stale = since > READY_WITHIN.as_secs_f64();
            is_stale.then(|| format!("the last block of the chain was seen {since:.0} s ago"))
        }
    }
}

/// Reads the facts at each block. The stream of blocks waits for a node that is away.
async fn follow(chain: Chain, mut facts: FactReader) {
    let mut blocks = match chain.blocks().await {
        Ok(blocks) => blocks,
        Err(error) => return tracing::warn!("no metrics of the chain: {error}"),
    };
    while let Some(block) = blocks.next().await {
        pol_metrics::chain().last_block_timestamp_seconds.set_now();
        if let Err(error) = facts.read(&chain.at(block.hash)).await {
            pol_metrics::chain().failed_reads_total.inc();
            tracing::debug!("facts of block {} cannot be read: {error}", block.number);
        }
    }
}

/// Looks at the disk of `folder` now and then.
async fn watch_disk(folder: PathBuf) {
    loop {
        let folder = folder.clone();
        let disk = spawn_blocking(move || pol_hardware::disk_space(&folder)).await;
        match disk {
            Ok(Ok(space)) => {
                let disk = pol_metrics::disk();
                disk.disk_free_bytes.set(space.free_bytes as f64);
                disk.disk_size_bytes.set(space.size_bytes as f64);
            }
            Ok(Err(error)) => tracing::debug!("no metrics of the disk: {error}"),
            Err(error) => tracing::debug!("no metrics of the disk: {error}"),
        }
        tokio::time::sleep(DISK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: MetricsOptions,
        #[arg(long)]
        other: bool,
    }

    fn address(words: &[&str]) -> Option<SocketAddr> {
        let line = Line::try_parse_from([&["x"], words].concat()).unwrap();
        let _ = line.other;
        line.options.metrics
    }

    #[test]
    fn the_address_is_of_this_machine_unless_another_is_given() {
        assert_eq!(address(&[]), None);
        for words in [&["--metrics"][..], &["--metrics", "--other"]] {
            assert!(address(words).is_some_and(|address| address.ip().is_loopback()));
        }
        assert_eq!(address(&["--metrics", "[::1]:80"]), Some("[::1]:80".parse().unwrap()));
        assert!(Line::try_parse_from(["x", "--metrics", "9616"]).is_err());
    }

    #[test]
    fn a_process_is_ready_while_blocks_come() {
        assert!(unready_reason(None).is_some_and(|reason| reason.contains("starting")));
        assert_eq!(unready_reason(Some(&Need::Nothing)), None);
        let seen = &pol_metrics::chain().last_block_timestamp_seconds;
        assert!(unready_reason(Some(&Need::Blocks)).is_some_and(|reason| reason.contains("yet")));
        seen.set_now();
        assert_eq!(unready_reason(Some(&Need::Blocks)), None);
        seen.set(pol_metrics::unix_seconds() - 90.0);
        let reason = unready_reason(Some(&Need::Blocks)).unwrap();
        assert_eq!(reason, "the last block of the chain was seen 90 s ago");
    }

    #[tokio::test]
    async fn nothing_is_served_unless_asked_for() {
        let mut off = MetricsOptions::default().start("test").await.unwrap();
        off.follow_disk("/".into());
        assert!(!off.is_read && off.tasks.is_empty());
        off.record("test");
        off.follow_disk("/".into());
        assert_eq!(off.tasks.len(), 1);
        let listen = Some(([127, 0, 0, 1], 0).into());
        let mut on = MetricsOptions { metrics: listen }.start("test").await.unwrap();
        on.follow_disk("/".into());
        assert!(on.is_read && on.tasks.len() == 1);
    }
}
