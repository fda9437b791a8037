// SPDX-License-Identifier: Apache-2.0

//! Hubs that refuse, lie or break, and data sets that are not as they should be.

use crate::{
    hub::{source, spec},
    sink::Memory,
};
use indicatif::ProgressBar;
use pol_mock_services::{HubData, Response, Server, gzip, parquet};
use pol_sources::hub::{DatasetSpec, Hub, HubSource, Transfer};
use serde_json::{Value, json};

/// Returns a hub with one file of two rows.
fn one_file() -> HubData {
    let card = json!({"configs": [{"config_name": "default", "data_files": "x.parquet"}]});
    HubData { card, ..HubData::default() }
        .file("x.parquet", parquet(&[Some("one"), Some("two")], 1))
}

/// Returns the message of the error that reading ends with.
fn refusal(data: HubData, spec: DatasetSpec, transfer: Transfer) -> String {
    let (server, cache) = (data.start(), tempfile::tempdir().unwrap());
    let mut store = Memory::default();
    let error = store.fill(&mut source(&server, cache.path(), spec, transfer)).unwrap_err();
    error.to_string()
}

#[track_caller]
fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[test]
fn a_gated_set_needs_a_token() {
    let data = HubData { gated: json!("manual"), ..one_file() };
    let message = refusal(data, spec(), Transfer::Whole);
    says(&message, &["org/set is gated", "/datasets/org/set", "HF_TOKEN"]);
    let data = HubData { token: Some("secret"), ..one_file() };
    says(&refusal(data, spec(), Transfer::Whole), &["refuses it", "HF_TOKEN"]);
}

#[test]
fn redirects_to_private_addresses_are_not_followed() {
    let server =
        Server::start(|_| Response::new(302, "").with("Location", "http://169.254.169.254/"));
    let cache = tempfile::tempdir().unwrap();
    let mut source = source(&server, cache.path(), spec(), Transfer::Whole);
    let error = Memory::default().fill(&mut source).unwrap_err();
    says(&error.to_string(), &["169.254.169.254", "not on the public internet"]);
    assert_eq!(server.paths().len(), 1);
}

#[test]
fn a_set_that_does_not_exist_is_named() {
    let message = refusal(one_file(), DatasetSpec::new("org/other"), Transfer::Whole);
    says(&message, &["hub/org/other", "no such data set"]);
}

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    for transfer in [Transfer::Whole, Transfer::Columns] {
        let spec = DatasetSpec { columns: vec!["body".into()], ..spec() };
        says(
            &refusal(one_file(), spec, transfer),
            &["x.parquet", "no text in `body`", "text, title"],
        );
    }
    let lines = HubData::default().file("x.jsonl", b"{\"title\": \"x\"}\n".to_vec());
    let spec = DatasetSpec { files: vec!["x.jsonl".into()], ..spec() };
    says(&refusal(lines, spec, Transfer::Whole), &["no text in `text`", "title"]);
}

#[test]
fn a_column_of_numbers_is_no_text() {
    let spec = DatasetSpec { columns: vec!["id".into()], ..spec() };
    says(&refusal(one_file(), spec, Transfer::Whole), &["no text in `id`", "text, title"]);
}

#[test]
fn a_missing_part_is_named_with_those_there_are() {
    let other = DatasetSpec { config: Some("de".into()), ..spec() };
    says(&refusal(one_file(), other, Transfer::Whole), &["no configuration de", "default"]);
    let other = DatasetSpec { split: "test".into(), ..spec() };
    says(&refusal(one_file(), other, Transfer::Whole), &["no split test", "train"]);
    let other = DatasetSpec { files: vec!["*.md".into()], ..spec() };
    says(&refusal(one_file(), other, Transfer::Whole), &["0 files match *.md"]);
}

#[test]
fn a_wrong_hash_is_refused_before_a_row_is_read() {
    let lie = |entry: &mut Value| entry["lfs"]["oid"] = json!("ab".repeat(32));
    let message = refusal(HubData { lie, ..one_file() }, spec(), Transfer::Whole);
    says(&message, &["x.parquet", "another SHA-256"]);
}

#[test]
fn files_that_git_keeps_are_compared_with_their_blobs() {
    let data = |lie| {
        HubData { lie, ..HubData::default() }.file("x.jsonl", b"{\"text\": \"one\"}\n".to_vec())
    };
    let spec = || DatasetSpec { files: vec!["x.jsonl".into()], ..spec() };
    let wrong = |entry: &mut Value| entry["oid"] = json!("ab".repeat(20));
    says(&refusal(data(wrong), spec(), Transfer::Whole), &["x.jsonl", "another SHA-1"]);
    // As `git hash-object` prints it.
    let right =
        |entry: &mut Value| entry["oid"] = json!("3aa6b319c8c075fce52f373a3cad209a125379ae");
    let (server, cache) = (data(right).start(), tempfile::tempdir().unwrap());
    let mut store = Memory::default();
    store.fill(&mut source(&server, cache.path(), spec(), Transfer::Whole)).unwrap();
    assert_eq!(store.texts(), ["one"]);
}

#[test]
fn wrong_sizes_are_refused() {
    let smaller = |entry: &mut Value| {
        entry["size"] = json!(100);
        entry["lfs"]["size"] = json!(100);
    };
    let larger = |entry: &mut Value| {
        entry["size"] = json!(1_000_000);
        entry["lfs"]["size"] = json!(1_000_000);
    };
    let data = |lie| HubData { lie, ..one_file() };
    says(&refusal(data(smaller), spec(), Transfer::Whole), &["more bytes come"]);
    says(&refusal(data(larger), spec(), Transfer::Whole), &["bytes came of 1000000"]);
    for lie in [smaller as fn(&mut Value), larger] {
        says(&refusal(data(lie), spec(), Transfer::Columns), &["range", "whole files"]);
    }
    let two = |entry: &mut Value| entry["lfs"]["size"] = json!(1);
    says(&refusal(data(two), spec(), Transfer::Whole), &["and that it has 1"]);
}

#[test]
fn a_server_without_ranges_needs_whole_files() {
    let data = HubData { ignores_ranges: true, ..one_file() };
    says(&refusal(data, spec(), Transfer::Columns), &["fetch whole files"]);
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let lie = |entry: &mut Value| entry["path"] = json!("../../x.parquet");
    says(&refusal(HubData { lie, ..one_file() }, spec(), Transfer::Whole), &["../../x.parquet"]);
}

#[test]
fn damaged_files_are_refused() {
    let good = parquet(&[Some("one"), Some("two")], 1);
    let footer = good.len() - 8;
    let mut long = good.clone();
    long[footer..footer + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    for bytes in [b"PAR1".to_vec(), b"no parquet at all".to_vec(), long] {
        let data = one_file().file("x.parquet", bytes);
        says(&refusal(data, spec(), Transfer::Whole), &["x.parquet: "]);
    }
    let cut = gzip("{\"text\": \"x\"}\n".repeat(1000).as_bytes());
    let data = HubData::default().file("x.jsonl.gz", cut[..cut.len() / 2].to_vec());
    let spec = DatasetSpec { files: vec!["x.*".into()], ..spec() };
    let (server, cache) = (data.start(), tempfile::tempdir().unwrap());
    let mut store = Memory::default();
    store.fill(&mut source(&server, cache.path(), spec, Transfer::Whole)).unwrap();
    assert!(store.refused.iter().any(|refusal| refusal.reason.contains("damaged")));
}

/// Flips each byte of a file in turn. Pages may change unseen; nothing may panic or hang.
#[test]
fn no_byte_of_a_parquet_file_can_do_harm() {
    let good = parquet(&[Some("one"), Some("two"), None], 2);
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x41;
        let (server, cache) =
            (one_file().file("x.parquet", bytes).start(), tempfile::tempdir().unwrap());
        let _ = Memory::default().fill(&mut source(&server, cache.path(), spec(), Transfer::Whole));
    }
}

#[test]
fn another_part_of_the_set_does_not_go_on() {
    let (server, cache) = (one_file().start(), tempfile::tempdir().unwrap());
    let mut store = Memory::default();
    store.fill(&mut source(&server, cache.path(), spec(), Transfer::Whole)).unwrap();
    let spec = DatasetSpec { columns: vec!["title".into()], ..spec() };
    let error = store.fill(&mut source(&server, cache.path(), spec, Transfer::Whole)).unwrap_err();
    says(&error.to_string(), &["another part of the data set", "another folder"]);
}

/// Returns the message of reading from a hub that gives the same answer to all requests.
fn refusal_of(answer: impl Fn() -> Response + Send + Sync + 'static) -> String {
    refusal_by(spec(), answer)
}

fn refusal_by(spec: DatasetSpec, answer: impl Fn() -> Response + Send + Sync + 'static) -> String {
    let (server, cache) = (Server::start(move |_| answer()), tempfile::tempdir().unwrap());
    let mut source = source(&server, cache.path(), spec, Transfer::Whole);
    Memory::default().fill(&mut source).unwrap_err().to_string()
}

#[test]
fn a_commit_that_was_asked_for_is_no_other_one() {
    let (asked, other) = ("cd".repeat(20), "ab".repeat(20));
    let spec = DatasetSpec::new(&format!("org/set@{asked}"));
    let message = refusal_by(spec, move || Response::json(&json!({"sha": other})));
    says(&message, &[&format!("the commit of org/set@{asked} is"), &"ab".repeat(20)]);
}

#[test]
fn a_hub_that_asks_for_too_long_a_wait_ends_the_run() {
    let message = refusal_of(|| Response::new(429, "").with("Retry-After", "301"));
    says(&message, &["limits the rate", "301 seconds", "HF_TOKEN"]);
}

#[test]
fn answers_that_are_no_data_set_are_refused() {
    says(&refusal_of(|| Response::new(200, "<html>")), &["something else than a data set"]);
    let commit = || Response::json(&json!({"sha": "../main"}));
    says(&refusal_of(commit), &["the commit of org/set@main is", "../main"]);
    let disabled = || Response::json(&json!({"sha": "ab".repeat(20), "disabled": true}));
    says(&refusal_of(disabled), &["the hub has disabled it"]);
}

#[test]
fn a_hub_that_does_not_answer_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::new("http://127.0.0.1:1", cache.path().to_owned(), None);
    let mut source = HubSource::new(hub, spec(), Transfer::Whole, ProgressBar::hidden()).unwrap();
    let message = Memory::default().fill(&mut source).unwrap_err().to_string();
    says(&message, &["127.0.0.1:1 cannot be reached", "HF_ENDPOINT"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let (server, file) = (one_file().start(), tempfile::NamedTempFile::new().unwrap());
    let mut source = source(&server, file.path(), spec(), Transfer::Whole);
    let message = Memory::default().fill(&mut source).unwrap_err().to_string();
    says(&message, &["cannot create", file.path().to_str().unwrap()]);
}

#[test]
fn listings_have_an_end() {
    let server = Server::start(|request| {
        if request.path.contains("/revision/") {
            return Response::json(&json!({"sha": "ab".repeat(20)}));
        }
        Response::json(&json!([])).with("Link", "</api/datasets/org/set/tree/x>; rel=\"next\"")
    });
    let cache = tempfile::tempdir().unwrap();
    let spec = DatasetSpec { files: vec!["*".into()], ..spec() };
    let mut source = source(&server, cache.path(), spec, Transfer::Whole);
    let message = Memory::default().fill(&mut source).unwrap_err().to_string();
    says(&message, &["without an end"]);
}

#[test]
fn a_conversion_must_be_whole_and_where_it_belongs() {
    let at = |path: &str| {
        let url = format!("https://hub/datasets/org/set/resolve/refs%2Fconvert%2Fparquet/{path}");
        HubData { parquet: json!({"default": {"train": [url]}}), ..HubData::default() }
    };
    let partial = at("default/partial-train/0000.parquet");
    says(&refusal(partial, spec(), Transfer::Whole), &["only its first part", "name the files"]);
    says(&refusal(at("../0000.parquet"), spec(), Transfer::Whole), &["outside its branch"]);
    // The file that the hub lists is not at the commit.
    let files = at("default/train/0000.parquet");
    let changed = files.converted("default/train/0001.parquet", parquet(&[Some("x")], 1));
    says(&refusal(changed, spec(), Transfer::Whole), &["0 files match"]);
}

#[test]
fn options_are_checked_before_a_request() {
    let refuse = |spec| {
        let hub = Hub::new("http://127.0.0.1:1", "cache".into(), None);
        let source = HubSource::new(hub, spec, Transfer::Whole, ProgressBar::hidden());
        source.err().unwrap().to_string()
    };
    says(&refuse(DatasetSpec::new("../x")), &["'../x'"]);
    says(&refuse(DatasetSpec { columns: Vec::new(), ..spec() }), &["choose a column of org/set"]);
}
