// SPDX-License-Identifier: Apache-2.0

//! Manifests that the text of a source is made from. What is made of a manifest is like it, so it
//! is not compared with it.

use super::super::parents::{MAX_NAMES, ParentError};
use anyhow::Result;
use pol_corpus::RawDocuments;
use pol_data::documents::croissant::ManifestName;
use pol_primitives::{Hash, data::ManifestId};
use std::{collections::BTreeSet, path::Path};

/// Parents of a text: those that its provider states, and those that its documents name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parents {
    /// Numbers on the provider's chain.
    ids: BTreeSet<ManifestId>,
    names: BTreeSet<ManifestName>,
}

impl Parents {
    /// Creates the parents that are stated by their numbers.
    pub(super) fn stated(ids: &[ManifestId]) -> Self {
        Self { ids: ids.iter().copied().collect(), names: BTreeSet::new() }
    }

    /// Adds those that the documents in the store `raw` name.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or names more than could be registered.
    pub(super) fn add_named(&mut self, raw: &Path) -> Result<()> {
        for document in RawDocuments::open(raw)? {
            let origin = document?.origin;
            let signals = origin.signals.iter();
            self.names.extend(signals.filter_map(|signal| ManifestName::of_signal(signal)));
            if self.names.len() > MAX_NAMES {
                return Err(ParentError::TooManyNames.into());
            }
        }
        Ok(())
    }

    /// Returns `true` if one of the manifests with these contents, and with these numbers on the
    /// provider's chain with this genesis, is a parent.
    pub(super) fn contain(&self, contents: &[Hash], ids: &[ManifestId], genesis: Hash) -> bool {
        contents.iter().any(|content| self.names.contains(&ManifestName::Content(*content)))
            || ids.iter().any(|&id| {
                let name = ManifestName::OnChain { genesis, id };
                self.ids.contains(&id) || self.names.contains(&name)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_corpus::{Origin, RawDocument, RawStore};
    use pol_data::documents::croissant::derivation_signal;

    /// Writes a store of documents with these signals.
    fn store(folder: &Path, documents: impl IntoIterator<Item = Vec<String>>) {
        let mut store = RawStore::create_or_open(folder).unwrap();
        for signals in documents {
            let origin = Origin { signals, ..Origin::default() };
            store.append(&RawDocument::of_text(origin, "A text.".to_owned())).unwrap();
        }
        store.commit(&().into()).unwrap();
    }

    #[test]
    fn parents_are_stated_by_number_and_named_by_documents() {
        let folder = tempfile::tempdir().unwrap();
        let on_chain = ManifestName::OnChain { genesis: [9; 32], id: 5 };
        let named = vec![
            "x-robots-tag: noarchive".to_owned(),
            derivation_signal(on_chain),
            derivation_signal("urn:tales:old"),
        ];
        let content = vec![derivation_signal(ManifestName::Content([7; 32]))];
        store(folder.path(), [named, Vec::new(), content]);

        let mut parents = Parents::stated(&[3]);
        assert!(!parents.contain(&[[7; 32]], &[], [9; 32]));
        parents.add_named(folder.path()).unwrap();
        for (content, ids, genesis, is_parent) in [
            (7, &[][..], 9, true),
            (7, &[4], 9, true),
            (8, &[], 9, false),
            (8, &[3], 9, true),
            (8, &[4], 9, false),
            (8, &[4, 5], 9, true),
            (8, &[5], 6, false),
        ] {
            let found = parents.contain(&[[8; 32], [content; 32]], ids, [genesis; 32]);
            assert_eq!(found, is_parent, "{content} {ids:?} {genesis}");
        }
    }

    #[test]
    fn more_names_than_can_be_registered_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let name = |id| vec![derivation_signal(ManifestName::OnChain { genesis: [9; 32], id })];
        store(folder.path(), (0..=MAX_NAMES as ManifestId).map(name));
        let error = Parents::default().add_named(folder.path()).unwrap_err();
        assert_eq!(error.downcast_ref::<ParentError>(), Some(&ParentError::TooManyNames));
    }
}
