// SPDX-License-Identifier: Apache-2.0

//! Manifests on the chain: listed, decided about by governance, and reported by validators.

use super::governance::decide;
use crate::{
    context::{NodeContext, Undelivered},
    data::{MalformedData, ShardReader},
    error::RoleError,
    options::{KeyOptions, NodeOptions, SwarmOptions},
    state::StateFolder,
};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use pol_chain::{AccountId, Call, format_account};
use pol_primitives::{
    Hash,
    data::{Manifest, ManifestId, ShardId, SourceKind},
    hex_hash,
    lineage::{Retirement, RetirementReason},
};
use serde_json::json;
use std::time::Instant;

/// Number of shards that a report tries to read.
const TRIED_SHARDS: u32 = 4;

/// Kind of text.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum KindOption {
    Pretrained,
    Dataset,
    Web,
    Synthetic,
}

impl From<KindOption> for SourceKind {
    fn from(kind: KindOption) -> Self {
        match kind {
            KindOption::Pretrained => Self::Pretrained,
            KindOption::Dataset => Self::Dataset,
            KindOption::Web => Self::Web,
            KindOption::Synthetic => Self::Synthetic,
        }
    }
}

/// Reason to retire a manifest.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReasonOption {
    /// Somebody with rights in the text does not want it to be trained on.
    OptOut,
    /// The licence does not permit it, or is not that of the text.
    Licence,
    /// The text is of no use.
    Quality,
    /// The text holds some that models are measured on.
    Contamination,
    /// The shards cannot be fetched.
    Unavailable,
    /// Another reason.
    Other,
}

impl From<ReasonOption> for RetirementReason {
    fn from(reason: ReasonOption) -> Self {
        match reason {
            ReasonOption::OptOut => Self::OptOut,
            ReasonOption::Licence => Self::Licence,
            ReasonOption::Quality => Self::Quality,
            ReasonOption::Contamination => Self::Contamination,
            ReasonOption::Unavailable => Self::Unavailable,
            ReasonOption::Other => Self::Other,
        }
    }
}

/// Manifest, and the key of a member that decides about it.
#[derive(Args)]
pub(crate) struct ManifestOptions {
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
    /// Number of the manifest.
    #[arg(value_name = "MANIFEST", value_parser = parse_manifest)]
    manifest: ManifestId,
}

fn parse_manifest(text: &str) -> Result<ManifestId, &'static str> {
    let remedy = "`data list` prints the numbers of manifests; `data summary` is about folders";
    text.parse().map_err(|_| remedy)
}

/// Options of `data admit`.
#[derive(Args)]
pub(crate) struct AdmitOptions {
    #[command(flatten)]
    of: ManifestOptions,
    /// Kind of its text.
    #[arg(long, value_enum, default_value = "dataset")]
    kind: KindOption,
}

/// Options of `data retire`.
#[derive(Args)]
pub(crate) struct RetireOptions {
    #[command(flatten)]
    of: ManifestOptions,
    /// Burn the deposit: the data is not what its provider said, or cannot be fetched.
    #[arg(long)]
    for_cause: bool,
    /// Reason, which the chain keeps. After an opt-out, a breach of a licence or a contamination,
    /// no text may be derived from the manifest any more.
    #[arg(long, value_enum, default_value = "other")]
    reason: ReasonOption,
    /// BLAKE3 of the evidence, such as a letter, in hexadecimal digits.
    #[arg(long, value_name = "HASH", value_parser = parse_hash)]
    evidence: Option<Hash>,
}

fn parse_hash(text: &str) -> Result<Hash, String> {
    hex_hash::parse(text).ok_or_else(|| "a hash is 64 hexadecimal digits".into())
}

/// Options of `data report`.
#[derive(Args)]
pub(crate) struct ReportOptions {
    #[command(flatten)]
    of: ManifestOptions,
    /// The shard that cannot be fetched or is no text. Without it, some are tried.
    #[arg(long)]
    shard: Option<u32>,
}

/// Options of `data list`.
#[derive(Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Number of a manifest. Only those that name it as a parent are listed, and not those that
    /// were made from these in turn.
    #[arg(long, value_name = "MANIFEST", value_parser = parse_manifest)]
    parent: Option<ManifestId>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ManifestOptions {
    async fn decide(&self, call: Call, done: &str) -> Result<()> {
        decide(&self.node, &self.key, call, &format!("manifest {} is {done}", self.manifest)).await
    }

    /// Takes the manifest out of the pool.
    pub(super) async fn pause(self) -> Result<()> {
        self.decide(Call::PauseManifest(self.manifest), "paused").await
    }

    /// Puts the manifest back into the pool.
    pub(super) async fn resume(self) -> Result<()> {
        self.decide(Call::ResumeManifest(self.manifest), "in the pool again").await
    }
}

impl ReportOptions {
    /// Reports the manifest as a validator, if its shards cannot be read now.
    pub(super) async fn report(self) -> Result<()> {
        let Self { of: ManifestOptions { node, key, manifest }, shard } = self;
        let scratch = tempfile::tempdir().context("cannot make a temporary folder for blobs")?;
        let chain = node.connect().await?;
        let state = StateFolder::open(scratch.path())?;
        let context = NodeContext::start(chain.clone(), &SwarmOptions::fetch_only(), state).await?;
        let read = read_any(&context, manifest, shard).await;
        context.swarm.clone().shutdown().await?;
        if let Some(index) = read? {
            bail!("shard {index} of manifest {manifest} can be read; nothing is reported");
        }
        chain.submit(&key.signer()?, Call::ReportManifest(manifest)).await?;
        println!("manifest {manifest} is reported");
        Ok(())
    }
}

/// Tries to read `shard` of a manifest, or some of its shards. Returns the index of the first that
/// it gets. Fails if this machine or its node may be why it gets none.
async fn read_any(
    context: &NodeContext,
    manifest: ManifestId,
    shard: Option<u32>,
) -> Result<Option<u32>> {
    let recipe = context.chain.recipe().await?.context("the chain has no recipe yet")?;
    let record = context.chain.manifest(manifest).await?;
    let shards =
        record.with_context(|| format!("the chain has no manifest {manifest}"))?.info.shards;
    ensure!(shard.is_none_or(|shard| shard < shards), "the manifest has {shards} shards");
    let mut reader = ShardReader::new(context.clone());
    let tried = TRIED_SHARDS.min(shards);
    let spread = |at: u32| (u64::from(at) * u64::from(shards) / u64::from(tried)) as u32;
    let indices = shard.map_or_else(|| (0..tried).map(spread).collect(), |shard| vec![shard]);
    let started = Instant::now();
    for index in indices {
        let read = reader.shard(&recipe, ShardId { manifest, index }, &[], "report").await;
        let Err(error) = read.map_err(RoleError::into_inner) else { return Ok(Some(index)) };
        if !is_of_data(&error, context.swarm.has_reached(started, &[])) {
            return Err(error
                .context("nothing is reported, since this machine or its node may be at fault"));
        }
        tracing::info!("shard {index}: {error:#}");
    }
    Ok(None)
}

/// Returns `true` if the data is why it could not be read. Blobs that do not come are its fault
/// only on a machine that is connected to another member.
fn is_of_data(error: &anyhow::Error, is_connected: bool) -> bool {
    error.is::<MalformedData>() || (is_connected && error.is::<Undelivered>())
}

/// Admits a manifest.
pub(super) async fn admit(options: AdmitOptions) -> Result<()> {
    let AdmitOptions { of, kind } = options;
    of.decide(Call::AdmitManifest { manifest: of.manifest, kind: kind.into() }, "admitted").await
}

/// Refuses or retires a manifest.
pub(super) async fn retire(options: RetireOptions) -> Result<()> {
    let RetireOptions { of, for_cause, reason, evidence } = options;
    let retirement = Retirement { reason: reason.into(), evidence, for_cause };
    of.decide(Call::RetireManifest { manifest: of.manifest, retirement }, "retired").await
}

/// Prints all manifests, or those that were made from one.
pub(super) async fn list(options: ListOptions) -> Result<()> {
    let chain = options.node.connect().await?;
    let count = chain.manifest_count().await?;
    let ids: Vec<ManifestId> = match options.parent {
        None => {
            ensure!(count > 0 || options.json, "no manifest is registered");
            (0..count).collect()
        }
        Some(parent) => {
            ensure!(
                parent < count,
                "the chain has no manifest {parent}; `pol-trainer data list` shows those that it \
                 has"
            );
            let children = chain.children(parent).await?;
            if children.is_empty() && !options.json {
                println!("no manifest names manifest {parent} as a parent");
            }
            children
        }
    };
    for id in ids {
        // The number of a withdrawn manifest stays unused.
        let Some(manifest) = chain.manifest(id).await? else { continue };
        if options.json {
            print_json(id, &manifest);
        } else {
            print(id, &manifest);
        }
    }
    Ok(())
}

fn print_json(id: ManifestId, manifest: &Manifest<AccountId>) {
    let info = &manifest.info;
    println!(
        "{}",
        json!({
            "id": id,
            "owner": format_account(&manifest.owner),
            "source": info.source,
            "status": manifest.status,
            "kind": manifest.kind,
            "heldOut": info.held_out,
            "shards": info.shards,
            "free": manifest.free,
            "leased": manifest.leased,
            "consumed": manifest.consumed,
            "contentHash": format!("0x{}", hex::encode(info.content_hash)),
            "documents": info.documents,
            "parents": info.parents,
            "activity": info.derivation.activity,
        })
    );
}

fn print(id: ManifestId, manifest: &Manifest<AccountId>) {
    let Manifest { owner, info, status, kind, free, consumed, .. } = manifest;
    let kind = match kind {
        _ if info.held_out => "held out".to_owned(),
        Some(kind) => format!("{kind:?}").to_lowercase(),
        None => "no kind yet".to_owned(),
    };
    let status = format!("{status:?}").to_lowercase();
    println!(
        "manifest {id}: {status}, {kind}, {} shards ({free} free, {consumed} consumed) of source \
         {} by {}",
        info.shards,
        info.source,
        format_account(owner)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn only_the_data_is_reported() {
        let shard = ShardId { manifest: 3, index: 7 };
        let malformed = anyhow!(MalformedData::Shard { shard, reason: "odd".into() });
        assert!(is_of_data(&malformed, false));
        assert!(!is_of_data(&anyhow!("the node does not answer"), true));
    }
}
