# SPDX-License-Identifier: Apache-2.0
"""Prints how well fastText, trained on the same examples as the bundled model, tells poor text.

usage: fasttext_auroc.py EXAMPLES

The figure is the area under the curve: the probability that a good text scores higher than a poor
one, over all texts and by the kind of the poor ones. `pol-trainer data train-quality` prints it for
the model of this project.
"""

import bisect
import json
import pathlib
import sys
import tempfile

from corpus import train_classifier


def score(model, text):
    labels, shares = model.predict(" ".join(text.split()), k=2)
    return dict(zip(labels, shares)).get("__label__good", 0.0)


def auroc(good, poor):
    poor = sorted(poor)
    halves = sum(bisect.bisect_left(poor, one) + bisect.bisect_right(poor, one) for one in good)
    return halves / (2 * len(good) * len(poor))


def main(examples):
    with tempfile.TemporaryDirectory() as scratch:
        model = train_classifier(examples, pathlib.Path(scratch))
    good, poor = [], {}
    for line in (examples / "test.jsonl").read_text().splitlines():
        example = json.loads(line)
        scores = good if example["good"] else poor.setdefault(example["kind"], [])
        scores.append(score(model, example["text"]))
    print(f"all: {auroc(good, [one for scores in poor.values() for one in scores]):.3f}")
    for kind, scores in sorted(poor.items()):
        print(f"{kind}: {auroc(good, scores):.3f} of {len(scores)} texts")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
