#!/bin/sh
# Tests the rate limit over minutes: 200 waits, 50 loops, another program on the same server,
# several users, a full disk. All scenarios run in parallel, each with its own simulated API, and
# take about four minutes.
#
# Usage: tests/system/limit.sh [PROGRAM [SCENARIO]]
# Without root, scenarios that need several users or a mount print NOT RUN.
set -eu
cd "$(dirname "$0")/../.."

if [ $# -eq 0 ]; then
    cargo build --release --target x86_64-unknown-linux-musl --bin rackconnect
    set -- target/x86_64-unknown-linux-musl/release/rackconnect
fi
cargo build --example limit

# Copy the program to a directory from which other users can execute it.
directory=$(mktemp -d)
chmod 755 "$directory"
cp "$1" "$directory/rackconnect"
shift
protected=/proc/sys/fs/protected_regular
before=$(cat "$protected" 2>/dev/null || true)
restore() {
    rm -rf "$directory"
    if [ -n "$before" ] && [ -w "$protected" ]; then
        echo "$before" > "$protected"
    fi
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ "$(id -u)" -eq 0 ] && [ -n "$before" ]; then
    echo 2 > "$protected" || echo "NOT RUN: with protected_regular=2 (it cannot be set here)"
fi

target/debug/examples/limit "$directory/rackconnect" "$@"
