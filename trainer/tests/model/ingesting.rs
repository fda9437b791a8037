// SPDX-License-Identifier: Apache-2.0

use crate::common::{MODELS, json, refusal, run};
use serde_json::json;
use std::{fs, io, process::Command};

#[test]
fn data_is_tokenized_by_a_models_tokenizer() {
    let (texts, tokenizer) = (MODELS.path("corpus.txt"), MODELS.path("short/tokenizer.json"));
    fs::write(&texts, "the zebras run in a zoo. ".repeat(99)).unwrap();
    let sizes = ["--sequence", "16", "--shard-tokens", "64", "--held-out", "0", "--json"];
    let ingest = |name: &str, more: &[&str]| {
        let out = MODELS.path(name);
        json(&run(&[
            &["data", "ingest", "--input", &texts, "--out", &out, "--tokenizer", &tokenizer][..],
            &sizes[..],
            more,
        ]
        .concat()))
    };
    let usual = ingest("usual", &[]);
    assert_eq!(
        (&usual["end_of_text"], &usual["vocabulary"]),
        (&json!("<|endoftext|>"), &json!(61))
    );
    let named = ingest("named", &["--end-of-text", "[PAD40]"]);
    assert_eq!(named["end_of_text"], "[PAD40]");
    assert_ne!(named["train"], usual["train"]);
    let recipe = json(&run(&[
        "recipe",
        "new",
        "--data",
        &MODELS.path("usual"),
        "--model",
        &MODELS.path("long"),
        "--preset",
        "tiny",
    ]));
    assert_eq!(recipe["model"]["context"], 512);
    let out = MODELS.path("refused");
    let given = [
        "data",
        "ingest",
        "--input",
        &texts,
        "--out",
        &out,
        "--tokenizer",
        &tokenizer,
        "--end-of-text",
        "the",
    ];
    assert!(refusal(&given, 1).contains("the occurs in texts, so it cannot separate them"));
}

#[test]
fn a_reader_may_close_the_output() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pol-trainer"));
    command.args(["model", "show", &MODELS.path("short")]).stdout(writer);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(1), ""));
}

#[test]
fn errors_of_commands_that_print_json_are_json() {
    let error = |arguments: &[&str], code| -> String {
        let message = refusal(&[arguments, &["--json"]].concat(), code);
        let value: serde_json::Value = serde_json::from_str(&message).unwrap();
        value["error"].as_str().unwrap().to_owned()
    };
    let out = MODELS.path("failed");
    let nowhere = ["data", "ingest", "--input", "nowhere", "--out", &out];
    assert!(error(&nowhere, 1).contains("cannot read nowhere"));
    assert!(error(&["data", "acquire", "--config", "nowhere"], 1).contains("cannot read nowhere"));
    assert!(error(&["data", "ingest", "--out", &out], 2).contains("--input <PATH>"));
    assert!(refusal(&nowhere, 1).starts_with("pol-trainer: cannot read nowhere"));
}
