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
own. There it makes an encrypted key, runs a chain for some blocks, installs the Debian packages,
and makes a key with those. It also checks the systemd units and the checksums. Needs root, and a
network once, for the system: about two minutes.

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
try "$bin" /tmp/tarball
dpkg -i packages/*.deb >/dev/null
try /usr/bin /tmp/deb
ls /usr/share/man/man1/pol-trainer{,-top}.1.gz /usr/share/bash-completion/completions/pol-trainer \
    /usr/lib/systemd/system/pol-{node,trainer,validator}.service >/dev/null
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
    for unit in pol-node pol-trainer pol-validator; do
        sed "s,/usr/bin/pol-[a-z]*,/bin/true," "deploy/systemd/$unit.service" >"$root/$unit.service"
        systemd-analyze verify --man=no "$root/$unit.service"
        systemd-analyze security --offline=true --threshold=25 --no-pager "$root/$unit.service" | tail -n 1
    done
fi
say "the packages run on a bare $suite"
