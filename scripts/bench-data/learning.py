# SPDX-License-Identifier: Apache-2.0
"""Makes a corpus of good and poor texts, and held-out text of other sources.

usage: learning.py EXAMPLES OUT CACHE

The corpus is the examples that the quality model was not trained on, one of four of them followed
by a copy of an earlier one: raw.txt as one text, raw.jsonl with a document a line. The held-out text
is of sources that are neither in the corpus nor among those of the quality model, so that no choice
of the pipeline can know it: manuals.jsonl and bible.jsonl. CACHE is where scripts/quality-set keeps
its packages.
"""

import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "quality-set"))
import sources  # noqa: E402
from generators import Rng  # noqa: E402

SEED = 20260701
# Most pieces of a held-out source.
MOST = 400
# Characters by which a file would not be taken for text.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def write_corpus(examples, out):
    rng, kept = Rng(SEED), []
    texts = [json.loads(line)["text"] for line in examples.read_text().splitlines()]
    rng.shuffle(texts)
    with (out / "raw.txt").open("w") as whole, (out / "raw.jsonl").open("w") as lines:
        for text in texts:
            kept.append(text)
            copies = [text] if rng.below(4) else [text, rng.pick(kept)]
            for copy in copies:
                whole.write(CONTROLS.sub(" ", copy) + "\n\n")
                lines.write(json.dumps({"text": copy}) + "\n")


def write_held_out(out, cache):
    known = {source for _, source, _, _ in sources.GOOD + sources.POOR}
    texts = {}
    for at, (kind, source, pieces) in enumerate(sources.OTHER):
        assert source not in known, source
        rng = Rng(SEED + at)
        found = sorted(set(pieces(cache, rng)))
        rng.shuffle(found)
        print(f"{kind}: {min(len(found), MOST)} of {len(found)} pieces of {source}",
              file=sys.stderr)
        texts.setdefault(kind, []).extend(found[:MOST])
    for kind, found in texts.items():
        lines = (json.dumps({"text": text}) + "\n" for text in found)
        (out / f"{kind}.jsonl").write_text("".join(lines))


def main(examples, out, cache):
    write_corpus(examples / "test.jsonl", out)
    write_held_out(out, cache)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:4]))
