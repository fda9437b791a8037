// SPDX-License-Identifier: Apache-2.0

//! Lists and models that documents are held against.

use crate::{
    CorpusError, ReadOptions,
    dedup::{DecontaminationConfig, Decontaminator},
    documents,
    error::IoContext,
    filters::OptOutList,
    quality::QualityModel,
};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf};

/// Files of lists and models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReferenceFiles {
    /// Model of quality, in place of the one that ships with the program.
    pub quality_model: Option<PathBuf>,
    /// List of sources and documents whose owners do not want them to be trained on.
    pub opt_out: Option<PathBuf>,
    /// Texts that must not be trained on, such as held-out text and tests. Documents that share a
    /// run of words with them are dropped.
    pub decontaminate: Vec<PathBuf>,
    /// Signature files of other manifests. Documents that are like theirs are dropped.
    pub against: Vec<PathBuf>,
}

/// Lists and models that documents are held against.
#[derive(Default)]
pub struct References {
    /// Model of quality. Without one documents have none.
    pub quality: Option<QualityModel>,
    /// Sources and documents whose owners do not want them to be trained on.
    pub opt_out: Option<OptOutList>,
    /// Text that must not be trained on, with a digest of it.
    pub held_out: Option<(Decontaminator, Hash)>,
    /// Signature files of other manifests, which documents are compared with.
    pub against: Vec<PathBuf>,
}

impl ReferenceFiles {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, or is not what it should be.
    pub fn load(&self) -> Result<References, CorpusError> {
        let quality = match &self.quality_model {
            Some(path) => QualityModel::read(&fs::read(path).io_context("read", path)?)?,
            None => QualityModel::bundled()?,
        };
        let opt_out = self.opt_out.as_deref().map(OptOutList::open).transpose()?;
        let held_out = if self.decontaminate.is_empty() { None } else { Some(self.texts()?) };
        Ok(References { quality: Some(quality), opt_out, held_out, against: self.against.clone() })
    }

    /// Returns the finder of the texts that must not be trained on, and their digest.
    fn texts(&self) -> Result<(Decontaminator, Hash), CorpusError> {
        let (options, mut hasher) = (ReadOptions::default(), blake3::Hasher::new());
        let mut texts = Vec::new();
        for document in documents(&self.decontaminate, &options) {
            let Ok(document) = document? else { continue };
            hasher.update(blake3::hash(document.text.as_bytes()).as_bytes());
            texts.push(Ok((document.origin.location, document.text)));
        }
        if texts.is_empty() {
            let names: Vec<_> =
                self.decontaminate.iter().map(|path| path.display().to_string()).collect();
            return Err(CorpusError::InvalidOption(format!(
                "no text in {}, which is to be kept out of the data",
                names.join(", ")
            )));
        }
        let finder = Decontaminator::new(&DecontaminationConfig::default(), texts)?;
        Ok((finder, *hasher.finalize().as_bytes()))
    }
}

impl References {
    /// Returns the digest of all of them but the signature files, on which the prepared documents
    /// do not depend.
    pub(super) fn digest(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        let parts = [
            self.quality.as_ref().map(QualityModel::hash),
            self.opt_out.as_ref().map(OptOutList::digest),
            self.held_out.as_ref().map(|(_, digest)| *digest),
        ];
        for part in parts {
            hasher.update(&[u8::from(part.is_some())]).update(&part.unwrap_or_default());
        }
        *hasher.finalize().as_bytes()
    }
}
