// SPDX-License-Identifier: Apache-2.0

use crate::{
    description::SpecialTokens, mapping::TensorReport, source_files::TOKENIZER_MODEL_FILE,
    tokenizer::TokenizerReport,
};
use pol_model::adapt::AdaptReport;
use pol_primitives::{Hash, rewrite::Rewrite};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Report of an import: source, result, and disposition of each tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Origin of the model: a path, or a name on a hub.
    pub source: String,
    /// Format of the checkpoint.
    pub format: String,
    /// Family of the model.
    pub family: String,
    /// Root of the model: BLAKE3 of the parameters in canonical order as little-endian float32.
    #[serde(with = "pol_primitives::hex_hash")]
    pub root: Hash,
    /// Number of parameters.
    pub parameters: u64,
    /// Tokenizer of the model, if it has one.
    pub tokenizer: Option<TokenizerReport>,
    /// Special tokens.
    #[serde(default)]
    pub special: SpecialTokens,
    /// Notes for the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Disposition of each tensor of the checkpoint, by name; empty for a model that was adapted.
    #[serde(default)]
    pub tensors: Vec<TensorReport>,
    /// Adaptations since the import, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapted: Vec<Adaptation>,
}

/// Derivation of a model from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adaptation {
    /// Root of the original model.
    #[serde(with = "pol_primitives::hex_hash")]
    pub from: Hash,
    /// Changes of sizes and parts.
    pub sizes: AdaptReport,
    /// Rewrites applied after that, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrites: Vec<Rewrite>,
}

impl Adaptation {
    /// Returns `true` if the model computes the same function as before, up to rounding.
    ///
    /// Removing an expert counts as a change, even if no token is routed to it.
    pub fn preserved(&self) -> bool {
        self.sizes.preserved
            && !self.rewrites.iter().any(|rewrite| matches!(rewrite, Rewrite::PruneExpert { .. }))
    }
}

/// Returns a note about a context that is shorter than the checkpoint's.
pub(crate) fn shorter_context_note(context: u32, stated: u32) -> Option<String> {
    let note = format!(
        "texts have at most {context} tokens here, and not {stated}: the rotation of longer ones \
         is another (longrope)"
    );
    (context < stated).then_some(note)
}

/// Returns a note about the checkpoint at `path`, of which no tokenizer was read.
pub(crate) fn no_tokenizer_note(path: &Path) -> String {
    if path.join(TOKENIZER_MODEL_FILE).is_file() {
        return format!(
            "its tokenizer is a {TOKENIZER_MODEL_FILE}, which is not read; texts cannot be encoded \
             for it. Let transformers convert it: \
             AutoTokenizer.from_pretrained(\"MODEL\").save_pretrained(\"OUT\"). Then import the \
             model with --tokenizer OUT/tokenizer.json"
        );
    }
    "it came without a tokenizer; texts cannot be encoded for it".to_owned()
}

/// Returns a note about rows of the embedding that the tokenizer has no entry for.
pub(crate) fn unused_rows_note(entries: u32, vocabulary: u32) -> Option<String> {
    let unused = vocabulary.checked_sub(entries).filter(|&unused| unused > 0)?;
    Some(format!("the last {unused} rows of the embedding stand for no token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_that_is_not_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(no_tokenizer_note(folder.path()).contains("without a tokenizer"));
        let file = folder.path().join(TOKENIZER_MODEL_FILE);
        std::fs::write(&file, "pieces").unwrap();
        let note = no_tokenizer_note(folder.path());
        assert!(!note.contains("without a tokenizer"), "{note}");
        assert!(note.contains("tokenizer.model") && note.contains("--tokenizer OUT/"), "{note}");
        assert!(no_tokenizer_note(&file).contains("without a tokenizer"), "it is no folder");
    }
}
