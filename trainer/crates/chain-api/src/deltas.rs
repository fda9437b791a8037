// SPDX-License-Identifier: Apache-2.0

//! `GET /training-deltas`: what each update changed, by round, trainer, and shard.

use crate::{
    Answer,
    failure::Failure,
    page::Items,
    query::{PageQuery, Paged},
    state::ChainState,
    values::{Account, Digest, Pol, Time, billionths, millionths},
};
use axum::{Json, extract::State};
use pol_api::{ApiError, Problem};
use pol_chain::AccountId;
use pol_index::{Order, Row, Update, Updates, facts::ConsumedShard, lookups::Shards};
use pol_primitives::{recipe::Tier, submission::Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Number of updates of a page by default.
const UPDATES: u32 = 20;
/// Largest number of updates of a page.
const MAX_UPDATES: u32 = 100;
/// Largest number of shards that an update is told with.
const MAX_SHARDS: u32 = 64;

/// Selection of updates.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UpdateFilter {
    /// Round in which the updates were due.
    #[param(example = 7)]
    round: Option<u32>,
    /// Trainer: an SS58 address, or `0x` and 64 hexadecimal digits.
    #[param(value_type = Option<String>)]
    account: Option<Account>,
}

/// Selection of shards.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ShardFilter {
    /// Manifest.
    #[param(example = 3)]
    manifest: Option<u32>,
    /// Index of a shard in the manifest.
    #[param(example = 17)]
    shard: Option<u32>,
    /// Round that included the updates.
    #[param(example = 7)]
    round: Option<u32>,
    /// Trainer: an SS58 address, or `0x` and 64 hexadecimal digits.
    #[param(value_type = Option<String>)]
    account: Option<Account>,
}

/// Update of a trainer, from its lease to its end.
#[derive(Debug, Serialize, ToSchema)]
struct UpdateItem {
    /// Round in which it was due.
    #[schema(example = 6)]
    round: u32,
    /// Trainer.
    account: Account,
    /// Tier.
    #[schema(value_type = String, example = "miner")]
    tier: Tier,
    /// Round that granted the lease.
    #[schema(example = 6)]
    granted: u32,
    /// Number of leased shards.
    #[schema(example = 4)]
    shards: usize,
    /// Loss of the first segment that the trainer claims, in nats per token.
    #[schema(example = 3.31)]
    first_loss: Option<f64>,
    /// Loss of the last segment that the trainer claims.
    #[schema(example = 3.21)]
    last_loss: Option<f64>,
    /// Tokens per second that the trainer claims.
    #[schema(example = 700)]
    tokens_per_second: Option<u32>,
    /// Steps taken.
    #[schema(example = 20)]
    steps: Option<u32>,
    /// Tokens credited.
    #[schema(example = 65_536)]
    tokens: Option<u64>,
    /// BLAKE3 of the payload.
    payload: Option<Digest>,
    /// True once the update or the lease has ended.
    settled: bool,
    /// Outcome; null if nothing was committed.
    #[schema(value_type = Option<String>, example = "valid")]
    outcome: Option<Outcome>,
    /// Score that is paid for, in nats per token.
    #[schema(example = 0.0015)]
    score: Option<f64>,
    /// Gain on unassigned text, in nats per token.
    #[schema(example = 0.0014)]
    gain: Option<f64>,
    /// Rounds by which it was late.
    #[schema(example = 0)]
    staleness: Option<u8>,
    /// Part of the bond that it cost.
    slashed: Pol,
    /// Audit that decided it.
    #[schema(example = 3)]
    audit: Option<u32>,
    /// Improvement of the model on its shards, for valid updates; at most 64.
    deltas: Vec<DeltaItem>,
    /// Block of the lease.
    #[schema(example = 690)]
    block: u32,
    /// Time of that block.
    time: Time,
}

/// Improvement of the model on a shard.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DeltaItem {
    /// Manifest.
    #[schema(example = 3)]
    manifest: u32,
    /// Index in the manifest.
    #[schema(example = 17)]
    shard: u32,
    /// Improvement, in nats per token.
    #[schema(example = 0.00012)]
    delta: f64,
}

/// Shard that the model was trained on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShardItem {
    /// Manifest.
    #[schema(example = 3)]
    manifest: u32,
    /// Index in the manifest.
    #[schema(example = 17)]
    shard: u32,
    /// Round that included the update.
    #[schema(example = 6)]
    round: u32,
    /// Trainer.
    account: Account,
    /// Improvement of the model on the shard, in nats per token.
    #[schema(example = 0.00012)]
    delta: f64,
    /// Block.
    #[schema(example = 950)]
    block: u32,
    /// Time of the block.
    time: Time,
}

impl UpdateItem {
    fn new(update: Update, deltas: Vec<DeltaItem>) -> Self {
        let Update { lease, commit, reveal, settlement, slashed } = update;
        let Row { at, time, fact: lease } = lease;
        let settled = settlement.as_ref();
        Self {
            round: lease.round,
            account: Account(lease.account),
            tier: lease.tier,
            granted: lease.granted,
            shards: lease.shards.len(),
            first_loss: commit.as_ref().map(|commit| millionths(commit.first_loss)),
            last_loss: commit.as_ref().map(|commit| millionths(commit.last_loss)),
            tokens_per_second: commit.as_ref().map(|commit| commit.tokens_per_second),
            steps: reveal.as_ref().map(|reveal| reveal.steps),
            tokens: reveal.as_ref().map(|reveal| reveal.tokens),
            payload: reveal.as_ref().map(|reveal| Digest(reveal.payload)),
            settled: settled.is_some(),
            outcome: settled.and_then(|settlement| settlement.outcome),
            score: settled.map(|settlement| billionths(settlement.score)),
            gain: settled.map(|settlement| billionths(settlement.gain)),
            staleness: settled.map(|settlement| settlement.staleness),
            slashed: Pol(slashed),
            audit: settled.and_then(|settlement| settlement.audit),
            deltas,
            block: at.block,
            time: Time::new(time),
        }
    }
}

impl From<Row<ConsumedShard>> for ShardItem {
    fn from(Row { at, time, fact }: Row<ConsumedShard>) -> Self {
        Self {
            manifest: fact.manifest,
            shard: fact.shard,
            round: fact.round,
            account: Account(fact.account),
            delta: billionths(fact.delta),
            block: at.block,
            time: Time::new(time),
        }
    }
}

/// Returns updates with what the model learned from their shards.
#[utoipa::path(
    get,
    path = "/training-deltas",
    tag = "Learning",
    params(UpdateFilter, PageQuery),
    responses(
        (status = 200, body = Items<UpdateItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn updates(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<UpdateFilter>,
) -> Answer<Items<UpdateItem>> {
    let updates = match (filter.round, filter.account) {
        (Some(round), Some(account)) => Updates::AccountRound(account.0, round),
        (Some(round), None) => Updates::Round(round),
        (None, Some(account)) => Updates::Account(account.0),
        (None, None) => {
            let detail = "give a round, a trainer as `account`, or both";
            return Err(ApiError::parameter("round", detail).into());
        }
    };
    let (range, as_of) = (page.range_within(UPDATES, MAX_UPDATES)?, state.as_of().await?);
    let found = state.index().updates(updates, range).await?;
    let mut deltas = deltas_of(&state, &found.items).await?;
    let next = found.next.map(|next| next.to_string());
    let item = |update: Update| {
        let key = (update.lease.fact.round, update.lease.fact.account);
        UpdateItem::new(update, deltas.remove(&key).unwrap_or_default())
    };
    Ok(Json(Items { items: found.items.into_iter().map(item).collect(), next, as_of }))
}

/// Returns the improvements by the shards of updates, by round and trainer.
async fn deltas_of(
    state: &ChainState,
    updates: &[Update],
) -> Result<BTreeMap<(u32, AccountId), Vec<DeltaItem>>, Failure> {
    let stays = |update: &&Update| {
        let outcome = update.settlement.as_ref().and_then(|settlement| settlement.outcome);
        outcome.is_some_and(Outcome::stays)
    };
    let lookup = |update: &Update| {
        let lease = &update.lease.fact;
        Shards::Update(lease.round, lease.account)
    };
    let lookups: Vec<_> = updates.iter().filter(stays).map(lookup).collect();
    let shards = state.index().first_of_each(&lookups, Order::OldestFirst, MAX_SHARDS).await?;
    let mut deltas = BTreeMap::<_, Vec<_>>::new();
    for ConsumedShard { manifest, shard, round, account, delta } in
        shards.into_iter().map(|row| row.fact)
    {
        let item = DeltaItem { manifest, shard, delta: billionths(delta) };
        deltas.entry((round, account)).or_default().push(item);
    }
    Ok(deltas)
}

/// Returns shards that the model was trained on, with what it learned from them.
#[utoipa::path(
    get,
    path = "/training-deltas/shards",
    tag = "Learning",
    params(ShardFilter, PageQuery),
    responses(
        (status = 200, body = Items<ShardItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn shards(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<ShardFilter>,
) -> Answer<Items<ShardItem>> {
    let ShardFilter { manifest, shard, round, account } = filter;
    let lookup = match (manifest, shard, round, account) {
        (None, None, None, None) => Shards::All,
        (Some(manifest), None, None, None) => Shards::Manifest(manifest),
        (Some(manifest), Some(shard), None, None) => Shards::Shard(manifest, shard),
        (None, None, Some(round), None) => Shards::Round(round),
        (None, None, Some(round), Some(account)) => Shards::Update(round, account.0),
        (None, None, None, Some(account)) => Shards::Account(account.0),
        _ => {
            let detail = "give a manifest, a manifest with a shard, a round, an account, or a \
                          round with an account";
            return Err(ApiError::parameter("manifest", detail).into());
        }
    };
    let (range, as_of) = (page.range()?, state.as_of().await?);
    Ok(Json(Items::of(state.index().page(lookup, range).await?, as_of)))
}

/// Returns the endpoints.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(updates)).routes(routes!(shards)).with_state(state)
}
