// SPDX-License-Identifier: Apache-2.0

//! Test of the standard client of wallets and explorers with a running node. Takes about half a
//! minute, for two blocks and their finality.

mod common;

use common::Node;
use std::{env, path::PathBuf, process::Command};

#[test]
fn the_standard_client_reads_and_signs() {
    let modules = env::var_os("POL_NODE_MODULES")
        .map(PathBuf::from)
        .filter(|path| path.join("node_modules/@polkadot/api").is_dir());
    let Some(modules) = modules else {
        panic!(
            "@polkadot/api is not installed: run scripts/setup.sh, then `. scripts/env.sh`, which \
             sets POL_NODE_MODULES"
        );
    };
    let base_path = tempfile::tempdir().expect("cannot create a temporary folder");
    let node = Node::dev(base_path.path());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/polkadot_js.mjs");
    let output = Command::new("node")
        .arg(script)
        .arg(format!("ws://127.0.0.1:{}", node.port))
        .env("POL_NODE_MODULES", modules)
        .output()
        .expect("cannot run Node.js 18 or later; scripts/setup.sh installs it");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
