// SPDX-License-Identifier: Apache-2.0

use crate::{
    engine::{ModelCard, Models, listed},
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
    /// Name, as requests have it. That of an older model ends with the first digits of its root.
    id: String,
    #[schema(example = "model")]
    object: &'static str,
    /// Time from which it is served, in seconds since 1970.
    created: u64,
    owned_by: &'static str,
    /// Root of the model.
    root: String,
    /// Round of the chain that ended with it; null for a model of a folder.
    round: Option<u32>,
    /// Decoder, by which the bits of predictions are known.
    decoder: String,
    /// Longest sequence, in tokens.
    max_model_len: usize,
    /// Public key of the account that signs receipts, if there are any.
    receipts: Option<String>,
}

impl ModelEntry {
    fn new(id: String, card: &ModelCard) -> Self {
        Self {
            id,
            object: "model",
            created: card.since.milliseconds() / 1_000,
            owned_by: "pol",
            root: card.root.clone(),
            round: card.round,
            decoder: card.decoder.clone(),
            max_model_len: card.context,
            receipts: card.receipts.clone(),
        }
    }
}

/// Lists the model that is served, if one is loaded, and the older ones beside it.
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
    let engines = models.all();
    let data = listed(&engines).map(|(id, card)| ModelEntry::new(id, card)).collect();
    Json(ModelList { object: "list", data })
}

/// Describes a model that is served.
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
    let engine = models.named(Some(&id))?;
    Ok(Json(ModelEntry::new(id, engine.card())))
}
