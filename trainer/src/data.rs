//! Shards of the chain's manifests, from whoever has them.

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

const HASH_BYTES: u64 = 32;
/// Label of the blobs that lease `nonce` needs until its update is settled.
pub fn lease_tag(nonce: u32) -> String {
    format!("lease/{nonce}")
}

/// Fetches shards, remembering each manifest's list of hashes.
pub struct ShardReader {
    peer: NodeContext,
    manifests: HashMap<ManifestId, (Manifest<AccountId>, Vec<Hash>)>,
}

impl ShardReader {
    /// Knows no manifest yet.
    pub fn new(peer: NodeContext) -> Self {
        Self { peer, manifests: HashMap::new() }
    }

    /// A manifest with the hashes of its shards, checked against the chain.
    async fn manifest(&mut self, id: ManifestId) -> Result<&(Manifest<AccountId>, Vec<Hash>)> {
        if !self.manifests.contains_key(&id) {
            let manifest = self
                .peer
                .chain
                .manifest(id)
                .await?
                .ok_or_else(|| RoleError::transient(anyhow!("manifest {id} was withdrawn")))?;
            let info = &manifest.info;
            let bytes = u64::from(info.shards).saturating_mul(HASH_BYTES);
            let body = self
                .peer
                .fetch_blob(&info.content_hash, bytes, &[manifest.owner], &format!("manifest/{id}"))
                .await?;
            let hashes = pol_data::body_hashes(&body, info.shards).map_err(RoleError::transient)?;
            if pol_primitives::trace::merkle_root(&hashes) != info.merkle_root {
                return Err(RoleError::transient(anyhow!(
                    "the shards of manifest {id} are not the registered ones; its owner must withdraw it"
                )));
            }
            self.manifests.insert(id, (manifest, hashes));
        }
        self.manifests
            .get(&id)
            .ok_or_else(|| RoleError::transient(anyhow!("manifest {id} is gone")))
    }

    /// The tokens of one shard, checked against its manifest and the recipe. Its owner and then
    /// `first` are asked before others; it is kept under the label `keep`.
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
        let bytes = (u64::from(recipe.shard_tokens) + 1) * 4;
        let shard = self.peer.fetch_blob(&hash, bytes, &first, keep).await?;
        pol_data::decode_shard(&shard, recipe.shard_tokens, recipe.model.vocabulary)
            .map_err(RoleError::transient)
    }

    /// The data of a lease, kept under the label `keep`; `first` as in [`Self::shard`].
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

    /// Held-out text that fits the recipe: at least `sequences` sequences of the first such
    /// manifest where it has as many; none when nothing was registered.
    pub async fn held_out(
        &mut self,
        recipe: &Recipe,
        sequences: usize,
    ) -> Result<Option<LeaseData>> {
        for id in 0..self.peer.chain.manifest_count().await? {
            let Some(manifest) = self.peer.chain.manifest(id).await? else { continue };
            if !manifest.info.held_out || manifest.info.tokenizer != recipe.tokenizer {
                continue;
            }
            let needed = (sequences as u32)
                .div_ceil(recipe.sequences_per_shard().max(1))
                .min(manifest.info.shards);
            let mut tokens = Vec::new();
            // Spread over the whole text, so that no one document decides.
            for i in 0..needed {
                let index =
                    (u64::from(i) * u64::from(manifest.info.shards) / u64::from(needed)) as u32;
                tokens.push(
                    self.shard(
                        recipe,
                        ShardId { manifest: id, index },
                        &[],
                        &format!("held-out/{id}-{index}"),
                    )
                    .await?,
                );
            }
            return Ok(Some(LeaseData::new(recipe, tokens)?));
        }
        Ok(None)
    }
}
