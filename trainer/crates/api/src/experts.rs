// SPDX-License-Identifier: Apache-2.0

//! `GET /experts`: the experts of the served model that texts of each domain go to, as this server
//! measured them.

use crate::{
    engine::{Engine, ModelCard, Models},
    error::{ApiError, Problem},
};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use pol_primitives::data::{SourceId, SourceKind};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, PoisonError, RwLock},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Most models whose measurements are kept: as many as a server has at most.
const MAX_MODELS: usize = 9;

/// Definition of a share.
const DEFINITION: &str = "Share of an expert in the choices of a block's router for the tokens of \
                          the text. Without a block it is the mean over the blocks, where experts \
                          of the same number count as one.";

/// Sample of a network's text, and the experts that its tokens went to.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleUse {
    /// Source of the text.
    pub source: SourceId,
    /// Kind of the text.
    pub kind: SourceKind,
    /// Address of the account that provides it.
    pub provider: String,
    /// Address of the original.
    pub address: String,
    /// Number of tokens that were read.
    pub tokens: u64,
    /// Mean loss on the text, in nats per token.
    pub loss: f64,
    /// Number of tokens that each expert processed, by block.
    pub loads: Vec<Vec<u64>>,
}

/// Measurement of the experts of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpertMeasurement {
    /// The model has no experts.
    NoExperts,
    /// The model is no head of a network, whose text has kinds and providers.
    NoNetwork,
    /// Text is fetched and read.
    UnderWay,
    /// The measurement failed, for this reason.
    Failed(String),
    /// The measurement has ended.
    Done {
        /// Samples that were read.
        samples: Vec<SampleUse>,
        /// Number of samples that nobody served in time.
        unread: u32,
    },
}

/// Measurements of the experts of models, by their roots. Clones share them.
#[derive(Clone, Default)]
pub struct ExpertMeasurements(Arc<RwLock<VecDeque<(String, ExpertMeasurement)>>>);

impl ExpertMeasurements {
    /// Notes the measurement of the model with a root, in place of an earlier one. Those of the
    /// newest nine models are kept.
    pub fn note(&self, root: &str, measurement: ExpertMeasurement) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(other, _)| other != root);
        kept.push_front((root.to_owned(), measurement));
        kept.truncate(MAX_MODELS);
    }

    /// Returns the measurement of the model with a root, if one was noted.
    pub fn of(&self, root: &str) -> Option<ExpertMeasurement> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(other, _)| other == root).map(|(_, measurement)| measurement.clone())
    }
}

/// Division of text into domains.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Division {
    /// Text of a kind.
    #[default]
    Kind,
    /// Text of a provider.
    Provider,
    /// Text of a source.
    Source,
}

/// Selection of figures.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Domains: by kind of text, which is the default, by provider, or by source.
    #[param(inline)]
    by: Option<Division>,
    /// Block, counted from 0. Without one, shares are means over all blocks.
    #[param(example = 2)]
    block: Option<usize>,
}

/// State of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum MeasurementState {
    /// No model is loaded yet.
    NoModel,
    /// The model has no experts.
    NoExperts,
    /// The model is no head of a network.
    NoNetwork,
    /// No text of the network could be read.
    NoText,
    /// Text is fetched and read.
    UnderWay,
    /// It failed.
    Failed,
    /// There are figures.
    Measured,
}

/// Experts that the network's text goes to, domain by domain.
#[derive(Debug, Serialize, ToSchema)]
struct Experts {
    /// Name under which requests get the measured model; null while none is loaded.
    #[schema(example = "head@7d3a0c51")]
    model: Option<String>,
    /// Round whose head it is; null for a model of a folder, and while none is loaded.
    #[schema(example = 7)]
    round: Option<u32>,
    /// State of the measurement.
    #[schema(inline)]
    state: MeasurementState,
    /// Explanation of the state.
    #[schema(example = "Measured by this server on 8,192 tokens of 4 samples.")]
    sentence: String,
    /// Definition of a share.
    definition: &'static str,
    /// Number of experts of a block; 0 without figures.
    #[schema(example = 4)]
    experts: usize,
    /// Number of blocks; 0 without figures.
    #[schema(example = 6)]
    blocks: usize,
    /// Block that the shares are of; null if they are means over all blocks.
    block: Option<usize>,
    /// All text that was read; null without figures.
    all: Option<DomainUse>,
    /// The domains.
    domains: Vec<DomainUse>,
    /// Number of samples that no member served in time.
    #[schema(example = 0)]
    unread: u32,
}

/// Use of the experts by the text of a domain.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct DomainUse {
    /// Kind of the text, if domains are kinds.
    #[schema(value_type = Option<String>, example = "web")]
    kind: Option<SourceKind>,
    /// Account that provides the text, if domains are providers.
    provider: Option<String>,
    /// Source of the text, if domains are sources.
    source: Option<SourceId>,
    /// Address of the source, if domains are sources.
    address: Option<String>,
    /// Number of samples.
    #[schema(example = 2)]
    samples: usize,
    /// Number of tokens that were read.
    #[schema(example = 2_048)]
    tokens: u64,
    /// Loss on them, in nats per token. The model may have learned from them.
    #[schema(example = 3.21)]
    loss: f64,
    /// Share of each expert. They add up to 1.
    #[schema(example = json!([0.31, 0.24, 0.22, 0.23]))]
    shares: Vec<f64>,
}

/// Domain, by which samples are put together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Domain<'a> {
    All,
    Kind(SourceKind),
    Provider(&'a str),
    Source(SourceId, &'a str),
}

impl<'a> Domain<'a> {
    /// Returns the domain of a sample.
    fn of(sample: &'a SampleUse, division: Division) -> Self {
        match division {
            Division::Kind => Self::Kind(sample.kind),
            Division::Provider => Self::Provider(&sample.provider),
            Division::Source => Self::Source(sample.source, &sample.address),
        }
    }

    /// Returns the use of experts by the samples of the domain, in one block or in all.
    fn used(self, samples: &[&SampleUse], block: Option<usize>) -> DomainUse {
        let tokens: u64 = samples.iter().map(|sample| sample.tokens).sum();
        let losses: f64 = samples.iter().map(|sample| sample.loss * sample.tokens as f64).sum();
        let mut domain = DomainUse {
            kind: None,
            provider: None,
            source: None,
            address: None,
            samples: samples.len(),
            tokens,
            loss: losses / (tokens as f64).max(1.0),
            shares: shares(samples, block),
        };
        match self {
            Self::All => {}
            Self::Kind(kind) => domain.kind = Some(kind),
            Self::Provider(provider) => domain.provider = Some(provider.to_owned()),
            Self::Source(source, address) => {
                (domain.source, domain.address) = (Some(source), Some(address.to_owned()));
            }
        }
        domain
    }
}

/// Returns the share of each expert in the choices for the samples, in one block or as the mean
/// over all.
fn shares(samples: &[&SampleUse], block: Option<usize>) -> Vec<f64> {
    let (blocks, experts) = sizes(samples.iter().copied());
    let chosen = block.map_or(0..blocks, |block| block..block + 1);
    let share = |expert: usize| {
        let of_block = |block: usize| {
            let loads = samples.iter().filter_map(|sample| sample.loads.get(block));
            let (own, all) = loads.fold((0_u64, 0_u64), |(own, all), loads| {
                (own + loads.get(expert).copied().unwrap_or(0), all + loads.iter().sum::<u64>())
            });
            own as f64 / (all as f64).max(1.0)
        };
        chosen.clone().map(of_block).sum::<f64>() / (chosen.len() as f64).max(1.0)
    };
    (0..experts).map(share).collect()
}

/// Returns the numbers of blocks, and of experts of a block, of the model that read the samples.
fn sizes<'a>(mut samples: impl Iterator<Item = &'a SampleUse>) -> (usize, usize) {
    let loads: &[Vec<u64>] = samples.next().map_or(&[], |sample| sample.loads.as_slice());
    (loads.len(), loads.first().map_or(0, Vec::len))
}

impl Experts {
    /// Describes what is known of the model on `card`.
    ///
    /// # Errors
    ///
    /// Fails if the model has no such block.
    fn new(
        card: Option<&ModelCard>,
        measurements: &ExpertMeasurements,
        asked: Asked,
    ) -> Result<Self, ApiError> {
        // A model is served before its measurement begins.
        let measured =
            card.map(|card| measurements.of(&card.root).unwrap_or(ExpertMeasurement::UnderWay));
        let (state, sentence) = describe(measured.as_ref());
        let (samples, unread) = match measured {
            Some(ExpertMeasurement::Done { samples, unread }) => (samples, unread),
            _ => (Vec::new(), 0),
        };
        let (blocks, experts) = sizes(samples.iter());
        let block = asked.block;
        if state == MeasurementState::Measured && block.is_some_and(|block| block >= blocks) {
            let detail = format!("the model has {blocks} blocks, counted from 0");
            return Err(ApiError::parameter("block", detail));
        }
        let mut domains = BTreeMap::<Domain<'_>, Vec<&SampleUse>>::new();
        for sample in &samples {
            let domain = Domain::of(sample, asked.by.unwrap_or_default());
            domains.entry(domain).or_default().push(sample);
        }
        let all: Vec<&SampleUse> = samples.iter().collect();
        Ok(Self {
            model: card.map(ModelCard::id),
            round: card.and_then(|card| card.round),
            state,
            sentence,
            definition: DEFINITION,
            experts,
            blocks,
            block,
            all: (!all.is_empty()).then(|| Domain::All.used(&all, block)),
            domains: domains.iter().map(|(domain, own)| domain.used(own, block)).collect(),
            unread,
        })
    }
}

/// Returns the state of the measurement of a model, if there is one, and its explanation.
fn describe(measured: Option<&ExpertMeasurement>) -> (MeasurementState, String) {
    let Some(measured) = measured else {
        return (MeasurementState::NoModel, "No model is loaded yet.".into());
    };
    match measured {
        ExpertMeasurement::NoExperts => (
            MeasurementState::NoExperts,
            "The model has no experts: each token goes through all of it.".into(),
        ),
        ExpertMeasurement::NoNetwork => (
            MeasurementState::NoNetwork,
            "The model is one of a folder. Kinds and providers of text are those of a network; \
             start a server without --model to see them."
                .into(),
        ),
        ExpertMeasurement::UnderWay => (
            MeasurementState::UnderWay,
            "This server fetches text of each source, and reads it with the model.".into(),
        ),
        ExpertMeasurement::Failed(reason) => {
            (MeasurementState::Failed, format!("The measurement failed: {reason}"))
        }
        ExpertMeasurement::Done { samples, .. } if samples.is_empty() => (
            MeasurementState::NoText,
            "No member served text of the network that the model reads.".into(),
        ),
        ExpertMeasurement::Done { samples, .. } => {
            let tokens: u64 = samples.iter().map(|sample| sample.tokens).sum();
            let count = samples.len();
            let plural = if count == 1 { "" } else { "s" };
            (
                MeasurementState::Measured,
                format!(
                    "Measured by this server on {tokens} tokens of {count} sample{plural}, from \
                     which the model may have learned."
                ),
            )
        }
    }
}

/// State of the endpoint.
#[derive(Clone)]
struct Measured {
    models: Models,
    measurements: ExpertMeasurements,
}

/// Returns which experts of the newest model the network's text goes to, by its kind, its provider,
/// or its source.
#[utoipa::path(
    get,
    path = "/experts",
    tag = "Models",
    params(Asked),
    responses(
        (status = 200, body = Experts),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn experts(
    State(Measured { models, measurements }): State<Measured>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Experts>, ApiError> {
    let invalid = |rejection: QueryRejection| ApiError::Invalid {
        parameter: None,
        detail: rejection.body_text(),
    };
    let Query(asked) = asked.map_err(invalid)?;
    let engine = models.current();
    let card = engine.as_deref().map(Engine::card);
    Experts::new(card, &measurements, asked).map(Json)
}

/// Returns the endpoint.
pub(crate) fn routes(models: Models, measurements: ExpertMeasurements) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(experts)).with_state(Measured { models, measurements })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: SourceId, kind: SourceKind, loads: [[u64; 2]; 2]) -> SampleUse {
        SampleUse {
            source,
            kind,
            provider: "5Grwva".into(),
            address: format!("https://example.org/{source}"),
            tokens: loads[0].iter().sum(),
            loss: f64::from(source),
            loads: loads.map(Vec::from).into(),
        }
    }

    #[test]
    fn shares_of_a_domain_are_those_of_its_samples_together() {
        let samples = [
            sample(1, SourceKind::Web, [[6, 2], [8, 0]]),
            sample(2, SourceKind::Web, [[0, 24], [24, 0]]),
        ];
        let both: Vec<_> = samples.iter().collect();
        assert_eq!(shares(&both, Some(0)), [6.0 / 32.0, 26.0 / 32.0]);
        assert_eq!(shares(&both, Some(1)), [1.0, 0.0]);
        assert_eq!(shares(&both, None), [38.0 / 64.0, 26.0 / 64.0]);
        assert!(shares(&[], None).is_empty());
        let used = Domain::All.used(&both, None);
        assert_eq!((used.samples, used.tokens, used.loss), (2, 32, 1.75));
        // Blocks that no token reached have no shares to speak of.
        let none = sample(3, SourceKind::Web, [[0; 2]; 2]);
        assert_eq!(Domain::All.used(&[&none], None).shares, [0.0, 0.0]);
    }

    #[test]
    fn measurements_are_those_of_a_root() {
        let measurements = ExpertMeasurements::default();
        for number in 0..12 {
            measurements.note(&format!("r{number}"), ExpertMeasurement::UnderWay);
        }
        measurements.note("r11", ExpertMeasurement::NoExperts);
        assert_eq!(measurements.of("r11"), Some(ExpertMeasurement::NoExperts));
        assert_eq!(measurements.of("r3"), Some(ExpertMeasurement::UnderWay));
        assert_eq!(measurements.of("r2"), None, "those of nine models are kept");
    }
}
