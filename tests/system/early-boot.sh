#!/usr/bin/env bash
# The static program in the worst minutes of a server's: an empty root, no /etc, no /proc, a file system that cannot be
# written, DNS that stalls, comes and goes, and as process 1.
#
# Usage: early-boot.sh PROGRAM SIMULATED-API
# Needs readelf, unshare, ip, ss and python3; makes its own user, mount and network namespace (as root: without the first).
set -euo pipefail

if [[ -z ${IN_NAMESPACE-} ]]; then
    program=$(realpath "$1") api=$(realpath "$2")
    if ((EUID == 0)); then user=(); else user=(--map-root-user); fi
    have() { command -v "$1" >/dev/null || { echo "early-boot.sh needs $1" >&2; exit 1; }; }
    have readelf; have unshare; have ip; have python3; have pgrep; have ss
    exec env IN_NAMESPACE=1 PROGRAM="$program" API="$api" TESTS="$(realpath "$(dirname "$0")")" \
        unshare "${user[@]}" --mount --net --pid --mount-proc --fork --kill-child -- "$0"
fi

folder=$(mktemp -d)
tidy() { umount -l "$folder/root" 2>/dev/null || true; rm -rf "$folder"; }
trap tidy EXIT
mount --make-rprivate /
ip link set lo up
passed=0

fail() { printf 'FAILED: %s\n' "$*" >&2; cat "$folder/err" >&2 2>/dev/null || true; exit 1; }
pass() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }

# expect CODE STDOUT DESCRIPTION COMMAND...: runs it, checks both, and that nothing panicked.
expect() {
    local code=$1 stdout=$2 what=$3 found=0 out
    shift 3
    out=$("$@" 2>"$folder/err" </dev/null) || found=$?
    [[ $found == "$code" ]] || fail "$what: exit code $found instead of $code"
    [[ $out == "$stdout" ]] || fail "$what: $out instead of $stdout"
    ! grep -q panicked "$folder/err" || fail "$what: it panicked"
    pass "$what"
}
says() { grep -q -- "$1" "$folder/err" || fail "it does not say: $1"; }

# --- It is static.
file=$(readelf -hldW "$PROGRAM")
[[ $file == *"DYN (Position-Independent"* ]] || fail "it is not static-pie"
[[ $file != *INTERP* ]] || fail "it asks for an interpreter"
[[ $file != *NEEDED* ]] || fail "it needs a library"
pass "static-pie, no interpreter, no library"

# --- A simulated API under the real name.
cat >"$folder/script.toml" <<'TOML'
limit = 1000000
[[server."127.0.0.1".step]]
status = "DEPLOYED"
gateway = "10.182.127.198"
[[server."127.0.0.2".step]]
requests = 2
count = "automation_status"
status = "DEPLOYING"
fault = "close-after"
[[server."127.0.0.2".step]]
status = "DEPLOYED"
[[server."127.0.0.3".step]]
status = "DEPLOYED"
fault = "stall"
TOML
"$API" --listen 127.0.0.1:443 --listen 127.0.0.2:443 --listen 127.0.0.3:443 --ca-out "$folder/ca.pem" \
    --script "$folder/script.toml" >"$folder/listening" 2>/dev/null &
until [[ $(wc -l <"$folder/listening") == 3 ]]; do sleep 0.1; done

# --- An empty root: the program, resolv.conf, hosts, and the CA, which is not Rackspace's here.
root=$folder/root
name=dfw.api.rackconnect.rackspace.com
mkdir -p "$root/etc"
mount -t tmpfs tmpfs "$root"
mkdir -p "$root/etc"
cp "$PROGRAM" "$root/rackconnect"
cp "$folder/ca.pem" "$root/ca.pem"
echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
echo "127.0.0.1 $name" >"$root/etc/hosts"
inside() { env -i "$(command -v chroot)" "$root" /rackconnect "$@"; }
expect 0 DEPLOYED "in an empty root, by name" inside status --region dfw --ca-file /ca.pem
expect 0 DEPLOYED "in an empty root, a wait" inside wait --region dfw --ca-file /ca.pem
expect 2 "" "in an empty root, no region" inside status
says "the region of this server is not known"
expect 7 "" "in an empty root, no CA" inside status --region dfw
says "the issuer of the certificate of .* is not trusted"

# The system's bundle, where the built-in roots do not know the issuer.
mkdir -p "$root/etc/ssl/certs"
cp "$folder/ca.pem" "$root/etc/ssl/certs/ca-certificates.crt"
expect 0 DEPLOYED "trusted by the system's bundle" inside status --region dfw -v
says "built-in roots do not know the issuer"
rm -r "$root/etc/ssl"

# Five addresses that do not answer before the good one: their queues are full.
python3 - <<'PYTHON' &
import socket, time
listeners = [socket.create_server((f"127.0.1.{n}", 443), backlog=0) for n in range(1, 6)]
clients = [socket.create_connection(listener.getsockname()) for listener in listeners]
time.sleep(600)
PYTHON
until [[ $(ss -Htn state established "src 127.0.1.0/24" | wc -l) -ge 5 ]]; do sleep 0.1; done
for n in 1 2 3 4 5; do echo "127.0.1.$n $name"; done >"$root/etc/hosts"
echo "127.0.0.1 $name" >>"$root/etc/hosts"
SECONDS=0
expect 0 DEPLOYED "five dead addresses before the good one" inside status --region dfw --ca-file /ca.pem
((SECONDS < 8)) || fail "the dead addresses took $SECONDS s"
echo "127.0.0.1 $name" >"$root/etc/hosts"

mount -o remount,ro "$root"
expect 0 10.182.127.198 "on a read-only file system" inside gateway --region dfw --ca-file /ca.pem
mount -o remount,rw "$root"

# --- DNS. Nobody listens on port 53 yet: an answer comes at once, and is no.
: >"$root/etc/hosts"
expect 7 "" "no DNS: one clear sentence" inside status --region dfw --ca-file /ca.pem
says "cannot look up $name: nameserver 127.0.0.1 cannot be used: Connection refused"
# Nameservers that answer one family only. Each has a port 53 of its own.
nameserver() {
    python3 "$TESTS/nameserver.py" "$@" &
    until ss -Hlun "src $1:53" | grep -q .; do sleep 0.1; done
}
number=10
for bad in SERVFAIL NOTIMP REFUSED NXDOMAIN garbage never; do
    number=$((number + 1))
    nameserver "127.0.0.$number" 127.0.0.1 "$bad"
    echo "nameserver 127.0.0.$number" >"$root/etc/resolv.conf"
    expect 0 DEPLOYED "DNS answers A, and AAAA with $bad" inside status --region dfw --ca-file /ca.pem
done
# Contents of resolv.conf that broke the lookup of a complete name or ended the program.
nameserver 127.0.0.20 127.0.0.1 SERVFAIL
for options in "attempts:0" "timeout:0" "timeout:1 attempts:00 ndots:5"; do
    printf 'search bad.example\nnameserver 127.0.0.20\noptions %s\n' "$options" >"$root/etc/resolv.conf"
    expect 0 DEPLOYED "resolv.conf with \"options $options\"" inside status --region dfw --ca-file /ca.pem
done
echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
# Now somebody listens there and never answers.
nameserver 127.0.0.1 never never
SECONDS=0
expect 7 "" "DNS stalls: the request timeout holds" inside status --region dfw --ca-file /ca.pem --request-timeout 2s
says "the name lookup for $name timed out"
expect 124 "" "DNS stalls: the deadline of a wait holds" inside wait --region dfw --ca-file /ca.pem --timeout 2s
((SECONDS < 15)) || fail "it waited for DNS longer than it may"

# DNS comes (by hosts), the wait goes on; then DNS goes again, and the last good address serves, although the server closes
# the connection after every answer.
inside wait --region dfw --ca-file /ca.pem --interval 3s --request-timeout 3s >"$folder/out" 2>"$folder/err" &
wait_pid=$!
sleep 4
echo "127.0.0.2 $name" >"$root/etc/hosts"
until grep -q DEPLOYING "$folder/err"; do sleep 0.2; kill -0 "$wait_pid" 2>/dev/null || fail "the wait ended early"; done
: >"$root/etc/hosts"
wait "$wait_pid" || fail "the wait did not outlast DNS that comes and goes"
[[ $(<"$folder/out") == DEPLOYED ]] || fail "the wait did not end in DEPLOYED"
pass "DNS that comes and goes is waited out, and the last good address serves"

# --- Nothing at all in the root but the program, and addresses instead of names.
rm -rf "$root/etc"
expect 0 DEPLOYED "without /etc" inside status --endpoint https://127.0.0.1 --ca-file /ca.pem

# --- Process 1: the kernel would deliver no signal to it.
for signal in TERM INT; do
    unshare --pid --fork --kill-child -- env -i "$(command -v chroot)" "$root" /rackconnect status --endpoint https://127.0.0.3 \
        --ca-file /ca.pem --request-timeout 1h --deadline 1h >/dev/null 2>&1 &
    outer=$!
    until pid=$(pgrep -P "$outer" 2>/dev/null); do sleep 0.1; done
    sleep 0.5
    kill -s "$signal" "$pid"
    code=0
    wait "$outer" || code=$?
    number=$(kill -l "$signal")
    [[ $code == $((128 + number)) ]] || fail "SIG$signal to process 1 ends it with $code"
    pass "SIG$signal to process 1: exit code $code"
done

# --- A signal in the middle of a request: within a tenth of a second.
inside status --endpoint https://127.0.0.3 --ca-file /ca.pem --request-timeout 1h --deadline 1h >/dev/null 2>&1 &
pid=$!
sleep 1
before=$(date +%s%N)
kill -TERM "$pid"
code=0
wait "$pid" || code=$?
took=$((($(date +%s%N) - before) / 1000000))
[[ $code == 143 ]] || fail "SIGTERM: exit code $code"
printf 'ok: SIGTERM in the middle of a stalled request: exit code 143, after %d ms\n' "$took"
# A tenth of a second is right; other checks run beside this one.
((took < 1000)) || fail "SIGTERM took too long"

printf 'early-boot.sh: %d passed, 0 failed\n' "$passed"
