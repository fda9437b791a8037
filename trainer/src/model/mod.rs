// SPDX-License-Identifier: Apache-2.0

//! The global model, kept at the chain's head.
//!
//! [`ModelKeeper`] follows the head. It computes the next model from the updates of a round
//! ([`replay_round`]) where that is possible, and fetches the parameters from peers
//! ([`fetch_model`]) where it is not. Between heads the model is in the store of blobs, and not in
//! memory ([`load_model`]).

mod collect;
mod compute;
mod excision;
mod fetch;
mod global;
mod keeper;
mod rewrite;

pub use compute::{apply_updates, initial_model, replay_round};
pub use excision::excised_rounds;
pub use fetch::{
    fetch_model, fetch_tokenizer, head_before, hold_model, included_updates, load_model,
    revealed_updates,
};
pub use global::{BaseModel, GlobalModel, HeldUpdate, PRETRAINED_TAG};
pub use keeper::ModelKeeper;
pub use rewrite::{rewrite_model, rewrite_plan};
