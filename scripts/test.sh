#!/usr/bin/env bash
# Everything that has to hold: format, lints, unit, property, pallet and end-to-end tests.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    '') ;;
    -h | --help) echo "usage: scripts/test.sh: sets up what is missing, then runs every check and test"; exit 0 ;;
    *) echo "test: unknown option '$1'" >&2; exit 2 ;;
esac

step() { printf '\033[1m==> %s\033[0m\n' "$*"; }
./scripts/setup.sh
. scripts/env.sh
step "format"
cargo fmt --all --check
step "building and linting everything (25 minutes the first time on two cores)"
# clippy is the compiler here, and cargo repeats the warnings of what it need not build again: one is a failure.
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
cargo build --release --locked --workspace --all-targets --color never 2>&1 | tee "$log"
if grep -q '^warning' "$log"; then
    echo "test: the warnings above are errors here" >&2
    exit 1
fi
step "tests"
cargo test --release --locked --workspace --no-fail-fast
