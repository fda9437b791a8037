# SPDX-License-Identifier: Apache-2.0
"""Makes a corpus of good and poor texts, and held-out text of other sources.

usage: learning.py EXAMPLES OUT

The corpus is the examples that the quality model was not trained on, one of four of them followed
by a copy of an earlier one: raw.txt as one text, raw.jsonl with a document a line. held-out.jsonl has
the good texts that it was trained on, without code.
"""

import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "quality-set"))
from generators import Rng  # noqa: E402

SEED = 20260701
# Characters by which a file would not be taken for text.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def examples(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def main(folder, out):
    rng = Rng(SEED)
    texts = [example["text"] for example in examples(folder / "test.jsonl")]
    rng.shuffle(texts)
    kept = []
    with (out / "raw.txt").open("w") as whole, (out / "raw.jsonl").open("w") as lines:
        for text in texts:
            kept.append(text)
            copies = [text] if rng.below(4) else [text, rng.pick(kept)]
            for copy in copies:
                whole.write(CONTROLS.sub(" ", copy) + "\n\n")
                lines.write(json.dumps({"text": copy}) + "\n")
    with (out / "held-out.jsonl").open("w") as held_out:
        for example in examples(folder / "train.jsonl"):
            if example["good"] and example["kind"] != "code":
                held_out.write(json.dumps({"text": example["text"]}) + "\n")


main(*map(pathlib.Path, sys.argv[1:]))
