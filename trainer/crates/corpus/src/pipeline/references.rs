// SPDX-License-Identifier: Apache-2.0

//! Lists and models that documents are held against.

use crate::{
    CorpusError, ReadOptions, Refusal,
    dedup::{DecontaminationConfig, Decontaminator, DecontaminatorBuilder},
    documents,
    error::IoContext,
    filters::OptOutList,
    formats::{is_blank, is_hidden},
    quality::QualityModel,
};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    slice,
};

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
    /// Fields of tables that hold these texts. If none is named, the usual names are tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decontaminate_fields: Vec<String>,
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
    /// Finder of documents that share a passage with text that must not be trained on.
    pub held_out: Option<Decontaminator>,
    /// Signature files of other manifests, which documents are compared with.
    pub against: Vec<PathBuf>,
}

impl ReferenceFiles {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, or is not what it should be. Texts that must not be trained
    /// on have to be readable to the last row: what is passed over would be trained on.
    pub fn load(&self) -> Result<References, CorpusError> {
        self.load_with(|_, _| Ok(false))
    }

    /// Reads the files. `add` first gets each path of texts that must not be trained on. It adds
    /// the texts and returns `true`, if it knows how they are stored there.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::load`] does, and if `add` does.
    pub fn load_with<E: From<CorpusError>>(
        &self,
        mut add: impl FnMut(&Path, &mut DecontaminatorBuilder) -> Result<bool, E>,
    ) -> Result<References, E> {
        let quality = match &self.quality_model {
            Some(path) => {
                let model = fs::read(path).io_context("read", path)?;
                Some(QualityModel::read(&model)?)
            }
            None => Some(QualityModel::bundled()?),
        };
        let opt_out = self.opt_out.as_deref().map(OptOutList::open).transpose()?;
        let (mut held_out, against) = (None, self.against.clone());
        if !self.decontaminate.is_empty() {
            let mut texts = DecontaminatorBuilder::new(DecontaminationConfig::default())?;
            for path in &self.decontaminate {
                if !add(path, &mut texts)? {
                    self.add_texts(path, &mut texts)?;
                }
            }
            held_out = Some(self.finish(texts)?);
        }
        Ok(References { quality, opt_out, held_out, against })
    }

    /// Adds the texts of a file or folder in any format of inputs.
    fn add_texts(&self, path: &Path, texts: &mut DecontaminatorBuilder) -> Result<(), CorpusError> {
        let text_fields = self.decontaminate_fields.clone();
        // Of several fields, one may be there.
        let may_be_blank = text_fields.len() < 2;
        let options = ReadOptions { text_fields, ..ReadOptions::default() };
        for document in documents(slice::from_ref(&path.to_owned()), &options) {
            match document? {
                Ok(document) => texts.add(&document.origin, document.piece, &document.text)?,
                Err(refusal) if is_hidden(&refusal) => {}
                Err(refusal) if is_blank(&refusal) && may_be_blank => {}
                Err(refusal) => return Err(unreadable(&refusal)),
            }
        }
        Ok(())
    }

    fn finish(&self, texts: DecontaminatorBuilder) -> Result<Decontaminator, CorpusError> {
        let finder = texts.finish()?;
        if !finder.references().is_empty() {
            return Ok(finder);
        }
        let names: Vec<_> =
            self.decontaminate.iter().map(|path| path.display().to_string()).collect();
        let shortest = DecontaminationConfig::default().shortest;
        Err(CorpusError::InvalidOption(format!(
            "no text of {shortest} words or more in {}, which is to be kept out of the data",
            names.join(", ")
        )))
    }
}

/// Returns the error of a text that must not be trained on and cannot be read.
fn unreadable(refusal: &Refusal) -> CorpusError {
    CorpusError::InvalidOption(format!(
        "{} is to be kept out of the data, and cannot be read: {}. Mend it, or name only \
         files with texts and folders of `data ingest`. Fields of tables are named by \
         --decontaminate-field, or by decontaminate_fields in a configuration",
        refusal.origin.place(),
        refusal.reason
    ))
}

impl References {
    /// Returns the digest of all of them but the signature files, on which the prepared documents
    /// do not depend.
    pub(super) fn digest(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        let parts = [
            self.quality.as_ref().map(QualityModel::hash),
            self.opt_out.as_ref().map(OptOutList::digest),
            self.held_out.as_ref().map(Decontaminator::digest),
        ];
        for part in parts {
            hasher.update(&[u8::from(part.is_some())]).update(&part.unwrap_or_default());
        }
        *hasher.finalize().as_bytes()
    }
}
