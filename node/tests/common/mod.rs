// SPDX-License-Identifier: Apache-2.0

//! Commands and processes of the built node.
#![allow(dead_code, reason = "each test file uses only some items")]

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// Time limit for a node to serve JSON-RPC, several times what a busy machine needs.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Returns the command that runs the node with `arguments`.
pub(crate) fn node(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pol-node"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the node with `arguments` until it exits.
pub(crate) fn run(arguments: &[&str]) -> Output {
    node(arguments).output().expect("cargo builds the node for this test")
}

/// Returns a port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.local_addr())
        .expect("no port is free")
        .port()
}

/// Running node, which stops when it is dropped.
pub(crate) struct Node {
    child: Child,
    log: mpsc::Receiver<String>,
    /// Port of JSON-RPC.
    pub(crate) port: u16,
}

impl Node {
    /// Starts a development chain stored in `base_path`, and waits until it serves JSON-RPC.
    pub(crate) fn dev(base_path: &Path) -> Self {
        Self::start("dev", base_path)
    }

    /// Starts a chain of one authority, `dev` or the path of a specification, as [`Self::dev`]
    /// does.
    pub(crate) fn start(chain: &str, base_path: &Path) -> Self {
        let port = free_port();
        let base_path = base_path.to_str().expect("paths of temporary folders are UTF-8");
        let mut child =
            node(&["--dev", "--chain", chain, "--base-path", base_path, "--no-prometheus"])
                .args(["--port", "0", "--rpc-port", &port.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("cargo builds the node for this test");
        let log = child.stderr.take().expect("stderr is piped");
        let (lines, log_lines) = mpsc::channel();
        std::thread::spawn(move || {
            // An unread pipe would fill up and block the node.
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut node = Self { child, log: log_lines, port };
        let since = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = node.child.try_wait().expect("cannot wait for the node");
            if ended.is_some() || since.elapsed() > START_TIMEOUT {
                let log: Vec<_> = node.log.try_iter().collect();
                panic!("the node did not start ({ended:?}):\n{}", log.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        node
    }

    /// Waits until the node logs a line with `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        let until = Instant::now() + START_TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .log
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("the node did not log '{text}'"));
            if line.contains(text) {
                return;
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
