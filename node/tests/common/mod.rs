//! Runs the built node.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How long a node may take to serve JSON-RPC; several times what it takes on a busy machine.
const START: Duration = Duration::from_secs(120);

/// The node with `arguments`, not started.
pub fn node(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pol-node"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the node with `arguments` to its end.
pub fn run(arguments: &[&str]) -> Output {
    node(arguments).output().expect("the node was built for this test")
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.local_addr())
        .expect("some port is free")
        .port()
}

/// A running node, which dies with the test.
pub struct Node {
    child: Child,
    log: mpsc::Receiver<String>,
    /// Where it serves JSON-RPC.
    pub port: u16,
}

impl Node {
    /// Starts a development chain that is kept in `base_path`, and waits until it serves JSON-RPC.
    pub fn dev(base_path: &Path) -> Self {
        let port = free_port();
        let base_path = base_path.to_str().expect("temporary folders have plain names");
        let mut child =
            node(&["--chain", "dev", "--base-path", base_path, "--no-prometheus", "--port", "0"])
                .args(["--rpc-port", &port.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the node was built for this test");
        let log = child.stderr.take().expect("it is piped");
        let (lines, log_lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Reading on keeps the node from blocking on a full pipe.
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut node = Self { child, log: log_lines, port };
        let since = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = node.child.try_wait().expect("a child can be waited for");
            if ended.is_some() || since.elapsed() > START {
                let log: Vec<_> = node.log.try_iter().collect();
                panic!("the node did not start ({ended:?}):\n{}", log.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        node
    }

    /// Waits until the node logs a line with `text`.
    pub fn wait_for(&self, text: &str) {
        let until = Instant::now() + START;
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
