// SPDX-License-Identifier: Apache-2.0

use super::{
    client::Answer,
    models::{Server, engine, native, options, tokenizer},
};
use pol_api::{Engine, Limits, ModelCard, Time};
use pol_generate::{LanguageModel, Request, Sampling, generate};
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// Returns the text that the model writes for one who asks nobody else.
fn expected(prompt: &str, seed: u64, max_tokens: usize) -> String {
    let text = tokenizer(true);
    let request = Request {
        prompt: text.encode(prompt).unwrap(),
        max_tokens,
        sampling: Sampling { temperature: 1.2, seed, ..Sampling::default() },
        ..Request::default()
    };
    let done = generate(&native(1), &text, &[request], |_, _| ControlFlow::Continue(()));
    done.unwrap().remove(0).text
}

fn completion(prompt: &str, seed: u64) -> Value {
    json!({"model": "tiny", "prompt": prompt, "seed": seed, "temperature": 1.2, "max_tokens": 40})
}

fn joined(answer: &Answer, path: &str) -> String {
    let events = answer.events();
    events.iter().filter_map(|event| event.pointer(path)?.as_str()).collect()
}

#[tokio::test]
async fn a_completion_is_what_the_model_writes_alone() {
    let server = Server::start().await;
    let text = expected("Once", 5, 40);
    let answer = server.client.post("/v1/completions", &completion("Once", 5)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["object"], "text_completion");
    assert_eq!(
        (&json["model"], &json["system_fingerprint"]),
        (&json!("tiny@r1"), &json!("r1/test/1/exact"))
    );
    assert_eq!(json["choices"][0]["text"], text);
    assert_eq!(json["usage"]["prompt_tokens"], 4);
    let generated = json["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(json["usage"]["total_tokens"], 4 + generated);
    assert!(answer.head.contains("x-request-id: ") && answer.head.contains("nosniff"));
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
    // The same as a stream.
    let mut request = completion("Once", 5);
    request["stream"] = true.into();
    request["stream_options"] = json!({"include_usage": true});
    let stream = server.client.post("/v1/completions", &request).await;
    assert_eq!(joined(&stream, "/choices/0/text"), text);
    assert!(stream.body.trim_end().ends_with("data: [DONE]"), "{}", stream.body);
    let events = stream.events();
    assert_eq!(events.last().unwrap()["usage"], json["usage"]);
    let finish = &events[events.len() - 2]["choices"][0]["finish_reason"];
    assert_eq!(finish, &json["choices"][0]["finish_reason"]);
}

#[tokio::test]
async fn biases_and_controls_change_texts() {
    let server = Server::start().await;
    let write = async |request: &Value| {
        let answer = server.client.post("/v1/completions", request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let token = tokenizer(true).encode("z").unwrap()[0].to_string();
    let mut request = completion("Once", 5);
    request["logit_bias"] = json!({ (token.clone()): 100 });
    assert_eq!(write(&request).await, "z".repeat(40));
    request["controls"] = json!({"dry": {"multiplier": 100}});
    assert_ne!(write(&request).await, "z".repeat(40));
    // A token that is drawn forty times loses less than its bias, and two of them take turns.
    request["controls"] = Value::Null;
    request["frequency_penalty"] = 1.into();
    assert_eq!(write(&request).await, "z".repeat(40));
    let other = tokenizer(true).encode("y").unwrap()[0].to_string();
    request["logit_bias"] = json!({ (token): 100, (other): 100 });
    request["temperature"] = 0.into();
    request["frequency_penalty"] = 2.into();
    let text = write(&request).await;
    assert!(text.contains('y') && text.contains('z'), "{text}");
    let mut request = completion("Once", 5);
    request["controls"] = json!({"typical_p": 1, "xtc": {"probability": 0}});
    assert_eq!(write(&request).await, expected("Once", 5, 40));
    request["controls"] = json!({"xtc": {"probability": 1, "threshold": 0}});
    assert_ne!(write(&request).await, expected("Once", 5, 40));
    request["logit_bias"] = json!({"100000": 1});
    let answer = server.client.post("/v1/completions", &request).await;
    assert!(answer.status == 400 && answer.body.contains("in the vocabulary"), "{answer:?}");
    request["stream"] = true.into();
    let answer = server.client.post("/v1/completions", &request).await;
    assert!(answer.status == 400 && answer.body.contains("in the vocabulary"), "{answer:?}");
}

#[tokio::test]
async fn streams_at_once_have_the_texts_of_each_alone() {
    let server = Server::start().await;
    let streams = (0..16).map(|seed| {
        let client = server.client.clone();
        tokio::spawn(async move {
            let mut request = completion(&format!("Text {seed}"), seed);
            request["stream"] = true.into();
            client.post("/v1/completions", &request).await
        })
    });
    for (seed, stream) in (0..).zip(futures::future::join_all(streams).await) {
        let text = joined(&stream.unwrap(), "/choices/0/text");
        assert_eq!(text, expected(&format!("Text {seed}"), seed, 40), "seed {seed}");
    }
}

#[tokio::test]
async fn prompts_and_choices_have_indices() {
    let server = Server::start().await;
    let mut request = completion("", 3);
    request["prompt"] = json!(["A", "B"]);
    request["n"] = 2.into();
    let answer = server.client.post("/v1/completions", &request).await.json();
    let choices = answer["choices"].as_array().unwrap();
    let indices: Vec<_> = choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    assert_ne!(choices[0]["text"], choices[1]["text"]);
    assert_eq!(choices[0]["text"], expected("A", 3, 40));
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
}

#[tokio::test]
async fn probabilities_and_stops_are_those_of_the_text() {
    let server = Server::start().await;
    let mut request = completion("Once", 5);
    request["logprobs"] = 3.into();
    let answer = server.client.post("/v1/completions", &request).await.json();
    let choice = &answer["choices"][0];
    let logprobs = &choice["logprobs"];
    let count = answer["usage"]["completion_tokens"].as_u64().unwrap() as usize;
    for part in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[part].as_array().unwrap().len(), count, "{part}");
    }
    assert!(logprobs["token_logprobs"][0].as_f64().unwrap() <= 0.0);
    // A stop string ends the text before it.
    let text = choice["text"].as_str().unwrap();
    let ascii: Vec<(usize, char)> = text.char_indices().filter(|(_, c)| c.is_ascii()).collect();
    let (_, stop) = ascii[ascii.len() / 2];
    request["stop"] = json!([stop]);
    let stopped = server.client.post("/v1/completions", &request).await.json();
    assert_eq!(stopped["choices"][0]["text"], text[..text.find(stop).unwrap()]);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_conversation_is_answered() {
    let server = Server::start().await;
    let mut request = json!({
        "model": "tiny", "seed": 1, "max_tokens": 12, "logprobs": true, "top_logprobs": 2,
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Hi"}],
    });
    let answer = server.client.post("/v1/chat/completions", &request).await.json();
    assert_eq!(answer["object"], "chat.completion");
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["role"], "assistant");
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
    request["stream"] = true.into();
    let stream = server.client.post("/v1/chat/completions", &request).await;
    assert_eq!(stream.events()[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(stream.events()[0]["object"], "chat.completion.chunk");
    assert_eq!(joined(&stream, "/choices/0/delta/content"), message["content"].as_str().unwrap());
    // ChatML has no place for documents.
    request["documents"] = json!([{"title": "t", "text": "x"}]);
    let refused = server.client.post("/v1/chat/completions", &request).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("documents")));
}

#[tokio::test]
async fn a_model_without_turns_knows_no_chat() {
    let model = native(1);
    let card = ModelCard {
        name: "plain".into(),
        root: "r".into(),
        round: None,
        decoder: "test/1".into(),
        profile: "exact".into(),
        since: Time::new(0),
        parameters: 1,
        context: model.context(),
        chat: false,
        receipts: None,
    };
    let engine = Engine::start(model, tokenizer(false), None, card, options()).unwrap();
    let server = Server::with(engine, Limits::default(), None, None).await;
    let request = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let answer = server.client.post("/v1/chat/completions", &request).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("knows no chat"), "{answer:?}");
}

#[tokio::test]
async fn embeddings_have_two_forms() {
    let server = Server::start().await;
    let mut request = json!({"model": "tiny", "input": ["one text", "another"]});
    let answer = server.client.post("/v1/embeddings", &request).await.json();
    let numbers = |index: usize| -> Vec<f32> {
        serde_json::from_value(answer["data"][index]["embedding"].clone()).unwrap()
    };
    assert_eq!((numbers(0).len(), answer["usage"]["prompt_tokens"].as_u64()), (32, Some(15)));
    let length: f32 = numbers(0).iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-4);
    assert_ne!(numbers(0), numbers(1));
    request["encoding_format"] = "base64".into();
    let encoded = server.client.post("/v1/embeddings", &request).await.json();
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bytes = STANDARD.decode(encoded["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(decoded, numbers(1));
    request["dimensions"] = 7.into();
    assert_eq!(server.client.post("/v1/embeddings", &request).await.status, 400);
}

#[tokio::test]
async fn tokens_stand_for_their_text() {
    let server = Server::start().await;
    let tokens = |text: &str| tokenizer(true).encode(text).unwrap();
    let mut request = completion("", 3);
    request["prompt"] = json!([tokens("Once"), tokens("B")]);
    let answer = server.client.post("/v1/completions", &request).await.json();
    assert_eq!(answer["choices"][0]["text"], expected("Once", 3, 40));
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    request["prompt"] = json!(tokens("Once"));
    let answer = server.client.post("/v1/completions", &request).await.json();
    assert_eq!(answer["choices"][0]["text"], expected("Once", 3, 40));
    let embed = async |input: Value| {
        let answer = server.client.post("/v1/embeddings", &json!({"input": input})).await.json();
        answer["data"][0]["embedding"].clone()
    };
    assert_eq!(embed(json!(tokens("one text"))).await, embed(json!("one text")).await);
    for (path, parameter) in [("/v1/completions", "prompt"), ("/v1/embeddings", "input")] {
        let unknown = server.client.post(path, &json!({(parameter): [[1], [259]]})).await;
        assert_eq!(unknown.status, 400, "{path}");
        assert_eq!(unknown.json()["error"]["param"], parameter, "{path}");
    }
}

#[tokio::test]
async fn the_model_is_listed() {
    let server = Server::start().await;
    let answer = server.client.get("/v1/models").await.json();
    assert_eq!(answer["data"][0]["id"], "tiny");
    assert_eq!(answer["data"][0]["root"], "r1");
    // Clients of OpenAI take a number here.
    assert_eq!(answer["data"][0]["created"], 7);
    let mut request = completion("x", 1);
    request["model"] = "other".into();
    let unknown = server.client.post("/v1/completions", &request).await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (404, &"model_not_found".into())
    );
    // A replaced model answers the next request.
    server.models.replace(engine(native(2), "r2", options()));
    let next = server.client.post("/v1/completions", &completion("x", 1)).await.json();
    assert_eq!(next["system_fingerprint"], "r2/test/1/exact");
}
