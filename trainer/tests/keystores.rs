// SPDX-License-Identifier: Apache-2.0

//! Key files on the command line, and their exchange with the libraries of wallets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const PASSWORD: &str = "correct hörse";
const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";

/// Folder of keys, with the program beside it.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pol-trainer"));
        command.arg("keys").args(arguments).stdin(Stdio::null());
        command.env("POL_KEYS", self.path("keys")).env("POL_PASSWORD", PASSWORD);
        command
    }

    /// Runs a command that must succeed, and returns its output without the end of the line.
    fn run(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    /// Runs a command that must fail, and returns its message.
    fn refused(&self, command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

fn checked(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn succeed(command: &mut Command) -> String {
    checked(&command.output().unwrap())
}

/// Returns the arguments with paths as texts.
fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_key_is_made_listed_exported_and_gets_another_password() {
    let keys = Keys::new();
    let output = keys.command(&["generate", "hot", "--show-phrase"]).output().unwrap();
    let address = checked(&output);
    let phrase = text(&output.stderr).lines().last().unwrap().to_owned();
    assert_eq!(phrase.split(' ').count(), 24);
    assert_eq!(keys.run(&["show", "--account", "hot"]), address);
    let listed = keys.run(&["list", "--json"]);
    assert!(listed.contains(&address) && listed.contains("\"encrypted\""), "{listed}");
    let again = keys.refused(&mut keys.command(&["generate", "hot"]));
    assert!(again.contains("exists already"), "{again}");

    // What is exported is another file with the same key and password.
    let copy = keys.path("copy.json");
    assert_eq!(keys.run(&["export", "hot", "--out", utf8(&copy)]), address);
    assert_ne!(fs::read(&copy).unwrap(), fs::read(keys.path("keys/hot.json")).unwrap());
    assert_eq!(keys.run(&["import", "copy", "--from", utf8(&copy)]), address);

    let mut changed = keys.command(&["change-password", "hot"]);
    assert_eq!(succeed(changed.env("POL_NEW_PASSWORD", "another one")), address);
    let wrong = keys.refused(&mut keys.command(&["export", "hot", "--out", "never"]));
    assert!(wrong.contains("hot.json: the password is wrong"), "{wrong}");
    let short =
        keys.refused(keys.command(&["change-password", "copy"]).env("POL_NEW_PASSWORD", "short"));
    assert!(short.contains("8 characters"), "{short}");
}

#[test]
fn a_phrase_is_read_from_standard_input_and_a_password_from_a_file() {
    let keys = Keys::new();
    let password = keys.path("password");
    pol_keystore::write_private(&password, format!("{PASSWORD}\n").as_bytes()).unwrap();
    let mut import = keys.command(&["import", "alice", "--password-file", utf8(&password)]);
    import.env_remove("POL_PASSWORD").stdin(Stdio::piped());
    let mut child = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"//Alice\nrest\n").unwrap();
    assert_eq!(checked(&child.wait_with_output().unwrap()), ALICE);
    // The descriptor is that of standard input.
    let mut export = keys.command(&["export", "alice", "--password-fd", "0", "--out"]);
    export.arg(keys.path("out.json")).env_remove("POL_PASSWORD");
    assert_eq!(succeed(export.stdin(fs::File::open(&password).unwrap())), ALICE);
    let nobody = keys
        .refused(keys.command(&["export", "alice", "--out", "never"]).env_remove("POL_PASSWORD"));
    assert!(nobody.contains("--password-fd"), "{nobody}");
}

#[test]
fn a_plain_key_needs_a_flag_and_can_be_encrypted() {
    let keys = Keys::new();
    let plain = keys.path("plain.json");
    let output = keys.command(&["generate", "--plain", "--out", utf8(&plain)]).output().unwrap();
    let address = checked(&output);
    assert!(text(&output.stderr).contains("is not encrypted"));
    assert_eq!(keys.run(&["show", "--key-file", utf8(&plain)]), address);
    assert_eq!(keys.run(&["import", "main", "--from", utf8(&plain)]), address);
    let seed = text(&fs::read(&plain).unwrap());
    assert!(seed.contains("\"seed\""), "{seed}");
    let kept = text(&fs::read(keys.path("keys/main.json")).unwrap());
    assert!(!kept.contains("\"seed\"") && kept.contains("xsalsa20-poly1305"));
}

#[test]
fn wallets_read_our_files_and_we_read_theirs() {
    let modules = std::env::var_os("POL_NODE_MODULES")
        .map(PathBuf::from)
        .filter(|path| path.join("node_modules/@polkadot/keyring").is_dir())
        .expect("run scripts/setup.sh, then `. scripts/env.sh`, which sets POL_NODE_MODULES");
    let keys = Keys::new();
    let address = keys.run(&["generate", "ours"]);
    let theirs = keys.path("theirs.json");
    let mut script = Command::new("node");
    script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keystores.mjs"));
    script.arg(keys.path("keys/ours.json")).args([&address, PASSWORD]).arg(&theirs);
    let their_address = succeed(script.env("POL_NODE_MODULES", modules));
    assert_eq!(keys.run(&["import", "theirs", "--from", utf8(&theirs)]), their_address);
    assert_eq!(keys.run(&["show", "--account", "theirs"]), their_address);
}
