# The one place where the build environment is set. Source it: `. scripts/env.sh`
# SPDX-License-Identifier: Apache-2.0
# Changing any of these between builds recompiles everything, so every script and CI go through here.

# Everything downloaded or built lives outside the checkout and outlives it.
export POL_CACHE="${POL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pol}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$POL_CACHE/target}"
export CARGO_INCREMENTAL=0
# The WASM build takes its dependencies' versions from this workspace's lock file, wherever the target folder is.
WASM_BUILD_WORKSPACE_HINT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export WASM_BUILD_WORKSPACE_HINT
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

# libtorch: the version that the `tch` crate is written for.
export POL_TORCH_VERSION=2.11.0
export LIBTORCH="$POL_CACHE/libtorch-$POL_TORCH_VERSION"

# English text that the demo network learns from, and the clients the tests connect with.
export POL_CORPUS="$POL_CACHE/corpus"
export POL_NODE_MODULES="$POL_CACHE/js"
# A file of a published data set, which tests read.
export POL_DATASET_FILE="$POL_CACHE/datasets/HumanEval.jsonl.gz"
# A pretrained model that setup.sh --model fetches.
export POL_MODEL="$POL_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf"

# Members are compiled by clippy, so that linting and building share one set of dependency artifacts.
if command -v clippy-driver >/dev/null 2>&1; then
    export RUSTC_WORKSPACE_WRAPPER=clippy-driver
fi

# The toolchain that has the WASM target: setup.sh records which one that is when it is not the default.
if [ -z "${RUSTUP_TOOLCHAIN:-}" ] && [ -r "$POL_CACHE/toolchain" ]; then
    RUSTUP_TOOLCHAIN="$(cat "$POL_CACHE/toolchain")"
    export RUSTUP_TOOLCHAIN
fi

export PATH="$HOME/.cargo/bin:$PATH"
POL_BIN="$CARGO_TARGET_DIR/release"
export POL_BIN
