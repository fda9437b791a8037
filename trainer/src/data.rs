// SPDX-License-Identifier: Apache-2.0

//! Shards of registered manifests, fetched from peers.
//!
//! The chain knows data by hashes alone, so a provider can register bytes that are no text. Every
//! member that fetches them finds this, and finds the same: [`MalformedData`]. Time does not mend
//! it, and no peer is to blame.

use crate::{
    context::{NodeContext, Undelivered},
    error::{Result, RoleError, explain},
    state::LeaseKey,
};
use anyhow::anyhow;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use pol_chain::{AccountId, Chain};
use pol_engine::LeaseData;
use pol_primitives::{
    Hash,
    data::{Manifest, ManifestId, ShardId},
    prf::Prf,
    recipe::Recipe,
    trace::merkle_root,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::timeout;

/// Blobs that are fetched at a time for one purpose.
const CONCURRENT_BLOBS: usize = 8;
/// Time between errors that count as those of one moment.
const SAME_TIME: Duration = Duration::from_millis(500);

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

/// Returns the hash list of a manifest, by its content hash.
async fn read_body(
    context: &NodeContext,
    id: ManifestId,
    manifest: &Manifest<AccountId>,
) -> Result<(Hash, (Hash, Vec<Hash>))> {
    let info = &manifest.info;
    let max_bytes = u64::from(info.shards).saturating_mul(size_of::<Hash>() as u64);
    let (keep, first) = (format!("manifest/{id}"), [manifest.owner]);
    match context.fetch_blob(&info.content_hash, max_bytes, &first, &keep).await {
        Err(error) if error.is_too_large() => Err(MalformedData::manifest(id, error)),
        body => Ok((info.content_hash, parse_body(&body?, id, info.shards)?)),
    }
}

/// Runs `fetches`, some at a time, and returns their results in their order. The first error ends
/// them, so that the caller can try again, unless one of the others that fail with it says more: by
/// which nobody can train, or by which a member of `accused` is at fault.
///
/// A peer that sends slowly thus holds up its own blobs, and not all that come after them.
///
/// # Errors
///
/// Returns the error that says most.
pub(crate) async fn fetch_together<'a, T: Send + 'a>(
    fetches: Vec<BoxFuture<'a, Result<T>>>,
    accused: &[AccountId],
) -> Result<Vec<T>> {
    let mut waiting = fetches.into_iter().enumerate();
    let (mut running, mut results) = (FuturesUnordered::new(), BTreeMap::new());
    let mut error = loop {
        let next = waiting.by_ref().take(CONCURRENT_BLOBS.saturating_sub(running.len()));
        running.extend(next.map(|(at, fetch)| fetch.map(move |result| (at, result))));
        match running.next().await {
            Some((at, Ok(result))) => drop(results.insert(at, result)),
            Some((_, Err(error))) => break error,
            None => return Ok(results.into_values().collect()),
        }
    };
    // Those that failed by the same deadline fail in any order.
    while let Ok(Some((_, result))) = timeout(SAME_TIME, running.next()).await {
        if let Err(other) = result
            && weight(&other, accused) > weight(&error, accused)
        {
            error = other;
        }
    }
    Err(error)
}

/// Returns the weight of an error among those of one try.
fn weight(error: &RoleError, accused: &[AccountId]) -> u8 {
    let RoleError::Transient(cause) = error else { return 3 };
    let is_fault =
        |undelivered: &Undelivered| accused.iter().any(|account| undelivered.is_fault_of(account));
    if error.is_too_large() || cause.is::<MalformedData>() {
        2
    } else {
        u8::from(cause.downcast_ref().is_some_and(is_fault))
    }
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

    /// Caches the hash lists of `manifests`. Their owners are asked first.
    async fn read_bodies(&mut self, manifests: &Manifests, first: &[AccountId]) -> Result<()> {
        let context = &self.context;
        let unknown = manifests
            .iter()
            .filter(|(_, manifest)| !self.bodies.contains_key(&manifest.info.content_hash));
        let reads = unknown.map(|(id, manifest)| read_body(context, *id, manifest).boxed());
        let bodies = fetch_together(reads.collect(), first).await?;
        self.bodies.extend(bodies);
        Ok(())
    }

    /// Returns the hash of a shard, checked against the chain, and the accounts to ask for it: its
    /// owner and then `first`. The hash list of its manifest is [read](Self::read_bodies).
    fn locate(
        &self,
        manifests: &Manifests,
        id: ShardId,
        first: &[AccountId],
    ) -> Result<(Hash, Vec<AccountId>)> {
        let number = id.manifest;
        let manifest = manifests.get(&number).ok_or_else(|| withdrawn(number))?;
        let info = &manifest.info;
        let body =
            self.bodies.get(&info.content_hash).filter(|(root, _)| *root == info.merkle_root);
        let (_, hashes) = body.ok_or_else(|| {
            MalformedData::manifest(number, "its shards are not the registered ones")
        })?;
        let hash = hashes.get(id.index as usize).copied();
        let hash = hash.ok_or_else(|| MalformedData::shard(id, "there is no such shard"))?;
        Ok((hash, [&[manifest.owner], first].concat()))
    }

    /// Makes sure that a shard is on this machine, and returns its hash and the accounts to ask for
    /// it.
    async fn hold_one(
        &self,
        recipe: &Recipe,
        manifests: &Manifests,
        id: ShardId,
        first: &[AccountId],
        keep: &str,
    ) -> Result<(Hash, Vec<AccountId>)> {
        let (hash, first) = self.locate(manifests, id, first)?;
        match self.context.hold_blob(&hash, shard_bytes(recipe), &first, keep).await {
            Err(error) if error.is_too_large() => Err(MalformedData::shard(id, error)),
            held => held.map(|()| (hash, first)),
        }
    }

    /// Returns the tokens of one shard.
    async fn read_one(
        &self,
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
        self.read_bodies(&manifests, first).await?;
        let holds = shards.iter().map(|id| self.hold_one(recipe, &manifests, *id, first, keep));
        fetch_together(holds.map(FutureExt::boxed).collect(), first).await.map(drop)
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
        self.read_bodies(&manifests, first).await?;
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
        self.read_bodies(&manifests, first).await?;
        let reads = shards.iter().map(|id| self.read_one(recipe, &manifests, *id, first, keep));
        let tokens = fetch_together(reads.map(FutureExt::boxed).collect(), first).await?;
        Ok((LeaseData::new(recipe, tokens)?, digest_of(&manifests)))
    }

    /// Returns the held-out text that the recipe names, or `None` if it names none, if that
    /// manifest is not admitted, or if it holds no text: at least `sequences` sequences, or all of
    /// it if it has fewer. Shards are at equal distances from one that `seed` draws, or from the
    /// first. Malformed shards are left out, here and on every other machine.
    ///
    /// # Errors
    ///
    /// Fails if a shard cannot be had.
    pub async fn held_out(
        &mut self,
        recipe: &Recipe,
        sequences: usize,
        seed: Option<&Hash>,
    ) -> Result<Option<LeaseData>> {
        let Some(content_hash) = recipe.held_out else { return Ok(None) };
        let Some(id) = self.context.chain.manifest_of_content(&content_hash).await? else {
            return Ok(None);
        };
        let first = ShardId { manifest: id, index: 0 };
        let manifests = manifests_of(&self.context.chain, &[first]).await?;
        if unless_malformed(self.read_bodies(&manifests, &[]).await)?.is_none() {
            return Ok(None);
        }
        let available = manifests.get(&id).map_or(0, |manifest| manifest.info.shards);
        let needed =
            (sequences as u32).div_ceil(recipe.sequences_per_shard().max(1)).min(available);
        let mut tokens = Vec::new();
        for index in spread(available, needed, seed) {
            let (id, keep) = (ShardId { manifest: id, index }, format!("held-out/{id}-{index}"));
            tokens
                .extend(unless_malformed(self.read_one(recipe, &manifests, id, &[], &keep).await)?);
        }
        if tokens.is_empty() { Ok(None) } else { Ok(Some(LeaseData::new(recipe, tokens)?)) }
    }
}

/// Returns the indices of `needed` of the `available` shards of held-out text, spread over all of
/// it, so that no single document dominates. `seed` draws where they begin.
fn spread(available: u32, needed: u32, seed: Option<&Hash>) -> impl Iterator<Item = u32> + use<> {
    let first = seed.map_or(0, |seed| Prf::new("pol/held-out/1", seed, &[]).below(available));
    let [all, needed] = [available, needed].map(u64::from);
    (0..needed).map(move |i| ((u64::from(first) + i * all / needed) % all) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        data::{EffectWindow, ManifestInfo, ManifestStatus},
        lineage::{Activity, Derivation, ToolName},
    };
    use pol_swarm::SwarmError;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::sleep;

    const SHARD: ShardId = ShardId { manifest: 3, index: 7 };

    #[test]
    fn held_out_text_is_spread_and_another_in_each_round() {
        let of = |available, needed, seed: Option<u8>| {
            spread(available, needed, seed.map(|seed| [seed; 32]).as_ref()).collect::<Vec<_>>()
        };
        assert_eq!(of(10, 4, None), [0, 2, 5, 7]);
        assert_eq!(of(0, 0, Some(1)), [0; 0]);
        let first = |seed| of(1_000, 4, Some(seed))[0];
        assert!((1..9).any(|seed| first(seed) != first(0)));
        for seed in 0..9 {
            let mut drawn = of(7, 7, Some(seed));
            drawn.sort_unstable();
            assert_eq!(drawn, [0, 1, 2, 3, 4, 5, 6], "short text is taken whole");
            let drawn = of(1_000, 8, Some(seed));
            assert!(drawn.windows(2).all(|two| (two[0] + 125) % 1_000 == two[1]), "{drawn:?}");
        }
    }

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

    #[tokio::test]
    async fn some_fetches_run_at_a_time_and_their_results_are_in_order() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let fetch = |number: u64| {
            let (running, most) = (&running, &most);
            let fetch = async move {
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                sleep(Duration::from_millis(20 - number)).await;
                running.fetch_sub(1, Ordering::Relaxed);
                Ok(number)
            };
            fetch.boxed()
        };
        let fetched = fetch_together((0..20).map(fetch).collect(), &[]).await;
        assert_eq!(fetched.unwrap(), (0..20).collect::<Vec<_>>());
        assert_eq!(most.into_inner(), CONCURRENT_BLOBS);
        assert!(fetch_together::<()>(Vec::new(), &[]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn of_errors_at_the_same_time_the_one_that_says_most_is_returned() {
        let undelivered = |at_fault| {
            let source = SwarmError::NoTurn { hash: [0; 32] };
            RoleError::transient(Undelivered { at_fault: vec![at_fault], source })
        };
        let errors = || {
            let other = RoleError::transient(anyhow!("another one"));
            [other, undelivered([2; 32]), undelivered([1; 32]), MalformedData::shard(SHARD, "odd")]
        };
        let fail = |error: RoleError, millis| {
            let fail = async move {
                sleep(Duration::from_millis(millis)).await;
                Err::<(), _>(error)
            };
            fail.boxed()
        };
        let fetch = async |count: usize, late: Option<RoleError>| {
            let mut fetches: Vec<_> =
                errors().into_iter().take(count).map(|error| fail(error, 1)).collect();
            fetches.extend(late.map(|error| fail(error, 5_000)));
            fetch_together(fetches, &[[1; 32]]).await.unwrap_err()
        };
        let is_fault = |error: RoleError| {
            let error = error.into_inner();
            error.downcast_ref::<Undelivered>().is_some_and(|error| error.is_fault_of(&[1; 32]))
        };
        assert!(!is_fault(fetch(2, None).await));
        assert!(is_fault(fetch(3, None).await));
        assert!(is_malformed::<()>(Err(fetch(4, None).await)));
        // Those that go on are not waited for.
        assert!(!is_fault(fetch(1, Some(undelivered([1; 32]))).await));
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
