// SPDX-License-Identifier: Apache-2.0

//! Experts that the network's text goes to, by domain.

use super::models::{Server, engine, native, options};
use pol_api::{
    Access, ExpertMeasurement, ExpertMeasurements, Frame, Limits, Models, Rate, SampleUse,
};
use pol_primitives::data::SourceKind;
use serde_json::{Value, json};
use std::num::NonZeroU32;

async fn serve(models: &Models, measurements: &ExpertMeasurements) -> Server {
    let most = NonZeroU32::MAX;
    let access = Access::new(None, Rate { per_second: most, burst: most });
    let frame = Frame::new(access).with_experts(models.clone(), measurements.clone());
    Server::of(frame.build(), models.clone(), Limits::default()).await
}

/// Returns a sample of 8 tokens, whose first block sends `first` of them to the first expert, and
/// whose second block sends all of them there.
fn sample(source: u32, kind: SourceKind, provider: &str, first: u64) -> SampleUse {
    SampleUse {
        source,
        kind,
        provider: provider.into(),
        address: format!("https://example.org/{source}"),
        tokens: 8,
        loss: 2.0 + f64::from(source),
        loads: vec![vec![first, 8 - first], vec![8, 0]],
    }
}

fn done() -> ExpertMeasurement {
    let samples = vec![
        sample(7, SourceKind::Web, "a", 0),
        sample(3, SourceKind::Dataset, "b", 8),
        sample(5, SourceKind::Web, "b", 4),
    ];
    ExpertMeasurement::Done { samples, unread: 2 }
}

/// Returns a field of each domain, with the share of the first expert.
fn domains(answer: &Value, field: &str) -> Vec<(Value, f64)> {
    let domains = answer["domains"].as_array().unwrap();
    domains
        .iter()
        .map(|domain| (domain[field].clone(), domain["shares"][0].as_f64().unwrap()))
        .collect()
}

#[tokio::test]
async fn use_is_told_by_kind_provider_and_source() {
    let models = Models::new(engine(native(1), "0x1111aaaa0000", options()));
    let measurements = ExpertMeasurements::default();
    measurements.note("0x1111aaaa0000", done());
    let server = serve(&models, &measurements).await;
    let get = async |path: &str| server.client.get(path).await.json();
    let kinds = get("/experts").await;
    assert_eq!((&kinds["state"], &kinds["model"]), (&json!("measured"), &json!("tiny@1111aaaa")));
    assert_eq!(kinds["sentence"].as_str().unwrap().matches("24 tokens of 3 samples").count(), 1);
    assert_eq!((&kinds["experts"], &kinds["blocks"]), (&json!(2), &json!(2)));
    assert_eq!((&kinds["unread"], &kinds["block"]), (&json!(2), &Value::Null));
    // Kinds have the order of the pool.
    assert_eq!(domains(&kinds, "kind"), [(json!("dataset"), 1.0), (json!("web"), 0.625)]);
    assert_eq!((&kinds["all"]["tokens"], &kinds["all"]["samples"]), (&json!(24), &json!(3)));
    assert_eq!(kinds["all"]["shares"], json!([0.75, 0.25]));
    assert_eq!(kinds["domains"][1]["loss"], 8.0);
    let providers = get("/v1/experts?by=provider&block=0").await;
    assert_eq!(domains(&providers, "provider"), [(json!("a"), 0.0), (json!("b"), 0.75)]);
    assert_eq!((&providers["block"], &providers["domains"][1]["samples"]), (&json!(0), &json!(2)));
    let sources = get("/experts?by=source&block=1").await;
    assert_eq!(
        domains(&sources, "address"),
        [3, 5, 7].map(|source| (json!(format!("https://example.org/{source}")), 1.0))
    );
    for (query, part) in [
        ("block=2", "2 blocks, counted from 0"),
        ("block=-1", "block"),
        ("by=domain", "provider"),
        ("kind=web", "'kind' is not known here; known: by, block"),
    ] {
        let refused = server.client.get(&format!("/experts?{query}")).await;
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(part), "{query}: {detail}");
    }
}

#[tokio::test]
async fn figures_are_never_those_of_another_model() {
    let (models, measurements) = (Models::default(), ExpertMeasurements::default());
    let server = serve(&models, &measurements).await;
    let none = server.client.get("/experts").await.json();
    assert_eq!((&none["state"], &none["model"]), (&json!("no_model"), &Value::Null));
    measurements.note("r1", done());
    models.replace(engine(native(1), "r2", options()));
    for (measurement, state, part) in [
        (None, "under_way", "fetches text"),
        (Some(ExpertMeasurement::NoExperts), "no_experts", "has no experts"),
        (Some(ExpertMeasurement::NoNetwork), "no_network", "without --model"),
        (Some(ExpertMeasurement::Failed("no node".into())), "failed", "failed: no node"),
        (
            Some(ExpertMeasurement::Done { samples: Vec::new(), unread: 1 }),
            "no_text",
            "No member served",
        ),
    ] {
        if let Some(measurement) = measurement {
            measurements.note("r2", measurement);
        }
        // A block is no mistake while nobody knows how many there are.
        let answer = server.client.get("/experts?block=9").await.json();
        assert_eq!(answer["state"], state);
        assert!(answer["sentence"].as_str().unwrap().contains(part), "{answer}");
        assert_eq!((&answer["domains"], &answer["all"]), (&json!([]), &Value::Null));
    }
    // A chain that takes blocks back has the earlier model again.
    models.replace(engine(native(1), "r1", options()));
    assert_eq!(server.client.get("/experts").await.json()["state"], "measured");
}
