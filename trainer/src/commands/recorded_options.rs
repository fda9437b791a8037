// SPDX-License-Identifier: Apache-2.0

//! Options of the ingestion of what a recipe makes, in a file beside the recipe. From both anybody
//! makes the same manifests.

use crate::files::read_text;
use anyhow::{Context, Result, bail, ensure};
use pol_corpus::{
    Tool,
    dedup::{DedupConfig, RepeatConfig},
    filters::OptOutList,
    pipeline::{PipelineConfig, References, Supply, VERSION},
};
use pol_data::{DataError, EndOfText, IngestConfig, IngestRecord, documents::LineageRecord};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Format of the file.
const FORMAT: &str = "pol/ingestion-options/1";
/// Start of the name of the file.
const NAME: &str = "options";

/// BLAKE3 of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digest(#[serde(with = "pol_primitives::hex_hash")] pub(super) Hash);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

/// Digests of the lists and models that documents were held against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceDigests {
    /// Model of quality.
    quality_model: Option<Digest>,
    /// Entries of the list of opt-outs.
    opt_out: Option<Digest>,
    /// Texts that must not be trained on.
    decontaminate: Option<Digest>,
    /// Signature files of other ingestions, in the order in which texts are compared with them.
    signatures: Vec<Digest>,
}

impl ReferenceDigests {
    /// Returns the digests of lists and models that were read.
    ///
    /// # Errors
    ///
    /// Fails if a signature file cannot be read.
    pub(super) fn of(references: &References) -> Result<Self, DataError> {
        let signatures = references.against.iter().map(|path| file_digest(path));
        let signatures = signatures.collect::<Result<_, _>>()?;
        Ok(Self {
            quality_model: references.quality.as_ref().map(|model| Digest(model.hash())),
            opt_out: references.opt_out.as_ref().map(OptOutList::digest).map(Digest),
            decontaminate: references.held_out.as_ref().map(|texts| Digest(texts.digest())),
            signatures,
        })
    }

    /// Fails unless the given ones are these, with the option that has to change.
    pub(super) fn check(&self, given: &Self) -> Result<()> {
        for (option, recorded, given) in [
            ("--quality-model", &self.quality_model, &given.quality_model),
            ("--opt-out", &self.opt_out, &given.opt_out),
            ("--decontaminate", &self.decontaminate, &given.decontaminate),
        ] {
            match (recorded, given) {
                (Some(recorded), None) => bail!(
                    "{option}: the data were held against one with the digest {recorded}; give it"
                ),
                (None, Some(_)) => bail!("{option}: the data were made without one; leave it out"),
                (Some(recorded), Some(given)) if recorded != given => bail!(
                    "{option}: the data were held against one with the digest {recorded}, and what \
                     is given has {given}; give that one"
                ),
                _ => {}
            }
        }
        ensure!(
            self.signatures == given.signatures,
            "--signatures: the data were compared with the files of these BLAKE3: [{}], and those \
             that are given have [{}]; give those, in the same order",
            join(&self.signatures),
            join(&given.signatures)
        );
        Ok(())
    }
}

fn join(digests: &[Digest]) -> String {
    digests.iter().map(Digest::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the BLAKE3 of a file.
///
/// # Errors
///
/// Fails if it cannot be read.
pub(super) fn file_digest(path: &Path) -> Result<Digest, DataError> {
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    let path = path.to_owned();
    read.map_err(|source| DataError::Io { action: "read", path, source })?;
    Ok(Digest(hasher.finalize().into()))
}

/// All that the manifests of a recipe depend on besides it. Files stand there by their digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedOptions {
    format: String,
    /// Program that made the data. Another version may make others.
    program: Tool,
    /// Version of the steps of the ingestion.
    steps: u32,
    /// Digest of the recipe.
    pub(super) recipe: Digest,
    /// Number of its documents that were read, which budgets may have limited.
    pub(super) documents: u64,
    /// Number of the first of them that earlier data hold.
    passed: u64,
    /// Cleaning, deduplication, and the share that is held out.
    corpus: PipelineConfig,
    /// Tokens of a training sequence.
    sequence: u16,
    /// Tokens of a shard.
    shard_tokens: u32,
    /// `tokenizer.json`.
    pub(super) tokenizer: Digest,
    /// Token between texts.
    end_of_text: String,
    /// Lists and models.
    pub(super) references: ReferenceDigests,
}

/// Returns the path of the options of data number `number`, counted from 0, of the source in
/// `folder`.
pub(super) fn options_path(folder: &Path, number: usize) -> PathBuf {
    match number {
        0 => folder.join(format!("{NAME}.json")),
        _ => folder.join(format!("{NAME}-{}.json", number + 1)),
    }
}

impl RecordedOptions {
    /// Returns the options of an ingestion of the first `documents` of a recipe.
    pub(super) fn new(
        config: &IngestConfig,
        recipe: Hash,
        documents: u64,
        references: ReferenceDigests,
        made: &IngestRecord,
    ) -> Self {
        let passed = config.inputs.iter().map(|input| match input {
            Supply::Store(_, passed) => *passed,
            Supply::Path(_) | Supply::Spool { .. } => 0,
        });
        Self {
            format: FORMAT.into(),
            program: this_program(),
            steps: VERSION,
            recipe: Digest(recipe),
            documents,
            passed: passed.sum(),
            corpus: config.corpus.clone(),
            sequence: config.sequence,
            shard_tokens: config.shard_tokens,
            tokenizer: Digest(made.tokenizer),
            end_of_text: made.end_of_text.clone(),
            references,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, or does not hold options of this format.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let json = read_text(path).with_context(|| {
            format!("cannot read {name}, which `data acquire` writes beside the recipe")
        })?;
        let parsed = serde_json::from_str(&json);
        let options: Self = parsed.with_context(|| format!("{name} holds no options"))?;
        let format = &options.format;
        ensure!(*format == FORMAT, "the format of {name} is {format}, not {FORMAT}");
        Ok(options)
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the ingestion of the documents in `store` into `out`.
    pub(super) fn ingestion(
        &self,
        store: PathBuf,
        out: PathBuf,
        tokenizer: PathBuf,
        lineage: LineageRecord,
    ) -> IngestConfig {
        // Memory does not change the result, and is this machine's own.
        let (mut corpus, dedup, repeats) =
            (self.corpus.clone(), DedupConfig::default(), RepeatConfig::default());
        corpus.dedup.memory = dedup.memory;
        corpus.repeats.iter_mut().for_each(|own| own.memory = repeats.memory);
        IngestConfig {
            inputs: vec![Supply::Store(store, self.passed)],
            out,
            corpus,
            text_fields: Vec::new(),
            vocabulary: 0,
            sequence: self.sequence,
            shard_tokens: self.shard_tokens,
            tokenizer: Some(tokenizer),
            end_of_text: EndOfText::Named(self.end_of_text.clone()),
            force: false,
            lineage: Some(lineage),
        }
    }

    /// Returns the difference of the program that made the data from this one, if there is one.
    pub(super) fn other_program(&self) -> Option<String> {
        let (Self { program, steps, .. }, this) = (self, this_program());
        (*program != this || *steps != VERSION).then(|| {
            format!(
                "{} {} with version {steps} of its steps made the data, and this is {} {} with \
                 version {VERSION}",
                program.name, program.version, this.name, this.version
            )
        })
    }
}

fn this_program() -> Tool {
    Tool { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> RecordedOptions {
        RecordedOptions {
            format: FORMAT.into(),
            program: this_program(),
            steps: VERSION,
            recipe: Digest([1; 32]),
            documents: 9,
            passed: 2,
            corpus: PipelineConfig {
                repeats: Some(RepeatConfig { memory: 1, ..RepeatConfig::default() }),
                ..PipelineConfig::default()
            },
            sequence: 16,
            shard_tokens: 64,
            tokenizer: Digest([2; 32]),
            end_of_text: "<|endoftext|>".into(),
            references: ReferenceDigests::default(),
        }
    }

    #[test]
    fn options_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = options_path(folder.path(), 0);
        assert_eq!(path, folder.path().join("options.json"));
        assert_eq!(options_path(folder.path(), 1), folder.path().join("options-2.json"));
        assert!(format!("{:#}", RecordedOptions::read(&path).unwrap_err()).contains("beside the"));
        options().write(&path).unwrap();
        assert_eq!(RecordedOptions::read(&path).unwrap(), options());
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, reason) in [
            ("options/1", "options/2", "is pol/ingestion-options/2, not pol/ingestion-options/1"),
            ("\"passed\"", "\"past\"", "unknown field `past`"),
            ("0x01", "0x", "64 hexadecimal digits"),
        ] {
            fs::write(&path, text.replace(from, to)).unwrap();
            let error = format!("{:#}", RecordedOptions::read(&path).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn damaged_options_are_refused_or_are_read_again_alike() {
        let references = ReferenceDigests {
            quality_model: Some(Digest([4; 32])),
            signatures: vec![Digest([5; 32])],
            ..ReferenceDigests::default()
        };
        let json = serde_json::to_vec(&RecordedOptions { references, ..options() }).unwrap();
        let read = |bytes: &[u8]| serde_json::from_slice::<RecordedOptions>(bytes);
        let (mut refused, mut accepted) = (0, 0);
        for at in 0..json.len() {
            for change in [1, 2, 0x10, 0x80] {
                let mut damaged = json.clone();
                damaged[at] ^= change;
                let Ok(options) = read(&damaged) else {
                    refused += 1;
                    continue;
                };
                accepted += 1;
                assert_eq!(read(&serde_json::to_vec(&options).unwrap()).unwrap(), options);
                let lineage = LineageRecord::of_request([3; 32]);
                options.ingestion("raw".into(), "out".into(), "t".into(), lineage);
            }
            assert!(read(&json[..at]).is_err());
        }
        assert!(refused > 0 && accepted > 0);
    }

    #[test]
    fn an_ingestion_is_repeated_with_the_memory_of_this_machine() {
        let lineage = LineageRecord::of_request([3; 32]);
        let config = options().ingestion("raw".into(), "out".into(), "t".into(), lineage);
        assert_eq!(config.inputs, [Supply::Store("raw".into(), 2)]);
        assert_eq!(config.corpus.repeats, Some(RepeatConfig::default()));
        assert_eq!(options().other_program(), None);
        let newer = RecordedOptions { steps: VERSION + 1, ..options() };
        assert!(newer.other_program().unwrap().contains("made the data, and this is pol-trainer"));
    }

    #[test]
    fn references_that_differ_are_named() {
        let one = |byte: u8| Some(Digest([byte; 32]));
        let recorded = ReferenceDigests {
            quality_model: one(1),
            opt_out: one(2),
            decontaminate: None,
            signatures: vec![Digest([3; 32])],
        };
        recorded.check(&recorded).unwrap();
        let refused = |given: ReferenceDigests| recorded.check(&given).unwrap_err().to_string();
        let error = refused(ReferenceDigests { opt_out: None, ..recorded.clone() });
        assert!(error.starts_with("--opt-out: ") && error.ends_with("; give it"), "{error}");
        let error = refused(ReferenceDigests { quality_model: one(9), ..recorded.clone() });
        assert!(error.starts_with("--quality-model: ") && error.contains("0x0909"), "{error}");
        let error = refused(ReferenceDigests { decontaminate: one(9), ..recorded.clone() });
        assert!(
            error.starts_with("--decontaminate: ") && error.contains("leave it out"),
            "{error}"
        );
        let error = refused(ReferenceDigests { signatures: Vec::new(), ..recorded.clone() });
        assert!(error.starts_with("--signatures: ") && error.contains("[0x0303"), "{error}");
    }
}
