#!/bin/sh
# Runs Debian's xenstore-utils against the simulated xenstore. They were written for the real
# xenstore, so this shows that the simulation implements the protocol. Installs the package if it is
# missing.
set -eu
cd "$(dirname "$0")/../.."
for tool in xenstore-read xenstore-list xenstore-exists xenstore-watch; do
    command -v $tool >/dev/null ||
        apt-get install -y --no-install-recommends xenstore-utils >/dev/null ||
        { echo "NOT RUN: xenstore-utils cannot be installed" >&2; exit 1; }
done
# All of the workspace, as `cargo test` builds it: a part of it has other features, and would be
# compiled once more.
cargo build --quiet --examples --bins
directory=$(mktemp -d)
target=${CARGO_TARGET_DIR:-target}
store=
trap 'kill $store 2>/dev/null || true; rm -rf "$directory"' EXIT

# expect NAME EXPECTED ACTUAL
expect() {
    [ "$2" = "$3" ] || { echo "FAIL: $1: expected '$2', found '$3'" >&2; exit 1; }
    echo "ok: $1"
}
# Waits until the simulated xenstore has printed its path.
wait_for_store() {
    while ! grep -q XENSTORED_PATH "$directory/out"; do kill -0 $store; sleep 0.05; done
}
rackconnect() { timeout 10 "$target/debug/rackconnect" "$@"; }

status_key=vm-data/user-metadata/rackconnect_automation_status
for kind in socket pty; do
    export XENSTORED_PATH="$directory/$kind"
    "$target/debug/simulated-xenstore" --path "$XENSTORED_PATH" \
        $([ $kind = socket ] || echo --pty) \
        --set vm-data/provider_data/region=DFW \
        --set 'vm-data/provider_data/roles=["rack_connect"]' \
        --set "$status_key=\"DEPLOYING\"" >"$directory/out" &
    store=$!
    wait_for_store

    expect "$kind: xenstore-read" DFW "$(timeout 10 xenstore-read vm-data/provider_data/region)"
    expect "$kind: xenstore-list" "region roles" \
        "$(timeout 10 xenstore-list vm-data/provider_data | tr '\n' ' ' | sed 's/ $//')"
    timeout 10 xenstore-exists vm-data/provider_data/region ||
        { echo "FAIL: $kind: xenstore-exists does not find the region" >&2; exit 1; }
    echo "ok: $kind: xenstore-exists"
    if timeout 10 xenstore-exists vm-data/nothing; then
        echo "FAIL: $kind: xenstore-exists finds a key that does not exist" >&2
        exit 1
    fi
    echo "ok: $kind: xenstore-exists without the key"
    expect "$kind: xenstore-read without the key" \
        "xenstore-read: couldn't read path vm-data/nothing" \
        "$(timeout 10 xenstore-read vm-data/nothing 2>&1 || true)"
    expect "$kind: rackconnect reads the region" dfw "$(rackconnect region)"
    expect "$kind: rackconnect reads the status" DEPLOYING "$(rackconnect status --source xenstore)"
    if [ $kind = socket ]; then
        timeout 10 xenstore-watch -n 2 vm-data/user-metadata >"$directory/events" &
        watch=$!
        while ! grep -q vm-data "$directory/events"; do kill -0 $watch; sleep 0.05; done
        timeout 10 xenstore-write "$status_key" '"DEPLOYED"'
        wait $watch
        expect "xenstore-watch reports the write" "$status_key" "$(tail -1 "$directory/events")"
        expect "rackconnect reads the new status" DEPLOYED "$(rackconnect status --source xenstore)"
    fi
    kill $store
done

# Ownership: root does not read another user's store, and another user cannot read root's.
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$directory"
    mkdir -m 777 "$directory/open"
    cp "$target/debug/simulated-xenstore" "$target/debug/rackconnect" "$directory/"
    as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"
    for kind in socket pty; do
        export XENSTORED_PATH="$directory/open/$kind"
        error="rackconnect: error: xenstore ($XENSTORED_PATH)"
        : >"$directory/out"
        $as_nobody "$directory/simulated-xenstore" --path "$XENSTORED_PATH" \
            $([ $kind = socket ] || echo --pty) \
            --set vm-data/provider_data/region=DFW >"$directory/out" &
        store=$!
        wait_for_store
        expect "$kind: root does not read another user's store" \
            "$error does not work: it belongs to another user (uid 65534)" \
            "$("$directory/rackconnect" status --source xenstore 2>&1 || true)"
        expect "$kind: the owner reads it" dfw "$($as_nobody "$directory/rackconnect" region)"
        kill $store
    done
    export XENSTORED_PATH="$directory/roots"
    error="rackconnect: error: xenstore ($XENSTORED_PATH)"
    : >"$directory/out"
    (
        umask 077
        exec "$directory/simulated-xenstore" --path "$XENSTORED_PATH" \
            --set vm-data/provider_data/region=DFW
    ) >"$directory/out" &
    store=$!
    wait_for_store
    expect "another user cannot read root's store" "$error can be read only by root" \
        "$($as_nobody "$directory/rackconnect" status --source xenstore 2>&1 || true)"
    kill $store
else
    echo "NOT RUN: the ownership checks (they need root)" >&2
fi
