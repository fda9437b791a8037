#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the pictures of the dashboard that the documentation shows, on a made network.
set -euo pipefail
cd "$(dirname "$0")/.."

out=docs/images/dashboard
while [ $# -gt 0 ]; do
    case "$1" in
        --out) out="${2:?--out takes a folder}"; shift 2 ;;
        -h | --help)
            cat <<'USAGE'
usage: scripts/screenshots.sh [--out DIR]

Serves the dashboard on a made network of 10,000 rounds, and photographs every page in a headless
Chromium: light, dark, and as on a phone. The pictures go to docs/images/dashboard, reduced to 256
colours by pngquant. Takes a minute once the tests are built.
USAGE
            exit 0 ;;
        *) echo "screenshots: unknown option '$1'" >&2; exit 2 ;;
    esac
done

command -v pngquant >/dev/null ||
    { echo "screenshots: pngquant is missing; install it with: apt-get install pngquant" >&2; exit 1; }
./scripts/setup.sh --no-corpus
. scripts/env.sh
mkdir -p "$out"
out="$(cd "$out" && pwd)"
POL_SCREENSHOTS="$out" cargo test --release --locked -p pol-dashboard --lib -- --ignored screenshots
pngquant --force --ext .png --strip 256 -- "$out"/*.png
large="$(find "$out" -name '*.png' -size +150k)"
[ -z "$large" ] || { echo "screenshots: larger than 150 KiB: $large" >&2; exit 1; }
ls "$out"
