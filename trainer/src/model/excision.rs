// SPDX-License-Identifier: Apache-2.0

//! Earlier rounds that a head takes updates out of.

use super::{fetch::included_updates, global::HeldUpdate, rewrite::rewrite_plan};
use crate::{
    context::NodeContext,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::ExcisedRound;
use pol_model::RewritePlan;
use pol_primitives::{
    RoundNumber,
    head::{Excision, Head, RoundRecord},
};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the earlier rounds that the head of `round` changes by `excisions`: each as the heads
/// since then left it, and as it is to be.
///
/// # Errors
///
/// Fails if the node has no record of such a round, or if a payload cannot be fetched.
pub async fn excised_rounds(
    context: &NodeContext,
    round: RoundNumber,
    excisions: &[Excision],
) -> Result<Vec<ExcisedRound<HeldUpdate>>> {
    let mut by_round = BTreeMap::<RoundNumber, BTreeSet<u8>>::new();
    for excision in excisions {
        by_round.entry(excision.round).or_default().insert(excision.index);
    }
    let mut excised = Vec::new();
    for (earlier, indices) in by_round {
        excised.push(excised_round(context, earlier, round, &indices).await?);
    }
    Ok(excised)
}

/// Returns the round `earlier`, from which the head of `round` takes out the updates with these
/// `indices` among the reveals.
async fn excised_round(
    context: &NodeContext,
    earlier: RoundNumber,
    round: RoundNumber,
    indices: &BTreeSet<u8>,
) -> Result<ExcisedRound<HeldUpdate>> {
    let missing =
        || RoleError::transient(anyhow!("the node has no record of the head of round {earlier}"));
    let record = context.chain.round_record(earlier).await?.ok_or_else(missing)?;
    let head = record.head.ok_or_else(missing)?;
    let recipe = context.recipe(&head.recipe_hash).await?;
    let (gone, rewrites) = changes_since(context, head, round).await?;

    let mut before = included_updates(context, &recipe, earlier, &record).await?;
    before.retain(|update| !is_among(&record, update, &gone));
    let stays = before.iter().filter(|update| !is_among(&record, update, indices));
    let after = stays.cloned().collect();
    Ok(ExcisedRound { recipe, before, after, rewrites })
}

/// Returns the updates of the round of `head` that heads before `round` took out already, and the
/// rewrites of the model in between, oldest first.
async fn changes_since(
    context: &NodeContext,
    mut head: Head,
    round: RoundNumber,
) -> Result<(BTreeSet<u8>, Vec<RewritePlan>)> {
    let (earlier, mut gone, mut rewrites) = (head.round, BTreeSet::new(), Vec::new());
    for since in earlier + 1..round {
        let Some(record) = context.chain.round_record(since).await? else { continue };
        let excised = record.excised.iter().filter(|excision| excision.round == earlier);
        gone.extend(excised.map(|excision| excision.index));
        let Some(next) = record.head else { continue };
        if next.recipe_hash != head.recipe_hash {
            let recipe = context.recipe(&next.recipe_hash).await?;
            rewrites.extend(rewrite_plan(context, &head, &recipe).await?);
        }
        head = next;
    }
    Ok((gone, rewrites))
}

/// Returns `true` if the trainer of `update` revealed at one of the `indices` of the round.
fn is_among(record: &RoundRecord<AccountId>, update: &HeldUpdate, indices: &BTreeSet<u8>) -> bool {
    let index = record.revealed.iter().position(|account| *account == update.update.account);
    index.is_some_and(|index| indices.iter().any(|&other| usize::from(other) == index))
}
