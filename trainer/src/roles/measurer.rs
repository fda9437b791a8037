//! Measures each new head, beside the role that follows it: a validator reports what it finds, a
//! trainer claims it.

use super::Role;
use crate::{
    context::{NodeContext, submit_housekeeping},
    data::ShardReader,
    display::short_hash,
    error::{Result, RoleError, explain},
    held_out_eval::HeldOutEval,
    metrics::{MAX_SEQUENCES, format_metrics, measure_model},
    model,
};
use pol_chain::{AccountId, Call, Signer};
use pol_generate::Text;
use pol_primitives::{
    Hash, RoundNumber,
    head::Head,
    metrics::{ClaimedMetrics, ModelMetrics},
    recipe::Recipe,
    view::Overview,
};
use std::{sync::Arc, time::Instant};
use tokio::sync::watch;

/// Most bytes of a tokenizer.
const TOKENIZER_BYTES: u64 = 1 << 26;
/// Label of the model that is being measured.
const TAG: &str = "model/measured";
/// Heads of which what was found is remembered: a lease may start from an older one.
const REMEMBERED: usize = 8;

/// What was found of the last heads, by their roots.
pub type Found = watch::Receiver<Vec<(Hash, ClaimedMetrics)>>;

/// Measures each new head once.
pub struct Measurer {
    peer: NodeContext,
    /// Who reports to the chain; none for who only claims.
    reporter: Option<Signer>,
    shards: ShardReader,
    held_out: HeldOutEval,
    text: Option<(Hash, Arc<Text>)>,
    /// The head that was measured last, or could not be.
    seen: Option<Hash>,
    /// What is yet to be reported.
    report: Option<(RoundNumber, ModelMetrics)>,
    found: watch::Sender<Vec<(Hash, ClaimedMetrics)>>,
}

impl Measurer {
    /// A measurer that has seen no head. It reports what it finds as `reporter`.
    pub fn new(peer: NodeContext, reporter: Option<Signer>) -> Self {
        Self {
            shards: ShardReader::new(peer.clone()),
            held_out: HeldOutEval::new(MAX_SEQUENCES as usize),
            peer,
            reporter,
            text: None,
            seen: None,
            report: None,
            found: watch::Sender::default(),
        }
    }

    /// What it will find.
    pub fn found(&self) -> Found {
        self.found.subscribe()
    }

    /// Measures `head`, once its probes are drawn and its role has brought its parameters here.
    async fn measure(&mut self, head: &Head) -> Result<()> {
        let drawn =
            self.peer.chain.measuring().await?.filter(|measuring| measuring.round == head.round);
        let Some(seed) = drawn.map(|measuring| measuring.seed) else { return Ok(()) };
        if !self.peer.swarm.has(head.root).await? {
            return Ok(());
        }
        let recipe = self.peer.recipe(&head.recipe_hash).await?;
        let Some(data) = self.held_out.data(&mut self.shards, &recipe).await? else {
            self.seen = Some(head.root);
            return Ok(());
        };
        let text = self.text(&recipe).await?;
        let parameters =
            model::fetch_model(&self.peer, &head.root, &recipe, &[], TAG).await?.parameters;
        self.seen = Some(head.root);
        let (round, started) = (head.round, Instant::now());
        let measured = tokio::task::spawn_blocking(move || {
            measure_model(&recipe.model, &parameters, &data, text.as_deref(), (&seed, round))
        })
        .await?;
        self.peer.swarm.release(TAG).await?;
        let metrics = match measured {
            Ok(metrics) => metrics,
            Err(error) => {
                tracing::warn!(
                    "model of round {round} ({}) cannot be measured: {error}",
                    short_hash(&head.root)
                );
                return Ok(());
            }
        };
        tracing::info!(
            "model of round {round}: {}; measured in {:.1} s",
            format_metrics(&metrics),
            started.elapsed().as_secs_f64()
        );
        self.found.send_modify(|found| {
            found.truncate(REMEMBERED - 1);
            found.insert(0, (head.root, ClaimedMetrics { round, metrics }));
        });
        self.report = Some((round, metrics));
        Ok(())
    }

    /// What turns text into tokens and back for models of `recipe`; none where no peer has it, or
    /// it is of no use.
    async fn text(&mut self, recipe: &Recipe) -> Result<Option<Arc<Text>>> {
        if self.text.as_ref().is_none_or(|(hash, _)| *hash != recipe.tokenizer) {
            let parsed = match self
                .peer
                .fetch_blob(&recipe.tokenizer, TOKENIZER_BYTES, &[], "tokenizer")
                .await
            {
                Ok(json) => Text::parse(&json).map_err(RoleError::transient),
                Err(failure) => Err(failure),
            };
            match parsed {
                Ok(text) => self.text = Some((recipe.tokenizer, Arc::new(text))),
                Err(RoleError::Transient(error)) => {
                    tracing::warn!(
                        "no reasoning is measured without the recipe's tokenizer: {}",
                        explain(&error)
                    );
                    return Ok(None);
                }
                Err(fatal) => return Err(fatal),
            }
        }
        Ok(self.text.as_ref().map(|(_, text)| text.clone()))
    }

    /// Reports what was found of `head`, unless the chain knows enough by now.
    async fn report(&mut self, head: &Head) -> Result<()> {
        let Some((round, metrics)) = self.report.filter(|(round, _)| *round == head.round) else {
            return Ok(());
        };
        let Some(reporter) = &self.reporter else { return Ok(()) };
        let account = reporter.account();
        let is_open = self.peer.chain.measured(round).await?.is_none();
        let open = self
            .peer
            .chain
            .measuring()
            .await?
            .filter(|measuring| is_open && measuring.round == round);
        if open.is_some_and(|measuring| {
            measuring.reports.iter().all(|report| report.account != account)
        }) {
            submit_housekeeping(&self.peer.chain, reporter, Call::MeasureHead { round, metrics })
                .await?;
        }
        self.report = None;
        Ok(())
    }
}

impl Role for Measurer {
    async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let Some(head) = overview.head else { return Ok(()) };
        if self.seen != Some(head.root) {
            self.measure(&head).await?;
        }
        self.report(&head).await
    }
}
