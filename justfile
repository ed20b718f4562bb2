# The contributor's front door. `just` lists the recipes.

_default:
    @just --list --unsorted

# Everything that must hold
test:
    scripts/test

# The library's tests alone
unit *ARGS:
    cargo nextest run -p earthkey {{ARGS}}

# The real clients
clients *ARGS:
    cargo build --workspace
    target/venv/bin/pytest tests/clients {{ARGS}}

# Kills, herds and bad places at full size
soak *ARGS:
    scripts/soak {{ARGS}}

# Changes what must not be wrong, and looks whether a test notices
mutants *ARGS:
    scripts/mutants {{ARGS}}

# Format and lints
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Every system against a sandbox
demo:
    cargo run -- demo
