// SPDX-License-Identifier: Apache-2.0

//! Following of the chain by an index of its past.

use crate::{display::format_amount, monitoring::MetricsOptions, options::NodeOptions};
use anyhow::{Context, Result, bail};
use clap::Args;
use pol_chain::Chain;
use pol_index::{Follower, Index, Progress, WriterLock};
use pol_primitives::Balance;
use serde_json::{Map, Value, json};

const EXAMPLES: &str = "\
Examples:
  pol-trainer index --database index.db                 follow a local node
  pol-trainer index --database index.db --once          index what there is, and stop
  pol-trainer index --database postgres://pol@host/pol  keep the index on a PostgreSQL server
  pol-trainer index --database index.db --check         compare the index with the chain";

/// Options of `index`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct IndexOptions {
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    metrics: MetricsOptions,
    /// File of an SQLite database, which is made if it does not exist, or the URL of a PostgreSQL
    /// database, postgres://user@host/name.
    #[arg(long, value_name = "FILE|URL", env = "POL_DATABASE", hide_env_values = true)]
    database: String,
    /// Stop at the best block.
    #[arg(long)]
    once: bool,
    /// Stop at the best block, and compare the sums of the index with those of the chain.
    #[arg(long)]
    check: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Sum by the index and by the chain.
struct Comparison {
    name: &'static str,
    index: Balance,
    chain: Balance,
}

/// Follows the chain.
pub(crate) async fn run(options: IndexOptions) -> Result<()> {
    let mut monitoring = options.metrics.start("index").await?;
    let _lock = WriterLock::require(&options.database).await?;
    let index = Index::open(&options.database).await?;
    let chain = options.node.connect().await?;
    monitoring.follow_chain(&chain, None);
    let follower = Follower::new(index.clone());
    let notify = |progress: &Progress| print_progress(progress, options.json);
    if !options.once && !options.check {
        match follower.run(&chain, notify).await? {}
    }
    follower.catch_up(&chain, notify).await?;
    if options.check { check(&index, &chain, options.json).await } else { Ok(()) }
}

fn print_progress(progress: &Progress, as_json: bool) {
    let Progress { last, best, finalised, added, facts, retracted } = *progress;
    if as_json {
        let line = json!({
            "block": last.number,
            "hash": format!("0x{}", hex::encode(last.hash)),
            "best": best,
            "finalised": finalised,
            "added": added,
            "facts": facts,
            "retracted": retracted,
        });
        println!("{line}");
        return;
    }
    let finalised = finalised.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let forks = match retracted {
        0 => String::new(),
        count => format!(", {count} of another fork taken back"),
    };
    println!(
        "block {} of {best} (final: {finalised}): {added} blocks, {facts} facts{forks}",
        last.number
    );
}

/// Compares the sums of the index with the chain at the last block of the index.
async fn check(index: &Index, chain: &Chain, as_json: bool) -> Result<()> {
    let last = index.last_block().await?.context("the index is empty")?;
    let (sums, here) = (index.sums().await?, chain.at(last.hash));
    let ledger = here.ledger().await?;
    let issuance = here.total_issuance().await?;
    let comparisons = [
        ("emitted", sums.emitted, ledger.emitted),
        ("seized", sums.seized, ledger.seized),
        ("paid", sums.paid, ledger.paid),
        ("burned", sums.burned, ledger.burned),
        ("balances", sums.balances, issuance),
    ]
    .map(|(name, index, chain)| Comparison { name, index, chain });
    if as_json {
        let pair = |one: &Comparison| {
            let values = [one.index, one.chain].map(|amount| amount.to_string());
            (one.name.to_owned(), json!({ "index": values[0], "chain": values[1] }))
        };
        let sums: Map<String, Value> = comparisons.iter().map(pair).collect();
        println!("{}", json!({ "block": last.number, "sums": sums }));
    } else {
        for Comparison { name, index, chain } in &comparisons {
            let [index, chain] = [index, chain].map(|amount| format_amount(*amount));
            println!("{name:<9} {index} by the index, {chain} by the chain");
        }
    }
    let is_different = |one: &&Comparison| one.index != one.chain;
    let differ: Vec<_> = comparisons.iter().filter(is_different).map(|one| one.name).collect();
    if differ.is_empty() {
        return Ok(());
    }
    bail!(
        "the index differs from the chain at block {} in: {}; delete the database and index the \
         chain again",
        last.number,
        differ.join(", ")
    )
}
