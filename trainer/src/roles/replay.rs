// SPDX-License-Identifier: Apache-2.0

//! Replays of one validator in one audit.

use super::replay_input::{ReplayInput, audit_tag};
use crate::{
    context::NodeContext,
    data::ShardReader,
    error::{Result, RoleError, explain},
    model::{fetch_model, head_before},
    strategy::Strategy,
};
use anyhow::anyhow;
use futures::future::try_join_all;
use pol_chain::{AccountId, format_account};
use pol_engine::{LeaseData, ScoreProbe};
use pol_primitives::{
    audit::{Audit, AuditId, Binding, Case, Evidence},
    recipe::{Numerics, Recipe},
    round::BlockNumber,
};
use pol_swarm::SwarmError;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};

/// Longest try to fetch the input of a replay before other cases get their turn. Arrived blobs are
/// kept.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
/// Cases whose input is fetched and held in memory at a time.
const CONCURRENT_CASES: usize = 8;
/// Held-out sequences to draw from if the audit names no text.
const HELD_OUT_SEQUENCES: usize = 64;

/// Scheduler of the replays of all audits: a few cases fetch at a time, and one replays.
pub(super) struct ReplayScheduler {
    fetching: Semaphore,
    replaying: Mutex<()>,
}

impl ReplayScheduler {
    /// Creates an idle scheduler.
    pub(super) fn new() -> Self {
        Self { fetching: Semaphore::new(CONCURRENT_CASES), replaying: Mutex::default() }
    }
}

/// The seats of one validator in one audit.
#[derive(Clone)]
pub(super) struct ReplayJob<S> {
    /// Chain client and swarm.
    pub(super) context: NodeContext,
    /// The validator.
    pub(super) account: AccountId,
    /// Threads that replay.
    pub(super) workers: usize,
    /// Strategy of the validator.
    pub(super) strategy: S,
    /// Number of the audit.
    pub(super) id: AuditId,
    /// The audit.
    pub(super) audit: Audit<AccountId>,
}

impl<S: Strategy> ReplayJob<S> {
    /// Returns the cases to replay and their places in the audit.
    fn cases(&self) -> Vec<(u8, Case<AccountId>)> {
        self.audit.seats_of(&self.account).map(|(at, case)| (at, case.clone())).collect()
    }

    /// Fetches the models that the audit needs while peers still keep them.
    pub(super) async fn keep_models(&self) -> Result<()> {
        let (context, audit, tag) = (&self.context, &self.audit, audit_tag(self.id));
        let recipe = self.recipe().await?;
        self.head_parameters(&recipe).await?;
        let place = audit.holder(&self.account);
        let has_seat =
            |case: &&Case<AccountId>| place.is_some_and(|place| case.seats.contains(&place));
        for case in audit.cases.iter().filter(has_seat) {
            let lease = context.chain.audited_lease(audit.round, &case.trainer).await?;
            if let Some(lease) = lease {
                fetch_model(context, &lease.base_root, &recipe, &[case.trainer], &tag).await?;
            }
        }
        Ok(())
    }

    /// Replays all cases and returns the findings. Input that cannot be fetched is tried again
    /// until block `give_up`, and then found to be unavailable.
    pub(super) async fn gather_evidence(
        self,
        scheduler: Arc<ReplayScheduler>,
        give_up: BlockNumber,
    ) -> Result<Evidence> {
        let (recipe, cases) = (Arc::new(self.recipe().await?), self.cases());
        let probe = self.fetch_probe(&recipe, give_up).await?;
        let findings = cases.iter().map(|(at, case)| {
            let (strategy, judged, probe, seed, workers) =
                (self.strategy.clone(), case.clone(), probe.clone(), self.audit.seed, self.workers);
            let find = move |input: ReplayInput| {
                strategy.audit_finding(&judged, || input.finding(probe.as_deref(), &seed, workers))
            };
            let finding = self.with_input(&recipe, case, &scheduler, give_up, find);
            async move { finding.await.map(|finding| (*at, finding)) }
        });
        let findings = try_join_all(findings).await?;
        Evidence::try_from(findings)
            .map_err(|_| RoleError::fatal(anyhow!("an audit has more cases than it may")))
    }

    /// Checks the ends that trainers opened since this validator committed, and returns the results
    /// in the order of the cases, or `None` under the exact profile. Input that cannot be fetched
    /// is tried again until block `give_up`.
    pub(super) async fn check_bindings(
        self,
        scheduler: Arc<ReplayScheduler>,
        give_up: BlockNumber,
    ) -> Result<Option<Vec<Binding>>> {
        let (recipe, cases) = (Arc::new(self.recipe().await?), self.cases());
        if recipe.numerics == Numerics::Exact {
            return Ok(None);
        }
        let bindings = cases.iter().map(async |(_, case)| {
            if !case.opened {
                // The chain does not use the binding of a case without opened ends.
                return Ok(Binding::Unavailable);
            }
            let (seed, workers) = (self.audit.seed, self.workers);
            let check = move |input: ReplayInput| input.binding(&seed, workers);
            self.with_input(&recipe, case, &scheduler, give_up, check).await
        });
        try_join_all(bindings).await.map(Some)
    }

    /// Returns the result of `work` on the input of `case`, on a thread that may compute.
    ///
    /// The cases take turns, so that one whose states no peer serves holds up none of the others.
    async fn with_input<T: Send + 'static>(
        &self,
        recipe: &Arc<Recipe>,
        case: &Case<AccountId>,
        scheduler: &ReplayScheduler,
        give_up: BlockNumber,
        work: impl FnOnce(ReplayInput) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (chain, round) = (&self.context.chain, self.audit.round);
        let block_time = chain.block_time().await?;
        let mut shards = ShardReader::new(self.context.clone());
        loop {
            let turn = scheduler.fetching.acquire().await.map_err(RoleError::fatal)?;
            let blocks_left = give_up.saturating_sub(chain.best_block().await?.number);
            let limit = fetch_limit(block_time, blocks_left);
            let fetch =
                ReplayInput::fetch(&self.context, &mut shards, recipe, self.id, round, case);
            let input = match timeout(limit, fetch).await {
                Ok(Err(RoleError::Transient(error))) => {
                    tracing::warn!(
                        "round {round}: cannot replay {} yet: {}",
                        format_account(&case.trainer),
                        explain(&error)
                    );
                    // A trainer is blamed only for blobs that it has to serve.
                    let unavailable =
                        matches!(error.downcast_ref(), Some(SwarmError::Unavailable { .. }));
                    match blocks_left {
                        0 if unavailable => Some(ReplayInput::Missing),
                        0 => return Err(RoleError::Transient(error)),
                        _ => None,
                    }
                }
                Ok(input) => Some(input?),
                // Peers that do not answer are asked last, and the trainer was among the first.
                Err(_) => (blocks_left == 0).then_some(ReplayInput::Missing),
            };
            if let Some(input) = input {
                let _replaying = scheduler.replaying.lock().await;
                return tokio::task::spawn_blocking(move || work(input)).await?;
            }
            drop(turn);
            tokio::time::sleep(block_time).await;
        }
    }

    /// Returns the recipe of the round.
    async fn recipe(&self) -> Result<Recipe> {
        let (context, round) = (&self.context, self.audit.round);
        let record = context.chain.round_record(round).await?;
        let head = record.and_then(|record| record.head).ok_or_else(|| {
            RoleError::transient(anyhow!("the node has no head of round {round}"))
        })?;
        context.recipe(&head.recipe_hash).await
    }

    /// Returns the parameters of the head before the round.
    async fn head_parameters(&self, recipe: &Recipe) -> Result<Arc<Vec<f32>>> {
        let (context, round) = (&self.context, self.audit.round);
        let head = head_before(context, round).await?.ok_or_else(|| {
            RoleError::transient(anyhow!("there is no model before round {round}"))
        })?;
        let tag = audit_tag(self.id);
        Ok(fetch_model(context, &head.root, recipe, &[], &tag).await?.parameters)
    }

    /// Returns the probe that the round's updates are measured on, or `None` if it cannot be had
    /// until block `give_up`. Without one, replays are compared all the same.
    async fn fetch_probe(
        &self,
        recipe: &Arc<Recipe>,
        give_up: BlockNumber,
    ) -> Result<Option<Arc<ScoreProbe>>> {
        let chain = &self.context.chain;
        let block_time = chain.block_time().await?;
        let mut shards = ShardReader::new(self.context.clone());
        loop {
            let is_last = chain.best_block().await?.number >= give_up;
            match self.try_probe(&mut shards, recipe, is_last).await {
                Ok(probe) => return Ok(Some(Arc::new(probe))),
                Err(RoleError::Transient(error)) => tracing::warn!(
                    "round {}: cannot measure updates yet: {}",
                    self.audit.round,
                    explain(&error)
                ),
                Err(fatal) => return Err(fatal),
            }
            if is_last {
                return Ok(None);
            }
            tokio::time::sleep(block_time).await;
        }
    }

    /// Returns the probe of the text that the audit names. The last try does without shards that
    /// cannot be had. Without any text, held-out text takes its place.
    async fn try_probe(
        &self,
        shards: &mut ShardReader,
        recipe: &Arc<Recipe>,
        is_last: bool,
    ) -> Result<ScoreProbe> {
        let head = self.head_parameters(recipe).await?;
        let mut tokens = Vec::new();
        for id in &self.audit.probe {
            match shards.shard(recipe, *id, &[], &audit_tag(self.id)).await {
                Ok(shard) => tokens.push(shard),
                Err(RoleError::Transient(error)) if is_last => {
                    tracing::debug!("measuring without a shard: {}", explain(&error));
                }
                Err(error) => return Err(error),
            }
        }
        let text = if tokens.is_empty() {
            shards.held_out(recipe, HELD_OUT_SEQUENCES).await?
        } else {
            None
        };
        let text = text.map_or_else(|| LeaseData::new(recipe, tokens), Ok)?;
        let (recipe, seed, workers) = (recipe.clone(), self.audit.seed, self.workers);
        let probe = tokio::task::spawn_blocking(move || {
            ScoreProbe::new(&recipe, head, &seed, &text, workers)
        });
        Ok(probe.await??)
    }
}

/// Returns the time for one try to fetch a case: as long as the remaining blocks take, from one
/// block to [`FETCH_TIMEOUT`].
fn fetch_limit(block_time: Duration, blocks_left: BlockNumber) -> Duration {
    block_time.saturating_mul(blocks_left).min(FETCH_TIMEOUT).max(block_time)
}
