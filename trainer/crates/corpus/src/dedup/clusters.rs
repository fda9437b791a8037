// SPDX-License-Identifier: Apache-2.0

//! Clusters of duplicates, and the survivor of each.

use super::{
    candidates::PREFIX,
    config::DedupConfig,
    signature::Signer,
    signature_file::SignatureWriter,
    survivors::{Kind, MEMBERSHIP},
    table::{Table, id_of},
};
use crate::error::CorpusError;
use pol_primitives::{Hash, Ppm};
use std::path::{Path, PathBuf};

/// Memberships that are read at a time.
const BLOCK: u64 = 256;

/// Clusters of the documents of a search, read from its folder.
pub struct Clusters {
    memberships: Table,
    signed: PathBuf,
    config: DedupConfig,
}

/// Part of a document in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Number of the document.
    pub id: u64,
    /// Identity of the cluster: the BLAKE3 of its best text. Duplicates and pieces of one document
    /// are in one cluster.
    pub cluster: Hash,
    /// Likeness to a survivor, unless this document survives.
    pub duplicate: Option<Duplicate>,
}

/// Likeness of a document that is dropped to one that survives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Number of the survivor, or `None` if it is a document of another manifest.
    pub survivor: Option<u64>,
    /// BLAKE3 of the survivor's text.
    pub text: Hash,
    /// Registered manifest that the survivor is in, by the BLAKE3 of its body, if the file of its
    /// signature names one.
    pub manifest: Option<Hash>,
    /// `true` if both texts are equal but for case and white space.
    pub exact: bool,
    /// Estimated Jaccard similarity of the shingles.
    pub similarity: Ppm,
}

impl Clusters {
    pub(super) fn open(
        memberships: &Path,
        signed: &Path,
        config: DedupConfig,
    ) -> Result<Self, CorpusError> {
        let memberships = Table::open(memberships, [0, 0], MEMBERSHIP, BLOCK)?;
        Ok(Self { memberships, signed: signed.to_owned(), config })
    }

    /// Returns the number of documents.
    pub fn documents(&self) -> u64 {
        self.memberships.len()
    }

    /// Returns the membership of a document, or `None` if it was not added. It is fastest if
    /// documents are asked for in order.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn get(&mut self, id: u64) -> Result<Option<Membership>, CorpusError> {
        let index = self.memberships.lower_bound(id)?;
        if index == self.memberships.len() {
            return Ok(None);
        }
        let membership = read(self.memberships.record(index)?);
        Ok(Some(membership).filter(|membership| membership.id == id))
    }

    /// Saves the signatures of all survivors, for those who deduplicate against them.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn save_signatures(&mut self, path: &Path) -> Result<(), CorpusError> {
        let width = PREFIX + Signer::new(&self.config)?.layout().width();
        let mut signed = Table::open(&self.signed, [0, 0], width, BLOCK)?;
        let mut writer = SignatureWriter::create(path, &self.config)?;
        for index in 0..self.memberships.len().min(signed.len()) {
            if read(self.memberships.record(index)?).duplicate.is_none() {
                writer.write(&signed.record(index)?[PREFIX..])?;
            }
        }
        writer.commit()
    }
}

/// Reads a record that [`super::survivors::write_memberships`] made.
fn read(record: &[u8]) -> Membership {
    let hash = |offset: usize| record[offset..].first_chunk().copied().unwrap_or_default();
    let similarity = record[41..].first_chunk().map_or(0, |bytes| Ppm::from_be_bytes(*bytes));
    let duplicate = (record[40] != Kind::Survivor as u8).then(|| Duplicate {
        survivor: Some(id_of(&record[45..])).filter(|id| *id != id_of(record)),
        text: hash(53),
        manifest: Some(hash(85)).filter(|manifest| *manifest != Hash::default()),
        exact: record[40] == Kind::Exact as u8,
        similarity,
    });
    Membership { id: id_of(record), cluster: hash(8), duplicate }
}
