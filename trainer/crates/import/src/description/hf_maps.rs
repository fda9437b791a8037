// SPDX-License-Identifier: Apache-2.0

//! Tensor names of the families as transformers has them.

use crate::mapping::{
    TensorMap, TensorRule, by_head, identity, identity_from, transpose, transpose_experts,
    transpose_half, zeros,
};

/// Endings of buffers that older checkpoints store although they follow from the description, and
/// the reason to skip them.
const MASKS: &[(&str, &str)] = &[
    (".attn.bias", "a causal mask, which is computed"),
    (".attn.masked_bias", "the value of a mask, which is computed"),
    (".attention.bias", "a causal mask, which is computed"),
    (".attention.masked_bias", "the value of a mask, which is computed"),
    (".attn.embed_positions", "angles of the rotation, which are computed"),
    (".rotary_emb.inv_freq", "angles of the rotation, which are computed"),
    (".rotary_emb.cos_cached", "angles of the rotation, which are computed"),
    (".rotary_emb.sin_cached", "angles of the rotation, which are computed"),
];

/// Tensors of GPT-2 and DialoGPT. The canonical names and layouts are theirs.
pub(super) const GPT_2: TensorMap = TensorMap {
    family: "gpt2",
    prefix: "transformer.",
    rules: &[
        identity("wte.weight", &["wte.weight"]),
        identity("wpe.weight", &["wpe.weight"]),
        identity("h.*.ln_1.weight", &["h.*.ln_1.weight"]),
        identity("h.*.ln_1.bias", &["h.*.ln_1.bias"]),
        identity("h.*.attn.c_attn.weight", &["h.*.attn.c_attn.weight"]),
        identity("h.*.attn.c_attn.bias", &["h.*.attn.c_attn.bias"]),
        identity("h.*.attn.c_proj.weight", &["h.*.attn.c_proj.weight"]),
        identity("h.*.attn.c_proj.bias", &["h.*.attn.c_proj.bias"]),
        identity("h.*.ln_2.weight", &["h.*.ln_2.weight"]),
        identity("h.*.ln_2.bias", &["h.*.ln_2.bias"]),
        identity("h.*.mlp.c_fc.weight", &["h.*.mlp.c_fc.weight"]),
        identity("h.*.mlp.c_fc.bias", &["h.*.mlp.c_fc.bias"]),
        identity("h.*.mlp.c_proj.weight", &["h.*.mlp.c_proj.weight"]),
        identity("h.*.mlp.c_proj.bias", &["h.*.mlp.c_proj.bias"]),
        identity("ln_f.weight", &["ln_f.weight"]),
        identity("ln_f.bias", &["ln_f.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    own_rules: &[],
    head: "lm_head.weight",
    skipped: MASKS,
    interleaved: false,
};

/// Tensors of GPT-Neo.
pub(super) const GPT_NEO: TensorMap = TensorMap {
    family: "gpt_neo",
    prefix: "transformer.",
    rules: &[
        identity("wte.weight", &["wte.weight"]),
        identity("wpe.weight", &["wpe.weight"]),
        identity("h.*.ln_1.weight", &["h.*.ln_1.weight"]),
        identity("h.*.ln_1.bias", &["h.*.ln_1.bias"]),
        transpose(
            "h.*.attn.c_attn.weight",
            &[
                "h.*.attn.attention.q_proj.weight",
                "h.*.attn.attention.k_proj.weight",
                "h.*.attn.attention.v_proj.weight",
            ],
        ),
        transpose("h.*.attn.c_proj.weight", &["h.*.attn.attention.out_proj.weight"]),
        identity("h.*.attn.c_proj.bias", &["h.*.attn.attention.out_proj.bias"]),
        identity("h.*.ln_2.weight", &["h.*.ln_2.weight"]),
        identity("h.*.ln_2.bias", &["h.*.ln_2.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["h.*.mlp.c_fc.weight"]),
        identity("h.*.mlp.c_fc.bias", &["h.*.mlp.c_fc.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["h.*.mlp.c_proj.weight"]),
        identity("h.*.mlp.c_proj.bias", &["h.*.mlp.c_proj.bias"]),
        identity("ln_f.weight", &["ln_f.weight"]),
        identity("ln_f.bias", &["ln_f.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    own_rules: &[],
    head: "lm_head.weight",
    skipped: MASKS,
    interleaved: false,
};

/// Tensors of GPT-J.
pub(super) const GPT_J: TensorMap = TensorMap {
    family: "gptj",
    prefix: "transformer.",
    rules: &[
        identity("wte.weight", &["wte.weight"]),
        identity("h.*.ln_1.weight", &["h.*.ln_1.weight"]),
        identity("h.*.ln_1.bias", &["h.*.ln_1.bias"]),
        transpose(
            "h.*.attn.c_attn.weight",
            &["h.*.attn.q_proj.weight", "h.*.attn.k_proj.weight", "h.*.attn.v_proj.weight"],
        ),
        transpose("h.*.attn.c_proj.weight", &["h.*.attn.out_proj.weight"]),
        transpose("h.*.mlp.c_fc.weight", &["h.*.mlp.fc_in.weight"]),
        identity("h.*.mlp.c_fc.bias", &["h.*.mlp.fc_in.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["h.*.mlp.fc_out.weight"]),
        identity("h.*.mlp.c_proj.bias", &["h.*.mlp.fc_out.bias"]),
        identity("ln_f.weight", &["ln_f.weight"]),
        identity("ln_f.bias", &["ln_f.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
        identity("lm_head.bias", &["lm_head.bias"]),
    ],
    own_rules: &[],
    head: "lm_head.weight",
    skipped: MASKS,
    interleaved: false,
};

/// Queries, keys, and values of a family whose blocks are named as those of LLaMA.
const QUERY_KEY_VALUE: TensorRule = transpose(
    "h.*.attn.c_attn.weight",
    &[
        "layers.*.self_attn.q_proj.weight",
        "layers.*.self_attn.k_proj.weight",
        "layers.*.self_attn.v_proj.weight",
    ],
);

/// Their biases.
const QUERY_KEY_VALUE_BIAS: TensorRule = identity(
    "h.*.attn.c_attn.bias",
    &[
        "layers.*.self_attn.q_proj.bias",
        "layers.*.self_attn.k_proj.bias",
        "layers.*.self_attn.v_proj.bias",
    ],
);

/// Tensors of LLaMA.
pub(super) const LLAMA: TensorMap = TensorMap {
    family: "llama",
    prefix: "model.",
    rules: &[
        identity("wte.weight", &["embed_tokens.weight"]),
        identity("h.*.ln_1.weight", &["layers.*.input_layernorm.weight"]),
        QUERY_KEY_VALUE,
        QUERY_KEY_VALUE_BIAS,
        transpose("h.*.attn.c_proj.weight", &["layers.*.self_attn.o_proj.weight"]),
        identity("h.*.attn.c_proj.bias", &["layers.*.self_attn.o_proj.bias"]),
        identity("h.*.ln_2.weight", &["layers.*.post_attention_layernorm.weight"]),
        transpose("h.*.mlp.c_gate.weight", &["layers.*.mlp.gate_proj.weight"]),
        identity("h.*.mlp.c_gate.bias", &["layers.*.mlp.gate_proj.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["layers.*.mlp.up_proj.weight"]),
        identity("h.*.mlp.c_fc.bias", &["layers.*.mlp.up_proj.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["layers.*.mlp.down_proj.weight"]),
        identity("h.*.mlp.c_proj.bias", &["layers.*.mlp.down_proj.bias"]),
        identity("ln_f.weight", &["norm.weight"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    own_rules: &[],
    head: "lm_head.weight",
    skipped: MASKS,
    interleaved: false,
};

/// Tensors of Granite.
pub(super) const GRANITE: TensorMap = TensorMap { family: "granite", ..LLAMA };

/// Tensors of the first Gemma.
pub(super) const GEMMA: TensorMap = TensorMap { family: "gemma", ..LLAMA };

/// Tensors of Mistral.
pub(super) const MISTRAL: TensorMap = TensorMap { family: "mistral", ..LLAMA };

/// Tensors of Qwen2.
pub(super) const QWEN_2: TensorMap = TensorMap { family: "qwen2", ..LLAMA };

/// Norms of queries.
const QUERY_NORM: TensorRule =
    identity("h.*.attn.q_norm.weight", &["layers.*.self_attn.q_norm.weight"]);

/// Norms of keys.
const KEY_NORM: TensorRule =
    identity("h.*.attn.k_norm.weight", &["layers.*.self_attn.k_norm.weight"]);

/// Norms of the outputs of attention.
const BEHIND_ATTENTION: TensorRule =
    identity("h.*.ln_1_behind.weight", &["layers.*.post_attention_layernorm.weight"]);

/// Norms before feed-forward parts, where the usual name is that of another.
const BEFORE_FEED_FORWARD: TensorRule =
    identity("h.*.ln_2.weight", &["layers.*.pre_feedforward_layernorm.weight"]);

/// Norms of the outputs of feed-forward parts.
const BEHIND_FEED_FORWARD: TensorRule =
    identity("h.*.ln_2_behind.weight", &["layers.*.post_feedforward_layernorm.weight"]);

/// Tensors of Qwen3.
pub(super) const QWEN_3: TensorMap =
    TensorMap { family: "qwen3", own_rules: &[QUERY_NORM, KEY_NORM], ..LLAMA };

/// Biases by which experts are chosen. No other family has them.
const EXPERT_BIAS: TensorRule = zeros("h.*.mlp.router.bias");

/// Tensors of Mixtral.
pub(super) const MIXTRAL: TensorMap = TensorMap {
    family: "mixtral",
    own_rules: &[
        transpose("h.*.mlp.router.weight", &["layers.*.block_sparse_moe.gate.weight"]),
        EXPERT_BIAS,
        transpose_experts(
            "h.*.mlp.c_gate.weight",
            &["layers.*.block_sparse_moe.experts.#.w1.weight"],
        ),
        transpose_experts(
            "h.*.mlp.c_fc.weight",
            &["layers.*.block_sparse_moe.experts.#.w3.weight"],
        ),
        transpose_experts(
            "h.*.mlp.c_proj.weight",
            &["layers.*.block_sparse_moe.experts.#.w2.weight"],
        ),
    ],
    ..LLAMA
};

/// Tensors of a Qwen3 with experts.
pub(super) const QWEN_3_MOE: TensorMap = TensorMap {
    family: "qwen3_moe",
    own_rules: &[
        QUERY_NORM,
        KEY_NORM,
        transpose("h.*.mlp.router.weight", &["layers.*.mlp.gate.weight"]),
        EXPERT_BIAS,
        transpose_experts("h.*.mlp.c_gate.weight", &["layers.*.mlp.experts.#.gate_proj.weight"]),
        transpose_experts("h.*.mlp.c_fc.weight", &["layers.*.mlp.experts.#.up_proj.weight"]),
        transpose_experts("h.*.mlp.c_proj.weight", &["layers.*.mlp.experts.#.down_proj.weight"]),
    ],
    ..LLAMA
};

/// Tensors of SmolLM3.
pub(super) const SMOLLM_3: TensorMap = TensorMap { family: "smollm3", ..LLAMA };

/// Tensors of OLMo 2.
pub(super) const OLMO_2: TensorMap = TensorMap {
    family: "olmo2",
    own_rules: &[QUERY_NORM, KEY_NORM, BEHIND_ATTENTION, BEHIND_FEED_FORWARD],
    ..LLAMA
};

/// Tensors of Gemma 2.
pub(super) const GEMMA_2: TensorMap = TensorMap {
    family: "gemma2",
    own_rules: &[BEHIND_ATTENTION, BEFORE_FEED_FORWARD, BEHIND_FEED_FORWARD],
    ..LLAMA
};

/// Tensors of Gemma 3.
pub(super) const GEMMA_3: TensorMap = TensorMap {
    family: "gemma3_text",
    own_rules: &[QUERY_NORM, KEY_NORM, BEHIND_ATTENTION, BEFORE_FEED_FORWARD, BEHIND_FEED_FORWARD],
    ..LLAMA
};

/// Tensors of GPT-NeoX and Pythia.
pub(super) const GPT_NEOX: TensorMap = TensorMap {
    family: "gpt_neox",
    prefix: "gpt_neox.",
    rules: &[
        identity("wte.weight", &["embed_in.weight"]),
        identity("h.*.ln_1.weight", &["layers.*.input_layernorm.weight"]),
        identity("h.*.ln_1.bias", &["layers.*.input_layernorm.bias"]),
        by_head("h.*.attn.c_attn.weight", &["layers.*.attention.query_key_value.weight"], true),
        by_head("h.*.attn.c_attn.bias", &["layers.*.attention.query_key_value.bias"], false),
        transpose("h.*.attn.c_proj.weight", &["layers.*.attention.dense.weight"]),
        identity("h.*.attn.c_proj.bias", &["layers.*.attention.dense.bias"]),
        identity("h.*.ln_2.weight", &["layers.*.post_attention_layernorm.weight"]),
        identity("h.*.ln_2.bias", &["layers.*.post_attention_layernorm.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["layers.*.mlp.dense_h_to_4h.weight"]),
        identity("h.*.mlp.c_fc.bias", &["layers.*.mlp.dense_h_to_4h.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["layers.*.mlp.dense_4h_to_h.weight"]),
        identity("h.*.mlp.c_proj.bias", &["layers.*.mlp.dense_4h_to_h.bias"]),
        identity("ln_f.weight", &["final_layer_norm.weight"]),
        identity("ln_f.bias", &["final_layer_norm.bias"]),
        identity("lm_head.weight", &["embed_out.weight"]),
    ],
    head: "embed_out.weight",
    ..LLAMA
};

/// Tensors of Falcon.
pub(super) const FALCON: TensorMap = TensorMap {
    family: "falcon",
    prefix: "transformer.",
    rules: &[
        identity("wte.weight", &["word_embeddings.weight"]),
        identity("h.*.ln_1.weight", &["h.*.input_layernorm.weight"]),
        identity("h.*.ln_1.bias", &["h.*.input_layernorm.bias"]),
        by_head("h.*.attn.c_attn.weight", &["h.*.self_attention.query_key_value.weight"], true),
        by_head("h.*.attn.c_attn.bias", &["h.*.self_attention.query_key_value.bias"], false),
        transpose("h.*.attn.c_proj.weight", &["h.*.self_attention.dense.weight"]),
        identity("h.*.attn.c_proj.bias", &["h.*.self_attention.dense.bias"]),
        identity("h.*.ln_2.weight", &["h.*.post_attention_layernorm.weight"]),
        identity("h.*.ln_2.bias", &["h.*.post_attention_layernorm.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["h.*.mlp.dense_h_to_4h.weight"]),
        identity("h.*.mlp.c_fc.bias", &["h.*.mlp.dense_h_to_4h.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["h.*.mlp.dense_4h_to_h.weight"]),
        identity("h.*.mlp.c_proj.bias", &["h.*.mlp.dense_4h_to_h.bias"]),
        identity("ln_f.weight", &["ln_f.weight"]),
        identity("ln_f.bias", &["ln_f.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    ..LLAMA
};

/// Tensors of a Falcon with a norm for each sublayer.
pub(super) const FALCON_APART: TensorMap = TensorMap {
    own_rules: &[
        identity("h.*.ln_1.weight", &["h.*.ln_attn.weight"]),
        identity("h.*.ln_1.bias", &["h.*.ln_attn.bias"]),
        identity("h.*.ln_2.weight", &["h.*.ln_mlp.weight"]),
        identity("h.*.ln_2.bias", &["h.*.ln_mlp.bias"]),
    ],
    ..FALCON
};

/// Tensors of OPT, whose first two positions stand for nothing.
pub(super) const OPT: TensorMap = TensorMap {
    family: "opt",
    prefix: "model.decoder.",
    rules: &[
        identity("wte.weight", &["embed_tokens.weight"]),
        identity_from("wpe.weight", &["embed_positions.weight"], 2),
        identity("h.*.ln_1.weight", &["layers.*.self_attn_layer_norm.weight"]),
        identity("h.*.ln_1.bias", &["layers.*.self_attn_layer_norm.bias"]),
        QUERY_KEY_VALUE,
        QUERY_KEY_VALUE_BIAS,
        transpose("h.*.attn.c_proj.weight", &["layers.*.self_attn.out_proj.weight"]),
        identity("h.*.attn.c_proj.bias", &["layers.*.self_attn.out_proj.bias"]),
        identity("h.*.ln_2.weight", &["layers.*.final_layer_norm.weight"]),
        identity("h.*.ln_2.bias", &["layers.*.final_layer_norm.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["layers.*.fc1.weight"]),
        identity("h.*.mlp.c_fc.bias", &["layers.*.fc1.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["layers.*.fc2.weight"]),
        identity("h.*.mlp.c_proj.bias", &["layers.*.fc2.bias"]),
        identity("ln_f.weight", &["final_layer_norm.weight"]),
        identity("ln_f.bias", &["final_layer_norm.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    ..LLAMA
};

/// Tensors of Phi-3 and Phi-4.
pub(super) const PHI_3: TensorMap = TensorMap {
    family: "phi3",
    rules: &[
        identity("wte.weight", &["embed_tokens.weight"]),
        identity("h.*.ln_1.weight", &["layers.*.input_layernorm.weight"]),
        transpose("h.*.attn.c_attn.weight", &["layers.*.self_attn.qkv_proj.weight"]),
        transpose("h.*.attn.c_proj.weight", &["layers.*.self_attn.o_proj.weight"]),
        identity("h.*.ln_2.weight", &["layers.*.post_attention_layernorm.weight"]),
        transpose_half("h.*.mlp.c_gate.weight", &["layers.*.mlp.gate_up_proj.weight"], 0),
        transpose_half("h.*.mlp.c_fc.weight", &["layers.*.mlp.gate_up_proj.weight"], 1),
        transpose("h.*.mlp.c_proj.weight", &["layers.*.mlp.down_proj.weight"]),
        identity("ln_f.weight", &["norm.weight"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    ..LLAMA
};

/// Tensors of Phi-1 and Phi-2.
pub(super) const PHI: TensorMap = TensorMap {
    family: "phi",
    rules: &[
        identity("wte.weight", &["embed_tokens.weight"]),
        identity("h.*.ln_1.weight", &["layers.*.input_layernorm.weight"]),
        identity("h.*.ln_1.bias", &["layers.*.input_layernorm.bias"]),
        QUERY_KEY_VALUE,
        QUERY_KEY_VALUE_BIAS,
        transpose("h.*.attn.c_proj.weight", &["layers.*.self_attn.dense.weight"]),
        identity("h.*.attn.c_proj.bias", &["layers.*.self_attn.dense.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["layers.*.mlp.fc1.weight"]),
        identity("h.*.mlp.c_fc.bias", &["layers.*.mlp.fc1.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["layers.*.mlp.fc2.weight"]),
        identity("h.*.mlp.c_proj.bias", &["layers.*.mlp.fc2.bias"]),
        identity("ln_f.weight", &["final_layernorm.weight"]),
        identity("ln_f.bias", &["final_layernorm.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
        identity("lm_head.bias", &["lm_head.bias"]),
    ],
    ..LLAMA
};

/// Tensors of StableLM.
pub(super) const STABLELM: TensorMap = TensorMap {
    family: "stablelm",
    rules: &[
        identity("wte.weight", &["embed_tokens.weight"]),
        identity("h.*.ln_1.weight", &["layers.*.input_layernorm.weight"]),
        identity("h.*.ln_1.bias", &["layers.*.input_layernorm.bias"]),
        QUERY_KEY_VALUE,
        QUERY_KEY_VALUE_BIAS,
        transpose("h.*.attn.c_proj.weight", &["layers.*.self_attn.o_proj.weight"]),
        identity("h.*.ln_2.weight", &["layers.*.post_attention_layernorm.weight"]),
        identity("h.*.ln_2.bias", &["layers.*.post_attention_layernorm.bias"]),
        transpose("h.*.mlp.c_gate.weight", &["layers.*.mlp.gate_proj.weight"]),
        transpose("h.*.mlp.c_fc.weight", &["layers.*.mlp.up_proj.weight"]),
        transpose("h.*.mlp.c_proj.weight", &["layers.*.mlp.down_proj.weight"]),
        identity("ln_f.weight", &["norm.weight"]),
        identity("ln_f.bias", &["norm.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    ..LLAMA
};

/// Tensors of StarCoder2.
pub(super) const STARCODER_2: TensorMap = TensorMap {
    family: "starcoder2",
    rules: &[
        identity("wte.weight", &["embed_tokens.weight"]),
        identity("h.*.ln_1.weight", &["layers.*.input_layernorm.weight"]),
        identity("h.*.ln_1.bias", &["layers.*.input_layernorm.bias"]),
        QUERY_KEY_VALUE,
        QUERY_KEY_VALUE_BIAS,
        transpose("h.*.attn.c_proj.weight", &["layers.*.self_attn.o_proj.weight"]),
        identity("h.*.attn.c_proj.bias", &["layers.*.self_attn.o_proj.bias"]),
        identity("h.*.ln_2.weight", &["layers.*.post_attention_layernorm.weight"]),
        identity("h.*.ln_2.bias", &["layers.*.post_attention_layernorm.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["layers.*.mlp.c_fc.weight"]),
        identity("h.*.mlp.c_fc.bias", &["layers.*.mlp.c_fc.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["layers.*.mlp.c_proj.weight"]),
        identity("h.*.mlp.c_proj.bias", &["layers.*.mlp.c_proj.bias"]),
        identity("ln_f.weight", &["norm.weight"]),
        identity("ln_f.bias", &["norm.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    ..LLAMA
};

/// Tensors of StarCoder and SantaCoder: those of GPT-2, as linear layers have them.
pub(super) const GPT_BIGCODE: TensorMap = TensorMap {
    family: "gpt_bigcode",
    rules: &[
        identity("wte.weight", &["wte.weight"]),
        identity("wpe.weight", &["wpe.weight"]),
        identity("h.*.ln_1.weight", &["h.*.ln_1.weight"]),
        identity("h.*.ln_1.bias", &["h.*.ln_1.bias"]),
        transpose("h.*.attn.c_attn.weight", &["h.*.attn.c_attn.weight"]),
        identity("h.*.attn.c_attn.bias", &["h.*.attn.c_attn.bias"]),
        transpose("h.*.attn.c_proj.weight", &["h.*.attn.c_proj.weight"]),
        identity("h.*.attn.c_proj.bias", &["h.*.attn.c_proj.bias"]),
        identity("h.*.ln_2.weight", &["h.*.ln_2.weight"]),
        identity("h.*.ln_2.bias", &["h.*.ln_2.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["h.*.mlp.c_fc.weight"]),
        identity("h.*.mlp.c_fc.bias", &["h.*.mlp.c_fc.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["h.*.mlp.c_proj.weight"]),
        identity("h.*.mlp.c_proj.bias", &["h.*.mlp.c_proj.bias"]),
        identity("ln_f.weight", &["ln_f.weight"]),
        identity("ln_f.bias", &["ln_f.bias"]),
        identity("lm_head.weight", &["lm_head.weight"]),
    ],
    ..GPT_2
};
