// SPDX-License-Identifier: Apache-2.0

//! `GET /data-lineage`: from a source or a text to the heads that learned from it, and back.

use crate::{
    Answer,
    data::{ManifestItem, SourceItem},
    deltas::ShardItem,
    failure::Failure,
    network::RoundItem,
    page::AsOf,
    query::{PageQuery, Paged},
    state::ChainState,
    values::{Digest, billionths},
};
use axum::{Json, extract::State};
use pol_api::{ApiError, Problem};
use pol_index::{
    Order, Range, Row,
    facts::{ConsumedShard, ManifestState, Reveal, Settlement as UpdateEnd, SourceState},
    lookups::{Derivations, Manifests, Reveals, Rounds, Settlements, Shards, Sources},
};
use pol_primitives::{
    Hash,
    data::{ManifestId, ShardId, SourceId},
    submission::Outcome,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Number of items of a page by default.
const ITEMS: u32 = 50;
/// Largest number of items of a page.
const MAX_ITEMS: u32 = 200;
/// Largest number of parents, and of children, that a manifest is told with.
const MAX_RELATIVES: u32 = 64;

/// Start of a walk, which is exactly one of these.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Start {
    /// Shard: the number of its manifest, a slash, and its index there.
    #[param(value_type = Option<String>, example = "3/17")]
    shard: Option<ShardName>,
    /// Manifest.
    #[param(example = 3)]
    manifest: Option<u32>,
    /// Round, whose head and shards are told.
    #[param(example = 6)]
    round: Option<u32>,
    /// Source.
    #[param(example = 2)]
    source: Option<u32>,
    /// Hash of the body of a manifest, root over the records of its documents, or root of a head.
    #[param(value_type = Option<String>)]
    hash: Option<Digest>,
}

/// Name of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct ShardName(ShardId);

impl TryFrom<String> for ShardName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parse = || {
            let (manifest, index) = text.split_once('/')?;
            Some(ShardId { manifest: manifest.parse().ok()?, index: index.parse().ok()? })
        };
        parse().map(Self).ok_or("a shard is MANIFEST/INDEX, such as 3/17")
    }
}

/// Place at which a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Shard(ShardId),
    Manifest(ManifestId),
    Round(u32),
    Source(SourceId),
}

/// Kind of the place at which a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PlaceKind {
    /// A shard.
    Shard,
    /// A manifest.
    Manifest,
    /// A round, or its head.
    Round,
    /// A source.
    Source,
}

/// Text, its source, and the heads that learned from it.
#[derive(Debug, Serialize, ToSchema)]
struct Lineage {
    /// Kind of the thing that was found; null if there is nothing of the name.
    found: Option<PlaceKind>,
    /// Sources of the manifests.
    sources: Vec<SourceItem>,
    /// Manifests: that of the shard, that of the name, those of the shards on this page, or a page
    /// of those of the source.
    manifests: Vec<RelatedManifest>,
    /// Page of shards that the model was trained on.
    shards: Vec<UsedShard>,
    /// Rounds of these shards, with their heads.
    heads: Vec<RoundItem>,
    /// Value of `after` for the next page, of shards, or of manifests of a source.
    #[schema(example = "950-12")]
    next: Option<String>,
    /// Block that the answer is of.
    as_of: AsOf,
}

/// Manifest with its relatives and its use.
#[derive(Debug, Serialize, ToSchema)]
struct RelatedManifest {
    #[serde(flatten)]
    manifest: ManifestItem,
    /// Manifests that it was made from; at most 64.
    #[schema(example = json!([1]))]
    parents: Vec<u32>,
    /// Manifests that were made from it; at most 64.
    #[schema(example = json!([5]))]
    children: Vec<u32>,
    /// Shards that the model was trained on, counted every 30 seconds.
    #[schema(example = 120)]
    consumed: u64,
    /// Sum of the improvements by these shards, in nats per token.
    #[schema(example = 0.0144)]
    effect: f64,
}

/// Shard that the model was trained on.
#[derive(Debug, Serialize, ToSchema)]
struct UsedShard {
    #[serde(flatten)]
    shard: ShardItem,
    /// Outcome of the update.
    #[schema(value_type = Option<String>, example = "valid")]
    outcome: Option<Outcome>,
    /// BLAKE3 of the payload of the update.
    payload: Option<Digest>,
    /// Audit that decided it.
    #[schema(example = 3)]
    audit: Option<u32>,
    /// Root of the head that learned from it.
    head: Option<Digest>,
}

impl Start {
    /// Returns the place at which the walk begins, or `None` if there is nothing of the name.
    async fn place(&self, state: &ChainState) -> Result<Option<Place>, Failure> {
        let places = [
            self.shard.map(|ShardName(shard)| Place::Shard(shard)),
            self.manifest.map(Place::Manifest),
            self.round.map(Place::Round),
            self.source.map(Place::Source),
        ];
        let mut places = places.into_iter().flatten();
        match (places.next(), places.next(), self.hash) {
            (Some(Place::Shard(shard)), None, None) => {
                let is_there = has_shard(state, shard).await?;
                Ok(is_there.then_some(Place::Shard(shard)))
            }
            (Some(place), None, None) => Ok(Some(place)),
            (None, None, Some(Digest(hash))) => find(state, hash).await,
            _ => {
                let detail = "give exactly one of shard, manifest, round, source, and hash";
                Err(ApiError::parameter("shard", detail).into())
            }
        }
    }
}

/// Returns `false` if the manifest of a shard has fewer.
async fn has_shard(state: &ChainState, shard: ShardId) -> Result<bool, Failure> {
    let manifest = state.index().newest(Manifests::Manifest(shard.manifest)).await?;
    Ok(manifest.is_none_or(|manifest| shard.index < manifest.fact.shards))
}

/// Returns the place with a hash.
async fn find(state: &ChainState, hash: Hash) -> Result<Option<Place>, Failure> {
    let index = state.index();
    for lookup in [Manifests::Content(hash), Manifests::Documents(hash)] {
        if let Some(row) = index.newest(lookup).await? {
            return Ok(Some(Place::Manifest(row.fact.manifest)));
        }
    }
    Ok(index.newest(Rounds::Root(hash)).await?.map(|row| Place::Round(row.fact.round)))
}

impl Place {
    fn kind(self) -> PlaceKind {
        match self {
            Self::Shard(_) => PlaceKind::Shard,
            Self::Manifest(_) => PlaceKind::Manifest,
            Self::Round(_) => PlaceKind::Round,
            Self::Source(_) => PlaceKind::Source,
        }
    }

    /// Returns the shards that the place leads to.
    fn shards(self) -> Option<Shards> {
        match self {
            Self::Shard(ShardId { manifest, index }) => Some(Shards::Shard(manifest, index)),
            Self::Manifest(manifest) => Some(Shards::Manifest(manifest)),
            Self::Round(round) => Some(Shards::Round(round)),
            Self::Source(_) => None,
        }
    }

    /// Returns the manifest that the place is in, or is.
    fn manifest(self) -> Option<ManifestId> {
        match self {
            Self::Shard(ShardId { manifest, .. }) | Self::Manifest(manifest) => Some(manifest),
            Self::Round(_) | Self::Source(_) => None,
        }
    }
}

/// Walks from a source, a text, or a head to all that it is connected with.
#[utoipa::path(
    get,
    path = "/data-lineage",
    tag = "Data",
    params(Start, PageQuery),
    responses(
        (status = 200, body = Lineage),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn lineage(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<Start>,
) -> Answer<Lineage> {
    let range = page.range_within(ITEMS, MAX_ITEMS)?;
    let as_of = state.as_of().await?;
    let place = filter.place(&state).await?;
    let (shards, next) = match place.and_then(Place::shards) {
        Some(lookup) => {
            let page = state.index().page(lookup, range).await?;
            (page.items, page.next)
        }
        None => (Vec::new(), None),
    };
    let (manifests, next) = match place {
        Some(Place::Source(source)) => manifests_of(&state, source, range).await?,
        _ => {
            let of = shards.iter().map(|row| row.fact.manifest);
            (present(&state, of.chain(place.and_then(Place::manifest)).collect()).await?, next)
        }
    };
    let mut sources: BTreeSet<_> = manifests.iter().map(|row| row.fact.source).collect();
    if let Some(Place::Source(source)) = place {
        sources.insert(source);
    }
    let sources = sources_of(&state, sources).await?;
    let heads = heads_of(&state, place, &shards).await?;
    let manifests = related(&state, manifests).await?;
    let shards = used(&state, shards, &heads).await?;
    let is_known =
        !(manifests.is_empty() && sources.is_empty() && shards.is_empty() && heads.is_empty());
    Ok(Json(Lineage {
        found: place.filter(|_| is_known).map(Place::kind),
        sources,
        manifests,
        shards,
        heads,
        next: next.map(|next| next.to_string()),
        as_of,
    }))
}

/// Manifests, and the start of the next page.
type ManifestPage = (Vec<Row<ManifestState>>, Option<pol_index::Position>);

/// Returns the manifests of a source. Pages are of changes of their stages, so that a manifest may
/// be on several.
async fn manifests_of(
    state: &ChainState,
    source: SourceId,
    range: Range,
) -> Result<ManifestPage, Failure> {
    let page = state.index().page(Manifests::Source(source), range).await?;
    let manifests = page.items.iter().map(|row| row.fact.manifest).collect();
    Ok((present(state, manifests).await?, page.next))
}

/// Returns the present states of manifests.
async fn present(
    state: &ChainState,
    manifests: BTreeSet<ManifestId>,
) -> Result<Vec<Row<ManifestState>>, Failure> {
    let lookups: Vec<_> = manifests.into_iter().map(Manifests::Manifest).collect();
    let mut found = state.index().first_of_each(&lookups, Order::NewestFirst, 1).await?;
    found.sort_by_key(|row| row.fact.manifest);
    Ok(found)
}

/// Returns the present states of sources.
async fn sources_of(
    state: &ChainState,
    sources: BTreeSet<SourceId>,
) -> Result<Vec<SourceItem>, Failure> {
    let lookups: Vec<_> = sources.into_iter().map(Sources::Source).collect();
    let mut found = state.index().first_of_each(&lookups, Order::NewestFirst, 1).await?;
    found.sort_by_key(|row: &Row<SourceState>| row.fact.source);
    Ok(found.into_iter().map(Into::into).collect())
}

/// Returns the rounds of shards, and that at which a walk begins, newest first.
async fn heads_of(
    state: &ChainState,
    place: Option<Place>,
    shards: &[Row<ConsumedShard>],
) -> Result<Vec<RoundItem>, Failure> {
    let mut rounds: BTreeSet<_> = shards.iter().map(|row| row.fact.round).collect();
    if let Some(Place::Round(round)) = place {
        rounds.insert(round);
    }
    let lookups: Vec<_> = rounds.into_iter().map(Rounds::Round).collect();
    let found = state.index().first_of_each(&lookups, Order::NewestFirst, 1).await?;
    Ok(found.into_iter().map(Into::into).collect())
}

/// Returns manifests with their relatives and their use.
async fn related(
    state: &ChainState,
    manifests: Vec<Row<ManifestState>>,
) -> Result<Vec<RelatedManifest>, Failure> {
    let (index, oldest) = (state.index(), Order::OldestFirst);
    let ids = || manifests.iter().map(|row| row.fact.manifest);
    let (as_child, as_parent): (Vec<_>, Vec<_>) =
        (ids().map(Derivations::Child).collect(), ids().map(Derivations::Parent).collect());
    let (mut parents, mut children) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
    for row in index.first_of_each(&as_child, oldest, MAX_RELATIVES).await? {
        parents.entry(row.fact.child).or_default().push(row.fact.parent);
    }
    for row in index.first_of_each(&as_parent, oldest, MAX_RELATIVES).await? {
        children.entry(row.fact.parent).or_default().push(row.fact.child);
    }
    let survey = state.survey_now();
    let item = |row: Row<ManifestState>| {
        let id = row.fact.manifest;
        let used = survey.as_ref().map(|survey| survey.consumption(id)).unwrap_or_default();
        RelatedManifest {
            manifest: row.into(),
            parents: parents.remove(&id).unwrap_or_default(),
            children: children.remove(&id).unwrap_or_default(),
            consumed: used.shards,
            effect: billionths(used.effect),
        }
    };
    Ok(manifests.into_iter().map(item).collect())
}

/// Returns shards with the updates that used them, and their heads.
async fn used(
    state: &ChainState,
    shards: Vec<Row<ConsumedShard>>,
    heads: &[RoundItem],
) -> Result<Vec<UsedShard>, Failure> {
    let (index, newest) = (state.index(), Order::NewestFirst);
    let updates: BTreeSet<_> =
        shards.iter().map(|row| (row.fact.round, row.fact.account)).collect();
    let of: Vec<_> =
        updates.iter().map(|(round, account)| Settlements::Update(*round, *account)).collect();
    let ends: BTreeMap<_, UpdateEnd> = index
        .first_of_each(&of, newest, 1)
        .await?
        .into_iter()
        .map(|row| ((row.fact.round, row.fact.account), row.fact))
        .collect();
    let of: Vec<_> =
        updates.iter().map(|(round, account)| Reveals::Update(*round, *account)).collect();
    let reveals: BTreeMap<_, Reveal> = index
        .first_of_each(&of, newest, 1)
        .await?
        .into_iter()
        .map(|row| ((row.fact.round, row.fact.account), row.fact))
        .collect();
    let item = |row: Row<ConsumedShard>| {
        let update = (row.fact.round, row.fact.account);
        let (end, head) = (ends.get(&update), heads.iter().find(|head| head.round == update.0));
        UsedShard {
            outcome: end.and_then(|end| end.outcome),
            payload: reveals.get(&update).map(|reveal| Digest(reveal.payload)),
            audit: end.and_then(|end| end.audit),
            head: head.and_then(|head| head.root),
            shard: row.into(),
        }
    };
    Ok(shards.into_iter().map(item).collect())
}

/// Returns the endpoint.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(lineage)).with_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_two_numbers() {
        let parse = |text: &str| ShardName::try_from(text.to_owned());
        assert_eq!(parse("3/17"), Ok(ShardName(ShardId { manifest: 3, index: 17 })));
        for text in ["", "3", "3/", "/17", "3/17/1", "4294967296/0", "3/-1", "3 /17"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
