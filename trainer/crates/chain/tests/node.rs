// SPDX-License-Identifier: Apache-2.0

//! Tests of the client against a real node. `pol-node` must be built before, in the same profile:
//! `cargo build --release -p pol-node`. They take up to a minute, mostly waiting for nodes to start
//! and for blocks.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use futures::StreamExt;
use pol_chain::{Call, Chain, ChainError, Signer};
use pol_primitives::{
    BoundedVec, POL,
    audit::{
        AuditConfig, Binding, Evidence, Finding, LeafProof, SketchedEnd, StateProof, TraceState,
        UpdateMeasurement,
    },
    data::{ManifestInfo, ShardId, ShortText, SourceKind},
    explanation::RewardState,
    lineage::{Activity, Derivation, Documents, Retirement, RetirementReason, ToolName},
    member::{Endpoint, Role},
    metrics::ModelMetrics,
    model::ModelSpec,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, Tier, TierParameters},
    rewards::Ledger,
    round::{QUORUM_PERCENT, RoundConfig},
    sketch::Sketch,
    submission::{Reveal, RevealSet, TrainingClaims},
    trace::{Carry, MerkleProof},
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

/// Far more than any step takes, so that a step that hangs fails with the node's log.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// Development node with one authority, killed when dropped. Its chain outlives the process.
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

    /// Kills the process as by `kill -9`, so that it can save nothing.
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

/// Returns the path of `pol-node`, next to this test's own `deps` folder.
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
    timeout(STEP_TIMEOUT, step)
        .await
        .unwrap_or_else(|_| panic!("{what} takes longer than {STEP_TIMEOUT:?}"))
}

/// Connects to a node that is starting, possibly on a busy machine.
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

/// Returns the key of an account without transactions.
fn fresh(name: &str) -> Signer {
    signer(&format!("//test//{name}"))
}

/// Returns pallet, name and documentation of the error that the call was refused with.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, ChainError>) -> (String, String, String) {
    match result {
        Err(ChainError::Refused { pallet, error, documentation }) => (pallet, error, documentation),
        other => panic!("expected a refusal, not {other:?}"),
    }
}

/// Returns one call of each kind.
fn every_call() -> Vec<Call> {
    [round_calls(), audit_calls(), governance_calls(), staking_calls(), data_calls()].concat()
}

fn proof() -> MerkleProof {
    MerkleProof::truncate_from(vec![[4; 32]; 3])
}

fn round_calls() -> Vec<Call> {
    let reveal = Reveal {
        payload_hash: [1; 32],
        trace_root: [2; 32],
        carry_hash: [3; 32],
        steps: 2,
        first_leaf: proof(),
        salt: [5; 32],
    };
    vec![
        Call::JoinRound { tier: Tier::Miner },
        Call::Commit { round: 1, commitment: [1; 32], claims: TrainingClaims::default() },
        Call::Reveal { round: 1, reveal },
        Call::ReportHeld { round: 1, held: RevealSet::from_indices([3]) },
        Call::AttestHead { round: 1, inputs: [2; 32], root: [1; 32] },
        Call::Conclude { account: [1; 32] },
        Call::ResetCarry,
        Call::MeasureHead {
            round: 1,
            metrics: ModelMetrics { auroc: Some(1), ..ModelMetrics::default() },
        },
        Call::Claim { round: 1 },
    ]
}

fn audit_calls() -> Vec<Call> {
    let state = TraceState { leaf: 1, root: [1; 32], carry: Carry::default() };
    let served = StateProof { state, proof: proof() };
    let end = LeafProof { digest: [1; 32], proof: proof() };
    let sketched = (SketchedEnd { state, sketch: Sketch::default() }, proof());
    let replayed = Finding::Replayed {
        ends: BoundedVec::truncate_from(vec![[1; 32]]),
        packed: true,
        measure: UpdateMeasurement::default(),
    };
    let evidence = Evidence::truncate_from(vec![(0, replayed), (1, Finding::Impossible)]);
    vec![
        Call::ServeStates { audit: 1, states: BoundedVec::truncate_from(vec![served]) },
        Call::CommitAudit { audit: 1, commitment: [1; 32] },
        Call::OpenSegments { audit: 1, ends: BoundedVec::truncate_from(vec![end]) },
        Call::RevealAudit { audit: 1, evidence: evidence.clone(), salt: [1; 32] },
        Call::OpenSketches { audit: 1, ends: BoundedVec::truncate_from(vec![sketched]) },
        Call::RevealSketches {
            audit: 1,
            evidence,
            bindings: BoundedVec::truncate_from(vec![Binding::Bound, Binding::Mismatch]),
            salt: [1; 32],
        },
        Call::Settle { audit: 1, trainer: [1; 32] },
    ]
}

fn governance_calls() -> Vec<Call> {
    let tier = TierParameters { micro_batch: 1, accumulation: 1, inner_steps: 2, cadence: 1 };
    let recipe = Recipe {
        model: ModelSpec::gpt2(256, 32, 1, 1, 64, 64),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: 64,
        shard_tokens: 64,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 1_000_000,
            warmup_steps: 20,
            decay_tokens: 0,
            floor: 100_000,
        },
        gradient_clip: 1_000_000,
        outer_rate: 1_000_000,
        compression: Compression { top_k: 256, feedback: 950_000 },
        segments: 2,
        numerics: Numerics::Exact,
        arithmetic: None,
    };
    vec![
        Call::SetRecipe(recipe.into()).sudo(),
        Call::SetLengths(RoundConfig::default()).sudo(),
        Call::SetAudits(AuditConfig::default()).sudo(),
    ]
}

fn staking_calls() -> Vec<Call> {
    let address = "127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap();
    let endpoint = Endpoint { id: [1; 32], addresses: vec![address.into()].try_into().unwrap() };
    vec![
        Call::Bond { role: Role::Trainer, amount: POL },
        Call::BondExtra { amount: POL },
        Call::Unbond,
        Call::Withdraw,
        Call::SetEndpoint { endpoint },
        Call::Chill { validator: [1; 32] },
        Call::Unchill,
        Call::Transfer { to: [1; 32], amount: POL },
        Call::Remark(vec![1]),
    ]
}

fn data_calls() -> Vec<Call> {
    let text = |text: &str| ShortText::truncate_from(text.as_bytes().to_vec());
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
        derivation: Derivation {
            activity: Activity::Selection,
            tool: ToolName::truncate_from(b"pol-data".to_vec()),
            version: ToolName::truncate_from(b"1".to_vec()),
            configuration: [4; 32],
        },
        documents: Some(Documents { root: [5; 32], count: 6 }),
    };
    let retirement =
        Retirement { reason: RetirementReason::OptOut, evidence: Some([7; 32]), for_cause: true };
    vec![
        Call::RegisterSource { address: text("https://example.org"), licence: text("CC0-1.0") },
        Call::RegisterManifest(Box::new(manifest)),
        Call::AdmitManifest { manifest: 0, kind: SourceKind::Dataset },
        Call::PauseManifest(0),
        Call::ResumeManifest(0),
        Call::RetireManifest { manifest: 0, retirement },
        Call::ReportManifest(0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_reads_and_writes() {
    let node = Node::start();
    let chain = connect(&node).await;
    let (alice, someone) = (signer("//Alice"), fresh("someone"));

    reads_agree(&chain).await;
    reads_of_unknown_accounts_are_empty(&chain, &someone).await;
    for call in every_call() {
        chain.encode(&call).await.unwrap();
    }

    // An account without tokens cannot pay, and is named.
    let error = chain.submit(&someone, Call::Unbond).await.unwrap_err();
    assert!(
        matches!(error, ChainError::Unfunded { account } if account == someone.account()),
        "{error}"
    );
    assert!(error.to_string().contains(&someone.ss58()), "{error}");

    transfers_at_once_take_two_nonces(&chain, &alice, &someone).await;
    refusals_name_their_error(&chain, &someone).await;
    sudo_calls_take_effect_or_are_refused(&chain, &alice).await;
}

/// Asserts that the runtime's answers agree with each other.
async fn reads_agree(chain: &Chain) {
    let (overview, best) = (chain.overview().await.unwrap(), chain.best_block().await.unwrap());
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
    assert_eq!(chain.shard_record(ShardId { manifest: 1_000_000, index: 0 }).await.unwrap(), None);
    reads_of_lineage_are_empty(chain).await;
    assert_eq!(chain.ledger().await.unwrap(), Ledger::default());
    for member in chain.members().await.unwrap() {
        assert_eq!(chain.member(&member.account).await.unwrap(), Some(member));
    }
    chain.held_reports().await.unwrap();
    chain.attestations().await.unwrap();
    let (finalised, best) =
        (chain.finalised_block().await.unwrap(), chain.best_block().await.unwrap());
    assert!(finalised.number <= best.number);
    let block_time = chain.block_time().await.unwrap();
    assert!((Duration::from_millis(500)..STEP_TIMEOUT).contains(&block_time), "{block_time:?}");
    let rules = chain.rules().await.unwrap();
    assert_eq!(rules.block_time, block_time);
    assert_eq!(rules.quorum_percent, QUORUM_PERCENT);
    assert_eq!(rules.dataset_bonus, SourceKind::Dataset.bonus());
    for role in [Role::Trainer, Role::Validator, Role::Authority] {
        assert_eq!(rules.minimum_bond(role), role.minimum_bond(), "{role:?}");
    }
}

async fn reads_of_lineage_are_empty(chain: &Chain) {
    assert_eq!(chain.shard_records(1_000_000, None).await.unwrap(), Vec::new());
    assert_eq!(chain.shards_of_round(1_000_000).await.unwrap(), Vec::new());
    assert_eq!(chain.children(0).await.unwrap(), Vec::<u32>::new());
    assert_eq!(chain.manifests_of_source(1_000_000).await.unwrap(), Vec::<u32>::new());
    assert_eq!(chain.manifests_of_documents(&[0; 32]).await.unwrap(), Vec::<u32>::new());
    assert_eq!(chain.retirement(1_000_000).await.unwrap(), None);
}

async fn reads_of_unknown_accounts_are_empty(chain: &Chain, unknown: &Signer) {
    let account = unknown.account();
    assert_eq!(chain.member(&account).await.unwrap(), None);
    assert_eq!(chain.lease(&account).await.unwrap(), None);
    assert_eq!(chain.standing(&account).await.unwrap(), Default::default());
    assert_eq!(chain.audit_response(1_000_000, &account).await.unwrap(), None);
    assert_eq!(chain.audited_lease(1_000_000, &account).await.unwrap(), None);
    assert_eq!(chain.pending_rewards(&account).await.unwrap(), Vec::new());
    let explained = chain.explain(&account, 1_000_000).await.unwrap();
    assert_eq!((explained.account, explained.state), (account, RewardState::Future));
    assert_eq!((explained.amount, explained.unsettled), (None, Vec::new()));
}

async fn transfers_at_once_take_two_nonces(chain: &Chain, alice: &Signer, someone: &Signer) {
    let nonce = chain.nonce(&alice.account()).await.unwrap();
    let other = fresh("other");
    let (one, two) = in_time(
        "two transfers",
        futures::future::join(
            chain.submit(alice, Call::Transfer { to: someone.account(), amount: 10 * POL }),
            chain.submit(alice, Call::Transfer { to: other.account(), amount: 20 * POL }),
        ),
    )
    .await;
    assert_ne!(one.unwrap().extrinsic, two.unwrap().extrinsic);
    assert_eq!(chain.nonce(&alice.account()).await.unwrap(), nonce + 2);
    assert_eq!(chain.free_balance(&someone.account()).await.unwrap(), 10 * POL);
    assert_eq!(chain.free_balance(&other.account()).await.unwrap(), 20 * POL);
}

/// Asserts that refusals have the names and the advice of their pallet.
async fn refusals_name_their_error(chain: &Chain, someone: &Signer) {
    let (pallet, error, advice) =
        refusal(chain.submit(someone, Call::JoinRound { tier: Tier::Participant }).await);
    assert_eq!((pallet.as_str(), error.as_str()), ("ProofOfLearning", "NotJoining"));
    assert!(advice.contains("next round"), "{advice}");
    let too_much = Call::Transfer { to: fresh("other").account(), amount: 1_000 * POL };
    let (pallet, ..) = refusal(chain.submit(someone, too_much).await);
    assert_eq!(pallet, "Token");
    let (pallet, error, _) =
        refusal(chain.submit(someone, Call::SetLengths(RoundConfig::default()).sudo()).await);
    assert_eq!((pallet.as_str(), error.as_str()), ("Sudo", "RequireSudo"));
}

/// Asserts that a call of the sudo key takes effect, or is refused though its extrinsic succeeds.
async fn sudo_calls_take_effect_or_are_refused(chain: &Chain, alice: &Signer) {
    let lengths = RoundConfig { train: 77, ..RoundConfig::default() };
    let receipt = chain.submit(alice, Call::SetLengths(lengths).sudo()).await.unwrap();
    assert_eq!(chain.at(receipt.block.hash).overview().await.unwrap().config, lengths);
    let audits = AuditConfig { replay: 77, ..AuditConfig::default() };
    let receipt = chain.submit(alice, Call::SetAudits(audits).sudo()).await.unwrap();
    assert_eq!(chain.at(receipt.block.hash).audit_config().await.unwrap(), audits);
    let invalid = RoundConfig { join: 0, ..lengths };
    let (_, error, _) = refusal(chain.submit(alice, Call::SetLengths(invalid).sudo()).await);
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

    // The node is killed with one transaction in its pool, which it forgets, and gets more requests
    // while it is away.
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

    // The stream of blocks continues, to where a second copy would have been included too.
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
