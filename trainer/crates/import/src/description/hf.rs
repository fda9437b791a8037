// SPDX-License-Identifier: Apache-2.0

//! `config.json` of a Hugging Face folder.

use super::{
    ModelDescription, SpecialTokens, hf_config::HfConfig, hf_experts, hf_families, hf_later,
    hf_maps,
};
use crate::{ImportError, mapping::Factors};
use pol_primitives::model::NormPlacement;
use serde_json::{Map, Value};

/// Reads `json`, the content of the `config.json` at `from`.
pub(crate) fn read(json: &[u8], from: &str) -> Result<ModelDescription, ImportError> {
    let map: Map<String, Value> =
        serde_json::from_slice(json).map_err(|error| ImportError::Config {
            from: from.to_owned(),
            reason: format!("it is not a JSON object: {error}"),
        })?;
    let config = HfConfig { map: &map, from };
    let mut factors = Factors::default();
    let (spec, tensor_map) = match config.text("model_type")? {
        Some("gpt2") => (hf_families::gpt2(&config)?, &hf_maps::GPT_2),
        Some("gpt_neo") => (hf_families::gpt_neo(&config)?, &hf_maps::GPT_NEO),
        Some("gptj") => (hf_families::gptj(&config)?, &hf_maps::GPT_J),
        Some("llama") => (hf_families::llama(&config)?, &hf_maps::LLAMA),
        Some("granite") => {
            factors = hf_families::granite_factors(&config)?;
            (hf_families::llama(&config)?, &hf_maps::GRANITE)
        }
        Some("gemma") => {
            factors = hf_families::gemma_factors(&config)?;
            (hf_families::gemma(&config)?, &hf_maps::GEMMA)
        }
        Some("gemma2") => {
            factors = hf_later::gemma_2_factors(&config)?;
            (hf_later::gemma_2(&config)?, &hf_maps::GEMMA_2)
        }
        Some("gemma3_text") => {
            factors = hf_later::gemma_2_factors(&config)?;
            (hf_later::gemma_3(&config)?, &hf_maps::GEMMA_3)
        }
        Some("falcon") => {
            let spec = hf_later::falcon(&config)?;
            let apart = spec.norms == NormPlacement::Apart;
            (spec, if apart { &hf_maps::FALCON_APART } else { &hf_maps::FALCON })
        }
        Some("gpt_neox") => (hf_later::gpt_neox(&config)?, &hf_maps::GPT_NEOX),
        Some("olmo2") => (hf_later::olmo_2(&config)?, &hf_maps::OLMO_2),
        Some("opt") => (hf_later::opt(&config)?, &hf_maps::OPT),
        Some("qwen3") => (hf_later::qwen_3(&config)?, &hf_maps::QWEN_3),
        Some("mixtral") => (hf_experts::mixtral(&config)?, &hf_maps::MIXTRAL),
        Some("qwen3_moe") => (hf_experts::qwen_3_moe(&config)?, &hf_maps::QWEN_3_MOE),
        Some("smollm3") => (hf_later::smollm_3(&config)?, &hf_maps::SMOLLM_3),
        Some("mistral") => (hf_families::mistral(&config)?, &hf_maps::MISTRAL),
        Some("qwen2") => (hf_families::qwen2(&config)?, &hf_maps::QWEN_2),
        Some("phi") => (hf_families::phi(&config)?, &hf_maps::PHI),
        Some("phi3") => (hf_families::phi3(&config)?, &hf_maps::PHI_3),
        Some("stablelm") => (hf_families::stablelm(&config)?, &hf_maps::STABLELM),
        Some("starcoder2") => (hf_families::starcoder2(&config)?, &hf_maps::STARCODER_2),
        Some("gpt_bigcode") => (hf_families::gpt_bigcode(&config)?, &hf_maps::GPT_BIGCODE),
        Some(other) => {
            let advice = "the families that can be imported are falcon, gemma, gemma2, \
                          gemma3_text, gpt2 (DialoGPT too), gpt_bigcode, gpt_neo, gpt_neox \
                          (Pythia too), gptj, granite, llama, mistral, mixtral, olmo2, opt, \
                          phi, phi3 (Phi-4 too), qwen2, qwen3, qwen3_moe, smollm3, stablelm, and \
                          starcoder2";
            return Err(config.unsupported(format!("the architecture '{other}'"), advice));
        }
        None => {
            return Err(config.refuse("it has no model_type; it does not describe a model".into()));
        }
    };
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
    Ok(ModelDescription { spec, tensor_map, factors, special })
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
