// SPDX-License-Identifier: Apache-2.0

//! Start of a member: its state, its place among the members, and the data that it serves.

use crate::{
    context::NodeContext,
    display::role_name,
    error::{RoleError, explain},
    options::{NodeOptions, SwarmOptions},
    state::StateFolder,
};
use anyhow::{Context, Result};
use pol_chain::{Chain, Signer};
use pol_data::ShardFolder;
use pol_primitives::{Hash, member::Role};
use pol_swarm::SwarmError;
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Wait between two attempts to join the network, about one block.
const JOIN_RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// Shards in memory at a time while a folder is read.
const SHARDS_AT_ONCE: u32 = 256;

/// Opens the state of the signer's account for the chain that the node serves, in `base_path` or in
/// the default folder, and starts to serve the blobs in it. Returns the chain's first block too.
pub(super) async fn start(
    signer: &Signer,
    node: &NodeOptions,
    swarm: &SwarmOptions,
    base_path: Option<&Path>,
) -> Result<(NodeContext, Hash)> {
    let chain = node.connect().await?;
    let first_block = first_block(&chain).await?;
    let base_path = match base_path {
        Some(path) => path.to_owned(),
        None => default_base_path(&first_block, signer)?,
    };
    let state = StateFolder::open(&base_path)?;
    state.claim(&first_block)?;
    warn_if_unreachable(node, swarm);
    Ok((NodeContext::start(chain, swarm, state).await?, first_block))
}

/// Warns of addresses at which members on other machines do not reach this one.
fn warn_if_unreachable(node: &NodeOptions, swarm: &SwarmOptions) {
    let SwarmOptions { listen, advertise } = swarm;
    let is_local = |address: &SocketAddr| address.ip().is_loopback();
    let is_hidden =
        if advertise.is_empty() { is_local(listen) } else { advertise.iter().all(is_local) };
    if is_hidden && !node.urls.iter().all(|url| is_loopback_url(url)) {
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
pub(super) async fn first_block(chain: &Chain) -> Result<Hash> {
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

/// Bonds the account and registers its endpoint. Tries again after transient errors.
pub(super) async fn join(context: &NodeContext, signer: &Signer, role: Role) -> Result<()> {
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

/// Makes the blobs of an ingested folder available to peers. Returns the number of shards.
pub(super) async fn serve_shards(context: &NodeContext, folder: &Path) -> Result<u32> {
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
    Ok(count)
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
}
