// SPDX-License-Identifier: Apache-2.0

//! Specifications of families whose blocks differ from LLaMA's in the places of norms, in
//! positions, or in bounds.

use super::{
    hf_config::HfConfig,
    hf_defaults::{self, Defaults},
    hf_families::{blocks, pattern, qwen_windows, sliding_blocks, windows},
    hf_rope::Rope,
};
use crate::{ImportError, mapping::Factors};
use pol_primitives::model::{
    Activation, Biases, Experts, ModelSpec, Norm, NormPlacement, OtherRotation, PositionEncoding,
    QueryKeyNorm, RotaryBase, SoftCaps,
};
use serde_json::Value;

/// Returns the specification of a Qwen3: a Qwen2 with norms of queries and keys in place of biases.
pub(super) fn qwen_3(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    qwen_3_with(config, &hf_defaults::QWEN_3, None)
}

/// Returns the specification of a Qwen3 with these defaults and, if there are any, experts.
pub(super) fn qwen_3_with(
    config: &HfConfig,
    usual: &Defaults,
    experts: Option<Experts>,
) -> Result<ModelSpec, ImportError> {
    let spec = ModelSpec { experts, ..blocks(config, usual)? };
    Ok(ModelSpec {
        biases: attention_biases(config)?,
        local: qwen_windows(config, &spec, usual.window)?,
        query_key_norm: Some(QueryKeyNorm::Head),
        ..spec
    })
}

/// Returns the specification of a SmolLM3: a LLaMA that does not rotate every fourth block.
pub(super) fn smollm_3(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::SMOLLM_3;
    let spec = blocks(config, &usual)?;
    let layers = usize::from(spec.layers);
    let unrotated: Vec<bool> = match config.map.get("no_rope_layers").filter(|it| !it.is_null()) {
        // A 0 stands for a block that is not rotated.
        Some(listed) => {
            let kinds = listed.as_array().filter(|kinds| kinds.len() >= layers);
            let kind = |kind: &Value| kind.as_u64().filter(|&kind| kind < 2).map(|kind| kind == 0);
            let kinds = kinds.and_then(|kinds| kinds[..layers].iter().map(kind).collect());
            kinds.ok_or_else(|| {
                config.refuse(format!(
                    "no_rope_layers does not say 0 or 1 of each of the {layers} blocks"
                ))
            })?
        }
        None => {
            let interval = config.size("no_rope_layer_interval", Some(4))? as usize;
            (1..=layers).map(|block| block.is_multiple_of(interval)).collect()
        }
    };
    let local = if config.flag("use_sliding_window", false)? {
        windows(config, &spec, usual.window, |block| unrotated[block])?
    } else {
        None
    };
    let other = pattern(config, &unrotated)?;
    let feed_forward = config.flag("mlp_bias", false)?;
    Ok(ModelSpec {
        biases: Biases { feed_forward, ..attention_biases(config)? },
        local,
        other_rotation: other.map(|(period, layers)| OtherRotation { period, layers, base: None }),
        tied: config.flag("tie_word_embeddings", true)?,
        ..spec
    })
}

/// Returns the specification of an OLMo 2: a LLaMA with norms behind its sublayers, and of queries
/// and keys.
pub(super) fn olmo_2(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    Ok(ModelSpec {
        biases: attention_biases(config)?,
        query_key_norm: Some(QueryKeyNorm::Whole),
        norms: NormPlacement::After,
        ..blocks(config, &hf_defaults::OLMO_2)?
    })
}

/// Returns the specification of a Gemma 2: a Gemma with norms around its sublayers, bounds, and
/// windows by turns.
pub(super) fn gemma_2(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::GEMMA_2;
    let spec = gemma(config, &usual)?;
    let caps = SoftCaps {
        attention: cap(config, "attn_logit_softcapping", Some(50.0))?,
        logits: cap(config, "final_logit_softcapping", Some(30.0))?,
    };
    Ok(ModelSpec {
        local: windows(config, &spec, usual.window, |block| block.is_multiple_of(2))?,
        caps,
        ..spec
    })
}

/// Returns the specification of a Gemma 3: a Gemma 2 with norms of queries and keys, whose blocks
/// with windows have a rotation of their own.
pub(super) fn gemma_3(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::GEMMA_3;
    let spec = gemma(config, &usual)?;
    let interval = config.size("sliding_window_pattern", Some(6))? as usize;
    let is_local = |block: usize| !(block + 1).is_multiple_of(interval);
    let rope = Rope::new(config, &hf_defaults::GEMMA_3_SLIDING, spec.head_size)?;
    let base = RotaryBase { base: rope.base, scaling: rope.scaling };
    let spec = ModelSpec { context: rope.context_within(spec.context), ..spec };
    let other = pattern(config, &sliding_blocks(config, spec.layers, is_local)?)?;
    // The reference has a bound of scores too, and does not apply it.
    let caps = SoftCaps { attention: None, logits: cap(config, "final_logit_softcapping", None)? };
    Ok(ModelSpec {
        local: windows(config, &spec, usual.window, is_local)?,
        other_rotation: other.map(|(period, layers)| OtherRotation {
            period,
            layers,
            base: Some(base),
        }),
        query_key_norm: Some(QueryKeyNorm::Head),
        caps,
        ..spec
    })
}

/// Returns the parts that Gemma 2 and 3 have in common.
fn gemma(config: &HfConfig, usual: &Defaults) -> Result<ModelSpec, ImportError> {
    config.refuse_true("use_bidirectional_attention")?;
    Ok(ModelSpec {
        activation: config.activation("hidden_activation", Some("gelu_pytorch_tanh"))?,
        biases: attention_biases(config)?,
        norms: NormPlacement::Around,
        tied: config.flag("tie_word_embeddings", true)?,
        ..blocks(config, usual)?
    })
}

/// Returns the factors of a Gemma 2 or 3.
pub(super) fn gemma_2_factors(config: &HfConfig) -> Result<Factors, ImportError> {
    let width = config.size("hidden_size", None)?;
    let head_size = config.size("head_dim", Some(256))?;
    let scale = config.factor("query_pre_attn_scalar")?.unwrap_or(256.0);
    Ok(Factors {
        embedding: f64::from(width).sqrt() as f32,
        query: (f64::from(head_size) / scale).sqrt() as f32,
        norm: 1.0,
        ..Factors::default()
    })
}

/// Returns a bound in thousandths: `usual` where the config does not say one.
fn cap(config: &HfConfig, key: &str, usual: Option<f64>) -> Result<Option<u32>, ImportError> {
    let bound = match config.map.get(key) {
        None => usual,
        Some(_) => config.factor(key)?,
    };
    let thousandths = |bound: f64| {
        let thousandths = (bound * f64::from(SoftCaps::UNIT)).round();
        (thousandths <= 1e9).then_some(thousandths as u32)
    };
    let too_large = || config.refuse(format!("{key} is beyond 1,000,000, which bounds nothing"));
    bound.map(|bound| thousandths(bound).ok_or_else(too_large)).transpose()
}

/// Returns the specification of a GPT-NeoX or Pythia: parallel sublayers with norms of their own.
pub(super) fn gpt_neox(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let usual = hf_defaults::GPT_NEOX;
    let parallel = config.flag("use_parallel_residual", true)?;
    let bias = config.flag("attention_bias", true)?;
    Ok(ModelSpec {
        activation: config.activation("hidden_act", Some("gelu"))?,
        gated: false,
        norm: Norm::Layer { epsilon: config.epsilon("layer_norm_eps", usual.epsilon)? },
        parallel,
        norms: if parallel { NormPlacement::Apart } else { NormPlacement::Before },
        biases: Biases {
            query_key_value: bias,
            attention_output: bias,
            feed_forward: true,
            head: false,
        },
        ..blocks(config, &usual)?
    })
}

/// Returns the specification of a Falcon: parallel sublayers with one norm, or with one each.
pub(super) fn falcon(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    if config.flag("alibi", false)? {
        return Err(config.unsupported(
            "biases of attention by distance (alibi)".into(),
            "take a model that rotates",
        ));
    }
    let (width, heads) =
        (config.size("hidden_size", None)?, config.size("num_attention_heads", None)?);
    if width.checked_rem(heads) != Some(0) {
        return Err(
            config.refuse(format!("hidden_size {width} is not a multiple of the {heads} heads"))
        );
    }
    let (layers, heads) = (
        config.narrow("num_hidden_layers", config.size("num_hidden_layers", None)?)?,
        config.narrow("num_attention_heads", heads)?,
    );
    let spec = ModelSpec::gpt2(
        config.size("vocab_size", None)?,
        width,
        layers,
        heads,
        config.size("ffn_hidden_size", Some(width.saturating_mul(4)))?,
        config.size("max_position_embeddings", Some(2_048))?,
    );
    let later = config.flag("new_decoder_architecture", false)?;
    let parallel = config.flag("parallel_attn", true)?;
    if later && !parallel {
        return Err(config.unsupported(
            "sublayers by turns in the new architecture (parallel_attn false)".into(),
            "take another model of the family",
        ));
    }
    let key_value_heads = match (later, config.flag("multi_query", true)?) {
        (true, _) => config.size("num_kv_heads", Some(heads.into()))?,
        (false, true) => 1,
        (false, false) => heads.into(),
    };
    let apart = later && config.size("num_ln_in_parallel_attn", Some(2))? == 2;
    let usual = hf_defaults::FALCON;
    let rope = Rope::new(config, &usual.rope, spec.head_size)?;
    let bias = config.flag("bias", false)?;
    Ok(ModelSpec {
        key_value_heads: config.narrow("num_kv_heads", key_value_heads)?,
        activation: config.activation("activation", Some("gelu"))?,
        norm: Norm::Layer { epsilon: config.epsilon("layer_norm_epsilon", usual.epsilon)? },
        positions: PositionEncoding::Rotary {
            dimensions: rope.dimensions,
            base: rope.base,
            interleaved: false,
        },
        scaling: rope.scaling,
        context: rope.context_within(spec.context),
        parallel,
        norms: if apart { NormPlacement::Apart } else { NormPlacement::Before },
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

/// Returns the specification of an OPT: a GPT-2 with ReLU, and two positions that stand for
/// nothing.
pub(super) fn opt(config: &HfConfig) -> Result<ModelSpec, ImportError> {
    let needs_true = |key: &str| match config.flag(key, true)? {
        true => Ok(()),
        false => Err(config.unsupported(format!("{key} false"), "take a model with it")),
    };
    needs_true("do_layer_norm_before")?;
    needs_true("layer_norm_elementwise_affine")?;
    config.refuse_true("_remove_final_layer_norm")?;
    let width = config.size("hidden_size", None)?;
    if config.size("word_embed_proj_dim", Some(width))? != width {
        return Err(config.unsupported(
            "embeddings of another width (word_embed_proj_dim)".into(),
            "take another model of the family",
        ));
    }
    let heads = config.size("num_attention_heads", None)?;
    if width.checked_rem(heads) != Some(0) {
        return Err(
            config.refuse(format!("hidden_size {width} is not a multiple of the {heads} heads"))
        );
    }
    let spec = ModelSpec::gpt2(
        config.size("vocab_size", None)?,
        width,
        config.narrow("num_hidden_layers", config.size("num_hidden_layers", None)?)?,
        config.narrow("num_attention_heads", heads)?,
        config.size("ffn_dim", None)?,
        config.size("max_position_embeddings", None)?,
    );
    let bias = config.flag("enable_bias", true)?;
    Ok(ModelSpec {
        activation: match config.map.get("activation_function") {
            None => Activation::Relu,
            Some(_) => config.activation("activation_function", None)?,
        },
        positions: PositionEncoding::Learned,
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

/// Returns the biases of a family that has them in all projections of attention or in none.
fn attention_biases(config: &HfConfig) -> Result<Biases, ImportError> {
    let bias = config.flag("attention_bias", false)?;
    Ok(Biases { query_key_value: bias, attention_output: bias, ..Biases::default() })
}
