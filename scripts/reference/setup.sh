#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the reference implementation (PyTorch and transformers, computing on the CPU) into its own environment under POL_CACHE,
# and prints the Python interpreter that has it. Safe to run again.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

reference="$POL_CACHE/reference-$POL_TORCH_VERSION"
python="$reference/bin/python"
if [ ! -f "$reference/.complete" ]; then
    free_kib="$(df -Pk "$POL_CACHE" | awk 'NR==2 {print $4}')"
    [ "$free_kib" -gt 10000000 ] ||
        { echo "reference: $POL_CACHE has $((free_kib / 1048576)) GiB free, 10 are needed; free some space or set POL_CACHE" >&2; exit 1; }
    echo "==> installing PyTorch $POL_TORCH_VERSION and transformers into $reference (some 3 GB; minutes)" >&2
    python3 -m venv "$reference" ||
        { echo "reference: Python cannot make virtual environments; install python3-venv" >&2; exit 1; }
    "$python" -m pip install -q --disable-pip-version-check \
        "torch==$POL_TORCH_VERSION" transformers==5.23.0 safetensors numpy >&2
    touch "$reference/.complete"
fi
echo "$python"
