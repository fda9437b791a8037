// SPDX-License-Identifier: Apache-2.0

//! Decontamination of a corpus on any number of threads.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use pol_corpus::{
    CorpusError, ReadOptions,
    pipeline::{Pipeline, PipelineConfig, ReferenceFiles, Supply},
};
use serde_json::{Value, json};
use std::{env, fs, path::Path, process::Command};

/// Variable with the folder in which a child of the test works.
const FOLDER: &str = "POL_TEST_DECONTAMINATION";
/// Documents of the corpus, more than are cleaned at a time.
const DOCUMENTS: u64 = 5_000;

/// Returns words that no other number gives.
fn words(number: u64, count: u64) -> Vec<String> {
    (0..count)
        .map(|word| format!("w{:x}", ((number << 20) | word).wrapping_mul(0x9e37_79b9)))
        .collect()
}

/// Writes a corpus of which every tenth document has a passage of a reference.
fn write_corpus(folder: &Path) {
    let rows = |numbers: std::ops::Range<u64>, text: &dyn Fn(u64) -> String| {
        numbers.map(|number| json!({ "text": text(number) }).to_string() + "\n").collect::<String>()
    };
    fs::write(folder.join("probes.jsonl"), rows(0..100, &|number| words(number, 40).join(" ")))
        .unwrap();
    let text = |number: u64| {
        let mut text = words(1_000 + number, 30);
        if number.is_multiple_of(10) {
            text.splice(9..9, words(number / 10 % 100, 40).drain(5..25));
        }
        text.join(", ")
    };
    fs::write(folder.join("texts.jsonl"), rows(0..DOCUMENTS, &text)).unwrap();
}

/// Runs the pipeline in a folder of its own, and returns all records and the report.
fn run(folder: &Path, work: &Path) -> Value {
    let files = ReferenceFiles {
        decontaminate: vec![folder.join("probes.jsonl")],
        ..ReferenceFiles::default()
    };
    let config = PipelineConfig { held_out: 100_000, ..PipelineConfig::default() };
    let pipeline =
        Pipeline::open(work, config, files.load().unwrap(), ReadOptions::default()).unwrap();
    let digest = pipeline.digest();
    let supplies = [Supply::Path(folder.join("texts.jsonl"))];
    let mut selection = pipeline.run(&supplies, &|_| ()).unwrap();
    let mut records = Vec::new();
    let report = selection.for_each(|selected, _| {
        records.push(json!([selected.record, selected.kept]));
        Ok::<_, CorpusError>(())
    });
    json!({ "digest": digest, "records": records, "report": report.unwrap() })
}

#[test]
fn any_number_of_threads_drops_the_same_documents() {
    if let Some(folder) = env::var_os(FOLDER) {
        let folder = Path::new(&folder);
        let work = tempfile::tempdir().unwrap();
        let threads = rayon::current_num_threads();
        let result = run(folder, work.path()).to_string();
        fs::write(folder.join(format!("{threads} threads")), result).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_corpus(folder.path());
    let results = [1, 2, 7].map(|threads: u32| {
        let child = Command::new(env::current_exe().unwrap())
            .args(["any_number_of_threads_drops_the_same_documents", "--exact"])
            .env("RAYON_NUM_THREADS", threads.to_string())
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        fs::read_to_string(folder.path().join(format!("{threads} threads"))).unwrap()
    });
    assert!(results[0] == results[1] && results[1] == results[2]);
    let result: Value = serde_json::from_str(&results[0]).unwrap();
    assert_eq!(result["records"].as_array().unwrap().len() as u64, DOCUMENTS);
    let report = &result["report"];
    assert_eq!(report["dropped"], json!({ "contamination": DOCUMENTS / 10 }));
    assert_eq!(report["decontamination"]["found"].as_array().unwrap().len(), 100);
    assert!(report["held_out"]["documents"].as_u64() > Some(300));
}
