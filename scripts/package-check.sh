#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tries the packages of scripts/package.sh on a bare system without a compiler and without a network.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/messages.sh

out=dist suite=bookworm mirror="" keys=() blocks=3
while [ $# -gt 0 ]; do
    case "$1" in
        --out) out="${2:?--out takes a folder}"; shift 2 ;;
        --suite) suite="${2:?--suite takes a name}"; shift 2 ;;
        --mirror) mirror="${2:?--mirror takes an address}"; shift 2 ;;
        --keyring) keys=(--keyring "${2:?--keyring takes a file}"); shift 2 ;;
        -h | --help)
            cat <<'USAGE'
usage: scripts/package-check.sh [--out DIR] [--suite NAME] [--mirror URL] [--keyring FILE]

Unpacks the packages in DIR (dist) in a chroot of a minimal Debian, in a network namespace of its
own. There it makes an encrypted key, runs a chain for some blocks, imports a tiny checkpoint, writes
text with it by both decoders, serves it over HTTP, and does all of that again with the Debian
packages, which must write the same text. It also checks the systemd units and the checksums. Needs
root, and a network once, for the system: about three minutes.

  --suite NAME    release of Debian or Ubuntu (bookworm)
  --mirror URL    archive of that release (the one that apt uses here)
  --keyring FILE  keys of that archive, if this system does not have them; those of Ubuntu are in
                  the package ubuntu-keyring of Debian 13
USAGE
            exit 0 ;;
        *) misuse "unknown option '$1'" ;;
    esac
done

. scripts/env.sh
. scripts/lib/debian.sh
[ "$(id -u)" = 0 ] || fail "run it as root: it makes a chroot"
out="$(cd "$out" && pwd)"

say "checksums"
(cd "$out" && sha256sum --check --quiet SHA256SUMS)
python3 - "$out"/*.cdx.json <<'PY'
import json, sys
bom = json.load(open(sys.argv[1]))
names = {component["name"] for component in bom["components"]}
assert {"pol-node", "pol-trainer", "libtorch_cpu.so"} <= names, "the bill of materials is not complete"
unlicensed = [component["name"] for component in bom["components"] if not component["licenses"]]
assert not unlicensed, f"no licence is known of {unlicensed}"
PY

base="$(minimal_system "$suite" "$mirror" "${keys[@]}")"
root="$(mktemp -d "$POL_CACHE/.chroot.XXXXXX")"
trap 'rm -rf "$root"' EXIT
say "unpacking $suite and the packages"
tar -C "$root" -xf "$base"
mkdir -p "$root/opt/packages"
cp "$out"/*.tar.gz "$out"/*.deb "$root/opt/packages/"
python3 scripts/clients/model.py "$root/opt/checkpoint"
cat >"$root/opt/check.sh" <<'CHECK'
#!/bin/bash
set -euo pipefail
export HOME=/root POL_PASSWORD="correct horse" POL_LOG=warn
for compiler in cc gcc clang rustc; do
    ! command -v "$compiler" || { echo "the system has $compiler" >&2; exit 1; }
done
cd /opt
tar xzf packages/pol-*.tar.gz
mv pol-*-linux "pol with spaces"
bin="/opt/pol with spaces/bin"
ldd "$bin"/* | { ! grep 'not found'; }
"$bin/pol-node" --version
"$bin/pol-trainer" --version
try() { # programs, folder
    local address key="$2/key.json" node blocks=0
    mkdir -p "$2"
    address="$("$1/pol-trainer" keys generate --out "$key")"
    [ "$(stat -c %a "$key")" = 600 ] && grep -q xsalsa20-poly1305 "$key"
    [ "$("$1/pol-trainer" keys show --account "$key")" = "$address" ]
    "$1/pol-trainer" keys export "$key" --out "$2/copy.json" >/dev/null
    "$1/pol-node" --chain dev --base-path "$2/node" --no-prometheus --no-telemetry >"$2/node.log" 2>&1 &
    node=$!
    for _ in $(seq 120); do
        blocks="$("$1/pol-trainer" status --json 2>/dev/null | sed -n 's/.*"best": *\([0-9]*\).*/\1/p')" || true
        [ "${blocks:-0}" -lt "$BLOCKS" ] || break
        kill -0 "$node" || { tail -n 20 "$2/node.log" >&2; exit 1; }
        sleep 1
    done
    kill "$node"
    wait "$node" || true
    [ "${blocks:-0}" -ge "$BLOCKS" ] || { tail -n 20 "$2/node.log" >&2; exit 1; }
    echo "made $address, and $blocks blocks"
}
write() { # programs, folder
    local decoder server answer=""
    "$1/pol-trainer" model import /opt/checkpoint --out "$2/model" >"$2/import.log"
    for decoder in native torch; do
        "$1/pol-trainer" generate --model "$2/model" --decoder "$decoder" --seed 7 --max-tokens 16 \
            --ignore-end 'Once upon' >"$2/$decoder.txt" 2>"$2/$decoder.log"
        [ -s "$2/$decoder.txt" ]
    done
    "$1/pol-trainer" serve --model "$2/model" >"$2/serve.txt" 2>"$2/serve.log" &
    server=$!
    for _ in $(seq 60); do
        [ ! -s "$2/serve.txt" ] || break
        kill -0 "$server" || { cat "$2/serve.log" >&2; exit 1; }
        sleep 1
    done
    # A bare system has no client of HTTP.
    exec 3<>/dev/tcp/127.0.0.1/8000
    printf 'GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
    answer="$(cat <&3)"
    exec 3<&-
    kill "$server"
    wait "$server" || true
    [[ "$answer" == "HTTP/1.1 200"*model* ]] || { echo "$answer" >&2; exit 1; }
    echo "imported a model, wrote text with it, and served it"
}
try "$bin" /tmp/tarball
write "$bin" /tmp/tarball
dpkg -i packages/*.deb >/dev/null
try /usr/bin /tmp/deb
write /usr/bin /tmp/deb
for decoder in native torch; do
    cmp "/tmp/tarball/$decoder.txt" "/tmp/deb/$decoder.txt"
done
ls /usr/share/man/man1/pol-{node{,-check-state},trainer{,-top}}.1.gz \
    /usr/share/bash-completion/completions/pol-{node,trainer} \
    /usr/share/zsh/vendor-completions/_pol-{node,trainer} \
    /usr/share/fish/vendor_completions.d/pol-{node,trainer}.fish \
    /usr/lib/systemd/system/pol-{node,trainer,validator,api}.service >/dev/null
dpkg -r pol-node pol-trainer >/dev/null
[ ! -e /usr/bin/pol-trainer ]
CHECK
say "running them without a network"
# The mounts end with the namespace.
# shellcheck disable=SC2016 # The inner shell expands these.
BLOCKS="$blocks" unshare --net --mount --pid --fork --kill-child sh -euc '
    ip link set lo up
    mount -t proc proc "$0/proc"
    mount --rbind /dev "$0/dev"
    exec chroot "$0" /bin/bash /opt/check.sh' "$root"

if command -v systemd-analyze >/dev/null; then
    say "units"
    for unit in pol-node pol-trainer pol-validator pol-api; do
        sed "s,/usr/bin/pol-[a-z]*,/bin/true," "deploy/systemd/$unit.service" >"$root/$unit.service"
        systemd-analyze verify --man=no "$root/$unit.service"
        systemd-analyze security --offline=true --threshold=25 --no-pager "$root/$unit.service" | tail -n 1
    done
fi
say "the packages run on a bare $suite"
