// SPDX-License-Identifier: Apache-2.0

//! `GET /audits`: audits, and the story of each.

use crate::{
    Answer,
    failure::Failure,
    network::OfRound,
    page::{AsOf, Items},
    penalties::PenaltyItem,
    query::{PageQuery, Paged},
    state::ChainState,
    values::{Account, Pol, Time, billionths},
};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use pol_api::{ApiError, Problem};
use pol_chain::AccountId;
use pol_index::{
    MAX_PAGE, Order, Range, Row,
    facts::{AuditDraw, AuditStep, AuditStepKind, Seat, Settlement as UpdateEnd},
    lookups::{AuditSteps, Audits, Penalties, Seats, Settlements},
};
use pol_primitives::{audit::AuditId, submission::Outcome};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Number of audits of a page by default.
const AUDITS: u32 = 50;
/// Largest number of audits of a page.
const MAX_AUDITS: u32 = 200;
/// Largest number of steps of a story.
const MAX_STEPS: usize = 5_000;

/// Audit of the updates of a round.
#[derive(Debug, Serialize, ToSchema)]
struct AuditItem {
    /// Audit.
    #[schema(example = 3)]
    audit: u32,
    /// Round that included the updates.
    #[schema(example = 6)]
    round: u32,
    /// 0 for the first draw, 1 for the second.
    #[schema(example = 0)]
    draw: u8,
    /// Number of updates.
    #[schema(example = 3)]
    cases: u32,
    /// Number of updates that are settled.
    #[schema(example = 3)]
    settled: u64,
    /// State.
    state: AuditState,
    /// Block of the draw.
    #[schema(example = 830)]
    block: u32,
    /// Time of that block.
    time: Time,
}

/// State of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AuditState {
    /// Updates are not settled.
    Open,
    /// All are.
    Ended,
}

/// Audit with its stories.
#[derive(Debug, Serialize, ToSchema)]
struct AuditReport {
    /// Audit.
    #[schema(example = 3)]
    audit: u32,
    /// State.
    state: AuditState,
    /// Draws of seats and segments.
    draws: Vec<DrawItem>,
    /// One story for each update, in the order of the trainers.
    stories: Vec<Story>,
    /// Steps that belong to no single update, oldest first.
    steps: Vec<StepItem>,
    /// True if there are more steps than the answer has.
    truncated: bool,
    /// Block that the answer is of.
    as_of: AsOf,
}

/// Draw of seats and segments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrawItem {
    /// Audit.
    #[schema(example = 3)]
    audit: u32,
    /// Round that included the updates.
    #[schema(example = 6)]
    round: u32,
    /// 0 for the first draw, 1 for the second.
    #[schema(example = 0)]
    draw: u8,
    /// Number of updates.
    #[schema(example = 3)]
    cases: u32,
    /// Block.
    #[schema(example = 830)]
    block: u32,
    /// Time of the block.
    time: Time,
}

/// Story of an update under audit.
#[derive(Debug, Serialize, ToSchema)]
struct Story {
    /// Trainer.
    trainer: Account,
    /// Outcome; null before the update is settled.
    #[schema(value_type = Option<String>, example = "valid")]
    outcome: Option<Outcome>,
    /// Score that is paid for, in nats per token.
    #[schema(example = 0.0015)]
    score: Option<f64>,
    /// Gain on unassigned text, in nats per token.
    #[schema(example = 0.0014)]
    gain: Option<f64>,
    /// Validators that replay it.
    seats: Vec<SeatItem>,
    /// Steps, oldest first.
    steps: Vec<StepItem>,
    /// Parts of the trainer's bond that were lost.
    penalties: Vec<PenaltyItem>,
}

/// Seat of a validator on an update.
#[derive(Debug, Serialize, ToSchema)]
struct SeatItem {
    /// Validator.
    validator: Account,
    /// True once it committed to its findings on all its seats of the audit.
    replayed: bool,
    /// True once it revealed them.
    revealed: bool,
    /// True if it was silent or wrong in this seat.
    failed: bool,
}

/// Step of an audit.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct StepItem {
    /// Step.
    #[schema(value_type = String, example = "shown")]
    kind: AuditStepKind,
    /// Account that acted or that it befell.
    account: Option<Account>,
    /// Outcome of the update.
    #[schema(value_type = Option<String>, example = "valid")]
    outcome: Option<Outcome>,
    /// Amount seized.
    amount: Option<Pol>,
    /// Block.
    #[schema(example = 835)]
    block: u32,
    /// Time of the block.
    time: Time,
}

impl From<Row<AuditDraw>> for DrawItem {
    fn from(Row { at, time, fact }: Row<AuditDraw>) -> Self {
        let AuditDraw { audit, round, draw, cases } = fact;
        Self { audit, round, draw, cases, block: at.block, time: Time::new(time) }
    }
}

impl From<&Row<AuditStep>> for StepItem {
    fn from(Row { at, time, fact }: &Row<AuditStep>) -> Self {
        Self {
            kind: fact.kind,
            account: fact.account.map(Account),
            outcome: fact.outcome,
            amount: fact.amount.map(Pol),
            block: at.block,
            time: Time::new(*time),
        }
    }
}

/// Returns audits.
#[utoipa::path(
    get,
    path = "/audits",
    tag = "Audits",
    params(OfRound, PageQuery),
    responses(
        (status = 200, body = Items<AuditItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<OfRound>,
) -> Answer<Items<AuditItem>> {
    let (range, as_of) = (page.range_within(AUDITS, MAX_AUDITS)?, state.as_of().await?);
    let lookup = filter.round.map_or(Audits::All, Audits::Round);
    let found = state.index().page(lookup, range).await?;
    let audits: Vec<_> = found.items.iter().map(|row| row.fact.audit).collect();
    let counts = state.index().audit_step_counts(&audits).await?;
    let counts: BTreeMap<(AuditId, &str), u64> = counts
        .into_iter()
        .filter_map(|(audit, kind, count)| Some(((audit, end(kind)?), count)))
        .collect();
    let item = |Row { at, time, fact }: Row<AuditDraw>| {
        let AuditDraw { audit, round, draw, cases } = fact;
        let count = |kind| counts.get(&(audit, kind)).copied().unwrap_or(0);
        let state = if count(ENDED) > 0 { AuditState::Ended } else { AuditState::Open };
        let settled = count(SETTLED);
        AuditItem {
            audit,
            round,
            draw,
            cases,
            settled,
            state,
            block: at.block,
            time: Time::new(time),
        }
    };
    let next = found.next.map(|next| next.to_string());
    Ok(Json(Items { items: found.items.into_iter().map(item).collect(), next, as_of }))
}

const SETTLED: &str = "settled";
const ENDED: &str = "ended";

/// Returns the name of a step that ends something.
fn end(kind: AuditStepKind) -> Option<&'static str> {
    match kind {
        AuditStepKind::Settled => Some(SETTLED),
        AuditStepKind::Ended => Some(ENDED),
        _ => None,
    }
}

/// Returns an audit with the story of each update.
#[utoipa::path(
    get,
    path = "/audits/{audit}",
    tag = "Audits",
    params(("audit" = u32, Path, description = "Audit.", example = 3)),
    responses(
        (status = 200, body = AuditReport),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn report(
    State(state): State<ChainState>,
    audit: Result<Path<String>, PathRejection>,
) -> Answer<AuditReport> {
    let audit: Option<AuditId> = audit.ok().and_then(|Path(text)| text.parse().ok());
    let audit = audit.ok_or_else(|| {
        ApiError::parameter("audit", "an audit is a number; GET /audits lists all")
    })?;
    let (index, as_of) = (state.index(), state.as_of().await?);
    let oldest = Range { order: Order::OldestFirst, after: None, limit: MAX_PAGE };
    let draws = index.page(Audits::Audit(audit), oldest).await?.items;
    if draws.is_empty() {
        let detail = format!("the index has no audit {audit}; GET /audits lists all");
        return Err(ApiError::Missing(detail).into());
    }
    let (steps, truncated) = steps(&state, audit).await?;
    let seats = index.page(Seats::Audit(audit), oldest).await?.items;
    let penalties = index.page(Penalties::Audit(audit), oldest).await?.items;
    let round = draws.first().map_or(0, |draw| draw.fact.round);
    let seats: Vec<Seat> = seats.into_iter().map(|row| row.fact).collect();
    let trainers = trainers(&seats, &steps);
    let of: Vec<_> = trainers.iter().map(|trainer| Settlements::Update(round, *trainer)).collect();
    let ends = index.first_of_each(&of, Order::NewestFirst, 1).await?;
    let is_ended = steps.iter().any(|step| step.fact.kind == AuditStepKind::Ended);
    let of_nobody = |step: &&Row<AuditStep>| owner(&step.fact, &trainers).is_none();
    let stories = trainers.iter().map(|trainer| {
        let end = ends.iter().map(|row| &row.fact).find(|end| end.account == *trainer);
        story(*trainer, end.filter(|end| end.audit == Some(audit)), &seats, &steps, &trainers)
    });
    let mut stories: Vec<Story> = stories.collect();
    for penalty in penalties.into_iter().map(PenaltyItem::from) {
        if let Some(story) = stories.iter_mut().find(|story| story.trainer == penalty.account) {
            story.penalties.push(penalty);
        }
    }
    Ok(Json(AuditReport {
        audit,
        state: if is_ended { AuditState::Ended } else { AuditState::Open },
        draws: draws.into_iter().map(Into::into).collect(),
        stories,
        steps: steps.iter().filter(of_nobody).map(StepItem::from).collect(),
        truncated,
        as_of,
    }))
}

/// Returns the steps of an audit, oldest first, and `true` if there are more.
async fn steps(state: &ChainState, audit: AuditId) -> Result<(Vec<Row<AuditStep>>, bool), Failure> {
    let mut range = Range { order: Order::OldestFirst, after: None, limit: MAX_PAGE };
    let mut steps = Vec::new();
    loop {
        let page = state.index().page(AuditSteps::Audit(audit), range).await?;
        steps.extend(page.items);
        range.after = page.next;
        if page.next.is_none() || steps.len() >= MAX_STEPS {
            return Ok((steps, page.next.is_some()));
        }
    }
}

/// Returns the trainers whose updates are under audit.
fn trainers(seats: &[Seat], steps: &[Row<AuditStep>]) -> BTreeSet<AccountId> {
    let settled = steps.iter().map(|step| &step.fact);
    let settled = settled.filter(|step| step.kind == AuditStepKind::Settled);
    let settled = settled.filter_map(|step| step.account);
    seats.iter().map(|seat| seat.trainer).chain(settled).collect()
}

/// Returns the trainer whose update a step belongs to.
fn owner(step: &AuditStep, trainers: &BTreeSet<AccountId>) -> Option<AccountId> {
    step.trainer.or(step.account.filter(|account| trainers.contains(account)))
}

/// Tells the story of an update.
fn story(
    trainer: AccountId,
    end: Option<&UpdateEnd>,
    seats: &[Seat],
    steps: &[Row<AuditStep>],
    trainers: &BTreeSet<AccountId>,
) -> Story {
    let did = |kind, account: AccountId| {
        let mut own = steps.iter().map(|step| &step.fact);
        own.any(|step| step.kind == kind && step.account == Some(account))
    };
    let failed = |validator: AccountId| {
        let kind = AuditStepKind::SeatFailed;
        let mut own = steps.iter().map(|step| &step.fact).filter(|step| step.kind == kind);
        own.any(|step| step.account == Some(validator) && step.trainer == Some(trainer))
    };
    let seats = seats.iter().filter(|seat| seat.trainer == trainer).map(|seat| SeatItem {
        validator: Account(seat.validator),
        replayed: did(AuditStepKind::Replayed, seat.validator),
        revealed: did(AuditStepKind::Revealed, seat.validator),
        failed: failed(seat.validator),
    });
    let own = steps.iter().filter(|step| owner(&step.fact, trainers) == Some(trainer));
    Story {
        trainer: Account(trainer),
        outcome: end.and_then(|end| end.outcome),
        score: end.map(|end| billionths(end.score)),
        gain: end.map(|end| billionths(end.gain)),
        seats: seats.collect(),
        steps: own.map(StepItem::from).collect(),
        penalties: Vec::new(),
    }
}

/// Returns the endpoints.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(report)).with_state(state)
}
