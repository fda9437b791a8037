// SPDX-License-Identifier: Apache-2.0

//! Specifications as the configs of families.

use super::{
    hf_rope::{add_rotation, add_two_rotations},
    subject::{HalfRotation, Subject},
};
use pol_primitives::model::{
    Activation, Biases, ModelSpec, NormPlacement, PositionEncoding, RotaryScaling, ScalingRamp,
    SoftCaps,
};
use serde_json::{Map, Value, json};

type Config = Map<String, Value>;

/// Says a specification in the terms of a family, or returns `None` if it is of another kind.
type Family = fn(&Subject) -> Option<Config>;

/// Families in the order in which they are tried. Those that most programs know come first.
pub(super) const FAMILIES: &[Family] = &[
    gemma,
    llama,
    mistral,
    qwen2,
    qwen3,
    smollm3,
    olmo2,
    gemma2,
    gemma3,
    opt,
    gpt2,
    gpt_bigcode,
    gpt_neo,
    gptj,
    gpt_neox,
    falcon,
    phi,
    phi3,
    stablelm,
    starcoder2,
];

/// Merges the entries of an object.
fn with(mut config: Config, more: Value) -> Config {
    if let Value::Object(more) = more {
        config.extend(more);
    }
    config
}

fn new(model_type: &str, class: &str, more: Value) -> Config {
    let start = json!({"model_type": model_type, "architectures": [class]});
    with(with(Config::new(), start), more)
}

fn epsilon(spec: &ModelSpec) -> f64 {
    f64::from(spec.norm.epsilon()) / 1e9
}

/// Returns the name of the activation function.
fn activation(spec: &ModelSpec) -> &'static str {
    match spec.activation {
        Activation::GeluTanh => "gelu_pytorch_tanh",
        Activation::Gelu => "gelu",
        Activation::Silu => "silu",
        Activation::Relu => "relu",
    }
}

/// Returns the sizes of the families after LLaMA, and their rotation by halves.
fn blocks(subject: &Subject, model_type: &str, class: &str) -> Option<Config> {
    let (spec, rotation) = (&subject.spec, subject.rotation()?);
    let config = new(
        model_type,
        class,
        json!({
            "vocab_size": spec.vocabulary,
            "hidden_size": spec.width,
            "intermediate_size": spec.feed_forward,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "num_key_value_heads": spec.key_value_heads,
            "max_position_embeddings": spec.context,
            "hidden_act": activation(spec),
            "tie_word_embeddings": spec.tied,
        }),
    );
    add_rotation(config, &rotation, spec.context)
}

/// Returns the config of a family whose heads have a size of their own.
fn sized(subject: &Subject, model_type: &str, class: &str) -> Option<Config> {
    let spec = &subject.spec;
    let more = json!({"head_dim": spec.head_size, "rms_norm_eps": epsilon(spec)});
    Some(with(blocks(subject, model_type, class)?, more))
}

fn llama(subject: &Subject) -> Option<Config> {
    let biases = subject.spec.biases;
    let more = json!({"attention_bias": biases.query_key_value, "mlp_bias": biases.feed_forward});
    Some(with(sized(subject, "llama", "LlamaForCausalLM")?, more))
}

/// Returns the window of a family whose blocks all have one.
fn window_of_all(spec: &ModelSpec) -> Option<Value> {
    match spec.local {
        None => Some(Value::Null),
        Some(local) if local.period == 1 => Some(local.window.into()),
        Some(_) => None,
    }
}

fn mistral(subject: &Subject) -> Option<Config> {
    let more = json!({"sliding_window": window_of_all(&subject.spec)?});
    Some(with(sized(subject, "mistral", "MistralForCausalLM")?, more))
}

/// Returns the kind of attention of each block where `has_window` is not `true` of all.
fn layer_types(spec: &ModelSpec, has_window: impl Fn(u16) -> bool) -> Value {
    let kind = |block| if has_window(block) { "sliding_attention" } else { "full_attention" };
    (0..spec.layers).map(kind).collect()
}

/// Returns the windows of a family that lists its blocks and says that it uses them.
fn listed_windows(spec: &ModelSpec) -> Value {
    match spec.local {
        None => json!({"use_sliding_window": false, "sliding_window": null}),
        Some(local) => json!({
            "use_sliding_window": true,
            "sliding_window": local.window,
            "layer_types": layer_types(spec, |block| spec.window(block).is_some()),
        }),
    }
}

fn qwen2(subject: &Subject) -> Option<Config> {
    let config = sized(subject, "qwen2", "Qwen2ForCausalLM")?;
    let more = match subject.spec.local {
        None => json!({}),
        Some(_) => json!({"max_window_layers": 0}),
    };
    Some(with(with(config, listed_windows(&subject.spec)), more))
}

fn attention_bias(spec: &ModelSpec) -> Value {
    json!({"attention_bias": spec.biases.query_key_value})
}

fn qwen3(subject: &Subject) -> Option<Config> {
    let config = with(sized(subject, "qwen3", "Qwen3ForCausalLM")?, attention_bias(&subject.spec));
    Some(with(config, listed_windows(&subject.spec)))
}

fn smollm3(subject: &Subject) -> Option<Config> {
    let spec = &subject.spec;
    if spec.other_rotation.is_some_and(|other| other.base.is_some()) {
        return None;
    }
    let rotated: Vec<u8> =
        (0..spec.layers).map(|block| u8::from(!spec.has_other_rotation(block))).collect();
    let more = json!({"no_rope_layers": rotated, "mlp_bias": spec.biases.feed_forward});
    let config = with(sized(subject, "smollm3", "SmolLM3ForCausalLM")?, attention_bias(spec));
    Some(with(with(config, listed_windows(spec)), more))
}

fn olmo2(subject: &Subject) -> Option<Config> {
    Some(with(sized(subject, "olmo2", "Olmo2ForCausalLM")?, attention_bias(&subject.spec)))
}

/// Returns the config of a first Gemma, whose embedding is a multiple of the output projection. Any
/// other is a LLaMA.
fn gemma(subject: &Subject) -> Option<Config> {
    if !subject.multiple || subject.spec.biases != Biases::default() {
        return None;
    }
    sized(subject, "gemma", "GemmaForCausalLM")
}

/// Returns the parts that Gemma 2 and 3 have in common.
fn later_gemma(subject: &Subject, model_type: &str, class: &str) -> Option<Config> {
    let spec = &subject.spec;
    if spec.norms != NormPlacement::Around {
        return None;
    }
    let cap = |bound: Option<u32>| bound.map(|bound| f64::from(bound) / f64::from(SoftCaps::UNIT));
    let mut config = with(sized(subject, model_type, class)?, attention_bias(spec));
    config.remove("hidden_act");
    let more = json!({
        "hidden_activation": activation(spec),
        "query_pre_attn_scalar": spec.head_size,
        "final_logit_softcapping": cap(spec.caps.logits),
        "attn_logit_softcapping": cap(spec.caps.attention),
        // A window as long as the context hides nothing.
        "sliding_window": spec.local.map_or(spec.context, |local| local.window),
    });
    Some(with(config, more))
}

fn gemma2(subject: &Subject) -> Option<Config> {
    let spec = &subject.spec;
    let types = layer_types(spec, |block| spec.window(block).is_some());
    let config = later_gemma(subject, "gemma2", "Gemma2ForCausalLM")?;
    Some(with(config, json!({"layer_types": types})))
}

fn gemma3(subject: &Subject) -> Option<Config> {
    let spec = &subject.spec;
    let windows = |block| match spec.local {
        // Blocks of another rotation are those with windows, which hide nothing here.
        None => spec.has_other_rotation(block),
        Some(_) => spec.window(block).is_some(),
    };
    let mut config = later_gemma(subject, "gemma3_text", "Gemma3ForCausalLM")?;
    config.remove("attn_logit_softcapping");
    let most = subject.rotation()?;
    let other = match spec.other_rotation {
        None => subject.rotation()?,
        Some(other) => {
            let base = other.base?;
            HalfRotation { base: base.base, scaling: base.scaling, ..subject.rotation()? }
        }
    };
    config.insert("layer_types".into(), layer_types(spec, windows));
    add_two_rotations(config, &most, &other, spec.context)
}

/// Returns the config of a family with GPT-2's names of sizes.
fn gpt2_sizes(spec: &ModelSpec, model_type: &str, class: &str) -> Config {
    let more = json!({
        "vocab_size": spec.vocabulary,
        "n_embd": spec.width,
        "n_layer": spec.layers,
        "n_head": spec.heads,
        "n_inner": spec.feed_forward,
        "n_positions": spec.context,
        "activation_function": match spec.activation {
            Activation::GeluTanh => "gelu_new",
            _ => activation(spec),
        },
        "layer_norm_epsilon": epsilon(spec),
        "tie_word_embeddings": spec.tied,
    });
    new(model_type, class, more)
}

fn is_learned(subject: &Subject) -> bool {
    subject.spec.positions == PositionEncoding::Learned
}

fn gpt2(subject: &Subject) -> Option<Config> {
    let config = gpt2_sizes(&subject.spec, "gpt2", "GPT2LMHeadModel");
    let more = json!({"scale_attn_weights": subject.spec.scaled});
    is_learned(subject).then(|| with(config, more))
}

fn gpt_bigcode(subject: &Subject) -> Option<Config> {
    let config = gpt2_sizes(&subject.spec, "gpt_bigcode", "GPTBigCodeForCausalLM");
    let more = json!({"multi_query": true, "scale_attn_weights": subject.spec.scaled});
    is_learned(subject).then(|| with(config, more))
}

fn gpt_neo(subject: &Subject) -> Option<Config> {
    let spec = &subject.spec;
    let kind = |block| if spec.window(block).is_some() { "local" } else { "global" };
    let kinds: Vec<_> = (0..spec.layers).map(kind).collect();
    let more = json!({
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "num_layers": spec.layers,
        "num_heads": spec.heads,
        "intermediate_size": spec.feed_forward,
        "max_position_embeddings": spec.context,
        "activation_function": match spec.activation {
            Activation::GeluTanh => "gelu_new",
            _ => activation(spec),
        },
        "layer_norm_epsilon": epsilon(spec),
        "attention_types": [[kinds, 1]],
        "window_size": spec.local.map_or(256, |local| local.window),
        "tie_word_embeddings": spec.tied,
    });
    is_learned(subject).then(|| new("gpt_neo", "GPTNeoForCausalLM", more))
}

fn gptj(subject: &Subject) -> Option<Config> {
    let PositionEncoding::Rotary { dimensions, .. } = subject.spec.positions else { return None };
    let config = gpt2_sizes(&subject.spec, "gptj", "GPTJForCausalLM");
    Some(with(config, json!({"rotary_dim": dimensions})))
}

/// Returns the share of a head that is rotated, such that programs that round down get the same
/// number of dimensions.
fn rotated_share(subject: &Subject, rotation: &HalfRotation) -> f64 {
    let size = f64::from(subject.spec.head_size);
    let share = f64::from(rotation.dimensions) / size;
    let rounded = (size * share) as u16;
    if rounded == rotation.dimensions { share } else { share + 0.5 / size }
}

fn gpt_neox(subject: &Subject) -> Option<Config> {
    let (spec, rotation) = (&subject.spec, subject.rotation()?);
    let mut config = blocks(subject, "gpt_neox", "GPTNeoXForCausalLM")?;
    // The class has as many keys and values as queries.
    config.remove("num_key_value_heads");
    config.remove("rope_theta");
    let more = json!({
        "rotary_emb_base": rotation.base,
        "rotary_pct": rotated_share(subject, &rotation),
        "layer_norm_eps": epsilon(spec),
        "use_parallel_residual": spec.parallel,
        "attention_bias": spec.biases.query_key_value,
    });
    subject.heads_fill_width().then(|| with(config, more))
}

fn falcon(subject: &Subject) -> Option<Config> {
    let (spec, rotation) = (&subject.spec, subject.rotation()?);
    let apart = spec.norms == NormPlacement::Apart;
    let (one, all) = (spec.key_value_heads == 1, spec.key_value_heads == spec.heads);
    let later = apart || !(one || all);
    let config = new(
        "falcon",
        "FalconForCausalLM",
        json!({
            "vocab_size": spec.vocabulary,
            "hidden_size": spec.width,
            "ffn_hidden_size": spec.feed_forward,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "max_position_embeddings": spec.context,
            "activation": activation(spec),
            "layer_norm_epsilon": epsilon(spec),
            "alibi": false,
            "new_decoder_architecture": later,
            "num_kv_heads": spec.key_value_heads,
            "num_ln_in_parallel_attn": if apart { 2 } else { 1 },
            "multi_query": !later && one,
            "parallel_attn": spec.parallel,
            "bias": spec.biases.query_key_value,
            "tie_word_embeddings": spec.tied,
        }),
    );
    let mut config = add_rotation(config, &rotation, spec.context)?;
    if !later {
        config.remove("num_ln_in_parallel_attn");
    }
    Some(config)
}

/// Returns the config of an OPT where a GPT-2, which more programs know, is no choice.
fn opt(subject: &Subject) -> Option<Config> {
    let spec = &subject.spec;
    if !is_learned(subject) || (spec.activation != Activation::Relu && spec.biases.query_key_value)
    {
        return None;
    }
    let more = json!({
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "word_embed_proj_dim": spec.width,
        "ffn_dim": spec.feed_forward,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "max_position_embeddings": spec.context,
        "activation_function": activation(spec),
        "do_layer_norm_before": true,
        "enable_bias": spec.biases.query_key_value,
        "layer_norm_elementwise_affine": true,
        "tie_word_embeddings": spec.tied,
    });
    Some(new("opt", "OPTForCausalLM", more))
}

/// Returns the config of a family that rotates a part of each head.
fn partly_rotated(subject: &Subject, model_type: &str, class: &str) -> Option<Config> {
    let share = rotated_share(subject, &subject.rotation()?);
    let config = blocks(subject, model_type, class)?;
    let more = json!({"partial_rotary_factor": share, "layer_norm_eps": epsilon(&subject.spec)});
    subject.heads_fill_width().then(|| with(config, more))
}

fn phi(subject: &Subject) -> Option<Config> {
    let config = partly_rotated(subject, "phi", "PhiForCausalLM")?;
    Some(with(config, json!({"qk_layernorm": false})))
}

fn phi3(subject: &Subject) -> Option<Config> {
    let (spec, rotation) = (&subject.spec, subject.rotation()?);
    // The class in transformers knows no scaling but that by factors of each pair.
    let is_known = |scaling: RotaryScaling| {
        scaling.ramp == ScalingRamp::All && scaling.amplitude != RotaryScaling::AMPLITUDE_UNIT
    };
    (subject.heads_fill_width() && rotation.scaling.is_none_or(is_known)).then_some(())?;
    let more = json!({
        "original_max_position_embeddings": spec.context,
        "partial_rotary_factor": rotated_share(subject, &rotation),
        "rms_norm_eps": epsilon(spec),
        "sliding_window": window_of_all(spec)?,
    });
    Some(with(blocks(subject, "phi3", "Phi3ForCausalLM")?, more))
}

fn stablelm(subject: &Subject) -> Option<Config> {
    let more = json!({
        "use_qkv_bias": subject.spec.biases.query_key_value,
        "use_parallel_residual": subject.spec.parallel,
        "qk_layernorm": false,
    });
    Some(with(partly_rotated(subject, "stablelm", "StableLmForCausalLM")?, more))
}

fn starcoder2(subject: &Subject) -> Option<Config> {
    let spec = &subject.spec;
    let more = json!({
        "use_bias": spec.biases.query_key_value,
        "norm_epsilon": epsilon(spec),
        "sliding_window": window_of_all(spec)?,
    });
    let config = blocks(subject, "starcoder2", "Starcoder2ForCausalLM")?;
    subject.heads_fill_width().then(|| with(config, more))
}
