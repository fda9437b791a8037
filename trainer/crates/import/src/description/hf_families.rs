// SPDX-License-Identifier: Apache-2.0

//! Specifications of the families from their `config.json`.

use super::{UNSCALED_MODEL, hf_config::HfConfig, whole_base};
use crate::ImportError;
use pol_primitives::model::{Biases, LocalAttention, Mind, ModelSpec, Norm, PositionEncoding};
use serde_json::Value;

/// Returns the specification of a GPT-2.
pub(super) fn gpt2(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    config.refuse_true("scale_attn_by_inverse_layer_idx")?;
    config.refuse_true("add_cross_attention")?;
    let width = config.size("n_embd", None)?;
    let positions = config.size("n_positions", None)?;
    if config.size("n_ctx", Some(positions))? > positions {
        return Err(
            config.refuse(format!("n_ctx is longer than the {positions} positions of n_positions"))
        );
    }
    let sizes = Sizes {
        vocabulary: config.size("vocab_size", None)?,
        width,
        layers: config.size("n_layer", None)?,
        heads: config.size("n_head", None)?,
        feed_forward: config.size("n_inner", Some(width.saturating_mul(4)))?,
        context: positions,
    };
    Ok(ModelSpec {
        activation: config.activation("activation_function", Some("gelu_new"))?,
        norm: Norm::Layer { epsilon: config.epsilon("layer_norm_epsilon", 1e-5)? },
        scaled: config.flag("scale_attn_weights", true)?,
        tied: config.flag("tie_word_embeddings", true)?,
        ..sizes.spec(config)?
    })
}

/// Returns the specification of a GPT-Neo.
pub(super) fn gpt_neo(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let width = config.size("hidden_size", None)?;
    let sizes = Sizes {
        vocabulary: config.size("vocab_size", None)?,
        width,
        layers: config.size("num_layers", None)?,
        heads: config.size("num_heads", None)?,
        feed_forward: config.size("intermediate_size", Some(width.saturating_mul(4)))?,
        context: config.size("max_position_embeddings", None)?,
    };
    Ok(ModelSpec {
        activation: config.activation("activation_function", Some("gelu_new"))?,
        norm: Norm::Layer { epsilon: config.epsilon("layer_norm_epsilon", 1e-5)? },
        local: local(config, config.narrow("num_layers", sizes.layers)?)?,
        scaled: false,
        biases: Biases {
            query_key_value: false,
            attention_output: true,
            feed_forward: true,
            head: false,
        },
        tied: config.flag("tie_word_embeddings", true)?,
        ..sizes.spec(config)?
    })
}

/// Returns the local blocks of a GPT-Neo.
fn local(config: &HfConfig, layers: u16) -> Result<Option<LocalAttention>, ImportError> {
    let listed = attention_kinds(config, layers)?;
    let is_local =
        |kind: &Value| match kind.as_str() {
            Some("global") => Ok(false),
            Some("local") => Ok(true),
            _ => Err(config
                .refuse(format!("attention of type {kind} is neither \"global\" nor \"local\""))),
        };
    let kinds = listed.iter().map(is_local).collect::<Result<Vec<_>, _>>()?;
    if !kinds.contains(&true) {
        return Ok(None);
    }
    let repeats =
        |period: &usize| kinds.iter().enumerate().all(|(i, kind)| *kind == kinds[i % period]);
    let Some(period) = (1..=kinds.len().min(64)).find(repeats) else {
        return Err(config.unsupported(
            "a pattern of local blocks longer than 64".into(),
            "take another checkpoint",
        ));
    };
    let layers = (0..period).filter(|&i| kinds[i]).fold(0, |bits, i| bits | 1 << i);
    let window = config.size("window_size", Some(256))?;
    Ok(Some(LocalAttention { window, period: period as u8, layers }))
}

/// Returns the kind of attention of each block. `attention_layers` lists the kinds.
/// `attention_types` lists patterns and the number of times that each is repeated.
fn attention_kinds(config: &HfConfig, layers: u16) -> Result<Vec<Value>, ImportError> {
    let malformed = || {
        config
            .refuse("attention_types is not a list such as [[[\"global\", \"local\"], 12]]".into())
    };
    let kinds = match config.map.get("attention_layers").filter(|value| !value.is_null()) {
        Some(value) => value.as_array().ok_or_else(malformed)?.clone(),
        None => {
            let mut kinds = Vec::new();
            let types = config.map.get("attention_types").and_then(Value::as_array);
            for types in types.ok_or_else(malformed)? {
                let pair = types.as_array().map(Vec::as_slice).unwrap_or_default();
                let [Value::Array(pattern), times] = pair else { return Err(malformed()) };
                let times = times.as_u64().filter(|&times| times <= u64::from(layers));
                for _ in 0..times.ok_or_else(malformed)? {
                    kinds.extend_from_slice(pattern);
                    if kinds.len() > usize::from(layers) {
                        return Err(config.refuse(format!(
                            "attention_types names more than the {layers} blocks of num_layers"
                        )));
                    }
                }
            }
            kinds
        }
    };
    if kinds.len() != usize::from(layers) {
        return Err(config
            .refuse(format!("attention_types names {} blocks, num_layers {layers}", kinds.len())));
    }
    Ok(kinds)
}

/// Returns the specification of a GPT-J.
pub(super) fn gptj(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let width = config.size("n_embd", None)?;
    let sizes = Sizes {
        vocabulary: config.size("vocab_size", None)?,
        width,
        layers: config.size("n_layer", None)?,
        heads: config.size("n_head", None)?,
        feed_forward: config.size("n_inner", Some(width.saturating_mul(4)))?,
        context: config.size("n_positions", None)?,
    };
    if config.map.get("rotary_dim").is_some_and(Value::is_null) {
        return Err(config.unsupported(
            "rotation of whole heads by rotary_dim null".into(),
            "set rotary_dim to the size of a head",
        ));
    }
    let dimensions = config.narrow("rotary_dim", config.size("rotary_dim", Some(64))?)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    Ok(ModelSpec {
        activation: config.activation("activation_function", Some("gelu_new"))?,
        norm: Norm::Layer { epsilon: config.epsilon("layer_norm_epsilon", 1e-5)? },
        positions: PositionEncoding::Rotary { dimensions, base: 10_000, interleaved: true },
        parallel: true,
        biases: Biases {
            query_key_value: false,
            attention_output: false,
            feed_forward: true,
            head: true,
        },
        tied,
        ..sizes.spec(config)?
    })
}

/// Returns the specification of a LLaMA.
pub(super) fn llama(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let rope = rope(config)?;
    if config.map.get("sliding_window").is_some_and(|window| !window.is_null()) {
        return Err(config.unsupported(
            "a sliding window (sliding_window)".into(),
            "take a model that attends to everything",
        ));
    }
    let (width, heads) =
        (config.size("hidden_size", None)?, config.size("num_attention_heads", None)?);
    let head_size = config.size("head_dim", width.checked_div(heads))?;
    if config.is_missing("head_dim") && head_size.saturating_mul(heads) != width {
        return Err(config.refuse(format!(
            "hidden_size {width} is not a multiple of num_attention_heads {heads}"
        )));
    }
    let head_size = config.narrow("head_dim", head_size)?;
    let attention = config.flag("attention_bias", false)?;
    Ok(ModelSpec {
        vocabulary: config.size("vocab_size", None)?,
        width,
        layers: config.narrow("num_hidden_layers", config.size("num_hidden_layers", None)?)?,
        heads: config.narrow("num_attention_heads", heads)?,
        key_value_heads: config
            .narrow("num_key_value_heads", config.size("num_key_value_heads", Some(heads))?)?,
        head_size,
        feed_forward: config.size("intermediate_size", None)?,
        context: config.size("max_position_embeddings", None)?,
        activation: config.activation("hidden_act", Some("silu"))?,
        gated: true,
        norm: Norm::Rms { epsilon: config.epsilon("rms_norm_eps", 1e-6)? },
        positions: PositionEncoding::Rotary {
            dimensions: head_size,
            base: rope,
            interleaved: false,
        },
        local: None,
        scaled: true,
        parallel: false,
        biases: Biases {
            query_key_value: attention,
            attention_output: attention,
            feed_forward: config.flag("mlp_bias", false)?,
            head: false,
        },
        tied: config.flag("tie_word_embeddings", false)?,
        experts: None,
        mind: Mind::default(),
    })
}

/// Returns the base of the rotation. Newer configs have it in `rope_parameters`, older ones in
/// `rope_theta` and `rope_scaling`.
fn rope(config: &HfConfig) -> Result<u32, ImportError> {
    let mut theta = config.map.get("rope_theta");
    for key in ["rope_parameters", "rope_scaling"] {
        let parameters = match config.map.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(parameters)) => parameters,
            Some(other) => return Err(config.refuse(format!("{key} is {other}, not an object"))),
        };
        // Either name may be there with a null, beside the other.
        let named = ["rope_type", "type"].into_iter().filter_map(|key| parameters.get(key));
        let kind = match named.into_iter().find(|kind| !kind.is_null()) {
            Some(Value::String(kind)) => kind.as_str(),
            Some(other) => {
                return Err(config.refuse(format!("{key} has the type {other}, not a string")));
            }
            None if parameters.get("factor").is_some_and(|factor| !factor.is_null()) => {
                return Err(config.unsupported(
                    format!("rope scaling by a factor without a type ({key})"),
                    UNSCALED_MODEL,
                ));
            }
            None => "default",
        };
        if kind != "default" {
            return Err(config
                .unsupported(format!("rope scaling of type '{kind}' ({key})"), UNSCALED_MODEL));
        }
        if parameters
            .get("partial_rotary_factor")
            .is_some_and(|factor| factor.as_f64() != Some(1.0))
        {
            return Err(config.unsupported(
                "rotation of a part of each head (partial_rotary_factor)".into(),
                "take another model",
            ));
        }
        theta = parameters.get("rope_theta").or(theta);
    }
    let base = theta.filter(|value| !value.is_null()).map_or(Some(10_000.0), Value::as_f64);
    base.and_then(whole_base).ok_or_else(|| {
        let found = theta.map_or_else(|| "missing".to_owned(), Value::to_string);
        config.refuse(format!("rope_theta is {found}, not a whole number of at least 2"))
    })
}

/// Sizes that GPT-2 and its relatives have in common.
struct Sizes {
    vocabulary: u32,
    width: u32,
    layers: u32,
    heads: u32,
    feed_forward: u32,
    context: u32,
}

impl Sizes {
    fn spec(&self, config: &HfConfig) -> Result<ModelSpec, ImportError> {
        if self.width.checked_rem(self.heads) != Some(0) {
            return Err(config.refuse(format!(
                "the width {} is not a multiple of the {} heads",
                self.width, self.heads
            )));
        }
        let (layers, heads) = (
            config.narrow("the number of layers", self.layers)?,
            config.narrow("the number of heads", self.heads)?,
        );
        Ok(ModelSpec::gpt2(
            self.vocabulary,
            self.width,
            layers,
            heads,
            self.feed_forward,
            self.context,
        ))
    }
}
