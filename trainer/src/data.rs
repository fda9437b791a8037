// SPDX-License-Identifier: Apache-2.0

//! Shards of registered manifests, fetched from peers.
//!
//! The chain knows data by hashes alone, so a provider can register bytes that are no text. Every
//! member that fetches them finds this, and finds the same: [`MalformedData`]. Time does not mend
//! it, and no peer is to blame.

use crate::{
    context::NodeContext,
    error::{Result, RoleError, explain},
    state::LeaseKey,
};
use anyhow::anyhow;
use pol_chain::{AccountId, Chain};
use pol_engine::LeaseData;
use pol_primitives::{
    Hash,
    data::{Manifest, ManifestId, ShardId},
    recipe::Recipe,
    trace::merkle_root,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};

/// Label of the blobs of all leases.
pub(crate) const LEASES_TAG: &str = "lease";

/// Returns the label of the blobs that `lease` needs until its update is settled.
pub fn lease_tag(lease: &LeaseKey) -> String {
    format!("{LEASES_TAG}/{lease}")
}

/// Returns the largest size of a shard: it ends with one token more, which its last token predicts.
fn shard_bytes(recipe: &Recipe) -> u64 {
    (u64::from(recipe.shard_tokens) + 1) * pol_data::MAX_TOKEN_BYTES
}

/// Error of data with the registered hash that is not what its manifest or the recipe says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedData {
    /// No shard of the manifest can be found.
    #[error(
        "manifest {manifest} is malformed ({reason}); validators can report it with \
         `pol-trainer data report {manifest}`"
    )]
    Manifest {
        /// Number of the manifest.
        manifest: ManifestId,
        /// Contradiction found.
        reason: String,
    },
    /// A shard is not text for the recipe.
    #[error(
        "shard {} of manifest {} is malformed ({reason}); validators can report it with \
         `pol-trainer data report {} --shard {}`",
        .shard.index, .shard.manifest, .shard.manifest, .shard.index
    )]
    Shard {
        /// The shard.
        shard: ShardId,
        /// Contradiction found.
        reason: String,
    },
}

impl MalformedData {
    fn manifest(manifest: ManifestId, reason: impl ToString) -> RoleError {
        RoleError::transient(Self::Manifest { manifest, reason: reason.to_string() })
    }

    fn shard(shard: ShardId, reason: impl ToString) -> RoleError {
        RoleError::transient(Self::Shard { shard, reason: reason.to_string() })
    }
}

/// Returns what was read, or `None` if it is [malformed](MalformedData), which is logged.
///
/// # Errors
///
/// Returns any other error.
pub fn unless_malformed<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(RoleError::Transient(error)) if error.is::<MalformedData>() => {
            tracing::warn!("{}", explain(&error));
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Manifests by their numbers.
type Manifests = BTreeMap<ManifestId, Manifest<AccountId>>;

/// Returns the manifests of `shards` at the block of `chain`.
async fn manifests_of(chain: &Chain, shards: &[ShardId]) -> Result<Manifests> {
    let ids: BTreeSet<_> = shards.iter().map(|shard| shard.manifest).collect();
    let mut manifests = Manifests::new();
    for id in ids {
        manifests.insert(id, chain.manifest(id).await?.ok_or_else(|| withdrawn(id))?);
    }
    Ok(manifests)
}

fn withdrawn(id: ManifestId) -> RoleError {
    RoleError::transient(anyhow!("manifest {id} was withdrawn"))
}

/// Returns the digest of the contents of the manifests that `shards` are of, at the block of
/// `chain`. Another fork may have other text under the same numbers.
///
/// # Errors
///
/// Fails if the chain cannot be reached, or if a manifest is not registered.
pub async fn contents(chain: &Chain, shards: &[ShardId]) -> Result<Hash> {
    Ok(digest_of(&manifests_of(chain, shards).await?))
}

fn digest_of(manifests: &Manifests) -> Hash {
    let contents: Vec<(ManifestId, Hash)> =
        manifests.iter().map(|(id, manifest)| (*id, manifest.info.content_hash)).collect();
    pol_primitives::digest(b"pol/trainer/contents/1", &contents)
}

/// Returns the shard hashes in the `body` of a manifest, and their Merkle root.
fn parse_body(body: &[u8], id: ManifestId, shards: u32) -> Result<(Hash, Vec<Hash>)> {
    let hashes =
        pol_data::body_hashes(body, shards).map_err(|error| MalformedData::manifest(id, error))?;
    Ok((merkle_root(&hashes), hashes))
}

/// Returns the tokens of a shard.
fn parse_shard(bytes: &[u8], id: ShardId, tokens: u32, vocabulary: u32) -> Result<Vec<u32>> {
    pol_data::decode_shard(bytes, tokens, vocabulary)
        .map_err(|error| MalformedData::shard(id, error))
}

/// Reader of shards that caches the hash list of each manifest.
pub struct ShardReader {
    context: NodeContext,
    /// Merkle roots and shard hashes of manifests, by content hash. Their numbers mean other text
    /// on another fork.
    bodies: HashMap<Hash, (Hash, Vec<Hash>)>,
}

impl ShardReader {
    /// Creates a reader with an empty cache.
    pub fn new(context: NodeContext) -> Self {
        Self { context, bodies: HashMap::new() }
    }

    /// Returns the hash of a shard of `manifest`, checked against the chain, and the accounts to
    /// ask for it: its owner and then `first`.
    async fn locate(
        &mut self,
        manifest: &Manifest<AccountId>,
        id: ShardId,
        first: &[AccountId],
    ) -> Result<(Hash, Vec<AccountId>)> {
        let (info, number) = (&manifest.info, id.manifest);
        let (root, hashes) = match self.bodies.entry(info.content_hash) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let max_bytes = u64::from(info.shards).saturating_mul(size_of::<Hash>() as u64);
                let keep = format!("manifest/{number}");
                let body = self
                    .context
                    .fetch_blob(&info.content_hash, max_bytes, &[manifest.owner], &keep)
                    .await;
                let body = match body {
                    Err(error) if error.is_too_large() => {
                        return Err(MalformedData::manifest(number, error));
                    }
                    body => body?,
                };
                unknown.insert(parse_body(&body, number, info.shards)?)
            }
        };
        if *root != info.merkle_root {
            return Err(MalformedData::manifest(number, "its shards are not the registered ones"));
        }
        let hash = hashes.get(id.index as usize).copied();
        let hash = hash.ok_or_else(|| MalformedData::shard(id, "there is no such shard"))?;
        Ok((hash, [&[manifest.owner], first].concat()))
    }

    /// Makes sure that a shard is on this machine, and returns its hash and the accounts to ask for
    /// it.
    async fn hold_one(
        &mut self,
        recipe: &Recipe,
        manifests: &Manifests,
        id: ShardId,
        first: &[AccountId],
        keep: &str,
    ) -> Result<(Hash, Vec<AccountId>)> {
        let manifest = manifests.get(&id.manifest).ok_or_else(|| withdrawn(id.manifest))?;
        let (hash, first) = self.locate(manifest, id, first).await?;
        match self.context.hold_blob(&hash, shard_bytes(recipe), &first, keep).await {
            Err(error) if error.is_too_large() => Err(MalformedData::shard(id, error)),
            held => held.map(|()| (hash, first)),
        }
    }

    /// Returns the tokens of one shard.
    async fn read_one(
        &mut self,
        recipe: &Recipe,
        manifests: &Manifests,
        id: ShardId,
        first: &[AccountId],
        keep: &str,
    ) -> Result<Vec<u32>> {
        let (hash, first) = self.hold_one(recipe, manifests, id, first, keep).await?;
        let shard = self.context.fetch_blob(&hash, shard_bytes(recipe), &first, keep).await?;
        parse_shard(&shard, id, recipe.shard_tokens, recipe.model.vocabulary)
    }

    /// Makes sure that shards are on this machine under the label `keep`. Owners are asked first,
    /// then the members of `first`.
    ///
    /// # Errors
    ///
    /// Fails if a shard is not registered or no peer serves it, and with [`MalformedData`] if it is
    /// too large.
    pub async fn hold(
        &mut self,
        recipe: &Recipe,
        shards: &[ShardId],
        first: &[AccountId],
        keep: &str,
    ) -> Result<()> {
        let manifests = manifests_of(&self.context.chain, shards).await?;
        for id in shards {
            self.hold_one(recipe, &manifests, *id, first, keep).await?;
        }
        Ok(())
    }

    /// Returns the tokens of one shard, checked against its manifest and the recipe, and keeps the
    /// shard under the label `keep`. Its owner is asked first, then the members of `first`.
    ///
    /// # Errors
    ///
    /// Fails if the shard is not registered or no peer serves it, and with [`MalformedData`] if it
    /// does not fit the recipe.
    pub async fn shard(
        &mut self,
        recipe: &Recipe,
        id: ShardId,
        first: &[AccountId],
        keep: &str,
    ) -> Result<Vec<u32>> {
        let manifests = manifests_of(&self.context.chain, &[id]).await?;
        self.read_one(recipe, &manifests, id, first, keep).await
    }

    /// Returns the data of a lease and keeps its shards under the label `keep`; `first` is as in
    /// [`Self::shard`].
    ///
    /// # Errors
    ///
    /// Fails as [`Self::shard`] does for each shard.
    pub async fn lease_data(
        &mut self,
        recipe: &Recipe,
        shards: &[ShardId],
        first: &[AccountId],
        keep: &str,
    ) -> Result<LeaseData> {
        self.lease_data_and_contents(recipe, shards, first, keep).await.map(|(data, _)| data)
    }

    /// Returns the data of a lease as [`Self::lease_data`] does, and the digest of the [`contents`]
    /// that it is of.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::lease_data`] does.
    pub async fn lease_data_and_contents(
        &mut self,
        recipe: &Recipe,
        shards: &[ShardId],
        first: &[AccountId],
        keep: &str,
    ) -> Result<(LeaseData, Hash)> {
        let manifests = manifests_of(&self.context.chain, shards).await?;
        let mut tokens = Vec::with_capacity(shards.len());
        for id in shards {
            tokens.push(self.read_one(recipe, &manifests, *id, first, keep).await?);
        }
        Ok((LeaseData::new(recipe, tokens)?, digest_of(&manifests)))
    }

    /// Returns the held-out text that the recipe names, or `None` if it names none, if that
    /// manifest is not admitted, or if it holds no text: at least `sequences` sequences, or all of
    /// it if it has fewer. Malformed shards are left out, here and on every other machine.
    ///
    /// # Errors
    ///
    /// Fails if a shard cannot be had.
    pub async fn held_out(
        &mut self,
        recipe: &Recipe,
        sequences: usize,
    ) -> Result<Option<LeaseData>> {
        let Some(content_hash) = recipe.held_out else { return Ok(None) };
        let Some(id) = self.context.chain.manifest_of_content(&content_hash).await? else {
            return Ok(None);
        };
        let first = ShardId { manifest: id, index: 0 };
        let manifests = manifests_of(&self.context.chain, &[first]).await?;
        let available = manifests.get(&id).map_or(0, |manifest| manifest.info.shards);
        let needed =
            (sequences as u32).div_ceil(recipe.sequences_per_shard().max(1)).min(available);
        let mut tokens = Vec::new();
        // Spread over the whole text, so that no single document dominates.
        for i in 0..needed {
            let index = (u64::from(i) * u64::from(available) / u64::from(needed)) as u32;
            let (id, keep) = (ShardId { manifest: id, index }, format!("held-out/{id}-{index}"));
            tokens
                .extend(unless_malformed(self.read_one(recipe, &manifests, id, &[], &keep).await)?);
        }
        if tokens.is_empty() { Ok(None) } else { Ok(Some(LeaseData::new(recipe, tokens)?)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        data::{EffectWindow, ManifestInfo, ManifestStatus},
        lineage::{Activity, Derivation, ToolName},
    };

    const SHARD: ShardId = ShardId { manifest: 3, index: 7 };

    fn is_malformed<T>(read: Result<T>) -> bool {
        unless_malformed(read).is_ok_and(|read| read.is_none())
    }

    fn manifest(content_hash: Hash) -> Manifest<AccountId> {
        Manifest {
            owner: [1; 32],
            info: ManifestInfo {
                source: 0,
                merkle_root: [2; 32],
                content_hash,
                tokenizer: [3; 32],
                shards: 1,
                shard_tokens: 2,
                parents: Default::default(),
                quality: 0,
                held_out: false,
                derivation: Derivation {
                    activity: Activity::Collection,
                    tool: ToolName::default(),
                    version: ToolName::default(),
                    configuration: [4; 32],
                },
                documents: None,
            },
            status: ManifestStatus::Admitted,
            kind: None,
            effect: EffectWindow::default(),
            free: 1,
            leased: 0,
            consumed: 0,
            registered: 0,
            ended: None,
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_malformed_and_nothing_else_is() {
        let bytes: Vec<u8> = [1u32, 2, 9].iter().flat_map(|token| token.to_le_bytes()).collect();
        assert_eq!(parse_shard(&bytes, SHARD, 2, 10).unwrap(), [1, 2, 9]);
        assert!(is_malformed(parse_shard(&bytes, SHARD, 2, 9)));
        assert!(is_malformed(parse_shard(&bytes, SHARD, 1, 10)));
        assert!(is_malformed(parse_shard(&bytes[1..], SHARD, 2, 10)));
        assert!(is_malformed(parse_body(&[0; 63], 3, 2)));
        assert_eq!(parse_body(&[0; 64], 3, 2).unwrap().1, [[0; 32]; 2]);
        assert!(unless_malformed::<()>(Err(withdrawn(3))).is_err());
        let fatal = RoleError::fatal(MalformedData::Shard { shard: SHARD, reason: "odd".into() });
        assert!(unless_malformed::<()>(Err(fatal)).is_err());
    }

    #[test]
    fn contents_are_those_of_the_manifests_whatever_their_numbers() {
        let manifests = |contents: &[(ManifestId, Hash)]| {
            digest_of(&contents.iter().map(|(id, hash)| (*id, manifest(*hash))).collect())
        };
        let ours = manifests(&[(3, [5; 32]), (4, [6; 32])]);
        assert_eq!(ours, manifests(&[(4, [6; 32]), (3, [5; 32])]));
        for theirs in [&[(3, [5; 32]), (4, [7; 32])][..], &[(3, [6; 32]), (4, [5; 32])], &[]] {
            assert_ne!(ours, manifests(theirs));
        }
    }
}
