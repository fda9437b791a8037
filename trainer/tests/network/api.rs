// SPDX-License-Identifier: Apache-2.0

//! The endpoints over the chain and its index, compared with the chain itself.

use crate::{harness::Network, process::Process};
use pol_api::{Access, Frame, Limits, Models, Rate, Scope, serve};
use pol_chain::{Chain, Signer, format_account, parse_account};
use pol_chain_api::{ChainOptions, ChainState, NodeSource, routes};
use pol_index::Index;
use serde_json::Value;
use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Time in which everything that the test waits for has happened.
const SOON: Duration = Duration::from_secs(60);
/// Units of a POL.
const POL: u128 = 1_000_000_000_000;

/// Server of the endpoints.
struct Server {
    address: SocketAddr,
}

/// Checks each endpoint against the chain, with the index that the network's follower left.
#[tokio::main]
pub(crate) async fn check(network: &Network, node: &Process) {
    let server = Server::start(network).await;
    let chain = network.chain().await;
    let trainer = Signer::from_uri("//Trainer//1").unwrap().account();
    let trainer = format_account(&trainer);
    server.check_consensus(&chain).await;
    server.check_wallet(&chain, &trainer).await;
    server.check_rewards(&chain, &trainer).await;
    server.check_lineage(&trainer).await;
    server.check_audits().await;
    server.check_events().await;
    server.check_hung_node(node, &trainer).await;
}

impl Server {
    /// Starts a server that follows the chain, and waits until its index is complete.
    async fn start(network: &Network) -> Self {
        let index = Index::open(network.path("index.db").to_str().unwrap()).await.unwrap();
        let node = NodeSource::Addresses(vec![network.node_url()]);
        let state = ChainState::start(node, index, ChainOptions::default());
        let many = NonZeroU32::new(1_000).unwrap();
        let access = Access::new(None, Rate { per_second: many, burst: many });
        let start = Some(Arc::new(state.clone()) as _);
        let frame = Frame::new(access).with_library(Models::default(), None, start);
        let router = frame.with(Scope::Read, routes(state)).build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap() };
        tokio::spawn(serve(listener, router, Limits::default(), std::future::pending()));
        let end = Instant::now() + SOON;
        loop {
            let (_, blocks) = server.ask("/consensus/blocks?limit=1").await;
            let behind = &blocks["as_of"]["behind"];
            if behind.as_u64().is_some_and(|behind| behind < 2) {
                return server;
            }
            assert!(Instant::now() < end, "the index is not complete: {blocks}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn open(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// Returns head and body of an answer.
    async fn ask(&self, path: &str) -> (String, Value) {
        let (mut stream, mut text) = (self.open(path).await, String::new());
        timeout(SOON, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {text}")))
    }

    /// Returns an answer without an error.
    async fn get(&self, path: &str) -> Value {
        let (head, body) = self.ask(path).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}\n{body}");
        body
    }

    /// Returns an answer once it is `live`: a busy node may not tell in time what it is asked.
    async fn get_live(&self, path: &str, live: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let answer = self.get(path).await;
            if live(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "the node does not tell: {answer:#}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops the node as a hung machine does. What can be told without it is told at once.
    async fn check_hung_node(&self, node: &Process, account: &str) {
        node.freeze(true);
        let wallet = format!("/wallet?account={account}");
        for path in [wallet.as_str(), "/data", "/peers"] {
            let (began, answer) = (Instant::now(), self.get(path).await);
            assert!(began.elapsed() < Duration::from_secs(3), "{path}: {:?}", began.elapsed());
            assert!(answer["as_of"]["block"].is_u64(), "{path}: {answer:#}");
            let told = [&answer["nonce"], &answer["free_shards"], &answer["node"]];
            assert!(told.into_iter().all(Value::is_null), "{path}: {answer:#}");
            if path == wallet {
                assert_eq!(
                    (&answer["live"], &answer["member"]["role"]),
                    (&false.into(), &"trainer".into())
                );
            }
        }
        node.freeze(false);
        self.get_live("/peers", |peers| peers["node"].is_object()).await;
    }

    async fn check_consensus(&self, chain: &Chain) {
        let consensus = self.get("/consensus").await;
        assert_eq!(consensus["chain"]["genesis"], hex(chain.genesis_hash()));
        assert!(consensus["best"]["number"].as_u64() >= consensus["final"]["number"].as_u64());
        assert_eq!(consensus["stake"]["nakamoto"], 1);
        let network = &self.get("/pretrained-models").await["network"];
        let recipe = chain.recipe().await.unwrap().unwrap();
        assert_eq!(network["genesis"], consensus["chain"]["genesis"]);
        assert_eq!(
            network["pretrained"],
            recipe.pretrained.map_or(Value::Null, |root| hex(root).into())
        );
        assert_eq!(network["seed"], hex(recipe.seed));
        let head = consensus["head"]["root"].as_str().unwrap();
        let (path, end) = (format!("/data-lineage?hash={head}"), Instant::now() + SOON);
        // A head that has just been adopted is indexed soon.
        while self.get(&path).await["found"].is_null() {
            assert!(Instant::now() < end, "the index has no head {head}");
            sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(self.get(&path).await["heads"][0]["round"], consensus["head"]["round"]);
        let rounds = self.get("/consensus/rounds").await;
        assert!(rounds["items"].as_array().unwrap().len() > 2);
        let authors = self.get("/consensus/authors").await;
        assert_eq!(authors["items"].as_array().unwrap().len(), 1);
        let peers = self.get_live("/peers", |peers| peers["node"].is_object()).await;
        let node = &peers["node"];
        assert!(node["peer_id"].as_str().unwrap().starts_with("12D3"), "{node}");
        assert!(node["latency_ms"].as_f64().unwrap() > 0.0, "{node}");
        assert!(peers["members"].as_array().unwrap().iter().any(|one| one["endpoint"].is_object()));
        let mind = self.get("/consciousness").await;
        assert!(mind["latest"]["loss"].as_f64().unwrap() > 0.0, "{mind:#}");
    }

    async fn check_wallet(&self, chain: &Chain, account: &str) {
        let path = format!("/wallet?account={account}");
        let wallet = self.get_live(&path, |wallet| wallet["live"] == true).await;
        assert_eq!((&wallet["live"], &wallet["member"]["role"]), (&true.into(), &"trainer".into()));
        let holds = wallet["holds"].as_array().unwrap();
        let sum: u128 = holds.iter().map(|hold| units(&hold["amount"])).sum();
        assert_eq!(sum, units(&wallet["held"]), "{wallet:#}");
        assert!(holds.iter().any(|hold| hold["reason"] == "PolStaking.Bond"), "{holds:?}");
        let nonce = chain.nonce(&parse_account(account).unwrap()).await.unwrap();
        assert!(wallet["nonce"].as_u64().unwrap().abs_diff(nonce.into()) < 3);
        let history = self.get(&format!("/wallet/history?account={account}&limit=1000")).await;
        let is_claim = |item: &&Value| item["extrinsic"]["call"] == "claim";
        let claims = history["items"].as_array().unwrap().iter().filter(is_claim).count();
        assert!(claims > 0, "{history:#}");
        let data = self.get_live("/data", |data| data["free_shards"].is_u64()).await;
        assert!(data["manifests"]["admitted"].as_u64().unwrap() > 0, "{data:#}");
    }

    async fn check_rewards(&self, chain: &Chain, account: &str) {
        let rewards = self.get(&format!("/rewards?account={account}")).await;
        let items = rewards["items"].as_array().unwrap();
        let claimed = items.iter().find(|item| item["state"] == "claimed").unwrap();
        let path = format!("/rewards/explanation?account={account}&round={}", claimed["round"]);
        let past = self.get(&path).await;
        assert_eq!((&past["source"], &past["state"]), (&"index".into(), &"claimed".into()));
        check_sum(&past);
        let difference = units(&past["total"]).abs_diff(units(&past["paid"]));
        assert!(difference < 100, "{past:#}");
        let id = parse_account(account).unwrap();
        for reward in chain.pending_rewards(&id).await.unwrap() {
            let path = format!("/rewards/explanation?account={account}&round={}", reward.round);
            let waiting = self.get(&path).await;
            check_sum(&waiting);
            assert!(waiting["text"].as_array().unwrap().len() > 1, "{waiting:#}");
        }
        let totals = self.get("/rewards/totals").await;
        let [emitted, seized, paid, burned, waiting] =
            ["emitted", "seized", "paid", "burned", "waiting"].map(|name| units(&totals[name]));
        assert_eq!(emitted + seized, paid + burned + waiting, "{totals:#}");
        let earners = self.get("/rewards/earners").await;
        assert!(earners["items"].as_array().unwrap().iter().any(|one| one["account"] == account));
        self.get("/penalties").await;
    }

    /// Walks from an update to its shards, to their source, and to the head, and back.
    async fn check_lineage(&self, account: &str) {
        let updates = self.get(&format!("/training-deltas?account={account}")).await;
        let is_valid = |item: &&Value| item["outcome"] == "valid";
        let update = updates["items"].as_array().unwrap().iter().find(is_valid).unwrap();
        let delta = &update["deltas"][0];
        let (manifest, shard) = (&delta["manifest"], &delta["shard"]);
        let forward = self.get(&format!("/data-lineage?shard={manifest}/{shard}")).await;
        let used = &forward["shards"][0];
        assert_eq!((&used["payload"], &used["delta"]), (&update["payload"], &delta["delta"]));
        assert_eq!(used["head"], forward["heads"][0]["root"]);
        assert!(forward["sources"][0]["address"].is_string(), "{forward:#}");
        let content = forward["manifests"][0]["content"].as_str().unwrap();
        let text = self.get(&format!("/data-lineage?hash={content}&limit=200")).await;
        assert_eq!(text["manifests"][0]["manifest"], *manifest);
        let back = self.get(&format!("/data-lineage?round={}&limit=200", used["round"])).await;
        let shards = back["shards"].as_array().unwrap();
        assert!(shards.iter().any(|one| one["shard"] == *shard && one["manifest"] == *manifest));
    }

    async fn check_audits(&self) {
        let audits = self.get("/audits?order=oldest").await;
        let is_ended = |item: &&Value| item["state"] == "ended";
        let ended = audits["items"].as_array().unwrap().iter().find(is_ended).unwrap();
        let report = self.get(&format!("/audits/{}", ended["audit"])).await;
        let stories = report["stories"].as_array().unwrap();
        assert_eq!(stories.len(), usize::try_from(ended["cases"].as_u64().unwrap()).unwrap());
        for story in stories {
            assert!(story["outcome"].is_string(), "{report:#}");
            assert!(story["seats"].as_array().unwrap().iter().any(|seat| seat["replayed"] == true));
        }
    }

    /// Waits until a new block is announced.
    async fn check_events(&self) {
        let mut stream = self.open("/chain-events").await;
        let mut text = String::new();
        while !text.contains("event: block\ndata: {\"number\":") {
            let mut bytes = [0; 1_024];
            let read = timeout(SOON, stream.read(&mut bytes)).await.unwrap().unwrap();
            assert!(read > 0, "{text}");
            text += &String::from_utf8_lossy(&bytes[..read]);
        }
        assert!(text.contains("event: hello"), "{text}");
    }
}

/// Checks that the parts of a reward add up to its total.
fn check_sum(reward: &Value) {
    let amounts = reward["parts"].as_array().unwrap().iter().map(|part| &part["amount"]);
    if reward["total"].is_null() {
        assert!(amounts.into_iter().all(Value::is_null), "{reward:#}");
    } else {
        assert_eq!(amounts.map(units).sum::<u128>(), units(&reward["total"]), "{reward:#}");
    }
}

/// Returns an amount in the smallest unit.
fn units(amount: &Value) -> u128 {
    let text = amount.as_str().unwrap();
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    whole.parse::<u128>().unwrap() * POL + format!("{rest:0<12}").parse::<u128>().unwrap()
}

fn hex(hash: [u8; 32]) -> String {
    hash.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
