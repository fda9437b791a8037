// SPDX-License-Identifier: Apache-2.0

//! A network on this machine: one node and honest members, each a process of its own.

use crate::{
    rpc::Rpc,
    waits::{notice, with_notices},
};
use anyhow::{Context, Result, bail, ensure};
use codec::Encode;
use futures::future::{try_join, try_join_all};
use pol_chain::{AccountId, Call, Chain, ChainError, Signer};
use pol_data::ShardFolder;
use pol_engine::LeaseData;
use pol_primitives::{
    Balance, BoundedVec, POL,
    audit::AuditConfig,
    beacon::BeaconConfig,
    data::SourceKind,
    member::{Address, Endpoint, Role},
    recipe::{Numerics, Recipe},
    round::{BlockNumber, RoundConfig},
};
use pol_trainer::{
    context::NodeContext,
    options::{SwarmOptions, dev_uri},
    state::StateFolder,
};
use serde_json::{Value, json};
use sp_crypto_hashing::{blake2_128, twox_128};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Pause between two looks at the chain while waiting.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(700);
/// Honest trainers.
pub(crate) const TRAINERS: [&str; 2] = ["trainer-1", "trainer-2"];
/// Honest validators with their bonds.
pub(crate) const VALIDATORS: [(&str, Balance); 3] =
    [("validator-1", 40_000 * POL), ("validator-2", 30_000 * POL), ("validator-3", 25_000 * POL)];
/// Segments of a lease, with two steps each.
const SEGMENTS: u16 = 4;
/// Text to train on.
pub(crate) struct Text {
    /// Number of texts of the corpus.
    pub(crate) count: usize,
    /// Tokens of a sequence. A shard has [`SHARD_SEQUENCES`].
    pub(crate) sequence: u32,
}

/// Text that a model learns fast from.
pub(crate) const SHORT_TEXT: Text = Text { count: 4, sequence: 32 };
/// Text of which a probe says who taught the model.
pub(crate) const LONG_TEXT: Text = Text { count: usize::MAX, sequence: 128 };
/// Sequences of a shard.
const SHARD_SEQUENCES: u32 = 16;
/// Short phases: a round takes a minute at most, even if attackers delay it.
pub(crate) const LENGTHS: RoundConfig =
    RoundConfig { join: 4, train: 14, reveal: 6, hold: 8, attest: 20, pause: 5, missed: 8 };
/// Audits in which five of six validators sit on every update, so that each has seats in every
/// audit. A stage ends as soon as all have done their part; honest members on a machine that is a
/// few times as slow as most need the time to serve.
pub(crate) const AUDITS: AuditConfig = AuditConfig {
    seats: 5,
    more_seats: 9,
    segments: 1,
    probe: 4,
    mix: 1,
    serve: 14,
    replay: 24,
    open: 6,
    reveal: 6,
    escrow: 1,
};

/// Audits that look at nothing: no segment is drawn. Governance cannot set them.
pub(crate) const NO_AUDITS: AuditConfig = AuditConfig { segments: 0, ..AUDITS };

/// Environment variables that choose libtorch's kernels and threads.
const KERNEL_VARIABLES: [&str; 5] =
    ["ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS", "MKL_NUM_THREADS"];
/// Settings of different machines, for a profile that leaves the kernels open.
const MACHINES: [&[(&str, &str)]; 4] = [
    &[],
    &[("OMP_NUM_THREADS", "2"), ("MKL_NUM_THREADS", "2")],
    &[
        ("ATEN_CPU_CAPABILITY", "avx2"),
        ("MKL_CBWR", "AVX2"),
        ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ("OMP_NUM_THREADS", "1"),
    ],
    &[
        ("ATEN_CPU_CAPABILITY", "default"),
        ("MKL_CBWR", "COMPATIBLE"),
        ("ONEDNN_MAX_CPU_ISA", "SSE41"),
        ("OMP_NUM_THREADS", "1"),
    ],
];

/// Returns the name of a development account that stands for a member of this network. Attackers
/// are named by what they do, and have numbers far beyond those of the genesis.
pub(crate) fn dev_account(name: &str) -> String {
    if dev_uri(name).is_ok() {
        return name.to_owned();
    }
    let [first, second, third, ..] = blake2_128(name.as_bytes());
    format!("trainer-{}", 1_000_000 + u32::from_be_bytes([0, first, second, third]))
}

/// Returns the key of a member of this network.
pub(crate) fn signer(name: &str) -> Result<Signer> {
    Ok(Signer::from_uri(&dev_uri(&dev_account(name))?)?)
}

/// Returns an endpoint at which nobody answers.
pub(crate) fn unused_endpoint() -> Endpoint {
    let addresses = BoundedVec::truncate_from(vec![Address::V4([127, 0, 0, 1], 9)]);
    Endpoint { id: [8; 32], addresses }
}

/// A process that is killed when this one ends.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Returns the name of the process.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the process has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns a line about the panic or the end of the process, with its last words in the log.
    pub(crate) fn failure(&mut self) -> Option<String> {
        let log = self.log();
        // Every node logs a call in the sandboxed runtime that ends because its argument cannot be
        // decoded. That is no panic of the node.
        let is_real =
            |text: &&str| !text.lines().take(2).any(|line| line.contains("Nothing bad happened"));
        if let Some(text) = log.split("panicked at").skip(1).find(is_real) {
            let place = text.lines().next().unwrap_or_default();
            return Some(format!("{} panicked at {place}", self.name));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            return None;
        }
        Some(format!("{} ended: {}", self.name, log.lines().next_back().unwrap_or_default()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running network.
pub(crate) struct Network {
    /// Client of the node.
    pub(crate) chain: Chain,
    /// The node's RPC without the client.
    pub(crate) rpc: Rpc,
    /// Recipe that everybody trains by.
    pub(crate) recipe: Recipe,
    block_time: Duration,
    processes: Mutex<Vec<Process>>,
    folder: tempfile::TempDir,
    logs: PathBuf,
}

impl Network {
    /// Starts the node and sets it up by governance: data, a recipe of this profile, lengths,
    /// audits, and bonds of the honest validators.
    pub(crate) async fn start(logs: &Path, numerics: Numerics) -> Result<Self> {
        Self::start_with(logs, numerics, AUDITS, SHORT_TEXT).await
    }

    /// Starts the network as [`Self::start`] does, with these audits and this text. Audits that
    /// governance would refuse are part of the chain's first state.
    pub(crate) async fn start_with(
        logs: &Path,
        numerics: Numerics,
        audits: AuditConfig,
        text: Text,
    ) -> Result<Self> {
        prepare_logs(logs)?;
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let port = || -> Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        let (rpc, p2p) = (Rpc(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port()?)), port()?);
        let mut node = Command::new(binary("pol-node")?);
        node.args(["--dev", "--no-prometheus", "--no-telemetry", "--no-mdns"]);
        if !audits.is_valid() {
            node.arg("--chain").arg(write_spec(folder.path(), &audits).await?);
        }
        node.arg("--base-path").arg(folder.path().join("node"));
        node.args(["--rpc-port", &rpc.0.port().to_string(), "--port", &p2p.to_string()]);
        let node = launch("node", &mut node, logs)?;
        let started = try_join(ingest(folder.path(), logs, text), connect(rpc));
        let (recipe, chain) =
            with_notices("data is prepared and the node answers", started).await?;
        let recipe = match numerics {
            Numerics::Exact => recipe,
            Numerics::Native { tolerance } => recipe.into_native(tolerance),
        };
        let block_time = chain.block_time().await?;
        let network = Self {
            chain,
            rpc,
            recipe,
            block_time,
            processes: vec![node].into(),
            folder,
            logs: logs.to_owned(),
        };
        network
            .govern([
                Call::SetRecipe(network.recipe.clone().into()),
                Call::SetLengths(LENGTHS),
                Call::SetBeacon(network.chain.beacon().await?.map(short_margin)),
            ])
            .await?;
        network.govern(audits.is_valid().then_some(Call::SetAudits(audits))).await?;
        let mut signer = network.trainer()?;
        signer.args(["beacon", "sign"]);
        network.processes().push(launch("beacon", &mut signer, &network.logs)?);
        network.register().await?;
        try_join_all(VALIDATORS.map(|(name, bond)| network.bond(name, Role::Validator, bond)))
            .await?;
        Ok(network)
    }

    /// Submits calls as root, with the key of the development chain's governance.
    pub(crate) async fn govern(&self, calls: impl IntoIterator<Item = Call>) -> Result<()> {
        let alice = signer("alice")?;
        try_join_all(calls.into_iter().map(|call| self.chain.submit(&alice, call.sudo()))).await?;
        Ok(())
    }

    /// Gives each account `amount` from governance's balance.
    pub(crate) async fn fund(
        &self,
        names: impl IntoIterator<Item = &str>,
        amount: Balance,
    ) -> Result<()> {
        let alice = signer("alice")?;
        let accounts = names
            .into_iter()
            .map(|name| Ok(signer(name)?.account()))
            .collect::<Result<Vec<AccountId>>>()?;
        let transfers =
            accounts.into_iter().map(|to| self.chain.submit(&alice, Call::Transfer { to, amount }));
        try_join_all(transfers).await?;
        Ok(())
    }

    /// Bonds an amount above the minimum. Members bond the minimum by themselves.
    pub(crate) async fn bond(&self, name: &str, role: Role, amount: Balance) -> Result<()> {
        self.chain.submit(&signer(name)?, Call::Bond { role, amount }).await?;
        Ok(())
    }

    /// Returns the balance on hold of each account at the last final block.
    pub(crate) async fn holds(&self, accounts: &[AccountId]) -> Result<Vec<Balance>> {
        let block = self.chain.finalised_block().await?;
        self.rpc.balances_on_hold(accounts, block.hash).await
    }

    /// Runs a command of the released program in the name of an account, to its end.
    pub(crate) async fn run_as(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.trainer()?;
        command.args(arguments).args(["--dev-account", &dev_account(name)]);
        finish(command).await.map(drop)
    }

    async fn register(&self) -> Result<()> {
        let (data, owner) = (self.data(), VALIDATORS[0].0);
        let mut command = self.trainer()?;
        command
            .args(["data", "register", "--dev-account", &dev_account(owner), "--data"])
            .arg(data);
        finish(command).await?;
        let kind = SourceKind::Dataset;
        self.govern([0, 1].map(|manifest| Call::AdmitManifest { manifest, kind })).await
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trainer(&self) -> Result<Command> {
        let mut command = Command::new(binary("pol-trainer")?);
        command.env("POL_NODE", self.rpc.url()).env("NO_COLOR", "1");
        Ok(command)
    }

    /// Starts a member with these further arguments, and logs to a file called `log`.
    fn launch_member(&self, name: &str, log: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = self.trainer()?;
        command
            .args(["--dev-account", &dev_account(name), "--workers", "1", "--base-path"])
            .arg(self.path(name))
            .args(arguments);
        if matches!(self.recipe.numerics, Numerics::Native { .. }) {
            // Each member computes as another machine does.
            for variable in KERNEL_VARIABLES {
                command.env_remove(variable);
            }
            command.envs(MACHINES[self.processes().len() % MACHINES.len()].iter().copied());
        }
        launch(log, &mut command, &self.logs)
    }

    fn member(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let process = self.launch_member(name, name, arguments)?;
        self.processes().push(process);
        Ok(())
    }

    /// Starts an honest validator that may end. It logs to a file called `log`.
    pub(crate) fn launch_validator(&self, name: &str, log: &str) -> Result<Process> {
        self.launch_member(name, log, &["--role", "validator"])
    }

    /// Starts an honest trainer.
    pub(crate) fn start_trainer(&self, name: &str) -> Result<()> {
        self.member(name, &["--tier", "whale"])
    }

    /// Starts the honest validators and waits for the first model. The first validator serves the
    /// data, and keeps all rounds for those who replay them.
    pub(crate) async fn start_validators(&self) -> Result<()> {
        let data = self.data();
        let data =
            data.to_str().context("the temporary folder's name is not valid UTF-8")?.to_owned();
        for (index, (name, _)) in VALIDATORS.into_iter().enumerate() {
            let serving: &[&str] = if index == 0 { &["--data", &data, "--archive"] } else { &[] };
            self.member(name, &[&["--role", "validator"], serving].concat())?;
        }
        self.until_first_model().await
    }

    /// Waits until the validators have attested the first model.
    pub(crate) async fn until_first_model(&self) -> Result<()> {
        self.until("round zero is attested", 60, || async {
            Ok(self.chain.overview().await?.head.map(drop))
        })
        .await
    }

    /// Starts the honest trainers.
    pub(crate) fn start_trainers(&self) -> Result<()> {
        TRAINERS.into_iter().try_for_each(|name| self.start_trainer(name))
    }

    /// Returns the path of a folder or file of this network.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the folder of the ingested text.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Returns at most `count` shards of one part of the ingested text, from shard `first` on.
    pub(crate) fn shards(&self, part: &str, first: u32, count: u32) -> Result<Vec<Vec<u32>>> {
        let folder = ShardFolder::open(&self.data().join(part))?;
        let decode = |index| -> Result<Vec<u32>> {
            let bytes = folder.read(index)?;
            Ok(pol_data::decode_shard(
                &bytes,
                self.recipe.shard_tokens,
                self.recipe.model.vocabulary,
            )?)
        };
        (first..folder.len().min(first.saturating_add(count))).map(decode).collect()
    }

    /// Connects to the chain and the swarm without a role. `name` is that of its folder.
    pub(crate) async fn connect_observer(&self, name: &str) -> Result<NodeContext> {
        let swarm = SwarmOptions { listen: ([127, 0, 0, 1], 0).into(), advertise: Vec::new() };
        let folder = StateFolder::open(&self.path(name))?;
        NodeContext::start(self.chain.clone(), &swarm, folder).await
    }

    /// Returns the held-out text.
    pub(crate) fn held_out(&self) -> Result<LeaseData> {
        Ok(LeaseData::new(&self.recipe, self.shards(pol_data::HELD_OUT, 0, 4)?)?)
    }

    /// Asks until there is an answer, for at most `blocks` blocks. `event` completes the error
    /// "waited … blocks until".
    pub(crate) async fn until<T, F: Future<Output = Result<Option<T>>>>(
        &self,
        event: &str,
        blocks: BlockNumber,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        // Twice the block time: a busy machine makes blocks late.
        poll(event, blocks, self.block_time * 2, ask).await
    }

    /// Submits a call until the chain accepts it. Some calls are refused in certain phases only.
    pub(crate) async fn submit_until_accepted(
        &self,
        name: &str,
        call: Call,
        blocks: BlockNumber,
    ) -> Result<()> {
        let signer = signer(name)?;
        let event = format!("{}.{} of {name} is accepted", call.name().0, call.name().1);
        self.until(&event, blocks, || async {
            match self.chain.submit(&signer, call.clone()).await {
                Ok(_) => Ok(Some(())),
                Err(ChainError::Refused { .. } | ChainError::Displaced { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Returns the number of processes.
    pub(crate) fn process_count(&self) -> u64 {
        self.processes().len() as u64
    }

    /// Returns a line about each process that has ended or panicked.
    pub(crate) fn failed_processes(&self) -> Vec<String> {
        self.processes().iter_mut().filter_map(Process::failure).collect()
    }

    /// Returns the resident memory of the node, in bytes.
    pub(crate) fn node_memory(&self) -> Result<u64> {
        let processes = self.processes();
        let node = processes.first().context("the node was started first")?;
        let status = fs::read_to_string(format!("/proc/{}/status", node.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS in /proc")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024)
    }
}

/// Returns the beacon with a margin of one block: this network has one node, and so no forks.
fn short_margin(beacon: BeaconConfig) -> BeaconConfig {
    BeaconConfig { margin: 3, ..beacon }
}

/// Writes the specification of a development chain whose first state has these audits, without the
/// checks that governance makes. Returns its path.
async fn write_spec(folder: &Path, audits: &AuditConfig) -> Result<PathBuf> {
    let mut command = Command::new(binary("pol-node")?);
    command.args(["export-chain-spec", "--chain", "dev", "--raw"]);
    let mut spec: Value = serde_json::from_slice(&finish(command).await?)?;
    let state = spec.pointer_mut("/genesis/raw/top").context("a raw specification has a state")?;
    let key = [twox_128(b"ProofOfLearning"), twox_128(b"AuditSettings")].concat();
    let [key, audits] = [key, audits.encode()].map(|bytes| format!("0x{}", hex::encode(bytes)));
    state[key] = json!(audits);
    let path = folder.join("spec.json");
    fs::write(&path, spec.to_string()).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Asks until there is an answer, for at most `blocks` blocks of this time. `event` completes the
/// error "waited … blocks until", and the lines about a long wait.
pub(crate) async fn poll<T, F: Future<Output = Result<Option<T>>>>(
    event: &str,
    blocks: BlockNumber,
    block_time: Duration,
    ask: impl Fn() -> F,
) -> Result<T> {
    let since = Instant::now();
    let end = since + block_time * blocks;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        ensure!(Instant::now() < end, "waited {blocks} blocks until {event}");
        notice(event, since);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Connects to a node that has just been started. On a busy machine that takes several attempts.
pub(crate) async fn connect(rpc: Rpc) -> Result<Chain> {
    const ATTEMPTS: u32 = 8;
    for _ in 1..ATTEMPTS {
        if let Ok(chain) = Chain::connect(&rpc.url()).await {
            return Ok(chain);
        }
    }
    Ok(Chain::connect(&rpc.url()).await?)
}

/// Returns the path of a program that was built together with this one.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(
        path.exists(),
        "{} is missing; build it first: cargo build --release -p pol-node -p pol-trainer",
        path.display()
    );
    Ok(path)
}

/// Creates the folder of the logs, and removes those of an earlier run from it.
pub(crate) fn prepare_logs(logs: &Path) -> Result<()> {
    fs::create_dir_all(logs).with_context(|| logs.display().to_string())?;
    for entry in fs::read_dir(logs)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log" || extension == "jsonl") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Starts a process that logs to the end of the file of its name. The log of a process that is
/// started again thus shows the panics of both.
pub(crate) fn launch(name: &str, command: &mut Command, logs: &Path) -> Result<Process> {
    let log = logs.join(format!("{name}.log"));
    let file = fs::OpenOptions::new().create(true).append(true).open(&log);
    let file = file.with_context(|| log.display().to_string())?;
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| name.to_owned())?;
    Ok(Process { name: name.to_owned(), child, log })
}

/// Runs a command to its end; returns its standard output.
pub(crate) async fn finish(mut command: Command) -> Result<Vec<u8>> {
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// Makes shards of the `text` in `folder`; returns a tiny recipe for them.
pub(crate) async fn ingest(folder: &Path, logs: &Path, text: Text) -> Result<Recipe> {
    let corpus = std::env::var_os("POL_CORPUS")
        .context("POL_CORPUS is not set: run scripts/setup.sh, then `. scripts/env.sh`")?;
    let mut texts: Vec<PathBuf> =
        fs::read_dir(&corpus)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    texts.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    texts.sort();
    texts.truncate(text.count);
    let (data, recipe) = (folder.join("data"), logs.join("recipe.json"));
    let mut command = Command::new(binary("pol-trainer")?);
    let sequence = text.sequence.to_string();
    let shard = text.sequence.saturating_mul(SHARD_SEQUENCES).to_string();
    command.args(["data", "ingest", "--vocabulary", "512", "--sequence", &sequence]);
    command.args(["--shard-tokens", &shard, "--held-out", "5", "--out"]);
    command.arg(&data);
    for text in texts {
        command.arg("--input").arg(text);
    }
    finish(command).await?;
    let mut command = Command::new(binary("pol-trainer")?);
    command
        .args(["recipe", "new", "--preset", "tiny", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&recipe);
    finish(command).await?;
    let recipe: Recipe = serde_json::from_slice(&fs::read(&recipe)?)?;
    Ok(Recipe { segments: SEGMENTS, ..recipe })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_seen_after_a_restart_and_not_in_the_next_run() {
        let logs = tempfile::tempdir().unwrap();
        let start = |script| {
            launch("member", Command::new("sh").args(["-c", script]), logs.path()).unwrap()
        };
        prepare_logs(logs.path()).unwrap();
        start("echo thread panicked at here").child.wait().unwrap();
        let failure = start("exec sleep 60").failure().unwrap();
        assert!(failure.starts_with("member panicked at"), "{failure}");
        prepare_logs(logs.path()).unwrap();
        assert_eq!(start("exec sleep 60").failure(), None);
    }
}
