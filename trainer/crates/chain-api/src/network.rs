// SPDX-License-Identifier: Apache-2.0

//! Below `GET /consensus`: members, phases, rounds, and blocks of the past.

use crate::{
    Answer,
    failure::Failure,
    page::{AsOf, Items},
    query::{KeyQuery, PageQuery, Paged, Parameters, bounded, invalid_after},
    state::ChainState,
    values::{Account, Digest, Pol, SwarmEndpoint, Time},
};
use axum::{Json, extract::State};
use pol_api::Problem;
use pol_chain::parse_account;
use pol_index::{
    Row,
    facts::{MemberState, PhaseStart, RoundEnd},
    lookups::{Phases, Rounds},
};
use pol_primitives::{member::Role, round::Phase};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Number of blocks whose authors are counted by default.
const WINDOW: u32 = 1_000;
/// Largest number of blocks whose authors are counted.
const MAX_WINDOW: u32 = 10_000;

/// Selection of a round.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfRound {
    /// Round. All rounds without it.
    #[param(example = 7)]
    pub(crate) round: Option<u32>,
}

/// Number of blocks.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Window {
    /// Number of the last blocks, from 1 to 10,000, and 1,000 by default.
    #[param(minimum = 1, maximum = 10_000, example = 1_000)]
    window: Option<u32>,
}

/// Present state of a member.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberItem {
    /// Account.
    pub(crate) account: Account,
    /// Role; null once it ended.
    #[schema(value_type = Option<String>, example = "trainer")]
    pub(crate) role: Option<Role>,
    /// Active bond.
    bond: Pol,
    /// Stake that counts in quorums; null for no active validator.
    stake: Option<Pol>,
    /// True if the bond is enough to act in the role.
    bonded: bool,
    /// True if it is inactive because it missed attest phases.
    chilled: bool,
    /// True if it is an authority that produced no or too few blocks.
    absent: bool,
    /// Endpoint at which it serves blobs.
    pub(crate) endpoint: Option<SwarmEndpoint>,
    /// Block since which the state holds.
    #[schema(example = 12)]
    block: u32,
    /// Time of that block.
    time: Time,
}

/// Beginning of a phase, or a move of its deadline.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PhaseItem {
    /// Round.
    #[schema(example = 7)]
    round: u32,
    /// Phase.
    #[schema(value_type = String, example = "train")]
    phase: Phase,
    /// First block after the phase, on the clock of deadlines.
    #[schema(example = 890)]
    deadline: Option<u32>,
    /// Block.
    #[schema(example = 790)]
    block: u32,
    /// Time of the block.
    time: Time,
}

/// Round that ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RoundItem {
    /// Round.
    #[schema(example = 6)]
    pub(crate) round: u32,
    /// Block in which it opened, on the clock of deadlines.
    #[schema(example = 689)]
    opened_at: u32,
    /// Updates that were revealed.
    #[schema(example = 3)]
    revealed: u32,
    /// Updates that the head includes.
    #[schema(example = 3)]
    included: u32,
    /// Updates of earlier rounds that the head excises.
    #[schema(example = 0)]
    excised: u32,
    /// Root of the head; null if the round was void.
    pub(crate) root: Option<Digest>,
    /// Recipe.
    recipe: Option<Digest>,
    /// Digest of the history of the head.
    lineage: Option<Digest>,
    /// Tokens trained on since genesis.
    #[schema(example = 393_216)]
    tokens: Option<u64>,
    /// Block.
    #[schema(example = 788)]
    block: u32,
    /// Time of the block.
    time: Time,
}

/// Blocks, newest first.
#[derive(Debug, Serialize, ToSchema)]
struct BlockList {
    /// Blocks.
    items: Vec<BlockItem>,
    /// Value of `after` for the next page.
    #[schema(example = "713")]
    next: Option<String>,
    /// Block that the answer is of.
    as_of: AsOf,
}

/// Block.
#[derive(Debug, Serialize, ToSchema)]
struct BlockItem {
    /// Height.
    #[schema(example = 812)]
    number: u32,
    /// Hash.
    hash: Digest,
    /// Hash of the block before it.
    parent: Digest,
    /// Authority that produced it; null for the genesis block.
    author: Option<Account>,
    /// Time.
    time: Time,
    /// Extrinsics, without that which sets the time.
    #[schema(example = 2)]
    extrinsics: u32,
}

/// Authors of the last blocks.
#[derive(Debug, Serialize, ToSchema)]
struct AuthorList {
    /// Authors, the busiest first.
    items: Vec<AuthorItem>,
    /// Blocks that were counted.
    window: BlockWindow,
    /// Block that the answer is of.
    as_of: AsOf,
}

/// Author of blocks.
#[derive(Debug, Serialize, ToSchema)]
struct AuthorItem {
    /// Authority.
    account: Account,
    /// Blocks that it produced.
    #[schema(example = 334)]
    blocks: u64,
}

/// Consecutive blocks.
#[derive(Debug, Serialize, ToSchema)]
struct BlockWindow {
    /// First block.
    #[schema(example = 1)]
    from: u32,
    /// Last block.
    #[schema(example = 812)]
    to: u32,
    /// Number of blocks.
    #[schema(example = 812)]
    blocks: u32,
    /// Time between the first and the last one.
    #[schema(example = 2_433.0)]
    seconds: f64,
}

impl From<Row<MemberState>> for MemberItem {
    fn from(Row { at, time, fact }: Row<MemberState>) -> Self {
        Self {
            account: Account(fact.account),
            role: fact.role,
            bond: Pol(fact.bond),
            stake: fact.stake.map(Pol),
            bonded: fact.bonded,
            chilled: fact.chilled,
            absent: fact.absent,
            endpoint: fact.endpoint.map(Into::into),
            block: at.block,
            time: Time::new(time),
        }
    }
}

impl From<Row<PhaseStart>> for PhaseItem {
    fn from(Row { at, time, fact }: Row<PhaseStart>) -> Self {
        let PhaseStart { round, phase, deadline } = fact;
        Self { round, phase, deadline, block: at.block, time: Time::new(time) }
    }
}

impl From<Row<RoundEnd>> for RoundItem {
    fn from(Row { at, time, fact }: Row<RoundEnd>) -> Self {
        Self {
            round: fact.round,
            opened_at: fact.opened_at,
            revealed: fact.revealed,
            included: fact.included,
            excised: fact.excised,
            root: fact.root.map(Digest),
            recipe: fact.recipe.map(Digest),
            lineage: fact.lineage.map(Digest),
            tokens: fact.tokens,
            block: at.block,
            time: Time::new(time),
        }
    }
}

/// Returns the present members, in the order of their accounts.
#[utoipa::path(
    get,
    path = "/consensus/members",
    tag = "Chain",
    params(KeyQuery),
    responses(
        (status = 200, body = Items<MemberItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn members(
    State(state): State<ChainState>,
    Parameters(page): Parameters<KeyQuery>,
) -> Answer<Items<MemberItem>> {
    Ok(Json(member_page(&state, &page).await?))
}

/// Returns a page of the present members.
pub(crate) async fn member_page(
    state: &ChainState,
    page: &KeyQuery,
) -> Result<Items<MemberItem>, Failure> {
    let (limit, as_of) = (page.limit()?, state.as_of().await?);
    let after = page.after_text().map(|text| parse_account(text).map_err(|_| invalid_after()));
    let found = state.index().states::<MemberState>(after.transpose()?.as_ref(), limit).await?;
    let items = found.into_iter().map(MemberItem::from).collect();
    Ok(Items::by_key(items, limit, as_of, |member: &MemberItem| member.account))
}

/// Returns beginnings of phases.
#[utoipa::path(
    get,
    path = "/consensus/phases",
    tag = "Chain",
    params(OfRound, PageQuery),
    responses(
        (status = 200, body = Items<PhaseItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn phases(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<OfRound>,
) -> Answer<Items<PhaseItem>> {
    let (range, as_of) = (page.range()?, state.as_of().await?);
    let lookup = filter.round.map_or(Phases::All, Phases::Round);
    Ok(Json(Items::of(state.index().page(lookup, range).await?, as_of)))
}

/// Returns rounds that ended, with their heads.
#[utoipa::path(
    get,
    path = "/consensus/rounds",
    tag = "Chain",
    params(OfRound, PageQuery),
    responses(
        (status = 200, body = Items<RoundItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn rounds(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<OfRound>,
) -> Answer<Items<RoundItem>> {
    let (range, as_of) = (page.range()?, state.as_of().await?);
    let lookup = filter.round.map_or(Rounds::All, Rounds::Round);
    Ok(Json(Items::of(state.index().page(lookup, range).await?, as_of)))
}

/// Returns blocks, newest first.
#[utoipa::path(
    get,
    path = "/consensus/blocks",
    tag = "Chain",
    params(KeyQuery),
    responses(
        (status = 200, body = BlockList),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn blocks(
    State(state): State<ChainState>,
    Parameters(page): Parameters<KeyQuery>,
) -> Answer<BlockList> {
    let (limit, after, as_of) = (page.limit()?, page.after::<u32>()?, state.as_of().await?);
    let blocks = state.index().blocks(after, limit).await?;
    let ends = blocks.last().zip(blocks.first());
    let counts: BTreeMap<u32, u32> = match ends {
        Some((from, to)) => state
            .index()
            .extrinsic_counts(from.block.number, to.block.number)
            .await?
            .into_iter()
            .collect(),
        None => BTreeMap::new(),
    };
    // The genesis block is the last one.
    let next = blocks.last().map(|last| last.block.number).filter(|number| *number > 0);
    let items = blocks.into_iter().map(|block| BlockItem {
        number: block.block.number,
        hash: Digest(block.block.hash),
        parent: Digest(block.parent),
        author: block.author.map(Account),
        time: Time::new(block.time),
        extrinsics: counts.get(&block.block.number).copied().unwrap_or(0),
    });
    let items = items.collect();
    Ok(Json(BlockList { items, next: next.map(|next| next.to_string()), as_of }))
}

/// Returns the authors of the last blocks.
#[utoipa::path(
    get,
    path = "/consensus/authors",
    tag = "Chain",
    params(Window),
    responses(
        (status = 200, body = AuthorList),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn authors(
    State(state): State<ChainState>,
    Parameters(Window { window }): Parameters<Window>,
) -> Answer<AuthorList> {
    let window = bounded("window", window, WINDOW, MAX_WINDOW)?;
    let as_of = state.as_of().await?;
    // The first block has neither an author nor a time.
    let from = as_of.block.saturating_add(1).saturating_sub(window).max(1);
    let mut authors = state.index().authors(from).await?;
    authors.sort_by(|(one, a), (other, b)| b.cmp(a).then(one.cmp(other)));
    let first = state.index().blocks(Some(from.saturating_add(1)), 1).await?;
    let start = first.first().map_or(as_of.time.milliseconds(), |block| block.time);
    Ok(Json(AuthorList {
        items: authors
            .into_iter()
            .map(|(account, blocks)| AuthorItem { account: Account(account), blocks })
            .collect(),
        window: BlockWindow {
            from,
            to: as_of.block,
            blocks: as_of.block.saturating_add(1).saturating_sub(from),
            seconds: as_of.time.milliseconds().saturating_sub(start) as f64 / 1e3,
        },
        as_of,
    }))
}

/// Returns the endpoints.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(members))
        .routes(routes!(phases))
        .routes(routes!(rounds))
        .routes(routes!(blocks))
        .routes(routes!(authors))
        .with_state(state)
}
