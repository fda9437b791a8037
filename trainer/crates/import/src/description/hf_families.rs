// SPDX-License-Identifier: Apache-2.0

//! Specifications of the families from their `config.json`.

use super::{
    hf_config::HfConfig,
    hf_defaults::{self, Defaults},
    hf_rope::Rope,
    patterns::{self, PatternTooLong},
};
use crate::{ImportError, mapping::Factors};
use pol_primitives::model::{
    Activation, Biases, LocalAttention, Mind, ModelSpec, Norm, NormPlacement, PositionEncoding,
    SoftCaps,
};
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
    local_blocks(config, &kinds, config.size("window_size", Some(256))?)
}

/// Returns the attention of a model whose blocks are local where `kinds` has `true`.
fn local_blocks(
    config: &HfConfig,
    kinds: &[bool],
    window: u32,
) -> Result<Option<LocalAttention>, ImportError> {
    let pattern = pattern(config, kinds)?;
    Ok(pattern.map(|(period, layers)| LocalAttention { window, period, layers }))
}

/// Returns period and bits of the pattern of the blocks where `kinds` has `true`, if there are any.
pub(super) fn pattern(config: &HfConfig, kinds: &[bool]) -> Result<Option<(u8, u64)>, ImportError> {
    patterns::pattern(kinds).map_err(|PatternTooLong| {
        config.unsupported("a pattern of blocks longer than 64".into(), "take another checkpoint")
    })
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
    llama_with(config, &hf_defaults::LLAMA)
}

/// Returns the specification of a LLaMA with these defaults.
fn llama_with(config: &HfConfig, usual: &Defaults) -> Result<ModelSpec, ImportError> {
    if config.map.get("sliding_window").is_some_and(|window| !window.is_null()) {
        return Err(config.unsupported(
            "a sliding window (sliding_window)".into(),
            "take a model that attends to everything",
        ));
    }
    let spec = blocks(config, usual)?;
    let attention = config.flag("attention_bias", false)?;
    Ok(ModelSpec {
        biases: Biases {
            query_key_value: attention,
            attention_output: attention,
            feed_forward: config.flag("mlp_bias", false)?,
            head: false,
        },
        ..spec
    })
}

/// Returns the factors of a Granite, which is a LLaMA beside them.
pub(super) fn granite_factors(config: &HfConfig) -> Result<Factors, ImportError> {
    let factor = |key: &str| Ok::<_, ImportError>(config.factor(key)?.unwrap_or(1.0));
    let (width, heads) =
        (config.size("hidden_size", None)?, config.size("num_attention_heads", None)?);
    let head_size = config.size("head_dim", width.checked_div(heads))?;
    Ok(Factors {
        embedding: factor("embedding_multiplier")? as f32,
        // The factor stands in the place of the square root.
        query: (factor("attention_multiplier")? * f64::from(head_size).sqrt()) as f32,
        residual: factor("residual_multiplier")? as f32,
        head: (1.0 / factor("logits_scaling")?) as f32,
        norm: 0.0,
    })
}

/// Returns the specification of a first Gemma: a LLaMA with GELU and tied embeddings.
pub(super) fn gemma(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    // Configs from before the activation was put right have "gelu", and mean the other form.
    let activation = match config.text("hidden_act")? {
        Some("gelu") => Activation::GeluTanh,
        _ => config.activation("hidden_act", Some("gelu_pytorch_tanh"))?,
    };
    config.refuse_true("use_bidirectional_attention")?;
    let tied = config.flag("tie_word_embeddings", true)?;
    Ok(ModelSpec { activation, tied, ..llama_with(config, &hf_defaults::GEMMA)? })
}

/// Returns the factors of a first Gemma.
pub(super) fn gemma_factors(config: &HfConfig) -> Result<Factors, ImportError> {
    let width = config.size("hidden_size", None)?;
    Ok(Factors { embedding: f64::from(width).sqrt() as f32, norm: 1.0, ..Factors::default() })
}

/// Returns the specification of a Mistral: a LLaMA whose blocks may all have a sliding window.
pub(super) fn mistral(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::MISTRAL;
    let spec = blocks(config, &usual)?;
    Ok(ModelSpec { local: windows(config, &spec, usual.window, |_| true)?, ..spec })
}

/// Returns the specification of a Qwen2: a LLaMA with biases of queries, keys, and values, whose
/// upper blocks may have a sliding window.
pub(super) fn qwen2(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::QWEN_2;
    let spec = blocks(config, &usual)?;
    let local = qwen_windows(config, &spec, usual.window)?;
    let biases = Biases { query_key_value: true, ..Biases::default() };
    Ok(ModelSpec { biases, local, ..spec })
}

/// Returns the sliding windows of a Qwen, if it uses them.
///
/// Those of a model without experts are in the blocks that `layer_types` lists, or without it in
/// those from `max_window_layers` on. With experts they are in all blocks, whatever the two say:
/// `Qwen3MoeModel` of transformers reads neither, and has one mask for all blocks.
pub(super) fn qwen_windows(
    config: &HfConfig,
    spec: &ModelSpec,
    default: Option<u32>,
) -> Result<Option<LocalAttention>, ImportError> {
    if !config.flag("use_sliding_window", false)? {
        return Ok(None);
    }
    if spec.experts.is_some() {
        let window = window(config, spec, default)?;
        return Ok(window.map(|window| LocalAttention { window, period: 1, layers: 1 }));
    }
    let global = match config.map.get("max_window_layers") {
        // A number of blocks, which may be 0.
        Some(value) if !value.is_null() => {
            value.as_u64().ok_or_else(|| config.refuse(format!("max_window_layers is {value}")))?
        }
        _ => 28,
    };
    windows(config, spec, default, |block| block as u64 >= global)
}

/// Returns the specification of a Phi-3 or Phi-4: a LLaMA with fused projections.
pub(super) fn phi3(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::PHI_3;
    let spec = blocks(config, &usual)?;
    Ok(ModelSpec { local: windows(config, &spec, usual.window, |_| true)?, ..spec })
}

/// Returns the specification of a Phi-1 or Phi-2: blocks of GPT-J with biases everywhere.
pub(super) fn phi(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    config.refuse_true("qk_layernorm")?;
    let usual = hf_defaults::PHI;
    Ok(ModelSpec {
        activation: config.activation("hidden_act", Some("gelu_new"))?,
        gated: false,
        norm: Norm::Layer { epsilon: config.epsilon("layer_norm_eps", usual.epsilon)? },
        parallel: true,
        biases: Biases {
            query_key_value: true,
            attention_output: true,
            feed_forward: true,
            head: true,
        },
        ..blocks(config, &usual)?
    })
}

/// Returns the specification of a StableLM: a LLaMA with LayerNorm that rotates a part of each
/// head.
pub(super) fn stablelm(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    config.refuse_true("qk_layernorm")?;
    let query_key_value = config.flag("use_qkv_bias", false)?;
    let usual = hf_defaults::STABLELM;
    Ok(ModelSpec {
        norm: Norm::Layer { epsilon: config.epsilon("layer_norm_eps", usual.epsilon)? },
        parallel: config.flag("use_parallel_residual", false)?,
        biases: Biases { query_key_value, ..Biases::default() },
        ..blocks(config, &usual)?
    })
}

/// Returns the specification of a StarCoder2: rotated GPT-2 blocks that group keys and values.
pub(super) fn starcoder2(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::STARCODER_2;
    let spec = blocks(config, &usual)?;
    let bias = config.flag("use_bias", true)?;
    Ok(ModelSpec {
        activation: config.activation("hidden_act", Some("gelu_pytorch_tanh"))?,
        gated: false,
        norm: Norm::Layer { epsilon: config.epsilon("norm_epsilon", usual.epsilon)? },
        local: windows(config, &spec, usual.window, |_| true)?,
        biases: Biases {
            query_key_value: bias,
            attention_output: bias,
            feed_forward: bias,
            head: false,
        },
        tied: config.flag("tie_word_embeddings", true)?,
        ..spec
    })
}

/// Returns the specification of a StarCoder or SantaCoder: a GPT-2 with one key and value for all
/// heads.
pub(super) fn gpt_bigcode(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    if !config.flag("multi_query", true)? {
        return Err(config.unsupported(
            "queries, keys, and values by turns (multi_query false)".into(),
            "take a model with multi_query",
        ));
    }
    let spec = gpt2(config)?;
    let activation = config.activation("activation_function", Some("gelu_pytorch_tanh"))?;
    Ok(ModelSpec { key_value_heads: 1, activation, ..spec })
}

/// Returns the parts of a LLaMA that the families after it share. There is no bias.
pub(super) fn blocks(config: &HfConfig, usual: &Defaults) -> Result<ModelSpec, ImportError> {
    let (width, heads) =
        (config.size("hidden_size", None)?, config.size("num_attention_heads", None)?);
    let share = width.checked_div(heads);
    let head_size = config.size("head_dim", usual.head_size.or(share))?;
    if config.is_missing("head_dim")
        && usual.head_size.is_none()
        && head_size.saturating_mul(heads) != width
    {
        return Err(config.refuse(format!(
            "hidden_size {width} is not a multiple of num_attention_heads {heads}"
        )));
    }
    let head_size = config.narrow("head_dim", head_size)?;
    let rope = Rope::new(config, &usual.rope, head_size)?;
    // A null stands for all heads, as in configs from before they were grouped.
    let default = match config.map.get("num_key_value_heads") {
        Some(Value::Null) => heads,
        _ => usual.key_value_heads.unwrap_or(heads),
    };
    Ok(ModelSpec {
        vocabulary: config.size("vocab_size", None)?,
        width,
        layers: config.narrow("num_hidden_layers", config.size("num_hidden_layers", None)?)?,
        heads: config.narrow("num_attention_heads", heads)?,
        key_value_heads: config
            .narrow("num_key_value_heads", config.size("num_key_value_heads", Some(default))?)?,
        head_size,
        feed_forward: config.size("intermediate_size", None)?,
        context: rope.context_within(config.size("max_position_embeddings", None)?),
        activation: config.activation("hidden_act", Some("silu"))?,
        gated: true,
        norm: Norm::Rms { epsilon: config.epsilon("rms_norm_eps", usual.epsilon)? },
        positions: PositionEncoding::Rotary {
            dimensions: rope.dimensions,
            base: rope.base,
            interleaved: false,
        },
        local: None,
        scaled: true,
        parallel: false,
        biases: Biases::default(),
        tied: config.flag("tie_word_embeddings", false)?,
        experts: None,
        mind: Mind::default(),
        scaling: rope.scaling,
        other_rotation: None,
        query_key_norm: None,
        norms: NormPlacement::Before,
        caps: SoftCaps::default(),
    })
}

/// Returns the sliding windows of a model: of the blocks that `layer_types` lists, or without it of
/// those that `is_local` has. `default` is the window where the config does not say one.
pub(super) fn windows(
    config: &HfConfig,
    spec: &ModelSpec,
    default: Option<u32>,
    is_local: impl Fn(usize) -> bool,
) -> Result<Option<LocalAttention>, ImportError> {
    let Some(window) = window(config, spec, default)? else { return Ok(None) };
    local_blocks(config, &sliding_blocks(config, spec.layers, is_local)?, window)
}

/// Returns the size of the windows of a model, unless they hide nothing. `default` is the window
/// where the config does not say one.
fn window(
    config: &HfConfig,
    spec: &ModelSpec,
    default: Option<u32>,
) -> Result<Option<u32>, ImportError> {
    let window = match config.map.get("sliding_window") {
        Some(Value::Null) => return Ok(None),
        None if default.is_none() => return Ok(None),
        _ => config.size("sliding_window", default)?,
    };
    // A window as long as the context hides nothing.
    Ok(Some(window).filter(|&window| window < spec.context))
}

/// Returns `true` for each block that `layer_types` says to have a window, or without it for those
/// that `is_local` has.
pub(super) fn sliding_blocks(
    config: &HfConfig,
    layers: u16,
    is_local: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, ImportError> {
    let layers = usize::from(layers);
    let Some(types) = config.map.get("layer_types").filter(|types| !types.is_null()) else {
        return Ok((0..layers).map(is_local).collect());
    };
    let kind = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Some(false),
        Some("sliding_attention") => Some(true),
        _ => None,
    };
    let listed = types.as_array().filter(|types| types.len() == layers);
    listed.and_then(|types| types.iter().map(kind).collect()).ok_or_else(|| {
        config.refuse(format!(
            "layer_types does not say \"full_attention\" or \"sliding_attention\" of each of the \
             {layers} blocks"
        ))
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
