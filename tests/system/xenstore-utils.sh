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
# The limit of a call, which counts as hanging then, also on a busy machine.
limit="timeout 120"
# until_in FILE WORD PROCESS: waits until the process has written the word to the file.
until_in() {
    until grep -qs "$2" "$1"; do
        kill -0 "$3" || { echo "FAIL: it ended without writing $2" >&2; exit 1; }
        sleep 0.05
    done
}
# start_store COMMAND...: starts a simulated xenstore and waits until it has printed its path. A file
# with the path of an earlier one would end that at once.
start_store() {
    rm -f "$directory/out"
    "$@" >"$directory/out" &
    store=$!
    until_in "$directory/out" XENSTORED_PATH $store
}
stop_store() {
    kill $store
    wait $store 2>/dev/null || true
    store=
}
rackconnect() { $limit "$target/debug/rackconnect" "$@"; }

status_key=vm-data/user-metadata/rackconnect_automation_status
for kind in socket pty; do
    export XENSTORED_PATH="$directory/$kind"
    start_store "$target/debug/simulated-xenstore" --path "$XENSTORED_PATH" \
        $([ $kind = socket ] || echo --pty) \
        --set vm-data/provider_data/region=DFW \
        --set 'vm-data/provider_data/roles=["rack_connect"]' \
        --set "$status_key=\"DEPLOYING\""

    expect "$kind: xenstore-read" DFW "$($limit xenstore-read vm-data/provider_data/region)"
    expect "$kind: xenstore-list" "region roles" \
        "$($limit xenstore-list vm-data/provider_data | tr '\n' ' ' | sed 's/ $//')"
    $limit xenstore-exists vm-data/provider_data/region ||
        { echo "FAIL: $kind: xenstore-exists does not find the region" >&2; exit 1; }
    echo "ok: $kind: xenstore-exists"
    if $limit xenstore-exists vm-data/nothing; then
        echo "FAIL: $kind: xenstore-exists finds a key that does not exist" >&2
        exit 1
    fi
    echo "ok: $kind: xenstore-exists without the key"
    expect "$kind: xenstore-read without the key" \
        "xenstore-read: couldn't read path vm-data/nothing" \
        "$($limit xenstore-read vm-data/nothing 2>&1 || true)"
    expect "$kind: rackconnect reads the region" dfw "$(rackconnect region)"
    expect "$kind: rackconnect reads the status" DEPLOYING "$(rackconnect status --source xenstore)"
    if [ $kind = socket ]; then
        $limit xenstore-watch -n 2 vm-data/user-metadata >"$directory/events" &
        watch=$!
        until_in "$directory/events" vm-data $watch
        $limit xenstore-write "$status_key" '"DEPLOYED"'
        wait $watch
        expect "xenstore-watch reports the write" "$status_key" "$(tail -1 "$directory/events")"
        expect "rackconnect reads the new status" DEPLOYED "$(rackconnect status --source xenstore)"
    fi
    stop_store
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
        start_store $as_nobody "$directory/simulated-xenstore" --path "$XENSTORED_PATH" \
            $([ $kind = socket ] || echo --pty) \
            --set vm-data/provider_data/region=DFW
        expect "$kind: root does not read another user's store" \
            "$error does not work: it belongs to another user (uid 65534)" \
            "$("$directory/rackconnect" status --source xenstore 2>&1 || true)"
        expect "$kind: the owner reads it" dfw "$($as_nobody "$directory/rackconnect" region)"
        stop_store
    done
    export XENSTORED_PATH="$directory/roots"
    error="rackconnect: error: xenstore ($XENSTORED_PATH)"
    start_store sh -c 'umask 077 && exec "$@"' sh "$directory/simulated-xenstore" \
        --path "$XENSTORED_PATH" --set vm-data/provider_data/region=DFW
    expect "another user cannot read root's store" "$error can be read only by root" \
        "$($as_nobody "$directory/rackconnect" status --source xenstore 2>&1 || true)"
    stop_store
else
    echo "NOT RUN: the ownership checks (they need root)" >&2
fi
