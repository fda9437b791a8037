// SPDX-License-Identifier: Apache-2.0

use crate::{
    ImportError,
    description::{self, ModelDescription, SpecialTokens},
    files::TensorTable,
    folder,
    mapping::{Factors, ImportPlan},
    report::{ImportReport, no_tokenizer_note, shorter_context_note, unused_rows_note},
    source_files::{self, CONFIG_FILE, TOKENIZER_CONFIG_FILE, WEIGHTS_FILE, read_file},
    tokenizer,
};
use indicatif::ProgressBar;
use pol_primitives::{Hash, model::ModelSpec};
use std::path::{Path, PathBuf};

/// File of a chat template, which goes before the one of [`TOKENIZER_CONFIG_FILE`].
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// Content of a `tokenizer.json` and its origin.
type TokenizerFile = (Vec<u8>, String);

/// A checkpoint whose description and tensors are checked, but not decoded.
pub struct Checkpoint {
    spec: ModelSpec,
    plan: ImportPlan,
    tokenizer: Option<Vec<u8>>,
    report: ImportReport,
    /// The file, if it is one of GGUF with quantised weights.
    quantised: Option<PathBuf>,
}

impl Checkpoint {
    /// Opens the Hugging Face folder or GGUF file at `path`. `tokenizer` is a `tokenizer.json` that
    /// replaces the checkpoint's own.
    ///
    /// # Errors
    ///
    /// Fails if there is no checkpoint at `path`, if a file is malformed or contradicts another, or
    /// if the model has a feature that the decoder does not have.
    pub fn open(path: &Path, tokenizer: Option<&Path>) -> Result<Self, ImportError> {
        if path.is_dir() {
            return Self::open_folder(path, tokenizer);
        }
        if !path.is_file() {
            return Err(ImportError::Source(format!("{} does not exist", path.display())));
        }
        if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("gguf")) {
            return Err(ImportError::Source(format!(
                "{} is not a .gguf file; \
                 for safetensors give the folder, which has to hold config.json too",
                path.display()
            )));
        }
        Self::open_gguf(path, tokenizer)
    }

    fn open_folder(path: &Path, tokenizer: Option<&Path>) -> Result<Self, ImportError> {
        let config = path.join(CONFIG_FILE);
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
        let mut description = description::hf::read(&read_file(&config)?, &from)?;
        add_special_tokens(&mut description.special, path)?;
        let own_tokenizer = || -> Result<Option<TokenizerFile>, ImportError> {
            let found = source_files::read_tokenizer(path)?;
            Ok(found.map(|(json, path)| (json, path.display().to_string())))
        };
        let table = source_files::read_weights(path)?;
        let tokenizer = choose_tokenizer(tokenizer, own_tokenizer)?;
        Self::new(description, table, path, description::SAFETENSORS, &from, tokenizer)
    }

    fn open_gguf(path: &Path, tokenizer: Option<&Path>) -> Result<Self, ImportError> {
        let (metadata, table) = source_files::read_gguf(path)?;
        let from = path.display().to_string();
        let description = description::gguf::read(&metadata, &table, &from)?;
        let own_tokenizer = || -> Result<Option<TokenizerFile>, ImportError> {
            let json = tokenizer::from_metadata(&metadata, &from)?;
            Ok(json.map(|json| (json, from.clone())))
        };
        let tokenizer = choose_tokenizer(tokenizer, own_tokenizer)?;
        let is_one_file = table.is_one_file();
        let mut checkpoint =
            Self::new(description, table, path, description::GGUF, &from, tokenizer)?;
        let is_quantised = checkpoint.plan.reports().iter().any(|tensor| tensor.dequantised);
        if is_quantised && is_one_file {
            checkpoint.quantised = Some(path.to_owned());
        } else if is_quantised {
            checkpoint.report.notes.push(
                "its quantised weights are in several files, which are not kept as they are: \
                 their values are written, which take several times as much. To keep them, join \
                 the files with llama.cpp's `llama-gguf-split --merge FIRST.gguf WHOLE.gguf`, and \
                 import WHOLE.gguf"
                    .to_owned(),
            );
        }
        Ok(checkpoint)
    }

    fn new(
        description: ModelDescription,
        mut table: TensorTable,
        path: &Path,
        format: &str,
        from: &str,
        tokenizer: Option<TokenizerFile>,
    ) -> Result<Self, ImportError> {
        let ModelDescription { mut spec, tensor_map, factors, mut special, stated_context } =
            description;
        let outside = special.remove_outside(spec.vocabulary);
        let unwrapped = table.rename(without_wrappers).map_err(|name| {
            let reason = "is there twice, with and without the prefix of a wrapper".to_owned();
            ImportError::Contradiction { name, reason }
        })?;
        let was_tied = spec.tied;
        let plan = ImportPlan::new(tensor_map, factors, &mut spec, from, table, path)?;
        let tokenizer = tokenizer
            .map(|(json, from)| tokenizer::check(json, &from, spec.vocabulary, special.begin))
            .transpose()?;
        if let Some(tokenizer) = &tokenizer {
            // A description may name a token that the tokenizer puts nowhere. Templates use it.
            special.begin_name = special.begin_name.or_else(|| tokenizer.begin_name.clone());
            special.begin = tokenizer.begin;
        }
        let mut notes = Vec::new();
        if unwrapped > 0 {
            notes.push(format!("prefixes of wrappers were taken off {unwrapped} names of tensors"));
        }
        notes.extend(shorter_context_note(spec.context, stated_context));
        if factors != Factors::default() {
            notes.push(format!(
                "factors of the {} family are part of the weights here",
                tensor_map.family
            ));
        }
        if was_tied && !spec.tied {
            notes.push(
                "embedding and output projection, which were one tensor, have factors of their \
                 own and are two here"
                    .to_owned(),
            );
        }
        if !outside.is_empty() {
            notes.push(format!(
                "the description names tokens outside the vocabulary, which are left out: \
                 {outside:?}"
            ));
        }
        match &tokenizer {
            None => notes.push(no_tokenizer_note(path)),
            Some(tokenizer) => {
                notes.extend(unused_rows_note(tokenizer.report.entries, spec.vocabulary))
            }
        }
        if plan.reports().iter().any(|tensor| tensor.dequantised) {
            notes.push(
                "quantised weights were made float32; what quantising lost stays lost".to_owned(),
            );
        }
        let report = ImportReport {
            source: path.display().to_string(),
            format: format.to_owned(),
            family: tensor_map.family.to_owned(),
            root: Hash::default(),
            parameters: spec.size(),
            tokenizer: tokenizer.as_ref().map(|tokenizer| tokenizer.report.clone()),
            special,
            notes,
            tensors: plan.reports().to_vec(),
            adapted: Vec::new(),
        };
        let tokenizer = tokenizer.map(|tokenizer| tokenizer.json);
        Ok(Self { spec, plan, tokenizer, report, quantised: None })
    }

    /// Returns the architecture.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Sets the source named in the report, if it is not the path.
    #[must_use]
    pub fn with_source(mut self, source: String) -> Self {
        self.report.source = source;
        self
    }

    /// Decodes the parameters in canonical order.
    ///
    /// # Errors
    ///
    /// Fails if the weights cannot be read or a value is NaN or infinite.
    pub fn parameters(&self) -> Result<Vec<f32>, ImportError> {
        let mut parameters = Vec::with_capacity(usize::try_from(self.spec.size()).unwrap_or(0));
        for tensor in self.plan.tensors() {
            parameters.extend(tensor?);
        }
        Ok(parameters)
    }

    /// Writes values of quantised weights as float32, in place of keeping the file.
    #[must_use]
    pub fn decoded(mut self) -> Self {
        self.quantised = None;
        self
    }

    /// Decodes canonical tensor `index`.
    pub(crate) fn tensor(&self, index: usize) -> Result<Vec<f32>, ImportError> {
        self.plan.tensor_at(index)
    }

    /// Decodes the model into the folder `out`, whole or not at all. A GGUF file with quantised
    /// weights is kept there, and decoded to compute the root. [`load`](crate::load) reads
    /// it. An imported model at `out` is replaced if `force` is set. `bar` advances by one with
    /// each tensor. Returns the report.
    ///
    /// # Errors
    ///
    /// Fails if `out` must not be replaced, if a file cannot be read or written, or if a value is
    /// NaN or infinite.
    pub fn save(
        &self,
        out: &Path,
        force: bool,
        bar: &ProgressBar,
    ) -> Result<ImportReport, ImportError> {
        bar.set_length(self.plan.len() as u64);
        let tensors = self.plan.tensors().inspect(|_| bar.inc(1));
        let (tokenizer, report) = (self.tokenizer.as_deref(), self.report.clone());
        folder::write(out, force, &self.spec, tokenizer, report, |folder| match &self.quantised {
            Some(file) => folder::keep_checkpoint(folder, file, tensors),
            None => folder::write_weights(&folder.join(WEIGHTS_FILE), &self.spec, tensors),
        })
    }
}

/// Returns the name of a tensor without the parts that wrappers of a module add: those that
/// compile it, and those that divide its training.
fn without_wrappers(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = name.strip_prefix("module.") {
        name = rest;
    }
    ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."]
        .iter()
        .fold(name.to_owned(), |name, wrapper| name.replace(wrapper, ""))
}

/// Returns the tokenizer at `path` or, without a path, the checkpoint's own.
fn choose_tokenizer(
    path: Option<&Path>,
    own: impl FnOnce() -> Result<Option<TokenizerFile>, ImportError>,
) -> Result<Option<TokenizerFile>, ImportError> {
    match path {
        Some(path) => Ok(Some((read_file(path)?, path.display().to_string()))),
        None => own(),
    }
}

/// Adds the special tokens of the files beside the config: tokens that end a text, and the chat
/// template from either of its two places.
fn add_special_tokens(special: &mut SpecialTokens, path: &Path) -> Result<(), ImportError> {
    let read = |name: &str| {
        let file = path.join(name);
        if file.is_file() { read_file(&file).map(Some) } else { Ok(None) }
    };
    let object = |name: &str| -> Result<serde_json::Map<String, serde_json::Value>, ImportError> {
        let Some(json) = read(name)? else { return Ok(serde_json::Map::new()) };
        let from = path.join(name).display().to_string();
        serde_json::from_slice(&json)
            .map_err(|error| ImportError::Config { from, reason: error.to_string() })
    };
    let generation = object("generation_config.json")?;
    special.end.extend(description::hf::token_ids(&generation, "eos_token_id"));
    special.end.sort_unstable();
    special.end.dedup();
    let config = object(TOKENIZER_CONFIG_FILE)?;
    special.begin_name = description::hf::token_name(&config, "bos_token");
    special.end_name = description::hf::token_name(&config, "eos_token");
    (special.template, special.tool_template) = match read(TEMPLATE_FILE)? {
        Some(template) => {
            let template = String::from_utf8(template).map_err(|error| ImportError::Config {
                from: path.join(TEMPLATE_FILE).display().to_string(),
                reason: format!("it is not a text: {error}; save it as UTF-8"),
            })?;
            (Some(template), None)
        }
        None => description::hf::chat_templates(&config),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_chat_template_is_utf8() {
        let folder = tempfile::tempdir().unwrap();
        let read = |template: &[u8]| {
            fs::write(folder.path().join(TEMPLATE_FILE), template).unwrap();
            let mut special = SpecialTokens::default();
            add_special_tokens(&mut special, folder.path()).map(|()| special.template)
        };
        assert_eq!(read("{{ 'é' }}".as_bytes()).unwrap().as_deref(), Some("{{ 'é' }}"));
        let error = read(b"{{ '\xe9' }}").unwrap_err().to_string();
        assert!(error.contains(TEMPLATE_FILE) && error.contains("save it as UTF-8"), "{error}");
    }
}
