#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds llama.cpp for this processor from the sources in llama-cpp-python's package, and prints the folder of its programs. Safe to
# run again. Needs cmake and a C++ compiler; takes about ten minutes on two cores.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

version=0.3.16
folder="$POL_CACHE/llama-cpp-$version"
if [ ! -f "$folder/.complete" ]; then
    command -v cmake >/dev/null || { echo "llama_cpp: cmake is missing; install it (apt-get install cmake)" >&2; exit 1; }
    python="$("$(dirname "$0")/setup.sh")"
    rm -rf "$folder" && mkdir -p "$folder/sources"
    echo "==> building llama.cpp into $folder" >&2
    "$python" -m pip download -q --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
        -d "$folder" "llama-cpp-python==$version" >&2 ||
        { echo "llama_cpp: the package index has no sources of llama-cpp-python $version" >&2; exit 1; }
    tar -xzf "$folder"/llama_cpp_python-*.tar.gz -C "$folder/sources" --strip-components=1
    cmake -S "$folder/sources/vendor/llama.cpp" -B "$folder/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
        -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF >&2
    cmake --build "$folder/build" -j"$(nproc)" --target llama-bench llama-batched-bench llama-quantize >&2
    touch "$folder/.complete"
fi
echo "$folder/build/bin"
