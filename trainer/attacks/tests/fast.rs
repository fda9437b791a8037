// SPDX-License-Identifier: Apache-2.0

//! Tries a fast part of the attacks on real networks, in about five minutes. `scripts/attacks.sh`
//! tries all. Both tests run at the same time, and each prints what it required and found.

use serde_json::Value;
use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
    process::Command,
};

/// Families and scenarios of the fast part on a network of one node.
const ATTACKS: [&str; 9] = [
    "free-rider",
    "copying",
    "stale-state",
    "small-segments",
    "skipped-segments",
    "invented-state",
    "sybils",
    "grinding",
    "coalition-of-a-fifth",
];
/// Scenario on a network of several sites: a round with partitions and forks.
const FORKS: &str = "parted-authorities";

#[test]
fn attacks_are_found_and_no_honest_member_is_wronged() {
    let rows = attack(&ATTACKS).unwrap();
    // An attack that was not tried proves nothing.
    for name in ATTACKS {
        let is_tried = |row: &Value| {
            (row["family"] == name || row["attack"] == name) && row["attempts"].as_u64() > Some(0)
        };
        assert!(rows.iter().any(is_tried), "{name} was not tried: {rows:#?}");
    }
    let slashed = |family: &str| -> u64 {
        let own = rows.iter().filter(|row| row["family"] == family);
        own.filter_map(|row| row["slashed"].as_u64()).sum()
    };
    assert!(
        slashed("free-rider") >= 2 && slashed("invented-state") >= 3,
        "free riders and inventors lose their bonds: {rows:#?}"
    );
}

#[test]
fn forks_cost_honest_members_nothing() {
    let rows = attack(&[FORKS]).unwrap();
    assert!(rows.len() == 1 && rows[0]["attempts"].as_u64() > Some(0), "{rows:#?}");
}

/// Tries these attacks in one round, prints what each required and found, and returns the report.
/// Panics unless all requirements were met.
fn attack(names: &[&str]) -> Result<Vec<Value>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_pol-attacks"))
        .args(["--only", &names.join(","), "--rounds", "1", "--json", "--out"])
        .arg(folder.path())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{errors}\n{}", logs(folder.path())));
    for row in &rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let verdict = match (row["held"] == true, row["skipped"] == true) {
            (true, _) => "met",
            (false, true) => "not tried",
            (false, false) => "NOT MET",
        };
        let line = format!("  {}: {} ({verdict})\n", text("attack"), text("required"));
        // Unlike what `println` writes, this is shown of tests that pass, too.
        io::stdout().write_all(line.as_bytes())?;
    }
    let is_failure = |row: &&Value| row["held"] != true && row["skipped"] != true;
    let failed: Vec<&Value> = rows.iter().filter(is_failure).collect();
    assert!(
        output.status.success() && failed.is_empty(),
        "{failed:#?}\n{errors}\n{}",
        logs(folder.path())
    );
    let written = fs::read(folder.path().join("attacks.json"))?;
    assert_eq!(rows, serde_json::from_slice::<Vec<Value>>(&written)?);
    Ok(rows)
}

/// Returns the logs of all processes.
fn logs(folder: &Path) -> String {
    let mut text = String::new();
    for name in ["logs", "logs-coalitions", "logs-sites"] {
        for entry in fs::read_dir(folder.join(name)).into_iter().flatten().flatten() {
            let log = entry.path();
            let content = fs::read_to_string(&log).unwrap_or_default();
            text += &format!("--- {}\n{content}\n", log.display());
        }
    }
    text
}
