// SPDX-License-Identifier: Apache-2.0

//! Parameters and payloads from peers.

use super::global::{GlobalModel, UpdateWithPayload};
use crate::{
    context::NodeContext,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::parameters_from_bytes;
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
    let size = recipe.model.size();
    let bytes = context.fetch_blob(root, size * PARAMETER_BYTES, first, keep).await?;
    let parameters = parameters_from_bytes(&bytes, size as usize).map_err(RoleError::transient)?;
    Ok(GlobalModel { root: *root, parameters: Arc::new(parameters) })
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

/// Returns the updates that made the head of the concluded `round`, with their payloads, in account
/// order.
///
/// # Errors
///
/// Fails if the node does not know all of them, or if a payload cannot be fetched.
pub async fn included_updates(
    context: &NodeContext,
    recipe: &Recipe,
    round: RoundNumber,
    record: &RoundRecord<AccountId>,
) -> Result<Vec<UpdateWithPayload>> {
    let updates = context.chain.updates(round).await?;
    fetch_payloads(context, recipe, round, updates, record.included.len()).await
}

/// Returns the updates of `included` among the reveals of `round`, which is under way, with their
/// payloads, in account order.
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
) -> Result<Vec<UpdateWithPayload>> {
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
    fetch_payloads(context, recipe, round, updates, included.len()).await
}

/// Fetches the payloads of `updates`. Fails unless there are `expected` updates.
async fn fetch_payloads(
    context: &NodeContext,
    recipe: &Recipe,
    round: RoundNumber,
    updates: Vec<IncludedUpdate<AccountId>>,
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
        let (account, hash) = (&update.account, &update.payload_hash);
        let payload = context.fetch_payload(recipe, round, account, hash).await?;
        included.push(UpdateWithPayload { update, payload });
    }
    Ok(included)
}
