// SPDX-License-Identifier: Apache-2.0

//! Bound of the growth of texts in a tokenizer from elsewhere.
//!
//! Steps of a `tokenizer.json` may replace a letter by several, and each of a sequence multiplies
//! what the last one made. The library applies some while it parses the file, so the steps are
//! examined before.

use super::TokenizerError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Most steps of a file.
const MAX_STEPS: usize = 1_000;
/// Most bytes that may become of one.
const MAX_GROWTH: f64 = 16_384.0;
/// Most bytes that may become of a text, 256 MiB.
const MAX_BYTES: f64 = 268_435_456.0;

/// Parts of a `tokenizer.json` that change texts.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parts {
    added_tokens: Value,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
}

/// Returns the length of the longest text, in bytes, that may be encoded.
pub(super) fn longest_text(json: &[u8]) -> Result<usize, TokenizerError> {
    let parts: Parts =
        serde_json::from_slice(json).map_err(|error| TokenizerError::Json(error.to_string()))?;
    let mut steps = 0;
    let mut growth = |part: &Value| growth(part, &mut steps);
    let encoding = growth(&parts.normalizer) * growth(&parts.pre_tokenizer);
    let other = growth(&parts.decoder).max(growth(&parts.post_processor));
    let longest = MAX_BYTES / encoding;
    // The library normalizes the names of these.
    let added = parts.added_tokens.as_array().into_iter().flatten();
    let added: usize = added.filter_map(|token| token["content"].as_str()).map(str::len).sum();
    if steps > MAX_STEPS || encoding.max(other) > MAX_GROWTH || added as f64 > longest {
        return Err(TokenizerError::Growth);
    }
    Ok(longest as usize)
}

/// Returns the bytes that may become of one in a part, and counts its steps.
fn growth(part: &Value, steps: &mut usize) -> f64 {
    match part {
        Value::Array(items) => items.iter().map(|item| growth(item, steps)).product(),
        Value::Object(fields) => {
            *steps += 1;
            let inner: f64 = fields.values().map(|field| growth(field, steps)).product();
            inner * own_growth(fields)
        }
        _ => 1.0,
    }
}

/// Returns the bytes that may become of one in a step, without those within it. Steps are known by
/// their fields, because the library needs no `type` for most.
fn own_growth(step: &Map<String, Value>) -> f64 {
    let text = |key: &str| step.get(key).and_then(Value::as_str);
    let count = |key: &str| step.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let mut growth = match text("type") {
        Some("ByteLevel" | "CTC" | "BPEDecoder" | "WordPiece") => 2.0,
        // The letter U+FDFA becomes 18, of 33 bytes.
        Some("NFC" | "NFD" | "NFKC" | "NFKD") => 11.0,
        Some("Lowercase") => 1.5,
        _ => 1.0,
    };
    if let (Some(content), Some(pattern)) = (text("content"), step.get("pattern")) {
        let content = content.len() as f64;
        growth *= match pattern["String"].as_str() {
            Some(pattern) if !pattern.is_empty() => (content / pattern.len() as f64).max(1.0),
            // It may be found between all letters.
            _ => content + 1.0,
        };
    }
    if let Some(prepended) = text("prepend") {
        growth *= prepended.len() as f64 + 1.0;
    }
    if let Some(charsmap) = text("precompiled_charsmap") {
        growth *= longest_replacement(charsmap).unwrap_or(f64::INFINITY);
    }
    for (field, own) in [
        ("replacement", 4.0),
        ("handle_chinese_chars", 2.0),
        ("suffix", 2.0),
        ("prefix", 2.0),
        ("word_delimiter_token", 2.0),
        ("add_prefix_space", 2.0),
    ] {
        if step.get(field).is_some_and(|value| value.as_bool() != Some(false)) {
            growth *= own;
        }
    }
    // A template has pieces, and each may be several tokens.
    let tokens = step.get("special_tokens").and_then(Value::as_object).into_iter().flatten();
    let tokens = tokens.filter_map(|(_, token)| token["ids"].as_array()).map(Vec::len).max();
    let pieces = count("single").max(count("pair")).max(1);
    growth * pieces as f64 * tokens.unwrap_or(1).max(1) as f64
}

/// Returns the length of the longest text that SentencePiece's map of characters puts in the place
/// of others; none if it is no such map.
fn longest_replacement(charsmap: &str) -> Option<f64> {
    // The length of a search tree, the tree, and texts with a zero after each.
    let bytes = STANDARD.decode(charsmap).ok()?;
    let (length, rest) = bytes.split_first_chunk()?;
    let texts = rest.get(u32::from_le_bytes(*length) as usize / 4 * 4..)?;
    texts.split(|&byte| byte == 0).map(<[u8]>::len).max().map(|longest| longest.max(1) as f64)
}
