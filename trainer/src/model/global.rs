// SPDX-License-Identifier: Apache-2.0

use crate::blocking_blob::BlockingBlob;
use pol_chain::AccountId;
use pol_engine::{EngineError, ParameterBytes, Update, read_payload};
use pol_primitives::{
    Hash,
    head::IncludedUpdate,
    payload::{Chunk, encoded_size},
};
use pol_swarm::{Bytes, Swarm};
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

/// Model that updates are applied to.
#[derive(Clone)]
pub enum BaseModel {
    /// Model in memory.
    Memory(GlobalModel),
    /// Model with this root, which is in the store of this machine and is read from there.
    Stored(Hash),
}

impl BaseModel {
    /// Returns the root of the model.
    pub fn root(&self) -> Hash {
        match self {
            Self::Memory(model) => model.root,
            Self::Stored(root) => *root,
        }
    }
}

/// An included update, whose payload is on this machine. It is read, a part at a time, where it is
/// needed.
#[derive(Clone)]
pub struct HeldUpdate {
    /// Record of the update on chain.
    pub update: IncludedUpdate<AccountId>,
    /// Peer whose store has the payload.
    pub(super) swarm: Swarm,
}

impl Update for HeldUpdate {
    fn staleness(&self) -> u8 {
        self.update.staleness
    }

    fn tokens(&self) -> u64 {
        self.update.tokens
    }

    fn for_each_chunk(
        &self,
        top_k: u16,
        values: u64,
        visit: impl FnMut(&Chunk),
    ) -> Result<(), EngineError> {
        let hash = &self.update.payload_hash;
        let blob = BlockingBlob::open(&self.swarm, hash, encoded_size(top_k, values));
        let blob = blob.map_err(|source| EngineError::BlobRead { hash: *hash, source })?;
        read_payload(hash, blob, top_k, values, visit)
    }
}
