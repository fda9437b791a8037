// SPDX-License-Identifier: Apache-2.0

//! Parameters and payloads from peers.

use super::global::{GlobalModel, HeldUpdate};
use crate::{
    context::NodeContext,
    display::short_hash,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::ParameterPieces;
use pol_primitives::{
    Hash, RoundNumber,
    head::{Head, IncludedUpdate, RoundRecord},
    recipe::Recipe,
    submission::{RevealSet, Submission},
};
use pol_swarm::Bytes;
use std::sync::Arc;

/// Largest tokenizer, in bytes.
const MAX_TOKENIZER_BYTES: u64 = 1 << 26;
/// Bytes of a parameter.
const PARAMETER_BYTES: u64 = size_of::<f32>() as u64;

/// Makes sure that the model whose parameters hash to `root` is on this machine under the label
/// `keep`. The peers of `first` are asked before the others.
///
/// # Errors
///
/// Fails if no peer serves the parameters, or if they are too large for the recipe.
pub async fn hold_model(
    context: &NodeContext,
    root: &Hash,
    recipe: &Recipe,
    first: &[AccountId],
    keep: &str,
) -> Result<()> {
    context.hold_blob(root, recipe.model.size() * PARAMETER_BYTES, first, keep).await
}

/// Returns the model whose parameters hash to `root`, from this machine or a peer, and keeps it
/// under the label `keep`. The peers of `first` are asked before the others.
///
/// # Errors
///
/// Fails if no peer serves the parameters, or if they do not fit the recipe.
pub async fn fetch_model(
    context: &NodeContext,
    root: &Hash,
    recipe: &Recipe,
    first: &[AccountId],
    keep: &str,
) -> Result<GlobalModel> {
    hold_model(context, root, recipe, first, keep).await?;
    load_model(context, root, recipe).await?.ok_or_else(|| {
        RoleError::transient(anyhow!("the model {} was just removed", short_hash(root)))
    })
}

/// Returns the model whose parameters hash to `root` from this machine, or `None` if it is not
/// here. It is read and verified piece by piece, so that there is one copy of it in memory.
///
/// # Errors
///
/// Fails if the parameters do not fit the recipe, and if the store fails.
pub async fn load_model(
    context: &NodeContext,
    root: &Hash,
    recipe: &Recipe,
) -> Result<Option<GlobalModel>> {
    let size = recipe.model.size();
    let Some(mut blob) = context.swarm.open(*root, size * PARAMETER_BYTES).await? else {
        return Ok(None);
    };
    let mut pieces = ParameterPieces::new(size as usize);
    loop {
        match blob.piece().await {
            Ok(Some(piece)) => pieces.push(&piece),
            Ok(None) => break,
            // The store said why.
            Err(_) => return Ok(None),
        }
    }
    let parameters = pieces.finish().map_err(RoleError::transient)?;
    Ok(Some(GlobalModel { root: *root, parameters: Arc::new(parameters) }))
}

/// Returns the file of the recipe's tokenizer, from this machine or a peer.
///
/// # Errors
///
/// Fails if no peer serves it, or if it is too large.
pub async fn fetch_tokenizer(context: &NodeContext, recipe: &Recipe) -> Result<Bytes> {
    context.fetch_blob(&recipe.tokenizer, MAX_TOKENIZER_BYTES, &[], "tokenizer").await
}

/// Returns the head that `round` moved or tried to move, or `None` for round zero.
///
/// # Errors
///
/// Fails if the chain cannot be reached.
pub async fn head_before(context: &NodeContext, round: RoundNumber) -> Result<Option<Head>> {
    for earlier in (0..round).rev() {
        let record = context.chain.round_record(earlier).await?;
        if let Some(head) = record.and_then(|record| record.head) {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Returns the updates that made the head of the concluded `round`, whose payloads are on this
/// machine then, in account order.
///
/// # Errors
///
/// Fails if the node does not know all of them, or if a payload cannot be fetched.
pub async fn included_updates(
    context: &NodeContext,
    recipe: &Recipe,
    round: RoundNumber,
    record: &RoundRecord<AccountId>,
) -> Result<Vec<HeldUpdate>> {
    let updates = context.chain.updates(round).await?;
    hold_payloads(context, recipe, round, updates, record.included.len()).await
}

/// Returns the updates of `included` among the reveals of `round`, which is under way, in account
/// order. Their payloads are on this machine then.
///
/// # Errors
///
/// Fails if an update is not among `submissions`, or if its payload cannot be fetched.
pub async fn revealed_updates(
    context: &NodeContext,
    recipe: &Recipe,
    round: RoundNumber,
    submissions: &[(AccountId, Submission)],
    included: &RevealSet,
) -> Result<Vec<HeldUpdate>> {
    let update = |(account, submission): &(AccountId, Submission)| {
        let reveal = submission.opened.filter(|reveal| included.contains(reveal.index))?;
        Some(IncludedUpdate {
            account: *account,
            payload_hash: reveal.payload_hash,
            data_hash: submission.data_hash,
            tokens: reveal.tokens,
            staleness: submission.staleness,
        })
    };
    let mut updates: Vec<_> = submissions.iter().filter_map(update).collect();
    updates.sort_by_key(|update| update.account);
    hold_payloads(context, recipe, round, updates, included.len()).await
}

/// Makes sure that the payloads of `updates` are on this machine. Fails unless there are `expected`
/// updates.
async fn hold_payloads(
    context: &NodeContext,
    recipe: &Recipe,
    round: RoundNumber,
    updates: Vec<IncludedUpdate<AccountId>>,
    expected: u32,
) -> Result<Vec<HeldUpdate>> {
    if updates.len() as u32 != expected {
        return Err(RoleError::transient(anyhow!(
            "the node knows {} of {expected} included updates",
            updates.len()
        )));
    }
    for IncludedUpdate { account, payload_hash, .. } in &updates {
        context.hold_payload(recipe, round, account, payload_hash).await?;
    }
    let held = |update| HeldUpdate { update, swarm: context.swarm.clone() };
    Ok(updates.into_iter().map(held).collect())
}
