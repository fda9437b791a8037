// SPDX-License-Identifier: Apache-2.0

//! Held-out documents that share passages with text to train on.

use super::{
    Progress, Stage,
    prepared::{Item, PreparedStore},
    select::Split,
};
use crate::{
    CorpusError, DocumentRecord,
    dedup::{Clusters, DecontaminationConfig, DecontaminatorBuilder, HeldOut, SharedRuns},
};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Bytes of text that are looked through at a time.
const BATCH_BYTES: usize = 8 << 20;

/// Returns the held-out documents that share runs of words with text to train on, with the numbers
/// of these runs. Text that is cut from a document later counts.
pub(super) fn find(
    store: &PreparedStore,
    clusters: &mut Clusters,
    split: &Split,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<BTreeMap<u64, u64>, CorpusError> {
    let Split::Clusters(held_out) = split else { return Ok(BTreeMap::new()) };
    let mut texts = DecontaminatorBuilder::new(DecontaminationConfig::default())?;
    for_survivors(store, clusters, held_out, |_, record, text, is_held_out| {
        if is_held_out {
            texts.add(&record.origin, record.piece, &text).map_err(|_| too_long())?;
        }
        Ok(())
    })?;
    let finder = texts.finish().map_err(|_| too_long())?;
    let shared = SharedRuns::new(finder);

    let (mut batch, mut bytes, total) = (Vec::new(), 0, store.len());
    for_survivors(store, clusters, held_out, |id, _, text, is_held_out| {
        if !is_held_out {
            bytes += text.len();
            batch.push(text);
        }
        if bytes >= BATCH_BYTES {
            mark(&shared, &mut batch);
            bytes = 0;
        }
        watch(Progress { stage: Stage::Repeats, done: id + 1, total });
        Ok(())
    })?;
    mark(&shared, &mut batch);

    let mut overlaps = BTreeMap::new();
    for_survivors(store, clusters, held_out, |id, _, text, is_held_out| {
        let count = if is_held_out { shared.count(&text) } else { 0 };
        if count > 0 {
            overlaps.insert(id, count);
        }
        Ok(())
    })?;
    Ok(overlaps)
}

/// Calls `each` with the documents that remain, and whether they are held out.
fn for_survivors(
    store: &PreparedStore,
    clusters: &mut Clusters,
    held_out: &HeldOut,
    mut each: impl FnMut(u64, DocumentRecord, String, bool) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    for item in store.items() {
        let (id, item, text) = item?;
        let Item::Document { record, .. } = item else { continue };
        let membership = clusters.get(id)?.filter(|found| found.duplicate.is_none());
        if let Some(membership) = membership {
            each(id, *record, text, held_out.contains(&membership.cluster))?;
        }
    }
    Ok(())
}

/// Marks the runs of texts on all cores.
fn mark(shared: &SharedRuns, batch: &mut Vec<String>) {
    batch.par_iter().for_each(|text| shared.mark(text));
    batch.clear();
}

fn too_long() -> CorpusError {
    CorpusError::InvalidOption(
        "the held-out text has too many passages to compare the other text with: choose a smaller \
         share with --held-out, or leave out --clean-held-out"
            .into(),
    )
}
