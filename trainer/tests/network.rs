//! The real node and real trainers, as separate processes, over several rounds: about six minutes.

use pol_chain::{Call, Chain, Signer};
use pol_engine::{Trace, TrainingState};
use pol_primitives::{
    Hash, RoundNumber,
    peer::{Endpoint, Role},
    recipe::Tier,
    round::Phase,
    submission::{Claims, Reveal},
    trace::state_leaf,
};
use pol_swarm::{Swarm, SwarmConfig};
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
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// SIGKILL, as a power cut would.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The address that the process says it takes part with.
    fn account(&self) -> String {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("takes part with")).unwrap();
        line.split_whitespace()
            .find(|word| word.starts_with('5') && word.len() == 48)
            .unwrap()
            .to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log has `text` more than `before` times.
    fn wait_for(&self, text: &str, before: usize, seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while self.log().matches(text).count() <= before {
            assert!(Instant::now() < end, "waited {seconds} s for '{text}'\n{}", self.log());
            sleep(Duration::from_millis(500));
        }
    }

    /// Waits until the process gives up and returns its last line.
    fn wait_failure(mut self, seconds: u64) -> String {
        let end = Instant::now() + Duration::from_secs(seconds);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < end,
                "waited {seconds} s for the end of the process\n{}",
                self.log()
            );
            sleep(Duration::from_millis(500));
        };
        assert_eq!(status.code(), Some(1), "{}", self.log());
        self.log().lines().next_back().unwrap_or_default().to_owned()
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

    fn node_binary(&self) -> PathBuf {
        let binary = Path::new(env!("CARGO_BIN_EXE_pol-trainer")).with_file_name("pol-node");
        assert!(
            binary.exists(),
            "{} is missing; build the workspace first: cargo build --release",
            binary.display()
        );
        binary
    }

    fn node(&self) -> Process {
        let mut command = Command::new(self.node_binary());
        command.args(["--chain", "dev", "--no-prometheus", "--base-path"]).arg(self.path("node"));
        command.args([
            "--rpc-port",
            &self.rpc_port.to_string(),
            "--port",
            &self.p2p_port.to_string(),
        ]);
        Process::start(&mut command, self.path("node.log"))
    }

    fn trainer(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pol-trainer"));
        command.env("POL_NODE", format!("ws://127.0.0.1:{}", self.rpc_port)).env("NO_COLOR", "1");
        command
    }

    fn member(&self, account: &str, arguments: &[&str]) -> Process {
        let mut command = self.trainer();
        command
            .args(["--dev-account", account, "--workers", "1", "--base-path"])
            .arg(self.path(account))
            .args(arguments);
        Process::start(&mut command, self.path(&format!("{account}.log")))
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
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
    fn wait(
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
            sleep(Duration::from_millis(500));
        }
        let logs: String = processes
            .iter()
            .map(|process| format!("--- {}\n{}", process.log.display(), process.log()))
            .collect();
        panic!("waited {seconds} s until {what}; last status {last:?}\n{logs}")
    }

    /// Texts to learn from: a few plays of the demo's corpus.
    fn texts(&self) -> PathBuf {
        let corpus = std::env::var_os("POL_CORPUS")
            .expect("POL_CORPUS is not set: run scripts/setup.sh, then `. scripts/env.sh`");
        let texts = self.path("texts");
        fs::create_dir(&texts).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        names.sort();
        for path in names.iter().take(4) {
            fs::copy(path, texts.join(path.file_name().unwrap())).unwrap();
        }
        texts
    }

    fn prepare(&self, join: u32) -> PathBuf {
        let (texts, data, recipe) = (self.texts(), self.path("data"), self.path("recipe.json"));
        let [texts, data_text, recipe] =
            [&texts, &data, &recipe].map(|path| path.to_str().unwrap());
        self.run(&[
            "data",
            "ingest",
            "--input",
            texts,
            "--out",
            data_text,
            "--vocabulary",
            "512",
            "--sequence",
            "32",
            "--shard-tokens",
            "512",
        ]);
        self.run(&["recipe", "new", "--data", data_text, "--preset", "tiny", "--out", recipe]);
        let lengths =
            format!(r#"{{"join":{join},"train":20,"reveal":8,"attest":20,"lead":5,"missed":3}}"#);
        self.run(&["recipe", "lengths", "--dev-account", "alice", &lengths]);
        // Whoever is killed in the middle of an audit has the time to come back.
        let audits = r#"{"seats":2,"more_seats":3,"segments":2,"probe":2,"mix":1,"serve":20,"replay":20,"open":20,"reveal":20,"escrow":1}"#;
        self.run(&["recipe", "audits", "--dev-account", "alice", audits]);
        self.run(&["recipe", "set", "--dev-account", "alice", recipe]);
        self.run(&["data", "register", "--dev-account", "alice", "--data", data_text]);
        data
    }
}

const INCLUDED: &str = "the update is part of the model";

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
    let data = network.prepare(2);
    let validator =
        network.member("alice", &["--role", "validator", "--data", data.to_str().unwrap()]);
    network.wait("round zero is attested", 90, &[&node, &validator], has_model);

    // Two trainers move the head, and somebody who only watches measures each model. One of them
    // keeps no more of its training than its start and its end, and trains again what audits ask
    // for.
    let first = network.member("trainer-1", &["--tier", "whale"]);
    let second = network.member("trainer-2", &["--tier", "miner", "--state-budget", "0"]);
    let summary_path = network.path("summary.json");
    let watch = [
        "observe",
        "--rounds",
        "3",
        "--patience",
        "150",
        "--settle",
        "150",
        "--out",
        summary_path.to_str().unwrap(),
    ];
    let observer = network.try_run(&watch);
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
    assert!(
        loss(2, "heldout_loss_after") < loss(0, "heldout_loss_before") - 0.1,
        "the model learns: {rounds:#?}"
    );
    assert!(
        rounds.iter().any(|round| round["included"].as_array().unwrap().len() == 2),
        "both trainers are included: {rounds:#?}"
    );

    // Validators measured the models as well, and found what the observer did; so do trainers, who
    // only claim it.
    let measured: Vec<_> = rounds.iter().filter(|round| round["measured"].is_object()).collect();
    assert!(!measured.is_empty(), "{rounds:#?}\n{}", validator.log());
    for round in measured {
        let (found, loss) = (&round["measured"], round["heldout_loss_after"].as_f64().unwrap());
        assert!((found["loss"].as_f64().unwrap() - loss * 1e6).abs() < 2.0, "{round:#}");
        assert!(
            found["calibrationError"].as_u64().is_some_and(|error| error < 1_000_000),
            "{round:#}"
        );
        assert_eq!(
            (&found["selfAwareness"], &found["level"]),
            (&Value::Null, &0.into()),
            "the model predicts no losses of its own"
        );
    }
    let claimed = |status: &Value| {
        status["claims"].as_array().is_some_and(|all| all.iter().any(|claim| claim["off"] == false))
    };
    let status = network.wait(
        "claims are what validators found",
        90,
        &[&node, &validator, &first, &second],
        claimed,
    );
    assert!(
        status["claims"].as_array().unwrap().iter().all(|claim| claim["off"] != true),
        "{status:#}"
    );
    assert!(status["measured"]["share"].as_u64() >= Some(670_000), "{status:#}");

    // All of it was replayed, found to be what it claims to be, and paid for.
    for round in rounds {
        let audits = round["audits"].as_array().unwrap();
        assert_eq!(audits.len(), round["included"].as_array().unwrap().len(), "{round:#}");
        assert!(audits.iter().all(|audit| audit["outcome"] == "valid"), "{round:#}");
    }
    let scored = |round: &Value| {
        round["audits"].as_array().unwrap().iter().any(|audit| audit["score"].as_f64() > Some(0.0))
    };
    assert!(rounds.iter().any(scored), "what learns is worth something: {rounds:#?}");
    let money = |name: &str| summary["rewards"][name].as_str().unwrap().parse::<u128>().unwrap();
    assert_eq!(
        money("emitted") + money("seized"),
        money("paid") + money("burned") + money("waiting")
    );
    assert_eq!(money("seized"), 0);
    for process in [&validator, &first, &second] {
        process.wait_for("claimed", 0, 60);
    }
    let consumed = |index: u32| {
        let traced: Value =
            serde_json::from_str(&network.run(&["data", "trace", &format!("0/{index}"), "--json"]))
                .unwrap();
        traced["consumed"].is_object().then_some(traced)
    };
    let traced = (0..).find_map(consumed).unwrap();
    let trainers = [&first, &second].map(|process| process.account());
    assert!(
        trainers.iter().any(|trainer| traced["consumed"]["trainer"] == **trainer),
        "{traced:#}"
    );
    assert_eq!(traced["source"]["address"], "local");

    // A trainer that loses power while one of its updates is audited, most likely with a lease,
    // goes on where it was.
    first.wait_for(
        "the starts of segments",
        first.log().matches("the starts of segments").count(),
        90,
    );
    let (opened, before) = (
        first.log().matches("the ends of segments").count(),
        head_round(&network.status().unwrap()),
    );
    first.kill();
    let first = network.member("trainer-1", &["--tier", "whale"]);
    first.wait_for("the ends of segments", opened, 90);
    let processes = [&node, &validator, &first, &second];
    network.wait("the head moves after a trainer was killed", 150, &processes, |status| {
        head_round(status) > before + 1
    });

    // So does everybody when the node is gone for a while.
    node.kill();
    sleep(Duration::from_secs(4));
    let node = network.node();
    let before = head_round(&network.wait("the node answers again", 60, &[&node], has_model));
    let processes = [&node, &validator, &first, &second];
    network.wait("the head moves after the node was killed", 200, &processes, |status| {
        head_round(status) > before + 1
    });

    // A validator that loses power between its word and the proof of it keeps its word.
    validator.wait_for(
        "committed to what audit",
        validator.log().matches("committed to what audit").count(),
        90,
    );
    let revealed = validator.log().matches("revealed what audit").count();
    validator.kill();
    let validator =
        network.member("alice", &["--role", "validator", "--data", data.to_str().unwrap()]);
    validator.wait_for("revealed what audit", revealed, 90);

    // Who comes late fetches the model from its peers and takes part.
    let late = network.member("trainer-3", &["--tier", "participant"]);
    late.wait_for(INCLUDED, 0, 200);
    late.wait_for("found the update valid", 0, 120);

    // Anybody can replay the history.
    let verified: Value = serde_json::from_str(&network.run(&["verify-head", "--json"])).unwrap();
    assert!(verified["round"].as_u64().unwrap() > before);
    assert!(verified["updates"].as_u64().unwrap() >= 2 * before);

    // Whatever was killed, every update was valid, and the chain adds up to the last unit.
    for process in [&first, &second, &late, &validator] {
        let log = process.log();
        assert!(log.contains("found the update valid") || log.contains("settled: Valid"), "{log}");
        assert!(
            !["is not what its lease gives", "did not get to see", "no result"]
                .iter()
                .any(|sign| log.contains(sign)),
            "{log}"
        );
    }
    for process in [first, second, late, validator, node] {
        process.kill();
    }
    let checked = Command::new(network.node_binary())
        .args(["check-state", "--chain", "dev", "--json", "--base-path"])
        .arg(network.path("node"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["addsUp"], true);
}

/// Takes part as a trainer that trains nothing, up to the reveal of a payload with this hash;
/// returns the round.
async fn deceive(chain: &Chain, uri: &str, endpoint: Endpoint, payload_hash: Hash) -> RoundNumber {
    let signer = Signer::from_uri(uri).unwrap();
    let (account, role) = (signer.account(), Role::Trainer);
    chain.submit(&signer, Call::Bond { role, amount: role.minimum_bond() }).await.unwrap();
    chain.submit(&signer, Call::SetEndpoint { endpoint }).await.unwrap();
    let pause = || tokio::time::sleep(Duration::from_secs(1));
    // Refused while joining is closed.
    while chain.submit(&signer, Call::JoinRound { tier: Tier::Whale }).await.is_err() {
        pause().await;
    }
    let (lease, recipe) =
        (chain.lease(&account).await.unwrap().unwrap(), chain.recipe().await.unwrap().unwrap());
    let mut leaves = vec![state_leaf(&lease.base_root, &lease.carry)];
    leaves.extend((0..recipe.segments).map(|segment| [segment as u8; 32]));
    let trace = Trace::from_leaves(leaves).unwrap();
    let steps = recipe.tier(Tier::Whale).inner_steps;
    let (trace_root, first_leaf) = (trace.root(), trace.proof(0).unwrap());
    let reveal =
        Reveal { payload_hash, trace_root, carry_hash: [9; 32], steps, first_leaf, salt: [1; 32] };
    let round = lease.due_round;
    let claims = Claims::default();
    let commitment = reveal.commitment(&account, &chain.genesis(), round);
    chain.submit(&signer, Call::Commit { round, commitment, claims }).await.unwrap();
    while chain.overview().await.unwrap().round.phase != Phase::Reveal {
        pause().await;
    }
    chain.submit(&signer, Call::Reveal { round, reveal }).await.unwrap();
    round
}

/// A member whose payload nobody has and whose address answers noise, and one that serves bytes
/// which are no payload.
async fn deceivers(network: &Network) {
    let chain = Chain::connect(&format!("ws://127.0.0.1:{}", network.rpc_port)).await.unwrap();
    let swarm = |secret: u8| {
        let directory = network.path(&format!("deceiver-{secret}"));
        Swarm::start(SwarmConfig {
            directory,
            secret: [secret; 32],
            bind: ([127, 0, 0, 1], 0).into(),
            advertise: Vec::new(),
        })
    };
    let (gone, liar) = (swarm(1).await.unwrap(), swarm(2).await.unwrap());
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut endpoint = gone.endpoint();
    endpoint.addresses = vec![noise.local_addr().unwrap().into()].try_into().unwrap();
    gone.shutdown().await.unwrap();
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((_, sender)) = noise.recv_from(&mut datagram) {
            let _ = noise.send_to(&[0xa5; 1200], sender);
        }
    });
    let garbage = liar.add(vec![7; 5_000].into(), "garbage").await.unwrap();
    let (first, second) = tokio::join!(
        deceive(&chain, "//Trainer//8", endpoint, [8; 32]),
        deceive(&chain, "//Trainer//9", liar.endpoint(), garbage),
    );
    let honest = Signer::from_uri("//Trainer//1").unwrap().account();
    for round in [first, second] {
        let record = loop {
            match chain.round_record(round).await.unwrap() {
                Some(record) => break record,
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        };
        let included: Vec<_> =
            record.included.indices().map(|index| record.revealed[usize::from(index)]).collect();
        assert!(
            record.head.is_some() && record.revealed.len() > 1,
            "round {round} moves the model: {record:?}"
        );
        assert_eq!(included, [honest], "and only what was served and is a payload is part of it");
    }
}

#[test]
fn liars_damage_and_another_chain_are_survived() {
    let network = Network::new();
    let node = network.node();
    network.wait("the node answers", 60, &[&node], |_| true);
    // Joining stays open long enough for the deceivers to share a round with the honest trainer.
    let data = network.prepare(5);
    let validator =
        network.member("alice", &["--role", "validator", "--data", data.to_str().unwrap()]);
    let second = network.member("validator-1", &["--role", "validator"]);
    network.wait("round zero is attested", 90, &[&node, &validator, &second], has_model);
    let trainer = network.member("trainer-1", &["--tier", "whale"]);
    trainer.wait_for("leased", 0, 60);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(180), deceivers(&network))
            .await
            .expect("rounds go on in spite of deceivers")
    });

    // A state that the disk damaged is named, and once it is out of the way the trainer is included
    // again. The state that its next lease starts from is on disk once it has committed.
    trainer.wait_for("committed", trainer.log().matches("committed").count(), 90);
    trainer.kill();
    let carries: Vec<_> = fs::read_dir(network.path("trainer-1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("carry-"))
        .collect();
    assert!(!carries.is_empty());
    for path in &carries {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let message = network.member("trainer-1", &["--tier", "whale"]).wait_failure(180);
    assert!(carries.iter().any(|path| message.contains(path.to_str().unwrap())), "{message}");
    for path in carries {
        let _ = fs::remove_file(path);
    }
    let trainer = network.member("trainer-1", &["--tier", "whale"]);
    trainer.wait_for(INCLUDED, trainer.log().matches(INCLUDED).count(), 200);

    // A chain that starts anew is another one, though its genesis is the same.
    node.kill();
    fs::remove_dir_all(network.path("node")).unwrap();
    let _node = network.node();
    for process in [trainer, validator, second] {
        let message = process.wait_failure(90);
        assert!(message.contains("another chain"), "{message}");
    }
    let message = network.member("trainer-1", &["--tier", "whale"]).wait_failure(60);
    assert!(message.contains("--base-path"), "{message}");
    for name in ["alice", "validator-1", "trainer-1", "node"] {
        let log = fs::read_to_string(network.path(&format!("{name}.log"))).unwrap();
        assert!(!log.contains("panicked"), "{log}");
    }
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
    explain(
        &["--key-file", key, "--tier", "mobile", "--base-path", base],
        "needs a bond of 1000 POL",
    );
    explain(&["recipe", "show"], "no recipe");
    explain(&["verify-head"], "no model");

    // A UDP port that somebody else has.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    explain(
        &[
            "--dev-account",
            "trainer-1",
            "--tier",
            "mobile",
            "--base-path",
            base,
            "--listen",
            &address,
        ],
        &address,
    );

    // Not a recipe, and one that contradicts itself.
    let recipe = network.path("recipe.json");
    fs::write(&recipe, "{}").unwrap();
    explain(
        &["recipe", "set", "--dev-account", "alice", recipe.to_str().unwrap()],
        "is not a recipe",
    );

    // Two processes, one folder.
    let held = network.member("trainer-1", &["--tier", "mobile"]);
    held.wait_for("takes part", 0, 30);
    let folder = network.path("trainer-1");
    explain(
        &[
            "--dev-account",
            "trainer-1",
            "--tier",
            "mobile",
            "--base-path",
            folder.to_str().unwrap(),
        ],
        "in use by another pol-trainer",
    );
}

#[test]
fn a_network_rewrites_its_model_and_trains_on() {
    let network = Network::new();
    let node = network.node();
    network.wait("the node answers", 60, &[&node], |_| true);
    let data = network.prepare(5);
    // Whoever does not show its training is found out soon.
    let audits = r#"{"seats":2,"more_seats":3,"segments":2,"probe":2,"mix":1,"serve":8,"replay":20,"open":20,"reveal":20,"escrow":1}"#;
    network.run(&["recipe", "audits", "--dev-account", "alice", audits]);
    let validator =
        network.member("alice", &["--role", "validator", "--data", data.to_str().unwrap()]);
    network.wait("round zero is attested", 90, &[&node, &validator], has_model);

    // An update that was never trained gets into the model of the first architecture.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let chain =
        runtime.block_on(Chain::connect(&format!("ws://127.0.0.1:{}", network.rpc_port))).unwrap();
    let recipe = runtime.block_on(chain.recipe()).unwrap().unwrap();
    let base = pol_model::initial_parameters(&recipe.model, &recipe.seed);
    let mut moved = TrainingState::fresh(base.iter().map(|value| value - 0.002).collect());
    let payload = pol_engine::pack(&recipe, &base, &mut moved).unwrap().encode();
    let directory = network.path("deceiver");
    let swarm = SwarmConfig {
        directory,
        secret: [3; 32],
        bind: ([127, 0, 0, 1], 0).into(),
        advertise: Vec::new(),
    };
    let swarm = runtime.block_on(Swarm::start(swarm)).unwrap();
    let payload = runtime.block_on(swarm.add(payload.into(), "payload")).unwrap();
    let deceiver = runtime.spawn({
        let (chain, endpoint) = (chain.clone(), swarm.endpoint());
        async move { deceive(&chain, "//Trainer//9", endpoint, payload).await }
    });
    let first = network.member("trainer-1", &["--tier", "whale"]);
    let second = network.member("trainer-2", &["--tier", "miner"]);
    first.wait_for("leased", 0, 90);

    // While the first round trains, governance has the model rewritten: one feed-forward part
    // becomes four experts.
    let rewrite = r#"{"upcycle":{"experts":{"count":4,"active":2,"balance":10000,"z":1000}}}"#;
    let mut arguments = vec!["recipe", "rewrite", rewrite, "--json"];
    let shown: Value = serde_json::from_str(&network.run(&arguments)).unwrap();
    assert_eq!(
        (&shown["set"], &shown["changes"]["experts"][1]["count"]),
        (&Value::Bool(false), &4.into())
    );
    assert_eq!(shown["changes"].as_object().unwrap().len(), 1);
    arguments.extend(["--set", "--dev-account", "alice"]);
    let set: Value = serde_json::from_str(&network.run(&arguments)).unwrap();
    assert_eq!((&set["set"], &set["hash"]), (&Value::Bool(true), &shown["hash"]));

    let summary_path = network.path("summary.json");
    let watch = [
        "observe",
        "--rounds",
        "3",
        "--patience",
        "150",
        "--settle",
        "180",
        "--out",
        summary_path.to_str().unwrap(),
    ];
    let observer = network.try_run(&watch);
    let logs = [&validator, &first, &second].map(Process::log).join("\n---\n");
    assert!(observer.status.success(), "{}\n{logs}", String::from_utf8_lossy(&observer.stderr));
    let summary: Value = serde_json::from_slice(&fs::read(&summary_path).unwrap()).unwrap();
    let rounds = summary["rounds"].as_array().unwrap();
    let at = rounds.iter().position(|round| round["rewrite"].is_object()).unwrap();
    assert!(0 < at && at + 1 < rounds.len(), "it trained before and after: {rounds:#?}");
    assert_eq!(rounds.iter().filter(|round| round["rewrite"].is_object()).count(), 1);
    assert_eq!(rounds[at]["rewrite"], serde_json::from_str::<Value>(rewrite).unwrap());
    assert!(
        rounds[at]["included"].as_array().unwrap().is_empty() && rounds[at]["tokens"] == 0,
        "{rounds:#?}"
    );
    let loss = |round: usize, name: &str| rounds[round][name].as_f64().unwrap();
    let [start, before, after, end] = [
        loss(0, "heldout_loss_before"),
        loss(at, "heldout_loss_before"),
        loss(at, "heldout_loss_after"),
        loss(rounds.len() - 1, "heldout_loss_after"),
    ];
    assert!((before - after).abs() < 1e-4, "what the model computes stays: {rounds:#?}");
    assert!(before < start && end < after - 0.005, "the loss goes on falling: {rounds:#?}");
    let rewritten = rounds[at]["number"].as_u64().unwrap() as RoundNumber;
    let line =
        format!("model of round {rewritten} is {}", &rounds[at]["root"].as_str().unwrap()[..10]);
    for process in [&validator, &first, &second] {
        process.wait_for(&line, 0, 60);
    }

    // Only what was never trained is taken out, of a model of another architecture than that it got
    // into.
    let lied = runtime.block_on(deceiver).unwrap();
    assert!(lied < rewritten);
    let outcomes = |honest: bool| {
        let all = rounds.iter().flat_map(|round| round["audits"].as_array().unwrap());
        let liar = pol_chain::format_account(&Signer::from_uri("//Trainer//9").unwrap().account());
        all.filter(|audit| (audit["trainer"] != *liar) == honest)
            .map(|audit| audit["outcome"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(outcomes(false), ["withheld"]);
    assert!(
        outcomes(true).len() >= 3 && outcomes(true).iter().all(|outcome| outcome == "valid"),
        "{rounds:#?}"
    );
    let taken_out = async {
        let mut round = rewritten;
        loop {
            match chain.round_record(round).await.unwrap().map(|record| record.excised) {
                Some(excised) if excised.is_empty() => round += 1,
                Some(excised) => return excised[0].round,
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    };
    let taken_out =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), taken_out).await });
    assert_eq!(taken_out.expect("a later head takes the update out"), lied);
    let verified: Value = serde_json::from_str(&network.run(&["verify-head", "--json"])).unwrap();
    assert!(verified["round"].as_u64().unwrap() > rewritten.into());
    assert_eq!(verified["excised"], 1);

    for process in [first, second, validator, node] {
        assert!(!process.log().contains("panicked"), "{}", process.log());
        process.kill();
    }
    let checked = Command::new(network.node_binary())
        .args(["check-state", "--chain", "dev", "--base-path"])
        .arg(network.path("node"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
