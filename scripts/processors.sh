#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares the bits of training on emulated processors with those of the network.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
. scripts/lib/messages.sh

usage() {
    cat <<'USAGE'
usage: scripts/processors.sh [MODEL ...]

Trains leases of 300 steps on emulated processors, and compares the trace with the one that the
network agrees on. Each model takes a minute, or ten if it has no fused multiply-adds, which are
emulated twice then. The exit code is 0 only if all agree.

Models are those of `qemu-x86_64 -cpu help`. Without any, these are tried:

  Nehalem      2008, neither AVX nor fused multiply-adds: portable code
  SandyBridge  2011, AVX without fused multiply-adds: portable code
  Haswell      2013, AVX2 and fused multiply-adds
  EPYC         2017, the same from another maker

It needs qemu-x86_64 of version 7.2 or later; on Debian, `apt-get install qemu-user` has it.
USAGE
}

models=()
for argument in "$@"; do
    case "$argument" in
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; misuse "unknown option '$argument'" ;;
        *) models+=("$argument") ;;
    esac
done
[ ${#models[@]} != 0 ] || models=(Nehalem SandyBridge Haswell EPYC)
command -v qemu-x86_64 >/dev/null || fail "qemu-x86_64 is missing; install qemu-user"

status=0
for model in "${models[@]}"; do
    say "$model"
    # The emulator takes the place of the processor for the test alone, not for the compiler.
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu $model" \
        cargo test --release --locked --workspace --quiet --test whole_lease -- \
        --nocapture whole_leases_have_the_bits_of_the_network || { status=1; say "$model differs"; }
done
exit "$status"
