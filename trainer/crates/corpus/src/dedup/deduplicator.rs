// SPDX-License-Identifier: Apache-2.0

//! Search for exact and near duplicates among all documents of a corpus.

use super::{
    candidates::{Documents, PREFIX, read_sets, too_many, write_pairs, write_sets},
    clusters::Clusters,
    config::DedupConfig,
    signature::{Signature, Signer},
    signature_file::SignatureFile,
    survivors::{LAYOUT, write_memberships},
    table::{Steps, TableWriter},
};
use crate::error::CorpusError;
use pol_primitives::{Hash, Ppm};
use std::path::Path;

/// Outputs of the steps.
const SIGNED: &str = "signed";
const PAIRS: &str = "pairs";
const SETS: &str = "sets";
const MEMBERSHIPS: &str = "memberships";

/// Document as the search for duplicates sees it, beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the document.
    pub id: u64,
    /// Number that all pieces of one long document have in common, and other documents do not.
    pub group: u64,
    /// Quality. The best document of a cluster survives, and of equal ones the earliest.
    pub quality: Ppm,
}

/// Search for exact and near duplicates.
///
/// It takes five bytes of memory a document and the memory to sort in. Everything else is in its
/// folder, which one search may use at a time. A search that was killed goes on after its last
/// whole step when it is opened again with the same inputs.
pub struct Deduplicator {
    config: DedupConfig,
    signer: Signer,
    steps: Steps,
    /// Writer of signatures, unless all are written.
    writer: Option<TableWriter>,
    len: u32,
    last: Option<u64>,
    foreign: Vec<SignatureFile>,
}

impl Deduplicator {
    /// Opens a search in a folder, which is created if it is missing. `inputs` is a digest of the
    /// documents that are going to be added: results of other inputs in the folder are removed.
    ///
    /// # Errors
    ///
    /// Fails if an option is out of its range, or the folder cannot be written.
    pub fn open(folder: &Path, config: DedupConfig, inputs: &Hash) -> Result<Self, CorpusError> {
        let signer = Signer::new(&config)?;
        let mut hasher = blake3::Hasher::new();
        config.scheme().iter().for_each(|option| {
            hasher.update(&option.to_be_bytes());
        });
        let steps = Steps::open(folder, &hasher.update(inputs).finalize())?;
        steps.clear(SIGNED, true)?;
        let path = steps.path(SIGNED);
        let writer = (!path.exists()).then(|| TableWriter::create(&path)).transpose()?;
        Ok(Self { config, signer, steps, writer, len: 0, last: None, foreign: Vec::new() })
    }

    /// Returns `true` if all documents were added before a kill. They need not be added again.
    pub fn is_filled(&self) -> bool {
        self.writer.is_none()
    }

    /// Returns the maker of signatures, for threads that sign documents before they are added.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Adds a document. Numbers ascend.
    ///
    /// # Errors
    ///
    /// Fails if the search is filled, numbers do not ascend, or the disk fails.
    pub fn add(&mut self, entry: Entry, text: &str) -> Result<(), CorpusError> {
        self.add_signed(entry, &self.signer.sign(text))
    }

    /// Adds a document by the signature that [`Self::signer`] made of its text.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::add`] does, and if another signer made the signature.
    pub fn add_signed(&mut self, entry: Entry, signature: &Signature) -> Result<(), CorpusError> {
        let Some(writer) = &mut self.writer else {
            return Err(CorpusError::InvalidOption(
                "the search for duplicates has all its documents; do not add them again".into(),
            ));
        };
        if self.last.replace(entry.id).is_some_and(|last| entry.id <= last) {
            return Err(CorpusError::InvalidOption(format!(
                "document {} comes after one with a higher number; add documents in order",
                entry.id
            )));
        }
        if signature.0.len() != self.signer.layout().width() {
            return Err(CorpusError::InvalidOption(
                "a signature was made with other options; sign with the signer of the search"
                    .into(),
            ));
        }
        self.len = self.len.checked_add(1).ok_or_else(too_many)?;
        let mut prefix = [0; PREFIX];
        prefix[..8].copy_from_slice(&entry.id.to_be_bytes());
        prefix[8..16].copy_from_slice(&entry.group.to_be_bytes());
        prefix[16..].copy_from_slice(&entry.quality.to_be_bytes());
        writer.write(&prefix)?;
        writer.write(&signature.0)
    }

    /// Takes the documents of another manifest as survivors: what is like one of them is dropped.
    pub fn against(&mut self, signatures: SignatureFile) {
        self.foreign.push(signatures);
    }

    /// Finds the clusters.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn finish(self) -> Result<Clusters, CorpusError> {
        let (signed, config) = (self.steps.path(SIGNED), self.config.clone());
        let steps = self.search()?;
        steps.clear(PAIRS, false)?;
        steps.clear(SETS, false)?;
        Clusters::open(&steps.path(MEMBERSHIPS), &signed, config)
    }

    /// Runs all steps that are not whole, and keeps their outputs.
    fn search(self) -> Result<Steps, CorpusError> {
        if let Some(writer) = self.writer {
            writer.commit()?;
        }
        let config = self.config;
        let mut threshold = Hash::default();
        threshold[..4].copy_from_slice(&config.similarity.to_be_bytes());
        threshold[4] = LAYOUT;
        let inputs = self.foreign.iter().map(SignatureFile::checksum);
        let steps = self.steps.with([threshold].into_iter().chain(inputs));
        for step in [PAIRS, SETS, MEMBERSHIPS] {
            steps.clear(step, true)?;
        }
        if steps.path(MEMBERSHIPS).exists() {
            return Ok(steps);
        }
        let (signed, layout) = (self.steps.path(SIGNED), self.signer.layout());
        let mut documents = Documents::open(&signed, self.foreign, layout, config.similarity)?;
        let folder = steps.folder();
        let pairs =
            steps.run(PAIRS, |writer| write_pairs(&mut documents, folder, &config, writer))?;
        let sets = steps.run(SETS, |writer| write_sets(&mut documents, &pairs, writer))?;
        let sets = read_sets(&sets, &documents)?;
        steps.run(MEMBERSHIPS, |writer| {
            write_memberships(&mut documents, sets, folder, &config, writer)
        })?;
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn open(folder: &Path) -> Deduplicator {
        Deduplicator::open(folder, DedupConfig::default(), &[1; 32]).unwrap()
    }

    fn fill(mut dedup: Deduplicator) -> Deduplicator {
        for id in 0..60 {
            let words = (0..150).map(|n| if n % 50 == id % 50 { id * 1000 } else { n + id % 7 });
            let text: String = words.map(|word| format!("w{word} ")).collect();
            dedup.add(Entry { id, group: id / 2, quality: (id % 5) as Ppm }, &text).unwrap();
        }
        dedup
    }

    fn bytes(folder: &Path, step: &str) -> Vec<u8> {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let named = |path: &&std::path::PathBuf| path.to_string_lossy().contains(step);
        let files: Vec<_> = files.collect();
        fs::read(files.iter().find(named).unwrap()).unwrap()
    }

    #[test]
    fn a_search_that_was_killed_goes_on_after_its_last_whole_step() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        fill(open(&whole)).search().unwrap();
        let all = [SIGNED, PAIRS, SETS, MEMBERSHIPS];
        for steps in 0..=all.len() {
            let part = folder.path().join(format!("killed{steps}"));
            fs::create_dir(&part).unwrap();
            for file in fs::read_dir(&whole).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                if all[..steps].iter().any(|step| name.starts_with(step)) {
                    fs::copy(whole.join(&name), part.join(&name)).unwrap();
                } else {
                    fs::write(part.join(&name).with_extension("partial"), "torn").unwrap();
                }
            }
            let mut dedup = open(&part);
            assert_eq!(dedup.is_filled(), steps > 0);
            if steps == 0 {
                dedup = fill(dedup);
            }
            dedup.finish().unwrap();
            assert_eq!(bytes(&part, MEMBERSHIPS), bytes(&whole, MEMBERSHIPS));
            let left = fs::read_dir(&part).unwrap().count();
            assert_eq!(left, 2, "only the signatures and the memberships stay");
        }
    }

    #[test]
    fn sets_of_other_documents_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let steps = fill(open(folder.path())).search().unwrap();
        fs::remove_file(steps.path(MEMBERSHIPS)).unwrap();
        for sets in [vec![0; 59 * 4], vec![1; 60 * 4]] {
            fs::write(steps.path(SETS), sets).unwrap();
            let error = open(folder.path()).finish().err().unwrap();
            assert!(matches!(error, CorpusError::Damaged { .. }), "{error}");
        }
    }
}
