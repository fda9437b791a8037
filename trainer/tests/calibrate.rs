// SPDX-License-Identifier: Apache-2.0

//! `pol-trainer calibrate` as a user runs it, on a small model: about 20 seconds.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use serde_json::Value;
use std::process::Command;

/// Returns the largest exact and sketched distance of a segment.
fn largest(distance: &Value) -> (f64, u64) {
    let exact =
        distance["exact"].as_array().unwrap().iter().filter_map(Value::as_f64).fold(0.0, f64::max);
    (
        exact,
        distance["sketched"].as_array().unwrap().iter().filter_map(Value::as_u64).max().unwrap(),
    )
}

/// Returns the distances of a row, by segment.
fn distances(row: &Value) -> impl Iterator<Item = &Value> {
    row["distances"].as_array().unwrap().iter()
}

#[test]
fn honest_machines_are_told_from_cheats() {
    let sizes = [
        "--vocabulary",
        "512",
        "--width",
        "32",
        "--layers",
        "2",
        "--heads",
        "2",
        "--sequence",
        "32",
        "--segments",
        "6",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_pol-trainer"))
        .arg("calibrate")
        .args(sizes)
        .arg("--json")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let calibration: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tolerance = calibration["tolerance"]
        .as_u64()
        .unwrap_or_else(|| panic!("there is no tolerance: {calibration:#}"));

    let honest = calibration["honest"].as_array().unwrap();
    assert!(honest.len() >= 6);
    for row in honest {
        assert_eq!(distances(row).count(), 3);
        for distance in distances(row) {
            let (exact, sketched) = largest(distance);
            assert!(
                exact * 3e6 <= tolerance as f64 && sketched <= tolerance,
                "{}: {exact} {sketched}",
                row["name"]
            );
        }
    }
    // The same settings give the same bits. Some other instructions must not, or nothing was
    // measured.
    assert!(distances(&honest[0]).all(|distance| largest(distance) == (0.0, 0)));
    assert!(honest[1..].iter().flat_map(distances).any(|distance| largest(distance).0 > 0.0));

    let cheats = calibration["cheats"].as_array().unwrap();
    let must = cheats.iter().filter(|row| row["must_be_caught"] == true);
    assert_eq!(must.clone().count(), 6);
    for row in must {
        for distance in distances(row) {
            let (exact, sketched) = largest(distance);
            assert!(
                exact * 1e6 >= 2.0 * tolerance as f64 && sketched > tolerance,
                "{}: {exact} {sketched}",
                row["name"]
            );
        }
    }
    for distance in honest.iter().chain(cheats).flat_map(distances) {
        let parts = distance["exact"]
            .as_array()
            .unwrap()
            .iter()
            .zip(distance["sketched"].as_array().unwrap());
        for (exact, sketched) in parts {
            let (Some(exact), Some(sketched)) = (exact.as_f64(), sketched.as_u64()) else {
                continue;
            };
            let sketched = sketched as f64 / 1e6;
            assert!(
                sketched < 3.0 * exact + 3e-4 && sketched + 3e-4 > exact / 3.0,
                "{sketched} for {exact}"
            );
        }
    }
}
