//! What `config.json` says of the model in a Hugging Face folder.

use crate::{
    ImportError,
    mapping::{Dialect, same, turned},
};
use pol_primitives::model::{Activation, Biases, Local, ModelSpec, Norm, Positions};
use serde_json::{Map, Value};

/// Buffers that older checkpoints store although they follow from the description.
const MASKS: &[(&str, &str)] = &[
    (".attn.bias", "a causal mask, which is computed"),
    (".attn.masked_bias", "the value of a mask, which is computed"),
    (".attn.attention.bias", "a causal mask, which is computed"),
    (".attn.attention.masked_bias", "the value of a mask, which is computed"),
    (".attn.embed_positions", "angles of the rotation, which are computed"),
    (".rotary_emb.inv_freq", "angles of the rotation, which are computed"),
];

/// GPT-2 and DialoGPT: the canonical names and layouts are theirs.
const GPT_2: Dialect = Dialect {
    family: "gpt2",
    prefix: "transformer.",
    rules: &[
        same("wte.weight", &["wte.weight"]),
        same("wpe.weight", &["wpe.weight"]),
        same("h.*.ln_1.weight", &["h.*.ln_1.weight"]),
        same("h.*.ln_1.bias", &["h.*.ln_1.bias"]),
        same("h.*.attn.c_attn.weight", &["h.*.attn.c_attn.weight"]),
        same("h.*.attn.c_attn.bias", &["h.*.attn.c_attn.bias"]),
        same("h.*.attn.c_proj.weight", &["h.*.attn.c_proj.weight"]),
        same("h.*.attn.c_proj.bias", &["h.*.attn.c_proj.bias"]),
        same("h.*.ln_2.weight", &["h.*.ln_2.weight"]),
        same("h.*.ln_2.bias", &["h.*.ln_2.bias"]),
        same("h.*.mlp.c_fc.weight", &["h.*.mlp.c_fc.weight"]),
        same("h.*.mlp.c_fc.bias", &["h.*.mlp.c_fc.bias"]),
        same("h.*.mlp.c_proj.weight", &["h.*.mlp.c_proj.weight"]),
        same("h.*.mlp.c_proj.bias", &["h.*.mlp.c_proj.bias"]),
        same("ln_f.weight", &["ln_f.weight"]),
        same("ln_f.bias", &["ln_f.bias"]),
        same("lm_head.weight", &["lm_head.weight"]),
    ],
    head: "lm_head.weight",
    left: MASKS,
    interleaved: false,
};

const GPT_NEO: Dialect = Dialect {
    family: "gpt_neo",
    prefix: "transformer.",
    rules: &[
        same("wte.weight", &["wte.weight"]),
        same("wpe.weight", &["wpe.weight"]),
        same("h.*.ln_1.weight", &["h.*.ln_1.weight"]),
        same("h.*.ln_1.bias", &["h.*.ln_1.bias"]),
        turned(
            "h.*.attn.c_attn.weight",
            &[
                "h.*.attn.attention.q_proj.weight",
                "h.*.attn.attention.k_proj.weight",
                "h.*.attn.attention.v_proj.weight",
            ],
        ),
        turned("h.*.attn.c_proj.weight", &["h.*.attn.attention.out_proj.weight"]),
        same("h.*.attn.c_proj.bias", &["h.*.attn.attention.out_proj.bias"]),
        same("h.*.ln_2.weight", &["h.*.ln_2.weight"]),
        same("h.*.ln_2.bias", &["h.*.ln_2.bias"]),
        turned("h.*.mlp.c_fc.weight", &["h.*.mlp.c_fc.weight"]),
        same("h.*.mlp.c_fc.bias", &["h.*.mlp.c_fc.bias"]),
        turned("h.*.mlp.c_proj.weight", &["h.*.mlp.c_proj.weight"]),
        same("h.*.mlp.c_proj.bias", &["h.*.mlp.c_proj.bias"]),
        same("ln_f.weight", &["ln_f.weight"]),
        same("ln_f.bias", &["ln_f.bias"]),
        same("lm_head.weight", &["lm_head.weight"]),
    ],
    head: "lm_head.weight",
    left: MASKS,
    interleaved: false,
};

const GPT_J: Dialect = Dialect {
    family: "gptj",
    prefix: "transformer.",
    rules: &[
        same("wte.weight", &["wte.weight"]),
        same("h.*.ln_1.weight", &["h.*.ln_1.weight"]),
        same("h.*.ln_1.bias", &["h.*.ln_1.bias"]),
        turned(
            "h.*.attn.c_attn.weight",
            &["h.*.attn.q_proj.weight", "h.*.attn.k_proj.weight", "h.*.attn.v_proj.weight"],
        ),
        turned("h.*.attn.c_proj.weight", &["h.*.attn.out_proj.weight"]),
        turned("h.*.mlp.c_fc.weight", &["h.*.mlp.fc_in.weight"]),
        same("h.*.mlp.c_fc.bias", &["h.*.mlp.fc_in.bias"]),
        turned("h.*.mlp.c_proj.weight", &["h.*.mlp.fc_out.weight"]),
        same("h.*.mlp.c_proj.bias", &["h.*.mlp.fc_out.bias"]),
        same("ln_f.weight", &["ln_f.weight"]),
        same("ln_f.bias", &["ln_f.bias"]),
        same("lm_head.weight", &["lm_head.weight"]),
        same("lm_head.bias", &["lm_head.bias"]),
    ],
    head: "lm_head.weight",
    left: MASKS,
    interleaved: false,
};

const LLAMA: Dialect = Dialect {
    family: "llama",
    prefix: "model.",
    rules: &[
        same("wte.weight", &["embed_tokens.weight"]),
        same("h.*.ln_1.weight", &["layers.*.input_layernorm.weight"]),
        turned(
            "h.*.attn.c_attn.weight",
            &[
                "layers.*.self_attn.q_proj.weight",
                "layers.*.self_attn.k_proj.weight",
                "layers.*.self_attn.v_proj.weight",
            ],
        ),
        same(
            "h.*.attn.c_attn.bias",
            &[
                "layers.*.self_attn.q_proj.bias",
                "layers.*.self_attn.k_proj.bias",
                "layers.*.self_attn.v_proj.bias",
            ],
        ),
        turned("h.*.attn.c_proj.weight", &["layers.*.self_attn.o_proj.weight"]),
        same("h.*.attn.c_proj.bias", &["layers.*.self_attn.o_proj.bias"]),
        same("h.*.ln_2.weight", &["layers.*.post_attention_layernorm.weight"]),
        turned("h.*.mlp.c_gate.weight", &["layers.*.mlp.gate_proj.weight"]),
        same("h.*.mlp.c_gate.bias", &["layers.*.mlp.gate_proj.bias"]),
        turned("h.*.mlp.c_fc.weight", &["layers.*.mlp.up_proj.weight"]),
        same("h.*.mlp.c_fc.bias", &["layers.*.mlp.up_proj.bias"]),
        turned("h.*.mlp.c_proj.weight", &["layers.*.mlp.down_proj.weight"]),
        same("h.*.mlp.c_proj.bias", &["layers.*.mlp.down_proj.bias"]),
        same("ln_f.weight", &["norm.weight"]),
        same("lm_head.weight", &["lm_head.weight"]),
    ],
    head: "lm_head.weight",
    left: MASKS,
    interleaved: false,
};

/// Numbers of tokens with a meaning of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SpecialTokens {
    /// What a text begins with, if it was trained so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<u32>,
    /// Where the model means its text to end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end: Vec<u32>,
    /// How a conversation is written for it, a Jinja template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// A description read to its end: the architecture, how the family names its tensors, its special
/// tokens.
pub(super) struct Described {
    pub spec: ModelSpec,
    pub dialect: &'static Dialect,
    pub special: SpecialTokens,
}

/// Reads `json`, the contents of the config at `from`.
pub(super) fn read(json: &[u8], from: &str) -> Result<Described, ImportError> {
    let map: Map<String, Value> =
        serde_json::from_slice(json).map_err(|error| ImportError::Config {
            from: from.to_owned(),
            reason: format!("it is not a JSON object: {error}"),
        })?;
    let config = Config { map: &map, from };
    let (spec, dialect) = match config.text("model_type")? {
        Some("gpt2") => (gpt2(&config)?, &GPT_2),
        Some("gpt_neo") => (gpt_neo(&config)?, &GPT_NEO),
        Some("gptj") => (gptj(&config)?, &GPT_J),
        Some("llama") => (llama(&config)?, &LLAMA),
        Some(other) => {
            let advice = "the families that can be imported are gpt2 (DialoGPT too), gpt_neo, gptj and llama";
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
        begin: ids(&map, "bos_token_id").first().copied(),
        end: ids(&map, "eos_token_id"),
        template: None,
    };
    Ok(Described { spec, dialect, special })
}

/// The tokens, none, one or several, under `key`.
pub(super) fn ids(map: &Map<String, Value>, key: &str) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match map.get(key) {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => Vec::from_iter(id(value)),
        None => Vec::new(),
    }
}

fn gpt2(config: &Config) -> Result<ModelSpec, ImportError> {
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
        ..sizes.gpt2(config)?
    })
}

fn gpt_neo(config: &Config) -> Result<ModelSpec, ImportError> {
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
        ..sizes.gpt2(config)?
    })
}

/// Which blocks of a GPT-Neo are local. `attention_types` is a list of patterns and how often each
/// is repeated.
fn local(config: &Config, layers: u16) -> Result<Option<Local>, ImportError> {
    let wrong = || {
        config
            .refuse("attention_types is not a list such as [[[\"global\", \"local\"], 12]]".into())
    };
    let listed = match config.map.get("attention_layers").filter(|value| !value.is_null()) {
        Some(value) => value.as_array().ok_or_else(wrong)?.clone(),
        None => {
            let mut all = Vec::new();
            for types in
                config.map.get("attention_types").and_then(Value::as_array).ok_or_else(wrong)?
            {
                let pair = types.as_array().map(Vec::as_slice).unwrap_or_default();
                let [Value::Array(pattern), times] = pair else { return Err(wrong()) };
                for _ in 0..times
                    .as_u64()
                    .filter(|&times| times <= u64::from(layers))
                    .ok_or_else(wrong)?
                {
                    all.extend_from_slice(pattern);
                    if all.len() > usize::from(layers) {
                        return Err(config.refuse(format!(
                            "attention_types names more than the {layers} blocks of num_layers"
                        )));
                    }
                }
            }
            all
        }
    };
    if listed.len() != usize::from(layers) {
        return Err(config.refuse(format!(
            "attention_types names {} blocks, num_layers {layers}",
            listed.len()
        )));
    }
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
    Ok(Some(Local { window: config.size("window_size", Some(256))?, period: period as u8, layers }))
}

fn gptj(config: &Config) -> Result<ModelSpec, ImportError> {
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
        positions: Positions::Rotary { dimensions, base: 10_000, interleaved: true },
        parallel: true,
        biases: Biases {
            query_key_value: false,
            attention_output: false,
            feed_forward: true,
            head: true,
        },
        tied,
        ..sizes.gpt2(config)?
    })
}

fn llama(config: &Config) -> Result<ModelSpec, ImportError> {
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
        positions: Positions::Rotary { dimensions: head_size, base: rope, interleaved: false },
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
        mind: pol_primitives::model::Mind::default(),
    })
}

/// The base of the rotation. Newer configs say it in `rope_parameters`, older ones in `rope_theta`
/// and `rope_scaling`.
fn rope(config: &Config) -> Result<u32, ImportError> {
    let mut theta = config.map.get("rope_theta");
    for key in ["rope_parameters", "rope_scaling"] {
        let parameters = match config.map.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(parameters)) => parameters,
            Some(other) => return Err(config.refuse(format!("{key} is {other}, not an object"))),
        };
        let kind = parameters
            .get("rope_type")
            .or_else(|| parameters.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default");
        if kind != "default" {
            let advice =
                "take a model without it, or its version of before the context was lengthened";
            return Err(
                config.unsupported(format!("rope scaling of type '{kind}' ({key})"), advice)
            );
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
    whole_base(base).ok_or_else(|| {
        config.refuse(format!("rope_theta is {theta:?}, not a whole number of at least 2"))
    })
}

/// A base of rotary positions as the specification has it.
pub(super) fn whole_base(base: Option<f64>) -> Option<u32> {
    base.filter(|base| base.fract() == 0.0 && (2.0..4e9).contains(base)).map(|base| base as u32)
}

/// `epsilon` in billionths, where those say it.
pub(super) fn billionths(epsilon: f64) -> Option<u32> {
    let rounded = (epsilon * 1e9).round();
    // A float32 that was written in decimal is off by up to 6e-8 of itself.
    ((1.0..=1e9).contains(&rounded) && (rounded / 1e9 - epsilon).abs() <= epsilon * 1e-6)
        .then_some(rounded as u32)
}

/// The function that a name stands for.
pub(super) fn activation(name: &str) -> Option<Activation> {
    match name {
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
        "gelu" => Some(Activation::Gelu),
        "silu" | "swish" => Some(Activation::Silu),
        _ => None,
    }
}

/// The sizes that GPT-2's relatives have in common.
struct Sizes {
    vocabulary: u32,
    width: u32,
    layers: u32,
    heads: u32,
    feed_forward: u32,
    context: u32,
}

impl Sizes {
    fn gpt2(&self, config: &Config) -> Result<ModelSpec, ImportError> {
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

/// A config under reading.
struct Config<'a> {
    map: &'a Map<String, Value>,
    from: &'a str,
}

impl Config<'_> {
    fn refuse(&self, reason: String) -> ImportError {
        ImportError::Config { from: self.from.to_owned(), reason }
    }

    fn unsupported(&self, what: String, advice: &'static str) -> ImportError {
        ImportError::Unsupported { from: self.from.to_owned(), what, advice }
    }

    fn is_missing(&self, key: &str) -> bool {
        self.map.get(key).is_none_or(Value::is_null)
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ImportError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.refuse(format!("{key} is {other}, not a string"))),
        }
    }

    /// A positive number; `default` where there is none.
    fn size(&self, key: &str, default: Option<u32>) -> Result<u32, ImportError> {
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

    fn narrow(&self, key: &str, size: u32) -> Result<u16, ImportError> {
        u16::try_from(size)
            .map_err(|_| self.refuse(format!("{key} is {size}, beyond what a model can have")))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, ImportError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.refuse(format!("{key} is {other}, neither true nor false"))),
        }
    }

    fn refuse_true(&self, key: &str) -> Result<(), ImportError> {
        if self.flag(key, false)? {
            return Err(
                self.unsupported(key.to_owned(), "take a model that was trained without it")
            );
        }
        Ok(())
    }

    fn epsilon(&self, key: &str, default: f64) -> Result<u32, ImportError> {
        let value = match self.map.get(key) {
            None | Some(Value::Null) => default,
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.refuse(format!("{key} is {value}, not a number")))?,
        };
        billionths(value)
            .ok_or_else(|| self.refuse(format!("{key} is {value}, not a multiple of a billionth")))
    }

    fn activation(&self, key: &str, default: Option<&str>) -> Result<Activation, ImportError> {
        let name = self.text(key)?.or(default).unwrap_or_default();
        activation(name).ok_or_else(|| {
            let advice = "the activations there are: gelu_new (gelu_fast, gelu_pytorch_tanh), gelu and silu (swish)";
            self.unsupported(format!("the activation '{name}'"), advice)
        })
    }
}
