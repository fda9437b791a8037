//! The learning network for people and scripts: `pol_…`.
//!
//! Every method takes a block's hash as its last, optional parameter, and answers for the best
//! block without it. Keys are in camelCase, hashes are `0x` and 64 digits, accounts SS58, and
//! balances strings of the smallest unit, since they exceed what JavaScript's numbers hold. What
//! does not exist is `null`.

use super::json;
use crate::service::FullClient;
use jsonrpsee::{
    core::RpcResult,
    proc_macros::rpc,
    types::{ErrorObject, ErrorObjectOwned},
};
use pol_primitives::{
    RoundNumber,
    audit::AuditId,
    data::{ManifestId, ShardId},
    metrics::ClaimedMetrics,
    submission::Submission,
};
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

    /// A recipe that is or was in force.
    #[method(name = "pol_recipeByHash", blocking)]
    fn recipe_by_hash(&self, hash: Hash, at: Option<Hash>) -> RpcResult<Value>;

    /// The global model; `null` before round zero is attested.
    #[method(name = "pol_head", blocking)]
    fn head(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// What is kept of a concluded round.
    #[method(name = "pol_roundRecord", blocking)]
    fn round_record(&self, number: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// The open lease of an account.
    #[method(name = "pol_lease", blocking)]
    fn lease(&self, account: AccountId, at: Option<Hash>) -> RpcResult<Value>;

    /// What an account brings into its next lease.
    #[method(name = "pol_standing", blocking)]
    fn standing(&self, account: AccountId, at: Option<Hash>) -> RpcResult<Value>;

    /// What validators found of the head of a round: all figures in millionths, with the share of
    /// the stake that reported; `null` until it is decided, and where nobody reported.
    #[method(name = "pol_measured", blocking)]
    fn measured(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// How the newest head is measured, and the reports on it that wait for a quorum; `null` before
    /// the block after it.
    #[method(name = "pol_measuring", blocking)]
    fn measuring(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// The submissions to a round that are not settled. `claims.metrics.off` says whether what the
    /// trainer says of the head is not what validators found of it; `null` until they have.
    #[method(name = "pol_submissions", blocking)]
    fn submissions(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// The settled submissions to a round, with their outcomes.
    #[method(name = "pol_history", blocking)]
    fn history(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// The updates that a round's head was made of, whatever became of them.
    #[method(name = "pol_updates", blocking)]
    fn updates(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// The updates of earlier rounds that the head being attested takes out.
    #[method(name = "pol_excisions", blocking)]
    fn excisions(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// How much is audited, and how long it may take, in blocks.
    #[method(name = "pol_auditConfig", blocking)]
    fn audit_config(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// The open audits, in the stage that they are in. The seats of a case are places in `holders`.
    #[method(name = "pol_audits", blocking)]
    fn audits(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// What a trainer has shown of its update in an open audit.
    #[method(name = "pol_shown", blocking)]
    fn shown(&self, audit: AuditId, trainer: AccountId, at: Option<Hash>) -> RpcResult<Value>;

    /// The lease of an account's update to a round, until the update is settled.
    #[method(name = "pol_auditedLease", blocking)]
    fn audited_lease(
        &self,
        round: RoundNumber,
        account: AccountId,
        at: Option<Hash>,
    ) -> RpcResult<Value>;

    /// What waits in escrow for an account. An amount is `null` until every update of its round is
    /// settled.
    #[method(name = "pol_rewards", blocking)]
    fn rewards(&self, account: AccountId, at: Option<Hash>) -> RpcResult<Value>;

    /// Where all money of learning went: `emitted + seized = paid + burned + waiting`.
    #[method(name = "pol_books", blocking)]
    fn books(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// Up to 100 bonded accounts after `start`, in storage order.
    #[method(name = "pol_members", blocking)]
    fn members(&self, start: Option<AccountId>, at: Option<Hash>) -> RpcResult<Value>;

    /// A manifest.
    #[method(name = "pol_manifest", blocking)]
    fn manifest(&self, id: ManifestId, at: Option<Hash>) -> RpcResult<Value>;

    /// What became of a shard: the round and the update that made it part of the model, and what it
    /// did; `null` unless it is.
    #[method(name = "pol_shard", blocking)]
    fn shard(&self, manifest: ManifestId, index: u32, at: Option<Hash>) -> RpcResult<Value>;
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
        question: impl FnOnce(
            &<FullClient as ProvideRuntimeApi<Block>>::Api,
            Hash,
        ) -> Result<T, ApiError>,
    ) -> RpcResult<T> {
        let at = at.unwrap_or_else(|| self.client.info().best_hash);
        question(&self.client.runtime_api(), at).map_err(|error| match error {
            ApiError::UnknownBlock(message) => {
                failure(UNKNOWN_BLOCK, &format!("no state of block {at:?}: {message}"))
            }
            ApiError::StateBackendIsNotTrie => {
                failure(UNKNOWN_BLOCK, &format!("no state of block {at:?}"))
            }
            error => failure(
                RUNTIME_FAILED,
                &format!("the runtime did not answer at block {at:?}: {error}"),
            ),
        })
    }
}

/// What exists as JSON, and `null` for what does not.
fn or_null<T>(found: Option<T>, json: impl FnOnce(&T) -> Value) -> Value {
    found.as_ref().map_or(Value::Null, json)
}

fn failure(code: i32, message: &str) -> ErrorObjectOwned {
    ErrorObject::owned(code, message, None::<()>)
}

impl PolServer for Pol {
    fn overview(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.overview(at)).map(|overview| json::overview(&overview))
    }

    fn recipe(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.recipe(at)).map(|recipe| or_null(recipe, json::recipe))
    }

    fn recipe_by_hash(&self, hash: Hash, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.recipe_by_hash(at, hash.0))
            .map(|recipe| or_null(recipe, json::recipe))
    }

    fn head(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.overview(at)).map(|overview| or_null(overview.head, json::head))
    }

    fn round_record(&self, number: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.round_record(at, number))
            .map(|record| or_null(record, json::round_record))
    }

    fn measured(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.measured(at, round))
            .map(|measured| or_null(measured, json::measured))
    }

    fn measuring(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.measuring(at))
            .map(|measuring| or_null(measuring, json::measuring))
    }

    fn lease(&self, account: AccountId, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.lease(at, account)).map(|lease| or_null(lease, json::lease))
    }

    fn standing(&self, account: AccountId, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.standing(at, account)).map(|standing| json::standing(&standing))
    }

    fn submissions(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| {
            let all = api.submissions(at, round)?;
            let is_off = |claimed: ClaimedMetrics| -> Result<Option<bool>, ApiError> {
                let (Some(measured), Some(record)) =
                    (api.measured(at, claimed.round)?, api.round_record(at, claimed.round)?)
                else {
                    return Ok(None);
                };
                let Some(head) = record.head else { return Ok(None) };
                let recipe = api.recipe_by_hash(at, head.recipe_hash)?;
                Ok(recipe.map(|recipe| claimed.metrics.is_off(&measured.metrics, recipe.numerics)))
            };
            let shown = |entry: &(AccountId, Submission)| -> Result<Value, ApiError> {
                let off = entry.1.claims.metrics.map(is_off).transpose()?.flatten();
                Ok(json::submission(entry, off))
            };
            all.iter().map(shown).collect()
        })
    }

    fn history(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.history(at, round))
            .map(|all| all.iter().map(json::settled).collect())
    }

    fn updates(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.updates(at, round))
            .map(|all| all.iter().map(json::update).collect())
    }

    fn excisions(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.excisions(at))
            .map(|all| all.iter().map(json::excision).collect())
    }

    fn audit_config(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.audit_config(at)).map(|config| json::audit_config(&config))
    }

    fn audits(&self, at: Option<Hash>) -> RpcResult<Value> {
        let (config, audits) =
            self.ask(at, |api, at| Ok((api.audit_config(at)?, api.audits(at)?)))?;
        Ok(audits.iter().map(|audit| json::audit(audit, &config)).collect())
    }

    fn shown(&self, audit: AuditId, trainer: AccountId, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.shown(at, audit, trainer))
            .map(|shown| or_null(shown, json::shown))
    }

    fn audited_lease(
        &self,
        round: RoundNumber,
        account: AccountId,
        at: Option<Hash>,
    ) -> RpcResult<Value> {
        self.ask(at, |api, at| api.audited_lease(at, round, account))
            .map(|lease| or_null(lease, json::lease))
    }

    fn rewards(&self, account: AccountId, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.rewards(at, account))
            .map(|all| all.iter().map(json::reward).collect())
    }

    fn books(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.books(at)).map(|books| json::books(&books))
    }

    fn members(&self, start: Option<AccountId>, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.members(at, start))
            .map(|members| members.iter().map(json::member).collect())
    }

    fn manifest(&self, id: ManifestId, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.manifest(at, id))
            .map(|manifest| or_null(manifest, json::manifest))
    }

    fn shard(&self, manifest: ManifestId, index: u32, at: Option<Hash>) -> RpcResult<Value> {
        self.ask(at, |api, at| api.shard(at, ShardId { manifest, index }))
            .map(|record| or_null(record, json::shard))
    }
}
