#!/bin/sh
# Debian's xenstore-utils against the simulated xenstore: they were written for the real one, so what they understand is
# the protocol, and a client that the simulation understands speaks it. Installs the package where it is missing.
set -eu
cd "$(dirname "$0")/../.."
for tool in xenstore-read xenstore-list xenstore-exists xenstore-watch; do
    command -v $tool >/dev/null || {
        apt-get install -y --no-install-recommends xenstore-utils >/dev/null || { echo "NOT RUN: no xenstore-utils here" >&2; exit 1; }
    }
done
cargo build --quiet -p simulated-xenstore -p rackconnect-agent
folder=$(mktemp -d)
target=${CARGO_TARGET_DIR:-target}
store=
trap 'kill $store 2>/dev/null || true; rm -rf "$folder"' EXIT

# same NAME EXPECTED FOUND
same() {
    [ "$2" = "$3" ] || { echo "FAIL: $1: expected '$2', found '$3'" >&2; exit 1; }
    echo "ok: $1"
}

for kind in socket pty; do
    export XENSTORED_PATH="$folder/$kind"
    "$target/debug/simulated-xenstore" --path "$XENSTORED_PATH" $([ $kind = socket ] || echo --pty) \
        --set vm-data/provider_data/region=DFW --set 'vm-data/provider_data/roles=["rack_connect"]' \
        --set 'vm-data/user-metadata/rackconnect_automation_status="DEPLOYING"' >"$folder/out" &
    store=$!
    while ! grep -q XENSTORED_PATH "$folder/out"; do kill -0 $store; sleep 0.05; done

    same "$kind: xenstore-read" DFW "$(timeout 10 xenstore-read vm-data/provider_data/region)"
    same "$kind: xenstore-list" "region roles" "$(timeout 10 xenstore-list vm-data/provider_data | tr '\n' ' ' | sed 's/ $//')"
    timeout 10 xenstore-exists vm-data/provider_data/region && same "$kind: xenstore-exists" 0 0
    ! timeout 10 xenstore-exists vm-data/nothing && same "$kind: xenstore-exists of nothing" 0 0
    same "$kind: xenstore-read of nothing" "xenstore-read: couldn't read path vm-data/nothing" \
        "$(timeout 10 xenstore-read vm-data/nothing 2>&1 || true)"
    same "$kind: rackconnect reads the same store" dfw "$(timeout 10 "$target/debug/rackconnect" region)"
    same "$kind: and the status" DEPLOYING "$(timeout 10 "$target/debug/rackconnect" status --source xenstore)"
    if [ $kind = socket ]; then
        timeout 10 xenstore-watch -n 2 vm-data/user-metadata >"$folder/events" &
        watch=$!
        while ! grep -q vm-data "$folder/events"; do kill -0 $watch; sleep 0.05; done
        timeout 10 xenstore-write vm-data/user-metadata/rackconnect_automation_status '"DEPLOYED"'
        wait $watch
        same "xenstore-watch sees xenstore-write" "vm-data/user-metadata/rackconnect_automation_status" "$(tail -1 "$folder/events")"
        same "and so does rackconnect" DEPLOYED "$(timeout 10 "$target/debug/rackconnect" status --source xenstore)"
    fi
    kill $store
done

# Whose store it is: root reads no other user's, and a user is told that root's is root's.
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$folder"
    mkdir -m 777 "$folder/open"
    cp "$target/debug/simulated-xenstore" "$target/debug/rackconnect" "$folder/"
    as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"
    for kind in socket pty; do
        export XENSTORED_PATH="$folder/open/$kind"
        : >"$folder/out"
        $as_nobody "$folder/simulated-xenstore" --path "$XENSTORED_PATH" $([ $kind = socket ] || echo --pty) \
            --set vm-data/provider_data/region=DFW >"$folder/out" &
        store=$!
        while ! grep -q XENSTORED_PATH "$folder/out"; do kill -0 $store; sleep 0.05; done
        same "$kind: root reads no other user's store" \
            "rackconnect: error: xenstore ($XENSTORED_PATH) does not work: it belongs to another user (uid 65534)" \
            "$("$folder/rackconnect" status --source xenstore 2>&1 || true)"
        same "$kind: that user does" dfw "$($as_nobody "$folder/rackconnect" region)"
        kill $store
    done
    export XENSTORED_PATH="$folder/roots"
    : >"$folder/out"
    (umask 077; exec "$folder/simulated-xenstore" --path "$XENSTORED_PATH" --set vm-data/provider_data/region=DFW) >"$folder/out" &
    store=$!
    while ! grep -q XENSTORED_PATH "$folder/out"; do kill -0 $store; sleep 0.05; done
    same "root's store is root's" "rackconnect: error: xenstore ($XENSTORED_PATH) can be read only by root" \
        "$($as_nobody "$folder/rackconnect" status --source xenstore 2>&1 || true)"
    kill $store
else
    echo "NOT RUN: whose store it is (needs root)" >&2
fi
