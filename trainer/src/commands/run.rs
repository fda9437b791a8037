// SPDX-License-Identifier: Apache-2.0

//! Taking part in the network, as a trainer or a validator.

use crate::{
    context::{NodeContext, Policy},
    display::{role_name, short_hash},
    error::{RoleError, explain},
    model::PRETRAINED_TAG,
    options::{KeyOptions, NodeOptions, SwarmOptions},
    roles::{
        self,
        trainer::{Trainer, TrainerConfig},
        validator::Validator,
    },
    state::StateFolder,
    strategy::Strategy,
};
use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use pol_chain::{Chain, Signer};
use pol_data::ShardFolder;
use pol_engine::parameters_to_bytes;
use pol_primitives::{
    Hash,
    member::Role,
    recipe::{Recipe, Tier},
};
use pol_swarm::SwarmError;
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

/// Wait between two attempts to join the network, about one block.
const JOIN_RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;
/// Shards in memory at a time while a folder is read.
const SHARDS_AT_ONCE: u32 = 256;
/// Longest wait for the swarm to close its connections.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Options of a member of the network.
#[derive(Args)]
pub struct RunOptions {
    #[command(flatten)]
    pub(crate) node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
    /// Role in the network.
    #[arg(long, value_enum, default_value = "trainer")]
    role: RoleOption,
    /// Size of a lease. A larger tier trains on more data in a round.
    #[arg(long, value_enum, default_value = "auto")]
    tier: TierOption,
    /// Folder of the state: blobs, optimiser moments, progress.
    /// [default: ~/.local/share/pol-trainer/CHAIN/ACCOUNT]
    #[arg(long, value_name = "DIR", env = "POL_BASE_PATH")]
    base_path: Option<PathBuf>,
    /// Threads that train. [default: as many as the cores and the memory allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Disk space in GiB for the training states of updates that are not settled yet. If it is too
    /// small for all of them, some are kept and the others are trained again when an audit asks for
    /// them.
    #[arg(long, value_name = "GIB", default_value_t = 20.0, value_parser = parse_gib)]
    state_budget: f64,
    #[command(flatten)]
    swarm: SwarmOptions,
    /// Keep the payloads of all rounds. By default those of settled rounds are removed after 32
    /// rounds; `verify-head` needs a member that has them all.
    #[arg(long)]
    archive: bool,
    /// Commit to work on leases and audits before they are final. If the network forks, that work
    /// is lost.
    #[arg(long)]
    unfinalised: bool,
    /// Folder made by `data ingest` whose shards to serve to others.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder made by `model import` whose parameters to serve to others. If the recipe starts from
    /// an imported model, at least one member has to serve it.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

/// Role in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleOption {
    /// Leases data and trains on it.
    Trainer,
    /// Attests heads and audits updates.
    Validator,
}

/// Choice of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TierOption {
    Whale,
    Miner,
    Participant,
    Mobile,
    /// The largest tier that this machine has the memory and cores for.
    Auto,
}

impl TierOption {
    /// Returns the chosen tier, or `None` for `auto`.
    fn tier(self) -> Option<Tier> {
        match self {
            Self::Whale => Some(Tier::Whale),
            Self::Miner => Some(Tier::Miner),
            Self::Participant => Some(Tier::Participant),
            Self::Mobile => Some(Tier::Mobile),
            Self::Auto => None,
        }
    }
}

fn parse_gib(text: &str) -> Result<f64, String> {
    let size = text.parse().ok().filter(|size: &f64| size.is_finite() && *size >= 0.0);
    size.ok_or_else(|| "a size is a number of GiB, such as 20 or 0.5".into())
}

/// Takes part in the network until interrupted.
///
/// # Errors
///
/// Fails if a person has to act: without a key, on a wrong chain, on damaged state, and so on.
pub async fn run<S: Strategy>(options: RunOptions, strategy: S) -> Result<()> {
    let mut interrupted = pin!(roles::shutdown_signal());
    let signer = options.key.signer()?;
    let (context, first_block) = tokio::select! {
        started = start(&signer, &options) => started?,
        () = &mut interrupted => return Ok(()),
    };
    let outcome = tokio::select! {
        outcome = take_part(&context, &first_block, &signer, &options, strategy) => outcome,
        () = &mut interrupted => {
            tracing::info!("stopping");
            Ok(())
        }
    };
    // All stored data is already safe, so an error here loses nothing.
    let shutdown = tokio::time::timeout(SHUTDOWN_TIMEOUT, context.swarm.clone().shutdown()).await;
    if let Ok(Err(error)) = shutdown {
        tracing::debug!("{error}");
    }
    outcome
}

/// Opens this account's state for the chain that the node serves.
async fn start(signer: &Signer, options: &RunOptions) -> Result<(NodeContext, Hash)> {
    let chain = options.node.connect().await?;
    let first_block = first_block(&chain).await?;
    let base_path = match &options.base_path {
        Some(path) => path.clone(),
        None => default_base_path(&first_block, signer)?,
    };
    let state = StateFolder::open(&base_path)?;
    state.claim(&first_block)?;
    warn_if_unreachable(options);
    let mut context = NodeContext::start(chain, &options.swarm, state).await?;
    context.policy = Policy { unfinalised: options.unfinalised, archive: options.archive };
    Ok((context, first_block))
}

/// Warns of addresses at which members on other machines do not reach this one.
fn warn_if_unreachable(options: &RunOptions) {
    let SwarmOptions { listen, advertise } = &options.swarm;
    let is_local = |address: &SocketAddr| address.ip().is_loopback();
    let is_hidden =
        if advertise.is_empty() { is_local(listen) } else { advertise.iter().all(is_local) };
    if is_hidden && !options.node.urls.iter().all(|url| is_loopback_url(url)) {
        tracing::warn!(
            "the node is on another machine, and members there do not reach {listen}: they cannot \
             fetch what this one has to serve, which costs its pay and part of its bond. Give \
             --listen 0.0.0.0:PORT, and --advertise if peers see another address"
        );
    }
}

/// Returns `true` if the host of a WebSocket address is this machine.
fn is_loopback_url(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Waits for the chain's first block, which identifies the chain, to be finalised.
async fn first_block(chain: &Chain) -> Result<Hash> {
    let block_time = chain.block_time().await?;
    let mut waited = false;
    loop {
        if chain.finalised_block().await?.number > 0
            && let Some(first) = chain.first_block_hash().await?
        {
            return Ok(first);
        }
        if !std::mem::replace(&mut waited, true) {
            tracing::info!("waiting for the chain's first block to be finalised");
        }
        tokio::time::sleep(block_time).await;
    }
}

/// Serves the given folders, joins the network and acts in its role.
async fn take_part<S: Strategy>(
    context: &NodeContext,
    first_block: &Hash,
    signer: &Signer,
    options: &RunOptions,
    strategy: S,
) -> Result<()> {
    if let Some(folder) = &options.data {
        serve_shards(context, folder).await?;
    }
    if let Some(folder) = &options.model {
        serve_model(context, folder.clone()).await?;
    }
    let role = match options.role {
        RoleOption::Trainer => Role::Trainer,
        RoleOption::Validator => Role::Validator,
    };
    join(context, signer, role).await?;
    let machine = pol_hardware::detect(context.state.path())?;
    let workers = options.workers.map(usize::from);
    match options.role {
        RoleOption::Trainer => {
            let recipe = context.chain.recipe().await?;
            let tier = select_tier(options.tier, &machine, recipe.as_ref())?;
            let most = |recipe| pol_hardware::max_workers(&machine, recipe, tier);
            let workers = workers.or(recipe.as_ref().map(most)).unwrap_or(machine.cores);
            tracing::info!("tier {tier:?} with {workers} worker threads");
            let state_budget = (options.state_budget * GIB) as u64;
            let config = TrainerConfig { tier, workers, state_budget };
            let mut trainer = Trainer::new(context.clone(), signer.clone(), config, strategy);
            roles::run(context, first_block, &mut trainer).await
        }
        RoleOption::Validator => {
            let workers = workers.unwrap_or(machine.cores);
            let mut validator = Validator::new(context.clone(), signer.clone(), workers, strategy);
            roles::run(context, first_block, &mut validator).await
        }
    }
}

/// Bonds the account and registers its endpoint. Tries again after transient errors.
async fn join(context: &NodeContext, signer: &Signer, role: Role) -> Result<()> {
    loop {
        match context.ensure_member(signer, role).await {
            Ok(member) => {
                let name = role_name(member.role);
                tracing::info!("{} takes part with the role {name}", signer.ss58());
                return Ok(());
            }
            Err(RoleError::Transient(error)) => {
                tracing::warn!("{}; trying again with the next block", explain(&error));
            }
            Err(RoleError::Fatal(error)) => return Err(error),
        }
        tokio::time::sleep(JOIN_RETRY_INTERVAL).await;
    }
}

/// Returns the chosen tier, or the largest that fits the machine.
fn select_tier(
    choice: TierOption,
    machine: &pol_hardware::Machine,
    recipe: Option<&Recipe>,
) -> Result<Tier> {
    if let Some(tier) = choice.tier() {
        return Ok(tier);
    }
    let recipe = recipe.ok_or_else(|| {
        anyhow!(
            "the chain has no recipe yet, so no tier can be chosen for this machine; name one with \
             --tier"
        )
    })?;
    Ok(pol_hardware::largest_fitting_tier(machine, recipe)?)
}

/// Makes the blobs of an ingested folder available to peers.
async fn serve_shards(context: &NodeContext, folder: &Path) -> Result<()> {
    let mut count = 0;
    for split in pol_data::SPLITS {
        let shards = ShardFolder::open(&folder.join(split))?;
        let tag = format!("served/{split}");
        if shards.is_empty() {
            continue;
        }
        context.swarm.add(shards.body().to_vec().into(), &format!("{tag}/body")).await?;
        let tag = format!("{tag}/shards");
        for first in (0..shards.len()).step_by(SHARDS_AT_ONCE as usize) {
            let mut blobs = Vec::new();
            for index in first..shards.len().min(first + SHARDS_AT_ONCE) {
                // One that was stored at an earlier start is not stored again.
                if !holds_shard(context, &shards, index, &tag).await? {
                    blobs.push(shards.read(index)?.into());
                }
            }
            context.swarm.add_all(blobs, &tag).await?;
        }
        count += shards.len();
    }
    let tokenizer = folder.join(pol_data::TOKENIZER_FILE);
    let bytes = std::fs::read(&tokenizer).with_context(|| {
        format!(
            "cannot read {}; make the folder again with `pol-trainer data ingest`",
            tokenizer.display()
        )
    })?;
    context.swarm.add(bytes.into(), "served/tokenizer").await?;
    tracing::info!("serving {count} shards of {}", folder.display());
    Ok(())
}

/// Returns `true` if a shard is in the store, and keeps it there under `tag`.
async fn holds_shard(
    context: &NodeContext,
    shards: &ShardFolder,
    index: u32,
    tag: &str,
) -> Result<bool> {
    let Some(hash) = shards.shard_hash(index) else { return Ok(false) };
    match context.swarm.hold(hash, u64::MAX, &[], tag, Instant::now()).await {
        Ok(()) => Ok(true),
        Err(SwarmError::Unavailable { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes the parameters of an imported model available to peers.
async fn serve_model(context: &NodeContext, folder: PathBuf) -> Result<()> {
    let model = tokio::task::spawn_blocking(move || pol_import::load(&folder)).await??;
    context.swarm.add(parameters_to_bytes(&model.parameters).into(), PRETRAINED_TAG).await?;
    tracing::info!("serving the imported model {}", short_hash(&model.root));
    Ok(())
}

/// Returns the default state folder of this account. Each chain has its own, so that a development
/// chain can be started anew.
fn default_base_path(first_block: &Hash, signer: &Signer) -> Result<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")))
        .context("neither HOME nor XDG_DATA_HOME is set; name a folder with --base-path")?;
    Ok(data.join("pol-trainer").join(hex::encode(&first_block[..8])).join(signer.ss58()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_known() {
        for url in
            ["ws://127.0.0.1:9944", "ws://localhost:9944/x", "ws://[::1]:9944", "wss://127.8.0.1"]
        {
            assert!(is_loopback_url(url), "{url}");
        }
        for url in ["ws://192.0.2.7:9944", "wss://node.example", "ws://[2001:db8::1]:9944", ""] {
            assert!(!is_loopback_url(url), "{url}");
        }
    }

    #[test]
    fn sizes_are_numbers_of_gib() {
        assert_eq!(parse_gib("0.5"), Ok(0.5));
        for text in ["", "x", "-1", "inf", "NaN"] {
            assert!(parse_gib(text).is_err(), "{text}");
        }
    }
}
