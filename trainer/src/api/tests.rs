// SPDX-License-Identifier: Apache-2.0

//! The interface of a process over real sockets.

use super::{ApiPartOptions, ApiParts, IndexedChain, RunningApi};
use crate::control::{Action, Control, GradientFigures, LocalState, PlanState, Progress};
use pol_api::{ExpertMeasurements, Models, Scope, TokenFile};
use pol_chain_api::NodeSource;
use pol_import::{ImportReport, ImportedModel, TokenizerReport};
use pol_model::initial_parameters;
use pol_primitives::model::ModelSpec;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Time in which everything that a test waits for has happened.
const SOON: Duration = Duration::from_secs(60);

/// Server of a process, with a client.
pub(super) struct Served {
    control: Control,
    api: RunningApi,
}

impl Served {
    pub(super) async fn start(options: &ApiPartOptions, trains: bool) -> Self {
        let control = Control::new("trainer");
        let address = ([127, 0, 0, 1], 0).into();
        let server = options.bind(address, 1_000, Duration::from_secs(1)).await.unwrap();
        let parts = ApiParts { control: control.clone(), trains, ..ApiParts::default() };
        let api = server.start(parts).unwrap();
        Self { control, api }
    }

    async fn trainer() -> Self {
        Self::start(&ApiPartOptions::default(), true).await
    }

    /// Sends a request and returns the connection.
    async fn send(&self, request: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.api.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[request.as_bytes(), body].concat()).await.unwrap();
        stream
    }

    /// Returns the status and the text of an answer.
    pub(super) async fn text(&self, request: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let mut answer = String::new();
        self.send(request, headers, body).await.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Returns the status and the JSON of an answer.
    async fn json(&self, request: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.text(request, "", body.as_bytes()).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.json(&format!("GET {path}"), Value::Null).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(super) async fn post(&self, body: Value) -> (u16, Value) {
        self.json("POST /train", body).await
    }
}

/// Returns the JSON of the next event of a stream, or `None` at its end.
async fn next_event(lines: &mut tokio::io::Lines<BufReader<TcpStream>>) -> Option<Value> {
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
        None
    };
    tokio::time::timeout(SOON, read).await.unwrap()
}

#[tokio::test]
async fn a_trainer_is_paused_resumed_and_stopped() {
    let served = Served::trainer().await;
    let fields = |answer: &Value| (answer["state"].clone(), answer["rounds_left"].clone());
    for (request, state, left) in [
        (json!({"action": "pause"}), "paused", Value::Null),
        (json!({"action": "pause"}), "paused", Value::Null),
        (json!({"action": "resume"}), "running", Value::Null),
        (json!({"action": "join", "rounds": 2}), "running", json!(2)),
        (json!({"action": "stop"}), "stopping", json!(2)),
        (json!({"action": "resume"}), "running", json!(2)),
    ] {
        let (status, answer) = served.post(request.clone()).await;
        assert_eq!((status, fields(&answer)), (200, (json!(state), left)), "{request}");
        assert_eq!(fields(&served.get("/v1/train").await).0, state);
    }
    assert!(served.control.may_lease());
    served.control.note_lease(Progress { round: 7, ..Progress::default() }, 5);
    let answer = served.get("/train").await;
    assert_eq!((&answer["rounds_left"], &answer["progress"]["round"]), (&json!(1), &json!(7)));
}

#[tokio::test]
async fn requests_that_cannot_be_met_are_problems() {
    let other = Served::start(&ApiPartOptions::default(), false).await;
    let (status, problem) = other.post(json!({"action": "pause"})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:pol:problem:conflict")));
    assert_eq!(other.get("/train").await["trains"], false);
    for (body, expected) in [
        (json!({"action": "run"}), 400),
        (json!({"action": "pause", "rounds": 3}), 400),
        (json!({"text": "t", "model": "m", "out": "o"}), 409),
        (json!([1]), 400),
    ] {
        assert_eq!(other.post(body.clone()).await.0, expected, "{body}");
    }
    let deep = "[".repeat(100_000);
    let long = format!(r#"{{"action": "pause", "rounds": {}}}"#, "9".repeat(400));
    for body in [&b"\xff\xfe"[..], b"", b"{\"action\": \"pa", deep.as_bytes(), long.as_bytes()] {
        assert_eq!(other.text("POST /train", "", body).await.0, 400);
    }
    assert_eq!(other.json("POST /generate", json!({})).await.0, 404);
    assert_eq!(other.json("DELETE /train", Value::Null).await.0, 405);
}

#[tokio::test]
async fn tokens_need_the_scope_of_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    let token = |scope: Scope| TokenFile::new(&file).add(scope.name(), &[scope]).unwrap();
    let (read, train) = (token(Scope::Read), token(Scope::Train));
    let options = ApiPartOptions { tokens: Some(file.clone()), ..ApiPartOptions::default() };
    let served = Served::start(&options, true).await;
    let pause = json!({"action": "pause"}).to_string().into_bytes();
    for (request, token, expected) in [
        ("POST /train", &read, 403),
        ("POST /train", &train, 200),
        ("GET /train", &train, 403),
        ("GET /machine", &read, 200),
        ("GET /metrics", &read, 200),
        ("GET /metrics", &"pol_1".to_owned(), 401),
        ("GET /dashboard/network", &"pol_1".to_owned(), 200),
    ] {
        let header = format!("Authorization: Bearer {token}\r\n");
        let (status, answer) = served.text(request, &header, &pause).await;
        assert_eq!(status, expected, "{request}: {answer}");
    }
}

#[tokio::test]
async fn events_follow_the_state_and_end_with_the_server() {
    let served = Served::trainer().await;
    let stream = served.send("GET /train/events", "", b"").await;
    let mut lines = BufReader::new(stream).lines();
    let first = next_event(&mut lines).await.unwrap();
    assert_eq!((&first["event"], &first["state"]), (&json!("state"), &json!("running")));
    served.control.ask(Action::Pause, None);
    let plan = next_event(&mut lines).await.unwrap();
    assert_eq!((&plan["event"], &plan["state"]), (&json!("plan"), &json!("paused")));
    let gradient = GradientFigures { mean: 0.75, largest: 1.5, limit: 1.0, clipped_steps: 2 };
    let (loss, gradient) = (Some(2.5), Some(gradient));
    let progress = Progress { round: 3, segment: 1, loss, gradient, ..Progress::default() };
    served.control.note_segment(progress);
    served.control.note_update(3, 0.25);
    let segment = next_event(&mut lines).await.unwrap();
    assert_eq!((&segment["event"], &segment["loss"]), (&json!("segment"), &json!(2.5)));
    assert_eq!(segment["gradient"]["mean"], 0.75);
    let history = served.get("/train/history").await;
    let (of_segment, of_update) = (&history["segments"][0], &history["updates"][0]);
    assert_eq!((&of_segment["largest"], &of_segment["clipped_steps"]), (&json!(1.5), &json!(2)));
    assert_eq!((&of_update["round"], &of_update["movement"]), (&json!(3), &json!(0.25)));
    let defined = history["definitions"].as_array().unwrap();
    assert!(defined.iter().all(
        |one| one["name"] == "movement" || !of_segment[one["name"].as_str().unwrap()].is_null()
    ));
    let (control, api) = (served.control, served.api);
    tokio::time::timeout(SOON, api.end()).await.unwrap();
    assert_eq!(next_event(&mut lines).await, None);
    assert_eq!(control.state().plan().0, PlanState::Paused, "the process goes on");
}

#[tokio::test]
async fn readers_of_events_who_leave_harm_nobody() {
    let served = Served::trainer().await;
    for number in 0..100 {
        let stream = served.send("GET /train/events", "", b"").await;
        if number % 2 == 0 {
            next_event(&mut BufReader::new(stream).lines()).await.unwrap();
        }
    }
    served.control.ask(Action::Pause, None);
    assert_eq!(served.get("/train").await["state"], "paused");
    let mut lines = BufReader::new(served.send("GET /train/events", "", b"").await).lines();
    assert_eq!(next_event(&mut lines).await.unwrap()["state"], "paused");
}

#[tokio::test]
async fn the_process_is_described() {
    let served = Served::trainer().await;
    let machine = served.get("/machine").await;
    assert_eq!((&machine["role"], &machine["account"]), (&json!("trainer"), &Value::Null));
    assert!(machine["memory"]["size_bytes"].as_u64() > Some(0), "{machine}");
    assert_eq!(machine["activity"]["kind"], "starting");
    let endpoints = served.get("/endpoints").await;
    let expected = json!({
        "generation": false, "model": false, "chain": false, "documents": false, "train": true,
        "local_training": false,
    });
    assert_eq!(endpoints, expected);
    assert_eq!(served.get("/pretrained-models").await["served"], Value::Null);
    let openapi = served.get("/openapi.json").await;
    for path in ["/train", "/train/events", "/machine", "/metrics", "/v1/endpoints"] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
    for path in ["/train", "/v1/train"] {
        let path = &openapi["paths"][path];
        assert!(path["get"].is_object() && path["post"].is_object(), "{path}");
    }
    assert_eq!(served.text("GET /", "", b"").await.0, 307);
}

#[tokio::test]
async fn every_endpoint_has_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index.db");
    let nowhere = NodeSource::Addresses(Vec::new());
    let chain = IndexedChain::open(nowhere, index.to_str().unwrap(), true).await.unwrap();
    let options = ApiPartOptions::default();
    let address = ([127, 0, 0, 1], 0).into();
    let server = options.bind(address, 1_000, Duration::from_secs(1)).await.unwrap();
    let parts = ApiParts {
        models: Some(Models::default()),
        experts: Some(ExpertMeasurements::default()),
        chain: Some(chain),
        data: Some(folder.path().to_owned()),
        trains: true,
        ..ApiParts::default()
    };
    let served = Served { control: Control::new("trainer"), api: server.start(parts).unwrap() };
    let openapi = served.get("/openapi.json").await;
    let paths = openapi["paths"].as_object().unwrap();
    assert!(paths.len() > 40, "{}", paths.len());
    for (path, item) in paths {
        // Plain paths are below /v1 too.
        let is_copy = path.strip_prefix("/v1").is_some_and(|plain| paths.contains_key(plain));
        let examples = examples(path);
        assert!(is_copy || !examples.is_empty(), "docs/api.md has no example of {path}");
        let known = item["get"]["parameters"].as_array().cloned().unwrap_or_default();
        for name in examples.into_iter().flat_map(names) {
            assert!(known.iter().any(|known| known["name"] == name), "{path} knows no {name}");
        }
    }
}

/// Returns the queries of the requests to a path that the page of the interface shows. Those
/// without one are empty.
fn examples(path: &str) -> Vec<&'static str> {
    const PAGE: &str = include_str!("../../../docs/api.md");
    let (start, is_whole) = path.split_once('{').map_or((path, true), |(start, _)| (start, false));
    let request = format!("localhost:8000{start}");
    let rest = |(at, _): (usize, &str)| {
        let rest = PAGE[at + request.len()..].split(['\'', ' ', '\n']).next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        (path.is_empty() == is_whole).then_some(query)
    };
    PAGE.match_indices(&request).filter_map(rest).collect()
}

/// Returns the names of the parameters of a query.
fn names(query: &'static str) -> impl Iterator<Item = &'static str> {
    query.split('&').filter_map(|part| part.split('=').next()).filter(|name| !name.is_empty())
}

#[tokio::test]
async fn metrics_are_json_or_the_text_of_prometheus() {
    let served = Served::trainer().await;
    pol_metrics::describe_process("trainer");
    let metrics = served.get("/metrics").await;
    let names = metrics["metrics"].as_array().unwrap().iter().map(|metric| &metric["name"]);
    assert!(names.clone().any(|name| name == "pol_build_info"), "{metrics}");
    let accept = "Accept: text/plain;version=0.0.4;q=0.3,*/*;q=0.1\r\n";
    let (status, text) = served.text("GET /metrics", accept, b"").await;
    assert!(status == 200 && text.contains("# TYPE pol_build_info gauge\n"), "{text}");
    assert!(text.contains("pol_build_info{role="), "{text}");
}

/// Returns a tokenizer with a token for each letter, and the space.
fn tokenizer() -> Vec<u8> {
    let letters = ('a'..='z').chain(['Ġ']);
    let vocabulary: serde_json::Map<String, Value> =
        letters.zip(0..).map(|(letter, id)| (letter.to_string(), json!(id))).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let json = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
    });
    json.to_string().into_bytes()
}

/// Writes a tiny random model to the library.
pub(super) fn write_model(library: &Path, name: &str) {
    let spec = ModelSpec::gpt2(27, 16, 1, 2, 32, 32);
    let json = tokenizer();
    let tokenizer =
        TokenizerReport { from: "here".into(), entries: 27, hash: blake3::hash(&json).into() };
    let report = ImportReport { tokenizer: Some(tokenizer), ..ImportReport::default() };
    let parameters = initial_parameters(&spec, &[3; 32]);
    let model = ImportedModel { spec, parameters, root: [0; 32], tokenizer: Some(json), report };
    model.save(&library.join(name), false).unwrap();
}

/// Waits for the end of the local epoch with this number, and returns it.
async fn local_end(served: &Served, id: u64) -> Value {
    let end = async {
        loop {
            let local = served.get("/train").await["local"].clone();
            if local["id"] == id && local["state"] != "running" {
                return local;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, end).await.unwrap()
}

#[tokio::test]
async fn a_model_learns_from_a_text_and_becomes_another_one() {
    let library = tempfile::tempdir().unwrap();
    write_model(library.path(), "tiny");
    let options =
        ApiPartOptions { library: Some(library.path().to_owned()), ..ApiPartOptions::default() };
    let served = Served::start(&options, false).await;
    let text = "the quick brown fox jumps over the lazy dog ".repeat(30);
    let request = |out: &str| json!({"text": text, "model": "tiny", "out": out});
    let (status, answer) = served.post(request("learned")).await;
    assert_eq!((status, &answer["local"]["state"]), (202, &json!("running")), "{answer}");
    let local = local_end(&served, 1).await;
    assert_eq!((&local["state"], &local["share"]), (&json!("done"), &json!(1.0)), "{local}");
    assert!(local["loss"].as_f64().is_some_and(|loss| loss < 3.4), "{local}");
    let learned = pol_import::load(&library.path().join("learned")).unwrap();
    let root = format!("0x{}", hex::encode(learned.root));
    assert_eq!(local["root"], json!(root));
    assert!(learned.report.notes[0].contains("in 11 steps"), "{:?}", learned.report.notes);
    let (status, problem) = served.post(request("learned")).await;
    assert_eq!((status, &problem["error"]["param"]), (400, &json!("out")));
    let (status, _) = served.post(json!({"text": "t", "model": "none", "out": "o"})).await;
    assert_eq!(status, 404);
    assert_eq!(served.post(request("again")).await.0, 202);
    assert_eq!(local_end(&served, 2).await["state"], "done");
}

#[tokio::test]
async fn an_epoch_that_is_cancelled_writes_nothing() {
    let library = tempfile::tempdir().unwrap();
    write_model(library.path(), "tiny");
    let options =
        ApiPartOptions { library: Some(library.path().to_owned()), ..ApiPartOptions::default() };
    let served = Served::start(&options, false).await;
    let text = "all work and no play makes a dull boy ".repeat(20_000);
    let (status, _) = served.post(json!({"text": text, "model": "tiny", "out": "new"})).await;
    assert_eq!(status, 202);
    let other = json!({"text": "ab", "model": "tiny", "out": "other"});
    assert_eq!(served.post(other).await.0, 409, "one at a time");
    assert_eq!(served.post(json!({"action": "cancel"})).await.0, 200);
    let local = local_end(&served, 1).await;
    assert_eq!(local["state"], serde_json::to_value(LocalState::Cancelled).unwrap());
    assert!(!library.path().join("new").exists());
}
