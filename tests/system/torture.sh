#!/bin/sh
# Injects a fault into one system call of every command (tests/system/torture.rs); a seed selects
# the fault and the call. It uses the static program, so that no fault hits the dynamic loader.
#
# Usage: tests/system/torture.sh [--program FILE] [--seed N] [--runs N]
# Needs root, strace and ip.
set -eu
cd "$(dirname "$0")/../.."

program=
if [ "${1-}" = --program ]; then
    program=$2
    shift 2
fi
if [ -z "$program" ]; then
    cargo build --release --target x86_64-unknown-linux-musl --bin rackconnect
    program=target/x86_64-unknown-linux-musl/release/rackconnect
fi
cargo build --example torture
exec target/debug/examples/torture "$program" "$@"
