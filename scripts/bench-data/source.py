# SPDX-License-Identifier: Apache-2.0
"""Makes a large source of sentences of the corpus in any order: one text, or documents.

usage: source.py CORPUS FILE BYTES

Writes BYTES of text to FILE: one text if its name ends in .txt, and JSON lines of documents of some
3 kB if it ends in .jsonl.gz. The same arguments give the same text.
"""

import gzip
import json
import pathlib
import random
import re
import sys

SEED = 20260701
# Sentences of a document, and of a paragraph.
DOCUMENT, PARAGRAPH = 24, 6
# Documents that are written at a time.
BATCH = 1000


def sentences(corpus):
    text = "\n\n".join(path.read_text("utf-8", "replace") for path in sorted(corpus.glob("*.txt")))
    found = re.split(r"(?<=[.!?;])\s+", text)
    return sorted({" ".join(one.split()) for one in found if 40 <= len(one) <= 400})


def documents(pool):
    rng = random.Random(SEED)
    while True:
        chosen = rng.choices(pool, k=DOCUMENT)
        yield "\n\n".join(
            " ".join(chosen[at:at + PARAGRAPH]) for at in range(0, DOCUMENT, PARAGRAPH))


def main(corpus, path, size):
    pool, left = sentences(corpus), size
    is_lines = path.name.endswith(".gz")
    opened = gzip.open(path, "wb", compresslevel=1) if is_lines else path.open("wb")
    with opened as file:
        batch = []
        for text in documents(pool):
            left -= len(text)
            batch.append(json.dumps({"text": text}) + "\n" if is_lines else text + "\n\n")
            if len(batch) == BATCH or left <= 0:
                file.write("".join(batch).encode())
                batch.clear()
            if left <= 0:
                return


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]))
