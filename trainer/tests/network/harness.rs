// SPDX-License-Identifier: Apache-2.0

use crate::process::{POLL_INTERVAL, Process};
use pol_chain::Chain;
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    thread::sleep,
    time::{Duration, Instant},
};

/// Key of the node's identity among peers, and the identity.
const NODE_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const NODE_ID: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

/// A node and its members as processes, in a folder of their own.
pub(crate) struct Network {
    folder: tempfile::TempDir,
    rpc_port: u16,
    p2p_port: u16,
    /// Signer of the beacon, which runs until the network ends.
    beacon: OnceLock<Process>,
}

impl Network {
    /// Chooses a folder and free ports.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, rpc_port: free_port(), p2p_port: free_port(), beacon: OnceLock::new() }
    }

    /// Returns the path of a file or folder of the network.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the program of the node.
    pub(crate) fn node_binary(&self) -> PathBuf {
        self.binary("pol-node")
    }

    /// Returns a program of the workspace that is built beside `pol-trainer`.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        let binary = Path::new(env!("CARGO_BIN_EXE_pol-trainer")).with_file_name(name);
        assert!(
            binary.exists(),
            "{} is missing; build the workspace first: cargo build --release",
            binary.display()
        );
        binary
    }

    /// Returns the RPC address of the node.
    pub(crate) fn node_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.rpc_port)
    }

    /// Starts the node.
    pub(crate) fn node(&self) -> Process {
        let mut command = Command::new(self.node_binary());
        command.args(["--chain", "dev", "--no-prometheus", "--base-path"]).arg(self.path("node"));
        command.args(["--rpc-port", &self.rpc_port.to_string()]);
        command.args(["--port", &self.p2p_port.to_string(), "--node-key", NODE_KEY]);
        Process::start(&mut command, self.path("node.log"))
    }

    /// Starts one of the three authorities of a local network, which has a council and no sudo key.
    /// It produces blocks alone, of which none is final.
    pub(crate) fn lone_authority(&self) -> Process {
        let mut command = Command::new(self.node_binary());
        command.args(["--chain", "local", "--alice", "--force-authoring", "--base-path"]);
        command.arg(self.path("node")).args(["--no-prometheus", "--no-telemetry", "--no-mdns"]);
        command.args(["--rpc-port", &self.rpc_port.to_string()]);
        command.args(["--port", &self.p2p_port.to_string(), "--node-key", NODE_KEY]);
        Process::start(&mut command, self.path("node.log"))
    }

    /// Starts a second node, which produces no blocks, and waits until it has followed the first
    /// one to a model. Returns it with the addresses of both, its own first.
    pub(crate) fn follower(&self) -> (Process, String) {
        let (spec, rpc) = (self.path("spec.json"), free_port());
        let exported = Command::new(self.node_binary())
            .args(["export-chain-spec", "--chain", "dev"])
            .output()
            .unwrap();
        fs::write(&spec, exported.stdout).unwrap();
        let mut command = Command::new(self.node_binary());
        command.arg("--chain").arg(spec).arg("--base-path").arg(self.path("follower"));
        command.args(["--no-prometheus", "--no-telemetry", "--no-mdns"]);
        command.args(["--rpc-port", &rpc.to_string(), "--port", &free_port().to_string()]);
        let first = format!("/ip4/127.0.0.1/tcp/{}/p2p/{NODE_ID}", self.p2p_port);
        command.args(["--bootnodes", &first]);
        let node = Process::start(&mut command, self.path("follower.log"));
        let url = format!("ws://127.0.0.1:{rpc}");
        let follows = |_: &Value| {
            let output = self.try_run(&["status", "--json", "--node", &url]);
            serde_json::from_slice(&output.stdout).is_ok_and(|status: Value| has_model(&status))
        };
        self.wait("the second node follows", 60, &[&node], follows);
        (node, format!("{url},{}", self.node_url()))
    }

    /// Starts the node and waits until it answers.
    pub(crate) fn ready_node(&self) -> Process {
        let node = self.node();
        self.wait("the node answers", 240, &[&node], |_| true);
        node
    }

    /// Returns a client of the node.
    pub(crate) async fn chain(&self) -> Chain {
        Chain::connect(&self.node_url()).await.unwrap()
    }

    /// Returns the program, with the node's address in its environment.
    pub(crate) fn trainer(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pol-trainer"));
        command.env("POL_NODE", self.node_url()).env("NO_COLOR", "1");
        command.env("POL_PASSWORD", "correct horse");
        command
    }

    /// Starts a member with a development account.
    pub(crate) fn member(&self, account: &str, arguments: &[&str]) -> Process {
        let mut command = self.trainer();
        command
            .args(["--dev-account", account, "--workers", "1", "--base-path"])
            .arg(self.path(account))
            .args(arguments);
        Process::start(&mut command, self.path(&format!("{account}.log")))
    }

    /// Starts the validator that serves the ingested folder `data`.
    pub(crate) fn validator(&self, data: &Path) -> Process {
        self.member("alice", &["--role", "validator", "--data", data.to_str().unwrap()])
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must succeed, and returns its standard output as JSON.
    pub(crate) fn run_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments)).unwrap()
    }

    /// Runs a command.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Output {
        self.trainer().args(arguments).output().unwrap()
    }

    /// Runs a command as the development account `alice`, which governs.
    pub(crate) fn govern(&self, command: [&str; 2], arguments: &[&str]) {
        self.run(&[&command[..], &["--dev-account", "alice"], arguments].concat());
    }

    /// Returns the network's status, or `None` if the node does not answer.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = self.try_run(&["status", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits until `condition` holds for the network's status.
    pub(crate) fn wait(
        &self,
        what: &str,
        seconds: u64,
        processes: &[&Process],
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut last = None;
        while Instant::now() < end {
            if let Some(status) = self.status() {
                if condition(&status) {
                    return status;
                }
                last = Some(status);
            }
            sleep(POLL_INTERVAL);
        }
        let logs: String = processes.iter().map(|process| process.titled_log()).collect();
        panic!("waited {seconds} s until {what}; last status {last:?}\n{logs}")
    }

    /// Waits until round zero is attested.
    pub(crate) fn wait_for_model(&self, processes: &[&Process]) {
        self.wait("round zero is attested", 90, processes, has_model);
    }

    /// Observes three rounds, waits up to `settle` seconds for their audits and rewards, and
    /// returns the summary.
    pub(crate) fn observe(&self, settle: &str, processes: &[&Process]) -> Value {
        let path = self.path("summary.json");
        let observer = self.try_run(&[
            "observe",
            "--rounds",
            "3",
            "--patience",
            "150",
            "--settle",
            settle,
            "--out",
            path.to_str().unwrap(),
        ]);
        let logs: String = processes.iter().map(|process| process.titled_log()).collect();
        assert!(observer.status.success(), "{}\n{logs}", String::from_utf8_lossy(&observer.stderr));
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
    }

    /// Returns the plays of the demo's corpus.
    pub(crate) fn plays() -> Vec<PathBuf> {
        let corpus = std::env::var_os("POL_CORPUS")
            .expect("POL_CORPUS is not set: run scripts/setup.sh, then `. scripts/env.sh`");
        let mut paths: Vec<_> =
            fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        paths.sort();
        paths
    }

    /// Copies a few plays of the demo's corpus, to learn from.
    pub(crate) fn texts(&self) -> PathBuf {
        let texts = self.path("texts");
        fs::create_dir(&texts).unwrap();
        for path in Self::plays().iter().take(4) {
            fs::copy(path, texts.join(path.file_name().unwrap())).unwrap();
        }
        texts
    }

    /// Ingests texts, sets a recipe for them, and registers them. Joining takes at most `join`
    /// blocks. Returns the ingested folder.
    pub(crate) fn prepare(&self, join: u32) -> PathBuf {
        let (texts, data) = (self.texts(), self.path("data"));
        self.ingest(&texts, &data);
        self.set_recipe(&data, join);
        let data_text = data.to_str().unwrap();
        self.govern(["data", "register"], &["--data", data_text, "--admit", "dataset"]);
        data
    }

    /// Ingests texts into small shards.
    pub(crate) fn ingest(&self, texts: &Path, data: &Path) {
        let [texts, data] = [texts, data].map(|path| path.to_str().unwrap());
        let sizes = ["--vocabulary", "512", "--sequence", "32", "--shard-tokens", "512"];
        self.run(&[&["data", "ingest", "--input", texts, "--out", data][..], &sizes].concat());
    }

    /// Sets the lengths of phases and a recipe for ingested data, and starts the signer of the
    /// beacon. Joining takes at most `join` blocks.
    pub(crate) fn set_recipe(&self, data: &Path, join: u32) {
        self.beacon.get_or_init(|| {
            let mut command = self.trainer();
            command.args(["beacon", "sign"]);
            Process::start(&mut command, self.path("beacon.log"))
        });
        let recipe = self.path("recipe.json");
        let [data, recipe] = [data, &recipe].map(|path| path.to_str().unwrap());
        self.run(&["recipe", "new", "--data", data, "--preset", "tiny", "--out", recipe]);
        let lengths = format!(
            r#"{{"join":{join},"train":20,"reveal":8,"hold":8,"attest":20,"pause":5,"missed":3}}"#
        );
        self.govern(["recipe", "lengths"], &[&lengths]);
        // A member that is killed in the middle of an audit has the time to come back.
        self.set_audits(20);
        self.govern(["recipe", "set"], &[recipe]);
    }

    /// Sets the audits' parameters. Trainers have `serve` blocks to serve states.
    pub(crate) fn set_audits(&self, serve: u32) {
        let audits = serde_json::json!({
            "seats": 2, "more_seats": 3, "segments": 2, "probe": 2, "mix": 1,
            "serve": serve, "replay": 20, "open": 20, "reveal": 20, "escrow": 1,
        });
        self.govern(["recipe", "audits"], &[&audits.to_string()]);
    }

    /// Kills all `processes`, of which none may have panicked, and has the node check the chain's
    /// final state. Returns the report.
    pub(crate) fn check_final_state(&self, processes: impl IntoIterator<Item = Process>) -> Value {
        for process in processes {
            assert!(!process.log().contains("panicked"), "{}", process.log());
            process.kill();
        }
        let checked = Command::new(self.node_binary())
            .args(["check-state", "--chain", "dev", "--json", "--base-path"])
            .arg(self.path("node"))
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        serde_json::from_slice(&checked.stdout).unwrap()
    }
}

/// Returns a port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns the round of the head in a status, or 0 without one.
pub(crate) fn head_round(status: &Value) -> u64 {
    status["head"]["round"].as_u64().unwrap_or(0)
}

/// Returns `true` if the status has a head.
pub(crate) fn has_model(status: &Value) -> bool {
    status["head"].is_object()
}

/// Returns a figure of a round in a summary.
pub(crate) fn figure(round: &Value, name: &str) -> f64 {
    round[name].as_f64().unwrap_or_else(|| panic!("no {name} in {round:#}"))
}

/// Returns the entries of an array in a summary.
pub(crate) fn entries<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("no {name} in {value:#}"))
}
