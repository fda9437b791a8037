// SPDX-License-Identifier: Apache-2.0

use super::{
    client::Server,
    made::{CHEAT, CONTENT, DOCUMENTS, HEAD, TRAINER, VALIDATOR, hex, name},
};
use serde_json::{Value, json};

#[tokio::test]
async fn updates_are_told_from_lease_to_end() {
    let server = Server::filled().await;
    let updates = server.json("/training-deltas?round=1&order=oldest").await;
    let [valid, invalid] = &updates["items"].as_array().unwrap()[..] else { panic!("{updates}") };
    assert_eq!((&valid["account"], &valid["outcome"]), (&json!(name(TRAINER)), &json!("valid")));
    assert_eq!((&valid["first_loss"], &valid["last_loss"]), (&json!(3.31), &json!(3.21)));
    assert_eq!((&valid["gain"], &valid["score"]), (&json!(0.0015), &json!(0.0015)));
    let delta = |shard, delta| json!({"manifest": 0, "shard": shard, "delta": delta});
    assert_eq!(valid["deltas"], json!([delta(0, 0.00012), delta(1, -0.00002)]));
    assert_eq!((&invalid["slashed"], &invalid["deltas"]), (&json!("500"), &json!([])));
    let own = server.json(&format!("/training-deltas?account={}", name(CHEAT))).await;
    assert_eq!(own["items"][0], *invalid);
    let both = server.json(&format!("/training-deltas?account={}&round=9", name(CHEAT))).await;
    assert_eq!(both["items"], json!([]));
    let shards = server.json("/training-deltas/shards?manifest=0&shard=1").await;
    assert_eq!((&shards["items"][0]["delta"], &shards["next"]), (&json!(-0.00002), &Value::Null));
}

#[tokio::test]
async fn measurements_come_with_definitions() {
    let server = Server::filled().await;
    let mind = server.json("/consciousness").await;
    let latest = &mind["latest"];
    assert_eq!((&latest["loss"], &latest["reasoning"]), (&json!(3.21), &json!(0.0)));
    assert!(latest["coherence"].is_null() && latest["level"].is_null());
    for definition in mind["definitions"].as_array().unwrap() {
        let name = definition["name"].as_str().unwrap();
        assert!(latest.get(name).is_some(), "{name}");
        assert!(definition["definition"].as_str().unwrap().len() > 20, "{name}");
    }
    let history = server.json("/consciousness/history?round=1").await;
    assert_eq!(history["items"][0], *latest);
}

#[tokio::test]
async fn data_are_summed_and_listed() {
    let server = Server::filled().await;
    let data = server.json("/data").await;
    assert_eq!((&data["manifests"]["admitted"], &data["held_out"]), (&json!(2), &json!(1)));
    let web = data["mix"].as_array().unwrap().iter().find(|kind| kind["kind"] == "web").unwrap();
    assert_eq!((&web["shards"], &web["tokens"]), (&json!(10), &json!(40_960)));
    assert_eq!((&web["consumed"], &web["effect"]), (&json!(2), &json!(0.0001)));
    assert_eq!(data["quality"][9]["manifests"], 1);
    let manifests = server.json("/data/manifests?limit=1").await;
    assert_eq!(
        (&manifests["items"][0]["content"], &manifests["next"]),
        (&json!(hex(CONTENT)), &json!("0"))
    );
    let next = server.json("/data/manifests?limit=1&after=0").await;
    assert_eq!(next["items"][0]["manifest"], 1);
    let of_source = server.json("/data/manifests?source=0&order=oldest").await;
    assert_eq!(of_source["items"].as_array().unwrap().len(), 2);
    let sources = server.json("/data/sources").await;
    assert_eq!(sources["items"][0]["licence"], "CC-BY-4.0");
}

#[tokio::test]
async fn lineage_is_walked_in_both_directions() {
    let server = Server::filled().await;
    // It waits for the count of used shards, which the answers below have too.
    server.json("/data").await;
    let forward = server.json("/data-lineage?source=0").await;
    assert_eq!((&forward["found"], &forward["shards"]), (&json!("source"), &json!([])));
    assert_eq!(forward["manifests"][0]["children"], json!([1]));
    assert_eq!(forward["manifests"][1]["parents"], json!([0]));
    let manifest = server.json("/data-lineage?manifest=0").await;
    for hash in [CONTENT, DOCUMENTS] {
        let found = server.json(&format!("/data-lineage?hash={}", hex(hash))).await;
        assert_eq!(found, manifest);
    }
    assert_eq!(manifest["sources"][0]["address"], "https://example.org/books");
    let shard = &manifest["shards"].as_array().unwrap()[1];
    assert_eq!((&shard["head"], &shard["outcome"]), (&json!(hex(HEAD)), &json!("valid")));
    assert_eq!((&shard["audit"], &shard["payload"]), (&json!(7), &json!(hex([0x30; 32]))));
    let unused = server.json("/data-lineage?shard=0/9").await;
    assert_eq!((&unused["found"], &unused["shards"]), (&json!("shard"), &json!([])));
    let one = server.json("/data-lineage?shard=0/1").await;
    assert_eq!((&one["found"], one["shards"].as_array().unwrap().len()), (&json!("shard"), 1));
    let back = server.json(&format!("/data-lineage?hash={}", hex(HEAD))).await;
    assert_eq!((&back["found"], &back["heads"][0]["round"]), (&json!("round"), &json!(1)));
    assert_eq!(
        (&back["manifests"][0]["manifest"], &back["sources"][0]["source"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(back, server.json("/data-lineage?round=1").await);
}

#[tokio::test]
async fn unknown_names_lead_nowhere() {
    let server = Server::filled().await;
    for query in [
        "shard=9/9",
        "shard=0/10",
        "shard=0/99999",
        "manifest=9",
        "round=9",
        "source=9",
        &format!("hash={}", hex([7; 32])),
    ] {
        let found = server.json(&format!("/data-lineage?{query}")).await;
        assert!(found["found"].is_null(), "{query}: {found}");
        for part in ["sources", "manifests", "shards", "heads"] {
            assert_eq!(found[part], json!([]), "{query}");
        }
    }
}

#[tokio::test]
async fn an_audit_is_told_as_stories() {
    let server = Server::filled().await;
    let audits = server.json("/audits").await;
    let audit = &audits["items"][0];
    assert_eq!((&audit["state"], &audit["settled"]), (&json!("ended"), &json!(2)));
    let report = server.json("/audits/7").await;
    assert_eq!((&report["state"], &report["truncated"]), (&json!("ended"), &json!(false)));
    let [trainer, cheat] = &report["stories"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&trainer["outcome"], &cheat["outcome"]), (&json!("valid"), &json!("invalid")));
    let kinds = |steps: &Value| {
        let steps = steps.as_array().unwrap().iter();
        steps.map(|step| step["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&trainer["steps"]), ["shown", "settled"]);
    assert_eq!(kinds(&report["steps"]), ["drawn", "replayed", "ended"]);
    let seat = json!({
        "validator": name(VALIDATOR), "replayed": true, "revealed": false, "failed": false
    });
    assert_eq!(trainer["seats"], json!([seat]));
    assert_eq!(
        (&cheat["penalties"][0]["amount"], &trainer["penalties"]),
        (&json!("500"), &json!([]))
    );
}
