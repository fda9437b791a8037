//! The global model as this process holds it, kept at the chain's head.

use crate::{
    failure::{Failure, Result},
    peer::{Peer, short},
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::{parameters_from_bytes, parameters_to_bytes};
use pol_primitives::{
    Hash, RoundNumber,
    head::{Head, RoundRecord, Update},
    payload::Payload,
    recipe::Recipe,
    submission::{Included, Submission},
};
use std::sync::Arc;

/// Heads whose parameters are kept for peers that lag behind.
const KEPT_MODELS: u32 = 2;
/// Rounds a peer catches up by applying updates; further back, fetching the parameters is cheaper.
const MAX_CATCH_UP: u32 = 4;
const VALUE_BYTES: u64 = 4;
/// Tag of the last model that came from a peer.
const FETCHED_TAG: &str = "model/fetched";

/// The parameters of one head.
#[derive(Clone)]
pub struct Model {
    pub root: Hash,
    pub parameters: Arc<Vec<f32>>,
}

/// One included update with its payload.
pub struct IncludedUpdate {
    pub update: Update<AccountId>,
    pub payload: Payload,
}

/// Follows the head.
pub struct ModelKeeper {
    peer: Peer,
    /// The model at the head that was last followed, and that head's round.
    current: Option<(RoundNumber, Model)>,
}

impl ModelKeeper {
    pub fn new(peer: Peer) -> Self {
        Self { peer, current: None }
    }

    /// The model of `head`, computed from updates where that is possible and fetched from peers where not.
    pub async fn at(&mut self, head: &Head, recipe: &Recipe) -> Result<Model> {
        if let Some((_, current)) = &self.current
            && current.root == head.root
        {
            return Ok(current.clone());
        }
        let computed = match self.compute(head, recipe).await {
            Ok(model) => model,
            Err(Failure::Passing(error)) => {
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
                self.fetch(&head.root, recipe, FETCHED_TAG).await?
            }
        };
        let tag = model_tag(head.round);
        self.peer.swarm.release(&tag).await?;
        self.peer.swarm.add(parameters_to_bytes(&model.parameters).into(), &tag).await?;
        tracing::info!("model of round {} is {} ({} tokens)", head.round, short(&head.root), head.tokens);
        self.current = Some((head.round, model.clone()));
        Ok(model)
    }

    /// The model from what this process has; none when the result is not the head or the way there is too long.
    async fn compute(&self, head: &Head, recipe: &Recipe) -> Result<Option<Model>> {
        if recipe.hash() != head.recipe_hash {
            return Ok(None);
        }
        let (start, mut model) = match &self.current {
            Some((round, current)) if head.round > *round && head.round - round <= MAX_CATCH_UP => (*round, current.clone()),
            _ if head.round <= MAX_CATCH_UP => (0, initial_model(recipe).await?),
            _ => return Ok(None),
        };
        for round in start + 1..=head.round {
            let Some(record) = self.peer.chain.round_record(round).await? else { continue };
            let Some(made) = record.head else { continue };
            let updates = included_updates(&self.peer, recipe, round, &record).await?;
            model = apply(recipe, &model, updates).await?;
            if model.root != made.root {
                return Err(Failure::passing(anyhow!(
                    "round {round} gives {} here and {} on chain",
                    short(&model.root),
                    short(&made.root)
                )));
            }
        }
        Ok((model.root == head.root).then_some(model))
    }

    /// The model whose parameters hash to `root`, from this machine or a peer, kept under the label `keep`.
    pub async fn fetch(&self, root: &Hash, recipe: &Recipe, keep: &str) -> Result<Model> {
        let size = recipe.model.size();
        let bytes = self.peer.blob(root, size * VALUE_BYTES, &[], keep).await?;
        let parameters = parameters_from_bytes(&bytes, size as usize).map_err(Failure::passing)?;
        Ok(Model { root: *root, parameters: Arc::new(parameters) })
    }
}

/// Models take turns under a few names, so that a newer one lets go of an older one.
fn model_tag(round: RoundNumber) -> String {
    format!("model/{}", round % KEPT_MODELS)
}

/// The hash that names a model.
fn root_of(parameters: &[f32]) -> Hash {
    *blake3::hash(&parameters_to_bytes(parameters)).as_bytes()
}

/// The model that a recipe begins with.
pub async fn initial_model(recipe: &Recipe) -> Result<Model> {
    let (spec, seed) = (recipe.model, recipe.seed);
    let (parameters, root) = tokio::task::spawn_blocking(move || {
        let parameters = pol_model::initial_parameters(&spec, &seed);
        let root = root_of(&parameters);
        (parameters, root)
    })
    .await?;
    Ok(Model { root, parameters: Arc::new(parameters) })
}

/// The model after `updates`, which are in account order.
pub async fn apply(recipe: &Recipe, base: &Model, updates: Vec<IncludedUpdate>) -> Result<Model> {
    let (recipe, parameters) = (recipe.clone(), base.parameters.clone());
    let (parameters, root) = tokio::task::spawn_blocking(move || {
        let updates: Vec<_> = updates.into_iter().map(|included| (included.payload, included.update.staleness)).collect();
        let next = pol_engine::aggregate(&recipe, &parameters, &updates)?;
        let root = root_of(&next);
        Ok::<_, pol_engine::Error>((next, root))
    })
    .await??;
    Ok(Model { root, parameters: Arc::new(parameters) })
}

/// The updates that `record` says its head was made of, with their payloads, in account order.
pub async fn included_updates(
    peer: &Peer,
    recipe: &Recipe,
    round: RoundNumber,
    record: &RoundRecord<AccountId>,
) -> Result<Vec<IncludedUpdate>> {
    let submissions = peer.chain.submissions(round).await?;
    updates_of(peer, recipe, &submissions, &record.included).await
}

/// The updates of `included` among a round's submissions, with their payloads, in account order.
pub async fn updates_of(
    peer: &Peer,
    recipe: &Recipe,
    submissions: &[(AccountId, Submission)],
    included: &Included,
) -> Result<Vec<IncludedUpdate>> {
    let mut updates = Vec::new();
    for (account, submission) in submissions {
        let Some(opened) = submission.opened.filter(|opened| included.contains(opened.index)) else { continue };
        let payload = peer.payload(recipe, account, &opened.payload_hash).await?;
        let update = Update {
            account: *account,
            payload_hash: opened.payload_hash,
            data_hash: submission.data_hash,
            tokens: opened.tokens,
            staleness: submission.staleness,
        };
        updates.push(IncludedUpdate { update, payload });
    }
    if updates.len() as u32 != included.len() {
        return Err(Failure::passing(anyhow!("the node knows {} of {} included submissions", updates.len(), included.len())));
    }
    updates.sort_by_key(|included| included.update.account);
    Ok(updates)
}
