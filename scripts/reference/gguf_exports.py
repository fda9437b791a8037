#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares exported GGUF files with those that llama.cpp's converter would make, and with the texts of the reference.

usage: PYTHON scripts/reference/gguf_exports.py EXPORTS trainer/crates/import/tests/fixtures

PYTHON is any with: pip install gguf==0.19.0 xllamacpp
EXPORTS is that of exports.py, which has to be run before. Each file is read by the package of llama.cpp. Where the fixtures have a file
of the same model, both have the same tensors, bit for bit, and what the fixture says of its architecture the export says too. Then
llama.cpp itself (in xllamacpp) continues each fixture's text with the likeliest tokens, and they are those of the reference.
"""

import json
import sys
from pathlib import Path

import numpy as np
import xllamacpp
from gguf import GGUFReader

# llama.cpp has GELU's tanh form in the place of the exact one.
NEAR = 2e-2
# Queries of Gemma 2 and 3, whose scale the fixtures leave out, as llama.cpp's converter does.
SCALED = {"gemma2": ".attn_q.", "gemma3": ".attn_q_norm."}
# A head's size, which llama.cpp takes from others here.
DERIVED = ("attention.key_length", "attention.value_length", "rope.dimension_count")


def fields(reader):
    return {key: field.contents() for key, field in reader.fields.items() if not key.startswith(("GGUF.", "general."))}


def compare(ours, theirs):
    scaled = SCALED.get(theirs.stem, "nothing")
    ours, theirs = GGUFReader(ours), GGUFReader(theirs)
    if ours.fields["general.architecture"].contents() != theirs.fields["general.architecture"].contents():
        return []
    tensors = [{tensor.name: tensor for tensor in reader.tensors} for reader in (ours, theirs)]
    faults = [f"only one has {name}" for name in tensors[0].keys() ^ tensors[1].keys() if name != "output.weight"]
    for name in tensors[0].keys() & tensors[1].keys():
        if scaled not in name and not np.array_equal(tensors[0][name].data, tensors[1][name].data):
            faults.append(f"{name} differs")
    said = fields(ours)
    for key, value in fields(theirs).items():
        if key.startswith("tokenizer.") or key.endswith(DERIVED) and key not in said:
            continue
        if said.get(key) != value and not (isinstance(value, float) and abs(said.get(key, 0) - value) <= 1e-6 * abs(value)):
            faults.append(f"{key} is {said.get(key)}, not {value}")
    return faults


def continuation(path, text):
    """The tokens by which llama.cpp continues a text, and their scores."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, -1
    params.cpuparams.n_threads = 1
    # Keys and values of half precision, the usual ones, would move scores further than the models do.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    request = {"prompt": text["prompt"], "max_tokens": len(text["tokens"]), "temperature": 0, "top_k": 1, "logprobs": 1}
    answer = xllamacpp.Server(params).handle_completions({**request, "ignore_eos": True})
    words = answer["choices"][0]["logprobs"]["content"]
    return [word["id"] for word in words], [word["logprob"] for word in words]


def differs(path, text):
    """Faults of a continuation. Two tokens that are equally likely may be either, which ends the comparison."""
    far = 0.0
    compared = 0
    for token, score, expected, of in zip(*continuation(path, text), text["tokens"], text["scores"], strict=True):
        far, compared = max(far, abs(score - of)), compared + 1
        if token != expected:
            break
    print(f"{path.stem}: the scores of llama.cpp's {compared} first tokens are within {far:.1e}")
    return [] if compared and far < NEAR else [f"scores are {far} away"]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    exports, fixtures = map(Path, sys.argv[1:])
    texts, bad = json.loads((exports / "greedy.json").read_text()), []
    if not texts:
        sys.exit("gguf_exports: there are no exports")
    for path in sorted((exports / "gguf").glob("*.gguf")):
        reader, faults = GGUFReader(path), []
        if (fixtures / path.name).is_file():
            faults = compare(path, fixtures / path.name)
        print(f"{path.stem}: {len(reader.tensors)} tensors")
        faults += differs(path, texts[path.stem])
        print(*faults, sep="\n", end="\n" if faults else "")
        if faults:
            bad.append(path.stem)
    if bad:
        sys.exit(f"gguf_exports: not as llama.cpp has them: {bad}")


main()
