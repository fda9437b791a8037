// SPDX-License-Identifier: Apache-2.0

//! Ingestions with any number of threads, and ones that are killed, make the same folder.

use crate::{
    common::{json, run, stdout},
    prose::{assert_same, files, prose, rows},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

/// Folder of the tests, and what an ingestion makes that nothing disturbs.
struct Undisturbed {
    scratch: PathBuf,
    made: BTreeMap<PathBuf, Vec<u8>>,
}

static UNDISTURBED: LazyLock<Undisturbed> = LazyLock::new(|| {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reproducing");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(scratch.join("texts")).unwrap();
    // More than one batch of each stage.
    fs::write(scratch.join("texts/rows.jsonl"), rows(4_300)).unwrap();
    let page = format!("<html><body><article><p>{}</article>", prose(1 << 20, 60));
    fs::write(scratch.join("texts/page.html"), page).unwrap();
    fs::write(scratch.join("texts/picture.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    let out = scratch.join("undisturbed");
    let record = json(&ingest(&scratch, &out).output().unwrap());
    let report = json_of(&out.join("report.json"));
    for (what, count) in [
        ("exact copies", &report["dropped"]["duplicate.exact"]),
        ("near copies", &report["dropped"]["duplicate.near"]),
        ("repeated passages", &report["changed"]["repeats"]),
        ("addresses", &report["changed"]["scrub.email"]),
        ("other files", &report["refused"]),
    ] {
        assert!(count.as_u64() > Some(1), "{what}: {count} in {report}");
    }
    assert!(record["documents"].as_u64() > Some(1_500), "{record}");
    Undisturbed { made: files(&out), scratch }
});

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns the command that ingests the texts of a folder.
fn ingest(scratch: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pol-trainer"));
    command.args(["data", "ingest", "--clean", "web", "--cut-repeats", "--held-out", "10"]);
    command.args(["--vocabulary", "800", "--sequence", "64", "--shard-tokens", "512", "--json"]);
    command.arg("--input").arg(scratch.join("texts")).arg("--out").arg(out);
    command
}

#[test]
fn any_number_of_threads_makes_the_same_folder() {
    for threads in ["1", "2", "7"] {
        let out = UNDISTURBED.scratch.join(format!("threads-{threads}"));
        let mut command = ingest(&UNDISTURBED.scratch, &out);
        stdout(&command.env("RAYON_NUM_THREADS", threads).output().unwrap());
        assert_same(&files(&out), &UNDISTURBED.made);
    }
}

/// Stages of an ingestion behind the hashing of its inputs, in their order.
const STAGES: [&str; 6] = ["reading", "comparing", "repeats", "words", "tokenizer", "tokens"];
/// Number of the first stage of which nothing is kept when it is killed.
const WORDS: usize = 3;

/// Runs a command until its progress says that a stage begins, kills it there, and returns the
/// number of its first stage.
fn kill_at(mut command: Command, stage: &str) -> usize {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stages = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let progress: Value = serde_json::from_str(&line).unwrap_or_default();
        stages.extend(STAGES.iter().position(|name| progress["stage"] == **name));
        if stages.last().is_some_and(|last| STAGES[*last] == stage) {
            // On Unix, by SIGKILL.
            child.kill().unwrap();
            break;
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "it ended before it was killed at {stage}: {stages:?}");
    stages[0]
}

/// Returns the hidden folders beside an output.
fn hidden(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out.parent().unwrap()).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path != out).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-R").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn an_ingestion_that_is_killed_at_each_stage_makes_the_same_folder() {
    let scratch = UNDISTURBED.scratch.join("killed");
    let (out, small) = (scratch.join("parent/data"), scratch.join("small.txt"));
    fs::create_dir_all(&scratch).unwrap();
    fs::write(&small, prose(1 << 21, 200)).unwrap();
    let (small, data) = (small.to_str().unwrap(), out.to_str().unwrap());
    stdout(&run(&["data", "ingest", "--input", small, "--out", data, "--vocabulary", "300"]
        .into_iter()
        .chain(["--sequence", "16", "--shard-tokens", "64"])
        .collect::<Vec<_>>()));
    let earlier = files(&out);
    let replace = || {
        let mut command = ingest(&UNDISTURBED.scratch, &out);
        command.arg("--force");
        command
    };

    let mut kept = 0;
    for (number, stage) in STAGES.into_iter().enumerate() {
        let first = kill_at(replace(), stage);
        assert!(first >= kept, "{} is done again, as a run before {stage}", STAGES[first]);
        assert_same(&files(&out), &earlier);
        assert_eq!(hidden(&out).len(), 1);
        kept = number.min(WORDS);
    }

    // A kill between the two moves at the end leaves no output, and the earlier one beside.
    let work = hidden(&out).remove(0);
    fs::rename(&out, work.join("old")).unwrap();
    let saved = scratch.join("saved");
    copy_folder(&work, &saved);
    stdout(&replace().output().unwrap());
    assert_same(&files(&out), &UNDISTURBED.made);
    assert_eq!(hidden(&out), [] as [PathBuf; 0]);

    // A kill behind them leaves both.
    copy_folder(&saved, &work);
    let again = replace().output().unwrap();
    stdout(&again);
    let log = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(STAGES.iter().all(|stage| !log.contains(stage)), "nothing is made again: {log}");
    assert_same(&files(&out), &UNDISTURBED.made);
    assert_eq!(hidden(&out), [] as [PathBuf; 0]);
}
