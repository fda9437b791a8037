//! Watches the network from outside: every new model is rebuilt and measured here, nothing is taken
//! on trust.

use crate::{
    cli::{ObserveOptions, SwarmOptions},
    commands::money::Money,
    data::ShardReader,
    failure::{Failure, explain},
    heldout::HeldOut,
    model::ModelKeeper,
    peer::{Peer, short},
    roles::{self, measurer::describe as describe_metrics},
    state::StateFolder,
};
use anyhow::{Context, Result, bail, ensure};
use futures::{FutureExt, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use pol_chain::{AccountId, Chain, format_account};
use pol_primitives::{
    RoundNumber,
    head::Head,
    metrics::Shown,
    recipe::Recipe,
    rewrite::Rewrite,
    round::Phase,
    submission::{Outcome, Settled},
    view::Overview,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Models whose measurement by validators is waited for: the newest ones.
const WAITED_FOR: usize = 4;

/// What was seen of the network.
#[derive(Default, Serialize)]
struct Summary {
    rounds: Vec<RoundSummary>,
    /// Where all money of learning went so far, checked to add up.
    rewards: Option<Money>,
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
    /// What the round made of the model in place of training it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rewrite: Option<Rewrite>,
    tokens: u64,
    heldout_loss_before: Option<f64>,
    heldout_loss_after: Option<f64>,
    /// Wall-clock seconds of each phase, as seen from here.
    seconds: BTreeMap<&'static str, f64>,
    /// What validators found of the model beside its loss, in millionths; none until they have.
    measured: Option<Shown>,
    /// What became of the included updates, of those that are settled.
    audits: Vec<AuditSummary>,
}

/// What became of one update.
#[derive(Serialize)]
struct AuditSummary {
    trainer: String,
    outcome: Outcome,
    /// Improvement on text nobody was assigned, and its standard error, in nats a token.
    gain: f64,
    error: f64,
    /// The part of it that is beyond doubt.
    score: f64,
}

impl AuditSummary {
    fn new(trainer: &AccountId, settled: &Settled) -> Self {
        let [gain, error] =
            [f64::from(settled.gain), f64::from(settled.error)].map(|micro| micro / 1e6);
        let score = if settled.outcome.stays() { (gain - 2.0 * error).max(0.0) } else { 0.0 };
        Self { trainer: format_account(trainer), outcome: settled.outcome, gain, error, score }
    }
}

impl RoundSummary {
    fn is_settled(&self) -> bool {
        self.audits.len() >= self.included.len()
    }
}

/// A head that was rebuilt and measured.
struct Measured {
    head: Head,
    recipe: Recipe,
    included: Vec<AccountId>,
    loss: Option<f64>,
}

pub async fn run(options: ObserveOptions) -> Result<()> {
    let scratch = tempfile::tempdir().context("a temporary folder for blobs")?;
    let chain = Chain::connect(&options.node.url).await?;
    let peer =
        Peer::start(chain, &SwarmOptions::fetching(), StateFolder::open(scratch.path())?).await?;
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
    let (mut settling, settle): (Option<Settling>, _) = (None, Duration::from_secs(options.settle));
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
                    match learn_outcomes(peer, &mut summary, &bar, options.json).await {
                        Ok(()) => {}
                        Err(Failure::Passing(error)) => tracing::debug!("{}", explain(&error)),
                        Err(Failure::Fatal(error)) => return Err(error),
                    }
                    if let Some(settling) = &mut settling
                        && settling.is_over(peer, &summary, &overview).await.unwrap_or(false)
                    {
                        break;
                    }
                }
            }
            // Models that are not asked for are not waited for either.
            Some(next) = measured.recv(), if settling.is_none() => {
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
                    if settle.is_zero() {
                        break;
                    }
                    settling = Some(Settling { until: Instant::now() + settle, settled_in: None });
                }
            }
            outcome = &mut measuring => outcome??,
            () = tokio::time::sleep_until(settling.as_ref().map_or(moved + patience, |settling| settling.until).into()) => {
                if settling.is_none() {
                    bail!("no new model for {} seconds: see the logs of the validators, and `pol-trainer status`", options.patience);
                }
                let open: Vec<_> = summary.rounds.iter().filter(|round| !round.is_settled()).map(|round| round.number).collect();
                bail!("after {} seconds rewards still wait to be claimed, and updates of rounds {open:?} are not settled", options.settle);
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
    let money = Money::of(&peer.chain).await?;
    if options.json {
        println!("{}", serde_json::json!({ "rewards": money }));
    } else {
        println!("{money}");
    }
    let balanced = money.balanced();
    summary.rewards = Some(money);
    if let Some(path) = &options.out {
        write(path, &summary)?;
    }
    ensure!(
        balanced,
        "the books of the chain do not add up: what came in is not what was paid, burned and still waits"
    );
    Ok(())
}

/// The wait for what can be settled and claimed, once the rounds asked for are over.
struct Settling {
    until: Instant,
    /// The round in which the last of their updates was settled: what could be claimed by then is
    /// waited for.
    settled_in: Option<RoundNumber>,
}

impl Settling {
    async fn is_over(
        &mut self,
        peer: &Peer,
        summary: &Summary,
        overview: &Overview<AccountId>,
    ) -> Result<bool> {
        if !summary.rounds.iter().all(RoundSummary::is_settled) {
            return Ok(false);
        }
        let due = *self.settled_in.get_or_insert(overview.round.number);
        for member in peer.chain.members().await? {
            let rewards = peer.chain.rewards(&member.account).await?;
            if rewards
                .iter()
                .any(|reward| reward.amount.is_some_and(|sum| sum > 0) && reward.from <= due)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Notes what was measured of models, and what became of included updates, since the last look.
async fn learn_outcomes(
    peer: &Peer,
    summary: &mut Summary,
    bar: &ProgressBar,
    as_json: bool,
) -> Result<(), Failure> {
    // What validators have not found of a model by the time of the next ones, they never will.
    for round in
        summary.rounds.iter_mut().rev().take(WAITED_FOR).filter(|round| round.measured.is_none())
    {
        let Some(found) = peer.chain.measured(round.number).await? else { continue };
        round.measured = Some(found.metrics.shown());
        if as_json {
            println!(
                "{}",
                serde_json::json!({ "round": round.number, "measured": round.measured })
            );
        } else {
            print_line(
                bar,
                &format!(
                    "round {:>3}: measured: {}",
                    round.number,
                    describe_metrics(&found.metrics)
                ),
            );
        }
    }
    for round in summary.rounds.iter_mut().filter(|round| !round.is_settled()) {
        let history = peer.chain.history(round.number).await?;
        let audits = history.iter().map(|(account, settled)| AuditSummary::new(account, settled));
        round.audits = audits.filter(|audit| round.included.contains(&audit.trainer)).collect();
        if !round.is_settled() {
            continue;
        }
        if as_json {
            println!("{}", serde_json::json!({ "round": round.number, "audits": round.audits }));
        } else {
            let count =
                |outcome| round.audits.iter().filter(|audit| audit.outcome == outcome).count();
            let other = round.audits.len() - count(Outcome::Valid) - count(Outcome::Invalid);
            let scores: Vec<_> =
                round.audits.iter().map(|audit| format!("{:.4}", audit.score)).collect();
            let counts = format!(
                "{} valid, {} invalid, {other} other",
                count(Outcome::Valid),
                count(Outcome::Invalid)
            );
            print_line(
                bar,
                &format!(
                    "round {:>3}: audited: {counts}; scores {}",
                    round.number,
                    scores.join(" ")
                ),
            );
        }
    }
    Ok(())
}

/// Rebuilds and measures each head in turn.
async fn measure_heads(
    peer: Peer,
    sequences: usize,
    sender: mpsc::UnboundedSender<Measured>,
) -> Result<()> {
    let mut keeper = ModelKeeper::new(peer.clone());
    let (mut shards, mut held_out) = (ShardReader::new(peer.clone()), HeldOut::new(sequences));
    let mut next: Option<RoundNumber> = None;
    loop {
        let step = async {
            let Some(head) = peer.chain.overview().await?.head else { return Ok(()) };
            for round in next.unwrap_or(head.round)..=head.round {
                if let Some(record) = peer.chain.round_record(round).await?
                    && let Some(head) = record.head
                {
                    let recipe = peer.recipe(&head.recipe_hash).await?;
                    let model = keeper.at(&head, &recipe).await?;
                    let loss = held_out.loss(&mut shards, &recipe, model.parameters, 1).await?;
                    let included = record
                        .included
                        .indices()
                        .filter_map(|index| record.revealed.get(usize::from(index)).copied())
                        .collect();
                    if sender.send(Measured { head, recipe, included, loss }).is_err() {
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
            rewrite: after.recipe.rewrite_from(&before.recipe).ok().flatten(),
            tokens: after.head.tokens - before.head.tokens,
            heldout_loss_before: before.loss,
            heldout_loss_after: after.loss,
            seconds,
            measured: None,
            audits: Vec::new(),
        }
    }
}

fn progress_bar(options: &ObserveOptions) -> Result<ProgressBar> {
    let bar = match options.rounds {
        _ if options.json => ProgressBar::hidden(),
        Some(rounds) => ProgressBar::new(rounds.into())
            .with_style(ProgressStyle::with_template("{bar:20} {pos}/{len} rounds | {msg}")?),
        None => ProgressBar::new_spinner()
            .with_style(ProgressStyle::with_template("{spinner} {pos} rounds | {msg}")?),
    };
    bar.enable_steady_tick(Duration::from_millis(500));
    Ok(bar)
}

fn describe(overview: &Overview<AccountId>, last: Option<&Measured>, finalised: u32) -> String {
    let round = &overview.round;
    let loss = last
        .and_then(|last| last.loss)
        .map_or(String::new(), |loss| format!(" | held-out loss {loss:.3}"));
    let head =
        overview.head.map_or("no model yet".into(), |head| format!("head {}", short(&head.root)));
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
    if let Some(rewrite) = round.rewrite {
        let (round, rewrite) = (round.number, serde_json::to_string(&rewrite)?);
        print_line(bar, &format!("round {round:>3}: {change}, rewritten by {rewrite}"));
        return Ok(());
    }
    let speed = round
        .seconds
        .get("train")
        .filter(|&&seconds| seconds > 0.0)
        .map_or(0.0, |seconds| round.tokens as f64 / seconds);
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
