//! The learning network for people and scripts: `pol_…`.
//!
//! Every method takes a block's hash as its last, optional parameter, and answers for the best block without it. Keys are in
//! camelCase, hashes are `0x` and 64 digits, accounts SS58, and balances strings of the smallest unit, since they exceed
//! what JavaScript's numbers hold. What does not exist is `null`.

use super::json;
use crate::service::FullClient;
use jsonrpsee::{
    core::RpcResult,
    proc_macros::rpc,
    types::{ErrorObject, ErrorObjectOwned},
};
use pol_primitives::{RoundNumber, data::ManifestId};
use pol_runtime::{AccountId, Hash, opaque::Block};
use pol_runtime_api::PolApi;
use polkadot_sdk::{
    sp_api::{ApiError, ProvideRuntimeApi},
    sp_blockchain::HeaderBackend,
};
use serde_json::Value;
use std::sync::Arc;

/// Code of the error for a block that the node does not have, or whose state it has pruned.
const UNKNOWN_BLOCK: i32 = 7001;
/// Code of the error for a runtime that did not answer.
const RUNTIME_FAILED: i32 = 7002;

/// The methods.
#[rpc(server)]
pub trait Pol {
    /// The network: the round under way, its configuration, the head, and who may propose.
    #[method(name = "pol_overview", blocking)]
    fn overview(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// The recipe in force; `null` before governance set one.
    #[method(name = "pol_recipe", blocking)]
    fn recipe(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// The global model; `null` before round zero is attested.
    #[method(name = "pol_head", blocking)]
    fn head(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// What is kept of a concluded round.
    #[method(name = "pol_roundRecord", blocking)]
    fn round_record(&self, number: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// The open lease of an account.
    #[method(name = "pol_lease", blocking)]
    fn lease(&self, account: AccountId, at: Option<Hash>) -> RpcResult<Value>;

    /// The submissions to a round.
    #[method(name = "pol_submissions", blocking)]
    fn submissions(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// Up to 100 bonded accounts after `start`, in storage order.
    #[method(name = "pol_members", blocking)]
    fn members(&self, start: Option<AccountId>, at: Option<Hash>) -> RpcResult<Value>;

    /// A manifest.
    #[method(name = "pol_manifest", blocking)]
    fn manifest(&self, id: ManifestId, at: Option<Hash>) -> RpcResult<Value>;
}

/// Answers from the runtime.
pub struct Pol {
    client: Arc<FullClient>,
}

impl Pol {
    /// Answers from `client`.
    pub fn new(client: Arc<FullClient>) -> Self {
        Self { client }
    }

    /// What the runtime says at a block.
    fn ask<T>(
        &self,
        at: Option<Hash>,
        question: impl FnOnce(&<FullClient as ProvideRuntimeApi<Block>>::Api, Hash) -> Result<T, ApiError>,
    ) -> RpcResult<T> {
        let at = at.unwrap_or_else(|| self.client.info().best_hash);
        question(&self.client.runtime_api(), at).map_err(|error| match error {
            ApiError::UnknownBlock(message) => failure(UNKNOWN_BLOCK, &format!("no state of block {at:?}: {message}")),
            ApiError::StateBackendIsNotTrie => failure(UNKNOWN_BLOCK, &format!("no state of block {at:?}")),
            error => failure(RUNTIME_FAILED, &format!("the runtime did not answer at block {at:?}: {error}")),
        })
    }
}

fn failure(code: i32, message: &str) -> ErrorObjectOwned {
    ErrorObject::owned(code, message, None::<()>)
}

impl PolServer for Pol {
    fn overview(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.overview(at)).map(|overview| json::overview(&overview))
    }

    fn recipe(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.recipe(at)).map(|recipe| recipe.as_ref().map_or(Value::Null, json::recipe))
    }

    fn head(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.overview(at)).map(|overview| overview.head.as_ref().map_or(Value::Null, json::head))
    }

    fn round_record(&self, number: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.round_record(at, number)).map(|record| record.as_ref().map_or(Value::Null, json::round_record))
    }

    fn lease(&self, account: AccountId, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.lease(at, account)).map(|lease| lease.as_ref().map_or(Value::Null, json::lease))
    }

    fn submissions(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.submissions(at, round)).map(|all| all.iter().map(json::submission).collect())
    }

    fn members(&self, start: Option<AccountId>, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.members(at, start)).map(|members| members.iter().map(json::member).collect())
    }

    fn manifest(&self, id: ManifestId, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.manifest(at, id)).map(|manifest| manifest.as_ref().map_or(Value::Null, json::manifest))
    }
}
