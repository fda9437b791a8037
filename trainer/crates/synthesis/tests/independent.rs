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
        .expect("this test needs python3 in PATH");
    // The script may stop at the first error, before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

/// Compiles and runs programs, given as lines of JSON with their output.
fn run_rust(lines: &str) {
    let programs: Vec<[String; 2]> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(programs.len() > 20);
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (folder.path().join("all.rs"), folder.path().join("all"));
    let mut source = "#![allow(warnings)]\n".to_owned();
    let mut main = String::new();
    for (number, [text, _]) in programs.iter().enumerate() {
        source += &text.replace("fn main()", &format!("fn p{number}()"));
        main += &format!("p{number}(); println!();\n");
    }
    std::fs::write(&file, format!("{source}fn main() {{\n{main}}}\n")).unwrap();
    let compiled = Command::new("rustc").arg(&file).arg("-o").arg(&program).output();
    let compiled = compiled.expect("this test needs rustc in PATH");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&program).output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    let outputs: Vec<String> = output
        .split("\n\n")
        .map(|lines| lines.lines().collect::<Vec<_>>().join(", then "))
        .filter(|lines| !lines.is_empty())
        .collect();
    let expected: Vec<&str> = programs.iter().map(|[_, answer]| answer.as_str()).collect();
    assert_eq!(outputs, expected);
}

fn line(family: &str, text: &str) -> String {
    format!("{}\n", serde_json::json!({ "family": family, "text": text }))
}

#[test]
fn another_program_finds_the_same_answers() {
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
    let output = String::from_utf8_lossy(&output.stdout);
    let (programs, count) = output.trim().rsplit_once('\n').unwrap();
    assert!(count.parse::<u32>().unwrap() >= 450, "{count}");
    run_rust(programs);
    assert!(!wrong.is_empty() && !check(&wrong).status.success(), "a wrong answer was accepted");
}
