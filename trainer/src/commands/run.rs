// SPDX-License-Identifier: Apache-2.0

//! Taking part in the network, as a trainer or a validator.

use super::membership::{join, serve_shards, start};
use crate::{
    context::{NodeContext, Policy},
    display::short_hash,
    model::PRETRAINED_TAG,
    options::{KeyOptions, NodeOptions, SwarmOptions},
    roles::{
        self,
        trainer::{Trainer, TrainerConfig},
        validator::Validator,
    },
    strategy::Strategy,
};
use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use pol_chain::Signer;
use pol_engine::parameters_to_bytes;
use pol_primitives::{
    Hash,
    member::Role,
    recipe::{Recipe, Tier},
};
use std::{path::PathBuf, pin::pin, time::Duration};

/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;
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
    let base_path = options.base_path.as_deref();
    let (mut context, first_block) = tokio::select! {
        started = start(&signer, &options.node, &options.swarm, base_path) => started?,
        () = &mut interrupted => return Ok(()),
    };
    context.policy = Policy { unfinalised: options.unfinalised, archive: options.archive };
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
    context.swarm.add(parameters_to_bytes(&model.parameters).into(), PRETRAINED_TAG).await?;
    tracing::info!("serving the imported model {}", short_hash(&model.root));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_of_gib() {
        assert_eq!(parse_gib("0.5"), Ok(0.5));
        for text in ["", "x", "-1", "inf", "NaN"] {
            assert!(parse_gib(text).is_err(), "{text}");
        }
    }
}
