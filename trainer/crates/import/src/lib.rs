//! Pretrained models: checkpoints of other formats and families become parameters in canonical
//! order.
//!
//! [`Checkpoint::open`] reads a Hugging Face folder or a GGUF file, derives the [`ModelSpec`] that
//! fits it and checks names and shapes of all tensors against that. Nothing is decoded yet.
//! [`Checkpoint::save`] decodes one tensor at a time and writes a folder that [`load`] reads.
//! [`Hub`] fetches a checkpoint first. The [`Report`] tells what became of every tensor.
//!
//! The formats are trusted with nothing: see [`files`].

mod adapted;
mod config;
mod error;
pub mod files;
mod folder;
mod hub;
mod mapping;
mod metadata;
mod tokenizer;

pub use adapted::Adaptation;
pub use config::SpecialTokens;
pub use error::ImportError;
pub use folder::{Model, REPORT_FILE, SPEC_FILE, TOKENIZER_FILE, WEIGHTS_FILE, describe, load};
pub use hub::{Hub, HubId};
pub use mapping::{Fate, TensorReport};
pub use tokenizer::TokenizerReport;

use config::Described;
use indicatif::ProgressBar;
use mapping::Plan;
use pol_primitives::{Hash, model::ModelSpec};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What was imported, from where, and what became of each tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where the model is from.
    pub source: String,
    /// The format it came in.
    pub format: String,
    /// The family it belongs to.
    pub family: String,
    /// BLAKE3 of the parameters in canonical order as little-endian bytes, the name of the model.
    #[serde(with = "pol_primitives::hex_hash")]
    pub root: Hash,
    /// Number of parameters.
    pub parameters: u64,
    /// Its tokenizer, if it has one.
    pub tokenizer: Option<TokenizerReport>,
    /// Tokens with a meaning of their own.
    #[serde(default)]
    pub special: SpecialTokens,
    /// What to know before using it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What became of each tensor of the source, by name; empty for a model that was adapted since.
    #[serde(default)]
    pub tensors: Vec<TensorReport>,
    /// How it was changed since it was imported, the first change first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapted: Vec<Adaptation>,
}

/// A checkpoint that was read, understood and checked, but not decoded.
pub struct Checkpoint {
    spec: ModelSpec,
    plan: Plan,
    tokenizer: Option<Vec<u8>>,
    report: Report,
}

impl Checkpoint {
    /// Opens the Hugging Face folder or GGUF file at `path`. `tokenizer` is a `tokenizer.json` to
    /// take in place of the checkpoint's own.
    pub fn open(path: &Path, tokenizer: Option<&Path>) -> Result<Self, ImportError> {
        if path.is_dir() {
            return Self::open_folder(path, tokenizer);
        }
        if !path.is_file() {
            return Err(ImportError::Source(format!("{} does not exist", path.display())));
        }
        if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("gguf")) {
            return Err(ImportError::Source(format!(
                "{} is not a .gguf file; for safetensors give the folder, which has to hold config.json too",
                path.display()
            )));
        }
        Self::open_gguf(path, tokenizer)
    }

    fn open_folder(path: &Path, tokenizer: Option<&Path>) -> Result<Self, ImportError> {
        let config = path.join(folder::CONFIG_FILE);
        if !config.is_file() {
            let reason = if path.join(folder::SPEC_FILE).is_file() {
                "it was imported already; load it as it is"
            } else {
                "a checkpoint is a folder with config.json and model.safetensors, or a .gguf file"
            };
            return Err(ImportError::Source(format!(
                "{} has no config.json: {reason}",
                path.display()
            )));
        }
        let from = config.display().to_string();
        let mut described = config::read(&folder::read(&config)?, &from)?;
        add_special(&mut described.special, path)?;
        let own = || {
            folder::tokenizer(path)
                .map(|found| found.map(|(json, path)| (json, path.display().to_string())))
        };
        let table = folder::weights(path)?;
        Self::new(described, table, path, "safetensors", &from, chosen(tokenizer, own)?)
    }

    fn open_gguf(path: &Path, tokenizer: Option<&Path>) -> Result<Self, ImportError> {
        let (metadata, table) = folder::read_gguf(path)?;
        let from = path.display().to_string();
        let described = metadata::read(&metadata, &table, &from)?;
        let own = || {
            tokenizer::from_metadata(&metadata, &from)
                .map(|json| json.map(|json| (json, from.clone())))
        };
        let tokenizer = chosen(tokenizer, own)?;
        Self::new(described, table, path, "gguf", &from, tokenizer)
    }

    fn new(
        described: Described,
        table: files::Table,
        path: &Path,
        format: &str,
        from: &str,
        tokenizer: Option<(Vec<u8>, String)>,
    ) -> Result<Self, ImportError> {
        let Described { spec, dialect, special } = described;
        let plan = Plan::new(dialect, &spec, from, table, path)?;
        let tokenizer = tokenizer
            .map(|(json, from)| tokenizer::check(json, &from, spec.vocabulary))
            .transpose()?;
        let mut notes = Vec::new();
        match &tokenizer {
            None => {
                notes.push("it came without a tokenizer; texts cannot be encoded for it".to_owned())
            }
            Some(tokenizer) => notes.extend(unused_rows(tokenizer.report.entries, spec.vocabulary)),
        }
        if plan.reports().iter().any(|tensor| tensor.dequantised) {
            notes.push(
                "quantised weights were made float32; what quantising lost stays lost".to_owned(),
            );
        }
        let report = Report {
            source: path.display().to_string(),
            format: format.to_owned(),
            family: dialect.family.to_owned(),
            root: Hash::default(),
            parameters: spec.size(),
            tokenizer: tokenizer.as_ref().map(|tokenizer| tokenizer.report.clone()),
            special,
            notes,
            tensors: plan.reports().to_vec(),
            adapted: Vec::new(),
        };
        Ok(Self { spec, plan, tokenizer: tokenizer.map(|tokenizer| tokenizer.json), report })
    }

    /// The architecture that fits it.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Says in the report where the checkpoint is from, when that is not its path.
    pub fn named(mut self, source: String) -> Self {
        self.report.source = source;
        self
    }

    /// Its parameters in canonical order.
    pub fn parameters(&self) -> Result<Vec<f32>, ImportError> {
        let mut parameters = Vec::with_capacity(usize::try_from(self.spec.size()).unwrap_or(0));
        for tensor in self.plan.tensors() {
            parameters.extend(tensor?);
        }
        Ok(parameters)
    }

    /// Writes the folder `out`, whole or not at all; [`load`] reads it. An imported model that is
    /// there already is replaced when that is forced, anything else is an error. `bar` is moved on
    /// by one with each tensor.
    pub fn save(&self, out: &Path, force: bool, bar: &ProgressBar) -> Result<Report, ImportError> {
        bar.set_length(self.plan.len() as u64);
        let tensors = self.plan.tensors().inspect(|_| bar.inc(1));
        folder::write(
            out,
            force,
            &self.spec,
            self.tokenizer.as_deref(),
            tensors,
            self.report.clone(),
        )
    }
}

impl Model {
    /// Writes the folder `out`, as [`Checkpoint::save`] does: for a model that was changed since it
    /// was loaded. The report is given back with root and size as they are now.
    pub fn save(&self, out: &Path, force: bool) -> Result<Report, ImportError> {
        let mut rest = self.parameters.as_slice();
        let parameters = self.spec.parameters();
        let tensors = parameters.iter().map(|parameter| {
            let wrong = || pol_model::Error::Length {
                expected: self.spec.size() as usize,
                found: self.parameters.len(),
            };
            let (values, after) = rest.split_at_checked(parameter.len()).ok_or_else(wrong)?;
            rest = after;
            Ok(values.to_vec())
        });
        folder::write(
            out,
            force,
            &self.spec,
            self.tokenizer.as_deref(),
            tensors,
            self.report.clone(),
        )
    }
}

/// What to know of a vocabulary that is larger than the tokenizer's.
fn unused_rows(entries: u32, vocabulary: u32) -> Option<String> {
    let unused = vocabulary.checked_sub(entries).filter(|&unused| unused > 0)?;
    Some(format!("the last {unused} rows of the embedding stand for no token"))
}

/// Whether the folder `out` may be written, which is better known before a download.
pub fn may_write(out: &Path, force: bool) -> Result<(), ImportError> {
    folder::may_write(out, force)
}

/// The tokenizer at `path` or, without one, the checkpoint's `own`.
fn chosen(
    path: Option<&Path>,
    own: impl FnOnce() -> Result<Option<(Vec<u8>, String)>, ImportError>,
) -> Result<Option<(Vec<u8>, String)>, ImportError> {
    match path {
        Some(path) => Ok(Some((folder::read(path)?, path.display().to_string()))),
        None => own(),
    }
}

/// What the files beside the config add: the template for conversations, in either place where it
/// can be, and where answers end.
fn add_special(special: &mut SpecialTokens, path: &Path) -> Result<(), ImportError> {
    let read = |name: &str| {
        let file = path.join(name);
        if file.is_file() { folder::read(&file).map(Some) } else { Ok(None) }
    };
    let object = |name: &str| -> Result<serde_json::Map<String, serde_json::Value>, ImportError> {
        let Some(json) = read(name)? else { return Ok(serde_json::Map::new()) };
        let from = path.join(name).display().to_string();
        serde_json::from_slice(&json)
            .map_err(|error| ImportError::Config { from, reason: error.to_string() })
    };
    special.end.extend(config::ids(&object("generation_config.json")?, "eos_token_id"));
    special.end.sort_unstable();
    special.end.dedup();
    special.template = match read("chat_template.jinja")? {
        Some(template) => String::from_utf8(template).ok(),
        None => object("tokenizer_config.json")?
            .get("chat_template")
            .and_then(|template| template.as_str().map(str::to_owned)),
    };
    Ok(())
}
