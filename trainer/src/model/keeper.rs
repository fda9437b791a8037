// SPDX-License-Identifier: Apache-2.0

//! The model at the chain's head.

use super::{
    collect::PayloadCollector,
    compute::{initial_model, replay_round},
    fetch::hold_model,
    global::BaseModel,
};
use crate::{
    context::{NodeContext, PAYLOADS_TAG, Undelivered, payload_tag},
    display::short_hash,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_primitives::{Hash, RoundNumber, head::Head};
use pol_swarm::{Swarm, SwarmError};
use std::time::{Duration, Instant};

/// Newest heads whose parameters are kept, for peers that lag behind and for audits of the updates
/// made from them.
const KEPT_MODELS: usize = 4;
/// Older heads whose parameters are kept as well, as long as peers fetch them.
const KEPT_WANTED: usize = 4;
/// Time after a request for a part of a model in which it counts as being fetched.
const WANTED_TIME: Duration = Duration::from_secs(600);
/// Most rounds to catch up with by applying updates. Beyond that, fetching the parameters is
/// cheaper.
const MAX_CATCH_UP: u32 = 4;
/// Longest try to fetch a model. What arrived is kept for the next one.
const TRY_TIME: Duration = Duration::from_secs(120);
/// Bytes of a model per second below which a try counts as fruitless.
const FRUITFUL_SPEED: u64 = 16 * 1024;
/// Fruitless tries in a row, in which a member answered that it does not have the model. Then that
/// of a newer head is fetched.
const FRUITLESS_TRIES: u32 = 3;
/// Rounds whose payloads are kept. Members that catch up need those of the last rounds, and those
/// of the rounds from which these took updates out.
const KEPT_PAYLOADS: u32 = 32;
/// Label of the models that are kept.
const MODELS_TAG: &str = "model";
/// Label of the last model that came from a peer.
const FETCHED_TAG: &str = "model/fetched";

/// Follower of the head that keeps its model in the store of blobs.
pub struct ModelKeeper {
    context: NodeContext,
    /// The newest head that was followed, and its model, which is in memory until it is stored.
    current: Option<(Head, BaseModel)>,
    /// The head whose model is being fetched. It stays the same when newer heads appear, so that a
    /// transfer that takes longer than a round ends all the same.
    target: Option<Head>,
    /// Tries in a row that brought next to nothing of the target.
    fruitless: u32,
    /// Set from the end of a transfer until the newest head is near. The updates since then were
    /// collected meanwhile, so that all of them are applied, however many there are.
    is_behind: bool,
}

impl ModelKeeper {
    /// Creates a keeper without a model.
    pub fn new(context: NodeContext) -> Self {
        Self { context, current: None, target: None, fruitless: 0, is_behind: false }
    }

    /// Brings the model of `head` into the store, which serves it to peers. The model is computed
    /// from updates where that is possible and fetched from peers where it is not.
    ///
    /// # Errors
    ///
    /// Fails if the model can neither be computed nor fetched.
    pub async fn follow(&mut self, head: &Head) -> Result<()> {
        if let Some((_, BaseModel::Stored(root))) = &self.current
            && *root == head.root
            && self.context.swarm.has(head.root).await?
        {
            // The model may have come from a peer, or its label may have failed to be written.
            if let Err(error) = self.relabel(head.root, &model_tag(head.round)).await {
                tracing::debug!("cannot label the model of round {}: {error}", head.round);
            }
            return Ok(());
        }
        let mut computed = self.try_compute(head).await?;
        if computed.is_none() && self.fetch(head).await? {
            computed = self.try_compute(head).await?;
        }
        let model = computed.ok_or_else(|| {
            RoleError::transient(anyhow!("the model of round {} is not here yet", head.round))
        })?;
        let tag = model_tag(head.round);
        let swarm = &self.context.swarm;
        swarm.release(&tag).await?;
        match model {
            BaseModel::Memory(model) => {
                swarm.add(model.to_blob(), &tag).await?;
            }
            BaseModel::Stored(root) => self.relabel(root, &tag).await?,
        }
        self.current = Some((*head, BaseModel::Stored(head.root)));
        swarm.release(FETCHED_TAG).await?;
        tracing::info!(
            "model of round {} is {} ({} tokens)",
            head.round,
            short_hash(&head.root),
            head.tokens
        );
        let since = Instant::now().checked_sub(WANTED_TIME);
        prune_models(swarm, head.round, since).await?;
        self.prune_payloads(head.round).await
    }

    /// Fetches the model of `head`, or goes on fetching that of an earlier head, and meanwhile
    /// collects the updates that lead from there to newer heads. Returns `true` if there is a model
    /// to go on from.
    async fn fetch(&mut self, head: &Head) -> Result<bool> {
        let target = match self.target {
            Some(target) => target,
            None => {
                self.release_fetched().await?;
                self.prune_payloads(head.round).await?;
                tracing::info!("fetching the model of round {} from peers", head.round);
                self.fruitless = 0;
                *self.target.insert(*head)
            }
        };
        let recipe = self.context.recipe(&target.recipe_hash).await?;
        let collector = PayloadCollector::new(self.context.with_own_turns(), target.round);
        let started = Instant::now();
        let context = self.context.until(started + TRY_TIME);
        let fetch = hold_model(&context, &target.root, &recipe, &[], FETCHED_TAG);
        let fetched = tokio::select! {
            fetched = fetch => fetched,
            fatal = collector.run() => Err(fatal),
        };
        match fetched {
            Ok(()) => {
                self.target = None;
                self.is_behind = true;
                self.current = Some((target, BaseModel::Stored(target.root)));
                Ok(true)
            }
            Err(RoleError::Transient(error)) => {
                if let Some(Undelivered { source, .. }) = error.downcast_ref() {
                    self.fruitless = next_fruitless(self.fruitless, source, started.elapsed());
                }
                if self.fruitless >= FRUITLESS_TRIES {
                    self.target = None;
                }
                Err(RoleError::Transient(error))
            }
            Err(fatal) => Err(fatal),
        }
    }

    /// Releases models that came from peers, but not the one that the next is computed from.
    async fn release_fetched(&self) -> Result<()> {
        if let Some((known, BaseModel::Stored(root))) = &self.current
            && self.context.swarm.has(*root).await?
        {
            // Before its other label goes, so that it never lacks one.
            self.relabel(*root, &model_tag(known.round)).await?;
        }
        self.context.swarm.release(FETCHED_TAG).await?;
        Ok(())
    }

    /// Keeps a model that is in the store under `label`.
    async fn relabel(&self, root: Hash, label: &str) -> Result<()> {
        Ok(self.context.swarm.hold(root, u64::MAX, &[], label, Instant::now()).await?)
    }

    /// Computes the model of `head` if the way there is short enough. Returns `None` if it is not,
    /// or if an update cannot be had.
    async fn try_compute(&mut self, head: &Head) -> Result<Option<BaseModel>> {
        match self.compute(head).await {
            Err(RoleError::Transient(error)) => {
                tracing::debug!("cannot compute the model of round {}: {error:#}", head.round);
                Ok(None)
            }
            computed => computed,
        }
    }

    /// Computes the model of `head` from the current one or from the initial one. Returns `None` if
    /// the way there is too long or the result is not the head.
    async fn compute(&mut self, head: &Head) -> Result<Option<BaseModel>> {
        let chain = self.context.chain.clone();
        if let Some((_, BaseModel::Stored(root))) = &self.current
            && !self.context.swarm.has(*root).await?
        {
            // It was damaged, and is fetched or computed anew.
            self.current = None;
        }
        // Also after others moved on while this machine caught up with an older head.
        self.is_behind &= self
            .current
            .as_ref()
            .is_some_and(|(known, _)| head.round > known.round.saturating_add(MAX_CATCH_UP));
        let most = if self.is_behind { u32::MAX } else { MAX_CATCH_UP };
        let is_near =
            |known: &Head| (known.round..=known.round.saturating_add(most)).contains(&head.round);
        let (mut before, mut model) = match &self.current {
            Some((known, model)) if is_near(known) => (*known, model.clone()),
            _ if head.round <= MAX_CATCH_UP => {
                let record = chain.round_record(0).await?;
                let Some(first) = record.and_then(|record| record.head) else { return Ok(None) };
                let recipe = self.context.recipe(&first.recipe_hash).await?;
                (first, BaseModel::Memory(initial_model(&self.context, &recipe).await?))
            }
            _ => return Ok(None),
        };
        for round in before.round + 1..=head.round {
            let Some(record) = chain.round_record(round).await? else { continue };
            let Some(next) = record.head else { continue };
            if self.is_behind {
                let left = head.round - round + 1;
                tracing::info!("catching up with the network: {left} rounds are left");
            }
            let replayed = replay_round(&self.context, &before, &model, &record, &next).await?.0;
            before = next;
            if replayed.root != next.root {
                return Err(RoleError::transient(anyhow!(
                    "round {round} gives {} here and {} on chain",
                    short_hash(&replayed.root),
                    short_hash(&next.root)
                )));
            }
            model = BaseModel::Memory(replayed);
            self.current = Some((next, model.clone()));
        }
        if model.root() != head.root {
            return Ok(None);
        }
        self.current = Some((*head, model.clone()));
        Ok(Some(model))
    }

    /// Releases the payloads of rounds that are settled and long over, unless the member keeps all.
    async fn prune_payloads(&self, newest: RoundNumber) -> Result<()> {
        let context = &self.context;
        if context.policy.archive {
            return Ok(());
        }
        let rounds = context.swarm.labels_below(PAYLOADS_TAG).await?;
        let rounds = rounds.iter().filter_map(|round| round.parse::<RoundNumber>().ok());
        let over: Vec<_> =
            rounds.filter(|round| round.saturating_add(KEPT_PAYLOADS) <= newest).collect();
        if over.is_empty() {
            return Ok(());
        }
        let chain = context.chain.at(context.firm_block().await?.hash);
        let excisions = chain.excisions().await?;
        for round in over {
            if excisions.iter().all(|excision| excision.round != round)
                && chain.submissions(round).await?.is_empty()
            {
                context.swarm.release(&payload_tag(round)).await?;
            }
        }
        Ok(())
    }
}

/// Releases models older than the last ones up to round `newest`, but not those that peers asked
/// for at or after `since`, which is `None` on a machine that has run for less than that time.
/// Those of later rounds, which a fork took back, are replaced in time.
async fn prune_models(swarm: &Swarm, newest: RoundNumber, since: Option<Instant>) -> Result<()> {
    let labels = swarm.labels_below(MODELS_TAG).await?;
    let rounds = labels.iter().filter_map(|round| round.parse::<RoundNumber>().ok());
    let mut old: Vec<_> = rounds.filter(|round| *round <= newest).collect();
    old.sort_unstable();
    old.truncate(old.len().saturating_sub(KEPT_MODELS));
    let mut wanted = 0;
    // Peers have been fetching the oldest for longest.
    for tag in old.into_iter().map(model_tag) {
        let is_wanted = match since {
            Some(since) => swarm.is_wanted(&tag, since).await?,
            None => true,
        };
        if is_wanted && wanted < KEPT_WANTED {
            wanted += 1;
        } else {
            swarm.release(&tag).await?;
        }
    }
    Ok(())
}

/// Returns the label of a round's model.
fn model_tag(round: RoundNumber) -> String {
    format!("{MODELS_TAG}/{round}")
}

/// Returns the number of fruitless tries in a row after one that failed with `error` and took
/// `time`, if there were `before` tries.
///
/// A try in which nobody could be asked says nothing about the members that have the model. A
/// trickle counts as nothing.
fn next_fruitless(before: u32, error: &SwarmError, time: Duration) -> u32 {
    let SwarmError::Unavailable { received, failures, .. } = error else { return before };
    if *received >= FRUITFUL_SPEED.saturating_mul(time.as_secs().max(1)) {
        0
    } else {
        before.saturating_add(u32::from(failures.is_refused()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_swarm::{PeerFailure, PeerFailures, SwarmConfig};
    use std::path::Path;

    #[test]
    fn a_model_is_given_up_only_if_it_does_not_come_and_members_answer() {
        let after = |received, failures: &[PeerFailure]| {
            let failures = failures.iter().map(|failure| ([1; 32], failure.clone())).collect();
            let failures = PeerFailures(failures);
            let error = SwarmError::Unavailable { hash: [0; 32], received, failures };
            next_fruitless(2, &error, Duration::from_secs(100))
        };
        use PeerFailure::{NotServed, Silent, Stalled, Unreachable};
        assert_eq!(after(0, &[NotServed, Unreachable]), 3);
        assert_eq!(after(0, &[NotServed, Stalled, Silent]), 3, "nobody holds a joiner up");
        assert_eq!(after(1_000_000, &[NotServed, Stalled]), 3, "nor does a trickle");
        assert_eq!(after(2_000_000, &[NotServed, Stalled]), 0, "what arrives is not given up");
        assert_eq!(after(0, &[Unreachable]), 2, "this machine may be cut off");
        assert_eq!(after(0, &[]), 2);
        let busy = SwarmError::NoTurn { hash: [0; 32] };
        assert_eq!(next_fruitless(2, &busy, Duration::ZERO), 2);
    }

    async fn peer(folder: &Path, secret: u8) -> Swarm {
        let config = SwarmConfig {
            directory: folder.join(secret.to_string()),
            secret: [secret; 32],
            bind: ([127, 0, 0, 1], 0).into(),
            advertise: Vec::new(),
        };
        Swarm::start(config).await.unwrap()
    }

    #[tokio::test]
    async fn a_late_joiner_is_served_an_old_head_until_it_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (member, joiner) = (peer(folder.path(), 1).await, peer(folder.path(), 2).await);
        let started = Instant::now();
        for round in 1..=6u8 {
            let hash = member.add(vec![round; 10].into(), &model_tag(round.into())).await.unwrap();
            if round == 2 {
                let later = Instant::now() + Duration::from_secs(30);
                joiner.fetch(hash, 10, &[member.endpoint()], "kept", later).await.unwrap();
            }
        }
        let kept = async || member.labels_below(MODELS_TAG).await.unwrap().into_iter().collect();
        prune_models(&member, 6, Some(started)).await.unwrap();
        let rounds: Vec<String> = kept().await;
        assert_eq!(rounds, ["2", "3", "4", "5", "6"]);
        prune_models(&member, 6, Some(Instant::now())).await.unwrap();
        let rounds: Vec<String> = kept().await;
        assert_eq!(rounds, ["3", "4", "5", "6"]);
        prune_models(&member, 6, None).await.unwrap();
        member.shutdown().await.unwrap();
        joiner.shutdown().await.unwrap();
    }
}
