// SPDX-License-Identifier: Apache-2.0

//! Watching the network from outside: every new model is computed and measured here, so that
//! nothing is taken on trust.

mod display;
mod heads;
mod members;
mod panel;
mod payments;
mod phase_clock;
mod summary;

use super::balances::RewardTotals;
use crate::{
    context::NodeContext,
    error::{RoleError, explain},
    monitoring::MetricsOptions,
    options::{NodeOptions, SwarmOptions},
    roles,
    state::StateFolder,
};
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use clap::Args;
use display::Display;
use futures::{FutureExt, StreamExt};
use heads::{ObservedHead, measure_heads};
use members::{Members, training_share};
use panel::PanelView;
use phase_clock::PhaseClock;
use pol_primitives::{RoundNumber, queries::Overview, round::Phase};
use std::{
    fs::File,
    path::PathBuf,
    pin::pin,
    time::{Duration, Instant},
};
use summary::{AccountSummary, AuditSummary, ChainSummary, RoundSummary, Summary};
use tokio::sync::mpsc;

/// Newest rounds whose measurement by validators may still come. Validators measure no older ones.
const MEASURED_ROUNDS: usize = 4;

const EXAMPLES: &str = "\
Examples:
  pol-trainer observe                                      watch until interrupted
  pol-trainer observe --rounds 10 --out summary.json       for ten rounds, with a summary
  pol-trainer observe --rounds 10 --settle 600             and until their updates are settled
  pol-trainer observe --json | jq .heldout_loss_after      one JSON object per round";

/// Options of `observe`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ObserveOptions {
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    metrics: MetricsOptions,
    /// Stop after this many new heads. [default: watch until interrupted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Write the summary to this file after every round.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Give up if no new head is found for this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    patience: u64,
    /// Print one JSON object per round instead of a progress display.
    #[arg(long)]
    json: bool,
    /// Also print the measurements of each model and all outcomes of audits.
    #[arg(long)]
    verbose: bool,
    /// Held-out sequences to measure each model on.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    sequences: u32,
    /// After the last round, wait at most this long until its updates are settled and all rewards
    /// that can be claimed are claimed.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    settle: u64,
}

/// Watches the network and prints each round.
pub(crate) async fn run(options: ObserveOptions) -> Result<()> {
    if let Some(out) = &options.out {
        // The first summary may come after many minutes.
        File::options()
            .create(true)
            .append(true)
            .open(out)
            .with_context(|| format!("cannot write {}", out.display()))?;
    }
    let mut monitoring = options.metrics.start("observer").await?;
    pol_metrics::observer().last_head_timestamp_seconds.set_now();
    let scratch = tempfile::tempdir().context("cannot make a temporary folder for blobs")?;
    let chain = options.node.connect().await?;
    monitoring.follow_chain(&chain, None);
    monitoring.follow_disk(scratch.path().to_owned());
    let state = StateFolder::open(scratch.path())?;
    let context = NodeContext::start(chain, &SwarmOptions::fetch_only(), state).await?;
    let outcome = observe(&context, &options).await;
    context.swarm.clone().shutdown().await?;
    outcome
}

async fn observe(context: &NodeContext, options: &ObserveOptions) -> Result<()> {
    let mut observer = Observer::new(context, options)?;
    observer.watch().await?;
    observer.finish().await
}

/// State of the observation.
struct Observer<'a> {
    context: &'a NodeContext,
    options: &'a ObserveOptions,
    display: Display,
    clock: PhaseClock,
    members: Members,
    summary: Summary,
    /// Held-out losses of all heads so far, in nats per token.
    losses: Vec<f64>,
    /// Newest head.
    previous: Option<ObservedHead>,
    /// Time of the newest head.
    last_head: Instant,
    settling: Option<Settling>,
}

impl<'a> Observer<'a> {
    fn new(context: &'a NodeContext, options: &'a ObserveOptions) -> Result<Self> {
        Ok(Self {
            context,
            options,
            display: Display::new(options.rounds, options.json, options.verbose),
            clock: PhaseClock::default(),
            members: Members::default(),
            summary: Summary::default(),
            losses: Vec::new(),
            previous: None,
            last_head: Instant::now(),
            settling: None,
        })
    }

    /// Watches until all rounds that were asked for are over and settled, or until interrupted.
    async fn watch(&mut self) -> Result<()> {
        let (sender, mut heads) = mpsc::unbounded_channel();
        let sequences = self.options.sequences as usize;
        let mut measuring = tokio::spawn(measure_heads(self.context.clone(), sequences, sender));
        let mut blocks = pin!(self.context.chain.blocks().await?);
        let mut interrupted = pin!(roles::shutdown_signal());
        loop {
            tokio::select! {
                block = blocks.next() => {
                    ensure!(block.is_some(), "the node ended the stream of blocks");
                    // Only the newest block matters.
                    while let Some(Some(_)) = blocks.next().now_or_never() {}
                    if self.handle_block().await? {
                        break;
                    }
                }
                // Heads after the last round that was asked for are not waited for.
                Some(head) = heads.recv(), if self.settling.is_none() => {
                    if self.handle_head(head)? {
                        break;
                    }
                }
                outcome = &mut measuring => outcome??,
                () = tokio::time::sleep_until(self.deadline().into()) => {
                    return Err(self.timeout_error());
                }
                () = &mut interrupted => {
                    if let Some(rounds) = self.options.rounds {
                        bail!("interrupted after {} of {rounds} rounds", self.summary.rounds.len());
                    }
                    break;
                }
            }
        }
        measuring.abort();
        Ok(())
    }

    /// Records the state of the chain. Returns `true` once all that was waited for is settled.
    async fn handle_block(&mut self) -> Result<bool> {
        // A node that does not answer may be restarting. `--patience` limits the wait for it.
        let Ok(overview) = self.context.chain.overview().await else { return Ok(false) };
        self.clock.record(overview.round.number, overview.round.phase);
        let finalised = self.context.chain.finalised_block().await;
        let finalised = finalised.map_or(self.summary.chain.finalised, |block| block.number);
        self.summary.chain = ChainSummary { best: overview.height, finalised };
        for step in [
            self.members.update(&self.context.chain, overview.round.number).await,
            self.show_panel(&overview).await,
            self.record_outcomes().await,
        ] {
            match step {
                Ok(()) => {}
                Err(RoleError::Transient(error)) => tracing::debug!("{}", explain(&error)),
                Err(RoleError::Fatal(error)) => return Err(error),
            }
        }
        Ok(match &mut self.settling {
            Some(settling) => {
                let over = settling.is_over(self.context, &self.summary, &overview).await;
                over.unwrap_or(false)
            }
            None => false,
        })
    }

    /// Draws the panel.
    async fn show_panel(&self, overview: &Overview) -> Result<(), RoleError> {
        if self.display.is_hidden() {
            return Ok(());
        }
        let (round, rounds) = (&overview.round, &self.summary.rounds);
        let share = training_share(rounds, round.number, self.clock.phase_seconds());
        let members = self.members.activities(&self.context.chain, overview, share).await?;
        let waits = round.phase == Phase::Idle || round.deadline.is_none();
        self.display.show(&PanelView {
            round: round.number,
            phase: round.phase,
            elapsed_blocks: overview.now.saturating_sub(round.phase_since),
            limit_blocks: round
                .deadline
                .filter(|_| !waits)
                .map(|deadline| deadline.saturating_sub(round.phase_since)),
            head: overview.head.as_ref().map(|head| head.root),
            finalised: self.summary.chain.finalised,
            members: &members,
            unlisted: self.members.unobserved(),
            losses: &self.losses,
            tokens_per_second: rounds.last().and_then(RoundSummary::tokens_per_second),
        });
        Ok(())
    }

    /// Records a new head. Returns `true` if it was the last and nothing is to be settled.
    fn handle_head(&mut self, head: ObservedHead) -> Result<bool> {
        self.last_head = Instant::now();
        let metrics = pol_metrics::observer();
        metrics.heads_total.inc();
        metrics.loss_nats.set_known(head.loss);
        metrics.last_head_timestamp_seconds.set_now();
        self.losses.extend(head.loss);
        if let Some(before) = &self.previous {
            let seconds = self.clock.seconds(head.head.round);
            let round = RoundSummary::new(before, &head, seconds);
            self.display.print_round(&round)?;
            self.summary.rounds.push(round);
            self.write_summary()?;
        } else {
            self.display.print_first_head(&head);
        }
        self.previous = Some(head);
        let rounds = self.summary.rounds.len();
        if self.options.rounds.is_none_or(|requested| rounds < requested as usize) {
            return Ok(false);
        }
        if self.options.settle == 0 {
            return Ok(true);
        }
        let end = Instant::now() + Duration::from_secs(self.options.settle);
        self.settling = Some(Settling { end, settled_in: None });
        Ok(false)
    }

    /// Records measurements of models and outcomes of updates that came since the last call.
    async fn record_outcomes(&mut self) -> Result<(), RoleError> {
        let chain = &self.context.chain;
        let recent = self.summary.rounds.iter_mut().rev().take(MEASURED_ROUNDS);
        for round in recent.filter(|round| round.measured.is_none()) {
            let Some(found) = chain.head_measurement(round.number).await? else { continue };
            round.measured = Some(found.metrics.summary());
            self.display.print_measurement(round, &found.metrics);
        }
        for round in self.summary.rounds.iter_mut().filter(|round| !round.is_settled()) {
            let history = chain.history(round.number).await?;
            let audits = history.iter().map(|(account, record)| AuditSummary::new(account, record));
            round.audits = audits.filter(|audit| round.included.contains(&audit.trainer)).collect();
            if round.is_settled() {
                self.display.print_audits(round);
            }
        }
        Ok(())
    }

    /// Returns the time at which the observation gives up.
    fn deadline(&self) -> Instant {
        let patience = Duration::from_secs(self.options.patience);
        self.settling.as_ref().map_or(self.last_head + patience, |settling| settling.end)
    }

    fn timeout_error(&self) -> Error {
        if self.settling.is_none() {
            return anyhow!(
                "no new model for {} seconds; see the logs of the validators, and `pol-trainer \
                 status`",
                self.options.patience
            );
        }
        let open = self.summary.rounds.iter().filter(|round| !round.is_settled());
        let open: Vec<_> = open.map(|round| round.number).collect();
        anyhow!(
            "after {} seconds rewards still wait to be claimed, and updates of rounds {open:?} are \
             not settled",
            self.options.settle
        )
    }

    fn write_summary(&self) -> Result<()> {
        self.options.out.as_deref().map_or(Ok(()), |path| self.summary.write(path))
    }

    /// Reads the payments of the members once more and summarises them.
    async fn read_accounts(&mut self) -> Result<Vec<AccountSummary>, RoleError> {
        let chain = &self.context.chain;
        let round = chain.overview().await?.round.number;
        self.members.update(chain, round).await?;
        self.members.accounts(chain, &self.summary.rounds).await
    }

    /// Prints and checks the totals of the rewards.
    async fn finish(mut self) -> Result<()> {
        self.display.clear();
        let chain = &self.context.chain;
        let rewards = RewardTotals::read(chain).await?;
        self.summary.rewards = Some(rewards);
        // The totals decide about success. The table of payments is a service beside them.
        match self.read_accounts().await {
            Ok(accounts) => self.summary.accounts = accounts,
            Err(RoleError::Transient(error) | RoleError::Fatal(error)) => {
                tracing::warn!("the payments of members cannot be read: {}", explain(&error));
            }
        }
        self.display.print_end(&self.summary, self.members.unobserved(), &rewards);
        self.write_summary()?;
        ensure!(
            rewards.balanced(),
            "the chain's rewards do not balance: what was emitted and seized is not what was paid, \
             was burned and still waits"
        );
        Ok(())
    }
}

/// Wait for updates to be settled and rewards to be claimed, after the last round.
struct Settling {
    end: Instant,
    /// Round in which the last update was settled. Rewards that can be claimed by then are waited
    /// for.
    settled_in: Option<RoundNumber>,
}

impl Settling {
    /// Returns `true` once all updates are settled and all claimable rewards are claimed.
    async fn is_over(
        &mut self,
        context: &NodeContext,
        summary: &Summary,
        overview: &Overview,
    ) -> Result<bool> {
        if !summary.rounds.iter().all(RoundSummary::is_settled) {
            return Ok(false);
        }
        let due = *self.settled_in.get_or_insert(overview.round.number);
        for member in context.chain.members().await? {
            let rewards = context.chain.pending_rewards(&member.account).await?;
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
