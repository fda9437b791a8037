// SPDX-License-Identifier: Apache-2.0

//! `GET /data`: the text that the network trains on, in sums and in lists.

use crate::{
    Answer,
    page::{AsOf, Items},
    query::{KeyQuery, PageQuery, Paged, Parameters},
    state::ChainState,
    survey::Survey,
    values::{Account, Digest, Time, billionths, millionths},
};
use axum::{Json, extract::State};
use pol_api::{ApiError, Problem};
use pol_index::{
    Row,
    facts::{ManifestStage, ManifestState, SourceState},
    lookups::Manifests,
};
use pol_primitives::{MILLION, data::SourceKind, lineage::Activity};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Number of bins of the histogram of quality.
const BINS: u32 = 10;

/// Selection of manifests.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ManifestFilter {
    /// Source of the text.
    #[param(example = 2)]
    source: Option<u32>,
    /// Account that registered them: an SS58 address, or `0x` and 64 hexadecimal digits.
    #[param(value_type = Option<String>)]
    owner: Option<Account>,
}

/// Text that the network trains on, in sums.
#[derive(Debug, Serialize, ToSchema)]
struct DataState {
    /// Present manifests by stage.
    manifests: StageCounts,
    /// Sources.
    sources: SourceCounts,
    /// Text for training by kind.
    mix: Vec<KindItem>,
    /// Number of manifests whose shards are never leased.
    #[schema(example = 1)]
    held_out: usize,
    /// Manifests for training by the estimate of their quality, in ten bins.
    quality: Vec<QualityBin>,
    /// Shards of admitted manifests that are neither in use nor consumed; null if no node
    /// answers within half a second.
    #[schema(example = 960)]
    free_shards: Option<u32>,
    /// Block that the answer is of. The sums are up to 30 seconds older.
    as_of: AsOf,
}

/// Numbers of manifests by stage.
#[derive(Debug, Default, Serialize, ToSchema)]
struct StageCounts {
    /// Registered, and not admitted.
    proposed: u32,
    /// Admitted.
    admitted: u32,
    /// Out of the pool until they are resumed.
    paused: u32,
    /// Refused, or out of the pool for good.
    retired: u32,
    /// Part of the model, every shard of them.
    consumed: u32,
    /// Withdrawn by their providers.
    withdrawn: u32,
    /// Ended long ago, and removed from the state of the chain.
    forgotten: u32,
}

/// Numbers of sources.
#[derive(Debug, Serialize, ToSchema)]
struct SourceCounts {
    /// Present ones.
    #[schema(example = 12)]
    present: u32,
    /// Withdrawn ones.
    #[schema(example = 0)]
    withdrawn: u32,
}

/// Text for training of a kind.
#[derive(Debug, Serialize, ToSchema)]
struct KindItem {
    /// Kind.
    #[schema(value_type = String, example = "web")]
    kind: SourceKind,
    /// Manifests.
    #[schema(example = 8)]
    manifests: u32,
    /// Shards.
    #[schema(example = 4_000)]
    shards: u64,
    /// Tokens of all shards.
    #[schema(example = 16_384_000)]
    tokens: u64,
    /// Shards that the model was trained on, by updates that are settled.
    #[schema(example = 120)]
    consumed: u64,
    /// Shards in use: of leases, and of updates that audits have not settled yet.
    #[schema(example = 8)]
    leased: u64,
    /// Sum of the improvements by these shards, in nats per token.
    #[schema(example = 0.0144)]
    effect: f64,
}

/// Bin of a histogram.
#[derive(Debug, Serialize, ToSchema)]
struct QualityBin {
    /// Smallest quality.
    #[schema(example = 0.9)]
    from: f64,
    /// Largest quality, which only the last bin includes.
    #[schema(example = 1.0)]
    to: f64,
    /// Manifests.
    #[schema(example = 5)]
    manifests: u32,
}

/// Manifest.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ManifestItem {
    /// Manifest.
    #[schema(example = 3)]
    pub(crate) manifest: u32,
    /// Source of its text.
    #[schema(example = 2)]
    pub(crate) source: u32,
    /// Account that registered it.
    owner: Account,
    /// Stage.
    #[schema(value_type = String, example = "admitted")]
    stage: ManifestStage,
    /// Kind of text, once it was admitted.
    #[schema(value_type = Option<String>, example = "web")]
    kind: Option<SourceKind>,
    /// Shards.
    #[schema(example = 500)]
    shards: u32,
    /// Tokens of a shard.
    #[schema(example = 4_096)]
    shard_tokens: u32,
    /// True if the shards are never leased.
    held_out: bool,
    /// Estimate of the quality by the provider.
    #[schema(example = 0.93)]
    quality: f64,
    /// Activity that made the text.
    #[schema(value_type = String, example = "collection")]
    activity: Activity,
    /// BLAKE3 of the body.
    content: Digest,
    /// BLAKE3 of the tokenizer.
    tokenizer: Digest,
    /// Root over the records of its documents.
    documents: Option<Digest>,
    /// Round of its registration.
    #[schema(example = 0)]
    registered: u32,
    /// Block since which the stage holds.
    #[schema(example = 40)]
    block: u32,
    /// Time of that block.
    time: Time,
}

/// Source of text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SourceItem {
    /// Source.
    #[schema(example = 2)]
    pub(crate) source: u32,
    /// Account that registered it.
    owner: Account,
    /// Address of the original.
    #[schema(example = "https://example.org/books")]
    address: String,
    /// SPDX identifier of the licence.
    #[schema(example = "CC-BY-4.0")]
    licence: String,
    /// True once it was withdrawn.
    withdrawn: bool,
    /// Block since which the state holds.
    #[schema(example = 38)]
    block: u32,
    /// Time of that block.
    time: Time,
}

impl From<Row<ManifestState>> for ManifestItem {
    fn from(Row { at, time, fact }: Row<ManifestState>) -> Self {
        Self {
            manifest: fact.manifest,
            source: fact.source,
            owner: Account(fact.owner),
            stage: fact.stage,
            kind: fact.kind,
            shards: fact.shards,
            shard_tokens: fact.shard_tokens,
            held_out: fact.held_out,
            quality: millionths(fact.quality),
            activity: fact.activity,
            content: Digest(fact.content),
            tokenizer: Digest(fact.tokenizer),
            documents: fact.documents.map(Digest),
            registered: fact.registered,
            block: at.block,
            time: Time::new(time),
        }
    }
}

impl From<Row<SourceState>> for SourceItem {
    fn from(Row { at, time, fact }: Row<SourceState>) -> Self {
        Self {
            source: fact.source,
            owner: Account(fact.owner),
            address: fact.address,
            licence: fact.licence,
            withdrawn: fact.withdrawn,
            block: at.block,
            time: Time::new(time),
        }
    }
}

impl StageCounts {
    fn of(survey: &Survey) -> Self {
        let mut counts = Self::default();
        for manifest in &survey.manifests {
            let count = match manifest.stage {
                ManifestStage::Proposed => &mut counts.proposed,
                ManifestStage::Admitted => &mut counts.admitted,
                ManifestStage::Paused => &mut counts.paused,
                ManifestStage::Retired => &mut counts.retired,
                ManifestStage::Consumed => &mut counts.consumed,
                ManifestStage::Withdrawn => &mut counts.withdrawn,
                ManifestStage::Forgotten => &mut counts.forgotten,
            };
            *count = count.saturating_add(1);
        }
        counts
    }
}

/// Returns the sums of the text for training of a kind.
fn kind_item(survey: &Survey, kind: SourceKind) -> KindItem {
    let is_of = |manifest: &&ManifestState| manifest.kind == Some(kind) && !manifest.held_out;
    let empty =
        KindItem { kind, manifests: 0, shards: 0, tokens: 0, consumed: 0, leased: 0, effect: 0.0 };
    survey.manifests.iter().filter(is_of).fold(empty, |sum, manifest| {
        let shards = u64::from(manifest.shards);
        let used = survey.consumption(manifest.manifest);
        KindItem {
            manifests: sum.manifests.saturating_add(1),
            shards: sum.shards.saturating_add(shards),
            tokens: sum.tokens.saturating_add(shards * u64::from(manifest.shard_tokens)),
            consumed: sum.consumed.saturating_add(used.shards),
            leased: sum.leased.saturating_add(survey.leased(manifest.manifest)),
            effect: sum.effect + billionths(used.effect),
            ..sum
        }
    })
}

/// Returns the histogram of the quality of the text for training.
fn quality(survey: &Survey) -> Vec<QualityBin> {
    let width = MILLION / BINS;
    let bin = |manifest: &ManifestState| (manifest.quality / width).min(BINS - 1);
    let bins = (0..BINS).map(|number| {
        let own = survey.manifests.iter().filter(|one| !one.held_out && bin(one) == number);
        QualityBin {
            from: f64::from(number) / f64::from(BINS),
            to: f64::from(number + 1) / f64::from(BINS),
            manifests: u32::try_from(own.count()).unwrap_or(u32::MAX),
        }
    });
    bins.collect()
}

/// Returns the text that the network trains on, in sums.
#[utoipa::path(
    get,
    path = "/data",
    tag = "Data",
    responses(
        (status = 200, body = DataState),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn sums(State(state): State<ChainState>) -> Answer<DataState> {
    let (as_of, survey) = (state.as_of().await?, state.survey().await?);
    let overview = state.ask_briefly(|node| async move { node.chain.overview().await }).await;
    Ok(Json(DataState {
        manifests: StageCounts::of(&survey),
        sources: SourceCounts { present: survey.sources, withdrawn: survey.withdrawn_sources },
        mix: SourceKind::ALL.map(|kind| kind_item(&survey, kind)).into(),
        held_out: survey.manifests.iter().filter(|manifest| manifest.held_out).count(),
        quality: quality(&survey),
        free_shards: overview.ok().map(|overview| overview.free_shards),
        as_of,
    }))
}

/// Returns the present manifests.
///
/// With a source or an owner, it returns their changes of stage instead, and `after` is a position.
#[utoipa::path(
    get,
    path = "/data/manifests",
    tag = "Data",
    params(ManifestFilter, PageQuery),
    responses(
        (status = 200, body = Items<ManifestItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn manifests(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<ManifestFilter>,
) -> Answer<Items<ManifestItem>> {
    let as_of = state.as_of().await?;
    let lookup = match (filter.source, filter.owner) {
        (Some(source), None) => Manifests::Source(source),
        (None, Some(owner)) => Manifests::Owner(owner.0),
        (Some(_), Some(_)) => {
            let detail = "give source or owner, not both";
            return Err(ApiError::parameter("owner", detail).into());
        }
        (None, None) => {
            let keys = page.keys()?;
            let (limit, after) = (keys.limit()?, keys.after::<u32>()?);
            let found = state.index().states::<ManifestState>(after.as_ref(), limit).await?;
            let items = found.into_iter().map(ManifestItem::from).collect();
            let key = |manifest: &ManifestItem| manifest.manifest;
            return Ok(Json(Items::by_key(items, limit, as_of, key)));
        }
    };
    let found = state.index().page(lookup, page.range()?).await?;
    Ok(Json(Items::of(found, as_of)))
}

/// Returns the present sources.
#[utoipa::path(
    get,
    path = "/data/sources",
    tag = "Data",
    params(KeyQuery),
    responses(
        (status = 200, body = Items<SourceItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn sources(
    State(state): State<ChainState>,
    Parameters(page): Parameters<KeyQuery>,
) -> Answer<Items<SourceItem>> {
    let (limit, after, as_of) = (page.limit()?, page.after::<u32>()?, state.as_of().await?);
    let found = state.index().states::<SourceState>(after.as_ref(), limit).await?;
    let items = found.into_iter().map(SourceItem::from).collect();
    Ok(Json(Items::by_key(items, limit, as_of, |source: &SourceItem| source.source)))
}

/// Returns the endpoints.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(sums))
        .routes(routes!(manifests))
        .routes(routes!(sources))
        .with_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_index::Consumption;

    fn manifest(manifest: u32, quality: u32, held_out: bool) -> ManifestState {
        ManifestState {
            manifest,
            source: 1,
            owner: [1; 32],
            stage: ManifestStage::Admitted,
            kind: Some(SourceKind::Web),
            shards: 10,
            shard_tokens: 100,
            held_out,
            quality,
            activity: Activity::Collection,
            content: [0; 32],
            tokenizer: [0; 32],
            documents: None,
            registered: 0,
        }
    }

    #[test]
    fn text_for_training_is_summed_by_kind() {
        let mut survey = Survey {
            manifests: vec![
                manifest(1, 0, false),
                manifest(2, MILLION, false),
                manifest(3, 950_000, true),
            ],
            ..Survey::default()
        };
        survey.consumed.insert(2, Consumption { shards: 3, effect: 5_000_000_000 });
        survey.leased.extend([(1, 4), (2, 1), (3, 9)]);
        let web = kind_item(&survey, SourceKind::Web);
        assert_eq!((web.manifests, web.shards, web.tokens, web.consumed), (2, 20, 2_000, 3));
        assert!((web.effect - 5.0).abs() < 1e-9);
        assert_eq!(web.leased, 5, "text that is held out is never leased");
        assert_eq!(kind_item(&survey, SourceKind::Dataset).manifests, 0);
        let counts: Vec<_> = quality(&survey).iter().map(|bin| bin.manifests).collect();
        assert_eq!(counts, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(StageCounts::of(&survey).admitted, 3);
    }
}
