// SPDX-License-Identifier: Apache-2.0

//! Shards of registered manifests, fetched from peers.

use crate::{
    context::NodeContext,
    error::{Result, RoleError},
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

/// Returns the label of the blobs that lease `nonce` needs until its update is settled.
pub fn lease_tag(nonce: u32) -> String {
    format!("lease/{nonce}")
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
        let (manifest, hashes) = self.manifest(id.manifest).await?;
        let first = [&[manifest.owner], first].concat();
        let hash = *hashes.get(id.index as usize).ok_or_else(|| {
            RoleError::transient(anyhow!("manifest {} has no shard {}", id.manifest, id.index))
        })?;
        // A shard ends with one token more, which its last token predicts.
        let max_bytes = (u64::from(recipe.shard_tokens) + 1) * TOKEN_BYTES;
        let shard = self.context.fetch_blob(&hash, max_bytes, &first, keep).await?;
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

    /// Returns held-out text for the recipe's tokenizer, or `None` if none is registered: at least
    /// `sequences` sequences of the first such manifest, or all of it if it has fewer.
    ///
    /// # Errors
    ///
    /// Fails if a shard cannot be had or does not fit the recipe.
    pub async fn held_out(
        &mut self,
        recipe: &Recipe,
        sequences: usize,
    ) -> Result<Option<LeaseData>> {
        for id in 0..self.context.chain.manifest_count().await? {
            let Some(manifest) = self.context.chain.manifest(id).await? else { continue };
            if !manifest.info.held_out || manifest.info.tokenizer != recipe.tokenizer {
                continue;
            }
            let available = manifest.info.shards;
            let needed =
                (sequences as u32).div_ceil(recipe.sequences_per_shard().max(1)).min(available);
            let mut tokens = Vec::new();
            // Spread over the whole text, so that no single document dominates.
            for i in 0..needed {
                let index = (u64::from(i) * u64::from(available) / u64::from(needed)) as u32;
                let (id, keep) =
                    (ShardId { manifest: id, index }, format!("held-out/{id}-{index}"));
                tokens.push(self.shard(recipe, id, &[], &keep).await?);
            }
            return Ok(Some(LeaseData::new(recipe, tokens)?));
        }
        Ok(None)
    }
}
