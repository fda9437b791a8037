# One word a task. `just` lists them; every recipe calls a script that also works by itself.

set shell := ["bash", "-euc"]

# List the tasks.
default:
    @just --list --unsorted

# Install the compiler, libtorch, and the corpus, once.
setup *ARGS:
    ./scripts/setup.sh {{ARGS}}

# Build everything that tests and the demo run.
build:
    . scripts/env.sh && cargo build --release --locked --workspace --all-targets

# Train a model on a network on this machine.
demo *ARGS:
    ./scripts/demo.sh {{ARGS}}

# Run every check and test.
test:
    ./scripts/test.sh

# Run the tests whose name contains NAME, in one package.
one PACKAGE NAME:
    . scripts/env.sh && cargo test --release --locked -p {{PACKAGE}} -- {{NAME}}

# Attack a network on this machine in every known way.
attacks *ARGS:
    ./scripts/attacks.sh {{ARGS}}

# Feed parsers with bytes that libFuzzer makes.
fuzz *ARGS:
    ./scripts/fuzz.sh {{ARGS}}

# Format the code.
fmt:
    . scripts/env.sh && cargo fmt --all

# Print the figures of the code base, and fail above their limits.
house:
    ./scripts/house.sh

# Build the API documentation.
doc:
    . scripts/env.sh && cargo doc --release --locked --workspace --no-deps

# Build the book in docs/.
book:
    ./scripts/book.sh

# Check licences, sources, and bans of all dependencies.
deny:
    ./scripts/deny.sh
