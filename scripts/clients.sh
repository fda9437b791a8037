#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Asks the HTTP server by the clients that others have: OpenAI's for Python and for JavaScript.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

case "${1:-}" in
    '') ;;
    -h | --help)
        cat <<'USAGE'
usage: scripts/clients.sh

Serves a tiny random model by `pol-trainer serve`, with tokens, and asks it by the clients of OpenAI
for Python and JavaScript, and by agents of Pydantic AI: models, completions, chats, answers of a
given form, calls of functions, receipts, embeddings, streams, and refusals. The clients are
installed below POL_CACHE the first time. POL_BIN names the folder of pol-trainer, which
scripts/build.sh builds. The exit code is 0 only if every answer is as expected.
USAGE
        exit 0 ;;
    *) echo "clients: unknown option '$1'" >&2; exit 2 ;;
esac

trainer="$POL_BIN/pol-trainer"
[ -x "$trainer" ] || { echo "clients: there is no $trainer; run scripts/build.sh" >&2; exit 1; }
for tool in python3 node npm; do
    command -v "$tool" >/dev/null || { echo "clients: install $tool" >&2; exit 1; }
done

clients="$POL_CACHE/clients-2"
if [ ! -f "$clients/.complete" ]; then
    echo "==> installing the clients into $clients"
    python3 -m venv "$clients/python"
    "$clients/python/bin/python" -m pip install -q --disable-pip-version-check \
        openai==3.51.0 'pydantic-ai-slim[openai]==2.68.0'
    npm install --silent --no-audit --no-fund --prefix "$clients/js" openai@7.55.0
    touch "$clients/.complete"
fi

work="$(mktemp -d)"
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 scripts/clients/model.py "$work/checkpoint"
"$trainer" model import "$work/checkpoint" --out "$work/tiny" >/dev/null
token="$("$trainer" tokens add clients --scope read,generate --file "$work/tokens.json")"
"$trainer" serve --model "$work/tiny" --listen 127.0.0.1:0 --tokens "$work/tokens.json" \
    --receipts --dev-account alice >"$work/address" 2>"$work/log" &
server=$!
for _ in $(seq 100); do
    [ -s "$work/address" ] && break
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
base="$(cat "$work/address")"
"$clients/python/bin/python" scripts/clients/client.py "$base" "$token" "$work/receipt.json"
"$trainer" verify-receipt "$work/receipt.json" --model "$work/tiny"
"$clients/python/bin/python" scripts/clients/agent.py "$base" "$token"
script="$PWD/scripts/clients/client.mjs"
(cd "$clients/js" && node "$script" "$base" "$token")
