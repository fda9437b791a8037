// SPDX-License-Identifier: Apache-2.0

//! Sources and manifests of an account, by the chain.

use futures::{StreamExt, TryStreamExt, stream};
use pol_chain::{AccountId, Chain, ChainError};
use pol_primitives::{
    Balance, Hash,
    data::{Manifest, ManifestId, Source, SourceId},
};
use std::{collections::BTreeMap, future::ready};

/// Requests that the node answers at a time.
const REQUESTS_AT_ONCE: usize = 16;

/// Sources and manifests that an account owns at a block.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    pub(super) sources: BTreeMap<SourceId, Source<AccountId>>,
    pub(super) manifests: BTreeMap<ManifestId, Manifest<AccountId>>,
}

impl Holdings {
    /// Reads what `account` owns at the best block.
    pub(super) async fn read(chain: &Chain, account: &AccountId) -> Result<Self, ChainError> {
        let chain = &chain.at(chain.best_block().await?.hash);
        let sources = read_all(chain.source_count().await?, async |id| {
            Ok(chain.source(id).await?.filter(|source| source.owner == *account))
        });
        let sources = sources.await?;
        let manifests = read_all(chain.manifest_count().await?, async |id| {
            Ok(chain.manifest(id).await?.filter(|manifest| manifest.owner == *account))
        });
        Ok(Self { sources, manifests: manifests.await? })
    }

    /// Returns the manifests of this content, from any source, the oldest first.
    pub(super) fn manifests_of(
        &self,
        content_hash: &Hash,
        held_out: bool,
    ) -> impl Iterator<Item = (ManifestId, &Manifest<AccountId>)> {
        let is_of = move |manifest: &Manifest<AccountId>| {
            (manifest.info.content_hash, manifest.info.held_out) == (*content_hash, held_out)
        };
        self.manifests
            .iter()
            .filter(move |(_, manifest)| is_of(manifest))
            .map(|(id, manifest)| (*id, manifest))
    }

    /// Returns `true` if no manifest is of the source.
    pub(super) fn is_unused(&self, source: SourceId) -> bool {
        !self.manifests.values().any(|manifest| manifest.info.source == source)
    }

    /// Returns the sum of the deposits that are on hold.
    pub(super) async fn deposits(&self, chain: &Chain) -> Result<Balance, ChainError> {
        let mut sum: Balance = 0;
        for source in self.sources.keys() {
            sum = sum.saturating_add(chain.source_deposit(*source).await?);
        }
        // What ended has its deposit back.
        let live = self.manifests.iter().filter(|(_, manifest)| manifest.ended.is_none());
        for (manifest, _) in live {
            sum = sum.saturating_add(chain.manifest_deposit(*manifest).await?);
        }
        Ok(sum)
    }
}

/// Reads the entries with numbers below `count`, and returns those that there are.
pub(super) async fn read_all<T>(
    count: u32,
    read: impl AsyncFn(u32) -> Result<Option<T>, ChainError>,
) -> Result<BTreeMap<u32, T>, ChainError> {
    let read = &read;
    let entries = stream::iter(0..count).map(|id| async move { Ok((id, read(id).await?)) });
    let found = |(id, entry): (u32, Option<T>)| ready(Ok(entry.map(|entry| (id, entry))));
    entries.buffered(REQUESTS_AT_ONCE).try_filter_map(found).try_collect().await
}

#[cfg(test)]
mod tests {
    use super::{super::withdrawal::tests::manifest, *};
    use pol_primitives::data::ManifestStatus;

    #[test]
    fn the_oldest_manifest_of_a_content_comes_first() {
        let mut holdings = Holdings::default();
        for (id, held_out, content) in [(7, false, 3), (4, false, 3), (5, true, 3), (6, false, 8)] {
            let mut manifest = manifest(ManifestStatus::Proposed, held_out, 5);
            manifest.info.content_hash = [content; 32];
            manifest.info.source = 2;
            holdings.manifests.insert(id, manifest);
        }
        let of = |content: u8, held_out| -> Vec<_> {
            holdings.manifests_of(&[content; 32], held_out).map(|(id, _)| id).collect()
        };
        assert_eq!((of(3, false), of(3, true), of(9, false)), (vec![4, 7], vec![5], vec![]));
        assert!(holdings.is_unused(1) && !holdings.is_unused(2));
    }
}
