// SPDX-License-Identifier: Apache-2.0

//! `GET /endpoints`: the parts of the interface that this process has.

use axum::{Json, extract::State};
use pol_api::Models;
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Parts of the interface.
#[derive(Clone)]
pub(super) struct Parts {
    /// Set with endpoints that use a model.
    pub(super) generation: bool,
    /// The model.
    pub(super) models: Models,
    /// Set with endpoints of the chain and its past.
    pub(super) chain: bool,
    /// Set with records of documents on this machine.
    pub(super) documents: bool,
    /// Set if the process trains for the network.
    pub(super) trains: bool,
    /// Set if models of the library learn from texts.
    pub(super) local_training: bool,
}

/// Parts of the interface that this process has.
#[derive(Serialize, ToSchema)]
struct Endpoints {
    /// Set with endpoints that use a model.
    generation: bool,
    /// Set if a model is loaded now.
    model: bool,
    /// Set with endpoints of the chain and its past.
    chain: bool,
    /// Set with records of documents on this machine.
    documents: bool,
    /// Set if `POST /train` steers a trainer of the network.
    train: bool,
    /// Set if `POST /train` lets models of the library learn from texts.
    local_training: bool,
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the dashboard, this machine, and its metrics")?;
        for (is_there, name) in [
            (self.generation, "; texts of a model"),
            (self.chain, "; the chain and its past"),
            (self.documents, "; documents of the data here"),
            (self.trains, "; the plan of this trainer"),
            (self.local_training, "; training of models of the library"),
        ] {
            if is_there {
                f.write_str(name)?;
            }
        }
        f.write_str(". GET /reference describes all")
    }
}

/// Lists the parts of the interface that this process has.
#[utoipa::path(
    get,
    path = "/endpoints",
    tag = "This process",
    responses((status = 200, body = Endpoints))
)]
async fn endpoints(State(parts): State<Parts>) -> Json<Endpoints> {
    Json(Endpoints {
        generation: parts.generation,
        model: parts.models.current().is_some(),
        chain: parts.chain,
        documents: parts.documents,
        train: parts.trains,
        local_training: parts.local_training,
    })
}

/// Returns the endpoint.
pub(super) fn routes(parts: Parts) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(endpoints)).with_state(parts)
}
