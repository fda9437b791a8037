// SPDX-License-Identifier: Apache-2.0

use crate::{engine::Models, error::Problem};
use axum::{Json, extract::State};
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
    created: u64,
    owned_by: &'static str,
    /// Root of the model.
    root: String,
    /// Decoder, by which the bits of predictions are known.
    decoder: String,
    /// Longest sequence, in tokens.
    max_model_len: usize,
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
    let engine = models.current();
    let entry = engine.map(|engine| {
        let card = engine.card();
        ModelEntry {
            id: card.name.clone(),
            object: "model",
            created: card.since,
            owned_by: "pol",
            root: card.root.clone(),
            decoder: card.decoder.clone(),
            max_model_len: card.context,
        }
    });
    Json(ModelList { object: "list", data: entry.into_iter().collect() })
}
