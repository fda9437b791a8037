#!/usr/bin/env bash
# Everything that has to hold: format, lints, unit, property, pallet and end-to-end tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

case "${1:-}" in
    '') ;;
    -h | --help) echo "usage: scripts/test.sh: sets up what is missing, then runs every check and test"; exit 0 ;;
    *) echo "test: unknown option '$1'" >&2; exit 2 ;;
esac

step() { printf '\033[1m==> %s\033[0m\n' "$*"; }
./scripts/setup.sh
step "format"
cargo fmt --all --check
step "building and linting everything (25 minutes the first time on two cores)"
cargo build --release --locked --workspace --all-targets
step "tests"
cargo test --release --locked --workspace --no-fail-fast
