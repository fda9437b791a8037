// SPDX-License-Identifier: Apache-2.0

use super::{
    client::Server,
    made::{HEAD, TRAINER, VALIDATOR, block_of, hex, name},
};
use serde_json::json;
use std::time::Duration;

/// Paths of all endpoints, each with parameters that the made chain knows.
fn paths() -> Vec<String> {
    let account = name(TRAINER);
    [
        "/audits",
        "/audits/7",
        "/audits?round=1",
        "/chain-events",
        "/consciousness",
        "/consciousness/history",
        "/consensus/authors",
        "/consensus/blocks",
        "/consensus/members",
        "/consensus/phases",
        "/consensus/rounds?round=1",
        "/data",
        "/data-lineage?round=1",
        "/data/manifests",
        "/data/sources",
        "/peers",
        "/penalties",
        "/rewards",
        "/rewards/earners",
        "/rewards/rounds",
        "/rewards/totals",
        "/rewards/totals/history",
        "/training-deltas/shards",
        "/training-deltas?round=1",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        format!("/rewards/explanation?account={account}&round=1"),
        format!("/wallet?account={account}"),
        format!("/wallet/history?account={account}"),
    ])
    .collect()
}

#[tokio::test]
async fn every_endpoint_answers_at_both_paths() {
    let server = Server::filled().await;
    for path in paths().into_iter().filter(|path| path != "/chain-events") {
        for path in [path.clone(), format!("/v1{path}")] {
            let answer = server.json(&path).await;
            assert!(answer.is_object(), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn every_endpoint_is_described() {
    let server = Server::start().await;
    let openapi = server.json("/openapi.json").await;
    let needs_node = ["/consensus".to_owned()];
    for path in paths().iter().chain(&needs_node) {
        let path = path.split('?').next().unwrap().replace("/7", "/{audit}");
        let get = &openapi["paths"][&path]["get"];
        assert!(get["summary"].as_str().is_some_and(|text| text.len() > 10), "{path}: {get}");
        assert!(get["responses"]["200"]["content"].is_object(), "{path}: {get}");
        let parameters = get["parameters"].as_array().cloned().unwrap_or_default();
        for parameter in parameters {
            assert!(parameter["description"].is_string(), "{path}: {parameter}");
        }
        assert!(openapi["paths"][format!("/v1{path}")]["get"].is_object(), "{path}");
    }
    let member = &openapi["components"]["schemas"]["MemberItem"]["properties"];
    assert!(member["account"].is_object() && member["bond"].is_object(), "{member}");
}

#[tokio::test]
async fn members_and_the_past_of_consensus_are_listed() {
    let server = Server::filled().await;
    let members = server.json("/consensus/members").await;
    assert_eq!(members["items"].as_array().unwrap().len(), 3);
    let trainer = &members["items"][0];
    assert_eq!(trainer["account"], name(TRAINER));
    assert_eq!((&trainer["role"], &trainer["bond"]), (&json!("trainer"), &json!("10000")));
    assert_eq!(trainer["endpoint"]["addresses"], json!(["127.0.0.1:4433"]));
    assert!(trainer["stake"].is_null());
    assert_eq!(
        members["as_of"],
        json!({
            "block": 8, "time": "1970-01-01T00:00:24Z", "final": 6, "behind": null,
            "trouble": null,
        })
    );
    let rounds = server.json("/consensus/rounds").await;
    let round = &rounds["items"][0];
    assert_eq!((&round["root"], &round["included"]), (&json!(hex(HEAD)), &json!(2)));
    assert_eq!((&round["block"], &round["time"]), (&json!(3), &json!("1970-01-01T00:00:09Z")));
    let phases = server.json("/consensus/phases?round=1").await;
    assert_eq!(phases["items"][0]["phase"], "train");
    assert_eq!(server.json("/consensus/phases?round=2").await["items"], json!([]));
}

#[tokio::test]
async fn blocks_and_their_authors_are_listed() {
    let server = Server::filled().await;
    let blocks = server.json("/consensus/blocks?limit=2").await;
    assert_eq!(blocks["items"][0]["number"], 8);
    assert_eq!((&blocks["items"][1]["extrinsics"], &blocks["next"]), (&json!(1), &json!("7")));
    assert_eq!(blocks["items"][0]["parent"], blocks["items"][1]["hash"]);
    let last = server.json("/consensus/blocks?after=1").await;
    assert!(last["items"][0]["author"].is_null() && last["next"].is_null(), "{last}");
    let authors = server.json("/consensus/authors?window=4").await;
    assert_eq!(authors["items"], json!([{"account": name(VALIDATOR), "blocks": 4}]));
    assert_eq!(authors["window"], json!({"from": 5, "to": 8, "blocks": 4, "seconds": 9.0}));
    let all = server.json("/consensus/authors").await;
    assert_eq!(all["items"][0]["blocks"], 8);
    // The first block has no author and no time.
    assert_eq!(all["window"], json!({"from": 1, "to": 8, "blocks": 8, "seconds": 21.0}));
    let server = Server::start().await;
    server.index.apply(&[block_of(0, 0, 0)]).await.unwrap();
    let none = server.json("/consensus/authors").await;
    assert_eq!((&none["items"], &none["window"]["blocks"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn without_a_node_its_part_is_missing_and_the_rest_works() {
    let server = Server::filled().await;
    let peers = server.json("/peers?limit=1").await;
    assert!(peers["node"].is_null());
    assert_eq!(peers["members"][0]["endpoint"]["id"], hex([9; 32]));
    assert!(peers["members"][0]["latency_ms"].is_null());
    assert_eq!(peers["next"], name(TRAINER));
    let next = server.json(&format!("/peers?after={}", name(TRAINER))).await;
    assert_eq!(next["members"].as_array().unwrap().len(), 2);
    // A process that connects to members knows some of their latencies.
    let latency = |key: &[u8; 32]| (*key == [9; 32]).then_some(Duration::from_micros(31_500));
    server.state.tell_latencies(Box::new(latency));
    let peers = server.json("/peers").await;
    let known: Vec<_> =
        peers["members"].as_array().unwrap().iter().map(|one| &one["latency_ms"]).collect();
    assert_eq!(known, [&json!(31.5), &json!(null), &json!(null)]);
    let data = server.json("/data").await;
    assert!(data["free_shards"].is_null());
    let models = server.json("/pretrained-models").await;
    assert!(models["network"].is_null() && models["formats"].is_array(), "{models}");
}
