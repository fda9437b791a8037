// SPDX-License-Identifier: Apache-2.0

//! Tokenizers with a token for each row of an embedding.

use serde_json::Value;
use std::{fs, path::Path};

/// Writes the tokenizer of the model in `folder` to `path`, with tokens for `rows` rows of the
/// embedding. A random model takes rows without a token as often as others, and they show nothing.
pub(crate) fn write(folder: &Path, rows: usize, path: &Path) {
    let json = fs::read(folder.join("tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&json).unwrap();
    let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
    for row in vocabulary.len()..rows {
        vocabulary.insert(format!("[PAD{row}]"), row.into());
    }
    fs::write(path, json.to_string()).unwrap();
}
