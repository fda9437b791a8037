// SPDX-License-Identifier: Apache-2.0

//! `config.json` of a Hugging Face folder.
//!
//! A family has a function that says a specification in its terms. The importer reads what it says,
//! and the family expresses a specification if the importer reads the same one. Functions write
//! only keys that the family's class in transformers reads.

use super::{
    hf_families::FAMILIES,
    subject::{Nearest, Subject},
};
use crate::{
    ImportError,
    description::{self, SpecialTokens},
    mapping::{Embeddings, ExportPlan},
};
use serde_json::{Map, Value, json};

/// Description of a model in terms of a family, and the plan of its tensors.
pub(super) struct HfModel {
    pub(super) family: &'static str,
    pub(super) config: Map<String, Value>,
    pub(super) embeddings: Embeddings,
    pub(super) plan: ExportPlan,
}

/// Describes a model in terms of the first family that expresses it.
pub(super) fn describe(subject: &Subject) -> Result<HfModel, ImportError> {
    let mut nearest = Nearest::default();
    for family in FAMILIES {
        let Some(mut config) = family(subject) else { continue };
        let json = Value::Object(config.clone()).to_string();
        let Ok(read) = description::hf::read(json.as_bytes(), "the description of an export")
        else {
            continue;
        };
        let name = read.tensor_map.family;
        let parts = subject.differences(&read.spec);
        if !parts.is_empty() {
            nearest.note(name, parts);
            continue;
        }
        let scales = read.factors.embedding != read.factors.head;
        let embeddings = subject.embeddings(scales);
        config.insert("tie_word_embeddings".into(), (embeddings != Embeddings::Apart).into());
        match ExportPlan::new(read.tensor_map, &read.factors, &subject.spec, embeddings) {
            Ok(plan) => return Ok(HfModel { family: name, config, embeddings, plan }),
            Err(_) => nearest.note(name, vec!["its tensors"]),
        }
    }
    Err(nearest.refusal("transformers", "use it with `pol-trainer generate` and `serve`"))
}

/// Adds special tokens to a `config.json`.
pub(super) fn add_tokens(config: &mut Map<String, Value>, special: &SpecialTokens) {
    config.insert("bos_token_id".into(), json!(special.begin));
    config.insert("eos_token_id".into(), ends(special));
    // Classes have tokens of their own, which a small vocabulary may not have.
    config.insert("pad_token_id".into(), Value::Null);
}

/// Returns the content of a `generation_config.json`.
pub(super) fn generation_config(special: &SpecialTokens) -> Value {
    json!({"bos_token_id": special.begin, "eos_token_id": ends(special)})
}

fn ends(special: &SpecialTokens) -> Value {
    match special.end.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    }
}

/// Returns the content of a `tokenizer_config.json`. `name` gives the name of a token.
pub(super) fn tokenizer_config(
    special: &SpecialTokens,
    context: u32,
    name: impl Fn(u32) -> Option<String>,
) -> Value {
    let begin = special.begin_name.clone().or_else(|| special.begin.and_then(&name));
    let end = special.end_name.clone().or_else(|| special.end.first().and_then(|&id| name(id)));
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": false,
        "bos_token": begin,
        "eos_token": end,
    });
    match (&special.template, &special.tool_template) {
        (Some(template), None) => config["chat_template"] = json!(template),
        (Some(template), Some(tools)) => {
            config["chat_template"] = json!([
                {"name": "default", "template": template},
                {"name": "tool_use", "template": tools},
            ]);
        }
        (None, _) => {}
    }
    config
}
