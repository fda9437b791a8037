// SPDX-License-Identifier: Apache-2.0

//! Computation and measurement of each head.

use crate::{
    context::NodeContext,
    data::ShardReader,
    error::{RoleError, explain},
    held_out_eval::HeldOutEval,
    model::{ModelKeeper, load_model},
};
use anyhow::{Result, anyhow};
use pol_chain::AccountId;
use pol_primitives::{RoundNumber, head::Head, recipe::Recipe};
use std::time::Duration;
use tokio::sync::mpsc;

/// Wait between two looks at the chain.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Head whose model was computed and measured here.
pub(super) struct ObservedHead {
    pub(super) head: Head,
    pub(super) recipe: Recipe,
    /// Accounts whose updates are part of the model.
    pub(super) included: Vec<AccountId>,
    /// Loss on held-out text in nats per token, `None` if there is no such text.
    pub(super) loss: Option<f64>,
}

/// Computes and measures each head, and sends it to `sender`. Ends when the receiver is dropped.
pub(super) async fn measure_heads(
    context: NodeContext,
    sequences: usize,
    sender: mpsc::UnboundedSender<ObservedHead>,
) -> Result<()> {
    let mut measurer = HeadMeasurer {
        keeper: ModelKeeper::new(context.clone()),
        shards: ShardReader::new(context.clone()),
        held_out: HeldOutEval::new(sequences),
        context,
        next: None,
    };
    while !sender.is_closed() {
        match measurer.measure_new_heads(&sender).await {
            Ok(()) => {}
            Err(RoleError::Transient(error)) => tracing::debug!("{}", explain(&error)),
            Err(RoleError::Fatal(error)) => return Err(error),
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

struct HeadMeasurer {
    context: NodeContext,
    keeper: ModelKeeper,
    shards: ShardReader,
    held_out: HeldOutEval,
    /// Next round to measure, `None` before the first head.
    next: Option<RoundNumber>,
}

impl HeadMeasurer {
    /// Measures all heads since the last call. The first call measures the newest head only.
    async fn measure_new_heads(
        &mut self,
        sender: &mpsc::UnboundedSender<ObservedHead>,
    ) -> Result<(), RoleError> {
        let Some(newest) = self.context.chain.overview().await?.head else { return Ok(()) };
        for round in self.next.unwrap_or(newest.round)..=newest.round {
            if let Some(head) = self.measure(round).await?
                && sender.send(head).is_err()
            {
                return Ok(());
            }
            self.next = Some(round + 1);
        }
        Ok(())
    }

    /// Computes and measures the head of a round. Returns `None` if the round made none.
    async fn measure(&mut self, round: RoundNumber) -> Result<Option<ObservedHead>, RoleError> {
        let Some(record) = self.context.chain.round_record(round).await? else { return Ok(None) };
        let Some(head) = record.head else { return Ok(None) };
        let recipe = self.context.recipe(&head.recipe_hash).await?;
        self.keeper.follow(&head).await?;
        let model = load_model(&self.context, &head.root, &recipe).await?.ok_or_else(|| {
            RoleError::transient(anyhow!("the model of round {round} was just removed"))
        })?;
        let loss = self.held_out.loss(&mut self.shards, &recipe, model.parameters, 1).await?;
        let included = record
            .included
            .indices()
            .filter_map(|index| record.revealed.get(usize::from(index)).copied())
            .collect();
        Ok(Some(ObservedHead { head, recipe, included, loss }))
    }
}
