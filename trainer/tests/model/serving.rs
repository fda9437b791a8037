// SPDX-License-Identifier: Apache-2.0

use crate::common::{MODELS, model, refusal, run, stdout};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Time in which everything that a test waits for has happened.
const SOON: Duration = Duration::from_secs(60);

/// Process of `pol-trainer serve`, which is killed at the end.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_pol-trainer"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().strip_prefix("http://").unwrap().to_owned();
        Self { process, address }
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn generate(&self, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", "/generate", "", body);
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_server_writes_what_the_command_writes() {
    let served = Served::start(&["--model", &MODELS.path("long"), "--name", "long"]);
    let answer = served.generate(&json!({
        "prompt": "the an", "seed": 7, "temperature": 1.0, "max_tokens": 30, "ignore_end": true,
    }));
    let arguments = ["--seed", "7", "--temperature", "1", "--max-tokens", "30", "--ignore-end"];
    let written = MODELS.completion(&[&arguments[..], &["the an"]].concat());
    for field in ["text", "tokens", "finish", "prompt_tokens", "seed"] {
        assert_eq!(answer[field], written[field], "{field}");
    }
    assert_eq!(answer["insights"].as_array().unwrap().len(), 30);
    let (_, experts) = served.ask("GET", "/experts", "", &Value::Null);
    assert_eq!((&experts["state"], &experts["domains"]), (&json!("no_experts"), &json!([])));
    let root = fs::read_to_string(MODELS.path("long/report.json")).unwrap();
    let fingerprint = answer["system_fingerprint"].as_str().unwrap();
    let named = fingerprint.split('/').next().unwrap();
    assert!(root.contains(named.strip_prefix("0x").unwrap()), "{fingerprint}");
    assert!(fingerprint.ends_with("/pol-generate/native/1/exact"), "{fingerprint}");
}

#[test]
fn a_model_that_is_replaced_is_served() {
    let (first, folder) = (MODELS.path("long"), MODELS.path("replaced"));
    let adapt = |layers: &str| {
        stdout(&model(&["adapt", &first, "--out", &folder, "--force", "--layers", layers]));
    };
    adapt("3");
    let served = Served::start(&["--model", &folder]);
    let request = json!({"prompt": "the an", "seed": 7, "max_tokens": 5});
    let before = served.generate(&request)["system_fingerprint"].clone();
    adapt("4");
    let start = Instant::now();
    while served.generate(&request)["system_fingerprint"] == before {
        assert!(start.elapsed() < SOON, "the new model is not served");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_model_that_was_replaced_is_kept() {
    let (first, folder) = (MODELS.path("long"), MODELS.path("kept"));
    let adapt = |layers: &str| {
        stdout(&model(&["adapt", &first, "--out", &folder, "--force", "--layers", layers]));
    };
    adapt("3");
    let served = Served::start(&["--model", &folder, "--older", "1"]);
    let request = json!({"prompt": "the an", "seed": 7, "max_tokens": 5});
    let before = served.generate(&request);
    adapt("4");
    let start = Instant::now();
    let newest = loop {
        let answer = served.generate(&request);
        if answer["model"] != before["model"] {
            break answer;
        }
        assert!(start.elapsed() < SOON, "the new model is not served");
        std::thread::sleep(Duration::from_millis(200));
    };
    let older = |model: &Value| {
        let mut request = request.clone();
        request["model"] = model.clone();
        served.generate(&request)
    };
    assert_eq!(older(&before["model"]), before);
    assert_eq!(older(&newest["model"]), newest);
    let (_, models) = served.ask("GET", "/pretrained-models", "", &Value::Null);
    assert_eq!(models["older"][0]["id"], before["model"]);
    assert_eq!(models["served"]["round"], Value::Null);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let file = MODELS.path("tokens.json");
    let _ = fs::remove_file(&file);
    let tokens = |arguments: &[&str]| {
        stdout(&run(&[&["tokens"][..], arguments, &["--file", &file]].concat()))
    };
    let token = tokens(&["add", "laptop", "--scope", "read,generate"]);
    assert!(tokens(&["list"]).contains("laptop                   read,generate"));
    let served = Served::start(&["--model", &MODELS.path("long"), "--tokens", &file]);
    let list = |token: &str| served.ask("GET", "/v1/models", token, &Value::Null).0;
    assert_eq!((list(token.trim()), list("pol_1")), (200, 401));
    tokens(&["revoke", "laptop"]);
    assert_eq!(list(token.trim()), 401);
}

#[test]
fn refusals_to_serve_are_explained() {
    let (long, none) = (MODELS.path("long"), MODELS.path("none"));
    let file = MODELS.path("no-tokens.json");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, code, expected) in [
        (&["serve", "--model", &long, "--listen", "0.0.0.0:0"][..], 1, "requests need tokens"),
        (&["serve", "--model", &long, "--listen", &taken], 1, "choose another port"),
        (&["serve", "--model", &long, "--no-model"], 2, "cannot be used with"),
        (&["serve", "--model", &none, "--listen", "127.0.0.1:0"], 1, "is not an imported model"),
        (&["serve", "--model", &long, "--listen", "nowhere"], 2, "invalid"),
        (&["serve", "--model", &long, "--places", "0"], 2, "invalid value '0'"),
        (&["serve", "--no-model", "--older", "1"], 2, "cannot be used with"),
        (&["tokens", "add", "a", "--scope", "write", "--file", &file], 2, "no scope is called"),
        (&["tokens", "revoke", "a", "--file", &file], 1, "no token is called 'a'"),
    ] {
        let message = refusal(arguments, code);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}
