//! Watches the network from outside: every new model is rebuilt and measured here, nothing is taken on trust.

use crate::{
    cli::{ObserveOptions, SwarmOptions},
    data::ShardReader,
    failure::{Failure, explain},
    heldout::HeldOut,
    model::ModelKeeper,
    peer::{Peer, short},
    roles,
    state::StateFolder,
};
use anyhow::{Context, Result, bail};
use futures::{FutureExt, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use pol_chain::{AccountId, Chain, format_account};
use pol_primitives::{RoundNumber, head::Head, round::Phase, view::Overview};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// What was seen of the network.
#[derive(Default, Serialize)]
struct Summary {
    rounds: Vec<RoundSummary>,
    chain: ChainSummary,
}

#[derive(Default, Serialize)]
struct ChainSummary {
    best: u32,
    finalised: u32,
}

/// One round that moved the head.
#[derive(Serialize)]
struct RoundSummary {
    number: RoundNumber,
    root: String,
    included: Vec<String>,
    tokens: u64,
    heldout_loss_before: Option<f64>,
    heldout_loss_after: Option<f64>,
    /// Wall-clock seconds of each phase, as seen from here.
    seconds: BTreeMap<&'static str, f64>,
}

/// A head that was rebuilt and measured.
struct Measured {
    head: Head,
    included: Vec<AccountId>,
    loss: Option<f64>,
}

pub async fn run(options: ObserveOptions) -> Result<()> {
    let scratch = tempfile::tempdir().context("a temporary folder for blobs")?;
    let chain = Chain::connect(&options.node.url).await?;
    let peer = Peer::start(chain, &SwarmOptions::fetching(), StateFolder::open(scratch.path())?).await?;
    let outcome = observe(&peer, &options).await;
    peer.swarm.clone().shutdown().await?;
    outcome
}

async fn observe(peer: &Peer, options: &ObserveOptions) -> Result<()> {
    let bar = progress_bar(options)?;
    let (sender, mut measured) = mpsc::unbounded_channel();
    let mut measuring = tokio::spawn(measure_heads(peer.clone(), options.sequences, sender));
    let mut blocks = pin!(peer.chain.blocks().await?);
    let mut interrupted = pin!(roles::interruption());
    let (mut clock, mut summary) = (PhaseClock::default(), Summary::default());
    let (mut previous, mut moved): (Option<Measured>, _) = (None, Instant::now());
    let patience = Duration::from_secs(options.patience);
    loop {
        tokio::select! {
            block = blocks.next() => {
                if block.is_none() {
                    bail!("the node ended the stream of blocks");
                }
                while let Some(Some(_)) = blocks.next().now_or_never() {}
                // A node that restarts is waited for; patience is what ends the waiting.
                if let Ok(overview) = peer.chain.overview().await {
                    clock.note(overview.round.number, overview.round.phase);
                    let finalised = peer.chain.finalised().await.map_or(summary.chain.finalised, |block| block.number);
                    summary.chain = ChainSummary { best: overview.now, finalised };
                    bar.set_message(describe(&overview, previous.as_ref(), finalised));
                }
            }
            Some(next) = measured.recv() => {
                moved = Instant::now();
                if let Some(before) = &previous {
                    let round = clock.summarise(before, &next);
                    report(&bar, options.json, &round)?;
                    bar.inc(1);
                    summary.rounds.push(round);
                    if let Some(path) = &options.out {
                        write(path, &summary)?;
                    }
                } else if let Some(loss) = next.loss.filter(|_| !options.json) {
                    print_line(&bar, &format!("initial model {}: held-out loss {loss:.4}", short(&next.head.root)));
                }
                previous = Some(next);
                if options.rounds.is_some_and(|rounds| summary.rounds.len() >= rounds as usize) {
                    break;
                }
            }
            outcome = &mut measuring => outcome??,
            () = tokio::time::sleep_until((moved + patience).into()) => {
                bail!("no new model for {} seconds: see the logs of the validators, and `pol-trainer status`", options.patience);
            }
            () = &mut interrupted => {
                if let Some(rounds) = options.rounds {
                    bail!("interrupted after {} of {rounds} rounds", summary.rounds.len());
                }
                break;
            }
        }
    }
    measuring.abort();
    bar.finish_and_clear();
    if let Some(path) = &options.out {
        write(path, &summary)?;
    }
    Ok(())
}

/// Rebuilds and measures each head in turn.
async fn measure_heads(peer: Peer, sequences: usize, sender: mpsc::UnboundedSender<Measured>) -> Result<()> {
    let mut keeper = ModelKeeper::new(peer.clone());
    let (mut shards, mut held_out) = (ShardReader::new(peer.clone()), HeldOut::new(sequences));
    let mut next: Option<RoundNumber> = None;
    loop {
        let step = async {
            let (Some(head), Some(recipe)) = (peer.chain.overview().await?.head, peer.chain.recipe().await?) else {
                return Ok(());
            };
            for round in next.unwrap_or(head.round)..=head.round {
                if let Some(record) = peer.chain.round_record(round).await?
                    && let Some(head) = record.head
                {
                    let model = keeper.at(&head, &recipe).await?;
                    let loss = held_out.loss(&mut shards, &recipe, model.parameters, 1).await?;
                    let included =
                        record.included.indices().filter_map(|index| record.revealed.get(usize::from(index)).copied()).collect();
                    if sender.send(Measured { head, included, loss }).is_err() {
                        return Ok(());
                    }
                }
                next = Some(round + 1);
            }
            Ok(())
        };
        match step.await {
            Ok(()) => {}
            Err(Failure::Passing(error)) => tracing::debug!("{}", explain(&error)),
            Err(Failure::Fatal(error)) => return Err(error),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// When each phase of each round was first seen.
#[derive(Default)]
struct PhaseClock {
    seen: Vec<(RoundNumber, Phase, Instant)>,
}

impl PhaseClock {
    fn note(&mut self, round: RoundNumber, phase: Phase) {
        if self.seen.last().is_none_or(|(number, last, _)| (*number, *last) != (round, phase)) {
            self.seen.push((round, phase, Instant::now()));
        }
    }

    fn summarise(&self, before: &Measured, after: &Measured) -> RoundSummary {
        let mut seconds = BTreeMap::new();
        for (i, (round, phase, since)) in self.seen.iter().enumerate() {
            let until = self.seen.get(i + 1).map_or_else(Instant::now, |(_, _, next)| *next);
            if *round == after.head.round {
                let name = match phase {
                    Phase::Idle => "idle",
                    Phase::Train => "train",
                    Phase::Reveal => "reveal",
                    Phase::Attest => "attest",
                };
                *seconds.entry(name).or_default() += until.duration_since(*since).as_secs_f64();
            }
        }
        RoundSummary {
            number: after.head.round,
            root: format!("0x{}", hex::encode(after.head.root)),
            included: after.included.iter().map(format_account).collect(),
            tokens: after.head.tokens - before.head.tokens,
            heldout_loss_before: before.loss,
            heldout_loss_after: after.loss,
            seconds,
        }
    }
}

fn progress_bar(options: &ObserveOptions) -> Result<ProgressBar> {
    let bar = match options.rounds {
        _ if options.json => ProgressBar::hidden(),
        Some(rounds) => {
            ProgressBar::new(rounds.into()).with_style(ProgressStyle::with_template("{bar:20} {pos}/{len} rounds | {msg}")?)
        }
        None => ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {pos} rounds | {msg}")?),
    };
    bar.enable_steady_tick(Duration::from_millis(500));
    Ok(bar)
}

fn describe(overview: &Overview<AccountId>, last: Option<&Measured>, finalised: u32) -> String {
    let round = &overview.round;
    let loss = last.and_then(|last| last.loss).map_or(String::new(), |loss| format!(" | held-out loss {loss:.3}"));
    let head = overview.head.map_or("no model yet".into(), |head| format!("head {}", short(&head.root)));
    format!(
        "round {} {:?}: {} of {} committed, {} revealed | {head}{loss} | finalised {finalised}",
        round.number, round.phase, round.committed, round.due, round.revealed
    )
}

fn report(bar: &ProgressBar, as_json: bool, round: &RoundSummary) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string(round)?);
        return Ok(());
    }
    let change = match (round.heldout_loss_before, round.heldout_loss_after) {
        (Some(before), Some(after)) => format!("held-out loss {before:.4} to {after:.4}"),
        _ => "no held-out text".into(),
    };
    let speed = round.seconds.get("train").filter(|&&seconds| seconds > 0.0).map_or(0.0, |seconds| round.tokens as f64 / seconds);
    let total: f64 = round.seconds.values().sum();
    print_line(
        bar,
        &format!(
            "round {:>3}: {change}, {} updates, {} tokens at {speed:.0} tokens/s, {total:.0} s, root {}…",
            round.number,
            round.included.len(),
            round.tokens,
            round.root.get(..10).unwrap_or(&round.root)
        ),
    );
    Ok(())
}

/// Prints a line that stays, above the progress bar where there is one.
fn print_line(bar: &ProgressBar, line: &str) {
    bar.suspend(|| println!("{line}"));
}

fn write(path: &Path, summary: &Summary) -> Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, serde_json::to_vec_pretty(summary)?)
        .and_then(|()| std::fs::rename(&next, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
