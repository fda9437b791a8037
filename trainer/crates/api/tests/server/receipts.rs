// SPDX-License-Identifier: Apache-2.0

use super::models::{Server, engine, native, options, tokenizer};
use pol_api::{Limits, Notary};
use pol_generate::{Request, generate};
use pol_primitives::Hash;
use pol_receipt::{Generator, Match, ReceiptError, ReceiptFile, Signature};
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey};
use serde_json::{Value, json};
use std::{ops::ControlFlow, sync::Arc};

/// Account of the tests.
struct Account(Keypair);

impl Notary for Account {
    fn account(&self) -> Hash {
        self.0.public.to_bytes()
    }

    fn sign(&self, digest: &Hash) -> Signature {
        self.0.sign_simple(b"substrate", digest).to_bytes()
    }
}

fn generator() -> Generator {
    Generator {
        chain: None,
        model: [1; 32],
        specification: [2; 32],
        tokenizer: [3; 32],
        decoder: "test/1".into(),
        profile: "exact".into(),
    }
}

async fn server() -> Server {
    let key = MiniSecretKey::from_bytes(&[8; 32]).unwrap();
    let account = Account(key.expand_to_keypair(ExpansionMode::Ed25519));
    let served = engine(native(1), "r1", options()).with_receipts(generator(), Arc::new(account));
    Server::with(served, Limits::default(), None, None).await
}

/// Returns what a stranger finds who makes the text of a receipt again.
fn verify(receipt: &Value) -> Result<Match, ReceiptError> {
    let file = ReceiptFile::parse(receipt.to_string().as_bytes())?;
    file.check_signature()?;
    let text = tokenizer(true);
    let request = Request::from_terms(&file.receipt.terms, file.prompt(None)?);
    let done = generate(&native(1), &text, std::slice::from_ref(&request), |_, _| {
        ControlFlow::Continue(())
    });
    let again = request.receipt(generator(), &text, &done.unwrap()[0]);
    file.receipt.compare(&again)
}

#[tokio::test]
async fn every_text_can_have_a_receipt() {
    let server = server().await;
    let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20, "n": 2,
        "seed": -5, "pol_receipt": true, "logprobs": true,
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    let texts = json!({"prompt": ["a", "b"], "max_tokens": 20, "stop": ["e"], "pol_receipt": true});
    let own = json!({"prompt": "x", "chat": true, "tools": true, "max_tokens": 30, "top_k": 40,
        "sensitivity": 0.5, "receipt": true});
    // All of them at once, in one batch.
    let (chat, texts, own) = tokio::join!(
        server.client.post("/v1/chat/completions", &chat),
        server.client.post("/v1/completions", &texts),
        server.client.post("/generate", &own),
    );
    let (chat, texts, own) = (chat.json(), texts.json(), own.json());
    for index in 0..2 {
        assert_eq!(verify(&chat["choices"][index]["pol_receipt"]), Ok(Match::Equal));
        let (text, receipt) =
            (&texts["choices"][index]["text"], &texts["choices"][index]["pol_receipt"]);
        assert_eq!(&receipt["disclosed"]["output"], text);
        assert_eq!(verify(receipt), Ok(Match::Equal));
    }
    assert_eq!(verify(&own["receipt"]), Ok(Match::Equal));
    assert_eq!(own["receipt"]["disclosed"]["output"], own["text"]);
    let models = server.client.get("/v1/models").await.json();
    assert_eq!(models["data"][0]["receipts"], own["receipt"]["account"]);
}

#[tokio::test]
async fn streams_end_with_a_receipt() {
    let server = server().await;
    let own = json!({"prompt": "x", "max_tokens": 9, "receipt": true, "stream": true});
    let stream = server.client.post("/generate", &own).await;
    assert_eq!(verify(&stream.events().last().unwrap()["receipt"]), Ok(Match::Equal));
    let texts = json!({"prompt": "x", "max_tokens": 9, "pol_receipt": true, "stream": true});
    let stream = server.client.post("/v1/completions", &texts).await;
    let events = stream.events();
    let receipts: Vec<&Value> =
        events.iter().filter_map(|event| event.pointer("/choices/0/pol_receipt")).collect();
    assert_eq!(receipts.len(), 1);
    assert_eq!(verify(receipts[0]), Ok(Match::Equal));
}

#[tokio::test]
async fn a_receipt_that_was_changed_is_found_out() {
    let server = server().await;
    let own = json!({"prompt": "x", "max_tokens": 9, "seed": 3, "receipt": true});
    let receipt = server.client.post("/generate", &own).await.json()["receipt"].clone();
    let changed = |change: fn(&mut Value)| {
        let mut receipt = receipt.clone();
        change(&mut receipt);
        verify(&receipt)
    };
    assert_eq!(verify(&receipt), Ok(Match::Equal));
    let output = |receipt: &mut Value| receipt["disclosed"]["output"] = "another text".into();
    assert_eq!(changed(output), Err(ReceiptError::OtherOutput));
    let prompt = |receipt: &mut Value| receipt["disclosed"]["prompt"] = json!([5]);
    assert_eq!(changed(prompt), Err(ReceiptError::OtherPrompt));
    let seed = |receipt: &mut Value| receipt["receipt"]["terms"]["seed"] = 4.into();
    assert_eq!(changed(seed), Err(ReceiptError::Signature));
}

#[tokio::test]
async fn texts_that_can_have_none_are_refused_by_name() {
    let signing = server().await;
    let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "pol_receipt": true,
        "response_format": {"type": "json_object"}});
    let schema = json!({"prompt": "x", "receipt": true, "schema": {}});
    let reason = json!({"prompt": "x", "receipt": true, "reason": "chain"});
    let controls = json!({"prompt": "x", "receipt": true, "controls": {"typical_p": 0.5}});
    let penalty = json!({"prompt": "x", "receipt": true, "presence_penalty": 0.5});
    let digits = r#"{"prompt": "x", "receipt": true, "sensitivity": 0.1234567890123456789}"#;
    let digits: Value = serde_json::from_str(digits).unwrap();
    let silent = Server::start().await;
    let plain = json!({"prompt": "x", "receipt": true});
    let text = json!({"prompt": "x", "pol_receipt": true});
    for (server, path, request, name) in [
        (&signing, "/v1/chat/completions", chat, "pol_receipt"),
        (&signing, "/generate", schema, "receipt"),
        (&signing, "/generate", reason, "receipt"),
        (&signing, "/generate", controls, "receipt"),
        (&signing, "/generate", penalty, "receipt"),
        (&silent, "/generate", plain, "receipt"),
        (&silent, "/v1/completions", text, "pol_receipt"),
    ] {
        let answer = server.client.post(path, &request).await;
        assert_eq!(answer.status, 400, "{request}");
        assert_eq!(answer.json()["error"]["param"], name, "{request}");
    }
    // A number that JSON may not keep gives a receipt that verifies, or none.
    let answer = signing.client.post("/generate", &digits).await;
    assert!(answer.status == 400 || verify(&answer.json()["receipt"]) == Ok(Match::Equal));
}
