#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tries deploy/Containerfile and deploy/compose.yaml with podman, with or without a registry of
# images.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/messages.sh

out=dist compile="" keep="" compose_version=1.6.0
while [ $# -gt 0 ]; do
    case "$1" in
        --out) out="${2:?--out takes a folder}"; shift 2 ;;
        --compile) compile=1; shift ;;
        --keep) keep=1; shift ;;
        -h | --help)
            cat <<'USAGE'
usage: scripts/container-check.sh [--out DIR] [--compile] [--keep]

Makes the image of the packages in DIR (dist) with podman, on a minimal Debian that it makes itself,
and runs the programs in it as a user without privileges. Then it starts the services of
deploy/compose.yaml on a chain of their own in a network namespace of their own, checks that they
work together, that Prometheus scrapes them, and that they keep their data, and stops them. Images,
containers, and networks are in a storage of this script, which goes with it. Needs root, podman,
iptables, debootstrap, and a network for packages: about five minutes.

The images of Prometheus and Grafana come from their registries. Where those cannot be reached,
Debian's Prometheus takes the place of the one, and Grafana is left out. The last lines say so.

  --out DIR   folder of the packages (dist)
  --compile   instead, run the stage that compiles until cargo begins to do so (ten minutes)
  --keep      keep the folder with the logs
USAGE
            exit 0 ;;
        *) misuse "unknown option '$1'" ;;
    esac
done

. scripts/env.sh
. scripts/lib/debian.sh
[ "$(id -u)" = 0 ] || fail "run it as root: it makes namespaces and mounts"
for tool in podman iptables curl jq unshare nsenter ip; do
    command -v "$tool" >/dev/null ||
        fail "$tool is missing; install it with: apt-get install podman iptables curl jq util-linux iproute2"
done
[ -n "$compile" ] || compgen -G "$out/pol-*-x86_64-linux.tar.gz" >/dev/null ||
    fail "no package is in $out; make it with: scripts/package.sh --out $out"
base="$(minimal_system bookworm "")"
compose=(podman-compose)
if ! podman-compose --help 2>/dev/null | grep -q -e --profile; then
    venv="$POL_CACHE/podman-compose-$compose_version"
    if [ ! -x "$venv/bin/podman-compose" ]; then
        say "fetching podman-compose $compose_version"
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check "podman-compose==$compose_version" ||
            fail "pip could not fetch podman-compose; check the network or pip's index settings"
    fi
    compose=("$venv/bin/podman-compose")
fi
if [ -z "${POL_CONTAINER_CHECK:-}" ]; then
    work="$(mktemp -d "$POL_CACHE/.containers.XXXXXX")" inside=""
    # shellcheck disable=SC2329 # The trap calls it.
    clean() {
        trap - EXIT INT TERM
        if [ -n "$inside" ]; then
            kill -KILL "$inside" 2>/dev/null || true
            wait "$inside" 2>/dev/null || true
        fi
        rm -rf "$work/storage"
        if [ -n "$keep" ]; then say "the logs are in $work"; else rm -rf "$work"; fi
    }
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # Mounts, processes, rules of packets, and ports end with the namespaces. Descriptor 9 leads
    # back to the network of this machine, from which packages and images are fetched.
    exec 9</proc/self/ns/net
    POL_CONTAINER_CHECK="$work" unshare --mount --net --pid --fork --kill-child --mount-proc \
        --propagation private "$0" --out "$out" ${compile:+--compile} &
    inside=$!
    wait "$inside"
    exit
fi
work="$POL_CONTAINER_CHECK"
outside() { nsenter --net=/proc/self/fd/9 "$@"; }
ip link set lo up
# crun does not take a mixture of both versions of control groups.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi

# What podman keeps beside its storage.
for folder in /run/containers /run/netns /dev/shm; do
    mkdir -p "$folder"
    mount -t tmpfs none "$folder"
done

# A storage of its own, and no limits or control groups that a machine may refuse.
cat >"$work/containers.conf" <<CONF
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=16384:16384"]
[engine]
cgroup_manager = "cgroupfs"
tmp_dir = "/run/containers/libpod"
[network]
network_config_dir = "$work/networks"
CONF
cat >"$work/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$work/storage"
runroot = "/run/containers/storage"
CONF
export CONTAINERS_CONF="$work/containers.conf" CONTAINERS_STORAGE_CONF="$work/storage.conf"

say "importing Debian"
podman import --quiet "$base" docker.io/library/debian:12 >/dev/null
podman tag docker.io/library/debian:12 docker.io/library/debian:12-slim
# What this machine knows of archives and of authorities is lent to the build, not copied. Debian's
# image has the archive of security updates, and the minimal system has not.
lent=()
for path in /etc/apt/sources.list.d/debian.sources /usr/local/share/ca-certificates; do
    [ ! -e "$path" ] || lent+=(--volume "$path:$path:ro")
done
build() { # arguments of podman build...
    outside podman build --pull=never --layers=false --isolation chroot --network host \
        "${lent[@]}" "$@" >>"$work/build.log" 2>&1
}
begun() { grep -q '^ *Compiling ' "$work/build.log"; }
if [ -n "$compile" ]; then
    say "running the stage that compiles"
    build --file deploy/Containerfile --target build . &
    builder=$!
    until begun; do
        kill -0 "$builder" 2>/dev/null ||
            { tail -n 20 "$work/build.log" >&2; fail "the stage failed"; }
        sleep 1
    done
    say "cargo compiles: $(grep -m 1 '^ *Compiling ' "$work/build.log")"
    exit 0
fi

say "making the image"
built() { # image, arguments of podman build...
    build --tag "$@" ||
        { tail -n 20 "$work/build.log" >&2; fail "podman could not make the image $1"; }
}
built localhost/pol --file deploy/Containerfile --target packages "$out"
once() { podman run --rm --pull=never --read-only --cap-drop=ALL --network=none localhost/pol "$@"; }
once pol-node --version
once pol-trainer --version
[ "$(once id -u)" = 10001 ] || fail "the image does not run as user 10001"
once sh -c '! touch /opt/pol/x 2>/dev/null && touch /data/x' ||
    fail "the image cannot write its data, or can write elsewhere"

say "fetching the images of Prometheus and Grafana"
named() { sed -n "s,^ *image: \(docker.io/$1.*\),\1,p" deploy/compose.yaml; }
fetch() { outside timeout 600 podman pull --quiet "$1" >>"$work/build.log" 2>&1; }
prometheus="$(named prom/prometheus)" grafana="$(named grafana/grafana)"
services=(loopback node trainer validator api prometheus) untried=()
if ! fetch "$prometheus"; then
    untried+=("$prometheus: Debian's Prometheus ran in its place")
    built "$prometheus" --file - "$work/networks" <<'DEBIAN'
FROM docker.io/library/debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends prometheus && \
    install -d -o nobody -g nogroup /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
DEBIAN
fi
if fetch "$grafana"; then services+=(grafana); else untried+=("$grafana, and the service grafana"); fi

cp -r deploy "$work/deploy"
# The comments of targets.yml that stand for the other services.
sed -i -E '/pol-(validator|api)\}/,+1s/^# //' "$work/deploy/prometheus/targets.yml"
# The chain has no recipe, by which a trainer would choose its tier.
(umask 077 && cat >"$work/deploy/.env") <<'ENV'
POL_PASSWORD=correct horse
POL_TRAINER_ARGS=--tier miner --workers 1
POL_API_ARGS=--no-model
ENV
run_compose() { # arguments...
    (cd "$work/deploy" && "${compose[@]}" --profile beacon --profile trainer --profile validator \
        --profile api "$@") >>"$work/compose.log" 2>&1
}
must() { # event, command...
    local event="$1"; shift
    "$@" || { tail -n 20 "$work/compose.log" >&2; fail "$event failed"; }
}
logs() { podman logs --tail 20 "pol_$1_1" >&2 || true; }
within() { # event, service whose log is shown, seconds, command...
    local event="$1" service="$2" end=$((SECONDS + $3))
    shift 3
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { logs "$service"; fail "waited in vain until $event"; }
        sleep 1
    done
}
rpc() { # method, its parameters
    curl -sf -H 'Content-Type: application/json' http://127.0.0.1:9944 \
        -d "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"$1\", \"params\": [${2:-}]}"
}
best() { printf '%d\n' "$(rpc chain_getHeader | jq -r .result.number)"; }
hash_of() { rpc chain_getBlockHash "$1" | jq -er .result; }
reached() { [ "$(best)" -ge "$1" ]; }
api() { curl -sf -H "Authorization: Bearer $token" "http://127.0.0.1:8000$1"; }
sees() { # number of the best block that the API knows at least
    [ "$(api /consensus | jq .best.number)" -ge "$1" ]
}
bonded() { # role
    api /consensus/members | jq -e ".items | any(.role == \"$1\" and .bonded)"
}
starts() { podman inspect --format '{{.RestartCount}}' "pol_$1_1"; }
# Only the loopback of the containers reaches the metrics of members. One that ends again and again
# may be ready in between.
ready() { # member, port of its metrics
    local before
    before="$(starts "$1")"
    sleep 10
    podman exec pol_node_1 bash -c "exec 3<>/dev/tcp/127.0.0.1/$2 &&
        printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3 | grep -q ' 200 '" &&
        [ "$(starts "$1")" = "$before" ]
}
query() { # expression, arguments of curl...
    curl -sfG http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" "${@:2}" |
        jq -er '.data.result[0].value[1]'
}
scraped() { [ "$(query 'sum(up)')" = 4 ]; }

say "keys and tokens in the volumes"
# Accounts of the chain `dev` that have money, by the phrase that everybody knows.
phrase="bottom drive obey lake curtain smoke basket hold race lonely fit walk"
for member in Trainer Validator; do
    must "importing the key of the ${member,}" run_compose run -T --rm "${member,}" \
        sh -c "echo '$phrase//$member//1' | pol-trainer keys import ${member,}"
done
must "adding a token" run_compose run -T --rm api \
    pol-trainer tokens add me --scope read,generate --file /data/tokens.json
token="$(grep -oE 'pol_[0-9a-f]{64}' "$work/compose.log" | tail -n 1)" ||
    { tail -n 5 "$work/compose.log" >&2; fail "no token was printed"; }

work_together() { # number of the block that the chain reaches
    must "starting the services" run_compose up -d "${services[@]}"
    within "the node makes blocks" node 300 reached "$1"
    within "the API sees them" api 120 sees "$1"
    within "the trainer is ready" trainer 120 ready trainer 9616
    within "the validator is ready" validator 180 ready validator 9617
    within "the trainer has bonded" trainer 180 bonded trainer
    within "the validator has bonded" validator 180 bonded validator
    within "Prometheus scrapes node, trainer, validator, and API" prometheus 120 scraped
}
say "starting the services"
work_together 3
answer="$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8000/consensus)"
[ "$answer" = 401 ] || fail "a request without a token got $answer, not 401"
curl -sfL http://127.0.0.1:8000/ | grep '<html' >/dev/null || fail "the dashboard does not answer"
rpc author_rotateKeys | jq -e .error >/dev/null || fail "the node lets others act on it"
curl -sf http://127.0.0.1:9090/api/v1/rules | grep PolEndpointDown >/dev/null ||
    fail "Prometheus has no alerts"
for service in "${services[@]}"; do
    [ "$(podman inspect --format '{{len .BoundingCaps}}' "pol_${service}_1")" = 0 ] ||
        fail "$service has capabilities"
done
case " ${services[*]} " in *" grafana "*)
    within "Grafana has the dashboards" grafana 120 sh -c \
        'curl -sf -u admin:admin "http://127.0.0.1:3000/api/search?type=dash-db" | grep -q POL' ;;
esac

say "starting the node again under its members"
before="$(best)"
podman restart --time 60 pol_node_1 >/dev/null
within "the node goes on" node 300 reached "$((before + 1))"
within "the API sees that" api 120 sees "$((before + 1))"
within "the trainer is ready again" trainer 180 ready trainer 9616

say "stopping"
before="$(best)" block="$(hash_of 2)" moment="$(date +%s)"
for service in api validator trainer node; do
    begin=$SECONDS
    podman stop --time 60 "pol_${service}_1" >/dev/null
    code="$(podman inspect --format '{{.State.ExitCode}}' "pol_${service}_1")"
    echo "$service: exit $code after $((SECONDS - begin)) s"
    [ "$code" = 0 ] || { logs "$service"; fail "$service ended with $code"; }
done
# A database that keeps all states refuses to forget some.
run_compose run -T --rm node timeout 60 \
    pol-node --chain=dev --base-path=/data --state-pruning=256 || true
grep -q 'stored: ArchiveAll' "$work/compose.log" || fail "the node does not keep all states"
must "removing the containers" run_compose down

say "starting again with the same data"
work_together "$before"
[ "$(hash_of 2)" = "$block" ] || fail "the node began another chain"
query 'up{job="pol-node"}' --data-urlencode "time=$moment" >/dev/null ||
    fail "Prometheus lost what it had scraped"
must "removing the containers" run_compose down

say "the image works, and so do together: ${services[*]}"
[ ${#untried[@]} = 0 ] || {
    say "no registry of images answered, so not tried were:"
    printf '    %s\n' "${untried[@]}" >&2
    say "to try them, run this where 'podman pull $grafana' works"
}
