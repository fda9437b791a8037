// SPDX-License-Identifier: Apache-2.0

use crate::common::{MODELS, json, refusal, run, stdout};
use serde_json::{Value, json};
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
    assert!(
        error(&["data", "acquire", "--config", "nowhere"], 1).contains("nowhere: cannot read it")
    );
    assert!(error(&["data", "ingest", "--out", &out], 2).contains("--input <PATH>"));
    assert!(refusal(&nowhere, 1).starts_with("pol-trainer: cannot read nowhere"));
}

/// Returns the reasons of a folder's report for which inputs are no text.
fn refusals(folder: &str) -> Vec<String> {
    let report = fs::read(format!("{folder}/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let refusals = report["refusals"].as_array().unwrap().iter();
    refusals
        .map(|refusal| format!("{} {}", refusal["origin"]["location"], refusal["reason"]))
        .collect()
}

#[cfg(unix)]
#[test]
fn what_a_folder_has_beside_texts_is_told_in_the_report() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("texts")).unwrap();
    fs::write(path("texts/a.txt"), "the zebras run in a zoo. ".repeat(99)).unwrap();
    symlink("loop-2", path("texts/loop-1")).unwrap();
    symlink("loop-1", path("texts/loop-2")).unwrap();
    let make = |name: &str| {
        let made = Command::new("mkfifo").arg(path(name)).status().unwrap();
        assert!(made.success());
    };
    make("texts/pipe");
    make("pipe");
    let vocabulary = pol_data::MIN_VOCABULARY.to_string();
    let usual = ["--vocabulary", &vocabulary, "--sequence", "16", "--shard-tokens", "64"];
    let ingest = |input: &str, out: &str| {
        let arguments = ["data", "ingest", "--input", input, "--out", out, "--held-out", "0"];
        run(&[&arguments[..], &usual, &["--json"]].concat())
    };
    let made = json(&ingest(&path("texts"), &path("data")));
    assert_eq!((&made["documents"], &made["refused"]), (&json!(1), &json!(3)));
    let told = refusals(&path("data"));
    assert!(told.iter().any(|reason| reason.contains("texts/pipe\" \"neither a file")), "{told:?}");
    let loops = told.iter().filter(|reason| reason.contains("\"cannot be read: "));
    assert_eq!(loops.count(), 2, "{told:?}");
    // A pipe that is named is read.
    let (pipe, text) = (path("pipe"), fs::read(path("texts/a.txt")).unwrap());
    let writer = std::thread::spawn(move || fs::write(pipe, text).unwrap());
    let from_pipe = json(&ingest(&path("pipe"), &path("from-pipe")));
    writer.join().unwrap();
    assert_eq!(from_pipe["train"], made["train"]);
    let device = ingest("/dev/zero", &path("device"));
    let said = String::from_utf8_lossy(&device.stderr).into_owned();
    assert_eq!(device.status.code(), Some(1));
    assert!(said.contains("/dev/zero is a device or socket"), "{said}");
}

#[test]
fn folders_and_other_files_in_the_place_of_a_proof_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let here = folder.path().to_str().unwrap();
    let error = refusal(&["data", "verify", here], 1);
    assert!(error.contains("is a folder; name the file that `pol-trainer data prove"), "{error}");
    fs::write(path("a.txt"), "A text.").unwrap();
    let error = refusal(&["data", "verify", &path("a.txt")], 1);
    assert!(error.contains("a.txt is no proof that `data prove` wrote"), "{error}");
    let error = refusal(&["data", "prove", &path("a.txt"), "--data", here], 1);
    assert!(error.contains("is not an ingested folder"), "{error}");
    let error = refusal(&["data", "trace", "--data", here, "--passage", "x"], 1);
    assert!(error.contains("is not an ingested folder"), "{error}");
    let error = refusal(&["data", "report", here], 2);
    assert!(error.contains("`data summary` is about folders"), "{error}");
    // A member says so before it looks for a node.
    let error = refusal(&["--dev-account", "trainer-1", "--data", here], 1);
    assert!(error.contains("is not an ingested folder"), "{error}");
}

#[test]
fn documents_that_are_opted_out_later_are_found_in_the_shards() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let text = |seed: u32| -> String {
        (0..60).map(|at| format!("Zebra {} saw river {seed} at {at}. ", at * 31 + seed)).collect()
    };
    let row = |address: &str, text: &str| json!({ "url": address, "text": text }).to_string();
    let rows = [
        row("https://example.org/a", &text(1)),
        row("https://kept.test/b", &text(2)),
        row("https://gone.test/b", &text(2)),
        row("https://kept.test/c", &text(3)),
        row("https://kept.test/d", &text(4)),
    ];
    fs::write(path("posts.jsonl"), rows.join("\n")).unwrap();
    let vocabulary = pol_data::MIN_VOCABULARY.to_string();
    let sizes = ["--vocabulary", &vocabulary, "--sequence", "16", "--shard-tokens", "64"];
    let (posts, data) = (path("posts.jsonl"), path("data"));
    let ingest = ["data", "ingest", "--input", &posts, "--out", &data, "--held-out", "0"];
    let made = json(&run(&[&ingest[..], &sizes, &["--json"]].concat()));
    assert_eq!((&made["documents"], &made["dropped"]), (&json!(4), &json!(1)));

    let find = |list: &str| {
        fs::write(path("list.txt"), list).unwrap();
        let found =
            stdout(&run(&["data", "opt-outs", "--list", &path("list.txt"), &data, "--json"]));
        let mut found = found.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        (found.next(), found.next())
    };
    assert_eq!(find("host example.com\n"), (None, None));
    let hash = blake3::hash(text(3).as_bytes()).to_hex();
    let (found, other) = find(&format!("host example.org\nhash {hash}\nhost gone.test"));
    let found = found.unwrap();
    assert_eq!((other, &found["heldOut"]), (None, &json!(false)));
    assert_eq!(found["contentHash"], made["train"]["content_hash"]);
    assert_eq!((&found["manifest"], &found["status"]), (&Value::Null, &Value::Null));
    let documents = found["documents"].as_array().unwrap();
    let told: Vec<_> = documents
        .iter()
        .map(|it| {
            (it["place"].as_str().unwrap(), it["rule"].as_str().unwrap(), it["like"].as_str())
        })
        .collect();
    let (first, second, third) = (
        "posts.jsonl › line 1 › https://example.org/a",
        "posts.jsonl › line 2 › https://kept.test/b",
        "posts.jsonl › line 4 › https://kept.test/c",
    );
    let like = "posts.jsonl › line 3 › https://gone.test/b";
    assert_eq!(
        told,
        [
            (first, "opt_out.host", None),
            (second, "opt_out.host", Some(like)),
            (third, "opt_out.hash", None),
        ]
    );
    // Each is in shards of its own, apart from those at its ends, and the last document is in more.
    let shards: Vec<_> = documents.iter().map(|it| it["shards"].as_array().unwrap()).collect();
    assert!(shards.iter().all(|shards| shards.len() > 3), "{found:#}");
    assert_eq!(found["shards"].as_array().unwrap().last(), shards[2].last());
    assert!(
        found["shards"].as_array().unwrap().len()
            < made["train"]["shards"].as_u64().unwrap() as usize
    );
    let told = stdout(&run(&["data", "opt-outs", "--list", &path("list.txt"), &data]));
    assert!(told.contains("opted out: 3 documents, in "), "{told}");
    let error = refusal(&["data", "opt-outs", "--list", &path("list.txt"), &path("no")], 1);
    assert!(error.contains("cannot read "), "{error}");
}
