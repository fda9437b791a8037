// SPDX-License-Identifier: Apache-2.0

//! Measurement of each new head. A validator reports the metrics to the chain; a trainer claims
//! them with its next update.

use super::runner::BlockHandler;
use crate::{
    context::{NodeContext, submit_housekeeping},
    data::ShardReader,
    display::short_hash,
    error::{Result, RoleError, explain},
    held_out_eval::HeldOutEval,
    metrics::{MAX_SEQUENCES, format_metrics, measure_model},
    model::{fetch_model, fetch_tokenizer},
};
use pol_chain::{Call, Signer};
use pol_engine::LeaseData;
use pol_generate::TextTokenizer;
use pol_primitives::{
    Hash, MILLION, RoundNumber,
    head::Head,
    metrics::{MetricsClaim, ModelMetrics},
    queries::Overview,
    recipe::Recipe,
};
use std::{sync::Arc, time::Instant};
use tokio::sync::watch;

/// Label of the model that is being measured.
const MEASURED_TAG: &str = "model/measured";
/// Number of heads whose metrics are remembered: a lease may start from an older head.
const REMEMBERED_HEADS: usize = 8;

/// Receiver of the metrics of the newest heads, by their roots, the newest first.
pub(super) type HeadMetrics = watch::Receiver<Vec<(Hash, MetricsClaim)>>;

/// A role that measures each new head once.
pub(super) struct HeadMeasurer {
    context: NodeContext,
    /// Account that reports to the chain; `None` for a trainer.
    reporter: Option<Signer>,
    shards: ShardReader,
    held_out: HeldOutEval,
    tokenizer: Option<(Hash, Arc<TextTokenizer>)>,
    /// Root of the newest head that was measured or cannot be.
    handled: Option<Hash>,
    /// Recipe of which a warning said that its models are not measured, and the reason.
    warned: Option<(Hash, Unmeasured)>,
    /// Metrics that are not reported yet.
    report: Option<(RoundNumber, ModelMetrics)>,
    metrics: watch::Sender<Vec<(Hash, MetricsClaim)>>,
}

impl HeadMeasurer {
    /// Creates a measurer that has seen no head. It reports as `reporter`, if there is one.
    pub(super) fn new(context: NodeContext, reporter: Option<Signer>) -> Self {
        pol_metrics::measurement();
        Self {
            shards: ShardReader::new(context.clone()),
            held_out: HeldOutEval::new(MAX_SEQUENCES as usize),
            context,
            reporter,
            tokenizer: None,
            handled: None,
            warned: None,
            report: None,
            metrics: watch::Sender::default(),
        }
    }

    /// Returns a receiver of the metrics to come.
    pub(super) fn subscribe(&self) -> HeadMetrics {
        self.metrics.subscribe()
    }

    /// Measures `head`, once the chain has drawn its probes and its parameters are on this machine.
    async fn measure(&mut self, head: &Head) -> Result<()> {
        let pending = self.context.chain.pending_measurement().await?;
        let Some(seed) =
            pending.filter(|pending| pending.round == head.round).map(|pending| pending.seed)
        else {
            return Ok(());
        };
        if !self.context.swarm.has(head.root).await? {
            return Ok(());
        }
        let recipe = self.context.recipe(&head.recipe_hash).await?;
        let Some(data) = self.held_out_text(head, &recipe).await? else { return Ok(()) };
        let tokenizer = self.tokenizer(&recipe).await?;
        let model = fetch_model(&self.context, &head.root, &recipe, &[], MEASURED_TAG).await?;
        self.handled = Some(head.root);
        let (round, started) = (head.round, Instant::now());
        let measured = tokio::task::spawn_blocking(move || {
            let parameters = &model.parameters;
            measure_model(&recipe.model, parameters, &data, tokenizer.as_deref(), (&seed, round))
        })
        .await?;
        self.context.swarm.release(MEASURED_TAG).await?;
        let metrics = match measured {
            Ok(metrics) => metrics,
            Err(error) => {
                tracing::warn!(
                    "model of round {round} ({}) cannot be measured: {error:#}",
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
        pol_metrics::measurement().duration_seconds.observe_since(started);
        pol_metrics::measurement().loss_nats.set(f64::from(metrics.loss) / f64::from(MILLION));
        self.metrics.send_modify(|heads| {
            heads.truncate(REMEMBERED_HEADS - 1);
            heads.insert(0, (head.root, MetricsClaim { round, metrics }));
        });
        self.report = Some((round, metrics));
        Ok(())
    }

    /// Returns the held-out text that `recipe` names, or `None` if `head` cannot be measured on
    /// it. Text that is not admitted is looked for again at each block, since governance may admit
    /// it at any.
    async fn held_out_text(
        &mut self,
        head: &Head,
        recipe: &Recipe,
    ) -> Result<Option<Arc<LeaseData>>> {
        let Some(text) = recipe.held_out else {
            self.handled = Some(head.root);
            return Ok(None);
        };
        if self.context.chain.manifest_of_content(&text).await?.is_none() {
            self.warn(&head.recipe_hash, &text, Unmeasured::NotAdmitted);
            return Ok(None);
        }
        let data = self.held_out.data(&mut self.shards, recipe).await?;
        if data.is_none() {
            self.handled = Some(head.root);
            self.warn(&head.recipe_hash, &text, Unmeasured::Malformed);
        } else {
            self.warned = None;
        }
        Ok(data)
    }

    /// Says once for a recipe and a reason that its models are not measured on `text`.
    fn warn(&mut self, recipe: &Hash, text: &Hash, reason: Unmeasured) {
        if is_new(&mut self.warned, (*recipe, reason)) {
            tracing::warn!("{}", reason.describe(recipe, text));
        }
    }

    /// Returns the tokenizer of `recipe`, or `None` if no peer serves it or it cannot be parsed.
    async fn tokenizer(&mut self, recipe: &Recipe) -> Result<Option<Arc<TextTokenizer>>> {
        let hash = recipe.tokenizer;
        if self.tokenizer.as_ref().is_none_or(|(known, _)| *known != hash) {
            let json = fetch_tokenizer(&self.context, recipe).await;
            match json.and_then(|json| TextTokenizer::parse(&json).map_err(RoleError::transient)) {
                Ok(tokenizer) => self.tokenizer = Some((hash, Arc::new(tokenizer))),
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
        Ok(self.tokenizer.as_ref().map(|(_, tokenizer)| tokenizer.clone()))
    }

    /// Reports the metrics of `head`, unless the chain has enough reports by now.
    async fn report(&mut self, head: &Head) -> Result<()> {
        let Some((round, metrics)) = self.report.filter(|(round, _)| *round == head.round) else {
            return Ok(());
        };
        let Some(reporter) = &self.reporter else { return Ok(()) };
        let (chain, account) = (&self.context.chain, reporter.account());
        let is_open = chain.head_measurement(round).await?.is_none();
        let pending =
            chain.pending_measurement().await?.filter(|open| is_open && open.round == round);
        if pending.is_some_and(|open| open.reports.iter().all(|report| report.account != account)) {
            submit_housekeeping(chain, reporter, Call::MeasureHead { round, metrics }).await?;
        }
        self.report = None;
        Ok(())
    }
}

impl BlockHandler for HeadMeasurer {
    async fn on_block(&mut self, overview: &Overview) -> Result<()> {
        let Some(head) = overview.head else { return Ok(()) };
        if self.handled != Some(head.root) {
            self.measure(&head).await?;
        }
        self.report(&head).await
    }
}

/// Reason why models are not measured on the held-out text that their recipe names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unmeasured {
    /// No manifest of the text is admitted.
    NotAdmitted,
    /// No shard of the manifest is text of the recipe.
    Malformed,
}

impl Unmeasured {
    /// Says so for people, with the remedy.
    fn describe(self, recipe: &Hash, text: &Hash) -> String {
        let recipe = short_hash(recipe);
        let text = format!("held-out text 0x{}", hex::encode(text));
        match self {
            Self::NotAdmitted => format!(
                "models of recipe {recipe} are not measured, since its {text} is not admitted. \
                 They are once governance admits it: `pol-trainer data list` has the number of its \
                 manifest for `pol-trainer data admit`"
            ),
            Self::Malformed => format!(
                "models of recipe {recipe} are not measured, since its {text} is malformed. A \
                 recipe with other held-out text mends that: `pol-trainer recipe set`"
            ),
        }
    }
}

/// Returns `true` if a warning was not the last one that was `said`, and notes that it is.
fn is_new(said: &mut Option<(Hash, Unmeasured)>, warning: (Hash, Unmeasured)) -> bool {
    said.replace(warning) != Some(warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_said_once_for_a_recipe_and_a_reason() {
        let mut said = None;
        let warnings = [
            ([1; 32], Unmeasured::NotAdmitted),
            ([2; 32], Unmeasured::NotAdmitted),
            ([2; 32], Unmeasured::Malformed),
        ];
        for warning in warnings {
            assert!(is_new(&mut said, warning) && !is_new(&mut said, warning), "{warning:?}");
        }
        let text = Unmeasured::NotAdmitted.describe(&[1; 32], &[7; 32]);
        assert!(text.contains("data admit") && text.contains(&"07".repeat(32)), "{text}");
    }
}
