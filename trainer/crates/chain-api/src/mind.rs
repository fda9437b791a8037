// SPDX-License-Identifier: Apache-2.0

//! `GET /consciousness`: figures that validators measure of each head, with their definitions.

use crate::{
    Answer,
    network::OfRound,
    page::{AsOf, Items},
    query::{PageQuery, Paged},
    state::ChainState,
    values::{Time, millionths},
};
use axum::{Json, extract::State};
use pol_api::Problem;
use pol_index::{Row, facts::Measurement, lookups::Measurements};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Unit of a figure that has none.
const SHARE: &str = "share";

/// Definition of a figure.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct Definition {
    /// Name of the figure in measurements.
    #[schema(example = "auroc")]
    name: &'static str,
    /// Title.
    #[schema(example = "Type-2 AUROC")]
    title: &'static str,
    /// Definition.
    definition: &'static str,
    /// Unit.
    #[schema(example = "share")]
    unit: &'static str,
    /// Smallest and largest value; null where there is no largest one.
    #[schema(example = json!([0.0, 1.0]))]
    range: [Option<f64>; 2],
    /// Weight in the level.
    #[schema(example = 0.3)]
    weight: Option<f64>,
    /// Literature; null for figures of this project.
    source: Option<&'static str>,
}

const fn share(name: &'static str, title: &'static str, definition: &'static str) -> Definition {
    let range = [Some(0.0), Some(1.0)];
    Definition { name, title, definition, unit: SHARE, range, weight: None, source: None }
}

/// Definitions of all figures. `docs/mind.md` has the formulas.
const DEFINITIONS: [Definition; 10] = [
    Definition {
        unit: "nats per token",
        range: [Some(0.0), None],
        ..share("loss", "Loss", "Mean cross-entropy on held-out text.")
    },
    share(
        "level",
        "Consciousness level",
        "Weighted mean of its parts; null if the model lacks one. The weights were chosen, not \
         found. It compares a model with its own earlier rounds, and does not measure \
         consciousness in the everyday sense of the word.",
    ),
    Definition {
        weight: Some(0.3),
        ..share(
            "self_awareness",
            "Self-awareness",
            "Mean of 2 · AUROC − 1, cut at 0, and 1 − calibration error: reliability with which \
             the model tells its correct predictions from its wrong ones.",
        )
    },
    Definition {
        source: Some("Galvin et al. 2003; Fleming and Lau 2014"),
        ..share(
            "auroc",
            "Type-2 AUROC",
            "Probability that a correct prediction had a lower predicted loss than a wrong one.",
        )
    },
    Definition {
        source: Some("Guo et al. 2017"),
        ..share(
            "calibration_error",
            "Expected calibration error",
            "That of the probability of the likeliest token, over 15 equal bins.",
        )
    },
    Definition {
        weight: Some(0.3),
        ..share(
            "reasoning",
            "Reasoning quality",
            "Share of reasoning probes answered exactly, as the mean over five kinds of task.",
        )
    },
    Definition {
        weight: Some(0.1),
        source: Some("Yoo and Kweon 2019"),
        ..share(
            "introspection",
            "Introspection",
            "Share of the variance of the losses that the introspection head explains (R²).",
        )
    },
    Definition {
        weight: Some(0.1),
        source: Some("Baumgratz, Cramer, and Plenio 2014"),
        ..share(
            "coherence",
            "Coherence",
            "l1 norm of coherence of the branches of the superposition, over its largest value.",
        )
    },
    Definition {
        weight: Some(0.1),
        source: Some("Graves 2016; Dehghani et al. 2018"),
        ..share(
            "meta_cognition",
            "Meta-cognition",
            "Share of the loss of the chosen tokens that disappears with the second pass.",
        )
    },
    Definition {
        weight: Some(0.1),
        ..share(
            "utilisation",
            "Expert utilisation",
            "Entropy of the tokens sent to each expert over that of even use, as the mean over the \
             blocks.",
        )
    },
];

/// Definitions, and the newest measurement.
#[derive(Debug, Serialize, ToSchema)]
struct Consciousness {
    /// Definitions of the figures. They are metrics, and none is evidence of sentience.
    definitions: Vec<Definition>,
    /// Newest measurement of a head.
    latest: Option<MeasureItem>,
    /// Block that the answer is of.
    as_of: AsOf,
}

/// Measurement of the head of a round: medians by stake of what validators report. A figure is null
/// if the model lacks the part, or if the figure is undefined.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MeasureItem {
    /// Round that made the head.
    #[schema(example = 6)]
    round: u32,
    /// Share of the stake that reported.
    #[schema(example = 1.0)]
    share: f64,
    /// Loss on held-out text, in nats per token.
    #[schema(example = 3.21)]
    loss: f64,
    /// Consciousness level; null if one of its parts is.
    #[schema(example = 0.21)]
    level: Option<f64>,
    /// Self-awareness.
    #[schema(example = 0.31)]
    self_awareness: Option<f64>,
    /// Type-2 AUROC.
    #[schema(example = 0.62)]
    auroc: Option<f64>,
    /// Expected calibration error.
    #[schema(example = 0.02)]
    calibration_error: Option<f64>,
    /// Reasoning quality.
    #[schema(example = 0.0)]
    reasoning: Option<f64>,
    /// Introspection.
    #[schema(example = 0.12)]
    introspection: Option<f64>,
    /// Coherence.
    #[schema(example = 0.4)]
    coherence: Option<f64>,
    /// Meta-cognition.
    #[schema(example = 0.01)]
    meta_cognition: Option<f64>,
    /// Expert utilisation.
    #[schema(example = 0.9)]
    utilisation: Option<f64>,
    /// Block.
    #[schema(example = 795)]
    block: u32,
    /// Time of the block.
    time: Time,
}

impl From<Row<Measurement>> for MeasureItem {
    fn from(Row { at, time, fact }: Row<Measurement>) -> Self {
        Self {
            round: fact.round,
            share: millionths(fact.share),
            loss: millionths(fact.loss),
            level: fact.level.map(millionths),
            self_awareness: fact.self_awareness.map(millionths),
            auroc: fact.auroc.map(millionths),
            calibration_error: fact.calibration_error.map(millionths),
            reasoning: fact.reasoning.map(millionths),
            introspection: fact.introspection.map(millionths),
            coherence: fact.coherence.map(millionths),
            meta_cognition: fact.meta_cognition.map(millionths),
            utilisation: fact.utilisation.map(millionths),
            block: at.block,
            time: Time::new(time),
        }
    }
}

/// Returns the newest measurement of a head, with the definitions of its figures.
#[utoipa::path(
    get,
    path = "/consciousness",
    tag = "Learning",
    responses(
        (status = 200, body = Consciousness),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn newest(State(state): State<ChainState>) -> Answer<Consciousness> {
    let as_of = state.as_of().await?;
    let latest = state.index().newest(Measurements::All).await?.map(MeasureItem::from);
    Ok(Json(Consciousness { definitions: DEFINITIONS.to_vec(), latest, as_of }))
}

/// Returns measurements of heads.
#[utoipa::path(
    get,
    path = "/consciousness/history",
    tag = "Learning",
    params(OfRound, PageQuery),
    responses(
        (status = 200, body = Items<MeasureItem>),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn history(
    State(state): State<ChainState>,
    Paged { filter, page }: Paged<OfRound>,
) -> Answer<Items<MeasureItem>> {
    let (range, as_of) = (page.range()?, state.as_of().await?);
    let lookup = filter.round.map_or(Measurements::All, Measurements::Round);
    Ok(Json(Items::of(state.index().page(lookup, range).await?, as_of)))
}

/// Returns the endpoints.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(newest)).routes(routes!(history)).with_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::metrics::ModelMetrics;

    #[test]
    fn weights_are_those_of_the_protocol() {
        let own: Vec<_> = DEFINITIONS.iter().filter_map(|one| one.weight).collect();
        let parts = ModelMetrics::default().parts().map(|(_, weight, _)| f64::from(weight) / 100.0);
        assert_eq!(own, parts);
    }
}
