// SPDX-License-Identifier: Apache-2.0

//! Typed reads of the chain's state.

use crate::{AccountId, Chain, ChainError};
use codec::{Decode, Encode};
use pol_primitives::{
    Balance, Hash, RoundNumber,
    audit::{Audit, AuditConfig, AuditId, AuditResponse},
    beacon::{AwaitedPulse, BeaconConfig},
    data::{Manifest, ManifestId, ShardId, ShardRecord, Source, SourceId},
    explanation::Explanation,
    head::{Excision, IncludedUpdate, RoundRecord},
    lease::Lease,
    lineage::Retirement,
    metrics::{HeadMeasurement, PendingMeasurement},
    queries::{AUDITS_PAGE, Attestation, Member, Overview, Page, PendingReward},
    recipe::Recipe,
    rewards::Ledger,
    standing::Standing,
    submission::{RevealSet, Submission, SubmissionRecord},
};
use sp_crypto_hashing::{blake2_128, twox_128};
use subxt::utils::H256;

/// Runtime API that reads go through.
pub(crate) const API: &str = "PolApi";
/// Key of the runtime's code in the state.
const RUNTIME_CODE: &[u8] = b":code";

/// Reads of the network's state. All of them fail if the node cannot answer, or answers in another
/// shape than this program knows.
impl Chain {
    /// Returns round, head, configuration and totals of the network.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn overview(&self) -> Result<Overview, ChainError> {
        self.read("overview", ()).await
    }

    /// Returns the recipe in force.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn recipe(&self) -> Result<Option<Recipe>, ChainError> {
        self.read("recipe", ()).await
    }

    /// Returns the recipe with this hash, whether it is or was in force.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn recipe_by_hash(&self, hash: &Hash) -> Result<Option<Recipe>, ChainError> {
        self.read("recipe_by_hash", hash).await
    }

    /// Returns the account's open lease.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn lease(&self, account: &AccountId) -> Result<Option<Lease>, ChainError> {
        self.read("lease", account).await
    }

    /// Returns the account's standing, which its next lease continues from.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn standing(&self, account: &AccountId) -> Result<Standing, ChainError> {
        self.read("standing", account).await
    }

    /// Returns the submissions to a round that are not settled, by account; at most 64.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn submissions(
        &self,
        round: RoundNumber,
    ) -> Result<Vec<(AccountId, Submission)>, ChainError> {
        self.read("submissions", round).await
    }

    /// Returns the settled submissions to a round, by account; at most 64.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn history(
        &self,
        round: RoundNumber,
    ) -> Result<Vec<(AccountId, SubmissionRecord)>, ChainError> {
        self.read("history", round).await
    }

    /// Returns the record of a concluded round.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn round_record(
        &self,
        round: RoundNumber,
    ) -> Result<Option<RoundRecord<AccountId>>, ChainError> {
        self.read("round_record", round).await
    }

    /// Returns the updates that a concluded round included, in account order, also those that were
    /// excised later.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn updates(
        &self,
        round: RoundNumber,
    ) -> Result<Vec<IncludedUpdate<AccountId>>, ChainError> {
        self.read("updates", round).await
    }

    /// Returns the updates that the next head excises, ascending.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn excisions(&self) -> Result<Vec<Excision>, ChainError> {
        self.read("excisions", ()).await
    }

    /// Returns the configuration of audits.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn audit_config(&self) -> Result<AuditConfig, ChainError> {
        self.read("audit_config", ()).await
    }

    /// Returns the open audits in their stages at this block, oldest first.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn audits(&self) -> Result<Vec<(AuditId, Audit<AccountId>)>, ChainError> {
        let mut audits = Vec::new();
        loop {
            let start = audits.last().map_or(0, |(id, _): &(AuditId, _)| id.saturating_add(1));
            let page: Vec<_> = self.read("audits", start).await?;
            let is_last = page.len() < AUDITS_PAGE;
            audits.extend(page);
            if is_last {
                return Ok(audits);
            }
        }
    }

    /// Returns the states and ends that a trainer has shown of its update in an open audit.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn audit_response(
        &self,
        audit: AuditId,
        trainer: &AccountId,
    ) -> Result<Option<AuditResponse>, ChainError> {
        self.read("audit_response", (audit, trainer)).await
    }

    /// Returns the lease that the account's update for `round` was trained under, until the update
    /// is settled.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn audited_lease(
        &self,
        round: RoundNumber,
        account: &AccountId,
    ) -> Result<Option<Lease>, ChainError> {
        self.read("audited_lease", (round, account)).await
    }

    /// Returns the rewards that the account can claim, now or later; newest round first.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn pending_rewards(
        &self,
        account: &AccountId,
    ) -> Result<Vec<PendingReward>, ChainError> {
        self.read("pending_rewards", account).await
    }

    /// Explains the account's reward of a round in numbers that add up to what a claim pays.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn explain(
        &self,
        account: &AccountId,
        round: RoundNumber,
    ) -> Result<Explanation<AccountId>, ChainError> {
        self.read("explain", (account, round)).await
    }

    /// Returns the totals of emission, fines, payouts and escrow.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn ledger(&self) -> Result<Ledger, ChainError> {
        self.read("ledger", ()).await
    }

    /// Returns the record of a shard that is part of the model, or `None` for other shards.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn shard_record(&self, id: ShardId) -> Result<Option<ShardRecord>, ChainError> {
        self.read("shard_record", id).await
    }

    /// Returns the indices and records of the shards of a manifest that are part of the model, in
    /// ascending order: all, or those of `round`.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn shard_records(
        &self,
        manifest: ManifestId,
        round: Option<RoundNumber>,
    ) -> Result<Vec<(u32, ShardRecord)>, ChainError> {
        self.pages("shard_records", |start| (manifest, round, start)).await
    }

    /// Returns the shards that the updates of a round trained on and that are part of the model,
    /// with their records, in ascending order. Those of one update have its index.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn shards_of_round(
        &self,
        round: RoundNumber,
    ) -> Result<Vec<(ShardId, ShardRecord)>, ChainError> {
        let pinned = self.pinned().await?;
        let mut shards = Vec::new();
        for manifest in 0..pinned.manifest_count().await? {
            let found = pinned.manifest(manifest).await?;
            let is_read = |found: &Manifest<_>| found.consumed > 0 && found.registered <= round;
            if found.as_ref().is_some_and(is_read) {
                let records = pinned.shard_records(manifest, Some(round)).await?;
                let with_id = |(index, record)| (ShardId { manifest, index }, record);
                shards.extend(records.into_iter().map(with_id));
            }
        }
        Ok(shards)
    }

    /// Returns the beacon of public randomness that draws of audits wait for.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn beacon(&self) -> Result<Option<BeaconConfig>, ChainError> {
        self.read("beacon", ()).await
    }

    /// Returns the pulse of the beacon that draws wait for or use, or `None` between draws.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn awaited_pulse(&self) -> Result<Option<AwaitedPulse>, ChainError> {
        self.read("awaited_pulse", ()).await
    }

    /// Returns the validators' measurement of the head of a round, or `None` while there is no
    /// quorum for one.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn head_measurement(
        &self,
        round: RoundNumber,
    ) -> Result<Option<HeadMeasurement>, ChainError> {
        self.read("head_measurement", round).await
    }

    /// Returns the measurement of the newest head that is under way, with the reports that wait for
    /// a quorum, or `None` before the block after the head.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn pending_measurement(
        &self,
    ) -> Result<Option<PendingMeasurement<AccountId>>, ChainError> {
        self.read("pending_measurement", ()).await
    }

    /// Returns the reveals of the current round that validators have reported to hold, by account;
    /// empty outside the hold and attest phases.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn held_reports(&self) -> Result<Vec<(AccountId, RevealSet)>, ChainError> {
        self.read("held_reports", ()).await
    }

    /// Returns the attestations of the current round.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn attestations(&self) -> Result<Vec<Attestation<AccountId>>, ChainError> {
        self.read("attestations", ()).await
    }

    /// Returns role, bond and endpoint of the account, or `None` if it is not a member.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn member(
        &self,
        account: &AccountId,
    ) -> Result<Option<Member<AccountId>>, ChainError> {
        self.read("member", account).await
    }

    /// Returns every member, in storage order, all at one block.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn members(&self) -> Result<Vec<Member<AccountId>>, ChainError> {
        let pinned = self.pinned().await?;
        let mut members: Vec<Member<AccountId>> = Vec::new();
        loop {
            let start = members.last().map(|member| member.account);
            let page: Vec<Member<AccountId>> = pinned.read("members", start).await?;
            if page.is_empty() {
                return Ok(members);
            }
            members.extend(page);
        }
    }

    /// Returns the number of sources ever registered; their identifiers count from zero.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn source_count(&self) -> Result<SourceId, ChainError> {
        Ok(self.storage("Lineage", "NextSource", &[]).await?.unwrap_or(0))
    }

    /// Returns a source.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn source(&self, id: SourceId) -> Result<Option<Source<AccountId>>, ChainError> {
        self.read("source", id).await
    }

    /// Returns a manifest.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn manifest(
        &self,
        id: ManifestId,
    ) -> Result<Option<Manifest<AccountId>>, ChainError> {
        self.read("manifest", id).await
    }

    /// Returns the manifest that was admitted with this content hash.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn manifest_of_content(
        &self,
        content_hash: &Hash,
    ) -> Result<Option<ManifestId>, ChainError> {
        self.read("manifest_of_content", content_hash).await
    }

    /// Returns the manifests that were admitted with the documents of this root: that of the
    /// training text, then that of the held-out text.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn manifests_of_documents(&self, root: &Hash) -> Result<Vec<ManifestId>, ChainError> {
        self.read("manifests_of_documents", root).await
    }

    /// Returns the manifests that name `manifest` as a parent, in ascending order.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn children(&self, manifest: ManifestId) -> Result<Vec<ManifestId>, ChainError> {
        self.pages("children", |start| (manifest, start)).await
    }

    /// Returns the manifests that were made from a source, in ascending order.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn manifests_of_source(
        &self,
        source: SourceId,
    ) -> Result<Vec<ManifestId>, ChainError> {
        self.pages("manifests_of_source", |start| (source, start)).await
    }

    /// Returns the decision by which a manifest was retired or refused.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn retirement(&self, manifest: ManifestId) -> Result<Option<Retirement>, ChainError> {
        self.read("retirement", manifest).await
    }

    /// Returns the number of manifests; their identifiers count from zero.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn manifest_count(&self) -> Result<u32, ChainError> {
        self.read("manifest_count", ()).await
    }

    /// Returns the balance that the account can spend or bond, neither held nor reserved. It is
    /// zero for an account that does not exist.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn free_balance(&self, account: &AccountId) -> Result<Balance, ChainError> {
        let key = [&blake2_128(account)[..], account].concat();
        // Nonce, three reference counts, then the balances, of which the free one is first.
        let found: Option<([u32; 4], Balance)> = self.storage("System", "Account", &key).await?;
        Ok(found.map_or(0, |(_, free)| free))
    }

    /// Returns the code of the runtime, as governance handed it in.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub async fn runtime_code(&self) -> Result<Vec<u8>, ChainError> {
        let at = self.at.map(H256);
        let code = self.request(|| self.node.rpc.state_get_storage(RUNTIME_CODE, at)).await?;
        Ok(code.unwrap_or_default())
    }

    /// Returns the start of the value of a storage item, as far as `T` decodes it. `key` is the
    /// hashed key of an entry of a map, empty for a single value.
    pub(crate) async fn storage<T: Decode>(
        &self,
        pallet: &str,
        item: &str,
        key: &[u8],
    ) -> Result<Option<T>, ChainError> {
        let unexpected =
            |reason| ChainError::UnexpectedAnswer { method: format!("{pallet}.{item}"), reason };
        let bytes = self.stored_bytes(pallet, item, key).await?;
        bytes.map(|bytes| T::decode(&mut &bytes[..]).map_err(unexpected)).transpose()
    }

    /// Returns the encoded value of a storage item. `key` is that of [`Self::storage`].
    pub(crate) async fn stored_bytes(
        &self,
        pallet: &str,
        item: &str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, ChainError> {
        let prefix = [twox_128(pallet.as_bytes()), twox_128(item.as_bytes())].concat();
        let key = [&prefix[..], key].concat();
        let at = self.at.map(H256);
        self.request(|| self.node.rpc.state_get_storage(&key, at)).await
    }

    /// Returns the number of the account's transactions that the chain includes.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn nonce(&self, account: &AccountId) -> Result<u32, ChainError> {
        self.call_runtime("AccountNonceApi_account_nonce", account).await
    }

    /// Returns these reads at one block: the one they are at already, or the best one.
    async fn pinned(&self) -> Result<Self, ChainError> {
        let block = match self.at {
            Some(block) => block,
            None => self.best_block().await?.hash,
        };
        Ok(self.at(block))
    }

    /// Reads all pages of an answer at one block. `arguments` are those of the page from a start.
    async fn pages<T: Decode, A: Encode>(
        &self,
        method: &str,
        arguments: impl Fn(u32) -> A,
    ) -> Result<Vec<T>, ChainError> {
        let pinned = self.pinned().await?;
        let (mut items, mut next) = (Vec::new(), Some(0));
        while let Some(start) = next {
            let page: Page<T> = pinned.read(method, arguments(start)).await?;
            items.extend(page.items);
            // A node that goes in circles is not followed.
            next = page.next.filter(|next| *next > start);
        }
        Ok(items)
    }

    async fn read<T: Decode>(&self, method: &str, arguments: impl Encode) -> Result<T, ChainError> {
        self.call_runtime(&format!("{API}_{method}"), arguments).await
    }
}
