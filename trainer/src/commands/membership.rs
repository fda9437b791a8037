// SPDX-License-Identifier: Apache-2.0

//! Start of a member: its state, its place among the members, and the data that it serves.

use crate::{
    context::NodeContext,
    display::role_name,
    error::{RoleError, explain},
    keyring::user_folder,
    options::{NodeOptions, SwarmOptions},
    roles::second_process,
    state::StateFolder,
};
use anyhow::{Context, Result, bail, ensure};
use pol_chain::{Chain, Signer};
use pol_data::{IngestRecord, ShardFolder};
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

/// Place of a member on its machine and in the swarm.
pub(super) struct Place<'a> {
    pub(super) node: &'a NodeOptions,
    pub(super) swarm: &'a SwarmOptions,
    /// Folder of the state, if it is not the default one.
    pub(super) base_path: Option<&'a Path>,
    /// Names of these settings in messages.
    pub(super) names: SettingNames,
}

/// Names of settings, for people.
#[derive(Clone, Copy)]
pub(super) struct SettingNames {
    base_path: &'static str,
    listen: &'static str,
    advertise: &'static str,
}

impl SettingNames {
    /// Flags of a member's command line.
    pub(super) const FLAGS: Self =
        Self { base_path: "--base-path", listen: "--listen", advertise: "--advertise" };
    /// Fields of the configuration of `data acquire`.
    pub(super) const FIELDS: Self = Self {
        base_path: "provider.base_path",
        listen: "provider.listen",
        advertise: "provider.advertise",
    };
}

/// Opens the state of the signer's account for the chain that the node serves, and starts to serve
/// the blobs in it. Returns the chain's first block too.
pub(super) async fn start(
    signer: &Signer,
    chain: Chain,
    place: Place<'_>,
) -> Result<(NodeContext, Hash)> {
    chain.check_proxy(signer).await?;
    let first_block = first_block(&chain).await?;
    let base_path = match place.base_path {
        Some(path) => path.to_owned(),
        None => default_base_path(user_folder(), &first_block, signer, place.names)?,
    };
    let state = StateFolder::open(&base_path)?;
    state.claim(&first_block)?;
    if let Some(warning) = unreachable_warning(&place) {
        tracing::warn!("{warning}");
    }
    Ok((NodeContext::start(chain, place.swarm, state).await?, first_block))
}

/// Returns a warning of addresses at which members on other machines do not reach this one.
fn unreachable_warning(Place { node, swarm, names, .. }: &Place<'_>) -> Option<String> {
    let SwarmOptions { listen, advertise } = swarm;
    let is_local = |address: &SocketAddr| address.ip().is_loopback();
    let is_hidden =
        if advertise.is_empty() { is_local(listen) } else { advertise.iter().all(is_local) };
    (is_hidden && !node.urls.iter().all(|url| is_loopback_url(url))).then(|| {
        format!(
            "the node is on another machine, and members there do not reach {listen}: they cannot \
             fetch what this one has to serve, which costs its pay and part of its bond. Set {} to \
             0.0.0.0:PORT, and {} if peers see another address",
            names.listen, names.advertise
        )
    })
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
///
/// # Errors
///
/// Fails if only a person can help, such as if another process of the account serves.
pub(super) async fn join(context: &NodeContext, signer: &Signer, role: Role) -> Result<()> {
    refuse_second(context, signer).await?;
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

/// Fails if another process of the account serves: peers ask the endpoint that was registered last,
/// and would no longer find the blobs of the other.
async fn refuse_second(context: &NodeContext, signer: &Signer) -> Result<()> {
    let member = context.chain.member(&signer.account()).await?;
    let own = context.swarm.endpoint().id;
    let other = member.and_then(|member| member.endpoint).filter(|other| other.id != own);
    if let Some(other) = other
        && context.swarm.answers(&other).await
    {
        bail!("{}", second_process(signer, &other));
    }
    Ok(())
}

/// Label of the blobs of ingested folders.
const SERVED_TAG: &str = "served";

/// Returns the label of the blobs of a manifest with this content.
pub(super) fn served_tag(content_hash: &Hash) -> String {
    format!("{SERVED_TAG}/{}", hex::encode(content_hash))
}

/// Makes the blobs of an ingested folder available to peers. Returns the number of shards.
pub(super) async fn serve_folder(context: &NodeContext, folder: &Path) -> Result<u32> {
    let mut count = 0;
    for split in pol_data::SPLITS {
        count += serve_shards(context, &folder.join(split)).await?;
    }
    serve_tokenizer(context, folder).await?;
    tracing::info!("serving {count} shards of {}", folder.display());
    Ok(count)
}

/// Makes the blobs of a manifest available to peers. Returns the number of shards.
pub(super) async fn serve_shards(context: &NodeContext, folder: &Path) -> Result<u32> {
    let shards = ShardFolder::open(folder)?;
    if shards.is_empty() {
        return Ok(0);
    }
    let tag = served_tag(&shards.summary().content_hash);
    context.swarm.add(shards.body().to_vec().into(), &tag).await?;
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
    Ok(shards.len())
}

/// Makes the tokenizer of an ingested folder available to peers.
pub(super) async fn serve_tokenizer(context: &NodeContext, folder: &Path) -> Result<()> {
    let path = folder.join(pol_data::TOKENIZER_FILE);
    let again = "restore it from a copy, or make the folder again";
    let bytes =
        std::fs::read(&path).with_context(|| format!("cannot read {}; {again}", path.display()))?;
    let is_recorded = blake3::hash(&bytes) == IngestRecord::read(folder)?.tokenizer;
    ensure!(
        is_recorded,
        "{} is not the one that the shards were made with; {again}",
        path.display()
    );
    context.swarm.add(bytes.into(), &format!("{SERVED_TAG}/tokenizer")).await?;
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

/// Returns the default state folder of this account, below the `folder` of the user. Each chain has
/// its own, so that a development chain can be started anew.
fn default_base_path(
    folder: Option<PathBuf>,
    first_block: &Hash,
    signer: &Signer,
    names: SettingNames,
) -> Result<PathBuf> {
    let folder = folder.with_context(|| {
        let setting = names.base_path;
        format!("neither HOME nor XDG_DATA_HOME is set; name a folder by {setting}")
    })?;
    Ok(folder.join(hex::encode(&first_block[..8])).join(signer.ss58()))
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
    fn messages_name_the_settings_of_the_command() {
        let node = NodeOptions { urls: vec!["wss://node.example".into()] };
        let swarm = SwarmOptions::fetch_only();
        let local = SwarmOptions { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..swarm.clone() };
        let signer = Signer::from_uri("//Alice").unwrap();
        for (names, base_path, listen) in [
            (SettingNames::FLAGS, "--base-path", "--listen"),
            (SettingNames::FIELDS, "provider.base_path", "provider.listen"),
        ] {
            let place = Place { node: &node, swarm: &local, base_path: None, names };
            let warning = unreachable_warning(&place).unwrap();
            assert!(warning.contains(&format!("Set {listen} to")), "{warning}");
            assert_eq!(unreachable_warning(&Place { swarm: &swarm, ..place }), None);
            let homeless = default_base_path(None, &[7; 32], &signer, names).unwrap_err();
            assert!(homeless.to_string().ends_with(base_path), "{homeless}");
        }
    }
}
