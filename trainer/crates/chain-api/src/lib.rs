// SPDX-License-Identifier: Apache-2.0

//! HTTP endpoints over a chain and the index of its past.
//!
//! | path | content |
//! |---|---|
//! | `/consensus`, `/peers` | the round under way, the head, stake, members, blocks, and the node |
//! | `/wallet`, `/rewards`, `/penalties` | balances, rewards with their explanation, and fines |
//! | `/training-deltas`, `/consciousness` | what each update changed, and measurements of heads |
//! | `/data`, `/data-lineage` | sources and manifests, and walks from text to heads and back |
//! | `/audits` | audits, each as a story |
//! | `/chain-events` | what is new, as server-sent events |
//!
//! The past comes from an [`Index`](pol_index::Index), in pages that cost the same wherever they
//! are. The present comes from a node. While it is away, endpoints that need it say so, and the
//! others work on.
//!
//! # Main types
//!
//! - [`ChainState`] watches a node and an index: [`ChainState::start`].
//! - [`routes`] are the endpoints, for a [`Frame`](pol_api::Frame).
//!
//! # Example
//!
//! ```no_run
//! use pol_api::{Access, Frame, Rate, Scope};
//! use pol_chain_api::{ChainOptions, ChainState, NodeSource, routes};
//! use pol_index::Index;
//! use std::num::NonZeroU32;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let index = Index::open("index.db").await?;
//! let node = NodeSource::Addresses(vec!["ws://127.0.0.1:9944".to_owned()]);
//! let state = ChainState::start(node, index, ChainOptions::default());
//! let rate = Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::MIN };
//! let frame = Frame::new(Access::new(None, rate)).with(Scope::Read, routes(state));
//! # let _ = frame;
//! # Ok(())
//! # }
//! ```

mod audits;
mod consensus;
mod data;
mod deltas;
mod events;
mod explanation;
mod failure;
mod feed;
mod lineage;
mod manifests;
mod mind;
mod network;
mod network_start;
mod node;
mod page;
mod peers;
mod penalties;
mod query;
mod rewards;
mod start;
mod state;
mod survey;
#[cfg(test)]
mod tests;
mod values;
mod wallet;

pub use node::NodeSource;
pub use start::ChainOptions;
pub use state::{ChainState, Latencies};

use axum::Json;
use failure::Failure;
use utoipa_axum::router::OpenApiRouter;

/// Answer of an endpoint.
type Answer<T> = Result<Json<T>, Failure>;

/// Returns all endpoints.
pub fn routes(state: ChainState) -> OpenApiRouter {
    [
        audits::routes,
        consensus::routes,
        data::routes,
        deltas::routes,
        events::routes,
        explanation::routes,
        lineage::routes,
        mind::routes,
        network::routes,
        peers::routes,
        penalties::routes,
        rewards::routes,
        wallet::routes,
    ]
    .into_iter()
    .fold(OpenApiRouter::new(), |all, routes: fn(ChainState) -> OpenApiRouter| {
        all.merge(routes(state.clone()))
    })
}
