// SPDX-License-Identifier: Apache-2.0

//! HTTP server of a model.
//!
//! | path | content |
//! |---|---|
//! | `POST /generate` | a text with surprise, confidence, affect, tools, and reasoning |
//! | `GET /pretrained-models` | models that can be imported, that are here, and of the start |
//! | `GET /experts` | experts that the network's text goes to, by domain |
//! | `/v1/models`, `completions`, `chat/completions`, `embeddings` | the interface of OpenAI |
//! | `GET /openapi.json`, `/reference`, `/health` | descriptions, and a sign of life |
//!
//! A [`Frame`] puts endpoints behind [`Access`]: tokens with scopes, hosts, and rates. [`serve`]
//! serves them within [`Limits`]. An [`Engine`] is a thread that owns a model. Requests join its
//! batch and leave it between steps, so that the parameters are read once for all of them, and the
//! text of a request is the same in any company. [`Models`] replaces a model under way, and keeps
//! older ones for those who name them.
//!
//! # Example
//!
//! ```no_run
//! use pol_api::{Access, Engine, Limits, Models, Rate, router, serve};
//! use std::num::NonZeroU32;
//!
//! # async fn example(engine: Engine) -> std::io::Result<()> {
//! let rate = Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::MIN };
//! let router = router(Models::new(engine), None, Access::new(None, rate)).build();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
//! serve(listener, router, Limits::default(), std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod access;
mod answers;
mod body;
mod clients;
mod engine;
mod error;
pub mod events;
mod experts;
mod frame;
mod generate;
mod observe;
pub mod openai;
mod origins;
mod parameters;
mod pretrained;
mod query;
mod receipts;
mod reference;
mod server;
mod stream;
mod time;
mod tokenize;
mod tokens;
mod worker;

pub use access::{Access, Rate};
pub use body::{JsonBody, MAX_BODY_BYTES, parse};
pub use engine::{Engine, EngineOptions, ModelCard, Models};
pub use error::{ApiError, OpenAiError, Problem};
pub use experts::{ExpertMeasurement, ExpertMeasurements, SampleUse};
pub use frame::{Frame, Peer};
pub use generate::GenerateRequest;
pub use parameters::Strings;
pub use pretrained::{NetworkStart, StartSource};
pub use receipts::Notary;
pub use server::{Limits, serve};
pub use time::Time;
pub use tokens::{Scope, Token, TokenError, TokenFile};

use std::{path::PathBuf, sync::Arc};

/// Returns the frame with all endpoints of `models`. Imported models in the folder `library` are
/// listed.
pub fn router(models: Models, library: Option<PathBuf>, access: Access) -> Frame {
    Frame::new(access).with_library(models.clone(), library, None).with_models(models)
}

impl Frame {
    /// Adds the endpoint that lists models: the current one of `models`, imported ones in the
    /// folder `library`, and the one that the network of `start` started from.
    #[must_use]
    pub fn with_library(
        self,
        models: Models,
        library: Option<PathBuf>,
        start: Option<Arc<dyn StartSource>>,
    ) -> Self {
        self.with(Scope::Read, pretrained::routes(models, library, start))
    }

    /// Adds the endpoint about the experts of `models`, with what was measured of them.
    #[must_use]
    pub fn with_experts(self, models: Models, measurements: ExpertMeasurements) -> Self {
        self.with(Scope::Read, experts::routes(models, measurements))
    }

    /// Adds the endpoints that use `models`.
    #[must_use]
    pub fn with_models(self, models: Models) -> Self {
        self.with(Scope::Generate, generate::routes(models.clone()))
            .with_versioned(Scope::Read, openai::read_routes(models.clone()))
            .with_versioned(Scope::Generate, openai::generate_routes(models))
    }
}
