// SPDX-License-Identifier: Apache-2.0

//! Indexes of a chain whose two authorities part, make blocks of their own, and join: about two
//! minutes, most of which are waits.

use crate::{
    harness::{Network, free_port},
    process::{POLL_INTERVAL, Process},
};
use pol_chain::{BlockInfo, Chain};
use pol_index::Index;
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// Longest wait for anything, in seconds. Slots take three, and a slot may be empty.
const PATIENCE: u64 = 240;

/// Authorities, the keys of their identities among peers, and the identities.
const AUTHORITIES: [(&str, u8, &str); 2] = [
    ("alice", 1, "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"),
    ("bob", 2, "12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD"),
];

/// Authority with an index of its chain.
struct Site<'a> {
    network: &'a Network,
    name: &'static str,
    key: u8,
    identity: &'static str,
    rpc_port: u16,
    p2p_port: u16,
}

/// Chains of both sites, compared.
struct Comparison {
    /// Heights of their best blocks.
    best: [u32; 2],
    /// First height at which they have different blocks, if there is one.
    parted_at: Option<u32>,
    /// Height of the last block that is final on both.
    finalised: u32,
}

#[test]
fn an_index_follows_a_chain_that_parts_and_joins() {
    let network = Network::new();
    write_specification(&network);
    let sites = AUTHORITIES.map(|authority| Site::new(&network, authority));
    let [alice, bob] = &sites;
    let alice_node = alice.start(Some(bob));
    let bob_node = bob.start(Some(alice));
    let follower = alice.follow();
    let common = |found: &Comparison| found.parted_at.is_none() && found.finalised > 0;
    wait(&sites, "both have the first blocks", &[&alice_node, &bob_node], common);

    // Bob comes back at another port, without a peer.
    bob_node.kill();
    let bob_node = bob.start(None);
    let parted = |found: &Comparison| {
        found.parted_at.is_some_and(|at| found.best.iter().all(|best| *best > at))
    };
    let found =
        wait(&sites, "both have two blocks of their own", &[&alice_node, &bob_node], parted);
    let first = found.parted_at.unwrap();
    let before = bob.catch_up();
    assert!(bob.indexed().is_some_and(|last| last.number > first), "{before:?}");
    wait_until("the index has Alice's blocks", &[&follower], || {
        alice.indexed().is_some_and(|last| last.number > first)
    });

    // Slots with two authors make small forks at any time.
    let small = sum(&lines(&follower.log()), "retracted");
    bob_node.kill();
    let bob_node = bob.start(Some(alice));
    let joined = |found: &Comparison| found.parted_at.is_none() && found.finalised > first;
    let found = wait(&sites, "the chains have joined", &[&alice_node, &bob_node], joined);
    let after = bob.catch_up();
    wait_until("the index has the joined chain", &[&follower], || alice.agrees(found.finalised));
    let followed = lines(&follower.log());
    follower.kill();
    // One of the two chains was given up, with the two blocks or more that its index had.
    let retracted = sum(&followed, "retracted") - small + sum(&after, "retracted");
    assert!(retracted >= 2, "{followed:#?}\n{after:#?}");
    for site in &sites {
        site.check();
        assert!(site.agrees(found.finalised), "{}", site.name);
    }
}

impl<'a> Site<'a> {
    fn new(network: &'a Network, authority: (&'static str, u8, &'static str)) -> Self {
        let (name, key, identity) = authority;
        Self { network, name, key, identity, rpc_port: free_port(), p2p_port: free_port() }
    }

    fn path(&self, end: &str) -> PathBuf {
        self.network.path(&format!("{}{end}", self.name))
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.rpc_port)
    }

    /// Starts the node with one peer or none, and waits until it answers. Nodes do not ban peers
    /// that they reserve, whatever these lack after a fork.
    fn start(&self, peer: Option<&Self>) -> Process {
        let mut command = Command::new(self.network.node_binary());
        command.arg("--chain").arg(self.network.path("parting.json"));
        command.arg(format!("--{}", self.name)).arg("--base-path").arg(self.path("-node"));
        command.args(["--node-key", &format!("{:064x}", self.key)]);
        command.args(["--rpc-port", &self.rpc_port.to_string()]);
        command.args(["--no-prometheus", "--no-telemetry", "--no-mdns", "--reserved-only"]);
        // Alice begins the chain, and both go on when they are parted. Bob does not begin another.
        if self.name == "alice" || peer.is_none() {
            command.arg("--force-authoring");
        }
        let port = match peer {
            Some(Site { identity, p2p_port, .. }) => {
                let address = format!("/ip4/127.0.0.1/tcp/{p2p_port}/p2p/{identity}");
                command.args(["--reserved-nodes", &address]);
                self.p2p_port
            }
            None => free_port(),
        };
        command.args(["--port", &port.to_string()]);
        let node = Process::start(&mut command, self.path("-node.log"));
        let url = self.url();
        let question = ["status", "--json", "--node", &url];
        wait_until("the node answers", &[&node], || {
            self.network.try_run(&question).status.success()
        });
        node
    }

    /// Returns the arguments of a command about the index of this site.
    fn index(&self, mode: &[&str]) -> Vec<String> {
        let (database, url) = (self.path(".db"), self.url());
        let all = ["index", "--json", "--database", database.to_str().unwrap(), "--node", &url];
        all.iter().chain(mode).map(|word| (*word).to_owned()).collect()
    }

    /// Starts a follower.
    fn follow(&self) -> Process {
        let mut command = self.network.trainer();
        Process::start(command.args(self.index(&[])), self.path("-index.log"))
    }

    /// Follows the chain up to its best block, and returns what was printed.
    fn catch_up(&self) -> Vec<Value> {
        lines(&self.run_index(&["--once"]))
    }

    /// Compares the sums of the index with those of the chain.
    fn check(&self) {
        self.run_index(&["--check"]);
    }

    fn run_index(&self, mode: &[&str]) -> String {
        let words = self.index(mode);
        self.network.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Returns the last block of the index.
    #[tokio::main(flavor = "current_thread")]
    async fn indexed(&self) -> Option<BlockInfo> {
        self.open().await.last_block().await.unwrap()
    }

    /// Returns `true` if index and chain have the same blocks up to a height.
    #[tokio::main(flavor = "current_thread")]
    async fn agrees(&self, last: u32) -> bool {
        let (index, chain) = (self.open().await, self.chain().await);
        for number in 0..=last {
            let indexed = index.block_hash(number).await.unwrap();
            if indexed.is_none() || indexed != chain.block_hash(number).await.unwrap() {
                return false;
            }
        }
        true
    }

    async fn open(&self) -> Index {
        Index::open(self.path(".db").to_str().unwrap()).await.unwrap()
    }

    async fn chain(&self) -> Chain {
        Chain::connect(&self.url()).await.unwrap()
    }
}

/// Writes the specification of the local network with its first two authorities. Blocks are final
/// once both have voted for them.
fn write_specification(network: &Network) {
    let arguments = ["export-chain-spec", "--chain", "local"];
    let exported = Command::new(network.node_binary()).args(arguments).output().unwrap();
    let mut spec: Value = serde_json::from_slice(&exported.stdout).unwrap();
    let patch = spec.pointer_mut("/genesis/runtimeGenesis/patch").unwrap();
    for list in ["/session/keys", "/polStaking/members"] {
        patch.pointer_mut(list).unwrap().as_array_mut().unwrap().truncate(2);
    }
    fs::write(network.path("parting.json"), spec.to_string()).unwrap();
}

/// Waits until a condition holds for the chains of both sites.
fn wait(
    sites: &[Site<'_>; 2],
    what: &str,
    nodes: &[&Process],
    condition: impl Fn(&Comparison) -> bool,
) -> Comparison {
    let mut last = compare(sites);
    wait_until(what, nodes, || {
        last = compare(sites);
        condition(&last)
    });
    last
}

fn wait_until(what: &str, processes: &[&Process], mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(PATIENCE);
    while !condition() {
        let logs = || processes.iter().map(|process| process.titled_log()).collect::<String>();
        assert!(Instant::now() < end, "waited {PATIENCE} s until {what}\n{}", logs());
        sleep(POLL_INTERVAL);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn compare(sites: &[Site<'_>; 2]) -> Comparison {
    let [alice, bob] = [sites[0].chain().await, sites[1].chain().await];
    let best = [alice.best_block().await.unwrap(), bob.best_block().await.unwrap()];
    let best = best.map(|block| block.number);
    let finalised = [alice.finalised_block().await.unwrap(), bob.finalised_block().await.unwrap()];
    let finalised = finalised.into_iter().map(|block| block.number).min().unwrap();
    let mut parted_at = None;
    for number in 0..=best[0].min(best[1]) {
        let here = alice.block_hash(number).await.unwrap();
        if here != bob.block_hash(number).await.unwrap() {
            parted_at = Some(number);
            break;
        }
    }
    Comparison { best, parted_at, finalised }
}

/// Returns the objects that a follower printed, one a line.
fn lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn sum(lines: &[Value], field: &str) -> u64 {
    lines.iter().filter_map(|line| line[field].as_u64()).sum()
}
