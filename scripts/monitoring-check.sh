#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks what deploy/ has for Prometheus and Grafana, with promtool and against a running network.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/messages.sh
. scripts/lib/processes.sh

live=1 bin="" out=""
usage() {
    cat <<'USAGE'
usage: scripts/monitoring-check.sh [--static] [--bin DIR] [--out DIR]

Checks the configuration and the alerts in deploy/prometheus with promtool, and runs the tests of
the alerts. Then it starts a development network whose processes serve metrics, lets a real
Prometheus scrape them, and checks that every process answers and is ready, that promtool has no
objection to what a process of this project exposes, and that every expression in the alerts and
the dashboards names only metrics that exist and can be evaluated. It takes about three minutes.

The programs are those of scripts/build.sh. promtool and prometheus are in Debian's package
prometheus; Grafana is not needed.

  --static    leave out the network
  --bin DIR   folder of pol-node and pol-trainer
  --out DIR   keep the scrapes and the logs there
USAGE
}
while [ $# -gt 0 ]; do
    case "$1" in
        --static) live=""; shift ;;
        --bin) bin="$(cd "${2:?--bin takes a folder}" && pwd)"; shift 2 ;;
        --out) out="${2:?--out takes a folder}"; shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; misuse "unknown option '$1'" ;;
    esac
done
for tool in promtool prometheus python3 curl; do
    command -v "$tool" >/dev/null ||
        fail "$tool is missing; install it with: apt-get install prometheus python3 curl"
done

say "configuration, alerts, and their tests"
promtool check config deploy/prometheus/prometheus.yml
promtool test rules deploy/prometheus/rules_test.yml
for file in deploy/grafana/dashboards/*.json; do python3 -m json.tool "$file" >/dev/null; done
[ -n "$live" ] || exit 0

. scripts/env.sh
bin="${bin:-$POL_BIN}"
trainer="$bin/pol-trainer"
work="$(mktemp -d)"
if [ -n "$out" ]; then mkdir -p "$out"; out="$(cd "$out" && pwd)"; else out="$work/out"; fi
mkdir -p "$out"
logs="$out" jobs=()
stop_at_end
job() { # name, port; notes a process that Prometheus scrapes
    jobs+=("$1 127.0.0.1:$2")
}
measured() { # name, command...: starts a process that serves metrics
    local name="$1" port; shift
    port="$(free_port)"
    start "$name" "$@" --metrics "127.0.0.1:$port"
    job "$name" "$port"
}

say "starting a network"
rpc="$(free_port)" node_metrics="$(free_port)" prometheus_port="$(free_port)"
export POL_NODE="ws://127.0.0.1:$rpc"
start node "$bin/pol-node" --chain dev --base-path "$work/node" --rpc-port "$rpc" --port 0 \
    --prometheus-port "$node_metrics" --no-telemetry --no-mdns
job node "$node_metrics"
data="$work/data"
"$trainer" data ingest --input "$POL_CORPUS" --out "$data" >"$out/ingest.log" 2>&1
"$trainer" recipe new --data "$data" --preset demo --out "$work/recipe.json" >"$out/recipe.log" 2>&1
wait_until "the node answers" 60 node "$trainer" status --json
measured beacon "$trainer" beacon sign
measured index "$trainer" index --database "$work/index.db" --json
"$trainer" recipe set --dev-account alice "$work/recipe.json" >>"$out/recipe.log" 2>&1
"$trainer" data register --dev-account alice --data "$data" --admit dataset \
    --address "monitoring check" >"$out/register.log" 2>&1
measured validator "$trainer" --role validator --dev-account alice --base-path "$work/validator" \
    --workers 1 --data "$data"
measured trainer "$trainer" --tier miner --dev-account trainer-1 --base-path "$work/trainer" \
    --workers 1 --state-budget 1
measured observer "$trainer" observe --json
cp "$data/tokenizer.json" "$work/tokenizer.json"
cat >"$work/acquire.toml" <<SOURCES
out = "acquired"
tokenizer = "tokenizer.json"
contact = "https://example.org/monitoring"

[[source]]
name = "tasks"
kind = "synthetic"
quality_threshold = 0.0
[source.synthesis.recipe]
version = 1
seed = "0x0707070707070707070707070707070707070707070707070707070707070707"
documents = 500
[source.synthesis.recipe.content.tasks]
families = ["arithmetic", "logic"]
levels = [1, 2]
SOURCES
measured provider "$trainer" data acquire --config "$work/acquire.toml" --watch \
    --dev-account trainer-2

"$trainer" model import trainer/crates/import/tests/fixtures/llama.gguf --out "$work/small" \
    >"$out/import.log" 2>&1
api="$(free_port)"
measured api "$trainer" serve --model "$work/small" --listen "127.0.0.1:$api"

say "starting Prometheus"
cp deploy/prometheus/prometheus.yml deploy/prometheus/rules.yml "$work/"
sed -i 's/_interval: 15s/_interval: 2s/' "$work/prometheus.yml"
for entry in "${jobs[@]}"; do
    printf -- '- labels: {job: pol-%s}\n  targets: [%s]\n' "${entry% *}" "${entry#* }"
done >"$work/targets.yml"
start prometheus prometheus --config.file "$work/prometheus.yml" \
    --storage.tsdb.path "$work/prometheus" --web.listen-address "127.0.0.1:$prometheus_port"
prometheus_url="http://127.0.0.1:$prometheus_port"
holds() { # expression that has a result once it is true
    curl -sfG "$prometheus_url/api/v1/query" --data-urlencode "query=$1" | grep -q '"value"'
}
wait_until "Prometheus answers" 60 prometheus curl -sf "$prometheus_url/-/ready"
wait_until "all ${#jobs[@]} processes are scraped" 60 prometheus holds "sum(up) == ${#jobs[@]}"
wait_until "a text is generated" 60 api curl -sf "http://127.0.0.1:$api/generate" \
    --json '{"prompt": "a", "max_tokens": 8}'
wait_until "a model is attested" 120 validator holds \
    'sum(pol_validator_attestations_total) > 0'
wait_until "a segment is trained" 240 trainer holds 'pol_trainer_segments_total > 0'
wait_until "the facts of the chain are read" 60 observer holds \
    'count(pol_network_members{role="trainer"} > 0) == 5'

say "processes and their metrics"
for entry in "${jobs[@]}"; do
    name="${entry% *}" address="${entry#* }"
    curl -sf "http://$address/metrics" >"$out/$name.prom"
    # The names of the node's metrics are Substrate's.
    [ "$name" != node ] || continue
    curl -sf "http://$address/healthz" >/dev/null || fail "$name is not alive"
    curl -sf "http://$address/readyz" >/dev/null || fail "$name is not ready"
    promtool check metrics <"$out/$name.prom" || fail "promtool objects to the metrics of $name"
    series="$(grep -vc '^#' "$out/$name.prom")"
    echo "$name: $series series"
    [ "$series" -lt 1000 ] || fail "$name has too many series"
done

say "expressions of alerts and dashboards"
python3 scripts/monitoring-expressions.py "$prometheus_url"
