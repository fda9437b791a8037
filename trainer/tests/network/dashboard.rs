// SPDX-License-Identifier: Apache-2.0

//! The pages of the dashboard in a real browser, on a real network.

use crate::{
    harness::{Network, free_port, has_model},
    process::Process,
};
use std::process::Command;

#[path = "../../crates/dashboard/tests/browser/driver.rs"]
mod driver;

use driver::Browser;

const SCRIPT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/crates/dashboard/tests/browser/browser.mjs");
/// Text of the log of a process with an HTTP interface, before its address.
const SERVED: &str = "the HTTP interface is at ";

/// Looks at every page of a server with model, chain, and index, then at those of a trainer. Stops
/// and starts the server and the node with a page open. Returns the node, which was started again.
pub(crate) fn check(network: &Network, node: Process, trainer: &Process) -> Process {
    let port = free_port();
    let served = serve(network, port, "serve-1.log", "acquired");
    let url = format!("http://127.0.0.1:{port}");
    Browser::start(SCRIPT, &url, &["network", "--documents", "yes"]).end();
    Browser::start(SCRIPT, &address(trainer), &["trainer"]).end();

    let mut page = Browser::start(SCRIPT, &url, &["restart", "--node", "yes"]);
    page.wait_for("stop the server");
    served.kill();
    page.go_on();
    page.wait_for("start the server");
    let served = serve(network, port, "serve-2.log", "acquired");
    page.go_on();
    page.wait_for("stop the node");
    node.kill();
    page.go_on();
    page.wait_for("start the node");
    let node = network.node();
    network.wait("the node answers again", 60, &[&node, &served], has_model);
    page.go_on();
    page.end();
    node
}

/// Looks at the experts of a model that the network rewrote, by the text that they get.
pub(crate) fn check_experts(network: &Network) {
    let port = free_port();
    let served = serve(network, port, "serve-experts.log", "data");
    Browser::start(SCRIPT, &format!("http://127.0.0.1:{port}"), &["experts"]).end();
    served.kill();
}

/// Server of the chain and its past alone.
pub(crate) struct ChainPages {
    served: Process,
    url: String,
}

impl ChainPages {
    /// Starts a server, which follows the chain from now on.
    pub(crate) fn start(network: &Network) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = network.trainer();
        command.args(["serve", "--no-model", "--listen", &address, "--index"]);
        command.arg(network.path("pages.db"));
        let served = Process::start(&mut command, network.path("serve-chain.log"));
        Self { served, url: format!("http://{address}") }
    }

    /// Lets a trainer cheat while a page is open, which shows what audits take from it, and why.
    pub(crate) fn check_slash(self, network: &Network) {
        self.served.wait_for("http://127.0.0.1", 0, 120);
        let mut command = Command::new(network.binary("pol-attacks"));
        command.env("POL_NODE", network.node_url()).env("NO_COLOR", "1");
        command.args(["cheat", "--way", "noise-payload", "--dev-account", "eve", "--base-path"]);
        let cheat = Process::start(command.arg(network.path("eve")), network.path("eve.log"));
        Browser::start(SCRIPT, &self.url, &["slash"]).end();
        cheat.wait_for("of its bond are slashed", 0, 60);
        cheat.kill();
        self.served.kill();
    }
}

/// Starts a server of the head, the chain, the index, and the documents in the folder `data`, and
/// waits until it answers.
fn serve(network: &Network, port: u16, log: &str, data: &str) -> Process {
    let mut command = network.trainer();
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--index"]);
    command.arg(network.path("index.db")).arg("--data").arg(network.path(data));
    let served = Process::start(&mut command, network.path(log));
    served.wait_for("http://127.0.0.1", 0, 120);
    served
}

/// Returns the address of the HTTP interface of a process.
fn address(process: &Process) -> String {
    let log = process.log();
    let (_, rest) = log.rsplit_once(SERVED).unwrap();
    let (url, _) = rest.split_once(": ").unwrap();
    url.to_owned()
}
