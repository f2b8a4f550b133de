#!/usr/bin/env bash
# Runs the static program under early-boot conditions: an empty root directory, no /etc, no /proc, a
# read-only file system, DNS that stalls or disappears, and as process 1.
#
# Usage: early-boot.sh PROGRAM SIMULATED-API
# Needs readelf, unshare, ip, ss, pgrep and python3. Runs in its own mount, network and PID
# namespaces and, if not started by root, in its own user namespace.
set -euo pipefail

if [[ -z ${IN_NAMESPACE-} ]]; then
    program=$(realpath "$1") api=$(realpath "$2")
    if ((EUID == 0)); then user=(); else user=(--map-root-user); fi
    have() { command -v "$1" >/dev/null || { echo "early-boot.sh needs $1" >&2; exit 1; }; }
    have readelf; have unshare; have ip; have python3; have pgrep; have ss
    exec env IN_NAMESPACE=1 PROGRAM="$program" API="$api" TESTS="$(realpath "$(dirname "$0")")" \
        unshare "${user[@]}" --mount --net --pid --mount-proc --fork --kill-child -- "$0"
fi

directory=$(mktemp -d)
cleanup() { umount -l "$directory/root" 2>/dev/null || true; rm -rf "$directory"; }
trap cleanup EXIT
mount --make-rprivate /
ip link set lo up
passed=0

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    cat "$directory/err" >&2 2>/dev/null || true
    exit 1
}
pass() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }

# expect CODE STDOUT DESCRIPTION COMMAND...: runs a command, compares its exit code and standard
# output, and checks that it did not panic.
expect() {
    local code=$1 stdout=$2 description=$3 actual_code=0 actual_stdout
    shift 3
    actual_stdout=$("$@" 2>"$directory/err" </dev/null) || actual_code=$?
    [[ $actual_code == "$code" ]] ||
        fail "$description: exit code $actual_code instead of $code"
    [[ $actual_stdout == "$stdout" ]] ||
        fail "$description: \"$actual_stdout\" instead of \"$stdout\""
    ! grep -q panicked "$directory/err" || fail "$description: it panicked"
    pass "$description"
}
# expect_stderr PATTERN: checks the messages of the last command.
expect_stderr() { grep -q -- "$1" "$directory/err" || fail "standard error does not contain: $1"; }

# --- The program is static.
headers=$(readelf -hldW "$PROGRAM")
[[ $headers == *"DYN (Position-Independent"* ]] || fail "it is not static-pie"
[[ $headers != *INTERP* ]] || fail "it needs an interpreter"
[[ $headers != *NEEDED* ]] || fail "it needs a shared library"
pass "static-pie, no interpreter, no shared libraries"

# --- A simulated API with the real host name.
cat >"$directory/script.toml" <<'TOML'
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
"$API" --listen 127.0.0.1:443 --listen 127.0.0.2:443 --listen 127.0.0.3:443 \
    --ca-out "$directory/ca.pem" --script "$directory/script.toml" \
    >"$directory/listening" 2>/dev/null &
until [[ $(wc -l <"$directory/listening") == 3 ]]; do sleep 0.1; done

# --- A root directory with only the program, resolv.conf, hosts and the simulated API's CA.
root=$directory/root
name=dfw.api.rackconnect.rackspace.com
mkdir -p "$root/etc"
mount -t tmpfs tmpfs "$root"
mkdir -p "$root/etc"
cp "$PROGRAM" "$root/rackconnect"
cp "$directory/ca.pem" "$root/ca.pem"
echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
echo "127.0.0.1 $name" >"$root/etc/hosts"
inside() { env -i "$(command -v chroot)" "$root" /rackconnect "$@"; }
dfw=(--region dfw --ca-file /ca.pem)
expect 0 DEPLOYED "empty root directory: status" inside status "${dfw[@]}"
expect 0 DEPLOYED "empty root directory: wait" inside wait "${dfw[@]}"
expect 2 "" "empty root directory: no region" inside status
expect_stderr "the region of this server is not known"
expect 7 "" "empty root directory: unknown CA" inside status --region dfw
expect_stderr "the issuer of the certificate of .* is not trusted"

# If the built-in roots do not know the issuer, the system's CA bundle is used.
mkdir -p "$root/etc/ssl/certs"
cp "$directory/ca.pem" "$root/etc/ssl/certs/ca-certificates.crt"
expect 0 DEPLOYED "CA from the system's bundle" inside status --region dfw -v
expect_stderr "built-in roots do not know the issuer"
rm -r "$root/etc/ssl"

# Five addresses do not answer, because their accept queues are full; the sixth does.
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
expect 0 DEPLOYED "five addresses that do not answer, then one that does" inside status "${dfw[@]}"
((SECONDS < 8)) || fail "trying the addresses that do not answer took $SECONDS s"
echo "127.0.0.1 $name" >"$root/etc/hosts"

mount -o remount,ro "$root"
expect 0 10.182.127.198 "read-only file system" inside gateway "${dfw[@]}"
mount -o remount,rw "$root"

# --- DNS. Nothing listens on port 53 yet, so the connection is refused at once.
: >"$root/etc/hosts"
expect 7 "" "no DNS: one clear message" inside status "${dfw[@]}"
expect_stderr "cannot look up $name: nameserver 127.0.0.1 cannot be used: Connection refused"
# Nameservers that answer for one address family only, each on its own address.
nameserver() {
    python3 "$TESTS/nameserver.py" "$@" &
    until ss -Hlun "src $1:53" | grep -q .; do sleep 0.1; done
}
number=10
for bad in SERVFAIL NOTIMP REFUSED NXDOMAIN garbage never; do
    number=$((number + 1))
    nameserver "127.0.0.$number" 127.0.0.1 "$bad"
    echo "nameserver 127.0.0.$number" >"$root/etc/resolv.conf"
    expect 0 DEPLOYED "DNS answers A, and AAAA with $bad" inside status "${dfw[@]}"
done
# Regression: with these options the lookup of a complete name failed or the program crashed.
nameserver 127.0.0.20 127.0.0.1 SERVFAIL
for options in "attempts:0" "timeout:0" "timeout:1 attempts:00 ndots:5"; do
    printf 'search bad.example\nnameserver 127.0.0.20\noptions %s\n' "$options" \
        >"$root/etc/resolv.conf"
    expect 0 DEPLOYED "resolv.conf with \"options $options\"" inside status "${dfw[@]}"
done
echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
# A nameserver that never answers.
nameserver 127.0.0.1 never never
SECONDS=0
expect 7 "" "DNS stalls: the request timeout holds" inside status "${dfw[@]}" --request-timeout 2s
expect_stderr "the name lookup for $name timed out"
expect 124 "" "DNS stalls: the deadline of a wait holds" inside wait "${dfw[@]}" --timeout 2s
((SECONDS < 15)) || fail "the stalled DNS lookups took $SECONDS s"

# A wait starts without DNS. The name appears (in hosts), then disappears again. The last address
# that worked is still used, although the server closes the connection after every response.
inside wait "${dfw[@]}" --interval 3s --request-timeout 3s >"$directory/out" 2>"$directory/err" &
wait_pid=$!
sleep 4
echo "127.0.0.2 $name" >"$root/etc/hosts"
until grep -q DEPLOYING "$directory/err"; do
    sleep 0.2
    kill -0 "$wait_pid" 2>/dev/null || fail "the wait ended early"
done
: >"$root/etc/hosts"
wait "$wait_pid" || fail "the wait failed when DNS disappeared"
[[ $(<"$directory/out") == DEPLOYED ]] || fail "the wait did not end with DEPLOYED"
pass "a wait continues while DNS is down, with the last address that worked"

# --- Only the program in the root directory, and an address instead of a name.
rm -rf "$root/etc"
expect 0 DEPLOYED "without /etc" inside status --endpoint https://127.0.0.1 --ca-file /ca.pem

# --- As process 1, to which the kernel delivers no signal that has no handler.
chroot=$(command -v chroot)
stalled=(status --endpoint https://127.0.0.3 --ca-file /ca.pem --request-timeout 1h --deadline 1h)
for signal in TERM INT; do
    unshare --pid --fork --kill-child -- \
        env -i "$chroot" "$root" /rackconnect "${stalled[@]}" >/dev/null 2>&1 &
    outer=$!
    until pid=$(pgrep -P "$outer" 2>/dev/null); do sleep 0.1; done
    sleep 0.5
    kill -s "$signal" "$pid"
    code=0
    wait "$outer" || code=$?
    number=$(kill -l "$signal")
    [[ $code == $((128 + number)) ]] || fail "SIG$signal as process 1: exit code $code"
    pass "SIG$signal as process 1: exit code $code"
done

# --- A signal during a request ends the program at once.
inside "${stalled[@]}" >/dev/null 2>&1 &
pid=$!
sleep 1
before=$(date +%s%N)
kill -TERM "$pid"
code=0
wait "$pid" || code=$?
took=$((($(date +%s%N) - before) / 1000000))
[[ $code == 143 ]] || fail "SIGTERM: exit code $code"
printf 'ok: SIGTERM during a stalled request: exit code 143 after %d ms\n' "$took"
# It should take less than 100 ms, but other checks may be running at the same time.
((took < 1000)) || fail "SIGTERM took too long"

printf 'early-boot.sh: %d passed, 0 failed\n' "$passed"
