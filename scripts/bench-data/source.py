# SPDX-License-Identifier: Apache-2.0
"""Makes a large source: one text, or documents.

usage: source.py KIND CORPUS FILE BYTES

Writes BYTES of text to FILE: one text if its name ends in .txt, and JSON lines of documents of some
3 kB if it ends in .jsonl.gz. The same arguments give the same text.

KIND is `sentences`, for sentences of the corpus in any order, or `noise`, for words of six letters
at random, of which nearly all occur once. Noise is one text.
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
# Letters of a word of noise, words of a line, and lines that are written at a time.
WORD, LINE, LINES = 6, 12, 10_000


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


def write_noise(path, size):
    rng = random.Random(SEED)
    # Nearly each letter is as frequent as the others: 256 is no multiple of 26.
    letters = bytes(ord("a") + byte % 26 for byte in range(256))
    words = LINES * LINE
    with path.open("wb") as file:
        while size > 0:
            drawn = rng.randbytes(words * WORD).translate(letters)
            text = bytearray(b" " * (words * (WORD + 1)))
            for at in range(WORD):
                text[at::WORD + 1] = drawn[at::WORD]
            text[LINE * (WORD + 1) - 1::LINE * (WORD + 1)] = b"\n" * LINES
            file.write(text[:size])
            size -= len(text)


def write_sentences(corpus, path, size):
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


def main(kind, corpus, path, size):
    if kind == "noise" and path.suffix == ".txt":
        write_noise(path, size)
    elif kind == "sentences":
        write_sentences(corpus, path, size)
    else:
        sys.exit(f"source.py: no {kind} can be made in {path.name}; see the usage in this file")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), int(sys.argv[4]))
