// SPDX-License-Identifier: Apache-2.0

//! Payloads of the rounds that end while an earlier model is fetched.

use crate::{
    context::NodeContext,
    error::{Result, RoleError},
};
use pol_primitives::{RoundNumber, queries::Overview};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Longest try to fetch the payloads of a round. What arrived is kept for the next one.
const TRY_TIME: Duration = Duration::from_secs(60);

/// Collector of all payloads that lead from one head to the newest one.
pub(super) struct PayloadCollector {
    context: NodeContext,
    /// Newest round that was seen.
    seen: RoundNumber,
    /// Rounds whose payloads are not all on this machine.
    missing: BTreeSet<RoundNumber>,
}

impl PayloadCollector {
    /// Creates a collector of the payloads of the rounds after `round`.
    pub(super) fn new(context: NodeContext, round: RoundNumber) -> Self {
        Self { context, seen: round, missing: BTreeSet::new() }
    }

    /// Collects until a fatal error. Peers remove old payloads, so that those of a round are
    /// fetched as soon as it has a head.
    pub(super) async fn run(mut self) -> RoleError {
        loop {
            if let Err(fatal) = self.collect().await.or_else(ignore_transient) {
                return fatal;
            }
            let pause = self.context.chain.block_time().await.unwrap_or(TRY_TIME);
            tokio::time::sleep(pause).await;
        }
    }

    /// Tries to fetch what is missing by now.
    async fn collect(&mut self) -> Result<()> {
        let Overview { head, .. } = self.context.chain.overview().await?;
        let newest = head.map_or(self.seen, |head| head.round);
        self.missing.extend(self.seen.saturating_add(1)..=newest);
        self.seen = self.seen.max(newest);
        for round in self.missing.clone() {
            match self.hold_round(round).await {
                Ok(()) => drop(self.missing.remove(&round)),
                Err(error) => ignore_transient(error)?,
            }
        }
        Ok(())
    }

    /// Makes sure that this machine has the payloads of `round`, and those of the rounds from which
    /// its head took updates out.
    async fn hold_round(&self, round: RoundNumber) -> Result<()> {
        let context = self.context.until(Instant::now() + TRY_TIME);
        let Some(record) = context.chain.round_record(round).await? else { return Ok(()) };
        let Some(head) = record.head else { return Ok(()) };
        let recipe = context.recipe(&head.recipe_hash).await?;
        let excised = record.excised.iter().map(|excision| excision.round);
        for of in excised.chain([round]).collect::<BTreeSet<_>>() {
            for update in context.chain.updates(of).await? {
                let (account, hash) = (&update.account, &update.payload_hash);
                context.hold_payload(&recipe, of, account, hash).await?;
            }
        }
        Ok(())
    }
}

fn ignore_transient(error: RoleError) -> Result<()> {
    match error {
        RoleError::Transient(error) => {
            tracing::debug!("payloads are missing: {error:#}");
            Ok(())
        }
        fatal => Err(fatal),
    }
}
