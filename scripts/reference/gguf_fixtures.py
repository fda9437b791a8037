#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the GGUF fixtures, with the `gguf` package of llama.cpp: what reading them must give is written beside them.

usage: PYTHON scripts/reference/gguf_fixtures.py trainer/crates/import/tests/fixtures

PYTHON is any with: pip install gguf==0.19.0 safetensors

llama.gguf          the checkpoint in llama/, converted as llama.cpp does: rows of queries and keys interleaved, names its own; with
                    a byte-pair tokenizer
gpt2.gguf           the checkpoint in gpt2/, likewise: projections transposed, a copy of the tied head
FAMILY.gguf         the checkpoint in FAMILY/, likewise, for each of FAMILIES: norms of Gemma with their 1, heads of GPT-NeoX apart,
                    divisors of LLaMA 3.1's rotation and of Phi-3's as tensors
encodings.gguf      a tensor of each encoding, of random blocks with usual and extreme scales; encodings-big-endian.gguf, the same in
                    the other order of bytes, without the types that llama.cpp misreads in it; and encodings.safetensors with their
                    values, by the package's decoders where it has one
llama-big-endian.gguf   llama.gguf in the other order of bytes
"""

import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file

from gguf_llama import add_sizes, add_tensors, finish, interleaved


def floats(folder):
    return {name: tensor for path in folder.glob("model*.safetensors") for name, tensor in load_file(path).items()}


def tokenizer(writer, size):
    letters = [chr(ord("a") + i) for i in range(26)] + ["Ġ", "Ċ", ".", "1", "2"]
    merges = ["t h", "th e", "Ġ the", "i n", "a n", "Ġ a"]
    tokens = ["<|endoftext|>", *letters, *(merge.replace(" ", "") for merge in merges)]
    types = [gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(tokens) - 1)
    unused = [f"[PAD{i}]" for i in range(len(tokens), size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens + unused)
    writer.add_token_types(types + [gguf.TokenType.UNUSED] * len(unused))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def llama(fixtures, name="llama.gguf", endianess=gguf.GGUFEndian.LITTLE):
    config, tensors = json.loads((fixtures / "llama/config.json").read_text()), floats(fixtures / "llama")
    writer = gguf.GGUFWriter(fixtures / name, "llama", endianess=endianess)
    add_sizes(writer, config, states_head_size=True)
    tokenizer(writer, config["vocab_size"])
    add_tensors(writer, config, tensors)
    finish(writer)


def gpt2(fixtures):
    config, tensors = json.loads((fixtures / "gpt2/config.json").read_text()), floats(fixtures / "gpt2")
    writer = gguf.GGUFWriter(fixtures / "gpt2.gguf", "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config["n_layer"])
    for name, tensor in sorted(tensors.items()):
        if name.endswith(".attn.bias"):
            continue
        if name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            tensor = tensor.T
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), np.ascontiguousarray(tensor))
    writer.add_tensor("output.weight", tensors["wte.weight"])
    finish(writer)


FAMILIES = {
    "llama-3.1": gguf.MODEL_ARCH.LLAMA,
    "llama-yarn": gguf.MODEL_ARCH.LLAMA,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3,
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "gemma": gguf.MODEL_ARCH.GEMMA,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3": gguf.MODEL_ARCH.GEMMA3,
    "gpt-neox": gguf.MODEL_ARCH.GPTNEOX,
    "falcon": gguf.MODEL_ARCH.FALCON,
    "falcon-apart": gguf.MODEL_ARCH.FALCON,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "qwen3-moe": gguf.MODEL_ARCH.QWEN3MOE,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "phi3-long": gguf.MODEL_ARCH.PHI3,
}


def divisors(rope, size):
    """The divisors of the rates that LLaMA 3.1's scaling stands for."""
    wavelengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, size, 2) / size)
    low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def rotation(writer, name, config, size):
    rope = config["rope_parameters"]
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(size * rope.get("partial_rotary_factor", 1)))
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", divisors(rope, size))
    if rope["rope_type"] == "longrope":
        original = rope["original_max_position_embeddings"]
        factor = config["max_position_embeddings"] / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors((1 + np.log(factor) / np.log(original)) ** 0.5)
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], np.float32))


def stacked(tensors):
    """The tensors of all experts of a block as one, with the name that converters give it."""
    by_name = {}
    for name, tensor in sorted(tensors.items()):
        by_name.setdefault(re.sub(r"\.experts\.\d+\.", ".experts.", name), []).append(tensor)
    return {
        re.sub(r"model\.(.*)block_sparse_moe\.experts", r"\1feed_forward.experts", name): (
            np.stack(found) if ".experts." in name else found[0]
        )
        for name, found in by_name.items()
    }


def family(fixtures, name, arch):
    config, tensors = json.loads((fixtures / name / "config.json").read_text()), floats(fixtures / name)
    tensors = stacked(tensors)
    writer = gguf.GGUFWriter(fixtures / f"{name}.gguf", gguf.MODEL_ARCH_NAMES[arch])
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads", heads)
    if name.startswith("falcon"):
        groups = config["num_kv_heads"] if config["new_decoder_architecture"] else 1
    size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config.get("intermediate_size") or 4 * config["hidden_size"])
    writer.add_head_count(heads)
    writer.add_vocab_size(config["vocab_size"])
    if arch == gguf.MODEL_ARCH.GPTNEOX:
        writer.add_parallel_residual(config["use_parallel_residual"])
        writer.add_layer_norm_eps(config["layer_norm_eps"])
    elif arch == gguf.MODEL_ARCH.FALCON:
        writer.add_head_count_kv(groups)
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    elif arch == gguf.MODEL_ARCH.PHI3:
        writer.add_head_count_kv(groups)
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_sliding_window(config["sliding_window"] or 0)
    else:
        writer.add_head_count_kv(groups)
        writer.add_key_length(size)
        writer.add_value_length(size)
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if "num_local_experts" in config:
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        if "moe_intermediate_size" in config:
            writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if name in ("gemma2", "gemma3"):
        writer.add_sliding_window(config["sliding_window"])
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if arch != gguf.MODEL_ARCH.FALCON:
        rotation(writer, name, config, size)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for tensor_name, tensor in sorted(tensors.items()):
        if arch in (gguf.MODEL_ARCH.LLAMA, gguf.MODEL_ARCH.SMOLLM3) and (".q_proj." in tensor_name or ".k_proj." in tensor_name):
            tensor = interleaved(tensor, heads if ".q_proj." in tensor_name else groups)
        if name.startswith("gemma") and "norm" in tensor_name:
            tensor = tensor + 1
        if ".query_key_value." in tensor_name:
            parts = tensor.reshape(groups, heads // groups + 2, size, -1)
            tensor = np.concatenate([part.reshape(-1, *tensor.shape[1:]) for part in np.split(parts, [-2, -1], 1)])
        writer.add_tensor(names.get_name(tensor_name, (".weight", ".bias")), np.ascontiguousarray(tensor))
    finish(writer)


def added(name, number, block, size):
    """Adds a type that the package does not know yet."""
    member = int.__new__(Type, number)
    member._name_, member._value_ = name, number
    Type._member_map_[name] = Type._value2member_map_[number] = member
    gguf.GGML_QUANT_SIZES[member] = (block, size)
    return member


Q2_0 = added("Q2_0", 42, 64, 18)

# Numbers in a block as the decoders of llama.cpp read them, as a type of numpy.
BLOCKS = {
    Type.F32: "u4",
    Type.F16: "u2",
    Type.BF16: "u2",
    Type.Q1_0: "u2,16u1",
    Q2_0: "u2,16u1",
    Type.Q4_0: "u2,16u1",
    Type.Q4_1: "2u2,16u1",
    Type.Q5_0: "u2,u4,16u1",
    Type.Q5_1: "2u2,u4,16u1",
    Type.Q8_0: "u2,32u1",
    Type.Q2_K: "80u1,2u2",
    Type.Q3_K: "108u1,u2",
    Type.Q4_K: "2u2,140u1",
    Type.Q5_K: "2u2,172u1",
    Type.Q6_K: "208u1,u2",
    Type.Q8_K: "u4,256u1,16u2",
    Type.IQ1_S: "u2,32u1,8u2",
    Type.IQ1_M: "48u1,4u2",
    Type.IQ2_XXS: "u2,64u1",
    Type.IQ2_XS: "u2,32u2,8u1",
    Type.IQ2_S: "u2,80u1",
    Type.IQ3_XXS: "u2,64u1,8u4",
    Type.IQ3_S: "u2,108u1",
    Type.IQ4_NL: "u2,16u1",
    Type.IQ4_XS: "2u2,132u1",
    Type.TQ1_0: "52u1,u2",
    Type.TQ2_0: "64u1,u2",
    Type.MXFP4: "u1,16u1",
    Type.NVFP4: "4u1,32u1",
}
# The first byte and the count of the scales of half precision, where they are not the first number.
SCALES = {
    **{kind: (0, 2) for kind in (Type.Q4_1, Type.Q5_1, Type.Q4_K, Type.Q5_K)},
    Type.Q2_K: (80, 2),
    Type.Q3_K: (108, 1),
    Type.Q6_K: (208, 1),
    Type.TQ1_0: (52, 1),
    Type.TQ2_0: (64, 1),
}
# Scales of blocks: usual, whatever the bytes are, the largest, the smallest, and none at all.
TRIED = [0.01, None, -65504, 2**-24, np.inf, np.nan]


def scaled(block, kind, scale):
    """Sets the scales of a block, in the order of bytes of this machine."""
    half = np.array(scale, np.float16).view(np.uint16)
    if kind == Type.Q8_K:
        block[:4] = np.frombuffer(np.float32(scale).tobytes(), np.uint8)
    elif kind == Type.IQ1_M:
        words = block[48:].view(np.uint16)
        words[:] = words & 0xFFF | (half >> np.array([0, 4, 8, 12], np.uint16) & 15) << 12
    elif kind == Type.MXFP4:
        # Also the two exponents of subnormal numbers.
        block[0] = {-65504: 255, 2**-24: 0, np.inf: 1}.get(scale, 120)
    elif kind == Type.NVFP4:
        # Also subnormal numbers, NaN, and a sign.
        block[:4] = {-65504: (0, 1, 7, 8), 2**-24: (0x7E, 0x7F, 0x80, 0xFF)}.get(scale, 0x30)
    else:
        start, count = SCALES.get(kind, (0, 1))
        block[start : start + 2 * count].view(np.uint16)[:] = half


def decoded(data, kind):
    """The values of blocks. Those of three types that the package does not decode are worked out."""
    if kind == Type.Q1_0:
        bits = np.unpackbits(data[:, 2:], axis=1, bitorder="little")
        return np.where(bits == 1, 1, -1).astype(np.float32) * data[:, :2].view(np.float16).astype(np.float32)
    if kind == Q2_0:
        pairs = data[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
        return (pairs.reshape(len(data), 64).astype(np.float32) - 1) * data[:, :2].view(np.float16).astype(np.float32)
    if kind == Type.Q8_K:
        return data[:, :4].view(np.float32) * data[:, 4:260].view(np.int8).astype(np.float32)
    return np.ascontiguousarray(gguf.quants.dequantize(data, kind), np.float32)


def encodings(fixtures):
    random = np.random.default_rng(0)
    little = gguf.GGUFWriter(fixtures / "encodings.gguf", "encodings")
    big = gguf.GGUFWriter(fixtures / "encodings-big-endian.gguf", "encodings", endianess=gguf.GGUFEndian.BIG)
    values = {}
    for kind, block in BLOCKS.items():
        size = np.dtype(block).itemsize
        count = 64 if size < 8 else len(TRIED)
        data = random.integers(0, 256, (count, size), dtype=np.uint8)
        for row, scale in zip(data, TRIED):
            if size >= 8 and scale is not None:
                scaled(row, kind, scale)
        values[kind.name] = decoded(data, kind)
        swapped = data.view(block).byteswap().view(np.uint8)
        little.add_tensor(kind.name, data, raw_dtype=kind)
        if not kind.name.startswith(("IQ1", "IQ2", "IQ3")):
            big.add_tensor(kind.name, swapped, raw_dtype=kind)
    finish(little)
    finish(big)
    save_file(values, fixtures / "encodings.safetensors")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for write in (llama, gpt2, encodings):
        write(Path(sys.argv[1]))
    llama(Path(sys.argv[1]), "llama-big-endian.gguf", gguf.GGUFEndian.BIG)
    for name, arch in FAMILIES.items():
        family(Path(sys.argv[1]), name, arch)


main()
