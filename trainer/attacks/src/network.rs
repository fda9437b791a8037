//! A whole network on this machine: one node, honest members as processes of their own, and the
//! chain as seen from here.

use crate::rpc::Rpc;
use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use pol_chain::{AccountId, Call, Chain, ChainError, Signer};
use pol_data::ShardFolder;
use pol_engine::LeaseData;
use pol_primitives::{
    Balance, POL,
    audit::AuditConfig,
    peer::Role,
    recipe::{Numerics, Recipe},
    round::{BlockNumber, RoundConfig},
};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How often the chain is looked at while something is waited for.
pub const PAUSE: Duration = Duration::from_millis(700);
/// Trainers that are honest and processes of their own.
pub const TRAINERS: [&str; 2] = ["trainer-1", "trainer-2"];
/// Validators that are honest and processes of their own, with their bonds.
pub const VALIDATORS: [(&str, Balance); 3] =
    [("validator-1", 40_000 * POL), ("validator-2", 30_000 * POL), ("validator-3", 25_000 * POL)];
/// Segments of a lease, of two steps each.
const SEGMENTS: u16 = 4;
/// Texts of the corpus that are learned from.
const TEXTS: usize = 4;
/// Short phases: a round of a minute at most, whatever its attackers hold up.
const LENGTHS: RoundConfig =
    RoundConfig { join: 4, train: 14, reveal: 6, attest: 20, lead: 5, missed: 8 };
/// Five of the six validators sit on every update, so that each of them has seats in every audit.
pub const AUDITS: AuditConfig = AuditConfig {
    seats: 5,
    more_seats: 9,
    segments: 1,
    probe: 2,
    mix: 1,
    serve: 6,
    replay: 24,
    open: 6,
    reveal: 6,
    escrow: 1,
};

/// What chooses libtorch's kernels and threads.
const KERNELS: [&str; 5] =
    ["ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS", "MKL_NUM_THREADS"];
/// Settings that stand for different machines, where a recipe lets members compute as they like.
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

/// The key of a development account, as `--dev-account` names it.
pub fn signer(name: &str) -> Result<Signer> {
    let part = |part: &str| {
        let mut letters = part.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        format!("//{}{}", first.map(String::from).unwrap_or_default(), letters.as_str())
    };
    Ok(Signer::from_uri(&name.split('-').map(part).collect::<String>())?)
}

/// A process that ends with this one.
struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The network.
pub struct Network {
    /// The node as a client of its own sees it.
    pub chain: Chain,
    /// The node's RPC without a client.
    pub rpc: Rpc,
    /// The recipe that everybody trains by.
    pub recipe: Recipe,
    processes: Mutex<Vec<Process>>,
    folder: tempfile::TempDir,
    logs: PathBuf,
}

impl Network {
    /// Starts the node and governs it: data, a recipe of this profile, lengths, audits, and bonds
    /// of the honest validators.
    pub async fn start(logs: &Path, numerics: Numerics) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| logs.display().to_string())?;
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let port = || -> Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        let (rpc, p2p) = (Rpc { port: port()? }, port()?);
        let mut node = Command::new(binary("pol-node")?);
        node.args([
            "--chain",
            "dev",
            "--no-prometheus",
            "--no-telemetry",
            "--no-mdns",
            "--base-path",
        ])
        .arg(folder.path().join("node"));
        node.args(["--rpc-port", &rpc.port.to_string(), "--port", &p2p.to_string()]);
        let node = launch("node", &mut node, logs)?;
        let (recipe, chain) = tokio::try_join!(ingest(folder.path(), logs), connect(rpc))?;
        let recipe = Recipe { numerics, ..recipe };
        let network = Self {
            chain,
            rpc,
            recipe,
            processes: vec![node].into(),
            folder,
            logs: logs.to_owned(),
        };
        network
            .govern([
                Call::SetRecipe(network.recipe.clone()),
                Call::SetLengths(LENGTHS),
                Call::SetAudits(AUDITS),
            ])
            .await?;
        network.register().await?;
        try_join_all(VALIDATORS.map(|(name, bond)| network.bond(name, Role::Validator, bond)))
            .await?;
        Ok(network)
    }

    /// Calls as root, with the key of the development chain's governance.
    pub async fn govern(&self, calls: impl IntoIterator<Item = Call>) -> Result<()> {
        let alice = signer("alice")?;
        try_join_all(calls.into_iter().map(|call| self.chain.submit(&alice, call.sudo()))).await?;
        Ok(())
    }

    /// Gives each account `amount` from what governance has.
    pub async fn fund(&self, names: impl IntoIterator<Item = &str>, amount: Balance) -> Result<()> {
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

    /// Bonds more than the minimum, which members add by themselves.
    pub async fn bond(&self, name: &str, role: Role, amount: Balance) -> Result<()> {
        self.chain.submit(&signer(name)?, Call::Bond { role, amount }).await?;
        Ok(())
    }

    async fn register(&self) -> Result<()> {
        let (data, owner) = (self.data(), VALIDATORS[0].0);
        let mut command = self.trainer()?;
        command.args(["data", "register", "--dev-account", owner, "--data"]).arg(data);
        finish(command).await.map(drop)
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trainer(&self) -> Result<Command> {
        let mut command = Command::new(binary("pol-trainer")?);
        command.env("POL_NODE", self.rpc.url()).env("NO_COLOR", "1");
        Ok(command)
    }

    fn member(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.trainer()?;
        command
            .args(["--dev-account", name, "--workers", "1", "--base-path"])
            .arg(self.path(name))
            .args(arguments);
        if matches!(self.recipe.numerics, Numerics::Native { .. }) {
            // Each member computes as another machine would.
            for variable in KERNELS {
                command.env_remove(variable);
            }
            command.envs(MACHINES[self.processes().len() % MACHINES.len()].iter().copied());
        }
        self.processes().push(launch(name, &mut command, &self.logs)?);
        Ok(())
    }

    /// Starts the honest validators, the first of which serves the data, and waits for the first
    /// model.
    pub async fn start_validators(&self) -> Result<()> {
        let data = self.data();
        let data = data.to_str().context("the temporary folder's name is no text")?.to_owned();
        for (index, (name, _)) in VALIDATORS.into_iter().enumerate() {
            let serving: &[&str] = if index == 0 { &["--data", &data] } else { &[] };
            self.member(name, &[&["--role", "validator"], serving].concat())?;
        }
        self.until("round zero is attested", 60, || async {
            Ok(self.chain.overview().await?.head.map(drop))
        })
        .await
    }

    /// Starts the honest trainers.
    pub fn start_trainers(&self) -> Result<()> {
        TRAINERS.into_iter().try_for_each(|name| self.member(name, &["--tier", "whale"]))
    }

    /// A folder or file of this network.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Shards `first` and following of one part of the ingested text, as many as there are.
    pub fn shards(&self, part: &str, first: u32, count: u32) -> Result<Vec<Vec<u32>>> {
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

    /// The held-out text.
    pub fn held_out(&self) -> Result<LeaseData> {
        Ok(LeaseData::new(&self.recipe, self.shards(pol_data::HELD_OUT, 0, 4)?)?)
    }

    /// Asks every block or so until there is an answer, for at most `blocks` blocks.
    pub async fn until<T, F: Future<Output = Result<Option<T>>>>(
        &self,
        what: &str,
        blocks: BlockNumber,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        // Twice as long as blocks take: a busy machine makes them late.
        let end = Instant::now() + Duration::from_secs(6) * blocks;
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            ensure!(Instant::now() < end, "waited {blocks} blocks until {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Submits a call again until the chain takes it: some are refused in certain phases only.
    pub async fn insist(&self, name: &str, call: Call, blocks: BlockNumber) -> Result<()> {
        let signer = signer(name)?;
        let what = format!("{}.{} of {name} is taken", call.name().0, call.name().1);
        self.until(&what, blocks, || async {
            match self.chain.submit(&signer, call.clone()).await {
                Ok(_) => Ok(Some(())),
                Err(ChainError::Refused { .. } | ChainError::Displaced { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Processes that ended or panicked, with the last lines they wrote.
    pub fn casualties(&self) -> Vec<String> {
        let mut found = Vec::new();
        for process in self.processes().iter_mut() {
            let log = fs::read_to_string(&process.log).unwrap_or_default();
            // What a sandboxed runtime cannot decode ends the call in it, and is logged like this
            // by every node of its kind.
            let real = |text: &&str| {
                !text.lines().take(2).any(|line| line.contains("Nothing bad happened"))
            };
            if let Some(text) = log.split("panicked at").skip(1).find(real) {
                found.push(format!(
                    "{} panicked at {}",
                    process.name,
                    text.lines().next().unwrap_or_default()
                ));
            } else if !matches!(process.child.try_wait(), Ok(None)) {
                found.push(format!(
                    "{} ended: {}",
                    process.name,
                    log.lines().next_back().unwrap_or_default()
                ));
            }
        }
        found
    }

    /// Memory that the node holds, in bytes.
    pub fn node_memory(&self) -> Result<u64> {
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

/// The chain of a node that was just started, which takes its time on a machine that is busy
/// building.
async fn connect(rpc: Rpc) -> Result<Chain> {
    const ATTEMPTS: u32 = 3;
    for _ in 1..ATTEMPTS {
        if let Ok(chain) = Chain::connect(&rpc.url()).await {
            return Ok(chain);
        }
    }
    Ok(Chain::connect(&rpc.url()).await?)
}

/// A program that was built together with this one.
fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(
        path.exists(),
        "{} is missing; build it first: cargo build --release -p pol-node -p pol-trainer",
        path.display()
    );
    Ok(path)
}

fn launch(name: &str, command: &mut Command, logs: &Path) -> Result<Process> {
    let log = logs.join(format!("{name}.log"));
    let file = fs::File::create(&log).with_context(|| log.display().to_string())?;
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| name.to_owned())?;
    Ok(Process { name: name.to_owned(), child, log })
}

/// Runs a command to its end; what it printed.
async fn finish(mut command: Command) -> Result<Vec<u8>> {
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// Makes shards of a few texts of the corpus in `folder`; the tiny recipe for them.
async fn ingest(folder: &Path, logs: &Path) -> Result<Recipe> {
    let corpus = std::env::var_os("POL_CORPUS")
        .context("POL_CORPUS is not set: run scripts/setup.sh, then `. scripts/env.sh`")?;
    let mut texts: Vec<PathBuf> =
        fs::read_dir(&corpus)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    texts.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    texts.sort();
    texts.truncate(TEXTS);
    let (data, recipe) = (folder.join("data"), logs.join("recipe.json"));
    let mut command = Command::new(binary("pol-trainer")?);
    command.args([
        "data",
        "ingest",
        "--vocabulary",
        "512",
        "--sequence",
        "32",
        "--shard-tokens",
        "512",
        "--held-out",
        "5",
        "--out",
    ]);
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
