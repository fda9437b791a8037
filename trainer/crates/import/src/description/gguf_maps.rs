// SPDX-License-Identifier: Apache-2.0

//! Tensor names of the families as llama.cpp has them.

use super::gguf_rope;
use crate::mapping::{TensorMap, identity, transpose};

/// Tensors of LLaMA.
pub(super) const LLAMA: TensorMap = TensorMap {
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
    skipped: &[(gguf_rope::DIVISORS, "divisors of the rotation, which the specification has")],
    // llama.cpp stores each pair that is rotated together side by side.
    interleaved: true,
};

/// Tensors of Qwen2, whose pairs are half a head apart, as transformers has them.
pub(super) const QWEN_2: TensorMap = TensorMap { family: "qwen2", interleaved: false, ..LLAMA };

/// Tensors of GPT-2.
pub(super) const GPT_2: TensorMap = TensorMap {
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
    skipped: &[],
    interleaved: false,
};
