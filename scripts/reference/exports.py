#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares exported models with the reference: transformers reads each folder, and its logits are those of the fixture.

usage: POL_EXPORTS=EXPORTS cargo test --release -p pol-import --test import export::every
       "$(scripts/reference/setup.sh)" scripts/reference/exports.py EXPORTS trainer/crates/import/tests/fixtures

EXPORTS must not exist. The tests leave EXPORTS/hf/NAME and EXPORTS/gguf/NAME.gguf of each fixture there. This script writes
EXPORTS/greedy.json, the tokens that follow the first eight of each fixture's text if the likeliest is always taken, with the logarithms
of their probabilities; gguf_exports.py compares llama.cpp's with them.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT, NEW, NEAR, END = 8, 12, 1e-4, 0


def greedy(model, tokens):
    text, scores = tokens[:1, :PROMPT], []
    for _ in range(NEW):
        likely = model(text).logits[:, -1].log_softmax(-1)
        # Texts do not end.
        likely[:, END] = -torch.inf
        score, token = likely.max(-1)
        text = torch.cat([text, token[:, None]], 1)
        scores.append(score.item())
    return {"prompt": text[0, :PROMPT].tolist(), "tokens": text[0, PROMPT:].tolist(), "scores": scores}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    exports, fixtures = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    texts, far = {}, []
    for folder in sorted((exports / "hf").iterdir()):
        reference = load_file(fixtures / folder.name / "reference.safetensors")
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        with torch.no_grad():
            difference = (model.eval()(reference["tokens"]).logits - reference["logits"]).abs().max().item()
            texts[folder.name] = greedy(model, reference["tokens"])
        tokens = AutoTokenizer.from_pretrained(folder)("the an.12")["input_ids"]
        faults = [f"{key}: {sorted(names)}" for key, names in info.items() if names]
        print(f"{folder.name}: {type(model).__name__}, logits within {difference:.1e}, {len(tokens)} tokens", *faults)
        if not difference < NEAR or faults or not tokens:
            far.append(folder.name)
    (exports / "greedy.json").write_text(json.dumps(texts))
    if far or not texts:
        sys.exit(f"exports: another model than the reference's: {far}")
    print(f"{len(texts)} folders compute what the reference does")


main()
