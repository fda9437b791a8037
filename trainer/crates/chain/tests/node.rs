//! The client against a real node, `pol-node`, which must be built beforehand in the same profile:
//! `cargo build --release -p pol-node`. Takes up to a minute, most of it waiting for nodes to start
//! and for blocks.

use futures::StreamExt;
use pol_chain::{Call, Chain, ChainError, Signer};
use pol_primitives::{
    BoundedVec, POL,
    audit::{AuditConfig, Evidence, Finding, Measure, OpenedEnd, Served, ServedState},
    data::{ManifestInfo, ShardId, SourceKind, Text},
    metrics::ModelMetrics,
    model::ModelSpec,
    peer::{Endpoint, Role},
    recipe::{AdamW, Compression, Numerics, Recipe, Schedule, Tier, TierParameters},
    rewards::Books,
    round::RoundConfig,
    submission::{Claims, Included, Reveal},
    trace::{Carry, Proof},
};
use std::{
    fs::{self, File},
    future::ready,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// Far beyond what any step takes, so that a step that hangs fails with the node's log.
const PATIENCE: Duration = Duration::from_secs(120);

/// A development node with one authority, killed when dropped. Its chain outlives the process.
struct Node {
    folder: tempfile::TempDir,
    rpc: u16,
    peers: u16,
    process: Child,
}

impl Node {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (rpc, peers) = (free_port(), free_port());
        let process = launch(&folder, rpc, peers);
        Self { folder, rpc, peers, process }
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.rpc)
    }

    /// `kill -9`: the node has no chance to say goodbye or to save anything.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = launch(&self.folder, self.rpc, self.peers);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- the node's log\n{}",
                fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
        }
    }
}

fn launch(folder: &tempfile::TempDir, rpc: u16, peers: u16) -> Child {
    let binary = binary();
    let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    Command::new(&binary)
        .args(["--dev", "--no-telemetry", "--no-prometheus", "--no-mdns"])
        .arg("--base-path")
        .arg(folder.path().join("data"))
        .args(["--rpc-port", &rpc.to_string(), "--port", &peers.to_string()])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", binary.display()))
}

/// `pol-node` next to this test's own `deps` folder.
fn binary() -> PathBuf {
    let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let binary = profile.join("pol-node");
    assert!(
        binary.exists(),
        "{} is missing: run cargo build --release -p pol-node first",
        binary.display()
    );
    binary
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn in_time<T>(what: &str, step: impl Future<Output = T>) -> T {
    timeout(PATIENCE, step)
        .await
        .unwrap_or_else(|_| panic!("{what} takes longer than {PATIENCE:?}"))
}

/// Connects to a node that starts on a machine which may be busy with other things.
async fn connect(node: &Node) -> Chain {
    for _ in 0..5 {
        if let Ok(chain) = Chain::connect(&node.url()).await {
            return chain;
        }
    }
    Chain::connect(&node.url()).await.unwrap()
}

fn signer(path: &str) -> Signer {
    Signer::from_uri(path).unwrap()
}

/// An account nobody has used.
fn fresh(name: &str) -> Signer {
    signer(&format!("//test//{name}"))
}

/// The name of the error that the call was refused with.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, ChainError>) -> (String, String, String) {
    match result {
        Err(ChainError::Refused { pallet, error, documentation }) => (pallet, error, documentation),
        other => panic!("expected a refusal, not {other:?}"),
    }
}

fn every_call() -> Vec<Call> {
    let tier = TierParameters { micro_batch: 1, accumulation: 1, inner_steps: 2, cadence: 1 };
    let recipe = Recipe {
        model: ModelSpec::gpt2(256, 32, 1, 1, 64, 64),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        rewrite: None,
        sequence: 64,
        shard_tokens: 64,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: Schedule { peak: 1_000_000, warmup_steps: 20, decay_tokens: 0, floor: 100_000 },
        gradient_clip: 1_000_000,
        outer_rate: 1_000_000,
        compression: Compression { top_k: 256, feedback: 950_000 },
        segments: 2,
        numerics: Numerics::Exact,
    };
    let reveal = Reveal {
        payload_hash: [1; 32],
        trace_root: [2; 32],
        carry_hash: [3; 32],
        steps: 2,
        first_leaf: Proof::truncate_from(vec![[4; 32]; 3]),
        salt: [5; 32],
    };
    let proof = Proof::truncate_from(vec![[4; 32]; 3]);
    let served = Served {
        state: ServedState { leaf: 1, root: [1; 32], carry: Carry::default() },
        proof: proof.clone(),
    };
    let end = OpenedEnd { digest: [1; 32], proof };
    let replayed = Finding::Replayed {
        ends: BoundedVec::truncate_from(vec![[1; 32]]),
        packed: true,
        measure: Measure::default(),
    };
    let endpoint = Endpoint {
        id: [1; 32],
        addresses: vec!["127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap().into()]
            .try_into()
            .unwrap(),
    };
    let text = |text: &str| Text::truncate_from(text.as_bytes().to_vec());
    let manifest = ManifestInfo {
        source: 0,
        merkle_root: [1; 32],
        content_hash: [2; 32],
        tokenizer: [3; 32],
        shards: 4,
        shard_tokens: 64,
        parents: vec![1, 2].try_into().unwrap(),
        quality: 1_000_000,
        held_out: true,
    };
    vec![
        Call::JoinRound { tier: Tier::Miner },
        Call::Commit { round: 1, commitment: [1; 32], claims: Claims::default() },
        Call::Reveal { round: 1, reveal },
        Call::AttestHead { round: 1, root: [1; 32], included: Included::from_indices([3]) },
        Call::Conclude { account: [1; 32] },
        Call::ResetCarry,
        Call::ServeStates { audit: 1, states: BoundedVec::truncate_from(vec![served]) },
        Call::CommitAudit { audit: 1, commitment: [1; 32] },
        Call::OpenSegments { audit: 1, ends: BoundedVec::truncate_from(vec![end]) },
        Call::RevealAudit {
            audit: 1,
            evidence: Evidence::truncate_from(vec![(0, replayed), (1, Finding::Impossible)]),
            salt: [1; 32],
        },
        Call::Settle { audit: 1, trainer: [1; 32] },
        Call::MeasureHead {
            round: 1,
            metrics: ModelMetrics { auroc: Some(1), ..ModelMetrics::default() },
        },
        Call::Claim { round: 1 },
        Call::SetRecipe(recipe).sudo(),
        Call::SetLengths(RoundConfig::default()).sudo(),
        Call::SetAudits(AuditConfig::default()).sudo(),
        Call::Bond { role: Role::Trainer, amount: POL },
        Call::BondExtra { amount: POL },
        Call::Unbond,
        Call::Withdraw,
        Call::SetEndpoint { endpoint },
        Call::Chill { validator: [1; 32] },
        Call::Unchill,
        Call::RegisterSource {
            kind: SourceKind::Dataset,
            address: text("https://example.org"),
            licence: text("CC0-1.0"),
        },
        Call::RegisterManifest(manifest),
        Call::Transfer { to: [1; 32], amount: POL },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_reads_and_writes() {
    let node = Node::start();
    let chain = connect(&node).await;

    // What the runtime tells agrees with itself.
    let (overview, best) = (chain.overview().await.unwrap(), chain.best().await.unwrap());
    assert_eq!(chain.at(best.hash).overview().await.unwrap().config, overview.config);
    assert_eq!(chain.recipe().await.unwrap().map(|recipe| recipe.hash()), overview.recipe_hash);
    assert_eq!(chain.round_record(1_000_000).await.unwrap(), None);
    assert_eq!(chain.submissions(1_000_000).await.unwrap(), Vec::new());
    assert_eq!(chain.manifest(chain.manifest_count().await.unwrap()).await.unwrap(), None);
    assert_eq!(chain.source(1_000_000).await.unwrap(), None);
    assert_eq!(chain.recipe_by_hash(&[0; 32]).await.unwrap(), None);
    assert_eq!(chain.updates(1_000_000).await.unwrap(), Vec::new());
    assert_eq!(chain.history(1_000_000).await.unwrap(), Vec::new());
    assert_eq!(chain.excisions().await.unwrap(), Vec::new());
    assert!(chain.audit_config().await.unwrap().is_valid());
    assert_eq!(chain.audits().await.unwrap(), Vec::new());
    assert_eq!(chain.shard(ShardId { manifest: 1_000_000, index: 0 }).await.unwrap(), None);
    assert_eq!(chain.books().await.unwrap(), Books::default());
    for member in chain.members().await.unwrap() {
        assert_eq!(chain.member(&member.account).await.unwrap(), Some(member));
    }
    let (alice, someone) = (signer("//Alice"), fresh("someone"));
    assert_eq!(chain.member(&someone.account()).await.unwrap(), None);
    assert_eq!(chain.lease(&someone.account()).await.unwrap(), None);
    assert_eq!(chain.standing(&someone.account()).await.unwrap(), Default::default());
    assert_eq!(chain.shown(1_000_000, &someone.account()).await.unwrap(), None);
    assert_eq!(chain.audited_lease(1_000_000, &someone.account()).await.unwrap(), None);
    assert_eq!(chain.rewards(&someone.account()).await.unwrap(), Vec::new());
    chain.attestations().await.unwrap();
    assert!(chain.finalised().await.unwrap().number <= chain.best().await.unwrap().number);
    for call in every_call() {
        chain.encode(&call).await.unwrap();
    }

    // An account with nothing cannot pay, and is named.
    let error = chain.submit(&someone, Call::Unbond).await.unwrap_err();
    assert!(
        matches!(error, ChainError::Unfunded { account } if account == someone.account()),
        "{error}"
    );
    assert!(error.to_string().contains(&someone.ss58()), "{error}");

    // Two calls at once take two nonces.
    let nonce = chain.nonce(&alice.account()).await.unwrap();
    let other = fresh("other");
    let (one, two) = in_time(
        "two transfers",
        futures::future::join(
            chain.submit(&alice, Call::Transfer { to: someone.account(), amount: 10 * POL }),
            chain.submit(&alice, Call::Transfer { to: other.account(), amount: 20 * POL }),
        ),
    )
    .await;
    assert_ne!(one.unwrap().extrinsic, two.unwrap().extrinsic);
    assert_eq!(chain.nonce(&alice.account()).await.unwrap(), nonce + 2);
    assert_eq!(chain.free_balance(&someone.account()).await.unwrap(), 10 * POL);
    assert_eq!(chain.free_balance(&other.account()).await.unwrap(), 20 * POL);

    // Refusals have the names and the advice of their pallet.
    let (pallet, error, advice) =
        refusal(chain.submit(&someone, Call::JoinRound { tier: Tier::Participant }).await);
    assert_eq!((pallet.as_str(), error.as_str()), ("ProofOfLearning", "NotJoining"));
    assert!(advice.contains("next round"), "{advice}");
    let (pallet, ..) = refusal(
        chain.submit(&someone, Call::Transfer { to: other.account(), amount: 1_000 * POL }).await,
    );
    assert_eq!(pallet, "Token");
    let (pallet, error, _) =
        refusal(chain.submit(&someone, Call::SetLengths(RoundConfig::default()).sudo()).await);
    assert_eq!((pallet.as_str(), error.as_str()), ("Sudo", "RequireSudo"));

    // A call of the sudo key takes effect, or is refused though its extrinsic is not.
    let lengths = RoundConfig { train: 77, ..RoundConfig::default() };
    let done = chain.submit(&alice, Call::SetLengths(lengths).sudo()).await.unwrap();
    assert_eq!(chain.at(done.block.hash).overview().await.unwrap().config, lengths);
    let audits = AuditConfig { replay: 77, ..AuditConfig::default() };
    let done = chain.submit(&alice, Call::SetAudits(audits).sudo()).await.unwrap();
    assert_eq!(chain.at(done.block.hash).audit_config().await.unwrap(), audits);
    let invalid = RoundConfig { join: 0, ..lengths };
    let (_, error, _) = refusal(chain.submit(&alice, Call::SetLengths(invalid).sudo()).await);
    assert_eq!(error, "InvalidLengths");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_waited_for_and_nothing_happens_twice() {
    let mut node = Node::start();
    let chain = connect(&node).await;
    let mut blocks = chain.blocks().await.unwrap();
    let first = in_time("a block", blocks.next()).await.unwrap();
    let receiver = fresh("receiver").account();
    let send = |sender: Signer| {
        let chain = chain.clone();
        tokio::spawn(async move {
            chain.submit(&sender, Call::Transfer { to: receiver, amount: 3 * POL }).await
        })
    };
    let (alice, bob) = (signer("//Alice"), signer("//Bob"));

    // The node dies with one transaction in its pool, which it forgets, and is asked for more while
    // it is away.
    let interrupted = send(alice.clone());
    sleep(Duration::from_millis(200)).await;
    node.kill();
    let begun_without_node = send(bob.clone());
    let overview = {
        let chain = chain.clone();
        tokio::spawn(async move { chain.overview().await })
    };
    sleep(Duration::from_millis(200)).await;
    node.restart();

    in_time("a read while the node restarts", overview).await.unwrap().unwrap();
    let begun = in_time("a transfer begun while the node restarts", begun_without_node)
        .await
        .unwrap()
        .unwrap();
    let interrupted =
        in_time("a transfer whose node was killed", interrupted).await.unwrap().unwrap();

    // The stream of blocks goes on, to where a second copy would have been included too.
    let both = begun.block.number.max(interrupted.block.number).max(first.number);
    let later =
        in_time("later blocks", blocks.skip_while(|block| ready(block.number < both + 2)).next())
            .await
            .unwrap();
    let settled = chain.at(later.hash);
    assert_eq!(settled.free_balance(&receiver).await.unwrap(), 6 * POL);
    assert_eq!(settled.nonce(&alice.account()).await.unwrap(), 1);
    assert_eq!(settled.nonce(&bob.account()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_a_node_is_reported() {
    let url = format!("ws://127.0.0.1:{}", free_port());
    let error = in_time("giving up", Chain::connect(&url)).await.unwrap_err();
    assert!(
        matches!(&error, ChainError::Unreachable { url: named, .. } if *named == url),
        "{error}"
    );
}
