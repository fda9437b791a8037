// SPDX-License-Identifier: Apache-2.0

//! `config.json` of a Hugging Face folder.

use super::{ModelDescription, SpecialTokens, billionths, hf_families, hf_maps};
use crate::ImportError;
use pol_primitives::model::Activation;
use serde_json::{Map, Value};

/// Reads `json`, the content of the `config.json` at `from`.
pub(crate) fn read(json: &[u8], from: &str) -> Result<ModelDescription, ImportError> {
    let map: Map<String, Value> =
        serde_json::from_slice(json).map_err(|error| ImportError::Config {
            from: from.to_owned(),
            reason: format!("it is not a JSON object: {error}"),
        })?;
    let config = Config { map: &map, from };
    let (spec, tensor_map) = match config.text("model_type")? {
        Some("gpt2") => (hf_families::gpt2(&config)?, &hf_maps::GPT_2),
        Some("gpt_neo") => (hf_families::gpt_neo(&config)?, &hf_maps::GPT_NEO),
        Some("gptj") => (hf_families::gptj(&config)?, &hf_maps::GPT_J),
        Some("llama") => (hf_families::llama(&config)?, &hf_maps::LLAMA),
        Some(other) => {
            let advice = "the families that can be imported are gpt2 (DialoGPT too), gpt_neo, \
                          gptj and llama";
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
        template: None,
    };
    Ok(ModelDescription { spec, tensor_map, special })
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

/// Returns the activation that `name` stands for.
fn activation(name: &str) -> Option<Activation> {
    match name {
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
        "gelu" => Some(Activation::Gelu),
        "silu" | "swish" => Some(Activation::Silu),
        _ => None,
    }
}

/// Fields of a `config.json`.
pub(super) struct Config<'a> {
    pub(super) map: &'a Map<String, Value>,
    from: &'a str,
}

impl Config<'_> {
    pub(super) fn refuse(&self, reason: String) -> ImportError {
        ImportError::Config { from: self.from.to_owned(), reason }
    }

    pub(super) fn unsupported(&self, feature: String, advice: &'static str) -> ImportError {
        ImportError::Unsupported { from: self.from.to_owned(), feature, advice }
    }

    pub(super) fn is_missing(&self, key: &str) -> bool {
        self.map.get(key).is_none_or(Value::is_null)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, ImportError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.refuse(format!("{key} is {other}, not a string"))),
        }
    }

    /// Returns a positive number; `default` if the key is missing.
    pub(super) fn size(&self, key: &str, default: Option<u32>) -> Result<u32, ImportError> {
        match self.map.get(key) {
            None | Some(Value::Null) => {
                default.ok_or_else(|| self.refuse(format!("it does not say {key}")))
            }
            Some(value) => {
                let size = value
                    .as_u64()
                    .and_then(|size| u32::try_from(size).ok())
                    .filter(|&size| size > 0);
                size.ok_or_else(|| self.refuse(format!("{key} is {value}, not a size")))
            }
        }
    }

    pub(super) fn narrow(&self, key: &str, size: u32) -> Result<u16, ImportError> {
        u16::try_from(size)
            .map_err(|_| self.refuse(format!("{key} is {size}, beyond what a model can have")))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, ImportError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.refuse(format!("{key} is {other}, neither true nor false"))),
        }
    }

    pub(super) fn refuse_true(&self, key: &str) -> Result<(), ImportError> {
        if self.flag(key, false)? {
            return Err(
                self.unsupported(key.to_owned(), "take a model that was trained without it")
            );
        }
        Ok(())
    }

    pub(super) fn epsilon(&self, key: &str, default: f64) -> Result<u32, ImportError> {
        let value = match self.map.get(key) {
            None | Some(Value::Null) => default,
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.refuse(format!("{key} is {value}, not a number")))?,
        };
        billionths(value)
            .ok_or_else(|| self.refuse(format!("{key} is {value}, not a multiple of a billionth")))
    }

    pub(super) fn activation(
        &self,
        key: &str,
        default: Option<&str>,
    ) -> Result<Activation, ImportError> {
        let name = self.text(key)?.or(default).unwrap_or_default();
        activation(name).ok_or_else(|| {
            let advice = "the activations there are: gelu_new (gelu_fast, gelu_pytorch_tanh), \
                          gelu and silu (swish)";
            self.unsupported(format!("the activation '{name}'"), advice)
        })
    }
}
