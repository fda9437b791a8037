// SPDX-License-Identifier: Apache-2.0

//! Exit codes and messages of the command line. Takes half a minute, because one test waits for
//! three blocks.

mod common;

use common::{Node, run};
use polkadot_sdk::sp_io::hashing::twox_128;
use std::{fs, net::TcpListener, path::Path, process::Output};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_lists_commands_and_examples() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = stdout(&help);
    for part in [
        "check-state",
        "Examples:",
        "pol-node --chain dev",
        "--base-path",
        "--rpc-port",
        "build-spec",
        "key",
    ] {
        assert!(help.contains(part), "--help should mention {part}:\n{help}");
    }
    assert!(help.contains("[default: safe]"), "unsafe methods should be off:\n{help}");
    assert!(help.contains("[default: 256]"), "batches of calls should be bounded:\n{help}");
    let version = run(&["--version"]);
    assert!(stdout(&version).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let completions = run(&["completions", shell]);
        assert_eq!(completions.status.code(), Some(0), "{}", stderr(&completions));
        let text = stdout(&completions);
        assert!(text.contains("pol-node") && text.contains("check-state"), "{shell}:\n{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let made = run(&["man", "--out", pages.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let page = |name: &str| fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("pol-node.1").contains("rpc") && page("pol-node-check-state.1").contains("state"));

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = run(&["man", "--out", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--out"), "{}", stderr(&refused));
}

#[test]
fn an_unknown_flag_is_rejected() {
    let output = run(&["--frobnicate"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--frobnicate"));
}

#[test]
fn an_unknown_chain_is_rejected() {
    let output = run(&["--chain", "no-such-file.json"]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("no-such-file.json") && message.contains("'dev'"), "{message}");

    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.json");
    fs::write(&broken, "{ not json").unwrap();
    let output = run(&["--chain", broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("broken.json"));
}

#[test]
fn specifications_are_json_and_name_the_preset() {
    for (chain, authorities, sudo) in [("dev", 1, true), ("local", 3, false)] {
        let output = run(&["build-spec", "--chain", chain, "--disable-default-bootnode"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let spec: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("the specification is not JSON");
        assert_eq!(spec["properties"]["tokenSymbol"], "POL");
        assert_eq!(spec["bootNodes"].as_array().map(Vec::len), Some(0));
        assert_eq!(spec["telemetryEndpoints"], serde_json::Value::Null, "no telemetry by default");
        let genesis = &spec["genesis"]["runtimeGenesis"]["patch"];
        assert_eq!(genesis["session"]["keys"].as_array().map(Vec::len), Some(authorities));
        assert_eq!(genesis["sudo"]["key"].is_string(), sudo);
    }
}

#[test]
fn a_raw_specification_can_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("local.json");
    let output = run(&[
        "export-chain-spec",
        "--chain",
        "local",
        "--raw",
        "--output",
        file.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let again = run(&[
        "build-spec",
        "--chain",
        file.to_str().unwrap(),
        "--raw",
        "--disable-default-bootnode",
    ]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    assert_eq!(read(&again.stdout)["genesis"], read(&fs::read(&file).unwrap())["genesis"]);
}

#[test]
fn keys_are_generated() {
    let output = run(&["key", "generate", "--output-type", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let key: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the key is not JSON");
    assert_eq!(key["secretPhrase"].as_str().map(|phrase| phrase.split(' ').count()), Some(12));
    assert!(key["ss58Address"].as_str().is_some_and(|address| address.starts_with('5')));
}

#[test]
fn a_purged_chain_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let base_path = folder.path().to_str().unwrap();
    let chain = folder.path().join("chains/pol_dev");
    fs::create_dir_all(chain.join("paritydb/full")).unwrap();
    let output = run(&["purge-chain", "--chain", "dev", "--base-path", base_path, "-y"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!chain.join("paritydb").exists());
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["--chain", "dev", "--rpc-port", &port, "--no-prometheus", "--port", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains(&port) && message.contains("--rpc-port"), "{message}");
}

/// Runs `check-state` on the chain in `base_path`, with additional arguments.
fn check_state(chain: &str, base_path: &Path, more: &[&str]) -> Output {
    let base_path = base_path.to_str().expect("paths of temporary folders are UTF-8");
    run(&[&["check-state", "--chain", chain, "--base-path", base_path], more].concat())
}

#[test]
fn the_state_of_a_new_chain_is_consistent() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = check_state("dev", folder.path(), &[]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("--base-path"), "{}", stderr(&nothing));
    assert!(!folder.path().join("chains/pol_dev/paritydb").exists(), "a check creates no database");

    let node = Node::dev(folder.path());
    node.wait_for("Imported #3");
    let running = check_state("dev", folder.path(), &[]);
    assert_eq!(running.status.code(), Some(1));
    assert!(stderr(&running).contains("still running"), "{}", stderr(&running));
    drop(node);

    let output = check_state("dev", folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = stdout(&output);
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in [
        "adds up",
        "round 0 (idle)",
        "10000 POL on hold",
        "emitted 0 + seized 0 = paid 0 + burned 0 + waiting 0 POL",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let output = check_state("dev", folder.path(), &["--json", "--at", "finalised"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the output is not JSON");
    assert_eq!((&answer["addsUp"], &answer["books"]["waiting"]), (&true.into(), &"0".into()));
    assert_eq!(answer["held"], "10000000000000000");

    let unknown = check_state("dev", folder.path(), &["--at", &format!("0x{}", "11".repeat(32))]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("0x1111"), "{}", stderr(&unknown));
    let wrong = check_state("dev", folder.path(), &["--at", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("finalised"), "{}", stderr(&wrong));
}

#[test]
fn an_inconsistent_state_fails_with_the_broken_equation() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.json");
    let output = run(&["build-spec", "--chain", "dev", "--raw", "--disable-default-bootnode"]);
    let mut spec: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the specification is not JSON");
    // The ledger claims one emitted unit that no account owns.
    let key = [twox_128(b"Rewards"), twox_128(b"RewardLedger")].concat();
    let hex = |bytes: &[u8]| polkadot_sdk::sp_core::bytes::to_hex(bytes, false);
    let mut books = [0; 5 * 16];
    books[0] = 1;
    spec["genesis"]["raw"]["top"][hex(&key)] = hex(&books).into();
    fs::write(&file, spec.to_string()).unwrap();
    let chain = file.to_str().unwrap();

    let base_path = folder.path().join("data");
    let made = run(&["export-state", "--chain", chain, "--base-path", base_path.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let output = check_state(chain, &base_path, &[]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
    assert!(
        stderr(&output).contains("(Rewards)") && stderr(&output).contains("emitted"),
        "{}",
        stderr(&output)
    );
    let output = check_state(chain, &base_path, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the output is not JSON");
    assert_eq!(answer["addsUp"], false);
}
