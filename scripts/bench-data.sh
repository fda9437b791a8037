#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures the data pipeline beside datatrove: the same stages on the same corpus in the same run.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

usage() {
    cat <<'USAGE'
usage: scripts/bench-data.sh [--megabytes N] [--out DIR] [--without-datatrove] [--json]
       scripts/bench-data.sh --learning TOKENS [--out DIR]

Makes a corpus of N MB (default 40) with known duplicates from the examples of scripts/quality-set,
and runs these stages on it, each program on one core: read, filter, deduplicate, score, tokenise.
Both read the same documents in each stage, those that this program's stage before left, and both
read and write JSON lines. Prints for each stage the MB of its input that a second of processor time
is enough for, and the largest resident memory of each program. Takes some minutes, nearly all of
them of datatrove. A priority above all other work makes the figures steadier:
nice -n -10 scripts/bench-data.sh

datatrove 0.10.0 is installed from PyPI into a virtual environment of 0.8 GB below POL_CACHE, for
which Python 3.11 to 3.13 is needed. Without it, only the tokenizer's trainer is installed.

With --learning, trains the demo's model on so many tokens of a corpus as it is, of its documents
that are good enough, and of those that the rules for the web leave as well. Prints the losses on
manuals and on a Bible, which are sources of neither the corpus nor the quality model. 600000 tokens
take about ten minutes on two cores.

  --megabytes N         size of the corpus
  --out DIR             folder for the corpus and all outputs (default: a temporary one, removed)
  --without-datatrove   measure this program only
  --json                print one JSON object
USAGE
}

megabytes=40 out='' with_datatrove=1 json='' learning=''
while [ $# -gt 0 ]; do
    case "$1" in
        --megabytes) megabytes="${2:?a number follows --megabytes}"; shift ;;
        --out) out="${2:?a folder follows --out}"; shift ;;
        --without-datatrove) with_datatrove=0 ;;
        --json) json=--json ;;
        --learning) learning="${2:?a number of tokens follows --learning}"; shift ;;
        -h | --help) usage; exit 0 ;;
        *) echo "bench-data: unknown option '$1'" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
step() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
if [ -z "$out" ]; then
    out="$(mktemp -d)"
    trap 'rm -rf "$out"' EXIT
fi
mkdir -p "$out"

if [ -n "$learning" ]; then
    step "building"
    ./scripts/build.sh --bin pol-trainer --example learning
    step "making a corpus (fetches 130 MB once)"
    [ -f "$out/examples/test.jsonl" ] || python3 scripts/quality-set --out "$out/examples" >&2
    python3 scripts/bench-data/learning.py "$out/examples" "$out" "$POL_CACHE/quality-set"
    ingest() { # name, input, options...
        "$POL_BIN/pol-trainer" data ingest --out "$out/$1" --input "$out/$2" --held-out 0 --force "${@:3}" >&2
    }
    tokenizer=(--tokenizer "$out/raw/tokenizer.json")
    ingest raw raw.txt
    ingest scored raw.jsonl "${tokenizer[@]}" --min-quality 50
    ingest clean raw.jsonl "${tokenizer[@]}" --min-quality 50 --clean web
    ingest manuals manuals.jsonl "${tokenizer[@]}"
    ingest bible bible.jsonl "${tokenizer[@]}"
    "$POL_BIN/pol-trainer" recipe new --data "$out/raw" --preset demo --out "$out/recipe.json" >&2
    step "training on $learning tokens of each"
    cd "$out"
    "$POL_BIN/examples/learning" recipe.json manuals,bible "$learning" raw scored clean
    exit
fi

# --- programs -------------------------------------------------------------------------------------
environment="$POL_CACHE/bench-data" packages=(tokenizers)
if [ "$with_datatrove" = 1 ]; then
    environment="$POL_CACHE/datatrove-0.10.0"
    packages+=('datatrove[io]==0.10.0' nltk spacy regex 'xxhash<4' fasttext-numpy2-wheel fasteners)
fi
if [ ! -f "$environment/.complete" ]; then
    step "installing ${packages[*]} (up to two minutes)"
    python3 -m venv --clear "$environment"
    "$environment/bin/pip" install -q --disable-pip-version-check "${packages[@]}"
    touch "$environment/.complete"
fi
step "building the pipeline"
./scripts/build.sh --example pipeline_bench

# --- corpus ---------------------------------------------------------------------------------------
if [ ! -f "$out/examples/test.jsonl" ]; then
    step "making examples (fetches 130 MB once)"
    python3 scripts/quality-set --out "$out/examples" >&2
fi
step "making a corpus of $megabytes MB"
"$environment/bin/python" scripts/bench-data/corpus.py "$out/examples" "$out" "$megabytes" \
    "$with_datatrove"

# --- runs, one after the other --------------------------------------------------------------------
# One thread each: throughput is per core. Processor time hardly depends on what else runs.
export RAYON_NUM_THREADS=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
bench="$CARGO_TARGET_DIR/release/examples/pipeline_bench"
for mode in stages whole; do
    step "measuring this program: $mode"
    rm -rf "$out/pol-$mode"
    "$bench" "$mode" "$out" "$out/pol-$mode" >"$out/pol-$mode.jsonl"
done
rm -f "$out/datatrove.jsonl"
if [ "$with_datatrove" = 1 ]; then
    step "measuring datatrove"
    rm -rf "$out/datatrove"
    "$environment/bin/python" scripts/bench-data/datatrove_stages.py "$out" "$out/pol-stages" \
        "$out/datatrove" >"$out/datatrove.jsonl" 2>"$out/datatrove.log" ||
        { tail -n 20 "$out/datatrove.log" >&2; exit 1; }
fi
python3 scripts/bench-data/report.py "$out" $json
