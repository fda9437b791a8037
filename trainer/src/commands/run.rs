// SPDX-License-Identifier: Apache-2.0

//! Taking part in the network, as a trainer or a validator.

use super::{
    membership::{Place, SettingNames, join, serve_folder, start},
    network_statements,
};
use crate::{
    api::{ApiOptions, ApiParts, ApiServer, RunningApi},
    context::{NodeContext, Policy},
    control::{Action, ActivityKind, Control},
    display::{role_name, short_hash},
    error::explain,
    model::PRETRAINED_TAG,
    monitoring::MetricsOptions,
    options::{KeyOptions, NodeOptions, SwarmOptions},
    roles::{
        self,
        trainer::{Trainer, TrainerConfig},
        validator::Validator,
    },
    state::StateError,
    strategy::Strategy,
};
use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use pol_chain::{Chain, Signer};
use pol_config::{ConfigFile, Settings};
use pol_data::IngestRecord;
use pol_engine::ParameterBytes;
use pol_primitives::{
    Hash,
    member::Role,
    recipe::{Recipe, Tier},
};
use pol_swarm::Bytes;
use serde::Serialize;
use std::{path::PathBuf, pin::pin, sync::Arc, time::Duration};

/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;
/// Largest size of a folder that is taken for one, in GiB.
const MAX_GIB: f64 = 1_048_576.0;
/// Longest wait for the swarm to close its connections.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Options of a member of the network.
#[derive(Args)]
pub struct RunOptions {
    /// Configuration in TOML or JSON, from which values are taken that neither an option nor an
    /// environment variable gives; see `pol-trainer config`.
    #[arg(long, value_name = "FILE", env = "POL_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// The configuration, once it is read.
    #[arg(skip)]
    pub(super) file: Option<ConfigFile>,
    /// Values and their sources, once the configuration is read.
    #[arg(skip)]
    pub(super) settings: Settings,
    #[command(flatten)]
    pub(crate) node: NodeOptions,
    #[command(flatten)]
    pub(super) key: KeyOptions,
    /// Role in the network.
    #[arg(long, value_enum, default_value = "trainer")]
    pub(super) role: RoleOption,
    /// Size of a lease. A larger tier trains on more data in a round.
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) tier: TierOption,
    /// Folder of the state: blobs, optimiser moments, progress.
    /// [default: ~/.local/share/pol-trainer/CHAIN/ACCOUNT]
    #[arg(long, value_name = "DIR", env = "POL_BASE_PATH")]
    pub(super) base_path: Option<PathBuf>,
    /// Threads that train. [default: as many as the cores and the memory allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) workers: Option<u16>,
    /// Disk space in GiB for the training states of updates that are not settled yet. If it is too
    /// small for all of them, some are kept and the others are trained again when an audit asks for
    /// them.
    #[arg(long, value_name = "GIB", default_value_t = 20.0, value_parser = parse_gib)]
    pub(super) state_budget: f64,
    #[command(flatten)]
    pub(super) swarm: SwarmOptions,
    #[command(flatten)]
    pub(super) metrics: MetricsOptions,
    #[command(flatten)]
    pub(super) api: ApiOptions,
    /// Keep the payloads of all rounds. By default those of settled rounds are removed after 32
    /// rounds; `verify-head` needs a member that has them all.
    #[arg(long)]
    pub(super) archive: bool,
    /// Commit to work on leases and audits before they are final. If the network forks, that work
    /// is lost.
    #[arg(long)]
    pub(super) unfinalised: bool,
    /// Folder made by `data ingest` whose shards to serve to others.
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Folder made by `model import` whose parameters to serve to others. If the recipe starts from
    /// an imported model, at least one member has to serve it.
    #[arg(long, value_name = "DIR")]
    pub(super) model: Option<PathBuf>,
}

/// Role in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum RoleOption {
    /// Leases data and trains on it.
    Trainer,
    /// Attests heads and audits updates.
    Validator,
}

impl RoleOption {
    fn role(self) -> Role {
        match self {
            Self::Trainer => Role::Trainer,
            Self::Validator => Role::Validator,
        }
    }
}

/// Choice of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum TierOption {
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

impl RunOptions {
    /// Compares what the configuration states of the network with the chain. Returns `false` if
    /// the chain has no recipe, and what the file states of training is not compared.
    pub(super) async fn check_network(
        &self,
        chain: &Chain,
        machine: &pol_hardware::Machine,
    ) -> Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let recipe = chain.recipe().await?;
        let role = self.role.role();
        let tier = match role {
            Role::Trainer => select_tier(self.tier, machine, recipe.as_ref()).ok(),
            _ => None,
        };
        network_statements::compare(file, chain, recipe.as_ref(), role, tier).await
    }

    /// Returns the values that the member starts with, and their sources.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the largest size of the training states, in bytes.
    fn state_bytes(&self) -> u64 {
        (self.state_budget * GIB) as u64
    }

    /// Starts to answer requests.
    async fn start_api(
        &self,
        server: ApiServer,
        context: &NodeContext,
        signer: &Signer,
    ) -> Result<RunningApi> {
        let genesis = context.chain.genesis_hash();
        context.control.describe(|facts| {
            facts.account = Some(signer.ss58());
            facts.genesis = Some(genesis);
            facts.folder = Some(context.state.path().to_owned());
        });
        let chain = self.api.parts.chain(context.chain.clone(), context.state.path()).await?;
        let chain = chain.map(|chain| chain.with_latencies(context.swarm.clone()));
        let trains = self.role == RoleOption::Trainer;
        let control = context.control.clone();
        let data = self.data.clone();
        server.start(ApiParts { control, chain, data, trains, ..ApiParts::default() })
    }

    /// Logs what the reader of the configuration should know.
    fn log_notes(&self) {
        let Some(file) = &self.file else { return };
        let name = file.config.node.node_id.as_deref().unwrap_or("this member");
        tracing::info!("{name} takes part as {} says", file.path.display());
        for note in &file.notes {
            tracing::warn!("{}: {note}", file.path.display());
        }
    }
}

fn parse_gib(text: &str) -> Result<f64, String> {
    let size = text.parse().ok().filter(|size| (0.0..=MAX_GIB).contains(size));
    size.ok_or_else(|| "a size is a number of GiB, such as 20 or 0.5, up to 1048576".into())
}

/// Takes part in the network until interrupted.
///
/// # Errors
///
/// Fails if a person has to act: without a key, on a wrong chain, on damaged state, and so on.
pub async fn run<S: Strategy>(options: RunOptions, strategy: S) -> Result<()> {
    let mut interrupted = pin!(roles::shutdown_signal());
    options.log_notes();
    if let Some(folder) = &options.data {
        IngestRecord::read(folder)?;
    }
    let role = role_name(options.role.role());
    let control = Control::new(role);
    let server = options.api.bind().await?;
    let mut monitoring = options.metrics.start(role).await?;
    if server.is_some() {
        monitoring.record(role);
    }
    let signer = options.key.signer()?;
    let place = Place {
        node: &options.node,
        swarm: &options.swarm,
        base_path: options.base_path.as_deref(),
        names: SettingNames::FLAGS,
    };
    let started = async { start(&signer, options.node.connect().await?, place).await };
    let (mut context, first_block) = tokio::select! {
        started = started => started?,
        () = &mut interrupted => return Ok(()),
    };
    context.policy = Policy { unfinalised: options.unfinalised, archive: options.archive };
    context.control = control.clone();
    monitoring.follow_chain(&context.chain, Some(signer.account()));
    monitoring.follow_disk(context.state.path().to_owned());
    let api = match server {
        Some(server) => Some(options.start_api(server, &context, &signer).await?),
        None => None,
    };
    let outcome = tokio::select! {
        outcome = take_part(&context, &first_block, &signer, &options, strategy) => outcome,
        () = &mut interrupted => {
            tracing::info!("stopping");
            Ok(())
        }
        () = control.ended() => {
            tracing::info!("all updates are settled; stopping, as a request asked for");
            Ok(())
        }
    };
    if let Some(api) = api {
        api.end().await;
    }
    // All stored data is already safe, so an error here loses nothing.
    let shutdown = tokio::time::timeout(SHUTDOWN_TIMEOUT, context.swarm.clone().shutdown()).await;
    if let Ok(Err(error)) = shutdown {
        tracing::debug!("{error}");
    }
    outcome
}

/// Serves the given folders, joins the network and acts in its role.
async fn take_part<S: Strategy>(
    context: &NodeContext,
    first_block: &Hash,
    signer: &Signer,
    options: &RunOptions,
    strategy: S,
) -> Result<()> {
    let machine = pol_hardware::detect(context.state.path())?;
    let start = Start::new(context, options.role)?;
    start.require(options.check_network(&context.chain, &machine).await)?;
    if let Some(folder) = &options.data {
        start.require(serve_folder(context, folder).await)?;
    }
    if let Some(folder) = &options.model {
        start.require(serve_model(context, folder.clone()).await)?;
    }
    if options.role == RoleOption::Trainer {
        check_space(context, options.state_bytes()).await?;
    }
    join(context, signer, options.role.role()).await?;
    let workers = options.workers.map(usize::from);
    match options.role {
        RoleOption::Trainer => {
            let recipe = context.chain.recipe().await?;
            let tier = start.require(select_tier(options.tier, &machine, recipe.as_ref()))?;
            // What is trained again for audits has the tier of its lease.
            let tier = tier.unwrap_or(Tier::Mobile);
            let most = |recipe| pol_hardware::max_workers(&machine, recipe, tier);
            let workers = workers.or(recipe.as_ref().map(most)).unwrap_or(machine.cores);
            tracing::info!("tier {tier:?} with {workers} worker threads");
            context.control.describe(|facts| {
                (facts.tier, facts.workers) = (Some(tier), Some(workers));
            });
            context.control.measure_plan();
            let config = TrainerConfig { tier, workers, state_budget: options.state_bytes() };
            let mut trainer = Trainer::new(context.clone(), signer.clone(), config, strategy);
            roles::run(context, first_block, &mut trainer).await
        }
        RoleOption::Validator => {
            let workers = workers.unwrap_or(machine.cores);
            context.control.describe(|facts| facts.workers = Some(workers));
            let sentence = "attests heads and audits updates";
            context.control.note(ActivityKind::Following, None, sentence);
            let mut validator = Validator::new(context.clone(), signer.clone(), workers, strategy);
            roles::run(context, first_block, &mut validator).await
        }
    }
}

/// Start of a member, of whom audits may ask for what an earlier start left in the folder.
struct Start<'a> {
    control: &'a Control,
    role: RoleOption,
    /// Set if audits may ask for something in the folder.
    is_needed: bool,
}

impl<'a> Start<'a> {
    fn new(context: &'a NodeContext, role: RoleOption) -> Result<Self> {
        Ok(Self { control: &context.control, role, is_needed: context.state.is_needed()? })
    }

    /// Returns what a step of the start gave, or `None` if it failed and audits may ask for what is
    /// in the folder. To answer them costs nothing, and to end would cost part of the bond: the
    /// member goes on, and a trainer takes no lease.
    ///
    /// # Errors
    ///
    /// Returns the error of the step if the folder is not needed.
    fn require<T>(&self, step: Result<T>) -> Result<Option<T>> {
        let error = match step {
            Ok(done) => return Ok(Some(done)),
            Err(error) if self.is_needed => error,
            Err(error) => return Err(error),
        };
        tracing::error!(
            "{}. Going on all the same, since audits may ask for what is in this folder; a trainer \
             takes no lease. Mend this, and start again",
            explain(&error)
        );
        if self.role == RoleOption::Trainer {
            self.control.ask(Action::Pause, None);
        }
        Ok(None)
    }
}

/// Compares the space for training states with the disk.
///
/// # Errors
///
/// Fails if the disk is too small for one update. A member whose updates are not settled yet takes
/// part all the same, to serve what audits ask for.
async fn check_space(context: &NodeContext, wanted: u64) -> Result<()> {
    let Some(recipe) = context.chain.recipe().await? else { return Ok(()) };
    match context.state.space(recipe.model.size()) {
        Ok(space) if space < wanted => tracing::warn!(
            "the disk of {} has space for {:.1} GiB of training states, not for {:.1} GiB, so that \
             audits may ask for states that have to be trained again",
            context.state.path().display(),
            space as f64 / GIB,
            wanted as f64 / GIB
        ),
        Ok(_) => {}
        Err(StateError::Disk(error)) if !context.state.leases()?.is_empty() => {
            tracing::warn!("{error}; serving what earlier updates need, and leasing nothing");
        }
        Err(error) => return Err(error).context("cannot train in this folder"),
    }
    Ok(())
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

/// Makes the parameters of an imported model available to peers.
async fn serve_model(context: &NodeContext, folder: PathBuf) -> Result<()> {
    let model = tokio::task::spawn_blocking(move || pol_import::load(&folder)).await??;
    let (root, parameters) = (model.root, ParameterBytes(Arc::new(model.parameters)));
    context.swarm.add(Bytes::from_owner(parameters), PRETRAINED_TAG).await?;
    tracing::info!("serving the imported model {}", short_hash(&root));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_fails_ends_unless_audits_may_ask_for_the_folder() {
        let control = Control::new("trainer");
        let start = |is_needed| Start { control: &control, role: RoleOption::Trainer, is_needed };
        let differs = || Err::<(), _>(anyhow!("the file says 4, the network 8"));
        assert!(start(false).require(differs()).unwrap_err().to_string().contains("network 8"));
        assert_eq!(start(true).require(Ok(5)).unwrap(), Some(5));
        assert!(control.may_lease());
        assert_eq!(start(true).require(differs()).unwrap(), None);
        assert!(!control.may_lease(), "nothing is leased that the start does not fit");
    }

    #[test]
    fn sizes_are_numbers_of_gib() {
        assert_eq!(parse_gib("0.5"), Ok(0.5));
        for text in ["", "x", "-1", "inf", "NaN", "1e300"] {
            assert!(parse_gib(text).is_err(), "{text}");
        }
    }
}
