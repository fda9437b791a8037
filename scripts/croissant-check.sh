#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Validates descriptions of `pol-trainer data describe` by the reference implementation of the
# Croissant format.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
. scripts/lib/messages.sh

case "${1:-}" in
    -h | --help)
        cat <<'USAGE'
usage: scripts/croissant-check.sh [FILE...]

Validates each FILE by mlcroissant, the reference implementation of the Croissant format: its
syntax, and the properties that the format requires and recommends. Without a FILE, the tests of
pol-data write the descriptions that are validated. mlcroissant is installed below POL_CACHE the
first time. The exit code is 0 only if there are no errors. Warnings are printed.
USAGE
        exit 0 ;;
    -*) misuse "unknown option '$1'" ;;
esac

version=1.1.1
reference="$POL_CACHE/mlcroissant-$version"
if [ ! -f "$reference/.complete" ]; then
    say "installing mlcroissant $version into $reference"
    python3 -m venv "$reference" ||
        fail "Python cannot make virtual environments; install python3-venv"
    "$reference/bin/python" -m pip install -q --disable-pip-version-check "mlcroissant==$version"
    touch "$reference/.complete"
fi

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    POL_DESCRIPTIONS="$work" cargo test --release --locked --quiet -p pol-data --lib -- croissant
    files=("$work"/*.json)
    [ -f "${files[0]}" ] || fail "the tests wrote no description"
fi
"$reference/bin/python" - "${files[@]}" <<'PY'
import json, logging, sys

import mlcroissant

# Issues are told below. The library remarks besides that terms which are not used are not declared.
logging.disable(logging.WARNING)
failed = False
for path in sys.argv[1:]:
    with open(path) as file:
        description = json.load(file)
    try:
        issues = mlcroissant.Dataset(jsonld=description).metadata.ctx.issues
        errors, warnings = sorted(issues.errors), sorted(issues.warnings)
    except mlcroissant.ValidationError as error:
        errors, warnings = [str(error)], []
    for warning in warnings:
        print(f"{path}: warning: {warning}")
    for error in errors:
        print(f"{path}: {error}", file=sys.stderr)
    failed |= bool(errors)
    print(f"{path}: {'refused' if errors else 'valid'}, {len(warnings)} warnings")
sys.exit(1 if failed else 0)
PY
