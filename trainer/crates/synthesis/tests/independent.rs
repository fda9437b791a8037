// SPDX-License-Identifier: Apache-2.0

//! A program in another language, which shares nothing with the crate, solves every task from its
//! text and runs every program.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use pol_synthesis::Recipe;
use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

/// Runs the checks on lines of JSON.
fn check(lines: &str) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The script may stop at the first error, before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

fn line(family: &str, text: &str) -> String {
    format!("{}\n", serde_json::json!({ "family": family, "text": text }))
}

#[test]
fn another_program_finds_the_same_answers() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let recipe = Recipe::all_tasks([8; 32], 450);
    let mut lines = String::new();
    let mut wrong = String::new();
    for made in recipe.documents().unwrap() {
        let document = made.unwrap().unwrap().document;
        let family = document.origin.source.strip_prefix("synthesis/").unwrap().to_owned();
        let text = String::from_utf8(document.bytes).unwrap();
        lines += &line(&family, &text);
        if let Some((start, answer)) = text.rsplit_once("\nAnswer: ")
            && family == "arithmetic"
        {
            wrong = line(&family, &format!("{start}\nAnswer: 1{answer}"));
        }
    }
    let output = check(&lines);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let count: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    assert!(count >= 450, "{count}");
    assert!(!wrong.is_empty() && !check(&wrong).status.success(), "a wrong answer was accepted");
}
