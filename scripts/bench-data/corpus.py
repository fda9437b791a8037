# SPDX-License-Identifier: Apache-2.0
"""Makes the corpus of the benchmark, a tokenizer of it, and datatrove's model of quality.

usage: corpus.py EXAMPLES OUT MEGABYTES WITH_DATATROVE
"""

import json
import pathlib
import sys

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "quality-set"))
from generators import Rng  # noqa: E402

SEED = 20260701


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


def write_tokenizer(out):
    """Trains the tokenizer that both programs use: bytes, words as GPT-2 splits them, 8,192."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    with (out / "corpus.jsonl").open() as file:
        tokenizer.train_from_iterator((json.loads(line)["text"] for line in file), trainer)
    tokenizer.save(str(out / "tokenizer.json"))


def write_classifier(examples, out):
    """Trains fastText on the training examples, as datatrove's stage of quality needs a model."""
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
    model.save_model(str(out / "fasttext.bin"))
    (out / "fasttext.txt").unlink()


def main():
    examples, out = map(pathlib.Path, sys.argv[1:3])
    megabytes, with_datatrove = map(int, sys.argv[3:5])
    write_corpus(examples, out, megabytes * 1_000_000)
    write_tokenizer(out)
    if with_datatrove:
        write_classifier(examples, out)


if __name__ == "__main__":
    main()
