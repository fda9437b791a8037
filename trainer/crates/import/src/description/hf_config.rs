// SPDX-License-Identifier: Apache-2.0

//! Typed access to the fields of a `config.json`.

use super::billionths;
use crate::ImportError;
use pol_primitives::model::Activation;
use serde_json::{Map, Value};

/// Fields of a `config.json`.
pub(super) struct HfConfig<'a> {
    pub(super) map: &'a Map<String, Value>,
    /// The file.
    pub(super) from: &'a str,
}

impl HfConfig<'_> {
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

    /// Returns a number above 0, or `None` if the key is missing.
    pub(super) fn factor(&self, key: &str) -> Result<Option<f64>, ImportError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|factor| *factor > 0.0 && factor.is_finite())
                .map(Some)
                .ok_or_else(|| self.refuse(format!("{key} is {value}, not a factor"))),
        }
    }

    pub(super) fn activation(
        &self,
        key: &str,
        default: Option<&str>,
    ) -> Result<Activation, ImportError> {
        let name = self.text(key)?.or(default).unwrap_or_default();
        activation(name).ok_or_else(|| {
            let advice = "the activations there are: gelu_new (gelu_fast, gelu_pytorch_tanh), \
                          gelu, silu (swish), and relu";
            self.unsupported(format!("the activation '{name}'"), advice)
        })
    }
}

/// Returns the activation that `name` stands for.
fn activation(name: &str) -> Option<Activation> {
    match name {
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
        "gelu" => Some(Activation::Gelu),
        "silu" | "swish" => Some(Activation::Silu),
        "relu" => Some(Activation::Relu),
        _ => None,
    }
}
