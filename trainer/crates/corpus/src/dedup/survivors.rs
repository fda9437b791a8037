// SPDX-License-Identifier: Apache-2.0

//! Survivors among duplicates, and the identity of clusters.

use super::{
    candidates::{Documents, PREFIX, join, number},
    config::DedupConfig,
    signature::name_of,
    sort::{ExternalSort, Sorted},
    table::TableWriter,
    union_find::UnionFind,
};
use crate::error::CorpusError;
use std::{iter::Peekable, path::Path};

/// Number of survivors of one set that a document is compared with. A set has several where
/// likeness was handed on over many documents.
const LEADERS: usize = 256;
/// Bytes of a membership: number, cluster, kind, similarity, number and name of the survivor, and
/// its manifest. A foreign survivor has the number of the document itself, and zeros stand for no
/// manifest.
pub(super) const MEMBERSHIP: usize = 8 + 32 + 1 + 4 + 8 + 32 + 32;
/// Version of this layout, by which what another version left is not read.
pub(super) const LAYOUT: u8 = 1;

/// Kind of a membership.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Survivor,
    Exact,
    Near,
}

/// Writes the membership of each own document.
///
/// Within a set the documents are asked by rank, and one that is like a survivor so far is a
/// duplicate of it. So nothing is dropped because of a chain of small differences.
pub(super) fn write_memberships(
    documents: &mut Documents,
    mut sets: UnionFind,
    folder: &Path,
    config: &DedupConfig,
    writer: &mut TableWriter,
) -> Result<(), CorpusError> {
    let memory = config.memory() / 4;
    let ranked = rank(documents, &mut sets, folder, memory)?;
    let mut duplicates = find_duplicates(documents, ranked, folder, memory)?.peekable();
    join_groups(documents, &mut sets, folder, memory)?;
    let ranked = rank(documents, &mut sets, folder, memory)?;
    let mut identities = find_identities(documents, ranked, folder, memory)?.peekable();

    for index in 0..documents.own_len() {
        let Some(own) = documents.own(index)? else { break };
        let mut record = [0; MEMBERSHIP];
        record[..8].copy_from_slice(&own[..8]);
        let mut cluster = name_of(&own[PREFIX..]);
        if let Some(identity) = next_of(&mut identities, index)? {
            cluster = name_of(documents.signature(number(&identity[4..]))?);
        }
        record[8..40].copy_from_slice(&cluster);
        if let Some(duplicate) = next_of(&mut duplicates, index)? {
            let survivor = number(&duplicate[9..]);
            record[40..45].copy_from_slice(&duplicate[4..9]);
            record.copy_within(..8, 45);
            if let Some(own) = documents.own(survivor)? {
                record[45..53].copy_from_slice(&own[..8]);
            }
            record[53..85].copy_from_slice(&name_of(documents.signature(survivor)?));
            record[85..].copy_from_slice(&documents.manifest(survivor).unwrap_or_default());
        }
        writer.write(&record)?;
    }
    Ok(())
}

/// Returns the documents of all sets of several: by set, foreign ones first, then by falling
/// quality, then in order.
fn rank(
    documents: &mut Documents,
    sets: &mut UnionFind,
    folder: &Path,
    memory: usize,
) -> Result<Sorted<13>, CorpusError> {
    let mut sort = ExternalSort::new(folder, memory);
    for (index, shared) in (0..documents.len()).zip(sets.shared()) {
        if shared {
            let own = documents.own(index)?;
            let mut record = [0; 13];
            record[..4].copy_from_slice(&sets.find(index).to_be_bytes());
            record[4] = own.is_some().into();
            let quality = own.map_or(0, |own| number(&own[16..]));
            record[5..].copy_from_slice(&join([!quality, index]));
            sort.push(record)?;
        }
    }
    sort.finish()
}

/// Returns the duplicates: index, kind, similarity, and index of the survivor.
fn find_duplicates(
    documents: &mut Documents,
    ranked: Sorted<13>,
    folder: &Path,
    memory: usize,
) -> Result<Sorted<13>, CorpusError> {
    let mut sort = ExternalSort::new(folder, memory);
    let likeness = documents.likeness();
    let (mut set, mut leaders) = (None, Vec::<(u32, Vec<u8>)>::new());
    for record in ranked {
        let record = record?;
        let index = number(&record[9..]);
        if set.replace(number(&record)) != Some(number(&record)) {
            leaders.clear();
        }
        let signature = documents.signature(index)?.to_vec();
        let found = leaders.iter().filter(|_| record[4] != 0).find_map(|(leader, other)| {
            likeness(&signature, other).map(|likeness| (*leader, likeness))
        });
        if let Some((leader, likeness)) = found {
            let kind = if likeness.exact { Kind::Exact } else { Kind::Near };
            let mut duplicate = [0; 13];
            duplicate[..4].copy_from_slice(&index.to_be_bytes());
            duplicate[4] = kind as u8;
            duplicate[5..].copy_from_slice(&join([likeness.similarity, leader]));
            sort.push(duplicate)?;
        } else if leaders.len() < LEADERS {
            leaders.push((index, signature));
        }
    }
    sort.finish()
}

/// Joins the sets of the pieces of each long document.
fn join_groups(
    documents: &mut Documents,
    sets: &mut UnionFind,
    folder: &Path,
    memory: usize,
) -> Result<(), CorpusError> {
    let mut sort = ExternalSort::<12>::new(folder, memory);
    for index in 0..documents.own_len() {
        let mut record = [0; 12];
        if let Some(own) = documents.own(index)? {
            record[..8].copy_from_slice(&own[8..16]);
        }
        record[8..].copy_from_slice(&index.to_be_bytes());
        sort.push(record)?;
    }
    let mut last: Option<[u8; 12]> = None;
    for record in sort.finish()? {
        let record = record?;
        if let Some(last) = last.replace(record)
            && last[..8] == record[..8]
        {
            sets.union(number(&last[8..]), number(&record[8..]));
        }
    }
    Ok(())
}

/// Returns for each own document of a set of several its index and that of the set's first own
/// one.
fn find_identities(
    documents: &Documents,
    ranked: Sorted<13>,
    folder: &Path,
    memory: usize,
) -> Result<Sorted<8>, CorpusError> {
    let mut sort = ExternalSort::new(folder, memory);
    let mut current = None;
    for record in ranked {
        let record = record?;
        let (set, index) = (number(&record), number(&record[9..]));
        if index < documents.own_len() {
            let (_, first) = current.filter(|(other, _)| *other == set).unwrap_or((set, index));
            current = Some((set, first));
            sort.push(join([index, first]))?;
        }
    }
    sort.finish()
}

/// Returns the next record if it is that of a document.
fn next_of<const N: usize>(
    records: &mut Peekable<Sorted<N>>,
    index: u32,
) -> Result<Option<[u8; N]>, CorpusError> {
    records
        .next_if(|record| record.as_ref().map_or(true, |record| number(record) == index))
        .transpose()
}
