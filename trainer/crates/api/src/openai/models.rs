// SPDX-License-Identifier: Apache-2.0

use crate::{
    engine::{ModelCard, Models},
    error::{ApiError, Problem},
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

/// List of models.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<ModelEntry>,
}

/// Served model.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelEntry {
    id: String,
    #[schema(example = "model")]
    object: &'static str,
    /// Time from which it is served, in seconds since 1970.
    created: u64,
    owned_by: &'static str,
    /// Root of the model.
    root: String,
    /// Decoder, by which the bits of predictions are known.
    decoder: String,
    /// Longest sequence, in tokens.
    max_model_len: usize,
    /// Public key of the account that signs receipts, if there are any.
    receipts: Option<String>,
}

impl From<&ModelCard> for ModelEntry {
    fn from(card: &ModelCard) -> Self {
        Self {
            id: card.name.clone(),
            object: "model",
            created: card.since.milliseconds() / 1_000,
            owned_by: "pol",
            root: card.root.clone(),
            decoder: card.decoder.clone(),
            max_model_len: card.context,
            receipts: card.receipts.clone(),
        }
    }
}

/// Lists the model that is served, if one is loaded.
#[utoipa::path(
    get,
    path = "/models",
    tag = "OpenAI",
    responses(
        (status = 200, body = ModelList),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(State(models): State<Models>) -> Json<ModelList> {
    let entry = models.current().map(|engine| engine.card().into());
    Json(ModelList { object: "list", data: entry.into_iter().collect() })
}

/// Describes the model that is served.
#[utoipa::path(
    get,
    path = "/models/{id}",
    tag = "OpenAI",
    params(("id" = String, Path, description = "Name of the model")),
    responses(
        (status = 200, body = ModelEntry),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn show(
    State(models): State<Models>,
    Path(id): Path<String>,
) -> Result<Json<ModelEntry>, ApiError> {
    Ok(Json(models.named(Some(&id))?.card().into()))
}
