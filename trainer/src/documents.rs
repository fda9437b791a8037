// SPDX-License-Identifier: Apache-2.0

//! Documents in folders of shards: the shards of a document, and the documents of a shard.

use pol_corpus::{DocumentRecord, Place, Side};
use pol_data::{
    DataError, HELD_OUT, ManifestSummary, ShardFolder, TRAIN,
    documents::{DocumentIndex, DocumentQuery},
};
use pol_primitives::data::ShardId;
use std::path::{Path, PathBuf};

/// Returns the shard that a text names.
///
/// # Errors
///
/// Fails if it names none.
pub(crate) fn parse_shard_id(text: &str) -> Result<ShardId, String> {
    let parts = text
        .split_once('/')
        .and_then(|(manifest, index)| Some((manifest.parse().ok()?, index.parse().ok()?)));
    parts
        .map(|(manifest, index)| ShardId { manifest, index })
        .ok_or_else(|| "a shard is MANIFEST/INDEX, such as 0/17".into())
}

/// Returns the folder of one side of an ingested folder, which is a manifest of its own.
pub(crate) fn side_folder(folder: &Path, side: Side) -> PathBuf {
    folder.join(if side == Side::Train { TRAIN } else { HELD_OUT })
}

/// Returns the manifest of a place in a folder, and the indices of the shards there.
///
/// # Errors
///
/// Fails if the manifest cannot be read.
pub(crate) fn shards_of(
    folder: &Path,
    place: Place,
) -> Result<(ManifestSummary, Vec<u32>), DataError> {
    let shards = ShardFolder::open(&side_folder(folder, place.side))?;
    Ok((*shards.summary(), indices(&shards, place)))
}

/// Returns the indices of the shards that hold a place.
pub(crate) fn indices(shards: &ShardFolder, place: Place) -> Vec<u32> {
    let length = u64::from(shards.shard_tokens().max(1));
    let last = place.start.saturating_add(place.tokens).saturating_sub(1) / length;
    let indices = (place.start / length..=last).take_while(|at| *at < u64::from(shards.len()));
    indices.filter_map(|index| u32::try_from(index).ok()).collect()
}

/// Returns up to `most` documents of a folder whose tokens are in shard `index` of a `side`.
///
/// # Errors
///
/// Fails if a file cannot be read, or is damaged.
pub(crate) fn documents_of_shard(
    folder: &Path,
    side: Side,
    index: u32,
    most: usize,
) -> Result<Vec<DocumentRecord>, DataError> {
    let length = u64::from(ShardFolder::open(&side_folder(folder, side))?.shard_tokens());
    let start = u64::from(index) * length;
    let (index, mut documents, mut token) = (DocumentIndex::open(folder)?, Vec::new(), start);
    while token < start.saturating_add(length) && documents.len() < most {
        let found = index.find(&DocumentQuery::Position { side, token })?;
        // Separators are in no document.
        token = match found.first().and_then(|record| record.place) {
            Some(place) => place.start.saturating_add(place.tokens),
            None => token.saturating_add(1),
        };
        documents.extend(found);
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_a_manifest_and_an_index() {
        assert_eq!(parse_shard_id("3/17"), Ok(ShardId { manifest: 3, index: 17 }));
        for text in ["", "3", "3/", "/3", "3/x", "3/1/2", "-1/2"] {
            assert!(parse_shard_id(text).is_err(), "{text}");
        }
    }
}
