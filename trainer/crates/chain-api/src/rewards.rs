// SPDX-License-Identifier: Apache-2.0

//! `GET /rewards`: who earned how much for which work, and the emission behind it.

use crate::{
    Answer,
    failure::Failure,
    network::OfRound,
    page::{AsOf, Items},
    query::{PageQuery, Paged, Parameters, bounded},
    state::ChainState,
    values::{Account, Integer, Pol, Time},
};
use axum::{Json, extract::State};
use pol_api::{ApiError, Problem};
use pol_index::{
    Earning, Order, Position, Range, Row,
    facts::{Emission, LedgerState, Payment, PaymentKind, Reward, RewardSource, SettledRound},
    lookups::{self, Emissions, Ledgers, Payments, SettledRounds},
};
use pol_primitives::Balance;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Number of rounds whose earners are listed by default.
const ROUNDS: u32 = 100;
/// Largest number of rounds whose earners are listed.
const MAX_ROUNDS: u32 = 200;
/// Number of earners that are listed.
const MAX_EARNERS: usize = 100;

/// Selection of rewards.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RewardFilter {
    /// Account: an SS58 address, or `0x` and 64 hexadecimal digits.
    #[param(value_type = Option<String>)]
    account: Option<Account>,
    /// Round.
    #[param(example = 7)]
    round: Option<u32>,
}

/// Number of rounds.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RoundWindow {
    /// Number of the newest settled rounds, from 1 to 200, and 100 by default.
    #[param(minimum = 1, maximum = 200, example = 100)]
    rounds: Option<u32>,
}

/// Reward of a settled round.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RewardItem {
    /// Round.
    #[schema(example = 6)]
    pub(crate) round: u32,
    /// Account.
    pub(crate) account: Account,
    /// Work.
    #[schema(value_type = String, example = "training")]
    pub(crate) source: RewardSource,
    /// Weight of the account.
    pub(crate) weight: Integer,
    /// Sum of all weights; null for undivided rewards.
    pub(crate) weights: Option<Integer>,
    /// Amount that all weights share; null for undivided rewards.
    pub(crate) pool: Option<Pol>,
    /// Amount of the reward, as it was when the round was settled.
    pub(crate) amount: Pol,
    /// State.
    pub(crate) state: RewardEnd,
    /// Block that settled the round.
    #[schema(example = 950)]
    block: u32,
    /// Time of that block.
    time: Time,
}

/// State of a reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RewardEnd {
    /// Not claimed.
    Unclaimed,
    /// Claimed.
    Claimed,
    /// Forfeited, and burned.
    Forfeited,
    /// Not claimed for long, and burned.
    Expired,
}

/// Pools and ends of some rewards.
pub(crate) struct Ends {
    pools: BTreeMap<u32, SettledRound>,
    claims: BTreeMap<(u32, [u8; 32]), Balance>,
    expired: BTreeSet<u32>,
    forfeits: BTreeMap<[u8; 32], Position>,
}

/// Emission of a round.
#[derive(Debug, Serialize, ToSchema)]
struct EmissionItem {
    /// Round.
    #[schema(example = 6)]
    round: u32,
    /// Emission by shares.
    emitted: EmittedShares,
    /// Division of the shares; null until the round is settled.
    settled: Option<Settlement>,
    /// Block that emitted it.
    #[schema(example = 788)]
    block: u32,
    /// Time of that block.
    time: Time,
}

/// Shares of an emission.
#[derive(Debug, Serialize, ToSchema)]
struct EmittedShares {
    /// For trainers.
    trainers: Pol,
    /// For validators.
    validators: Pol,
    /// For providers of data.
    providers: Pol,
    /// For the treasury.
    treasury: Pol,
    /// Sum.
    total: Pol,
}

/// Division of an emission.
#[derive(Debug, Serialize, ToSchema)]
struct Settlement {
    /// True if an update improved the model.
    improved: bool,
    /// Amount that nobody earned, which was burned.
    unearned: Pol,
    /// For trainers.
    trainers: Pool,
    /// For validators, by seats.
    validators: Pool,
    /// For providers, by effect.
    providers: Pool,
}

/// Amount that accounts share by weight.
#[derive(Debug, Serialize, ToSchema)]
struct Pool {
    /// Amount.
    amount: Pol,
    /// Sum of the weights.
    weight: Integer,
}

/// Totals of all rewards and fines: `emitted + seized = paid + burned + waiting`.
#[derive(Debug, Serialize, ToSchema)]
struct TotalsItem {
    /// Minted for rounds.
    emitted: Pol,
    /// Seized from bonds.
    seized: Pol,
    /// Claimed, and paid to the treasury.
    paid: Pol,
    /// Burned.
    burned: Pol,
    /// Held for later claims.
    waiting: Pol,
    /// Block.
    #[schema(example = 950)]
    block: u32,
    /// Time of the block.
    time: Time,
}

/// Totals with the block that the answer is of.
#[derive(Debug, Serialize, ToSchema)]
struct Totals {
    #[serde(flatten)]
    totals: TotalsItem,
    /// Block that the answer is of.
    as_of: AsOf,
}

/// Accounts that earned most.
#[derive(Debug, Serialize, ToSchema)]
struct Earners {
    /// Accounts, those with the largest sums first.
    items: Vec<EarnerItem>,
    /// Settled rounds of the sums; null before the first.
    rounds: Option<RoundSpan>,
    /// Block that the answer is of.
    as_of: AsOf,
}

/// Rewards of an account in some rounds.
#[derive(Debug, Serialize, ToSchema)]
struct EarnerItem {
    /// Account.
    account: Account,
    /// For training.
    training: Pol,
    /// For seats in audits.
    seats: Pol,
    /// For data.
    data: Pol,
    /// For work of several kinds, claimed in the block that settled the round.
    undivided: Pol,
    /// Sum.
    total: Pol,
}

/// Consecutive rounds.
#[derive(Debug, Serialize, ToSchema)]
struct RoundSpan {
    /// First round.
    #[schema(example = 1)]
    from: u32,
    /// Last round.
    #[schema(example = 6)]
    to: u32,
}

impl Ends {
    /// Reads what became of rewards.
    ///
    /// # Errors
    ///
    /// Fails if the database does.
    pub(crate) async fn read(state: &ChainState, rewards: &[Row<Reward>]) -> Result<Self, Failure> {
        let index = state.index();
        let keys: BTreeSet<_> =
            rewards.iter().map(|row| (row.fact.round, row.fact.account)).collect();
        let rounds: BTreeSet<_> = keys.iter().map(|(round, _)| *round).collect();
        let accounts: BTreeSet<_> = keys.iter().map(|(_, account)| *account).collect();
        let newest = Order::NewestFirst;
        let settled: Vec<_> = rounds.iter().map(|round| SettledRounds::Round(*round)).collect();
        let settled = index.first_of_each(&settled, newest, 1).await?;
        let of: Vec<_> =
            keys.iter().map(|(round, account)| Payments::AccountRound(*account, *round)).collect();
        let claims = index.first_of_each(&of, newest, 1).await?;
        // Expiry ends all rewards of a round.
        let of: Vec<_> = rounds.iter().map(|round| Payments::Round(*round)).collect();
        let last = index.first_of_each(&of, newest, 1).await?;
        let kind = PaymentKind::Forfeited;
        let of: Vec<_> = accounts.iter().map(|account| Payments::Kind(*account, kind)).collect();
        let forfeits = index.first_of_each(&of, newest, 1).await?;
        let expired = |row: &&Row<Payment>| row.fact.kind == PaymentKind::Expired;
        Ok(Self {
            pools: settled.into_iter().map(|row| (row.fact.round, row.fact)).collect(),
            claims: claims
                .iter()
                .filter_map(|row| Some(((row.fact.round?, row.fact.account?), row.fact.amount)))
                .collect(),
            expired: last.iter().filter(expired).filter_map(|row| row.fact.round).collect(),
            forfeits: forfeits.iter().filter_map(|row| Some((row.fact.account?, row.at))).collect(),
        })
    }

    /// Returns the amount that a claim paid.
    pub(crate) fn paid(&self, round: u32, account: [u8; 32]) -> Option<Balance> {
        self.claims.get(&(round, account)).copied()
    }

    /// Returns a reward with its state.
    pub(crate) fn item(&self, Row { at, time, fact }: Row<Reward>) -> RewardItem {
        let (weights, pool) = self.pool(&fact).unzip();
        let forfeited = self.forfeits.get(&fact.account).is_some_and(|forfeit| *forfeit > at);
        let state = if self.claims.contains_key(&(fact.round, fact.account)) {
            RewardEnd::Claimed
        } else if forfeited {
            RewardEnd::Forfeited
        } else if self.expired.contains(&fact.round) {
            RewardEnd::Expired
        } else {
            RewardEnd::Unclaimed
        };
        RewardItem {
            round: fact.round,
            account: Account(fact.account),
            source: fact.source,
            weight: Integer(fact.weight.into()),
            weights: weights.map(|weights| Integer(weights.into())),
            pool: pool.map(Pol),
            amount: Pol(fact.amount),
            state,
            block: at.block,
            time: Time::new(time),
        }
    }

    /// Returns the sum of the weights and the amount that a reward is a share of.
    fn pool(&self, reward: &Reward) -> Option<(u64, Balance)> {
        let round = self.pools.get(&reward.round)?;
        match reward.source {
            RewardSource::Training => Some((round.trainers_weight, round.trainers)),
            RewardSource::Seats => Some((round.validators_weight, round.validators)),
            RewardSource::Data => Some((round.providers_weight, round.providers)),
            RewardSource::Undivided => None,
        }
    }
}

impl EmissionItem {
    fn new(Row { at, time, fact }: Row<Emission>, settled: Option<&SettledRound>) -> Self {
        let Emission { round, trainers, validators, providers, treasury } = fact;
        let shares = [trainers, validators, providers, treasury];
        let total = shares.into_iter().fold(0, Balance::saturating_add);
        let pool =
            |amount, weight: u64| Pool { amount: Pol(amount), weight: Integer(weight.into()) };
        Self {
            round,
            emitted: EmittedShares {
                trainers: Pol(trainers),
                validators: Pol(validators),
                providers: Pol(providers),
                treasury: Pol(treasury),
                total: Pol(total),
            },
            settled: settled.map(|round| Settlement {
                improved: round.improved,
                unearned: Pol(round.unearned),
                trainers: pool(round.trainers, round.trainers_weight),
                validators: pool(round.validators, round.validators_weight),
                providers: pool(round.providers, round.providers_weight),
            }),
            block: at.block,
            time: Time::new(time),
        }
    }
}

impl From<Row<LedgerState>> for TotalsItem {
    fn from(Row { at, time, fact }: Row<LedgerState>) -> Self {
        let LedgerState { emitted, seized, paid, burned, waiting } = fact;
        Self {
            emitted: Pol(emitted),
            seized: Pol(seized),
            paid: Pol(paid),
            burned: Pol(burned),
            waiting: Pol(waiting),
            block: at.block,
            time: Time::new(time),
        }
    }
}

/// Returns rewards of settled rounds.
#[utoipa::path(
    get,
    path = "/rewards",
    tag = "Money",
    params(RewardFilter, PageQuery),
    responses(
        (status = 200, body = Items<RewardItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn rewards(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<RewardFilter>,
) -> Answer<Items<RewardItem>> {
    let (range, as_of) = (page.range_within(ROUNDS, MAX_ROUNDS)?, state.as_of().await?);
    let lookup = match (filter.account, filter.round) {
        (Some(account), Some(round)) => lookups::Rewards::AccountRound(account.0, round),
        (Some(account), None) => lookups::Rewards::Account(account.0),
        (None, Some(round)) => lookups::Rewards::Round(round),
        (None, None) => lookups::Rewards::All,
    };
    let found = state.index().page(lookup, range).await?;
    let ends = Ends::read(&state, &found.items).await?;
    let next = found.next.map(|next| next.to_string());
    let items = found.items.into_iter().map(|row| ends.item(row)).collect();
    Ok(Json(Items { items, next, as_of }))
}

/// Returns emissions of rounds, and their division once it is settled.
#[utoipa::path(
    get,
    path = "/rewards/rounds",
    tag = "Money",
    params(OfRound, PageQuery),
    responses(
        (status = 200, body = Items<EmissionItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn rounds(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<OfRound>,
) -> Answer<Items<EmissionItem>> {
    let (range, as_of) = (page.range()?, state.as_of().await?);
    let lookup = filter.round.map_or(Emissions::All, Emissions::Round);
    let found = state.index().page(lookup, range).await?;
    let of: Vec<_> = found.items.iter().map(|row| SettledRounds::Round(row.fact.round)).collect();
    let settled = state.index().first_of_each(&of, Order::NewestFirst, 1).await?;
    let settled: BTreeMap<_, _> =
        settled.into_iter().map(|row| (row.fact.round, row.fact)).collect();
    let next = found.next.map(|next| next.to_string());
    let item = |row: Row<Emission>| {
        let settled = settled.get(&row.fact.round);
        EmissionItem::new(row, settled)
    };
    Ok(Json(Items { items: found.items.into_iter().map(item).collect(), next, as_of }))
}

/// Returns the totals of all rewards and fines.
#[utoipa::path(
    get,
    path = "/rewards/totals",
    tag = "Money",
    responses(
        (status = 200, body = Totals),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn totals(State(state): State<ChainState>) -> Answer<Totals> {
    let as_of = state.as_of().await?;
    let newest = state.index().newest(Ledgers::All).await?;
    let totals = newest.map(TotalsItem::from).ok_or_else(|| {
        ApiError::Missing("nothing was emitted yet; come again after the first head".into())
    })?;
    Ok(Json(Totals { totals, as_of }))
}

/// Returns the totals of all rewards and fines over time.
#[utoipa::path(
    get,
    path = "/rewards/totals/history",
    tag = "Money",
    params(PageQuery),
    responses(
        (status = 200, body = Items<TotalsItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn totals_history(
    State(state): State<ChainState>,
    Parameters(page): Parameters<PageQuery>,
) -> Answer<Items<TotalsItem>> {
    let (range, as_of) = (page.range()?, state.as_of().await?);
    Ok(Json(Items::of(state.index().page(Ledgers::All, range).await?, as_of)))
}

/// Returns the accounts that earned most in the newest settled rounds.
#[utoipa::path(
    get,
    path = "/rewards/earners",
    tag = "Money",
    params(RoundWindow),
    responses(
        (status = 200, body = Earners),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn earners(
    State(state): State<ChainState>,
    Parameters(RoundWindow { rounds }): Parameters<RoundWindow>,
) -> Answer<Earners> {
    let limit = bounded("rounds", rounds, ROUNDS, MAX_ROUNDS)?;
    let as_of = state.as_of().await?;
    let range = Range { limit, ..Range::default() };
    let settled = state.index().page(SettledRounds::All, range).await?.items;
    let settled = || settled.iter().map(|row| row.fact.round);
    // Rounds are settled out of order, but never far from each other.
    let span = settled().max().map(|to| {
        let from = settled().min().unwrap_or(to).max(to.saturating_sub(MAX_ROUNDS));
        RoundSpan { from, to }
    });
    let items = match &span {
        Some(span) => sums(state.index().earnings(span.from, span.to).await?),
        None => Vec::new(),
    };
    Ok(Json(Earners { items, rounds: span, as_of }))
}

/// Returns the sums of accounts, the largest first.
fn sums(earnings: Vec<Earning>) -> Vec<EarnerItem> {
    let mut sums: BTreeMap<[u8; 32], [Balance; 4]> = BTreeMap::new();
    for Earning { account, source, amount } in earnings {
        let of = sums.entry(account).or_default();
        let [training, seats, data, undivided] = of;
        let sum = match source {
            RewardSource::Training => training,
            RewardSource::Seats => seats,
            RewardSource::Data => data,
            RewardSource::Undivided => undivided,
        };
        *sum = sum.saturating_add(amount);
    }
    let item = |(account, sums): ([u8; 32], [Balance; 4])| {
        let [training, seats, data, undivided] = sums.map(Pol);
        let total = Pol(sums.into_iter().fold(0, Balance::saturating_add));
        EarnerItem { account: Account(account), training, seats, data, undivided, total }
    };
    let mut items: Vec<_> = sums.into_iter().map(item).collect();
    items.sort_by(|a, b| b.total.cmp(&a.total).then(a.account.cmp(&b.account)));
    items.truncate(MAX_EARNERS);
    items
}

/// Returns the endpoints.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(rewards))
        .routes(routes!(rounds))
        .routes(routes!(totals))
        .routes(routes!(totals_history))
        .routes(routes!(earners))
        .with_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_sums_come_first() {
        let earning = |account, source, amount| Earning { account: [account; 32], source, amount };
        let items = sums(vec![
            earning(1, RewardSource::Training, 5),
            earning(2, RewardSource::Seats, 9),
            earning(1, RewardSource::Data, 3),
            earning(1, RewardSource::Data, 2),
        ]);
        let [first, second] = &items[..] else { panic!("{items:?}") };
        assert_eq!((first.account, first.total), (Account([1; 32]), Pol(10)));
        assert_eq!((first.training, first.data, first.seats), (Pol(5), Pol(5), Pol(0)));
        assert_eq!((second.account, second.seats), (Account([2; 32]), Pol(9)));
    }
}
