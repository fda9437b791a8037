// SPDX-License-Identifier: Apache-2.0

//! `POST /train` with any JSON at the places of its fields, and with damaged bytes.

use super::{
    ApiPartOptions,
    tests::{Served, write_model},
};
use pol_import::SPEC_FILE;
use proptest::{prelude::*, sample::select, test_runner::Config};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};
use tokio::runtime::Runtime;

/// Fields of a request, and one that there is not.
const NAMES: [&str; 6] = ["action", "rounds", "text", "model", "out", "nonsense"];

fn any_value() -> impl Strategy<Value = Value> {
    let texts = [
        "join",
        "pause",
        "resume",
        "stop",
        "cancel",
        "tiny",
        "new",
        "other",
        "",
        " ",
        ".",
        "..",
        "../up",
        "/up",
        "tiny/../up",
        "tiny\\up",
        ".new",
        "n\0",
        "n\u{202e}",
        "a\nb",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..4i64).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        (0..2_000usize).prop_map(|length| Value::from("ab ".repeat(length))),
        select(texts.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((select(NAMES.to_vec()).prop_map(String::from), inner), 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Returns requests of which most are possible but for a few values.
fn any_request() -> impl Strategy<Value = Value> {
    let base = select(vec![
        json!({"action": "join", "rounds": 2}),
        json!({"action": "pause"}),
        json!({"action": "cancel"}),
        json!({"text": "a text", "model": "tiny", "out": "new"}),
        json!({}),
    ]);
    let changes = prop::collection::vec((select(NAMES.to_vec()), any_value()), 0..3);
    (base, changes).prop_map(|(mut request, changes)| {
        for (name, value) in changes {
            request[name] = value;
        }
        request
    })
}

/// Returns bodies, half of them with bytes that were changed, added, or left out.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 1..6);
    (any_request(), prop::option::of(damage)).prop_map(|(request, damage)| {
        let mut bytes = request.to_string().into_bytes();
        for (place, kind, byte) in damage.into_iter().flatten() {
            let place = place.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(place, byte),
                1 => bytes.truncate(place),
                _ => bytes.iter_mut().skip(place).take(1).for_each(|old| *old = byte),
            }
        }
        bytes
    })
}

#[test]
fn any_body_is_answered_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("library");
    fs::create_dir(&library).unwrap();
    write_model(&library, "tiny");
    let runtime = Runtime::new().unwrap();
    let options = ApiPartOptions { library: Some(library.clone()), ..ApiPartOptions::default() };
    let served = runtime.block_on(Served::start(&options, true));
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    proptest!(config, |(body in any_body())| {
        let (status, text) = runtime.block_on(served.text("POST /train", "", &body));
        let shown = String::from_utf8_lossy(&body);
        prop_assert!([200, 202, 400, 404, 409].contains(&status), "{shown}: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        if status < 300 {
            prop_assert!(answer["state"].is_string(), "{shown}: {text}");
        } else {
            let detail = answer["detail"].as_str().unwrap();
            for word in ["u32", "usize", "struct ", "enum ", "panic"] {
                prop_assert!(!detail.contains(&format!("expected {word}")), "{shown}: {detail}");
            }
        }
    });
    // The process goes on, and nothing was written but models of the library.
    let ended = async {
        served.post(json!({"action": "cancel"})).await;
        while served.get("/train").await["local"]["state"] == "running" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    runtime.block_on(ended);
    let names =
        |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names(folder.path()).collect::<Vec<_>>(), ["library"]);
    for name in names(&library) {
        assert!(library.join(&name).join(SPEC_FILE).is_file(), "{name:?}");
    }
}
