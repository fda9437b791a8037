//! What the command line answers, by exit status and message. Takes some seconds.

mod common;

use common::run;
use std::{fs, net::TcpListener, process::Output};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_explains_itself() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = stdout(&help);
    for part in ["Examples:", "pol-node --chain dev", "--base-path", "--rpc-port", "build-spec", "key"] {
        assert!(help.contains(part), "--help should mention {part}:\n{help}");
    }
    assert!(help.contains("[default: safe]"), "unsafe methods should be off:\n{help}");
    let version = run(&["--version"]);
    assert!(stdout(&version).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_flag_is_refused() {
    let output = run(&["--frobnicate"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--frobnicate"));
}

#[test]
fn an_unknown_chain_is_refused() {
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
        let spec: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a specification is JSON");
        assert_eq!(spec["properties"]["tokenSymbol"], "POL");
        assert_eq!(spec["bootNodes"].as_array().map(Vec::len), Some(0));
        assert_eq!(spec["telemetryEndpoints"], serde_json::Value::Null, "nothing is sent to anybody");
        let genesis = &spec["genesis"]["runtimeGenesis"]["patch"];
        assert_eq!(genesis["session"]["keys"].as_array().map(Vec::len), Some(authorities));
        assert_eq!(genesis["sudo"]["key"].is_string(), sudo);
    }
}

#[test]
fn a_raw_specification_can_be_run_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("local.json");
    let output = run(&["export-chain-spec", "--chain", "local", "--raw", "--output", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let again = run(&["build-spec", "--chain", file.to_str().unwrap(), "--raw", "--disable-default-bootnode"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    assert_eq!(read(&again.stdout)["genesis"], read(&fs::read(&file).unwrap())["genesis"]);
}

#[test]
fn keys_are_generated() {
    let output = run(&["key", "generate", "--output-type", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let key: serde_json::Value = serde_json::from_slice(&output.stdout).expect("keys are JSON");
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
