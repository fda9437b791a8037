//! Taking part in the network.

use crate::{
    cli::{RoleOption, RunOptions},
    failure::Failure,
    peer::{Peer, name},
    roles::{self, trainer::Trainer, validator::Validator},
};
use anyhow::{Context, Result, anyhow};
use pol_chain::Signer;
use pol_data::ShardFolder;
use pol_primitives::peer::Role;
use std::path::{Path, PathBuf};

pub async fn run(options: RunOptions) -> Result<()> {
    let signer = options.key.signer()?;
    let base_path = match &options.base_path {
        Some(path) => path.clone(),
        None => default_base_path(&signer)?,
    };
    let peer = Peer::start(&options.node, &options.swarm, base_path).await?;
    let role = match options.role {
        RoleOption::Trainer => Role::Trainer,
        RoleOption::Validator => Role::Validator,
    };
    if let Some(folder) = &options.data {
        serve(&peer, folder).await?;
    }
    let outcome = take_part(&peer, &signer, role, &options).await;
    if let Err(error) = peer.swarm.clone().shutdown().await {
        tracing::warn!("{error}");
    }
    outcome
}

async fn take_part(peer: &Peer, signer: &Signer, role: Role, options: &RunOptions) -> Result<()> {
    let member = loop {
        match peer.ensure_member(signer, role).await {
            Ok(member) => break member,
            Err(Failure::Passing(error)) => tracing::warn!("{error:#}; trying again with the next block"),
            Err(Failure::Fatal(error)) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(std::time::Duration::from_secs(3)) => {}
            () = roles::interruption() => return Ok(()),
        }
    };
    tracing::info!("{} takes part with the role {}", signer.ss58(), name(member.role));
    let machine = pol_hardware::detect(peer.state.path())?;
    let workers = options.workers.map_or(machine.cores, usize::from);
    match role {
        Role::Trainer => {
            let tier = match (options.tier.tier(), peer.chain.recipe().await?) {
                (Some(tier), _) => tier,
                (None, Some(recipe)) => pol_hardware::fitting_tier(&machine, &recipe)?,
                (None, None) => return Err(anyhow!("the chain has no recipe yet, so no tier can be chosen for this machine; name one with --tier")),
            };
            tracing::info!("tier {tier:?} with {workers} worker threads");
            roles::run(peer, &mut Trainer::new(peer.clone(), signer.clone(), tier, workers)).await
        }
        Role::Validator | Role::Authority => roles::run(peer, &mut Validator::new(peer.clone(), signer.clone(), workers)).await,
    }
}

/// Makes the blobs of an ingested folder available to peers.
async fn serve(peer: &Peer, folder: &Path) -> Result<()> {
    let mut count = 0;
    for part in pol_data::PARTS {
        let shards = ShardFolder::open(&folder.join(part))?;
        let tag = format!("served/{part}");
        if shards.is_empty() {
            continue;
        }
        peer.swarm.add(shards.body().to_vec().into(), &format!("{tag}/body")).await?;
        let blobs = (0..shards.len()).map(|index| shards.read(index).map(Into::into)).collect::<Result<Vec<_>, _>>()?;
        count += blobs.len();
        peer.swarm.add_all(blobs, &format!("{tag}/shards")).await?;
    }
    let tokenizer = folder.join(pol_data::TOKENIZER_FILE);
    let bytes = std::fs::read(&tokenizer).with_context(|| tokenizer.display().to_string())?;
    peer.swarm.add(bytes.into(), "served/tokenizer").await?;
    tracing::info!("serving {count} shards of {}", folder.display());
    Ok(())
}

fn default_base_path(signer: &Signer) -> Result<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")))
        .context("neither HOME nor XDG_DATA_HOME is set; name a folder with --base-path")?;
    Ok(data.join("pol-trainer").join(signer.ss58()))
}
