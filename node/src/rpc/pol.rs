// SPDX-License-Identifier: Apache-2.0

//! `pol_…`: the state of the learning network, for people and scripts.
//!
//! Every method takes the hash of a block as its last, optional parameter. The default is the best
//! block. Keys are in camelCase. Hashes are `0x` and 64 hexadecimal digits, accounts are SS58
//! addresses. Balances are strings, in the smallest unit, because they exceed the range of a
//! JavaScript number. A value that does not exist is `null`.

use super::{address::Address, explanation::explanation, json};
use crate::client::FullClient;
use jsonrpsee::{
    core::RpcResult,
    proc_macros::rpc,
    types::{ErrorObject, ErrorObjectOwned},
};
use pol_primitives::{
    RoundNumber,
    audit::AuditId,
    data::{ManifestId, ShardId},
    metrics::{MetricsClaim, ModelMetrics},
    recipe::Numerics,
    submission::Submission,
};
use pol_runtime::{AccountId, Hash, opaque::Block};
use pol_runtime_api::PolApi;
use polkadot_sdk::{
    sp_api::{ApiError, ProvideRuntimeApi},
    sp_blockchain::HeaderBackend,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

type Api = <FullClient as ProvideRuntimeApi<Block>>::Api;

/// Error code: the node does not have the block, or has pruned its state.
const UNKNOWN_BLOCK: i32 = 7001;
/// Error code: the call of the runtime failed.
const RUNTIME_FAILED: i32 = 7002;

/// Methods of the `pol` namespace.
#[rpc(server)]
pub(crate) trait Pol {
    /// Returns an overview of the network: the current round, its configuration and the head.
    #[method(name = "pol_overview", blocking)]
    fn overview(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the recipe in force; `null` before governance sets one.
    #[method(name = "pol_recipe", blocking)]
    fn recipe(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns a current or earlier recipe by its hash.
    #[method(name = "pol_recipeByHash", blocking)]
    fn recipe_by_hash(&self, hash: Hash, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the head, the current global model; `null` before round zero is attested.
    #[method(name = "pol_head", blocking)]
    fn head(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the record of a concluded round.
    #[method(name = "pol_roundRecord", blocking)]
    fn round_record(&self, number: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the open lease of an account.
    #[method(name = "pol_lease", blocking)]
    fn lease(&self, account: Address, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the standing of an account, which its next lease starts from.
    #[method(name = "pol_standing", blocking)]
    fn standing(&self, account: Address, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the measurements of a round's head by its validators, in millionths, with the share
    /// of the stake that reported; `null` until they are decided, or if no validator reported.
    #[method(name = "pol_headMeasurement", blocking)]
    fn head_measurement(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the open measurement of the newest head, with the reports that wait for a quorum;
    /// `null` before the block after the head.
    #[method(name = "pol_pendingMeasurement", blocking)]
    fn pending_measurement(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the unsettled submissions to a round. `claims.metrics.off` is `true` if the
    /// trainer's measurements of the head differ from those of the validators, and `null` until
    /// those are decided, or if the head is not among the four newest that trainers measured.
    #[method(name = "pol_submissions", blocking)]
    fn submissions(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the settled submissions to a round, with their outcomes.
    #[method(name = "pol_history", blocking)]
    fn history(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the updates that a round's head was made of, including those excised later.
    #[method(name = "pol_updates", blocking)]
    fn updates(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the updates of earlier rounds that the head under attestation excises.
    #[method(name = "pol_excisions", blocking)]
    fn excisions(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the audit configuration, with durations in blocks.
    #[method(name = "pol_auditConfig", blocking)]
    fn audit_config(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns up to 16 open audits from the identifier `start` on with their stages. The seats of
    /// a case are indices into `holders`.
    #[method(name = "pol_audits", blocking)]
    fn audits(&self, start: Option<AuditId>, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the response of a trainer in an open audit.
    #[method(name = "pol_auditResponse", blocking)]
    fn audit_response(
        &self,
        audit: AuditId,
        trainer: Address,
        at: Option<Hash>,
    ) -> RpcResult<Value>;

    /// Returns the lease of an account's update to a round, until the update is settled.
    #[method(name = "pol_auditedLease", blocking)]
    fn audited_lease(
        &self,
        round: RoundNumber,
        account: Address,
        at: Option<Hash>,
    ) -> RpcResult<Value>;

    /// Returns the rewards in escrow for an account. An amount is `null` until every update of its
    /// round is settled.
    #[method(name = "pol_rewards", blocking)]
    fn pending_rewards(&self, account: Address, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the reward of an account in a round with what was measured, its weights and shares,
    /// and what it waits for. The amounts of the parts add up to what a claim pays.
    #[method(name = "pol_explain", blocking)]
    fn explain(&self, account: Address, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the totals of all rewards: `emitted + seized = paid + burned + waiting`.
    #[method(name = "pol_ledger", blocking)]
    fn ledger(&self, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns up to 100 bonded accounts after `start`, in storage order.
    #[method(name = "pol_members", blocking)]
    fn members(&self, start: Option<Address>, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns a manifest.
    #[method(name = "pol_manifest", blocking)]
    fn manifest(&self, id: ManifestId, at: Option<Hash>) -> RpcResult<Value>;

    /// Returns the record of a consumed shard: the round and the update that consumed it, and its
    /// effect on the model; `null` for any other shard.
    #[method(name = "pol_shard", blocking)]
    fn shard_record(&self, manifest: ManifestId, index: u32, at: Option<Hash>) -> RpcResult<Value>;
}

/// Implementation of the methods by calls of the runtime.
pub(crate) struct Pol {
    client: Arc<FullClient>,
}

impl Pol {
    /// Creates the methods on top of `client`.
    pub(crate) fn new(client: Arc<FullClient>) -> Self {
        Self { client }
    }

    /// Calls the runtime on the state of block `at`, or of the best block.
    fn query<T>(
        &self,
        at: Option<Hash>,
        call: impl FnOnce(&Api, Hash) -> Result<T, ApiError>,
    ) -> RpcResult<T> {
        let at = at.unwrap_or_else(|| self.client.info().best_hash);
        call(&self.client.runtime_api(), at).map_err(|error| match error {
            ApiError::UnknownBlock(message) => {
                rpc_error(UNKNOWN_BLOCK, &format!("no state of block {at:?}: {message}"))
            }
            ApiError::StateBackendIsNotTrie => {
                rpc_error(UNKNOWN_BLOCK, &format!("no state of block {at:?}"))
            }
            error => rpc_error(
                RUNTIME_FAILED,
                &format!("the runtime call failed at block {at:?}: {error}"),
            ),
        })
    }
}

/// Maximum number of heads of which one answer reads the measurement. Trainers choose the rounds
/// that they claim to have measured.
const MEASURED_HEADS: usize = 4;

/// Returns the newest rounds before `round` whose heads trainers claim to have measured.
fn newest_heads(
    claims: impl Iterator<Item = MetricsClaim>,
    round: RoundNumber,
) -> impl Iterator<Item = RoundNumber> {
    let rounds = claims.map(|claimed| claimed.round).filter(|&claimed| claimed < round);
    rounds.collect::<BTreeSet<_>>().into_iter().rev().take(MEASURED_HEADS)
}

/// Returns the measurements of the head of `round` by its validators, with the numerics profile of
/// its recipe; none until they are decided.
fn measured_head(
    api: &Api,
    at: Hash,
    round: RoundNumber,
) -> Result<Option<(ModelMetrics, Numerics)>, ApiError> {
    let (Some(measured), Some(record)) =
        (api.head_measurement(at, round)?, api.round_record(at, round)?)
    else {
        return Ok(None);
    };
    let Some(head) = record.head else { return Ok(None) };
    let recipe = api.recipe_by_hash(at, head.recipe_hash)?;
    Ok(recipe.map(|recipe| (measured.metrics, recipe.numerics)))
}

/// Converts a value to JSON, and none to `null`.
fn or_null<T>(value: Option<T>, json: impl FnOnce(&T) -> Value) -> Value {
    value.as_ref().map_or(Value::Null, json)
}

fn rpc_error(code: i32, message: &str) -> ErrorObjectOwned {
    ErrorObject::owned(code, message, None::<()>)
}

impl PolServer for Pol {
    fn overview(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.overview(at)).map(|overview| json::overview(&overview))
    }

    fn recipe(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.recipe(at)).map(|recipe| or_null(recipe, json::recipe))
    }

    fn recipe_by_hash(&self, hash: Hash, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.recipe_by_hash(at, hash.0))
            .map(|recipe| or_null(recipe, json::recipe))
    }

    fn head(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.overview(at))
            .map(|overview| or_null(overview.head, json::head))
    }

    fn round_record(&self, number: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.round_record(at, number))
            .map(|record| or_null(record, json::round_record))
    }

    fn head_measurement(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.head_measurement(at, round))
            .map(|measured| or_null(measured, json::head_measurement))
    }

    fn pending_measurement(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.pending_measurement(at))
            .map(|measuring| or_null(measuring, json::pending_measurement))
    }

    fn lease(&self, Address(account): Address, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.lease(at, account)).map(|lease| or_null(lease, json::lease))
    }

    fn standing(&self, Address(account): Address, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.standing(at, account))
            .map(|standing| json::standing(&standing))
    }

    fn submissions(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| {
            let submissions = api.submissions(at, round)?;
            let claims = submissions.iter().filter_map(|(_, submission)| submission.claims.metrics);
            let mut measured = BTreeMap::new();
            for claimed in newest_heads(claims, round) {
                measured.insert(claimed, measured_head(api, at, claimed)?);
            }
            let is_off = |claimed: MetricsClaim| {
                let (measured, numerics) = measured.get(&claimed.round)?.as_ref()?;
                Some(claimed.metrics.deviates_from(measured, *numerics))
            };
            let to_json = |entry: &(AccountId, Submission)| {
                json::submission(entry, entry.1.claims.metrics.and_then(is_off))
            };
            Ok(submissions.iter().map(to_json).collect())
        })
    }

    fn history(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.history(at, round))
            .map(|all| all.iter().map(json::settled).collect())
    }

    fn updates(&self, round: RoundNumber, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.updates(at, round))
            .map(|all| all.iter().map(json::update).collect())
    }

    fn excisions(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.excisions(at))
            .map(|all| all.iter().map(json::excision).collect())
    }

    fn audit_config(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.audit_config(at)).map(|config| json::audit_config(&config))
    }

    fn audits(&self, start: Option<AuditId>, at: Option<Hash>) -> RpcResult<Value> {
        let start = start.unwrap_or(0);
        let (config, audits) =
            self.query(at, |api, at| Ok((api.audit_config(at)?, api.audits(at, start)?)))?;
        Ok(audits.iter().map(|audit| json::audit(audit, &config)).collect())
    }

    fn audit_response(
        &self,
        audit: AuditId,
        Address(trainer): Address,
        at: Option<Hash>,
    ) -> RpcResult<Value> {
        self.query(at, |api, at| api.audit_response(at, audit, trainer))
            .map(|shown| or_null(shown, json::audit_response))
    }

    fn audited_lease(
        &self,
        round: RoundNumber,
        Address(account): Address,
        at: Option<Hash>,
    ) -> RpcResult<Value> {
        self.query(at, |api, at| api.audited_lease(at, round, account))
            .map(|lease| or_null(lease, json::lease))
    }

    fn pending_rewards(&self, Address(account): Address, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.pending_rewards(at, account))
            .map(|all| all.iter().map(json::reward).collect())
    }

    fn explain(
        &self,
        Address(account): Address,
        round: RoundNumber,
        at: Option<Hash>,
    ) -> RpcResult<Value> {
        self.query(at, |api, at| api.explain(at, account, round))
            .map(|explained| explanation(&explained))
    }

    fn ledger(&self, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.ledger(at)).map(|ledger| json::ledger(&ledger))
    }

    fn members(&self, start: Option<Address>, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.members(at, start.map(|Address(account)| account)))
            .map(|members| members.iter().map(json::member).collect())
    }

    fn manifest(&self, id: ManifestId, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.manifest(at, id))
            .map(|manifest| or_null(manifest, json::manifest))
    }

    fn shard_record(&self, manifest: ManifestId, index: u32, at: Option<Hash>) -> RpcResult<Value> {
        self.query(at, |api, at| api.shard_record(at, ShardId { manifest, index }))
            .map(|record| or_null(record, json::shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_few_measurements_whatever_trainers_claim() {
        let claim = |round| MetricsClaim { round, metrics: ModelMetrics::default() };
        let claims = (0..64).chain([63, 1_000]).map(claim);
        assert_eq!(newest_heads(claims, 64).collect::<Vec<_>>(), [63, 62, 61, 60]);
        assert_eq!(newest_heads([claim(7), claim(7)].into_iter(), 9).count(), 1);
    }
}
