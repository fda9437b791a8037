// SPDX-License-Identifier: Apache-2.0

use crate::{harness::Network, process::Process};
use std::{fs, net::UdpSocket};

/// Options of a small trainer with a development account.
const TRAINER: [&str; 4] = ["--dev-account", "trainer-1", "--tier", "mobile"];

#[test]
fn mistakes_are_explained() {
    let network = Network::new();
    let missing = network.path("missing");
    let missing = missing.to_str().unwrap();
    assert_refused(&network, &["--no-such-flag"], "--no-such-flag");
    assert_refused(&network, &["status"], "127.0.0.1");
    assert_refused(&network, &["keys", "show"], "keys generate");
    assert_refused(&network, &["keys", "show", "--dev-account", "x//y"], "development account");
    assert_refused(&network, &["data", "ingest", "--input", missing, "--out", missing], missing);
    assert_refused(&network, &["recipe", "new", "--data", missing], missing);

    let _node = network.ready_node();
    let key = network.path("key.json");
    let key = key.to_str().unwrap();
    network.run(&["keys", "generate", "--out", key]);
    assert_refused(&network, &["keys", "generate", "--out", key], "key.json");
    let base = network.path("base");
    let base = base.to_str().unwrap();
    assert_refused(
        &network,
        &["--key-file", key, "--tier", "mobile", "--base-path", base],
        "needs a bond of 1000 POL",
    );
    assert_refused(&network, &["recipe", "show"], "no recipe");
    assert_refused(&network, &["verify-head"], "no model");

    // A UDP port that is in use.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = ["--base-path", base, "--listen", &address];
    assert_refused(&network, &[&TRAINER[..], &listen].concat(), &address);

    let recipe = network.path("recipe.json");
    fs::write(&recipe, "{}").unwrap();
    let set = ["recipe", "set", "--dev-account", "alice", recipe.to_str().unwrap()];
    assert_refused(&network, &set, "is not a recipe");

    // Two processes with one folder.
    let held = network.member("trainer-1", &["--tier", "mobile"]);
    held.wait_for("takes part", 0, 30);
    let folder = network.path("trainer-1");
    let same_folder = ["--base-path", folder.to_str().unwrap()];
    assert_refused(
        &network,
        &[&TRAINER[..], &same_folder].concat(),
        "in use by another pol-trainer",
    );
    // Two processes with one account.
    let second = ["--base-path", base];
    assert_refused(&network, &[&TRAINER[..], &second].concat(), "stop that one first");
    // The same, while the first one is silent: peers then ask the second one.
    held.freeze(true);
    let mut command = network.trainer();
    let second = Process::start(command.args(TRAINER).args(second), network.path("second.log"));
    second.wait_for("takes part", 0, 60);
    held.freeze(false);
    let end = held.wait_failure(120);
    assert!(end.contains("stop that one first"), "{end}");
}

/// Checks that a command fails with a message that has `expected`.
pub(crate) fn assert_refused(network: &Network, arguments: &[&str], expected: &str) {
    let output = network.try_run(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert!(message.contains(expected), "{arguments:?}: expected '{expected}' in: {message}");
}
