//! Taking part in the network.

use crate::{
    cli::{RoleOption, RunOptions},
    conduct::Conduct,
    failure::{Failure, explain},
    model::PRETRAINED_TAG,
    peer::{Peer, name, short},
    roles::{
        self,
        trainer::{Trainer, Work},
        validator::Validator,
    },
    state::StateFolder,
};
use anyhow::{Context, Result, anyhow};
use pol_chain::{Chain, Signer};
use pol_data::ShardFolder;
use pol_engine::parameters_to_bytes;
use pol_primitives::{Hash, peer::Role};
use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

/// Blocks come every three seconds.
const BLOCK: Duration = Duration::from_secs(3);
/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;
/// Most time to say goodbye to peers.
const GOODBYE: Duration = Duration::from_secs(1);

/// Takes part as `options` say, until interrupted or until only a person can help.
pub async fn run<C: Conduct>(options: RunOptions, conduct: C) -> Result<()> {
    let mut interrupted = pin!(roles::interruption());
    let signer = options.key.signer()?;
    let (peer, first_block) = tokio::select! {
        started = start(&signer, &options) => started?,
        () = &mut interrupted => return Ok(()),
    };
    let outcome = tokio::select! {
        outcome = take_part(&peer, &first_block, &signer, &options, conduct) => outcome,
        () = &mut interrupted => {
            tracing::info!("stopping");
            Ok(())
        }
    };
    // What was stored is safe already.
    if let Ok(Err(error)) = tokio::time::timeout(GOODBYE, peer.swarm.clone().shutdown()).await {
        tracing::debug!("{error}");
    }
    outcome
}

/// Opens this account's state for the chain that the node serves.
async fn start(signer: &Signer, options: &RunOptions) -> Result<(Peer, Hash)> {
    let chain = Chain::connect(&options.node.url).await?;
    let first_block = first_block(&chain).await?;
    let base_path = match &options.base_path {
        Some(path) => path.clone(),
        None => default_base_path(&first_block, signer)?,
    };
    let state = StateFolder::open(&base_path)?;
    state.claim(&first_block)?;
    Ok((Peer::start(chain, &options.swarm, state).await?, first_block))
}

/// The block that names the chain, once it can't change any more.
async fn first_block(chain: &Chain) -> Result<Hash> {
    let mut waited = false;
    loop {
        if chain.finalised().await?.number > 0
            && let Some(first) = chain.first_block().await?
        {
            return Ok(first);
        }
        if !std::mem::replace(&mut waited, true) {
            tracing::info!("waiting for the chain's first block to be finalised");
        }
        tokio::time::sleep(BLOCK).await;
    }
}

async fn take_part<C: Conduct>(
    peer: &Peer,
    first_block: &Hash,
    signer: &Signer,
    options: &RunOptions,
    conduct: C,
) -> Result<()> {
    if let Some(folder) = &options.data {
        serve(peer, folder).await?;
    }
    if let Some(folder) = &options.model {
        serve_model(peer, folder.clone()).await?;
    }
    let role = match options.role {
        RoleOption::Trainer => Role::Trainer,
        RoleOption::Validator => Role::Validator,
    };
    let member = loop {
        match peer.ensure_member(signer, role).await {
            Ok(member) => break member,
            Err(Failure::Passing(error)) => {
                tracing::warn!("{}; trying again with the next block", explain(&error))
            }
            Err(Failure::Fatal(error)) => return Err(error),
        }
        tokio::time::sleep(BLOCK).await;
    };
    tracing::info!("{} takes part with the role {}", signer.ss58(), name(member.role));
    let machine = pol_hardware::detect(peer.state.path())?;
    let workers = options.workers.map_or(machine.cores, usize::from);
    match role {
        Role::Trainer => {
            let tier = match (options.tier.tier(), peer.chain.recipe().await?) {
                (Some(tier), _) => tier,
                (None, Some(recipe)) => pol_hardware::fitting_tier(&machine, &recipe)?,
                (None, None) => {
                    return Err(anyhow!(
                        "the chain has no recipe yet, so no tier can be chosen for this machine; name one with --tier"
                    ));
                }
            };
            tracing::info!("tier {tier:?} with {workers} worker threads");
            let work = Work { tier, workers, state_budget: (options.state_budget * GIB) as u64 };
            roles::run(
                peer,
                first_block,
                &mut Trainer::new(peer.clone(), signer.clone(), work, conduct),
            )
            .await
        }
        Role::Validator | Role::Authority => {
            roles::run(
                peer,
                first_block,
                &mut Validator::new(peer.clone(), signer.clone(), workers, conduct),
            )
            .await
        }
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
        let blobs = (0..shards.len())
            .map(|index| shards.read(index).map(Into::into))
            .collect::<Result<Vec<_>, _>>()?;
        count += blobs.len();
        peer.swarm.add_all(blobs, &format!("{tag}/shards")).await?;
    }
    let tokenizer = folder.join(pol_data::TOKENIZER_FILE);
    let bytes = std::fs::read(&tokenizer).with_context(|| {
        format!(
            "cannot read {}; make the folder again with `pol-trainer data ingest`",
            tokenizer.display()
        )
    })?;
    peer.swarm.add(bytes.into(), "served/tokenizer").await?;
    tracing::info!("serving {count} shards of {}", folder.display());
    Ok(())
}

/// Makes the parameters of an imported model available to peers.
async fn serve_model(peer: &Peer, folder: PathBuf) -> Result<()> {
    let model = tokio::task::spawn_blocking(move || pol_import::load(&folder)).await??;
    peer.swarm.add(parameters_to_bytes(&model.parameters).into(), PRETRAINED_TAG).await?;
    tracing::info!("serving the imported model {}", short(&model.root));
    Ok(())
}

/// Every chain has folders of its own, so that a development chain can be started anew.
fn default_base_path(first_block: &Hash, signer: &Signer) -> Result<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")))
        .context("neither HOME nor XDG_DATA_HOME is set; name a folder with --base-path")?;
    Ok(data.join("pol-trainer").join(hex::encode(&first_block[..8])).join(signer.ss58()))
}
