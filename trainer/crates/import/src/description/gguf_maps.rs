// SPDX-License-Identifier: Apache-2.0

//! Tensor names of the families as llama.cpp has them.

use crate::mapping::{
    TensorMap, TensorRule, identity, transpose, transpose_each, transpose_half, zeros,
};

/// Tensors of LLaMA.
pub(crate) const LLAMA: TensorMap = TensorMap {
    family: "llama",
    prefix: "",
    rules: &[
        identity("wte.weight", &["token_embd.weight"]),
        identity("h.*.ln_1.weight", &["blk.*.attn_norm.weight"]),
        transpose(
            "h.*.attn.c_attn.weight",
            &["blk.*.attn_q.weight", "blk.*.attn_k.weight", "blk.*.attn_v.weight"],
        ),
        identity(
            "h.*.attn.c_attn.bias",
            &["blk.*.attn_q.bias", "blk.*.attn_k.bias", "blk.*.attn_v.bias"],
        ),
        transpose("h.*.attn.c_proj.weight", &["blk.*.attn_output.weight"]),
        identity("h.*.attn.c_proj.bias", &["blk.*.attn_output.bias"]),
        identity("h.*.ln_2.weight", &["blk.*.ffn_norm.weight"]),
        transpose("h.*.mlp.c_gate.weight", &["blk.*.ffn_gate.weight"]),
        identity("h.*.mlp.c_gate.bias", &["blk.*.ffn_gate.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["blk.*.ffn_up.weight"]),
        identity("h.*.mlp.c_fc.bias", &["blk.*.ffn_up.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["blk.*.ffn_down.weight"]),
        identity("h.*.mlp.c_proj.bias", &["blk.*.ffn_down.bias"]),
        identity("ln_f.weight", &["output_norm.weight"]),
        identity("lm_head.weight", &["output.weight"]),
    ],
    head: "output.weight",
    own_rules: &[],
    skipped: &[
        ("rope_freqs.weight", "divisors of the rotation, which the specification has"),
        ("rope_factors_short.weight", "divisors of the rotation, which the specification has"),
        ("rope_factors_long.weight", "divisors of the rotation of texts that are too long here"),
    ],
    // llama.cpp stores each pair that is rotated together side by side.
    interleaved: true,
};

/// Tensors of Qwen2, whose pairs are half a head apart, as transformers has them.
pub(crate) const QWEN_2: TensorMap = TensorMap { family: "qwen2", interleaved: false, ..LLAMA };

/// Norms of queries.
const QUERY_NORM: TensorRule = identity("h.*.attn.q_norm.weight", &["blk.*.attn_q_norm.weight"]);

/// Norms of keys.
const KEY_NORM: TensorRule = identity("h.*.attn.k_norm.weight", &["blk.*.attn_k_norm.weight"]);

/// Norms of the outputs of attention.
const BEHIND_ATTENTION: TensorRule =
    identity("h.*.ln_1_behind.weight", &["blk.*.post_attention_norm.weight"]);

/// Norms of the outputs of feed-forward parts.
const BEHIND_FEED_FORWARD: TensorRule =
    identity("h.*.ln_2_behind.weight", &["blk.*.post_ffw_norm.weight"]);

/// Tensors of Qwen3.
pub(crate) const QWEN_3: TensorMap =
    TensorMap { family: "qwen3", own_rules: &[QUERY_NORM, KEY_NORM], ..QWEN_2 };

/// Scores of experts.
const ROUTER: TensorRule = transpose("h.*.mlp.router.weight", &["blk.*.ffn_gate_inp.weight"]);

/// Biases by which experts are chosen. No other family has them.
const ROUTER_BIAS: TensorRule = zeros("h.*.mlp.router.bias");

/// Gates of experts.
const GATES: TensorRule = transpose_each("h.*.mlp.c_gate.weight", &["blk.*.ffn_gate_exps.weight"]);

/// Projections of experts from the width.
const UP: TensorRule = transpose_each("h.*.mlp.c_fc.weight", &["blk.*.ffn_up_exps.weight"]);

/// Projections of experts to the width.
const DOWN: TensorRule = transpose_each("h.*.mlp.c_proj.weight", &["blk.*.ffn_down_exps.weight"]);

/// Tensors of Mixtral, which llama.cpp takes for a LLaMA.
pub(super) const MIXTRAL: TensorMap =
    TensorMap { family: "mixtral", own_rules: &[ROUTER, ROUTER_BIAS, GATES, UP, DOWN], ..LLAMA };

/// Tensors of a Qwen3 with experts.
pub(super) const QWEN_3_MOE: TensorMap = TensorMap {
    family: "qwen3_moe",
    own_rules: &[QUERY_NORM, KEY_NORM, ROUTER, ROUTER_BIAS, GATES, UP, DOWN],
    ..QWEN_2
};

/// Tensors of SmolLM3, whose pairs are side by side, as those of LLaMA.
pub(crate) const SMOLLM_3: TensorMap = TensorMap { family: "smollm3", ..LLAMA };

/// Tensors of OLMo 2.
pub(crate) const OLMO_2: TensorMap = TensorMap {
    family: "olmo2",
    own_rules: &[QUERY_NORM, KEY_NORM, BEHIND_ATTENTION, BEHIND_FEED_FORWARD],
    ..QWEN_2
};

/// Tensors of the first Gemma.
pub(crate) const GEMMA: TensorMap = TensorMap { family: "gemma", ..QWEN_2 };

/// Tensors of Gemma 2.
pub(crate) const GEMMA_2: TensorMap =
    TensorMap { family: "gemma2", own_rules: &[BEHIND_ATTENTION, BEHIND_FEED_FORWARD], ..QWEN_2 };

/// Tensors of Gemma 3.
pub(crate) const GEMMA_3: TensorMap = TensorMap {
    family: "gemma3",
    own_rules: &[QUERY_NORM, KEY_NORM, BEHIND_ATTENTION, BEHIND_FEED_FORWARD],
    ..QWEN_2
};

/// Tensors of Phi-3 and Phi-4, with queries, keys, and values in one tensor, and gates and values
/// in another.
pub(super) const PHI_3: TensorMap = TensorMap {
    family: "phi3",
    own_rules: &[
        transpose("h.*.attn.c_attn.weight", &["blk.*.attn_qkv.weight"]),
        transpose_half("h.*.mlp.c_gate.weight", &["blk.*.ffn_up.weight"], 0),
        transpose_half("h.*.mlp.c_fc.weight", &["blk.*.ffn_up.weight"], 1),
    ],
    ..QWEN_2
};

/// Tensors of Falcon, whose queries, keys, and values a converter has separated.
pub(crate) const FALCON: TensorMap = TensorMap { family: "falcon", ..GPT_2 };

/// Tensors of a Falcon with a norm for each sublayer.
pub(crate) const FALCON_APART: TensorMap = TensorMap {
    own_rules: &[
        identity("h.*.ln_1.weight", &["blk.*.attn_norm_2.weight"]),
        identity("h.*.ln_1.bias", &["blk.*.attn_norm_2.bias"]),
        identity("h.*.ln_2.weight", &["blk.*.attn_norm.weight"]),
        identity("h.*.ln_2.bias", &["blk.*.attn_norm.bias"]),
    ],
    ..FALCON
};

/// Tensors of GPT-NeoX, whose queries, keys, and values a converter has separated.
pub(crate) const GPT_NEOX: TensorMap = TensorMap { family: "gpt_neox", ..GPT_2 };

/// Tensors of GPT-2.
pub(crate) const GPT_2: TensorMap = TensorMap {
    family: "gpt2",
    prefix: "",
    rules: &[
        identity("wte.weight", &["token_embd.weight"]),
        identity("wpe.weight", &["position_embd.weight"]),
        identity("h.*.ln_1.weight", &["blk.*.attn_norm.weight"]),
        identity("h.*.ln_1.bias", &["blk.*.attn_norm.bias"]),
        transpose("h.*.attn.c_attn.weight", &["blk.*.attn_qkv.weight"]),
        identity("h.*.attn.c_attn.bias", &["blk.*.attn_qkv.bias"]),
        transpose("h.*.attn.c_proj.weight", &["blk.*.attn_output.weight"]),
        identity("h.*.attn.c_proj.bias", &["blk.*.attn_output.bias"]),
        identity("h.*.ln_2.weight", &["blk.*.ffn_norm.weight"]),
        identity("h.*.ln_2.bias", &["blk.*.ffn_norm.bias"]),
        transpose("h.*.mlp.c_fc.weight", &["blk.*.ffn_up.weight"]),
        identity("h.*.mlp.c_fc.bias", &["blk.*.ffn_up.bias"]),
        transpose("h.*.mlp.c_proj.weight", &["blk.*.ffn_down.weight"]),
        identity("h.*.mlp.c_proj.bias", &["blk.*.ffn_down.bias"]),
        identity("ln_f.weight", &["output_norm.weight"]),
        identity("ln_f.bias", &["output_norm.bias"]),
        identity("lm_head.weight", &["output.weight"]),
    ],
    head: "output.weight",
    own_rules: &[],
    skipped: &[],
    interleaved: false,
};
