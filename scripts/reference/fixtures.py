#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden fixtures: tiny checkpoints of every family that can be imported, with the reference's logits.

usage: "$(scripts/reference/setup.sh)" scripts/reference/fixtures.py trainer/crates/import/tests/fixtures [NAME...]

Every folder gets config.json and model.safetensors as transformers writes them (llama: in shards), and reference.safetensors with
`tokens` (int64 [batch, length]) and `logits` (float32 [batch, length, vocabulary]) in float32 arithmetic. Seeded: the same versions
write the same bytes. Checkpoints found on the hub differ in details, so the fixtures do too:

gpt2          no prefix, causal masks among the tensors, as in the first GPT-2 checkpoint
dialogpt      prefix and a copy of the tied head
gpt-neo       global and local attention by turns, unscaled scores
gpt-j         interleaved rotary positions over part of a head, one norm a block, bias in the head
llama         grouped keys and values, heads wider than the model, untied, two shards
llama-tied    grouped keys and values, tied, bfloat16, the older spelling of rotary settings
llama-biased  biases in attention and feed-forward parts
mistral       a sliding window that is shorter than the text
qwen2         biases of queries, keys, and values; a sliding window in the upper block only
phi           one norm a block, rotation of a part of each head, biases everywhere
phi3          queries, keys, and values in one tensor, gates and values in another
stablelm      LayerNorm before gated parts, rotation of a part of each head
starcoder2    LayerNorm, grouped keys and values, biases, tied
gpt-bigcode   learned positions, and one key and value for all heads
granite       factors of embeddings, queries, residuals, and logits; tied
gemma         a factor of embeddings, norms around 1, tied
llama-3.1     rotation scaled between two wavelengths
llama-linear  rotation scaled by one factor, in the older spelling
llama-yarn    rotation scaled by YaRN, with its factor of queries and keys
qwen3         norms of queries and keys in each head
smollm3       every fourth block is not rotated; tied
olmo2         norms behind the sublayers, norms of all queries and keys together
gemma2        norms around the sublayers, bounds of scores and logits, windows by turns
gemma3        norms of queries and keys too, two rotations, of which one is scaled, windows in five of six blocks
gpt-neox      parallel sublayers with norms of their own, a part of each head rotated, heads by turns in one tensor
falcon        parallel sublayers with one norm, one key and value for all heads, tied
falcon-apart  norms of their own, keys and values of groups by turns with their queries, biases
opt           ReLU, learned positions of which two stand for nothing
mixtral       five experts, of which two are active
qwen3-moe     seven experts, of which three are active, with weights that add up to 1
phi3-long     rotation of a part of each head with factors for short and for long texts, a window, tied
llama-longrope  a text longer than those of the first training, with one factor for all
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTBigCodeConfig,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
)

VOCABULARY, CONTEXT, LENGTH, BATCH = 61, 32, 24, 2

GPT2 = dict(vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=16, n_layer=2, n_head=4)
LLAMA = dict(
    vocab_size=VOCABULARY,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=CONTEXT,
    rms_norm_eps=1e-6,
)
SPECIAL = dict(bos_token_id=0, eos_token_id=0)
# The later families without the epsilon, whose name differs.
BLOCKS = {key: value for key, value in LLAMA.items() if key != "rms_norm_eps"}
FALCON = dict(
    vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=CONTEXT
)
FIXTURES = {
    "gpt2": GPT2Config(**GPT2, **SPECIAL),
    "dialogpt": GPT2Config(**GPT2, n_inner=40, **SPECIAL),
    "gpt-neo": GPTNeoConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=CONTEXT,
        hidden_size=16,
        num_layers=4,
        num_heads=4,
        intermediate_size=32,
        window_size=5,
        attention_types=[[["global", "local"], 2]],
        **SPECIAL,
    ),
    "gpt-j": GPTJConfig(**{**GPT2, "n_head": 2}, rotary_dim=4, tie_word_embeddings=False, **SPECIAL),
    "llama": LlamaConfig(**LLAMA, head_dim=6, tie_word_embeddings=False, **SPECIAL),
    "llama-tied": LlamaConfig(
        **LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 100_000.0}, tie_word_embeddings=True, **SPECIAL
    ),
    "llama-biased": LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True, tie_word_embeddings=False, **SPECIAL),
    "mistral": MistralConfig(**LLAMA, head_dim=6, sliding_window=5, **SPECIAL),
    "qwen2": Qwen2Config(**LLAMA, use_sliding_window=True, sliding_window=7, max_window_layers=1, tie_word_embeddings=True, **SPECIAL),
    "phi": PhiConfig(**BLOCKS, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}, **SPECIAL),
    "phi3": Phi3Config(**LLAMA, pad_token_id=0, **SPECIAL),
    "stablelm": StableLmConfig(
        **BLOCKS,
        use_qkv_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
        **SPECIAL,
    ),
    "starcoder2": Starcoder2Config(**BLOCKS, sliding_window=None, **SPECIAL),
    "gpt-bigcode": GPTBigCodeConfig(**GPT2, n_inner=40, **SPECIAL),
    "granite": GraniteConfig(
        **LLAMA,
        embedding_multiplier=3.0,
        attention_multiplier=0.3,
        residual_multiplier=0.7,
        logits_scaling=0.8,
        tie_word_embeddings=True,
        **SPECIAL,
    ),
    "gemma": GemmaConfig(**LLAMA, head_dim=6, **SPECIAL),
    "llama-3.1": LlamaConfig(
        **LLAMA,
        head_dim=16,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        **SPECIAL,
    ),
    "llama-linear": LlamaConfig(
        **LLAMA, rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.5}, **SPECIAL
    ),
    "llama-yarn": LlamaConfig(
        **LLAMA,
        head_dim=16,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10_000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        **SPECIAL,
    ),
    "qwen3": Qwen3Config(**LLAMA, head_dim=6, **SPECIAL),
    "smollm3": SmolLM3Config(**{**LLAMA, "num_hidden_layers": 4}, pad_token_id=0, **SPECIAL),
    "olmo2": Olmo2Config(**LLAMA, pad_token_id=0, **SPECIAL),
    "gemma2": Gemma2Config(
        **LLAMA,
        head_dim=6,
        query_pre_attn_scalar=9,
        sliding_window=5,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=4.0,
        **SPECIAL,
    ),
    "gemma3": Gemma3TextConfig(
        **{**LLAMA, "num_hidden_layers": 6, "intermediate_size": 12},
        head_dim=6,
        query_pre_attn_scalar=9,
        sliding_window=5,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        **SPECIAL,
    ),
    "gpt-neox": GPTNeoXConfig(
        **{key: value for key, value in BLOCKS.items() if key != "num_key_value_heads"},
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
        **SPECIAL,
    ),
    "opt": OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        ffn_dim=24,
        max_position_embeddings=CONTEXT,
        num_attention_heads=4,
        pad_token_id=1,
        **SPECIAL,
    ),
    "falcon": FalconConfig(**FALCON, **SPECIAL),
    "falcon-apart": FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2, bias=True, **SPECIAL),
    "mixtral": MixtralConfig(**{**LLAMA, "intermediate_size": 8}, num_local_experts=5, num_experts_per_tok=2, **SPECIAL),
    "qwen3-moe": Qwen3MoeConfig(
        **LLAMA, head_dim=6, moe_intermediate_size=8, num_experts=7, num_experts_per_tok=3, norm_topk_prob=True, **SPECIAL
    ),
    "phi3-long": Phi3Config(
        **{**LLAMA, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8 * CONTEXT},
        original_max_position_embeddings=CONTEXT,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.0, 1.0],
            "long_factor": [1.0, 4.0, 8.5],
        },
        sliding_window=7,
        tie_word_embeddings=True,
        pad_token_id=0,
        **SPECIAL,
    ),
    "llama-longrope": LlamaConfig(
        **LLAMA,
        head_dim=6,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "short_factor": [1.25, 1.25, 1.25],
            "long_factor": [1.25, 1.25, 1.25],
            "factor": 2.0,
            "attention_factor": 1.125,
            "original_max_position_embeddings": LENGTH // 2,
        },
        **SPECIAL,
    ),
}


def lively(model):
    """Draws parameters large enough that every path through the model matters."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape)
            is_norm = "ln_" in name or "norm" in name
            if is_norm and name.endswith("weight"):
                # Gemma adds the 1 itself.
                parameter.copy_((not model.config.model_type.startswith("gemma")) + 0.2 * noise)
            else:
                parameter.copy_((0.3 if parameter.dim() >= 2 else 0.1) * noise)


def rewrite(folder, change):
    """Applies `change` to the tensors of the only file in `folder`."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor.contiguous() for name, tensor in change(tensors).items()}, path, metadata={"format": "pt"})


def like_the_first_gpt2(tensors):
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    mask = torch.tril(torch.ones(CONTEXT, CONTEXT)).view(1, 1, CONTEXT, CONTEXT)
    return bare | {f"h.{layer}.attn.bias": mask.clone() for layer in range(GPT2["n_layer"])}


def with_a_copy_of_the_head(tensors):
    return tensors | {"lm_head.weight": tensors["transformer.wte.weight"].clone()}


def spelt_the_older_way(path):
    config = json.loads(path.read_text())
    rotary = config.pop("rope_parameters")
    del config["head_dim"]
    theta, kind = rotary.pop("rope_theta"), rotary.pop("rope_type")
    scaling = {"type": kind, **rotary} if rotary else None
    config |= {"rope_theta": theta, "rope_scaling": scaling, "torch_dtype": config.pop("dtype")}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write(folder, name, config, seed):
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    lively(model)
    if name == "llama-tied":
        model = model.bfloat16()
    model.save_pretrained(folder, **({"max_shard_size": "12KB"} if name == "llama" else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name == "gpt2":
        rewrite(folder, like_the_first_gpt2)
    elif name == "dialogpt":
        rewrite(folder, with_a_copy_of_the_head)
    elif name in ("llama-tied", "llama-linear"):
        spelt_the_older_way(folder / "config.json")
    # The reference is the checkpoint as transformers reads it.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH))
    with torch.no_grad():
        logits = model(tokens).logits
    save_file({"tokens": tokens, "logits": logits.contiguous()}, folder / "reference.safetensors")
    print(f"{name}: {sum(file.stat().st_size for file in folder.iterdir())} bytes, logits within ±{logits.abs().max():.1f}")


def main():
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= FIXTURES.keys():
        sys.exit(__doc__)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for seed, (name, config) in enumerate(FIXTURES.items()):
        if name in (sys.argv[2:] or FIXTURES):
            write(Path(sys.argv[1]) / name, name, config, seed)


main()
