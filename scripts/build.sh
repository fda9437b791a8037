#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the whole workspace and shows how far it is. demo.sh, attacks.sh, and test.sh build through it,
# so that they all find the same crates built with the same features.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    -h | --help)
        cat <<'USAGE'
usage: scripts/build.sh [CARGO OPTION ...]

Builds every crate of the workspace in release mode. The first build takes about 25 minutes on two
cores, later ones seconds. On a terminal it shows cargo's progress bar; elsewhere it prints a line
every half minute with the number of crates built and an estimate of the time that remains.
Options go to cargo build, such as --all-targets.
USAGE
        exit 0 ;;
esac

. scripts/env.sh
build=(cargo build --release --locked --workspace "$@")
if [ -t 2 ]; then
    exec "${build[@]}"
fi

log="$(mktemp)"
pid=""
# shellcheck disable=SC2317 # The trap calls it.
stop() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    rm -f "$log"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
began=$SECONDS first="" printed=""
CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=100 CARGO_TERM_COLOR=never "${build[@]}" 2>"$log" &
pid=$!
report() { # The progress bar rewrites its line, so the last count in the log is the newest.
    local built total minutes=""
    IFS=/ read -r built total < <(tail -c 4000 "$log" | tr '\r' '\n' | grep -oE '\] [0-9]+/[0-9]+' | tail -n 1 | tr -d '] ') || return 0
    [ -n "${total:-}" ] || return 0
    [ -n "$first" ] || first=$built
    if [ $((built - first)) -ge 20 ] && [ "$built" -lt "$total" ]; then
        minutes=$(((SECONDS - began) * (total - built) / (built - first) / 60 + 1))
        minutes=", about $minutes min remain"
    fi
    echo "building: $built of $total crates$minutes" >&2
    printed=1
}
next=30
while kill -0 "$pid" 2>/dev/null; do
    sleep 0.5
    if [ $((SECONDS - began)) -ge "$next" ]; then
        report
        next=$((next + 30))
    fi
done
status=0
wait "$pid" || status=$?
pid=""
# Messages of the compiler, without the progress bar and the list of crates.
tr '\r' '\n' <"$log" | grep -vE '^\s*(Compiling|Checking|Building|Downloaded|Downloading|Fresh|Blocking|Locking|Updating) |^\s*$' |
    { if [ -n "$printed" ] || [ "$status" != 0 ]; then cat; else grep -v 'Finished' || true; fi; } >&2 || true
exit "$status"
