#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Feeds parsers with bytes that libFuzzer makes of their seeds, and keeps those that break one.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

folder="$POL_CACHE/fuzz"
usage() {
    cat <<USAGE
usage: scripts/fuzz.sh [--seconds N] [TARGET ...]
       scripts/fuzz.sh --input FILE TARGET
       scripts/fuzz.sh --list

Builds the targets of the crate fuzz with coverage counters and overflow checks, by the compiler
that builds everything else, and runs each for a minute, or those that are named. The first build
takes about a quarter of an hour on two cores and needs a C++ compiler and 2 GB of disk.

A target reads bytes by one parser and checks what holds of all bytes. Inputs that reach new code
are kept in a folder below POL_CACHE, and the next run goes on from them. An input that breaks a
target is kept too, and its path is printed. The exit code is 0 only if none is found.

  --seconds N   time for each target (60)
  --input FILE  run one target on one input, such as one that broke it
  --list        print the names of all targets

Columns: executions and executions a second, counters reached in the code, inputs kept.
USAGE
}

seconds=60 input="" list="" targets=()
while [ $# -gt 0 ]; do
    case "$1" in
        --seconds)
            seconds="${2:-}"
            case "$seconds" in
                '' | *[!0-9]* | 0) echo "fuzz: --seconds takes a number above 0" >&2; exit 2 ;;
            esac
            shift ;;
        --input)
            input="${2:-}"
            [ -r "$input" ] || { echo "fuzz: --input takes a file that can be read" >&2; exit 2; }
            shift ;;
        --list) list=1 ;;
        -h | --help) usage; exit 0 ;;
        -*) echo "fuzz: unknown option '$1'" >&2; usage >&2; exit 2 ;;
        *) targets+=("$1") ;;
    esac
    shift
done
if [ -n "$input" ] && [ ${#targets[@]} != 1 ]; then
    echo "fuzz: --input needs the name of one target; --list prints all" >&2
    exit 2
fi

# --- build ----------------------------------------------------------------------------------------
if ! command -v "${CXX:-c++}" >/dev/null; then
    echo "fuzz: libFuzzer needs a C++ compiler; install g++ or clang, or set CXX" >&2
    exit 2
fi
# Counters of edges and of comparisons, which libFuzzer reads. A target for the compiler keeps them
# out of build scripts and macros, which have no libFuzzer.
flags=(-Cpasses=sancov-module)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=("-Cllvm-args=-sanitizer-coverage-$option")
done
flags+=(-Cdebug-assertions -Coverflow-checks)
host="$(rustc -vV | sed -n 's/^host: //p')"
[ -d "$folder/target" ] || echo "==> building (about a quarter of an hour the first time)" >&2
env -u RUSTC_WORKSPACE_WRAPPER CARGO_TARGET_DIR="$folder/target" RUSTFLAGS="${flags[*]}" \
    cargo build --quiet --release --locked -p pol-fuzz --features libfuzzer --target "$host"
program="$folder/target/$host/release/pol-fuzz"

mapfile -t known < <("$program" 2>/dev/null)
[ ${#known[@]} -gt 0 ] || { echo "fuzz: $program does not run" >&2; exit 1; }
if [ -n "$list" ]; then
    printf '%s\n' "${known[@]}"
    exit 0
fi
[ ${#targets[@]} -gt 0 ] || targets=("${known[@]}")
for target in "${targets[@]}"; do
    if [[ " ${known[*]} " != *" $target "* ]]; then
        echo "fuzz: there is no target $target; --list prints all" >&2
        exit 2
    fi
done

# --- runs, one after the other --------------------------------------------------------------------
limits=(-timeout=20 -rss_limit_mb=2048 -max_len=65536)
if [ -n "$input" ]; then
    POL_FUZZ_TARGET="${targets[0]}" exec "$program" "${limits[@]}" "$input"
fi
status=0
figure() { sed -n "s/^stat::$1: *//p" "$log" | tail -n 1; }
printf '%-18s %12s %8s %9s %7s\n' target executions 'a second' counters inputs
for target in "${targets[@]}"; do
    corpus="$folder/corpus/$target" found="$folder/found" log="$folder/$target.log"
    mkdir -p "$corpus" "$found"
    result=0
    POL_FUZZ_TARGET="$target" POL_FUZZ_SEEDS="$corpus" "$program" "${limits[@]}" \
        -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$found/$target-" \
        "$corpus" >"$log" 2>&1 || result=$?
    counters="$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 || true)"
    printf '%-18s %12s %8s %9s %7s\n' "$target" "$(figure number_of_executed_units)" \
        "$(figure average_exec_per_sec)" "${counters#cov: }" \
        "$(find "$corpus" -type f | wc -l)"
    if [ "$result" != 0 ]; then
        status=1
        grep -E "panicked|ERROR: libFuzzer|Test unit written" -A 2 "$log" >&2 || tail -n 5 "$log" >&2
        echo "fuzz: $target broke; all it printed is in $log" >&2
    fi
done
exit "$status"
