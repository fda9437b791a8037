// SPDX-License-Identifier: Apache-2.0

//! Tries a fast part of the attacks on a real node with real members, in about three minutes.
//! `scripts/attacks.sh` tries all.

use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// Families of the fast part.
const FAMILIES: [&str; 8] = [
    "free-rider",
    "copying",
    "stale-state",
    "small-segments",
    "skipped-segments",
    "invented-state",
    "sybils",
    "grinding",
];

#[test]
fn attacks_are_found_and_no_honest_member_is_wronged() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pol-attacks"))
        .args(["--only", &FAMILIES.join(","), "--rounds", "1", "--json", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{errors}\n{}", logs(folder.path())));
    let failed: Vec<&Value> = rows.iter().filter(|row| row["held"] != true).collect();
    assert!(
        output.status.success() && failed.is_empty(),
        "{failed:#?}\n{errors}\n{}",
        logs(folder.path())
    );
    // An attack that was not tried proves nothing.
    for family in FAMILIES {
        let is_tried = |row: &Value| row["family"] == family && row["attempts"].as_u64() > Some(0);
        assert!(rows.iter().any(is_tried), "{family} was not tried: {rows:#?}");
    }
    let slashed = |family: &str| -> u64 {
        let own = rows.iter().filter(|row| row["family"] == family);
        own.filter_map(|row| row["slashed"].as_u64()).sum()
    };
    assert!(
        slashed("free-rider") >= 2 && slashed("invented-state") >= 3,
        "free riders and inventors lose their bonds: {rows:#?}"
    );
    let written = fs::read(folder.path().join("attacks.json")).unwrap();
    assert_eq!(rows, serde_json::from_slice::<Vec<Value>>(&written).unwrap());
}

/// Returns the logs of all processes.
fn logs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder.join("logs")).into_iter().flatten().flatten() {
        let log = entry.path();
        let content = fs::read_to_string(&log).unwrap_or_default();
        text += &format!("--- {}\n{content}\n", log.display());
    }
    text
}
