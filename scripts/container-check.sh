#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tries deploy/Containerfile and deploy/compose.yaml with podman, without a registry of images.
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
deploy/compose.yaml on a chain of their own, checks that they work together and keep their data, and
stops them. Prometheus and Grafana are left out. Images, containers, and networks are in a storage
of this script, which goes with it. The ports of compose.yaml must be free. Needs root, podman,
iptables, debootstrap, and a network for packages: about five minutes.

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
[ "$(id -u)" = 0 ] || fail "run it as root: it makes a chroot"
for tool in podman iptables curl unshare; do
    command -v "$tool" >/dev/null ||
        fail "$tool is missing; install it with: apt-get install podman iptables curl util-linux"
done
if [ -z "${POL_CONTAINER_CHECK:-}" ]; then
    # Mounts of containers end with the namespace.
    arguments=(--out "$out" ${compile:+--compile} ${keep:+--keep})
    POL_CONTAINER_CHECK=1 exec unshare --mount --propagation private "$0" "${arguments[@]}"
fi
# crun does not take a mixture of both versions of control groups.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi

base="$(minimal_system bookworm "")"
work="$(mktemp -d "$POL_CACHE/.containers.XXXXXX")"
run="$(mktemp -d /tmp/polc.XXXXXX)"
builder=""
clean() {
    trap - EXIT INT TERM
    say "cleaning up"
    if [ -n "$builder" ]; then
        kill "$builder" 2>/dev/null || true
        wait "$builder" 2>/dev/null || true
    fi
    podman rm --all --force --time 5 >/dev/null 2>&1 || true
    podman network prune --force >/dev/null 2>&1 || true
    umount "$work/storage/overlay" 2>/dev/null || true
    if [ -n "$keep" ]; then
        rm -rf "$work/storage"
        say "the logs are in $work"
    else
        rm -rf "$work"
    fi
    rm -rf "$run"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A storage of its own, and limits that any machine allows.
cat >"$work/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=16384:16384"]
[engine]
cgroup_manager = "cgroupfs"
tmp_dir = "$run/libpod"
[network]
network_config_dir = "$work/networks"
CONF
cat >"$work/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$work/storage"
runroot = "$run/storage"
CONF
export CONTAINERS_CONF="$work/containers.conf" CONTAINERS_STORAGE_CONF="$work/storage.conf"

say "importing Debian"
podman import --quiet "$base" docker.io/library/debian:12 >/dev/null
podman tag docker.io/library/debian:12 docker.io/library/debian:12-slim
# What this machine knows of archives and of authorities is lent to the build, not copied. Debian's
# image has the archive of security updates, and the minimal system has not.
build() { # arguments of podman build...
    podman build --pull=never --network host \
        --volume /etc/apt/sources.list.d/debian.sources:/etc/apt/sources.list.d/debian.sources:ro \
        --volume /usr/local/share/ca-certificates:/usr/local/share/ca-certificates:ro \
        --file deploy/Containerfile "$@"
}
begun() { grep -q '^ *Compiling ' "$work/build.log"; }
if [ -n "$compile" ]; then
    say "running the stage that compiles"
    build --target build . >"$work/build.log" 2>&1 &
    builder=$!
    until begun; do
        kill -0 "$builder" 2>/dev/null || { tail -n 20 "$work/build.log" >&2; fail "the stage failed"; }
        sleep 1
    done
    say "cargo compiles: $(grep -m 1 '^ *Compiling ' "$work/build.log")"
    exit 0
fi

say "making the image"
compgen -G "$out/pol-*-x86_64-linux.tar.gz" >/dev/null ||
    fail "no package is in $out; make it with: scripts/package.sh --out $out"
build --tag pol --target packages "$out" >"$work/build.log" 2>&1 ||
    { tail -n 20 "$work/build.log" >&2; fail "podman could not make the image"; }
once() { podman run --rm --pull=never --read-only --cap-drop=ALL "$@"; }
once localhost/pol pol-node --version
once localhost/pol pol-trainer --version
[ "$(once localhost/pol id -u)" = 10001 ] || fail "the image does not run as user 10001"
once localhost/pol sh -c '! touch /opt/pol/x 2>/dev/null && touch /data/x' ||
    fail "the image cannot write its data, or can write elsewhere"

compose=(podman-compose)
if ! podman-compose --help 2>/dev/null | grep -q -e --profile; then
    venv="$POL_CACHE/podman-compose-$compose_version"
    if [ ! -x "$venv/bin/podman-compose" ]; then
        say "fetching podman-compose $compose_version"
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check "podman-compose==$compose_version"
    fi
    compose=("$venv/bin/podman-compose")
fi
mkdir "$work/deploy"
cp deploy/compose.yaml "$work/deploy/"
(umask 077 && echo 'POL_PASSWORD=correct horse' >"$work/deploy/.env")
members=(trainer validator api) services=(loopback node trainer validator api)
run_compose() { # arguments...
    (cd "$work/deploy" && POL_API_ARGS=--no-model "${compose[@]}" \
        --profile trainer --profile validator --profile api "$@") >>"$work/compose.log" 2>&1
}
must() { # event, command...
    local event="$1"; shift
    "$@" || { tail -n 20 "$work/compose.log" >&2; fail "$event failed"; }
}
container() { podman ps --all --filter "name=pol_$1_1" --format '{{.Names}}' | head -n 1; }
logs() { podman logs --tail 20 "$(container "$1")" >&2 || true; }
within() { # event, service whose log is shown, seconds, command...
    local event="$1" service="$2" end=$((SECONDS + $3))
    shift 3
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { logs "$service"; fail "waited in vain until $event"; }
        sleep 1
    done
}
best() { podman exec "$(container node)" pol-trainer status --json | sed -n 's/.*"best": *\([0-9]*\).*/\1/p'; }
reached() { [ "$(best)" -ge "$1" ]; }
answers() { curl -sf -H "Authorization: Bearer $token" http://127.0.0.1:8000/v1/chain; }
rpc() {
    curl -sf -H 'Content-Type: application/json' http://127.0.0.1:9944 \
        -d "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"$1\", \"params\": []}"
}
member_ready() { podman exec "$(container node)" sh -c \
    "exec 3<>/dev/tcp/127.0.0.1/$1" || podman exec "$(container node)" bash -c \
    "exec 3<>/dev/tcp/127.0.0.1/$1 && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && grep -q ' 200 ' <&3"; }

say "keys and tokens in the volumes"
for member in trainer validator; do
    must "generating the key of the $member" run_compose run -T --rm "$member" \
        pol-trainer keys generate "$member"
done
must "adding a token" run_compose run -T --rm api \
    pol-trainer tokens add me --scope read,generate --file /data/tokens.json
token="$(grep -oE 'pol_[A-Za-z0-9_-]{20,}' "$work/compose.log" | tail -n 1)" ||
    { tail -n 5 "$work/compose.log" >&2; fail "no token was printed"; }

start() {
    must "starting the services" run_compose up -d "${services[@]}"
    within "the node makes blocks" node 120 reached "$1"
}
say "starting the services"
start 3
within "the API answers" api 60 answers
status="$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8000/v1/chain)"
[ "$status" = 401 ] || fail "a request without a token got $status, not 401"
rpc system_health >/dev/null || fail "the node does not answer at port 9944 of this machine"
! rpc author_rotateKeys | grep -q '"result"' || fail "the node lets others act on it"
within "the trainer is ready" trainer 60 member_ready 9616
within "the validator is ready" validator 60 member_ready 9617

say "starting the node again under its members"
podman restart --time 60 "$(container node)" >/dev/null
within "the API answers again" api 60 answers
within "the trainer is ready again" trainer 90 member_ready 9616

say "stopping"
before="$(best)"
for service in api validator trainer node; do
    name="$(container "$service")" begin=$SECONDS
    podman stop --time 60 "$name" >/dev/null
    code="$(podman inspect --format '{{.State.ExitCode}}' "$name")"
    echo "$service: exit $code after $((SECONDS - begin)) s"
    [ "$code" = 0 ] || { logs "$service"; fail "$service ended with $code"; }
done
must "removing the containers" run_compose down
say "starting again with the same data"
start "$before"
within "the API answers with the same token" api 60 answers
within "the trainer is ready" trainer 60 member_ready 9616
must "removing the containers" run_compose down
say "the image and ${#members[@]} members with a node work"
