// SPDX-License-Identifier: Apache-2.0

//! `GET /rewards/explanation`: a reward in numbers that add up, and in sentences.
//!
//! While a reward waits, the chain explains it. Once it was claimed, forfeited, or expired, the
//! chain has forgotten it, and the index tells what it was.

use crate::{
    Answer,
    failure::Failure,
    query::Parameters,
    rewards::{Ends, RewardEnd, RewardItem},
    state::ChainState,
    values::{Account, Integer, Pol, billionths, millionths},
};
use axum::{Json, extract::State};
use pol_api::Problem;
use pol_chain::{
    AccountId,
    explanation::{Description, describe, plural},
};
use pol_index::{
    MAX_PAGE, Order, Range,
    facts::{RewardSource, Settlement as UpdateEnd},
    lookups::{Audits, Rewards, Seats, Settlements, Shards},
};
use pol_primitives::{
    Balance, RoundNumber,
    explanation::{Explanation, PotShare, RewardState, TrainingPart},
    submission::Outcome,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Largest number of shards of an update that are counted.
const MAX_SHARDS: u32 = 256;

/// Selection of a reward.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfReward {
    /// Account: an SS58 address, or `0x` and 64 hexadecimal digits.
    #[param(value_type = String, example = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")]
    account: Account,
    /// Round.
    #[param(example = 6)]
    round: u32,
}

/// Reward of an account in a round. The amounts of the parts add up to the total, to the last unit.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedReward {
    /// Account.
    account: Account,
    /// Round.
    #[schema(example = 6)]
    round: u32,
    /// State.
    state: ExplainedState,
    /// Teller: the chain for rewards that wait, the index for those of the past.
    source: Teller,
    /// First round in which it can be claimed; null where the index tells.
    #[schema(example = 8)]
    from_round: Option<u32>,
    /// Amount; null until every update of the round is settled.
    total: Option<Pol>,
    /// Amount that the claim paid. Claims divide what is left, so that it may differ from the total
    /// by units.
    paid: Option<Pol>,
    /// Parts by kind of work.
    parts: Vec<ExplainedPart>,
    /// Reasons for which the reward is held back.
    held_back: Vec<String>,
    /// Explanation in sentences.
    text: Vec<String>,
}

/// State of a reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ExplainedState {
    /// The round has not begun.
    Future,
    /// The round is under way.
    UnderWay,
    /// The round ended without a head, and emitted nothing.
    Void,
    /// The head includes no update, so that the round emitted nothing.
    Unpaid,
    /// Updates of the round are not settled.
    Unsettled,
    /// Held until the escrow is over.
    Escrow,
    /// Can be claimed.
    Claimable,
    /// Not claimed; the node is away, so that it is not known if it can be.
    Unclaimed,
    /// Claimed.
    Claimed,
    /// Forfeited, and burned.
    Forfeited,
    /// Not claimed for long, and burned.
    Expired,
    /// The account earned nothing.
    Nothing,
}

/// Teller of an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Teller {
    /// The chain.
    Node,
    /// The index.
    Index,
}

/// Part of a reward: `pool · weight ÷ weights`, rounded down.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedPart {
    /// Work.
    #[schema(value_type = String, example = "training")]
    source: RewardSource,
    /// Measurements behind the weight.
    measured: Measured,
    /// Weight of the account.
    weight: Integer,
    /// Sum of all weights; null for undivided rewards.
    weights: Option<Integer>,
    /// Amount that all weights share; null for undivided rewards.
    pool: Option<Pol>,
    /// Amount; null until every update of the round is settled.
    amount: Option<Pol>,
    /// Explanation.
    sentence: String,
}

/// Measurements behind a weight, as far as there are some.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Measured {
    /// Gain of the update on unassigned text, in nats per token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.0014)]
    gain: Option<f64>,
    /// Score of the update that is paid for, in nats per token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.0015)]
    score: Option<f64>,
    /// Worth of the text of the update, by its kind and quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.9)]
    worth: Option<f64>,
    /// Tokens credited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 65_536)]
    tokens: Option<u64>,
    /// Rounds by which the update was late.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0)]
    staleness: Option<u8>,
    /// Outcome of the update.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "valid")]
    outcome: Option<Outcome>,
    /// Shards of the update.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 4)]
    shards: Option<usize>,
    /// Audits in which the account had seats.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!([3]))]
    audits: Option<Vec<u32>>,
    /// Effect of the account's shards, in nats per token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.0004)]
    effect: Option<f64>,
}

impl From<RewardState> for ExplainedState {
    fn from(state: RewardState) -> Self {
        match state {
            RewardState::Future => Self::Future,
            RewardState::UnderWay => Self::UnderWay,
            RewardState::Void => Self::Void,
            RewardState::Unpaid => Self::Unpaid,
            RewardState::Unsettled => Self::Unsettled,
            RewardState::Escrow => Self::Escrow,
            RewardState::Claimable => Self::Claimable,
            RewardState::Empty => Self::Nothing,
            RewardState::Expired => Self::Expired,
        }
    }
}

impl From<RewardEnd> for ExplainedState {
    fn from(end: RewardEnd) -> Self {
        match end {
            RewardEnd::Unclaimed => Self::Unclaimed,
            RewardEnd::Claimed => Self::Claimed,
            RewardEnd::Forfeited => Self::Forfeited,
            RewardEnd::Expired => Self::Expired,
        }
    }
}

/// Explains the reward of an account in a round.
#[utoipa::path(
    get,
    path = "/rewards/explanation",
    tag = "Money",
    params(OfReward),
    responses(
        (status = 200, body = ExplainedReward),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn explanation(
    State(state): State<ChainState>,
    Parameters(OfReward { account, round }): Parameters<OfReward>,
) -> Answer<ExplainedReward> {
    let told = state
        .ask(|node| async move { node.chain.at(node.best.hash).explain(&account.0, round).await })
        .await;
    let is_past = |explained: &Explanation<AccountId>| {
        matches!(explained.state, RewardState::Empty | RewardState::Expired)
    };
    match told {
        Ok(explained) if !is_past(&explained) => Ok(Json(of_node(&explained))),
        told => match of_index(&state, account.0, round).await? {
            Some(past) => Ok(Json(past)),
            None => Ok(Json(of_node(&told?))),
        },
    }
}

/// Returns the explanation that the chain gives.
fn of_node(explained: &Explanation<AccountId>) -> ExplainedReward {
    let Description { summary, training, seats, data, held } = describe(explained);
    let text = [&summary, &training, &seats, &data].map(Clone::clone).into_iter();
    let is_held = matches!(explained.state, RewardState::Unsettled | RewardState::Escrow);
    let part = |source, share: &PotShare, measured, sentence| ExplainedPart {
        source,
        measured,
        weight: Integer(share.weight),
        weights: Some(Integer(share.weights)),
        pool: Some(Pol(share.pot)),
        amount: share.amount.map(Pol),
        sentence,
    };
    let effect = Measured {
        effect: i64::try_from(explained.data.share.weight).ok().map(billionths),
        ..Measured::default()
    };
    ExplainedReward {
        account: Account(explained.account),
        round: explained.round,
        state: explained.state.into(),
        source: Teller::Node,
        from_round: Some(explained.from),
        total: explained.amount.map(Pol),
        paid: None,
        parts: vec![
            part(
                RewardSource::Training,
                &explained.training.share,
                measured_update(&explained.training),
                training,
            ),
            part(RewardSource::Seats, &explained.seats.share, Measured::default(), seats),
            part(RewardSource::Data, &explained.data.share, effect, data),
        ],
        held_back: held.iter().cloned().chain(is_held.then_some(summary)).collect(),
        text: text.chain(held).collect(),
    }
}

fn measured_update(part: &TrainingPart) -> Measured {
    let Some(update) = part.update else { return Measured::default() };
    Measured {
        gain: Some(billionths(update.gain)),
        worth: part.worth().map(millionths),
        tokens: Some(update.tokens),
        staleness: Some(update.staleness),
        outcome: update.status.outcome(),
        ..Measured::default()
    }
}

/// Returns the explanation of a reward that the index has, or `None` if it has none.
async fn of_index(
    state: &ChainState,
    account: AccountId,
    round: RoundNumber,
) -> Result<Option<ExplainedReward>, Failure> {
    state.check_index()?;
    let range = Range { order: Order::OldestFirst, ..Range::default() };
    let rows = state.index().page(Rewards::AccountRound(account, round), range).await?.items;
    let ends = Ends::read(state, &rows).await?;
    let rewards: Vec<RewardItem> = rows.into_iter().map(|row| ends.item(row)).collect();
    let Some(end) = rewards.first().map(|reward| reward.state) else { return Ok(None) };
    let total = rewards.iter().map(|reward| reward.amount.0).fold(0, Balance::saturating_add);
    let paid = ends.paid(round, account);
    let mut parts = Vec::with_capacity(rewards.len());
    for reward in rewards {
        parts.push(past_part(state, reward).await?);
    }
    let summary = summarise(round, end, total, paid);
    let sentences = parts.iter().map(|part| part.sentence.clone());
    Ok(Some(ExplainedReward {
        account: Account(account),
        round,
        state: end.into(),
        source: Teller::Index,
        from_round: None,
        total: Some(Pol(total)),
        paid: paid.map(Pol),
        text: std::iter::once(summary).chain(sentences).collect(),
        parts,
        held_back: Vec::new(),
    }))
}

/// Returns a sentence about the state of a past reward.
fn summarise(round: RoundNumber, end: RewardEnd, total: Balance, paid: Option<Balance>) -> String {
    let total_text = Pol(total);
    match (end, paid) {
        (RewardEnd::Claimed, Some(paid)) if paid != total => format!(
            "The reward of round {round} was {total_text} POL when the round was settled, and the \
             claim paid {} POL: each claim divides what earlier ones left, and rounds down.",
            Pol(paid)
        ),
        (RewardEnd::Claimed, _) => {
            format!("The reward of round {round}, {total_text} POL, was claimed.")
        }
        (RewardEnd::Forfeited, _) => {
            format!("The reward of round {round}, {total_text} POL, was forfeited and burned.")
        }
        (RewardEnd::Expired, _) => format!(
            "The reward of round {round}, {total_text} POL, was not claimed for long and burned."
        ),
        (RewardEnd::Unclaimed, _) => {
            format!("The reward of round {round}, {total_text} POL, is not claimed.")
        }
    }
}

/// Returns a part of a past reward.
async fn past_part(state: &ChainState, reward: RewardItem) -> Result<ExplainedPart, Failure> {
    let RewardItem { round, account, source, weight, weights, pool, amount, .. } = reward;
    let (measured, cause) = match source {
        RewardSource::Training => measure_training(state, account.0, round).await?,
        RewardSource::Seats => measure_seats(state, account.0, round).await?,
        RewardSource::Data => {
            let effect = i64::try_from(weight.0).ok().map(billionths);
            let cause = "Its data improved the model".to_owned();
            (Measured { effect, ..Measured::default() }, cause)
        }
        RewardSource::Undivided => {
            let cause = "It was claimed in the block that settled the round, before its parts were \
                         seen";
            (Measured::default(), cause.to_owned())
        }
    };
    let sentence = match (weights, pool) {
        (Some(weights), Some(pool)) => format!(
            "{cause}: its weight is {weight} of {weights}, and its share of {pool} POL is {amount} \
             POL."
        ),
        _ => format!("{cause}: {amount} POL."),
    };
    Ok(ExplainedPart { source, measured, weight, weights, pool, amount: Some(amount), sentence })
}

/// Returns what was measured of an account's update, and a clause about it.
async fn measure_training(
    state: &ChainState,
    account: AccountId,
    round: RoundNumber,
) -> Result<(Measured, String), Failure> {
    let index = state.index();
    let end = index.newest(Settlements::Update(round, account)).await?.map(|row| row.fact);
    let of = [Shards::Update(round, account)];
    let shards = index.first_of_each(&of, Order::OldestFirst, MAX_SHARDS).await?.len();
    let Some(UpdateEnd { outcome, score, gain, tokens, staleness, .. }) = end else {
        return Ok((Measured::default(), "Its update improved the model".to_owned()));
    };
    let (score, gain) = (billionths(score), billionths(gain));
    let clause = format!(
        "Its update trained on {} of {} and improved the model by {score} nats per token on text \
         that nobody was assigned",
        plural(tokens, "token"),
        plural(shards as u64, "shard")
    );
    let measured = Measured {
        gain: Some(gain),
        score: Some(score),
        tokens: Some(tokens),
        staleness: Some(staleness),
        outcome,
        shards: Some(shards),
        ..Measured::default()
    };
    Ok((measured, clause))
}

/// Returns the audits in which an account had seats, and a clause about them.
async fn measure_seats(
    state: &ChainState,
    account: AccountId,
    round: RoundNumber,
) -> Result<(Measured, String), Failure> {
    let index = state.index();
    let range = Range { limit: MAX_PAGE, ..Range::default() };
    let audits = index.page(Audits::Round(round), range).await?.items;
    let audits: BTreeSet<_> = audits.into_iter().map(|row| row.fact.audit).collect();
    let of: Vec<_> = audits.into_iter().map(Seats::Audit).collect();
    let seats = index.first_of_each(&of, Order::OldestFirst, MAX_PAGE).await?;
    let own = seats.iter().filter(|row| row.fact.validator == account);
    let updates = own.clone().count();
    let audits: BTreeSet<_> = own.map(|row| row.fact.audit).collect();
    let clause = format!(
        "It had {} on {}, and was right about those that count",
        if updates == 1 { "a seat" } else { "seats" },
        plural(updates as u64, "update")
    );
    let audits = Some(audits.into_iter().collect());
    Ok((Measured { audits, ..Measured::default() }, clause))
}

/// Returns the endpoint.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(explanation)).with_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        POL,
        explanation::{DataPart, SeatsPart, UpdateStatus, UpdateSummary},
        recipe::Tier,
        rewards::Pot,
    };

    fn explained(state: RewardState, is_settled: bool) -> Explanation<AccountId> {
        let share = |left, weights, weight| {
            PotShare::new(Pot { left, weight: weights }, weight, is_settled)
        };
        let shares = [share(56 * POL / 10, 3_600, 2_700), share(POL, 3, 1), share(POL, 9, 0)];
        let amount = shares.iter().map(|share| share.amount).sum();
        let [training, seats, data] = shares;
        let update = UpdateSummary {
            status: UpdateStatus::Settled(Outcome::Valid),
            tier: Tier::Miner,
            staleness: 0,
            tokens: 4_096,
            gain: 3_000,
            flagged: false,
            penalty: 0,
        };
        Explanation {
            account: [1; 32],
            round: 7,
            now: 8,
            state,
            from: 9,
            amount,
            training: TrainingPart { share: training, update: Some(update) },
            seats: SeatsPart { share: seats, open: 0, improved: true, per_seat: POL },
            data: DataPart { share: data },
            unsettled: Vec::new(),
        }
    }

    #[test]
    fn parts_add_up_to_the_total() {
        let reward = of_node(&explained(RewardState::Escrow, true));
        let sum: Balance =
            reward.parts.iter().filter_map(|part| part.amount).map(|part| part.0).sum();
        assert_eq!(reward.total, Some(Pol(sum)));
        assert_eq!(sum, 42 * POL / 10 + POL / 3);
        assert_eq!((reward.state, reward.source), (ExplainedState::Escrow, Teller::Node));
        assert!(reward.held_back[0].contains("until round 9"), "{:?}", reward.held_back);
        assert_eq!(reward.text.len(), 4);
    }

    #[test]
    fn unsettled_rewards_have_no_amount() {
        let reward = of_node(&explained(RewardState::Unsettled, false));
        assert_eq!((reward.total, reward.paid), (None, None));
        assert!(reward.parts.iter().all(|part| part.amount.is_none()));
        assert_eq!(reward.held_back.len(), 1);
    }

    #[test]
    fn differences_of_claims_are_explained() {
        let text = summarise(7, RewardEnd::Claimed, 10 * POL, Some(10 * POL + 1));
        assert!(text.contains("was 10 POL") && text.contains("paid 10.000000000001 POL"), "{text}");
        let text = summarise(7, RewardEnd::Claimed, POL, Some(POL));
        assert_eq!(text, "The reward of round 7, 1 POL, was claimed.");
        assert!(summarise(7, RewardEnd::Forfeited, POL, None).contains("forfeited"));
        assert!(summarise(7, RewardEnd::Expired, POL, None).contains("for long"));
        assert!(summarise(7, RewardEnd::Unclaimed, POL, None).contains("is not claimed"));
    }
}
