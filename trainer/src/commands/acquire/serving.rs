// SPDX-License-Identifier: Apache-2.0

//! Service of sealed data to peers, as long as somebody may need them.
//!
//! A shard is consumed once its update is settled: no trainer and no seat reads it any more. The
//! shards of a retired manifest are leased until the last update with them is settled. Audits that
//! drew such shards as a probe end some rounds later. Then the blobs leave the store. The folders
//! stay.

use super::{
    super::membership::{self, served_tag},
    config::SourceConfig,
    events::Events,
    state::{ChainRecord, SourceState, batch_folder},
};
use crate::context::NodeContext;
use anyhow::Result;
use pol_chain::{AccountId, Chain, ChainError};
use pol_data::{IngestRecord, SPLITS};
use pol_primitives::{
    Hash, RoundNumber,
    data::{Manifest, ManifestId, ManifestStatus},
};
use pol_swarm::SwarmError;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Rounds behind the end of a manifest in which audits may read its shards as a probe: no round
/// opens while so many audits are open.
const PROBED_ROUNDS: RoundNumber = 32;

/// Server of the sealed data of sources.
pub(super) struct Server {
    pub(super) context: NodeContext,
    /// Folder of all sources.
    pub(super) out: PathBuf,
    /// First block of the chain, in hexadecimal.
    pub(super) chain_name: String,
    /// Data are served for good.
    pub(super) archive: bool,
    pub(super) events: Events,
}

impl Server {
    fn folder(&self, source: &SourceConfig) -> PathBuf {
        self.out.join(&source.name)
    }

    /// Returns the place of data on this chain.
    pub(super) fn place<'a>(&self, record: Option<&'a ChainRecord>) -> Option<&'a ChainRecord> {
        record.filter(|record| record.chain == self.chain_name)
    }

    /// Serves all sealed data of a source that somebody may need and that are on this chain.
    /// Damaged ones keep no others from it.
    pub(super) async fn serve_registered(&self, source: &SourceConfig) -> Result<()> {
        let (state, mut served) = (SourceState::read(&self.folder(source))?, Ok(()));
        for (number, batch) in state.sealed.iter().enumerate() {
            if let Some(record) = self.place(batch.on_chain.as_ref()) {
                served = served.and(self.serve(source, number, Some(record)).await);
            }
        }
        served
    }

    /// Serves sealed data, apart from those that nobody needs by their `record`.
    pub(super) async fn serve(
        &self,
        source: &SourceConfig,
        number: usize,
        record: Option<&ChainRecord>,
    ) -> Result<()> {
        let folder = batch_folder(&self.folder(source), number);
        let is_needed = |side| self.archive || record.is_none_or(|record| is_needed(record, side));
        let (mut shards, mut served) = (0, false);
        for (_, split) in SPLITS.into_iter().enumerate().filter(|(side, _)| is_needed(*side)) {
            shards += membership::serve_shards(&self.context, &folder.join(split)).await?;
            served = true;
        }
        if served {
            membership::serve_tokenizer(&self.context, &folder).await?;
            tracing::info!("serving {shards} shards of {}", folder.display());
            let fields = json!({ "source": source.name, "folder": folder, "shards": shards });
            self.events.print_json("serving", fields);
        }
        Ok(())
    }

    /// Releases the blobs of a source's manifests that nobody needs any more.
    pub(super) async fn release_consumed(&self, source: &SourceConfig) -> Result<()> {
        if self.archive {
            return Ok(());
        }
        let folder = self.folder(source);
        let mut state = SourceState::read(&folder)?;
        let mut changed = false;
        for (number, batch) in state.sealed.iter_mut().enumerate() {
            let record = batch.on_chain.as_mut();
            let Some(record) = record.filter(|record| record.chain == self.chain_name) else {
                continue;
            };
            let data = batch_folder(&folder, number);
            for (side, id) in record.manifests.iter().enumerate() {
                if record.released.contains(id) || !self.is_over(*id).await? {
                    continue;
                }
                if let Some(content_hash) = content_of(&data, side)? {
                    self.context.swarm.release(&served_tag(&content_hash)).await?;
                }
                record.released.insert(*id);
                changed = true;
                let fields = json!({ "source": source.name, "folder": data, "manifest": id });
                self.events.print("released", fields, || {
                    format!("{}: nobody needs the shards of manifest {id} any more", source.name)
                });
            }
        }
        if changed { state.write(&folder) } else { Ok(()) }
    }

    /// Returns `true` if nobody needs the shards of a manifest that was on the final chain.
    async fn is_over(&self, id: ManifestId) -> Result<bool, ChainError> {
        let chain = self.context.chain.at(self.context.chain.finalised_block().await?.hash);
        let Some(manifest) = chain.manifest(id).await? else {
            // It was withdrawn, refused, or forgotten, unless the node is behind.
            return Ok(id < chain.manifest_count().await?);
        };
        Ok(is_over(&manifest, chain.overview().await?.round.number)
            && !is_measured_on(&chain, &manifest.info.content_hash).await?)
    }
}

/// Returns `true` if somebody may need one side of data with this place on the chain.
fn is_needed(record: &ChainRecord, side: usize) -> bool {
    let id = record.manifests.get(side);
    // Data that the network has from elsewhere have no manifests.
    !record.manifests.is_empty() && id.is_none_or(|id| !record.released.contains(id))
}

/// Returns `true` if no shard of a manifest is or will be leased, or is read as a probe.
fn is_over(manifest: &Manifest<AccountId>, round: RoundNumber) -> bool {
    let is_out = matches!(manifest.status, ManifestStatus::Consumed | ManifestStatus::Retired);
    let is_past = |ended: RoundNumber| ended.saturating_add(PROBED_ROUNDS) < round;
    is_out && manifest.leased == 0 && manifest.ended.is_some_and(is_past)
}

/// Returns `true` if the recipe in force has models measured on this content.
async fn is_measured_on(chain: &Chain, content_hash: &Hash) -> Result<bool, ChainError> {
    let recipe = chain.recipe().await?;
    Ok(recipe.is_some_and(|recipe| recipe.held_out == Some(*content_hash)))
}

/// Returns the content of a side of ingested data, or `None` if the folder is gone.
fn content_of(data: &Path, side: usize) -> Result<Option<Hash>> {
    if !data.exists() {
        return Ok(None);
    }
    let record = IngestRecord::read(data)?;
    let summary = if side == 0 { record.train } else { record.held_out };
    Ok(Some(summary.content_hash))
}

/// Returns `true` if the store of blobs failed for good. It opens itself again after other
/// failures, such as on a full disk.
pub(super) fn is_store_failure(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(SwarmError::Corrupt { .. }))
}

#[cfg(test)]
mod tests {
    use super::{super::super::withdrawal::tests::manifest, *};

    #[test]
    fn shards_are_over_once_nobody_may_read_them() {
        use ManifestStatus::{Admitted, Consumed, Paused, Retired};
        for (status, leased, ended, expected) in [
            (Consumed, 0, Some(3), true),
            (Consumed, 0, Some(4), false),
            (Retired, 0, Some(3), true),
            (Retired, 1, Some(3), false),
            (Admitted, 0, None, false),
            // It may be resumed.
            (Paused, 0, None, false),
        ] {
            let manifest = Manifest { leased, ended, ..manifest(status, false, 0) };
            let found = is_over(&manifest, 4 + PROBED_ROUNDS);
            assert_eq!(found, expected, "{status:?}, {leased} leased, ended {ended:?}");
        }
    }

    #[test]
    fn a_full_disk_is_no_failure_for_good() {
        let full = anyhow::Error::new(SwarmError::DiskFull("/a".into()));
        assert!(!is_store_failure(&full.context("it cannot be served")));
        let corrupt = SwarmError::Corrupt { directory: "/a".into(), reason: "torn".into() };
        assert!(is_store_failure(&anyhow::Error::new(corrupt).context("it cannot be served")));
    }

    #[test]
    fn sides_are_needed_until_they_are_released() {
        let record = |manifests: &[ManifestId], released: &[ManifestId]| ChainRecord {
            manifests: manifests.to_vec(),
            released: released.iter().copied().collect(),
            ..ChainRecord::default()
        };
        let both = record(&[4, 5], &[4]);
        assert!(!is_needed(&both, 0) && is_needed(&both, 1));
        // Another member may register the other side.
        assert!(is_needed(&record(&[4], &[4]), 1));
        let taken = record(&[], &[]);
        assert!(!is_needed(&taken, 0) && !is_needed(&taken, 1));
    }
}
