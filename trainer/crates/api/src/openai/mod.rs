// SPDX-License-Identifier: Apache-2.0

//! The interface of OpenAI: models, completions, chats, and embeddings, as far as clients of local
//! servers use it (OpenAI 2026, "API reference").

mod chat;
mod completions;
mod embeddings;
mod form;
mod functions;
mod inputs;
pub(crate) mod messages;
mod models;
mod texts;

pub use chat::ChatRequest;
pub use completions::CompletionRequest;
pub use embeddings::EmbeddingRequest;

use crate::engine::Models;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Returns the endpoints that describe models.
pub(crate) fn read_routes(models: Models) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(models::list))
        .routes(routes!(models::show))
        .with_state(models)
}

/// Returns the endpoints that use the model.
pub(crate) fn generate_routes(models: Models) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(completions::create))
        .routes(routes!(chat::create))
        .routes(routes!(embeddings::create))
        .with_state(models)
}
