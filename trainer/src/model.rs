//! The global model as this process holds it, kept at the chain's head.

use crate::{
    context::NodeContext,
    display::short_hash,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::{ExcisedRound, parameters_from_bytes, parameters_to_bytes};
use pol_model::RewritePlan;
use pol_primitives::{
    Hash, RoundNumber,
    audit::Excision,
    head::{Head, RoundRecord, Update},
    payload::Payload,
    recipe::Recipe,
    submission::{Included, Submission},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Heads whose parameters are kept for peers that lag behind, and for audits of the updates made
/// from them.
const KEPT_MODELS: u32 = 4;
/// Rounds a peer catches up by applying updates; further back, fetching the parameters is cheaper.
const MAX_CATCH_UP: u32 = 4;
const VALUE_BYTES: u64 = 4;
/// Tag of the last model that came from a peer.
const FETCHED_TAG: &str = "model/fetched";
/// Tag of a model that was not drawn from a seed: the only start of the history, so it is kept.
pub const PRETRAINED_TAG: &str = "model/pretrained";

/// The parameters of one head.
#[derive(Clone)]
pub struct GlobalModel {
    /// The head's root.
    pub root: Hash,
    /// In canonical order.
    pub parameters: Arc<Vec<f32>>,
}

/// One included update with its payload.
pub struct UpdateWithPayload {
    /// As the chain knows it.
    pub update: Update<AccountId>,
    /// What it does to the parameters.
    pub payload: Payload,
}

/// Follows the head.
pub struct ModelKeeper {
    peer: NodeContext,
    /// The head that was last followed, and its model.
    current: Option<(Head, GlobalModel)>,
}

impl ModelKeeper {
    /// Knows no model yet.
    pub fn new(peer: NodeContext) -> Self {
        Self { peer, current: None }
    }

    /// The model of `head`, which was made by `recipe`: computed from updates where that is
    /// possible and fetched from peers where not.
    pub async fn at(&mut self, head: &Head, recipe: &Recipe) -> Result<GlobalModel> {
        if let Some((_, current)) = &self.current
            && current.root == head.root
        {
            return Ok(current.clone());
        }
        let computed = match self.compute(head).await {
            Ok(model) => model,
            Err(RoleError::Transient(error)) => {
                tracing::debug!("cannot compute the model of round {}: {error:#}", head.round);
                None
            }
            Err(fatal) => return Err(fatal),
        };
        let model = match computed {
            Some(model) => model,
            None => {
                tracing::info!("fetching the model of round {} from peers", head.round);
                self.peer.swarm.release(FETCHED_TAG).await?;
                fetch_model(&self.peer, &head.root, recipe, &[], FETCHED_TAG).await?
            }
        };
        let tag = model_tag(head.round);
        self.peer.swarm.release(&tag).await?;
        self.peer.swarm.add(parameters_to_bytes(&model.parameters).into(), &tag).await?;
        tracing::info!(
            "model of round {} is {} ({} tokens)",
            head.round,
            short_hash(&head.root),
            head.tokens
        );
        self.current = Some((*head, model.clone()));
        Ok(model)
    }

    /// The model from what this process has; none when the result is not the head or the way there
    /// is too long.
    async fn compute(&self, head: &Head) -> Result<Option<GlobalModel>> {
        let (mut before, mut model) = match &self.current {
            Some((known, model))
                if head.round > known.round && head.round - known.round <= MAX_CATCH_UP =>
            {
                (*known, model.clone())
            }
            _ if head.round <= MAX_CATCH_UP => {
                let Some(first) =
                    self.peer.chain.round_record(0).await?.and_then(|record| record.head)
                else {
                    return Ok(None);
                };
                let recipe = self.peer.recipe(&first.recipe_hash).await?;
                (first, initial_model(&self.peer, &recipe).await?)
            }
            _ => return Ok(None),
        };
        for round in before.round + 1..=head.round {
            let Some(record) = self.peer.chain.round_record(round).await? else { continue };
            let Some(made) = record.head else { continue };
            model = replay_round(&self.peer, &before, &model, &record, &made).await?.0;
            before = made;
            if model.root != made.root {
                return Err(RoleError::transient(anyhow!(
                    "round {round} gives {} here and {} on chain",
                    short_hash(&model.root),
                    short_hash(&made.root)
                )));
            }
        }
        Ok((model.root == head.root).then_some(model))
    }
}

/// The model whose parameters hash to `root`, from this machine or a peer, `first` before others,
/// kept under the label `keep`.
pub async fn fetch_model(
    peer: &NodeContext,
    root: &Hash,
    recipe: &Recipe,
    first: &[AccountId],
    keep: &str,
) -> Result<GlobalModel> {
    let size = recipe.model.size();
    let bytes = peer.fetch_blob(root, size * VALUE_BYTES, first, keep).await?;
    let parameters = parameters_from_bytes(&bytes, size as usize).map_err(RoleError::transient)?;
    Ok(GlobalModel { root: *root, parameters: Arc::new(parameters) })
}

/// The head that `round` moved or tried to move; none for round zero.
pub async fn head_before(peer: &NodeContext, round: RoundNumber) -> Result<Option<Head>> {
    for earlier in (0..round).rev() {
        if let Some(head) = peer.chain.round_record(earlier).await?.and_then(|record| record.head) {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Models take turns under a few names, so that a newer one lets go of an older one.
fn model_tag(round: RoundNumber) -> String {
    format!("model/{}", round % KEPT_MODELS)
}

/// The hash that names a model.
fn root_of(parameters: &[f32]) -> Hash {
    *blake3::hash(&parameters_to_bytes(parameters)).as_bytes()
}

/// The model that a recipe begins with: fetched where it comes from elsewhere, drawn where not.
pub async fn initial_model(peer: &NodeContext, recipe: &Recipe) -> Result<GlobalModel> {
    if let Some(root) = &recipe.pretrained {
        return fetch_model(peer, root, recipe, &[], PRETRAINED_TAG).await;
    }
    let (spec, seed) = (recipe.model, recipe.seed);
    let (parameters, root) = tokio::task::spawn_blocking(move || {
        let parameters = pol_model::initial_parameters(&spec, &seed);
        let root = root_of(&parameters);
        (parameters, root)
    })
    .await?;
    Ok(GlobalModel { root, parameters: Arc::new(parameters) })
}

/// The model after `updates`, which are in account order, and without what is `excised` from
/// earlier rounds.
pub async fn apply(
    recipe: &Recipe,
    base: &GlobalModel,
    updates: Vec<UpdateWithPayload>,
    excised: Vec<ExcisedRound>,
) -> Result<GlobalModel> {
    let (recipe, parameters) = (recipe.clone(), base.parameters.clone());
    let (parameters, root) = tokio::task::spawn_blocking(move || {
        let updates = payloads(updates);
        let next = pol_engine::aggregate(&recipe, &parameters, &updates, &excised)?;
        let root = root_of(&next);
        Ok::<_, pol_engine::EngineError>((next, root))
    })
    .await??;
    Ok(GlobalModel { root, parameters: Arc::new(parameters) })
}

/// What aggregating takes of updates.
fn payloads(updates: impl IntoIterator<Item = UpdateWithPayload>) -> Vec<(Payload, u8)> {
    updates.into_iter().map(|included| (included.payload, included.update.staleness)).collect()
}

/// The rewrite that a head made by `recipe` makes of `head`; none where the architecture stays.
pub async fn rewriting(
    peer: &NodeContext,
    head: &Head,
    recipe: &Recipe,
) -> Result<Option<RewritePlan>> {
    if head.recipe_hash == recipe.hash() {
        return Ok(None);
    }
    let before = peer.recipe(&head.recipe_hash).await?;
    let rewrite = recipe.rewrite_from(&before).map_err(RoleError::transient)?;
    rewrite
        .map(|rewrite| RewritePlan::new(&before.model, &rewrite))
        .transpose()
        .map_err(RoleError::transient)
}

/// The model that `base` becomes by `rewriting`.
pub async fn rewritten(base: &GlobalModel, rewriting: RewritePlan) -> Result<GlobalModel> {
    let parameters = base.parameters.clone();
    let (parameters, root) = tokio::task::spawn_blocking(move || {
        let next = rewriting.rewrite_parameters(&parameters)?;
        let root = root_of(&next);
        Ok::<_, pol_engine::EngineError>((next, root))
    })
    .await??;
    Ok(GlobalModel { root, parameters: Arc::new(parameters) })
}

/// The model that the head `made` is, computed from `base`, the model of the head `before` it, by
/// everything that `record` says of its round; and the updates it was made of.
pub async fn replay_round(
    peer: &NodeContext,
    before: &Head,
    base: &GlobalModel,
    record: &RoundRecord<AccountId>,
    made: &Head,
) -> Result<(GlobalModel, Vec<Update<AccountId>>)> {
    let recipe = peer.recipe(&made.recipe_hash).await?;
    if let Some(rewriting) = rewriting(peer, before, &recipe).await? {
        // Nothing was trained, and nothing taken out.
        return Ok((rewritten(base, rewriting).await?, Vec::new()));
    }
    let included = included_updates(peer, &recipe, made.round, record).await?;
    let updates = included.iter().map(|included| included.update).collect();
    let excised = excised(peer, made.round, &record.excised).await?;
    Ok((apply(&recipe, base, included, excised).await?, updates))
}

/// What the head of `round` takes out of earlier rounds when it takes out `excisions`: each of
/// those rounds as the heads since then left it, and as it is to be.
pub async fn excised(
    peer: &NodeContext,
    round: RoundNumber,
    excisions: &[Excision],
) -> Result<Vec<ExcisedRound>> {
    let mut by_round = BTreeMap::<RoundNumber, BTreeSet<u8>>::new();
    for excision in excisions {
        by_round.entry(excision.round).or_default().insert(excision.index);
    }
    let mut excised = Vec::new();
    for (earlier, taken_out) in by_round {
        let missing = || {
            RoleError::transient(anyhow!("the node has no record of the head of round {earlier}"))
        };
        let record = peer.chain.round_record(earlier).await?.ok_or_else(missing)?;
        let mut head = record.head.ok_or_else(missing)?;
        let recipe = peer.recipe(&head.recipe_hash).await?;
        let (mut gone, mut rewritings) = (BTreeSet::new(), Vec::new());
        for since in earlier + 1..round {
            let Some(record) = peer.chain.round_record(since).await? else { continue };
            gone.extend(
                record
                    .excised
                    .iter()
                    .filter(|excision| excision.round == earlier)
                    .map(|excision| excision.index),
            );
            let Some(made) = record.head else { continue };
            if made.recipe_hash != head.recipe_hash {
                rewritings
                    .extend(rewriting(peer, &head, &peer.recipe(&made.recipe_hash).await?).await?);
            }
            head = made;
        }
        let index =
            |account: &AccountId| record.revealed.iter().position(|revealed| revealed == account);
        let is_among = |update: &UpdateWithPayload, set: &BTreeSet<u8>| {
            index(&update.update.account)
                .is_some_and(|index| set.iter().any(|&other| usize::from(other) == index))
        };
        let mut included = included_updates(peer, &recipe, earlier, &record).await?;
        included.retain(|update| !is_among(update, &gone));
        let stays: Vec<bool> =
            included.iter().map(|update| !is_among(update, &taken_out)).collect();
        let before = payloads(included);
        let after = before
            .iter()
            .zip(stays)
            .filter(|(_, stays)| *stays)
            .map(|(update, _)| update.clone())
            .collect();
        excised.push(ExcisedRound { recipe, before, after, rewrites: rewritings });
    }
    Ok(excised)
}

/// The updates that the head of the concluded `round` was made of, with their payloads, in account
/// order.
async fn included_updates(
    peer: &NodeContext,
    recipe: &Recipe,
    round: RoundNumber,
    record: &RoundRecord<AccountId>,
) -> Result<Vec<UpdateWithPayload>> {
    with_payloads(peer, recipe, peer.chain.updates(round).await?, record.included.len()).await
}

/// The updates of `included` among the reveals of the round under way, with their payloads, in
/// account order.
pub async fn updates_of(
    peer: &NodeContext,
    recipe: &Recipe,
    submissions: &[(AccountId, Submission)],
    included: &Included,
) -> Result<Vec<UpdateWithPayload>> {
    let update = |(account, submission): &(AccountId, Submission)| {
        let opened = submission.opened.filter(|opened| included.contains(opened.index))?;
        Some(Update {
            account: *account,
            payload_hash: opened.payload_hash,
            data_hash: submission.data_hash,
            tokens: opened.tokens,
            staleness: submission.staleness,
        })
    };
    let mut updates: Vec<_> = submissions.iter().filter_map(update).collect();
    updates.sort_by_key(|update| update.account);
    with_payloads(peer, recipe, updates, included.len()).await
}

/// Fetches the payloads of `updates`, of which there should be `expected`.
async fn with_payloads(
    peer: &NodeContext,
    recipe: &Recipe,
    updates: Vec<Update<AccountId>>,
    expected: u32,
) -> Result<Vec<UpdateWithPayload>> {
    if updates.len() as u32 != expected {
        return Err(RoleError::transient(anyhow!(
            "the node knows {} of {expected} included updates",
            updates.len()
        )));
    }
    let mut included = Vec::with_capacity(updates.len());
    for update in updates {
        let payload = peer.fetch_payload(recipe, &update.account, &update.payload_hash).await?;
        included.push(UpdateWithPayload { update, payload });
    }
    Ok(included)
}
