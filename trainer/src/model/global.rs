// SPDX-License-Identifier: Apache-2.0

use pol_chain::AccountId;
use pol_engine::{ParameterBytes, RoundUpdate};
use pol_primitives::{Hash, head::IncludedUpdate, payload::Payload};
use pol_swarm::Bytes;
use std::sync::Arc;

/// Label of an imported model. It is the only start of the history, so it is kept.
pub const PRETRAINED_TAG: &str = "model/pretrained";

/// The parameters of one head.
#[derive(Clone)]
pub struct GlobalModel {
    /// Root of the head: BLAKE3 of the parameters' bytes.
    pub root: Hash,
    /// Parameters in canonical order.
    pub parameters: Arc<Vec<f32>>,
}

impl GlobalModel {
    /// Creates the model of `parameters` and hashes them, which takes a while.
    pub(super) fn new(parameters: Vec<f32>) -> Self {
        let root = pol_model::hash_values(&parameters);
        Self { root, parameters: Arc::new(parameters) }
    }

    /// Returns the blob of the parameters, without a copy.
    pub(super) fn to_blob(&self) -> Bytes {
        Bytes::from_owner(ParameterBytes(self.parameters.clone()))
    }
}

/// An included update and its payload.
pub struct UpdateWithPayload {
    /// Record of the update on chain.
    pub update: IncludedUpdate<AccountId>,
    /// Change of the parameters.
    pub payload: Payload,
}

/// Returns `updates` as aggregation takes them.
pub fn round_updates(updates: impl IntoIterator<Item = UpdateWithPayload>) -> Vec<RoundUpdate> {
    let of = |UpdateWithPayload { update, payload }| RoundUpdate {
        payload,
        staleness: update.staleness,
        tokens: update.tokens,
    };
    updates.into_iter().map(of).collect()
}
