// SPDX-License-Identifier: Apache-2.0

//! `config.json` of a Hugging Face folder.

use super::{
    ModelDescription, SpecialTokens, hf_config::HfConfig, hf_experts, hf_families, hf_later,
    hf_maps, listed, unknown_architecture,
};
use crate::{
    ImportError,
    mapping::{Factors, TensorMap},
};
use pol_primitives::model::{ModelSpec, NormPlacement, PositionEncoding};
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// Family of models, as `model_type` names it.
struct Family {
    model_type: &'static str,
    /// Other models that it stands for.
    others: &'static str,
    read: fn(&HfConfig<'_>) -> Result<Parts, ImportError>,
}

/// Specification, names of tensors, and factors of a model.
type Parts = (ModelSpec, &'static TensorMap, Factors);

impl Family {
    const fn new(
        model_type: &'static str,
        read: fn(&HfConfig<'_>) -> Result<Parts, ImportError>,
    ) -> Self {
        Self { model_type, others: "", read }
    }

    const fn with(self, others: &'static str) -> Self {
        Self { others, ..self }
    }
}

/// Returns the parts of a family that applies no factors.
fn plain(spec: ModelSpec, tensor_map: &'static TensorMap) -> Result<Parts, ImportError> {
    Ok((spec, tensor_map, Factors::default()))
}

/// Families that can be imported, in the order of their names.
static FAMILIES: [Family; 23] = [
    Family::new("falcon", |config| {
        let spec = hf_later::falcon(config)?;
        let apart = spec.norms == NormPlacement::Apart;
        plain(spec, if apart { &hf_maps::FALCON_APART } else { &hf_maps::FALCON })
    }),
    Family::new("gemma", |config| {
        let factors = hf_families::gemma_factors(config)?;
        Ok((hf_families::gemma(config)?, &hf_maps::GEMMA, factors))
    }),
    Family::new("gemma2", |config| {
        let factors = hf_later::gemma_2_factors(config)?;
        Ok((hf_later::gemma_2(config)?, &hf_maps::GEMMA_2, factors))
    }),
    Family::new("gemma3_text", |config| {
        let factors = hf_later::gemma_2_factors(config)?;
        Ok((hf_later::gemma_3(config)?, &hf_maps::GEMMA_3, factors))
    }),
    Family::new("gpt2", |config| plain(hf_families::gpt2(config)?, &hf_maps::GPT_2))
        .with("DialoGPT"),
    Family::new("gpt_bigcode", |config| {
        plain(hf_families::gpt_bigcode(config)?, &hf_maps::GPT_BIGCODE)
    }),
    Family::new("gpt_neo", |config| plain(hf_families::gpt_neo(config)?, &hf_maps::GPT_NEO)),
    Family::new("gpt_neox", |config| plain(hf_later::gpt_neox(config)?, &hf_maps::GPT_NEOX))
        .with("Pythia"),
    Family::new("gptj", |config| plain(hf_families::gptj(config)?, &hf_maps::GPT_J)),
    Family::new("granite", |config| {
        let factors = hf_families::granite_factors(config)?;
        Ok((hf_families::llama(config)?, &hf_maps::GRANITE, factors))
    }),
    Family::new("llama", |config| plain(hf_families::llama(config)?, &hf_maps::LLAMA)),
    Family::new("mistral", |config| plain(hf_families::mistral(config)?, &hf_maps::MISTRAL)),
    Family::new("mixtral", |config| plain(hf_experts::mixtral(config)?, &hf_maps::MIXTRAL)),
    Family::new("olmo2", |config| plain(hf_later::olmo_2(config)?, &hf_maps::OLMO_2)),
    Family::new("opt", |config| plain(hf_later::opt(config)?, &hf_maps::OPT)),
    Family::new("phi", |config| plain(hf_families::phi(config)?, &hf_maps::PHI)),
    Family::new("phi3", |config| plain(hf_families::phi3(config)?, &hf_maps::PHI_3)).with("Phi-4"),
    Family::new("qwen2", |config| plain(hf_families::qwen2(config)?, &hf_maps::QWEN_2)),
    Family::new("qwen3", |config| plain(hf_later::qwen_3(config)?, &hf_maps::QWEN_3)),
    Family::new("qwen3_moe", |config| plain(hf_experts::qwen_3_moe(config)?, &hf_maps::QWEN_3_MOE)),
    Family::new("smollm3", |config| plain(hf_later::smollm_3(config)?, &hf_maps::SMOLLM_3)),
    Family::new("stablelm", |config| plain(hf_families::stablelm(config)?, &hf_maps::STABLELM)),
    Family::new("starcoder2", |config| {
        plain(hf_families::starcoder2(config)?, &hf_maps::STARCODER_2)
    }),
];

/// Remedy for a model of another family.
static ADVICE: LazyLock<String> = LazyLock::new(|| {
    let families = FAMILIES.iter().map(|family| (family.model_type, family.others));
    format!("the families that can be imported are {}", listed(families))
});

/// Returns the families that can be imported, as `model_type` names them.
pub(super) fn families() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.model_type).collect()
}

/// Reads `json`, the content of the `config.json` at `from`.
pub(crate) fn read(json: &[u8], from: &str) -> Result<ModelDescription, ImportError> {
    let map: Map<String, Value> =
        serde_json::from_slice(json).map_err(|error| ImportError::Config {
            from: from.to_owned(),
            reason: format!("it is not a JSON object: {error}"),
        })?;
    let config = HfConfig { map: &map, from };
    let Some(model_type) = config.text("model_type")? else {
        return Err(config.refuse("it has no model_type; it does not describe a model".into()));
    };
    let family = FAMILIES.iter().find(|family| family.model_type == model_type);
    let family = family
        .ok_or_else(|| config.unsupported(unknown_architecture(model_type), ADVICE.as_str()))?;
    let (spec, tensor_map, factors) = (family.read)(&config)?;
    if config.map.get("quantization_config").is_some_and(|value| !value.is_null()) {
        let advice = "take the checkpoint that was not quantised, or a GGUF file";
        return Err(config.unsupported(
            "weights quantised within safetensors (quantization_config)".into(),
            advice,
        ));
    }
    let special = SpecialTokens {
        begin: token_ids(&map, "bos_token_id").first().copied(),
        end: token_ids(&map, "eos_token_id"),
        ..SpecialTokens::default()
    };
    let stated_context = match spec.positions {
        PositionEncoding::Learned => spec.context,
        // It was read before, where the family has it.
        _ => config.size("max_position_embeddings", None).unwrap_or(spec.context),
    };
    Ok(ModelDescription { spec, tensor_map, factors, special, stated_context })
}

/// Returns the tokens under `key`: none, one or several.
pub(crate) fn token_ids(map: &Map<String, Value>, key: &str) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match map.get(key) {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => Vec::from_iter(id(value)),
        None => Vec::new(),
    }
}

/// Returns the name of a special token in a `tokenizer_config.json`: a string, or the content of an
/// object.
pub(crate) fn token_name(config: &Map<String, Value>, key: &str) -> Option<String> {
    let token = config.get(key)?;
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
}

/// Returns the chat template of a `tokenizer_config.json`, and the one for conversations with
/// functions. Several templates are a list of objects with names.
pub(crate) fn chat_templates(config: &Map<String, Value>) -> (Option<String>, Option<String>) {
    let Some(templates) = config.get("chat_template") else { return (None, None) };
    let named = |name: &str| {
        let mut all = templates.as_array().into_iter().flatten();
        let found = all.find(|template| template["name"] == name)?;
        found["template"].as_str().map(str::to_owned)
    };
    match templates.as_str() {
        Some(template) => (Some(template.to_owned()), None),
        None => (named("default"), named("tool_use")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_and_names_have_two_forms() {
        let read = |config: Value| {
            let Value::Object(config) = config else { panic!("{config}") };
            (token_name(&config, "eos_token"), chat_templates(&config))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            read(json!({"eos_token": "</s>", "chat_template": "a"})),
            (text("</s>"), (text("a"), None))
        );
        let named = json!([
            {"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}, 7,
        ]);
        assert_eq!(
            read(json!({"eos_token": {"content": "<e>"}, "chat_template": named})),
            (text("<e>"), (text("a"), text("b")))
        );
        assert_eq!(read(json!({"eos_token": null})), (None, (None, None)));
        assert_eq!(read(json!({"chat_template": 7})), (None, (None, None)));
    }
}
