// SPDX-License-Identifier: Apache-2.0

//! Older models beside the newest one.

use super::models::{Server, engine, native, options};
use pol_api::{Access, Limits, Models, Rate, router};
use serde_json::{Value, json};
use std::{num::NonZeroU32, sync::Arc};

async fn serve(models: &Models) -> Server {
    let most = NonZeroU32::MAX;
    let access = Access::new(None, Rate { per_second: most, burst: most });
    let frame = router(models.clone(), None, access).build();
    Server::of(frame, models.clone(), Limits::default()).await
}

/// Returns the names in the list of models.
async fn names(server: &Server) -> Vec<Value> {
    let listed = server.client.get("/v1/models").await.json();
    listed["data"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect()
}

fn completion(model: &str) -> Value {
    json!({"model": model, "prompt": "Once", "seed": 5, "temperature": 1.2, "max_tokens": 20})
}

#[tokio::test]
async fn the_first_and_the_newest_others_are_kept() {
    let models = Models::new(engine(native(1), "0x1111aaaa0000", options())).keeping(2);
    let server = serve(&models).await;
    for (seed, root) in [(2, "0x2222aaaa0000"), (3, "0x3333aaaa0000"), (4, "0x4444aaaa0000")] {
        models.replace(engine(native(seed), root, options()));
    }
    let expected = ["tiny", "tiny@3333aaaa", "tiny@1111aaaa"];
    assert_eq!(names(&server).await, expected);
    let here = server.client.get("/pretrained-models").await.json();
    assert_eq!(here["served"]["id"], "tiny@4444aaaa");
    let older = here["older"].as_array().unwrap();
    assert_eq!(older.iter().map(|one| &one["id"]).collect::<Vec<_>>(), expected[1..]);
    let gone = server.client.post("/v1/completions", &completion("tiny@2222aaaa")).await;
    assert_eq!(gone.status, 404);
    assert!(gone.body.contains("'tiny', 'tiny@3333aaaa', 'tiny@1111aaaa'"), "{}", gone.body);
    // A chain that takes blocks back has an older model again, which is not listed twice.
    models.replace(engine(native(3), "0x3333aaaa0000", options()));
    assert_eq!(names(&server).await, ["tiny", "tiny@4444aaaa", "tiny@1111aaaa"]);
}

#[tokio::test]
async fn models_answer_those_who_name_them() {
    let models = Models::new(engine(native(1), "0x1111aaaa0000", options())).keeping(1);
    let server = serve(&models).await;
    let first = server.client.post("/v1/completions", &completion("tiny")).await.json();
    models.replace(engine(native(2), "0x2222aaaa0000", options()));
    let again = server.client.post("/v1/completions", &completion("tiny@1111aaaa")).await.json();
    assert_eq!(again["choices"], first["choices"]);
    let newest = server.client.post("/v1/completions", &completion("tiny")).await.json();
    assert_ne!(newest["choices"], first["choices"]);
    // Clients may name the newest one in full, to get no other one later.
    for model in ["tiny@1111aaaa", "tiny@2222aaaa"] {
        let fingerprint = format!("0x{}0000/test/1/exact", &model[5..]);
        let message = json!({"role": "user", "content": "x"});
        for (path, request) in [
            ("/generate", json!({"model": model, "prompt": "x", "max_tokens": 2})),
            ("/v1/completions", completion(model)),
            ("/v1/chat/completions", json!({"model": model, "messages": [message]})),
            ("/v1/embeddings", json!({"model": model, "input": "x"})),
        ] {
            let answer = server.client.post(path, &request).await.json();
            assert_eq!(answer["model"], model, "{path}: {answer}");
            assert_eq!(answer["system_fingerprint"], fingerprint, "{path}");
        }
        let shown = server.client.get(&format!("/v1/models/{model}")).await.json();
        assert_eq!((&shown["id"], &shown["round"]), (&model.into(), &Value::Null));
    }
}

#[tokio::test]
async fn a_model_that_is_not_kept_is_freed() {
    let models = Models::new(engine(native(1), "r1", options()));
    let before = Arc::downgrade(&models.current().unwrap());
    models.replace(engine(native(2), "r2", options()));
    assert!(before.upgrade().is_none());
    let models = Models::default().keeping(1);
    let replace = |root| {
        models.replace(engine(native(2), root, options()));
        Arc::downgrade(&models.current().unwrap())
    };
    let [first, second, third] = ["r1", "r2", "r3"].map(replace);
    assert!(first.upgrade().is_some() && third.upgrade().is_some());
    assert!(second.upgrade().is_none());
}
