// SPDX-License-Identifier: Apache-2.0

//! Tokenizers as metadata of a GGUF file.

use crate::{
    ImportError, SpecialTokens,
    files::gguf::{Metadata, Value},
    tokenizer::{CONTROL, NO_TOKENIZER, NORMAL, UNUSED, USER_DEFINED, from_metadata, split_name},
};
use pol_data::call_tokenizers;
use tokenizers::{ModelWrapper, NormalizerWrapper, Tokenizer};

/// Text that a tokenizer and its copy have to cut alike.
const SAMPLE: &str = concat!(
    "The quick brown fox can't jump over 12345 lazy dogs.\n\n\tfn main() { x += 1; }  ",
    "Überall 東京 привет مرحبا 😀 e.g. <s> 3.14\u{a0}…\r\nEND",
);

/// Adds the tokenizer `json` of a model with `vocabulary` rows to `metadata`, or says that there is
/// none. Returns notes about what is lost.
pub(super) fn add(
    metadata: &mut Metadata,
    json: Option<&[u8]>,
    special: &SpecialTokens,
    vocabulary: u32,
) -> Result<Vec<String>, ImportError> {
    let refuse = |reason: String| ImportError::Tokenizer { from: "the model".into(), reason };
    let mut set = |key: &str, value| metadata.insert(format!("tokenizer.{key}"), value);
    let Some(json) = json else {
        set("ggml.model", Value::Text(NO_TOKENIZER.into()));
        return Ok(vec!["without a tokenizer, other programs can run it on tokens only".into()]);
    };
    let tokenizer = call_tokenizers(|| Tokenizer::from_bytes(json))
        .map_err(|error| refuse(format!("cannot be used: {error}")))?;
    let pairs = Pairs::new(&tokenizer, json).map_err(refuse)?;
    set("ggml.model", Value::Text("gpt2".into()));
    set("ggml.pre", Value::Text(pairs.split.to_owned()));
    set("ggml.merges", Value::Texts(pairs.merges));
    let (tokens, types) = tokens(&tokenizer, vocabulary);
    set("ggml.tokens", Value::Texts(tokens));
    set("ggml.token_type", Value::Integers(types));
    let id = |name: &Option<String>| tokenizer.token_to_id(name.as_deref()?);
    set("ggml.add_bos_token", Value::Bool(special.begin.is_some()));
    if let Some(begin) = special.begin.or_else(|| id(&special.begin_name)) {
        set("ggml.bos_token_id", Value::Integer(begin.into()));
    }
    let named = id(&special.end_name).filter(|end| special.end.contains(end));
    let end = named.or_else(|| special.end.first().copied());
    if let Some(end) = end {
        set("ggml.eos_token_id", Value::Integer(end.into()));
    }
    // Further ones, which llama.cpp knows by their names.
    if let Some(&turn) = special.end.iter().find(|&&token| Some(token) != end) {
        set("ggml.eot_token_id", Value::Integer(turn.into()));
    }
    if let Some(template) = &special.template {
        set("chat_template", Value::Text(template.clone()));
    }
    if let Some(template) = &special.tool_template {
        set("chat_template.tool_use", Value::Text(template.clone()));
    }
    check(metadata, &tokenizer)?;
    let composes = tokenizer.get_normalizer().is_some();
    let note = "its tokenizer changes texts before it cuts them (such as composing characters), \
                which llama.cpp does not do";
    Ok(if composes { vec![note.to_owned()] } else { Vec::new() })
}

/// Parts of a byte-pair tokenizer that only its JSON has.
struct Pairs {
    split: &'static str,
    merges: Vec<String>,
}

/// Remedy for a tokenizer that cannot be said.
const USE_HF: &str = "; export the model with --format hf";

impl Pairs {
    fn new(tokenizer: &Tokenizer, json: &[u8]) -> Result<Self, String> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return Err(format!("does not merge pairs, which GGUF takes here{USE_HF}"));
        };
        if model.byte_fallback {
            return Err(format!(
                "merges characters, and only those that merge bytes are written as \
                                GGUF{USE_HF}"
            ));
        }
        let pre_tokenizer = tokenizer.get_pre_tokenizer();
        let composes = matches!(tokenizer.get_normalizer(), Some(NormalizerWrapper::NFC(_)));
        let split =
            pre_tokenizer.and_then(|split| split_name(split, model.ignore_merges, composes));
        let split = split.ok_or_else(|| {
            format!("splits text into words in a way that has no name in GGUF here{USE_HF}")
        })?;
        let json: serde_json::Value =
            serde_json::from_slice(json).map_err(|error| format!("cannot be read: {error}"))?;
        let merges = json["model"]["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
        let merge = |merge: &serde_json::Value| match merge {
            serde_json::Value::String(line) => Some(line.clone()),
            pair => Some(format!("{} {}", pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)),
        };
        let merges: Option<Vec<String>> = merges.iter().map(merge).collect();
        let merges = merges.ok_or_else(|| "has a merge that is no pair".to_owned())?;
        Ok(Self { split, merges })
    }
}

/// Returns the name and the type of each row of the embedding.
fn tokens(tokenizer: &Tokenizer, vocabulary: u32) -> (Vec<String>, Vec<i64>) {
    let added = tokenizer.get_added_tokens_decoder();
    let token = |id| match (added.get(&id), tokenizer.id_to_token(id)) {
        (Some(token), _) if token.special => (token.content.clone(), CONTROL),
        (Some(token), _) => (token.content.clone(), USER_DEFINED),
        (None, Some(name)) => (name, NORMAL),
        (None, None) => (format!("[PAD{id}]"), UNUSED),
    };
    (0..vocabulary).map(token).unzip()
}

/// Checks that the tokenizer in `metadata` cuts texts as `tokenizer` does.
fn check(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<(), ImportError> {
    let refuse = |reason: String| ImportError::Tokenizer { from: "the model".into(), reason };
    let copy = from_metadata(metadata, "the description of an export")?
        .and_then(|json| call_tokenizers(|| Tokenizer::from_bytes(json)).ok())
        .ok_or_else(|| refuse("cannot be read back".into()))?;
    let cut = |tokenizer: &Tokenizer| {
        let encoding = call_tokenizers(|| tokenizer.encode(SAMPLE, true));
        encoding.map(|encoding| encoding.get_ids().to_vec())
    };
    let own = cut(tokenizer).map_err(|error| refuse(format!("cannot be used: {error}")))?;
    if cut(&copy).is_ok_and(|copied| copied == own) {
        return Ok(());
    }
    Err(refuse(format!("cuts texts in a way that GGUF cannot say{USE_HF}")))
}
