// SPDX-License-Identifier: Apache-2.0

//! `GET /wallet`: the balance of an account with its parts, and what changed it.

use crate::{
    Answer,
    failure::Failure,
    node::Node,
    page::{AsOf, Items},
    query::{PageQuery, Paged, Parameters},
    state::ChainState,
    values::{Account, Digest, Pol, SwarmEndpoint, Time},
};
use axum::{Json, extract::State};
use futures::try_join;
use pol_api::Problem;
use pol_chain::{AccountBalance, AccountId, ChainError};
use pol_index::{
    Order, RewardSum, Row,
    facts::{AccountState, Extrinsic, MemberState, Movement, MovementKind, RewardSource},
    lookups::{Extrinsics, Movements},
};
use pol_primitives::{member::Role, queries::Member};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Selection of an account.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfAccount {
    /// Account: an SS58 address, or `0x` and 64 hexadecimal digits.
    #[param(value_type = String, example = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")]
    account: Account,
}

/// Account with all that it has.
#[derive(Debug, Serialize, ToSchema)]
struct Wallet {
    /// Account.
    account: Account,
    /// True if the node told the state. If it does not within half a second, balances and member
    /// are those of the index, and what the index does not have is null.
    live: bool,
    /// Part that is neither held nor reserved.
    free: Pol,
    /// Part that is on hold, for bonds and deposits.
    held: Pol,
    /// Part that cannot be spent, held or not.
    frozen: Pol,
    /// Free part without what is frozen.
    transferable: Pol,
    /// Number of its transactions.
    #[schema(example = 12)]
    nonce: Option<u32>,
    /// Holds by their reasons.
    holds: Option<Vec<HoldItem>>,
    /// Membership; null for an account without a role.
    member: Option<Membership>,
    /// Rewards that are not claimed.
    escrow: Option<Vec<EscrowItem>>,
    /// Rewards of all settled rounds, by kind of work.
    earned: Vec<EarnedItem>,
    /// Sum of its penalties.
    slashed: Pol,
    /// Block that the rewards and penalties are of.
    as_of: AsOf,
}

/// Part of a balance on hold.
#[derive(Debug, Serialize, ToSchema)]
struct HoldItem {
    /// Pallet and reason.
    #[schema(example = "PolStaking.Bond")]
    reason: String,
    /// Amount.
    amount: Pol,
}

/// Membership of an account.
#[derive(Debug, Serialize, ToSchema)]
struct Membership {
    /// Role.
    #[schema(value_type = String, example = "trainer")]
    role: Role,
    /// Active bond.
    bond: Pol,
    /// Part of the bond that is locked for unsettled updates; null while the node is away.
    locked: Option<Pol>,
    /// Stake that counts in quorums; null for no active validator.
    stake: Option<Pol>,
    /// True if the bond is enough to act in the role.
    bonded: bool,
    /// True if it is inactive because it missed attest phases.
    chilled: bool,
    /// True if it is an authority that produced no or too few blocks.
    absent: bool,
    /// Endpoint at which it serves blobs.
    endpoint: Option<SwarmEndpoint>,
}

/// Reward that is not claimed.
#[derive(Debug, Serialize, ToSchema)]
struct EscrowItem {
    /// Round.
    #[schema(example = 7)]
    round: u32,
    /// Amount; null until the round is settled.
    amount: Option<Pol>,
    /// First round in which it can be claimed.
    #[schema(example = 9)]
    from_round: u32,
}

/// Sum of rewards for one kind of work.
#[derive(Debug, Serialize, ToSchema)]
struct EarnedItem {
    /// Work.
    #[schema(value_type = String, example = "training")]
    source: RewardSource,
    /// Number of rewards.
    #[schema(example = 40)]
    rewards: u64,
    /// Sum.
    amount: Pol,
}

/// Change of a balance.
#[derive(Debug, Serialize, ToSchema)]
struct MovementItem {
    /// Kind.
    #[schema(value_type = String, example = "received")]
    kind: MovementKind,
    /// Amount.
    amount: Pol,
    /// Other account of a transfer.
    other: Option<Account>,
    /// Extrinsic that caused it; null if the block itself did.
    extrinsic: Option<ExtrinsicItem>,
    /// Block.
    #[schema(example = 788)]
    block: u32,
    /// Time of the block.
    time: Time,
}

/// Extrinsic.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ExtrinsicItem {
    /// Hash.
    hash: Digest,
    /// Pallet of the call.
    #[schema(example = "Rewards")]
    pallet: String,
    /// Name of the call.
    #[schema(example = "claim")]
    call: String,
    /// Account that signed it.
    signer: Option<Account>,
    /// Fee without the tip.
    fee: Pol,
    /// Tip for the author of the block.
    tip: Pol,
    /// Name of the error if the call failed.
    #[schema(example = "ProofOfLearning.NoLease")]
    failure: Option<String>,
}

/// Present state of an account.
struct Present {
    live: bool,
    balance: AccountBalance,
    nonce: Option<u32>,
    holds: Option<Vec<HoldItem>>,
    member: Option<Membership>,
    escrow: Option<Vec<EscrowItem>>,
}

impl From<&Extrinsic> for ExtrinsicItem {
    fn from(extrinsic: &Extrinsic) -> Self {
        Self {
            hash: Digest(extrinsic.hash),
            pallet: extrinsic.pallet.clone(),
            call: extrinsic.call.clone(),
            signer: extrinsic.signer.map(Account),
            fee: Pol(extrinsic.fee),
            tip: Pol(extrinsic.tip),
            failure: extrinsic.failure.clone(),
        }
    }
}

impl From<RewardSum> for EarnedItem {
    fn from(RewardSum { source, rewards, amount }: RewardSum) -> Self {
        Self { source, rewards, amount: Pol(amount) }
    }
}

impl Membership {
    /// Returns the membership that the node tells.
    fn live(member: Member<AccountId>, stake: Option<Pol>) -> Self {
        Self {
            role: member.role,
            bond: Pol(member.bond),
            locked: Some(Pol(member.locked)),
            stake,
            bonded: member.bonded,
            chilled: member.chilled,
            absent: member.absent,
            endpoint: member.endpoint.map(Into::into),
        }
    }

    /// Returns the membership that the index has.
    fn indexed(member: MemberState) -> Option<Self> {
        Some(Self {
            role: member.role?,
            bond: Pol(member.bond),
            locked: None,
            stake: member.stake.map(Pol),
            bonded: member.bonded,
            chilled: member.chilled,
            absent: member.absent,
            endpoint: member.endpoint.map(Into::into),
        })
    }
}

/// Returns the balance of an account with its parts, and what it earned and lost.
#[utoipa::path(
    get,
    path = "/wallet",
    tag = "Money",
    params(OfAccount),
    responses(
        (status = 200, body = Wallet),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn wallet(
    State(state): State<ChainState>,
    Parameters(OfAccount { account }): Parameters<OfAccount>,
) -> Answer<Wallet> {
    let as_of = state.as_of().await?;
    let present = match state.ask_briefly(|node| read(node, account.0)).await {
        Ok(present) => present,
        Err(_) => indexed(&state, &account.0).await?,
    };
    let Present { live, balance, nonce, holds, member, escrow } = present;
    let earned = state.index().reward_sums(&account.0).await?;
    Ok(Json(Wallet {
        account,
        live,
        free: Pol(balance.free),
        held: Pol(balance.held),
        frozen: Pol(balance.frozen),
        // The part on hold counts towards the frozen one.
        transferable: Pol(balance.free.saturating_sub(balance.frozen.saturating_sub(balance.held))),
        nonce,
        holds,
        member,
        escrow,
        earned: earned.into_iter().map(Into::into).collect(),
        slashed: Pol(state.index().penalty_sum(&account.0).await?),
        as_of,
    }))
}

/// Reads the state of an account from the node. All is asked for at once, so that the distance of
/// the node counts once.
async fn read(node: Node, account: AccountId) -> Result<Present, ChainError> {
    let here = node.chain.at(node.best.hash);
    let (stakes, holds, escrow, balance, nonce, member) = try_join!(
        here.stakes(),
        here.holds(&account),
        here.pending_rewards(&account),
        here.balance(&account),
        here.nonce(&account),
        here.member(&account),
    )?;
    let stake = stakes.iter().find(|(other, _)| *other == account).map(|(_, stake)| Pol(*stake));
    let holds = holds.into_iter();
    Ok(Present {
        live: true,
        balance,
        nonce: Some(nonce),
        holds: Some(
            holds.map(|hold| HoldItem { reason: hold.reason, amount: Pol(hold.amount) }).collect(),
        ),
        member: member.map(|member| Membership::live(member, stake)),
        escrow: Some(
            escrow
                .into_iter()
                .map(|reward| EscrowItem {
                    round: reward.round,
                    amount: reward.amount.map(Pol),
                    from_round: reward.from,
                })
                .collect(),
        ),
    })
}

/// Reads the state of an account from the index.
async fn indexed(state: &ChainState, account: &AccountId) -> Result<Present, Failure> {
    let balance = state.index().state::<AccountState>(account).await?;
    let member = state.index().state::<MemberState>(account).await?;
    let balance = balance.map(|row| row.fact).map(|found| AccountBalance {
        free: found.free,
        held: found.held,
        frozen: found.frozen,
    });
    Ok(Present {
        live: false,
        balance: balance.unwrap_or_default(),
        nonce: None,
        holds: None,
        member: member.and_then(|row| Membership::indexed(row.fact)),
        escrow: None,
    })
}

/// Returns the changes of an account's balance, with the extrinsics that caused them.
#[utoipa::path(
    get,
    path = "/wallet/history",
    tag = "Money",
    params(OfAccount, PageQuery),
    responses(
        (status = 200, body = Items<MovementItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn history(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<OfAccount>,
) -> Answer<Items<MovementItem>> {
    let (range, as_of) = (page.range()?, state.as_of().await?);
    let found = state.index().page(Movements::Account(filter.account.0), range).await?;
    let causes: BTreeSet<(u32, u32)> =
        found.items.iter().filter_map(|row| Some((row.at.block, row.fact.extrinsic?))).collect();
    let lookups: Vec<_> =
        causes.into_iter().map(|(block, number)| Extrinsics::At(block, number)).collect();
    let extrinsics = state.index().first_of_each(&lookups, Order::NewestFirst, 1).await?;
    let extrinsics: BTreeMap<(u32, u32), ExtrinsicItem> = extrinsics
        .iter()
        .map(|row| ((row.at.block, row.fact.number), ExtrinsicItem::from(&row.fact)))
        .collect();
    let item = |Row { at, time, fact }: Row<Movement>| MovementItem {
        kind: fact.kind,
        amount: Pol(fact.amount),
        other: fact.other.map(Account),
        extrinsic: fact.extrinsic.and_then(|index| extrinsics.get(&(at.block, index)).cloned()),
        block: at.block,
        time: Time::new(time),
    };
    let next = found.next.map(|next| next.to_string());
    Ok(Json(Items { items: found.items.into_iter().map(item).collect(), next, as_of }))
}

/// Returns the endpoints.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(wallet)).routes(routes!(history)).with_state(state)
}
