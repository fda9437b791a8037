//! The real node and real trainers, as separate processes, over several rounds: about four minutes.

use serde_json::Value;
use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A process that ends with the test.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        // A process that is started again continues its log.
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    /// SIGKILL, as a power cut would.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Network {
    folder: tempfile::TempDir,
    rpc_port: u16,
    p2p_port: u16,
}

impl Network {
    fn new() -> Self {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: tempfile::tempdir().unwrap(), rpc_port: port(), p2p_port: port() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn node(&self) -> Process {
        let binary = Path::new(env!("CARGO_BIN_EXE_pol-trainer")).with_file_name("pol-node");
        assert!(binary.exists(), "{} is missing; build the workspace first: cargo build --release", binary.display());
        let mut command = Command::new(binary);
        command.args(["--chain", "dev", "--no-prometheus", "--base-path"]).arg(self.path("node"));
        command.args(["--rpc-port", &self.rpc_port.to_string(), "--port", &self.p2p_port.to_string()]);
        Process::start(&mut command, self.path("node.log"))
    }

    fn trainer(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pol-trainer"));
        command.env("POL_NODE", format!("ws://127.0.0.1:{}", self.rpc_port)).env("NO_COLOR", "1");
        command
    }

    fn member(&self, account: &str, arguments: &[&str]) -> Process {
        let mut command = self.trainer();
        command.args(["--dev-account", account, "--workers", "1", "--base-path"]).arg(self.path(account)).args(arguments);
        Process::start(&mut command, self.path(&format!("{account}.log")))
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        self.trainer().args(arguments).output().unwrap()
    }

    fn status(&self) -> Option<Value> {
        let output = self.try_run(&["status", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits until `condition` holds of the network's status.
    fn wait(&self, what: &str, seconds: u64, processes: &[&Process], condition: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut last = None;
        while Instant::now() < end {
            if let Some(status) = self.status() {
                if condition(&status) {
                    return status;
                }
                last = Some(status);
            }
            sleep(Duration::from_millis(500));
        }
        let logs: String = processes.iter().map(|process| format!("--- {}\n{}", process.log.display(), process.log())).collect();
        panic!("waited {seconds} s until {what}; last status {last:?}\n{logs}")
    }

    /// Texts to learn from: a few plays of the demo's corpus.
    fn texts(&self) -> PathBuf {
        let corpus = std::env::var_os("POL_CORPUS").expect("POL_CORPUS is not set: run scripts/setup.sh, then `. scripts/env.sh`");
        let texts = self.path("texts");
        fs::create_dir(&texts).unwrap();
        let mut names: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        names.sort();
        for path in names.iter().take(4) {
            fs::copy(path, texts.join(path.file_name().unwrap())).unwrap();
        }
        texts
    }

    fn prepare(&self) -> PathBuf {
        let (texts, data, recipe) = (self.texts(), self.path("data"), self.path("recipe.json"));
        let [texts, data_text, recipe] = [&texts, &data, &recipe].map(|path| path.to_str().unwrap());
        self.run(&[
            "data", "ingest", "--input", texts, "--out", data_text, "--vocabulary", "512", "--sequence", "32", "--shard-tokens", "512",
        ]);
        self.run(&["recipe", "new", "--data", data_text, "--preset", "tiny", "--out", recipe]);
        let lengths = r#"{"join":2,"train":20,"reveal":8,"attest":20,"lead":5,"missed":3}"#;
        self.run(&["recipe", "lengths", "--dev-account", "alice", lengths]);
        self.run(&["recipe", "set", "--dev-account", "alice", recipe]);
        self.run(&["data", "register", "--dev-account", "alice", "--data", data_text]);
        data
    }
}

fn head_round(status: &Value) -> u64 {
    status["head"]["round"].as_u64().unwrap_or(0)
}

fn has_model(status: &Value) -> bool {
    status["head"].is_object()
}

#[test]
fn a_network_trains_one_model_and_survives_its_members() {
    let network = Network::new();
    let node = network.node();
    network.wait("the node answers", 60, &[&node], |_| true);
    let data = network.prepare();
    let validator = network.member("alice", &["--role", "validator", "--data", data.to_str().unwrap()]);
    network.wait("round zero is attested", 90, &[&node, &validator], has_model);

    // Two trainers move the head, and somebody who only watches measures each model.
    let first = network.member("trainer-1", &["--tier", "whale"]);
    let second = network.member("trainer-2", &["--tier", "miner"]);
    let summary_path = network.path("summary.json");
    let observer = network.try_run(&["observe", "--rounds", "3", "--patience", "150", "--out", summary_path.to_str().unwrap()]);
    assert!(
        observer.status.success(),
        "{}\n{}\n{}\n{}",
        String::from_utf8_lossy(&observer.stderr),
        validator.log(),
        first.log(),
        second.log()
    );
    let summary: Value = serde_json::from_slice(&fs::read(&summary_path).unwrap()).unwrap();
    let rounds = summary["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 3);
    let mut roots: Vec<_> = rounds.iter().map(|round| round["root"].as_str().unwrap()).collect();
    roots.sort_unstable();
    roots.dedup();
    assert_eq!(roots.len(), 3, "every round has a model of its own");
    let loss = |round: usize, name: &str| rounds[round][name].as_f64().unwrap();
    assert!(loss(2, "heldout_loss_after") < loss(0, "heldout_loss_before") - 0.1, "the model learns: {rounds:#?}");
    assert!(rounds.iter().any(|round| round["included"].as_array().unwrap().len() == 2), "both trainers are included: {rounds:#?}");

    // A trainer that loses power while it has a lease goes on where it was.
    let before = head_round(&network.wait("somebody leases", 60, &[&node, &first, &second], |status| status["due"].as_u64() >= Some(1)));
    first.kill();
    let first = network.member("trainer-1", &["--tier", "whale"]);
    let processes = [&node, &validator, &first, &second];
    network.wait("the head moves after a trainer was killed", 150, &processes, |status| head_round(status) > before + 1);

    // So does everybody when the node is gone for a while.
    node.kill();
    sleep(Duration::from_secs(4));
    let node = network.node();
    let before = head_round(&network.wait("the node answers again", 60, &[&node], has_model));
    let processes = [&node, &validator, &first, &second];
    network.wait("the head moves after the node was killed", 200, &processes, |status| head_round(status) > before + 1);
    validator.kill();
    let validator = network.member("alice", &["--role", "validator", "--data", data.to_str().unwrap()]);

    // Who comes late fetches the model from its peers and takes part.
    let late = network.member("trainer-3", &["--tier", "participant"]);
    let end = Instant::now() + Duration::from_secs(200);
    while !late.log().contains("the update is part of the model") {
        assert!(Instant::now() < end, "a late trainer is not included\n{}\n{}\n{}", late.log(), validator.log(), first.log());
        sleep(Duration::from_secs(1));
    }

    // Anybody can replay the history.
    let verified: Value = serde_json::from_str(&network.run(&["verify-head", "--json"])).unwrap();
    assert!(verified["round"].as_u64().unwrap() > before);
    assert!(verified["updates"].as_u64().unwrap() >= 2 * before);
}

#[test]
fn mistakes_are_explained() {
    let network = Network::new();
    let explain = |arguments: &[&str], expected: &str| {
        let output = network.try_run(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?} succeeded");
        assert!(message.contains(expected), "{arguments:?}: expected '{expected}' in: {message}");
    };
    let missing = network.path("missing");
    let missing = missing.to_str().unwrap();
    explain(&["--no-such-flag"], "--no-such-flag");
    explain(&["status"], "127.0.0.1");
    explain(&["keys", "show"], "keys generate");
    explain(&["keys", "show", "--dev-account", "x//y"], "development account");
    explain(&["data", "ingest", "--input", missing, "--out", missing], missing);
    explain(&["recipe", "new", "--data", missing], missing);

    let node = network.node();
    network.wait("the node answers", 60, &[&node], |_| true);
    let key = network.path("key.json");
    let key = key.to_str().unwrap();
    network.run(&["keys", "generate", "--out", key]);
    explain(&["keys", "generate", "--out", key], "key.json");
    let base = network.path("base");
    let base = base.to_str().unwrap();
    explain(&["--key-file", key, "--tier", "mobile", "--base-path", base], "needs a bond of 1000 POL");
    explain(&["recipe", "show"], "no recipe");
    explain(&["verify-head"], "no model");

    // A UDP port that somebody else has.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    explain(&["--dev-account", "trainer-1", "--tier", "mobile", "--base-path", base, "--listen", &address], &address);

    // Not a recipe, and one that contradicts itself.
    let recipe = network.path("recipe.json");
    fs::write(&recipe, "{}").unwrap();
    explain(&["recipe", "set", "--dev-account", "alice", recipe.to_str().unwrap()], "is not a recipe");

    // Two processes, one folder.
    let held = network.member("trainer-1", &["--tier", "mobile"]);
    let end = Instant::now() + Duration::from_secs(30);
    while !held.log().contains("takes part") {
        assert!(Instant::now() < end, "{}", held.log());
        sleep(Duration::from_millis(200));
    }
    let folder = network.path("trainer-1");
    explain(&["--dev-account", "trainer-1", "--tier", "mobile", "--base-path", folder.to_str().unwrap()], "in use by another pol-trainer");
}
