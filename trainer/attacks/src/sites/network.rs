// SPDX-License-Identifier: Apache-2.0

//! A network of four sites, each with an authority, trainers and validators of its own.

use super::{clock::shift_clock, links::Links};
use crate::{
    network::{
        AUDITS, Process, SHORT_TEXT, Text, binary, connect, finish, ingest, launch, poll,
        prepare_logs, signer, unused_endpoint,
    },
    rpc::Rpc,
    waits::with_notices,
};
use anyhow::{Context, Result};
use codec::Decode;
use futures::future::try_join_all;
use pol_chain::{AccountId, Call, Chain, Signer};
use pol_primitives::{
    Balance, POL,
    audit::AuditConfig,
    data::SourceKind,
    member::Role,
    recipe::Recipe,
    round::{BlockNumber, RoundConfig},
};
use pol_trainer::options::dev_uri;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Phases that last longer than any partition: a member that is cut off for a whole phase is late,
/// and nothing tells it from one that is idle. Phases end when all have acted.
const LENGTHS: RoundConfig =
    RoundConfig { join: 4, train: 40, reveal: 30, hold: 30, attest: 60, pause: 5, missed: 8 };
/// Audits whose stages last as long.
const LONG_AUDITS: AuditConfig =
    AuditConfig { serve: 30, replay: 60, open: 30, reveal: 30, ..AUDITS };

/// Authorities with their bonds, one a site. Their keys are those of the well-known accounts.
pub(crate) const AUTHORITIES: [(&str, Balance); 4] = [
    ("alice", 40_000 * POL),
    ("bob", 25_000 * POL),
    ("charlie", 15_000 * POL),
    ("dave", 10_000 * POL),
];
/// Validators with their sites and bonds.
pub(crate) const VALIDATORS: [(&str, u8, Balance); 5] = [
    ("validator-1", 0, 40_000 * POL),
    ("validator-2", 1, 30_000 * POL),
    ("validator-3", 2, 25_000 * POL),
    ("validator-4", 2, 10_000 * POL),
    ("validator-5", 0, 5_000 * POL),
];
/// Trainers with their sites.
pub(crate) const TRAINERS: [(&str, u8); 6] = [
    ("trainer-1", 0),
    ("trainer-2", 1),
    ("trainer-3", 2),
    ("trainer-4", 3),
    ("trainer-5", 1),
    ("trainer-6", 2),
];

/// Validator with the smallest bond that never acts. It is there before round zero begins.
const IDLER: &str = "validator-6";
/// Longest wait in blocks for the first model, less than the limit of the phase in which it is
/// attested: an idler must not hold it up.
const FIRST_MODEL_BLOCKS: u32 = 40;
/// Number of [`strangers`].
pub(crate) const STRANGERS: usize = 126;
/// Balance of each stranger.
const STRANGER_BALANCE: Balance = 100_000 * POL;

/// Peer ids of the sites' nodes. Their keys are the numbers from 1 on.
const PEERS: [&str; AUTHORITIES.len()] = [
    "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
    "12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD",
    "12D3KooWSCufgHzV4fCwRijfH2k3abrpAJxTKxEvN1FDuRXA2U9x",
    "12D3KooWSsChzF81YDUKpe9Uk5AHV5oqAaXAcWNSPYgoLauUk4st",
];
/// Site whose authority can have a second node.
pub(crate) const DOUBLED_SITE: u8 = 3;
/// Peer id of the second node. Its key is the number that follows those of the sites' nodes.
const SECOND_PEER: &str = "12D3KooWSuTq6MG9gPt7qZqLFKkYrfxMewTZhj9nmRHJkPwzWDG2";

/// A running network of four sites.
pub(crate) struct SitesNetwork {
    pub(crate) links: Links,
    /// Client of each site's node.
    pub(crate) chains: Vec<Chain>,
    block_time: Duration,
    spec: PathBuf,
    /// Process of each site's node; none while it is stopped.
    nodes: Mutex<Vec<Option<Process>>>,
    members: Mutex<Vec<Process>>,
    /// Seconds by which the clock of each site is ahead.
    clocks: Mutex<[i32; AUTHORITIES.len()]>,
    folder: tempfile::TempDir,
    logs: PathBuf,
}

impl SitesNetwork {
    /// Starts the sites with all members, and waits for the first model.
    pub(crate) async fn start(logs: &Path) -> Result<Self> {
        prepare_logs(logs)?;
        let folder = tempfile::tempdir().context("a temporary folder")?;
        // All texts: in 200 rounds, six trainers take 2,400 shards.
        let text = Text { count: usize::MAX, ..SHORT_TEXT };
        let ingested = ingest(folder.path(), logs, text);
        let recipe = with_notices("data is prepared", ingested).await?;
        let spec = folder.path().join("spec.json");
        fs::write(&spec, chain_spec(&recipe).await?.to_string())?;
        let sites = AUTHORITIES.len() as u8;
        let links = Links::new(sites)?;
        let nodes = (0..sites)
            .map(|site| Ok(Some(launch_node(&links, site, &spec, folder.path(), logs, 0)?)))
            .collect::<Result<Vec<_>>>()?;
        let connected = try_join_all((0..sites).map(|site| connect(rpc(&links, site))));
        let chains = with_notices("the nodes of the sites answer", connected).await?;
        let block_time = chains.first().context("there are sites")?.block_time().await?;
        let network = Self {
            links,
            chains,
            block_time,
            spec,
            nodes: nodes.into(),
            members: Mutex::default(),
            clocks: Mutex::default(),
            folder,
            logs: logs.to_owned(),
        };
        network.start_members().await?;
        network
            .until("round zero is attested", FIRST_MODEL_BLOCKS, || async {
                Ok(network.chains[0].overview().await?.head.map(drop))
            })
            .await?;
        Ok(network)
    }

    async fn start_members(&self) -> Result<()> {
        let chain = &self.chains[0];
        try_join_all(VALIDATORS.map(|(name, _, amount)| async move {
            let call = Call::Bond { role: Role::Validator, amount };
            chain.submit(&signer(name)?, call).await.map_err(anyhow::Error::from)
        }))
        .await?;
        let idler = signer(IDLER)?;
        let amount = Role::Validator.minimum_bond();
        chain.submit(&idler, Call::Bond { role: Role::Validator, amount }).await?;
        chain.submit(&idler, Call::SetEndpoint { endpoint: unused_endpoint() }).await?;
        self.register_data().await?;
        self.start_beacon()?;
        (0..AUTHORITIES.len() as u8).try_for_each(|site| self.start_members_of(site))
    }

    /// Starts the members of a site.
    fn start_members_of(&self, wanted: u8) -> Result<()> {
        let data = self.folder.path().join("data");
        let validators = (0..).zip(VALIDATORS).filter(|(_, (_, site, _))| *site == wanted);
        for (index, (name, site, _)) in validators {
            let mut command = self.member(site, name, index)?;
            command.args(["--role", "validator"]);
            if index == 0 {
                command.arg("--data").arg(&data);
            }
            self.launch_member(name, command)?;
        }
        let trainers = (VALIDATORS.len() as u16..).zip(TRAINERS);
        for (index, (name, site)) in trainers.filter(|(_, (_, site))| *site == wanted) {
            let mut command = self.member(site, name, index)?;
            command.args(["--tier", "whale"]);
            self.launch_member(name, command)?;
        }
        Ok(())
    }

    fn start_beacon(&self) -> Result<()> {
        let mut command = self.links.command(0, &binary("pol-trainer")?);
        command.args(["beacon", "sign", "--node", &self.node_url(0)]);
        self.launch_member("beacon", command)
    }

    async fn register_data(&self) -> Result<()> {
        let mut command = self.links.command(0, &binary("pol-trainer")?);
        command
            .args(["data", "register", "--dev-account", VALIDATORS[0].0])
            .args(["--node", &self.node_url(0), "--data"])
            .arg(self.folder.path().join("data"));
        finish(command).await?;
        let governance = signer("alice")?;
        for manifest in [0, 1] {
            let call = Call::AdmitManifest { manifest, kind: SourceKind::Dataset };
            self.chains[0].submit(&governance, call.sudo()).await?;
        }
        Ok(())
    }

    /// Returns the command of a member in a site. `index` tells the members of a site apart.
    fn member(&self, site: u8, name: &str, index: u16) -> Result<Command> {
        let (listen, relayed) = self.links.member_addresses(site, index)?;
        let mut command = self.links.command(site, &binary("pol-trainer")?);
        command
            .env("POL_NODE", self.node_url(site))
            .env("NO_COLOR", "1")
            .args(["--dev-account", name, "--workers", "1"])
            .args(["--listen", &listen.to_string(), "--base-path"])
            .arg(self.folder.path().join(name));
        for address in relayed {
            command.args(["--advertise", &address.to_string()]);
        }
        shift_clock(&mut command, self.clock(site));
        Ok(command)
    }

    /// Returns the address of the node of a site for processes of this site.
    fn node_url(&self, site: u8) -> String {
        format!("ws://127.0.0.1:{}", self.links.rpc_port(site))
    }

    fn launch_member(&self, name: &str, mut command: Command) -> Result<()> {
        lock(&self.members).push(launch(name, &mut command, &self.logs)?);
        Ok(())
    }

    /// Stops a site's node by a kill, as a power cut would.
    pub(crate) fn stop_node(&self, site: u8) {
        if let Some(node) = lock(&self.nodes).get_mut(usize::from(site)) {
            *node = None;
        }
    }

    /// Starts a stopped node again with its old state.
    pub(crate) fn start_node(&self, site: u8) -> Result<()> {
        let (folder, ahead) = (self.folder.path(), self.clock(site));
        let node = launch_node(&self.links, site, &self.spec, folder, &self.logs, ahead)?;
        if let Some(place) = lock(&self.nodes).get_mut(usize::from(site)) {
            *place = Some(node);
        }
        Ok(())
    }

    /// Starts a second node with the keys of [`DOUBLED_SITE`]'s authority and a state of its own.
    /// The first one passes its blocks on.
    pub(crate) fn start_double(&self) -> Result<Process> {
        let (links, site) = (&self.links, DOUBLED_SITE);
        let name = format!("{}-double", AUTHORITIES[usize::from(site)].0);
        let mut command = node_command(links, site, &self.spec, &self.folder.path().join(&name))?;
        command.args(["--node-key", &node_key(AUTHORITIES.len() as u8)]);
        command.args(["--listen-addr", &multiaddress(links.second_node_address(site))]);
        let first = multiaddress(links.node_address(site));
        let peer = PEERS[usize::from(site)];
        command.args(["--reserved-nodes", &format!("{first}/p2p/{peer}")]);
        command.args(["--rpc-port", &links.second_rpc_port(site).to_string()]);
        launch(&name, &mut command, &self.logs)
    }

    fn clock(&self, site: u8) -> i32 {
        lock(&self.clocks).get(usize::from(site)).copied().unwrap_or(0)
    }

    /// Starts the node and all members of a site again, with a clock that is so many seconds ahead.
    pub(crate) async fn restart_site(&self, site: u8, ahead: i32) -> Result<()> {
        if let Some(clock) = lock(&self.clocks).get_mut(usize::from(site)) {
            *clock = ahead;
        }
        let of_site = members()?.into_iter().filter(|(_, at, _)| *at == site);
        let names: Vec<_> = of_site.map(|(name, ..)| name).collect();
        lock(&self.members).retain(|member| !names.contains(&member.name()));
        self.stop_node(site);
        self.start_node(site)?;
        connect(rpc(&self.links, site)).await?;
        self.start_members_of(site)
    }

    /// Waits for some block times.
    pub(crate) async fn wait_blocks(&self, blocks: u32) {
        tokio::time::sleep(self.block_time * blocks).await;
    }

    /// Asks until there is an answer, for at most `blocks` blocks. `event` completes the error
    /// "waited … blocks until". A node that does not answer is asked again.
    pub(crate) async fn until<T, F: Future<Output = Result<Option<T>>>>(
        &self,
        event: &str,
        blocks: BlockNumber,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        let tolerant = || async {
            ask().await.or_else(|error| {
                tracing::debug!("while waiting until {event}: {error:#}");
                Ok(None)
            })
        };
        poll(event, blocks, self.block_time, tolerant).await
    }

    /// Returns the hash of the block at this height on the chain of a site.
    pub(crate) async fn block_hash(&self, site: u8, height: BlockNumber) -> Result<Value> {
        rpc(&self.links, site).call("chain_getBlockHash", json!([height])).await
    }

    /// Appends a line to the file `NAME.jsonl` in the folder of the logs. A run that is cut off
    /// leaves what it found so far.
    pub(crate) fn record(&self, name: &str, line: &Value) -> Result<()> {
        let path = self.logs.join(format!("{name}.jsonl"));
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        Ok(writeln!(file, "{line}")?)
    }

    /// Returns the value of a storage entry without a key, from the first site's node.
    pub(crate) async fn stored<T: Decode>(&self, pallet: &str, entry: &str) -> Result<T> {
        rpc(&self.links, 0).stored(pallet, entry).await
    }

    /// Returns a reader of balances on hold.
    pub(crate) fn holds(&self) -> Holds {
        Holds { chain: self.chains[0].clone(), rpc: rpc(&self.links, 0) }
    }

    /// Returns a line about each process that has ended or panicked without being stopped.
    pub(crate) fn failed_processes(&self) -> Vec<String> {
        let (mut nodes, mut members) = (lock(&self.nodes), lock(&self.members));
        nodes.iter_mut().flatten().chain(members.iter_mut()).filter_map(Process::failure).collect()
    }
}

/// Reader of balances on hold, from the first site's node.
pub(crate) struct Holds {
    chain: Chain,
    rpc: Rpc,
}

impl Holds {
    /// Returns the balances on hold of the accounts at the newest final block.
    pub(crate) async fn at_final_block(&self, accounts: &[AccountId]) -> Result<Vec<Balance>> {
        let block = self.chain.finalised_block().await?;
        self.rpc.balances_on_hold(accounts, block.hash).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the names, sites and accounts of all trainers and validators.
pub(crate) fn members() -> Result<Vec<(&'static str, u8, AccountId)>> {
    let validators = VALIDATORS.map(|(name, site, _)| (name, site));
    let all = validators.into_iter().chain(TRAINERS);
    all.map(|(name, site)| Ok((name, site, signer(name)?.account()))).collect()
}

/// Returns the keys of accounts that have session keys and a balance from the first block on, and
/// no node.
pub(crate) fn strangers() -> Result<Vec<Signer>> {
    (1..=STRANGERS).map(|number| signer(&format!("stranger-{number}"))).collect()
}

fn rpc(links: &Links, site: u8) -> Rpc {
    Rpc(links.rpc_address(site))
}

fn launch_node(
    links: &Links,
    site: u8,
    spec: &Path,
    folder: &Path,
    logs: &Path,
    ahead: i32,
) -> Result<Process> {
    let (name, _) = AUTHORITIES[usize::from(site)];
    let mut command = node_command(links, site, spec, &folder.join(name))?;
    command.args(["--node-key", &node_key(site)]);
    command.args(["--listen-addr", &multiaddress(links.node_address(site))]);
    for (to, peer) in (0..).zip(PEERS).filter(|(to, _)| *to != site) {
        let address = multiaddress(links.relayed_node_address(site, to));
        command.args(["--reserved-nodes", &format!("{address}/p2p/{peer}")]);
    }
    if site == DOUBLED_SITE {
        let address = multiaddress(links.second_node_address(site));
        command.args(["--reserved-nodes", &format!("{address}/p2p/{SECOND_PEER}")]);
    }
    if links.are_private() {
        // Only this process can reach the address by which the RPC is seen outside the site.
        command.args(["--rpc-external", "--rpc-cors", "all", "--rpc-methods", "safe"]);
    }
    command.args(["--rpc-port", &links.rpc_port(site).to_string()]);
    shift_clock(&mut command, ahead);
    launch(&format!("{name}-node"), &mut command, logs)
}

/// Returns the command of a node with the keys of a site's authority.
fn node_command(links: &Links, site: u8, spec: &Path, state: &Path) -> Result<Command> {
    let (name, _) = AUTHORITIES[usize::from(site)];
    let mut command = links.command(site, &binary("pol-node")?);
    command.arg("--chain").arg(spec).arg(format!("--{name}")).arg("--base-path").arg(state);
    // A node that searched for others would find ways around the relays.
    command.args(["--reserved-only", "--no-prometheus", "--no-telemetry", "--no-mdns"]);
    Ok(command)
}

/// Returns the key by which a node is known to its peers.
fn node_key(index: u8) -> String {
    format!("{:064x}", u16::from(index) + 1)
}

fn multiaddress(address: SocketAddr) -> String {
    format!("/ip4/{}/tcp/{}", address.ip(), address.port())
}

/// Returns the specification of the sites' chain: the local network with the authorities of this
/// file, the recipe from the first block on, and Alice as its governance.
async fn chain_spec(recipe: &Recipe) -> Result<Value> {
    let mut command = Command::new(binary("pol-node")?);
    command.args(["export-chain-spec", "--chain", "local"]);
    let mut spec: Value = serde_json::from_slice(&finish(command).await?)?;
    let patch = spec
        .pointer_mut("/genesis/runtimeGenesis/patch")
        .context("the local chain has a patch of its genesis")?;
    let mut keys = Vec::new();
    let mut bonds = Vec::new();
    for (name, bond) in AUTHORITIES {
        let account = signer(name)?.ss58();
        keys.push(json!([
            account,
            account,
            { "babe": account, "grandpa": finality_key(name).await? },
        ]));
        bonds.push(json!([account, Role::Authority, u64::try_from(bond)?]));
    }
    let balances = patch
        .pointer_mut("/balances/balances")
        .and_then(Value::as_array_mut)
        .context("the local chain has balances")?;
    for stranger in strangers()? {
        let account = stranger.ss58();
        balances.push(json!([account, u64::try_from(STRANGER_BALANCE)?]));
        // Nobody signs with these keys, so that it does not matter of which kind they are.
        keys.push(json!([account, account, { "babe": account, "grandpa": account }]));
    }
    patch["session"]["keys"] = json!(keys);
    patch["polStaking"]["members"] = json!(bonds);
    patch["proofOfLearning"] =
        json!({ "lengths": LENGTHS, "audits": LONG_AUDITS, "recipe": recipe });
    patch["sudo"]["key"] = json!(signer("alice")?.ss58());
    Ok(spec)
}

/// Returns the finality key of a well-known account.
async fn finality_key(name: &str) -> Result<String> {
    let mut command = Command::new(binary("pol-node")?);
    command.args([
        "key",
        "inspect",
        "--scheme",
        "ed25519",
        "--output-type",
        "json",
        &dev_uri(name)?,
    ]);
    let key: Value = serde_json::from_slice(&finish(command).await?)?;
    Ok(key["ss58PublicKey"].as_str().context("the node prints the key")?.to_owned())
}
