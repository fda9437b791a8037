// SPDX-License-Identifier: Apache-2.0

//! `GET /penalties`: parts of bonds that were lost, with their reasons.

use crate::{
    Answer,
    page::Items,
    query::{PageQuery, Paged},
    state::ChainState,
    values::{Account, Pol, Time},
};
use axum::{Json, extract::State};
use pol_api::{ApiError, Problem};
use pol_index::{
    Row,
    facts::{Penalty, PenaltyCause},
    lookups::Penalties,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Selection of penalties.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PenaltyFilter {
    /// Account: an SS58 address, or `0x` and 64 hexadecimal digits.
    #[param(value_type = Option<String>)]
    account: Option<Account>,
    /// Audit that decided it.
    #[param(example = 3)]
    audit: Option<u32>,
}

/// Part of a bond that was lost.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PenaltyItem {
    /// Account.
    pub(crate) account: Account,
    /// Reason.
    #[schema(value_type = String, example = "audit")]
    cause: PenaltyCause,
    /// Round of the update, lease or attestation, where it is known.
    #[schema(example = 6)]
    round: Option<u32>,
    /// Audit that decided it.
    #[schema(example = 3)]
    audit: Option<u32>,
    /// Amount.
    amount: Pol,
    /// True if it was seized for the pot of rewards and burned there.
    seized: bool,
    /// Block.
    #[schema(example = 950)]
    block: u32,
    /// Time of the block.
    time: Time,
}

impl From<Row<Penalty>> for PenaltyItem {
    fn from(Row { at, time, fact }: Row<Penalty>) -> Self {
        Self {
            account: Account(fact.account),
            cause: fact.cause,
            round: fact.round,
            audit: fact.audit,
            amount: Pol(fact.amount),
            seized: fact.seized,
            block: at.block,
            time: Time::new(time),
        }
    }
}

/// Returns parts of bonds that were lost.
#[utoipa::path(
    get,
    path = "/penalties",
    tag = "Audits",
    params(PenaltyFilter, PageQuery),
    responses(
        (status = 200, body = Items<PenaltyItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn penalties(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<PenaltyFilter>,
) -> Answer<Items<PenaltyItem>> {
    let lookup = match (filter.account, filter.audit) {
        (Some(account), None) => Penalties::Account(account.0),
        (None, Some(audit)) => Penalties::Audit(audit),
        (None, None) => Penalties::All,
        (Some(_), Some(_)) => {
            let detail = "give account or audit, not both";
            return Err(ApiError::parameter("audit", detail).into());
        }
    };
    let (range, as_of) = (page.range()?, state.as_of().await?);
    Ok(Json(Items::of(state.index().page(lookup, range).await?, as_of)))
}

/// Returns the endpoint.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(penalties)).with_state(state)
}
