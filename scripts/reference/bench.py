#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures pol-trainer and the reference implementation on the same model and machine, and prints figures and ratios as JSON.

usage: "$(scripts/reference/setup.sh)" scripts/reference/bench.py MODEL [--trainer BINARY] [--rounds N] ...

MODEL is a folder made by `pol-trainer model import`, of the GPT-2 or LLaMA family. The reference gets exactly its weights, in float32,
as many threads, its fastest attention, and threads that spin while they wait or do not; it is measured once more in bfloat16, which
rounds weights and results. The two take turns, and the best of all rounds counts for each, so that what else the machine does matters less. Ratios are ours over theirs:
above 1 is better for speeds, below 1 for seconds and bytes.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

LOAD = dict(prompt=64, tokens=64)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--trainer", default="pol-trainer", help="binary to measure")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--sequence", type=int, default=128, help="tokens of a training sequence")
    parser.add_argument("--micro-batch", type=int, default=2, help="training sequences of a step for each thread")
    parser.add_argument("--reference", metavar="DTYPE", choices=["float32", "bfloat16"], help="measure the reference alone")
    return parser.parse_args()


def reference_model(folder, dtype):
    """The model of `folder` as transformers has it, with the very same weights."""
    import torch
    from safetensors.torch import load_file
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    spec = json.loads((folder / "spec.json").read_text())
    if not (folder / "model.safetensors").exists():
        sys.exit("bench.py: the model is a quantised file; import it with --decode")
    # Tensors of a lower precision are on disk in that precision.
    ours = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    rotary = spec["positions"] != "learned" and spec["positions"]["rotary"]
    layers, state = spec["layers"], {}
    if rotary and spec["gated"] and not rotary["interleaved"] and not spec["parallel"]:
        config = LlamaConfig(
            vocab_size=spec["vocabulary"], hidden_size=spec["width"], intermediate_size=spec["feed_forward"],
            num_hidden_layers=layers, num_attention_heads=spec["heads"], num_key_value_heads=spec["key_value_heads"],
            head_dim=spec["head_size"], max_position_embeddings=spec["context"], tie_word_embeddings=spec["tied"],
            rms_norm_eps=spec["norm"]["rms"]["epsilon"] / 1e9,
            rope_parameters={"rope_type": "default", "rope_theta": float(rotary["base"])},
        )  # fmt: skip
        if any(spec["biases"].values()):
            sys.exit("bench.py: a LLaMA model with biases is not supported")
        sizes = [count * spec["head_size"] for count in (spec["heads"], spec["key_value_heads"], spec["key_value_heads"])]
        state["model.embed_tokens.weight"] = ours["wte.weight"]
        state["model.norm.weight"] = ours["ln_f.weight"]
        state["lm_head.weight"] = ours.get("lm_head.weight", ours["wte.weight"])
        names = {"attn.c_proj": "self_attn.o_proj", "mlp.c_gate": "mlp.gate_proj", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}
        for i in range(layers):
            to = f"model.layers.{i}."
            for part, piece in zip("qkv", ours[f"h.{i}.attn.c_attn.weight"].split(sizes, dim=1)):
                state[f"{to}self_attn.{part}_proj.weight"] = piece.t().contiguous()
            for name, theirs in names.items():
                state[f"{to}{theirs}.weight"] = ours[f"h.{i}.{name}.weight"].t().contiguous()
            state[f"{to}input_layernorm.weight"] = ours[f"h.{i}.ln_1.weight"]
            state[f"{to}post_attention_layernorm.weight"] = ours[f"h.{i}.ln_2.weight"]
        kind = LlamaForCausalLM
    elif spec["positions"] == "learned" and not spec["gated"] and spec["local"] is None and spec["activation"] == "gelu_tanh":
        config = GPT2Config(
            vocab_size=spec["vocabulary"], n_positions=spec["context"], n_embd=spec["width"], n_layer=layers,
            n_head=spec["heads"], n_inner=spec["feed_forward"], layer_norm_epsilon=spec["norm"]["layer"]["epsilon"] / 1e9,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        state = {f"transformer.{name}": tensor for name, tensor in ours.items()}
        state["lm_head.weight"] = ours["wte.weight"]
        kind = GPT2LMHeadModel
    else:
        sys.exit("bench.py: only models of the GPT-2 and LLaMA families can be compared")
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = kind(config)
    result = model.load_state_dict(state, strict=False, assign=True)
    missing = [name for name in result.missing_keys if "rotary" not in name]
    if missing or result.unexpected_keys:
        sys.exit(f"bench.py: weights do not fit: missing {missing}, unexpected {result.unexpected_keys}")
    if rotary:
        # The one buffer that is computed rather than loaded.
        model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    model.tie_weights()
    return model.to(dtype)


def measure_reference(options):
    import torch

    torch.set_num_threads(os.cpu_count())
    dtype = getattr(torch, options.reference)
    start = time.perf_counter()
    model = reference_model(options.model, dtype).eval()
    figures = {"load_seconds": time.perf_counter() - start}
    vocabulary = model.config.vocab_size
    torch.manual_seed(0)

    def write(batch, tokens):
        prompt = torch.randint(0, vocabulary, (batch, LOAD["prompt"]))
        mask = torch.ones_like(prompt)
        length = dict(max_new_tokens=tokens, min_new_tokens=tokens)
        start = time.perf_counter()
        model.generate(prompt, attention_mask=mask, do_sample=False, pad_token_id=0, **length)
        return time.perf_counter() - start

    def speed(batch):
        # What the prompt and the first token take is subtracted, as ours counts only what is written after them.
        first = min(write(batch, 1) for _ in range(2))
        whole = write(batch, LOAD["tokens"] + 1)
        return {
            "prompt_tokens_per_second": batch * LOAD["prompt"] / first,
            "tokens_per_second": batch * LOAD["tokens"] / (whole - first),
        }

    with torch.inference_mode():
        write(1, 4)
        best, until = speed(1), time.perf_counter() + options.seconds
        while time.perf_counter() < until:
            best = max(best, speed(1), key=lambda figures: figures["tokens_per_second"])
        figures |= {"single": best, "eight": speed(8)}
    figures["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    if options.reference == "float32":
        model.train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        rows = options.micro_batch * os.cpu_count()
        tokens = torch.randint(0, vocabulary, (rows, options.sequence + 1))

        def step():
            logits = model(tokens[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

        step()
        start, steps = time.perf_counter(), 0
        while steps == 0 or time.perf_counter() - start < options.seconds:
            step()
            steps += 1
        figures["training_tokens_per_second"] = steps * rows * options.sequence / (time.perf_counter() - start)
    print(json.dumps(figures))


def child(command, wait="passive"):
    environment = os.environ | {"OMP_WAIT_POLICY": wait}
    result = subprocess.run(command, stdout=subprocess.PIPE, env=environment)
    if result.returncode:
        sys.exit(f"bench.py: {' '.join(map(str, command))} failed")
    return json.loads(result.stdout)


def best(rounds, better):
    """For every figure the best of `rounds`, whose shapes are equal."""
    if isinstance(rounds[0], dict):
        lower = ("seconds", "load_seconds", "peak_memory")
        return {key: best([each[key] for each in rounds], min if key in lower else max) for key in rounds[0]}
    return better(rounds)


def main():
    options = arguments()
    if options.reference:
        return measure_reference(options)
    ours, theirs, half = [], [], []
    common = ["--sequence", str(options.sequence), "--micro-batch", str(options.micro_batch), "--seconds", str(options.seconds)]
    for _ in range(options.rounds):
        ours.append(child([options.trainer, "bench", "--json", "--model", str(options.model), *common]))
        again = [sys.executable, __file__, str(options.model), *common, "--reference"]
        # Threads that spin while they wait are faster on an idle machine, and slower on any other.
        for wait in ("active", "passive"):
            theirs.append(child([*again, "float32"], wait))
            half.append(child([*again, "bfloat16"], wait))
    ours, theirs, half = best(ours, max), best(theirs, max), best(half, max)
    writing, ratios = ours["writing"], {}
    for rows in ("single", "eight"):
        for figure in ("prompt_tokens_per_second", "tokens_per_second"):
            ratios[f"{rows}_{figure}"] = writing[rows][figure] / theirs[rows][figure]
            ratios[f"{rows}_{figure}_over_bfloat16"] = writing[rows][figure] / half[rows][figure]
    ratios["training_stock"] = ours["training_tokens_per_second"]["stock"] / theirs["training_tokens_per_second"]
    ratios["training_exact"] = ours["training_tokens_per_second"]["exact"] / theirs["training_tokens_per_second"]
    for figure in ("load_seconds", "peak_memory"):
        ratios[figure] = writing[figure] / theirs[figure]
    print(json.dumps({"ours": ours, "reference_float32": theirs, "reference_bfloat16": half, "ratios": ratios}, indent=2))


if __name__ == "__main__":
    main()
