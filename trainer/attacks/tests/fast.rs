//! A fast part of the attacks, on a real node with real members: about three minutes. The rest is
//! `scripts/attacks.sh`.

use serde_json::Value;
use std::process::Command;

/// Free riders, copies, stale states, forged and skipped segments, invented moments, Sybils,
/// hiding.
const ATTACKS: &str = "1,2,3,5,6,9,15,16";

#[test]
fn attacks_are_found_and_nobody_honest_is() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pol-attacks"))
        .args(["--only", ATTACKS, "--rounds", "1", "--json", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let logs = || {
        let entries = std::fs::read_dir(folder.path().join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .map(|log| {
                format!(
                    "--- {}\n{}",
                    log.display(),
                    std::fs::read_to_string(&log).unwrap_or_default()
                )
            })
            .collect::<String>()
    };
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{errors}\n{}", logs()));
    let broken: Vec<&Value> = rows.iter().filter(|row| row["held"] != true).collect();
    assert!(output.status.success() && broken.is_empty(), "{broken:#?}\n{errors}\n{}", logs());
    // An attack that was not tried proves nothing.
    for class in ATTACKS.split(',').map(|class| class.parse::<u64>().unwrap()) {
        let tried = |row: &&Value| row["class"] == class && row["attempts"].as_u64() > Some(0);
        assert!(rows.iter().any(|row| tried(&row)), "attack {class} was not tried: {rows:#?}");
    }
    let caught = |class: u64| -> u64 {
        rows.iter()
            .filter(|row| row["class"] == class)
            .filter_map(|row| row["slashed"].as_u64())
            .sum()
    };
    assert!(
        caught(1) >= 2 && caught(9) >= 3,
        "free riders and inventors lose their bonds: {rows:#?}"
    );
    assert_eq!(
        rows,
        serde_json::from_slice::<Vec<Value>>(
            &std::fs::read(folder.path().join("attacks.json")).unwrap()
        )
        .unwrap()
    );
}
