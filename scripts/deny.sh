#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks bans, licences, and sources of all dependencies; with --advisories also known vulnerabilities.
set -euo pipefail
cd "$(dirname "$0")/.."

checks=(bans licenses sources)
case "${1:-}" in
    '') ;;
    --advisories) checks+=(advisories) ;;
    -h | --help)
        echo "usage: scripts/deny.sh [--advisories]"
        echo
        echo "Runs cargo deny over Cargo.lock by the rules in deny.toml. It is apart from scripts/test.sh because"
        echo "installing cargo-deny compiles it, which takes some minutes. --advisories needs a network."
        exit 0 ;;
    *) echo "deny: unknown option '$1'" >&2; exit 2 ;;
esac

. scripts/env.sh
if ! cargo deny --version >/dev/null 2>&1; then
    echo "==> installing cargo-deny, once" >&2
    env -u RUSTC_WORKSPACE_WRAPPER cargo install --locked cargo-deny
fi
exec cargo deny --locked check "${checks[@]}"
