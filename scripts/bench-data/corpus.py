# SPDX-License-Identifier: Apache-2.0
"""Makes the corpus of the benchmark, pages of it, passages to look for, a tokenizer, and datatrove's
model of quality.

usage: corpus.py EXAMPLES OUT MEGABYTES WITH_DATATROVE
"""

import html
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "quality-set"))
from generators import Rng  # noqa: E402

SEED = 20260701
# Pages take this share of the corpus: datatrove needs many milliseconds for each.
PAGES_SHARE = 8
# Passages that no document may have, and the words of each.
PROBES, PROBE_WORDS = 400, 30


def originals(examples):
    """Yields the texts of both files of examples, two of three of them good."""
    good, poor = [], []
    for name in ("train", "test"):
        for line in (examples / f"{name}.jsonl").read_text().splitlines():
            example = json.loads(line)
            (good if example["good"] else poor).append(example["text"])
    rng = Rng(SEED)
    rng.shuffle(good)
    rng.shuffle(poor)
    while good and poor:
        yield (good if rng.below(3) else poor).pop()
    yield from good
    yield from poor


def edited(text, rng):
    """Replaces one word of fifty: a near duplicate."""
    words = text.split(" ")
    for _ in range(len(words) // 50):
        words[rng.below(len(words))] = rng.pick(words)
    return " ".join(words)


def write_corpus(examples, out, limit):
    """Writes texts, of which one of eight is a copy and one of eight an edited copy."""
    rng, kept, size = Rng(SEED + 1), [], 0
    fresh = originals(examples)
    with (out / "corpus.jsonl").open("w") as file:
        for number in range(1 << 30):
            choice = rng.below(8) if len(kept) > 100 else 8
            # When the originals are used up, they come again with other words.
            text = rng.pick(kept) if choice < 2 else next(fresh, None)
            if text is None:
                text = rng.pick(kept)
                words = text.split(" ")
                rng.shuffle(words)
                text = " ".join(words)
            if choice == 1:
                text = edited(text, rng)
            elif choice >= 2:
                kept.append(text)
            size += file.write(json.dumps({"text": text, "id": str(number)}) + "\n")
            if size >= limit:
                return


def texts_of(out):
    """Yields the texts of the corpus."""
    with (out / "corpus.jsonl").open() as lines:
        for line in lines:
            yield json.loads(line)["text"]


def page_of(text, rng, words):
    """Returns a page with the text between a menu, a column of links, and a notice."""
    def links(count):
        names = [html.escape(" ".join(rng.some(words, 1, 4))) for _ in range(count)]
        return "".join(f'<li><a href="/{at}">{name}</a></li>' for at, name in enumerate(names))
    paragraphs = [html.escape(part) for part in text.split("\n\n") if part.strip()]
    body = "".join(f"<p>{part}</p>\n" for part in paragraphs)
    title = html.escape(" ".join(rng.some(words, 3, 8)))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>body {{ margin: 0 }}</style><script>var a = 1 < 2;</script></head><body>\n"
        f'<header><nav class="menu"><ul>{links(20)}</ul></nav></header>\n<main><article>'
        f'<h1>{title}</h1>\n{body}</article></main>\n<aside class="related"><ul>{links(12)}</ul>'
        f"</aside>\n<footer><p>All rights reserved.</p><ul>{links(8)}</ul></footer></body></html>")


def write_pages(out, limit):
    """Writes pages with the first texts of the corpus that are long enough."""
    rng, size = Rng(SEED + 2), 0
    with (out / "pages.jsonl").open("w") as file:
        for number, text in enumerate(texts_of(out)):
            words = text.split()
            if len(words) < 100:
                continue
            page = page_of(text, rng, words)
            size += file.write(json.dumps({"text": page, "id": str(number)}) + "\n")
            if size >= limit:
                return


def write_probes(out):
    """Writes passages of texts of the corpus at equal distances."""
    texts = list(texts_of(out))
    with (out / "probes.jsonl").open("w") as file:
        for text in texts[::max(1, len(texts) // PROBES)]:
            words = text.split()
            start = len(words) // 3
            passage = " ".join(words[start:start + PROBE_WORDS])
            file.write(json.dumps({"text": passage}) + "\n")


def write_tokenizer(out):
    """Trains the tokenizer that both programs use: bytes, words as GPT-2 splits them, 8,192."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts_of(out), trainer)
    tokenizer.save(str(out / "tokenizer.json"))


def train_classifier(examples, out):
    """Trains fastText on the training examples."""
    import fasttext

    lines = []
    for line in (examples / "train.jsonl").read_text().splitlines():
        example = json.loads(line)
        label = "good" if example["good"] else "poor"
        lines.append(f"__label__{label} " + " ".join(example["text"].split()))
    (out / "fasttext.txt").write_text("\n".join(lines))
    model = fasttext.train_supervised(
        str(out / "fasttext.txt"), wordNgrams=2, dim=16, bucket=1 << 18, epoch=5, thread=1,
        verbose=0)
    (out / "fasttext.txt").unlink()
    return model


def main():
    examples, out = map(pathlib.Path, sys.argv[1:3])
    megabytes, with_datatrove = map(int, sys.argv[3:5])
    write_corpus(examples, out, megabytes * 1_000_000)
    write_pages(out, megabytes * 1_000_000 // PAGES_SHARE)
    write_probes(out)
    write_tokenizer(out)
    if with_datatrove:
        # datatrove's stage of quality needs a model.
        train_classifier(examples, out).save_model(str(out / "fasttext.bin"))


if __name__ == "__main__":
    main()
