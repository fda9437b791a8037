#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every check that a change has to pass: figures, format, lints, all tests, and documentation.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    '') ;;
    -h | --help)
        cat <<'USAGE'
usage: scripts/test.sh

Sets up what is missing, then checks the figures of the code base (scripts/house.sh), the format,
and lints, runs the unit, property, pallet, documentation, and end-to-end tests, among them a fast
part of the attacks on real networks, with what each requires, and checks the API documentation,
unless 70 minutes have passed. It takes about half an hour on two cores once everything is built.
To run one test: cargo test --release --locked -p PACKAGE -- NAME, after `. scripts/env.sh`.
USAGE
        exit 0 ;;
    *) echo "test: unknown option '$1'" >&2; exit 2 ;;
esac

step() { printf '\033[1m==> %s\033[0m, %d s after the start\n' "$*" "$SECONDS"; }
# Says when each test program began, so that a log shows where the time went.
timed() {
    local line
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in *' Running '* | *' Doc-tests '*) line+=", $SECONDS s after the start" ;; esac
        printf '%s\n' "$line"
    done
}
./scripts/setup.sh
. scripts/env.sh
step "figures"
./scripts/house.sh
step "format"
cargo fmt --all --check
step "building and linting everything (about 25 minutes the first time on two cores)"
# clippy is the compiler here, and cargo repeats the warnings of crates that it does not build again.
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
./scripts/build.sh --all-targets 2>&1 | tee "$log"
if grep -q '^warning' "$log"; then
    echo "test: the warnings above are errors here" >&2
    exit 1
fi
step "features: traces, and operators without the standard library"
cargo test --release --locked -p pol-traces --features otlp --quiet
cargo test --release --locked -p pol-numerics --no-default-features --quiet -- --skip accuracy
step "tests"
if ! cargo test --release --locked --workspace --no-fail-fast 2>&1 | timed | tee "$log"; then
    step "what failed"
    grep -nE '^test .* FAILED$|panicked at |has overflowed|signal: |^error: ' -A 3 "$log" |
        tail -n 200 >&2
    exit 1
fi
# It is last, so that a slow machine loses nothing else.
check_documentation=(cargo doc --release --locked --workspace --no-deps --quiet)
if [ "$SECONDS" -gt 4200 ]; then
    step "documentation is left out, since all else took over 70 minutes; check it by"
    echo "RUSTDOCFLAGS='-D warnings' ${check_documentation[*]}"
    exit 0
fi
step "documentation (about five minutes the first time)"
RUSTDOCFLAGS="-D warnings" "${check_documentation[@]}"
