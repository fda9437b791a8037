# SPDX-License-Identifier: Apache-2.0
"""Runs datatrove's stages on the corpus of the benchmark, and prints one JSON object for each.

usage: datatrove_stages.py FOLDER OUT

Every stage reads JSON lines and writes JSON lines, as datatrove's own examples do. Its filters are
those that FineWeb was made with, but for the language, whose model cannot be fetched everywhere.
"""

import json
import pathlib
import resource
import sys
import time

from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig, ExactDedupFilter, ExactDedupSignature, ExactFindDedups)
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter,
    MinhashDedupSignature)
from datatrove.pipeline.filters import (
    C4QualityFilter, FastTextClassifierFilter, FineWebQualityFilter, GopherQualityFilter,
    GopherRepetitionFilter)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter

# Bands and rows of this project's default.
MINHASH = MinhashConfig(n_grams=5, num_buckets=21, hashes_per_bucket=6)


def text_of(document: Document) -> str:
    return document.text


EXACT = ExactDedupConfig(content_getter=text_of)


def processor_seconds():
    """Returns the processor time of this process and its children so far."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def amount(folder):
    """Returns the documents and bytes of text of a folder of JSON lines."""
    documents = size = 0
    for path in sorted(folder.glob("*.jsonl")):
        with path.open() as lines:
            for line in lines:
                documents += 1
                size += len(json.loads(line)["text"].encode())
    return documents, size


class Run:
    """Stages, each of which reads the output of the one before it."""

    def __init__(self, folder, out):
        self.out, self.input = out, folder / "corpus"
        self.input.mkdir(exist_ok=True)
        link = self.input / "corpus.jsonl"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve() / "corpus.jsonl")

    def stage(self, name, pipelines):
        """Runs the pipelines of a stage, each with its number of tasks, and prints a record."""
        documents, size = amount(self.input)
        output = self.out / name
        start, wall = processor_seconds(), time.monotonic()
        for number, (steps, tasks) in enumerate(pipelines(self.input, output)):
            logs = str(self.out / "logs" / f"{name}-{number}")
            LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=logs).run()
        record = {
            "stage": name, "documents": documents, "bytes": size,
            "cpu_seconds": processor_seconds() - start,
            "wall_seconds": time.monotonic() - wall,
        }
        print(json.dumps(record), flush=True)
        self.input = output


def reader(folder):
    return JsonlReader(str(folder), glob_pattern="*.jsonl")


def writer(folder):
    return JsonlWriter(str(folder), compression=None)


def filters(source, output):
    steps = [
        reader(source), GopherRepetitionFilter(), GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False), FineWebQualityFilter(), PIIFormatter(),
        writer(output)]
    return [(steps, 1)]


def deduplicate(source, output):
    work = output.parent / "duplicates"
    at = {name: str(work / name) for name in
          ("exact-signatures", "exact-found", "exact", "signatures", "buckets", "removed")}
    return [
        ([reader(source), ExactDedupSignature(at["exact-signatures"], EXACT)], 1),
        ([ExactFindDedups(at["exact-signatures"], at["exact-found"], EXACT)], 1),
        ([reader(source), ExactDedupFilter(at["exact-found"], EXACT), writer(work / "exact")], 1),
        ([reader(work / "exact"), MinhashDedupSignature(at["signatures"], MINHASH)], 1),
        ([MinhashDedupBuckets(at["signatures"], at["buckets"], config=MINHASH)],
         MINHASH.num_buckets),
        ([MinhashDedupCluster(at["buckets"], at["removed"], config=MINHASH)], 1),
        ([reader(work / "exact"), MinhashDedupFilter(at["removed"]), writer(output)], 1),
    ]


def main():
    folder, out = map(pathlib.Path, sys.argv[1:3])
    run = Run(folder, out)
    run.stage("read", lambda source, output: [([reader(source), writer(output)], 1)])
    run.input = folder / "corpus"
    run.stage("filter", filters)
    run.stage("deduplicate", deduplicate)
    model = str((folder / "fasttext.bin").resolve())
    run.stage("score", lambda source, output: [([
        reader(source), FastTextClassifierFilter(model, keep_labels=("good", 0.25),
                                                 newline_replacement=" "), writer(output)], 1)])
    run.stage("tokenise", lambda source, output: [([
        reader(source), DocumentTokenizer(
            str(output), str(folder / "tokenizer.json"), eos_token="<|endoftext|>",
            shuffle_documents=False)], 1)])
    peak = max(resource.getrusage(who).ru_maxrss
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"peak_bytes": peak * 1024}))


if __name__ == "__main__":
    main()
