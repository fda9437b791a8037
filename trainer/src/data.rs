// SPDX-License-Identifier: Apache-2.0

//! Shards of registered manifests, fetched from peers.

use crate::{
    context::NodeContext,
    error::{Result, RoleError},
    state::LeaseKey,
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::LeaseData;
use pol_primitives::{
    Hash,
    data::{Manifest, ManifestId, ShardId},
    recipe::Recipe,
};
use std::collections::HashMap;

/// Bytes of a token in a shard.
const TOKEN_BYTES: u64 = size_of::<u32>() as u64;

/// Label of the blobs of all leases.
pub(crate) const LEASES_TAG: &str = "lease";

/// Returns the label of the blobs that `lease` needs until its update is settled.
pub fn lease_tag(lease: &LeaseKey) -> String {
    format!("{LEASES_TAG}/{lease}")
}

/// Returns the size of a shard: it ends with one token more, which its last token predicts.
fn shard_bytes(recipe: &Recipe) -> u64 {
    (u64::from(recipe.shard_tokens) + 1) * TOKEN_BYTES
}

/// Reader of shards that caches the hash list of each manifest.
pub struct ShardReader {
    context: NodeContext,
    manifests: HashMap<ManifestId, (Manifest<AccountId>, Vec<Hash>)>,
}

impl ShardReader {
    /// Creates a reader with an empty cache.
    pub fn new(context: NodeContext) -> Self {
        Self { context, manifests: HashMap::new() }
    }

    /// Returns a manifest and the hashes of its shards, checked against the chain.
    async fn manifest(&mut self, id: ManifestId) -> Result<&(Manifest<AccountId>, Vec<Hash>)> {
        if !self.manifests.contains_key(&id) {
            let manifest = self.context.chain.manifest(id).await?;
            let manifest = manifest
                .ok_or_else(|| RoleError::transient(anyhow!("manifest {id} was withdrawn")))?;
            let info = &manifest.info;
            let max_bytes = u64::from(info.shards).saturating_mul(size_of::<Hash>() as u64);
            let body = self
                .context
                .fetch_blob(
                    &info.content_hash,
                    max_bytes,
                    &[manifest.owner],
                    &format!("manifest/{id}"),
                )
                .await?;
            let hashes = pol_data::body_hashes(&body, info.shards).map_err(RoleError::transient)?;
            if pol_primitives::trace::merkle_root(&hashes) != info.merkle_root {
                return Err(RoleError::transient(anyhow!(
                    "the shards of manifest {id} are not the registered ones; its owner must \
                     withdraw it"
                )));
            }
            self.manifests.insert(id, (manifest, hashes));
        }
        self.manifests
            .get(&id)
            .ok_or_else(|| RoleError::transient(anyhow!("manifest {id} is gone")))
    }

    /// Returns the hash of a shard, and the accounts to ask for it: its owner and then `first`.
    async fn locate(&mut self, id: ShardId, first: &[AccountId]) -> Result<(Hash, Vec<AccountId>)> {
        let (manifest, hashes) = self.manifest(id.manifest).await?;
        let hash = *hashes.get(id.index as usize).ok_or_else(|| {
            RoleError::transient(anyhow!("manifest {} has no shard {}", id.manifest, id.index))
        })?;
        Ok((hash, [&[manifest.owner], first].concat()))
    }

    /// Makes sure that shards are on this machine under the label `keep`. Owners are asked first,
    /// then the members of `first`.
    ///
    /// # Errors
    ///
    /// Fails if a shard is not registered, no peer serves it, or it is too large.
    pub async fn hold(
        &mut self,
        recipe: &Recipe,
        shards: &[ShardId],
        first: &[AccountId],
        keep: &str,
    ) -> Result<()> {
        for id in shards {
            let (hash, first) = self.locate(*id, first).await?;
            self.context.hold_blob(&hash, shard_bytes(recipe), &first, keep).await?;
        }
        Ok(())
    }

    /// Returns the tokens of one shard, checked against its manifest and the recipe, and keeps the
    /// shard under the label `keep`. Its owner is asked first, then the members of `first`.
    ///
    /// # Errors
    ///
    /// Fails if the shard is not registered, no peer serves it, or it does not fit the recipe.
    pub async fn shard(
        &mut self,
        recipe: &Recipe,
        id: ShardId,
        first: &[AccountId],
        keep: &str,
    ) -> Result<Vec<u32>> {
        let (hash, first) = self.locate(id, first).await?;
        let shard = self.context.fetch_blob(&hash, shard_bytes(recipe), &first, keep).await?;
        pol_data::decode_shard(&shard, recipe.shard_tokens, recipe.model.vocabulary)
            .map_err(RoleError::transient)
    }

    /// Returns the data of a lease and keeps its shards under the label `keep`; `first` is as in
    /// [`Self::shard`].
    ///
    /// # Errors
    ///
    /// Fails if a shard cannot be had or the shards do not fit the recipe.
    pub async fn lease_data(
        &mut self,
        recipe: &Recipe,
        shards: &[ShardId],
        first: &[AccountId],
        keep: &str,
    ) -> Result<LeaseData> {
        let mut tokens = Vec::with_capacity(shards.len());
        for id in shards {
            tokens.push(self.shard(recipe, *id, first, keep).await?);
        }
        Ok(LeaseData::new(recipe, tokens)?)
    }

    /// Returns the held-out text that the recipe names, or `None` if it names none or that manifest
    /// is not admitted: at least `sequences` sequences, or all of it if it has fewer.
    ///
    /// # Errors
    ///
    /// Fails if a shard cannot be had or does not fit the recipe.
    pub async fn held_out(
        &mut self,
        recipe: &Recipe,
        sequences: usize,
    ) -> Result<Option<LeaseData>> {
        let Some(content_hash) = recipe.held_out else { return Ok(None) };
        let Some(id) = self.context.chain.manifest_of_content(&content_hash).await? else {
            return Ok(None);
        };
        let available = self.manifest(id).await?.0.info.shards;
        let needed =
            (sequences as u32).div_ceil(recipe.sequences_per_shard().max(1)).min(available);
        let mut tokens = Vec::new();
        // Spread over the whole text, so that no single document dominates.
        for i in 0..needed {
            let index = (u64::from(i) * u64::from(available) / u64::from(needed)) as u32;
            let (id, keep) = (ShardId { manifest: id, index }, format!("held-out/{id}-{index}"));
            tokens.push(self.shard(recipe, id, &[], &keep).await?);
        }
        Ok(Some(LeaseData::new(recipe, tokens)?))
    }
}
