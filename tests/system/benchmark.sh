#!/usr/bin/env bash
# Measures the cost of one call and compares it with curl. Quote the figures only as ratios; this is
# not a test.
#
# Usage: benchmark.sh PROGRAM SIMULATED-API [CALLS]
# Needs curl, GNU time (/usr/bin/time) and valgrind. All traffic stays on loopback.
set -euo pipefail

program=$(realpath "$1") api=$(realpath "$2") calls=${3:-50}
directory=$(mktemp -d)
trap 'kill "$api_pid" 2>/dev/null; rm -rf "$directory"' EXIT
printf 'limit = 1000000\n[[step]]\nstatus = "DEPLOYED"\n' >"$directory/script.toml"
"$api" --listen 127.0.0.1:0 --ca-out "$directory/ca.pem" --script "$directory/script.toml" \
    >"$directory/listening" 2>/dev/null &
api_pid=$!
until [[ -s $directory/listening ]]; do sleep 0.1; done
endpoint=$(sed 's/^listening on //' "$directory/listening")

arguments=(status --endpoint "$endpoint" --ca-file "$directory/ca.pem")
curl_call=(curl -s --cacert "$directory/ca.pem" "$endpoint/v1/automation_status")
row() { printf '%-34s %12s %12s\n' "$@"; }

microseconds() {
    local begin end i
    begin=$(date +%s%N)
    for ((i = 0; i < calls; i++)); do "$@" >/dev/null; done
    end=$(date +%s%N)
    echo $(((end - begin) / 1000 / calls))
}
resident() { /usr/bin/time -f %M "$@" 2>&1 >/dev/null | tail -n 1; }
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 >/dev/null |
        sed -n 's/.*Collected : *//p'
}

# Each call has its own state directory, so that the rate limit does not slow the measurement down.
mkdir "$directory/state"
calls_made=0
one_call() {
    calls_made=$((calls_made + 1))
    RACKCONNECT_STATE_DIR="$directory/state/$calls_made" "$program" "${arguments[@]}"
}
export RACKCONNECT_STATE_DIR="$directory/state/few"
one_call >/dev/null
"${curl_call[@]}" >/dev/null
row "" rackconnect curl
row "program size (bytes)" "$(stat -c %s "$program")" \
    "$(stat -Lc %s "$(command -v curl)") + libraries"
# Measure alternately, three times, because the machine's speed varies.
for round in 1 2 3; do
    row "one call, round $round (µs)" "$(microseconds one_call)" \
        "$(microseconds "${curl_call[@]}")"
done
row "memory (RSS), one call (KiB)" "$(resident "$program" "${arguments[@]}")" \
    "$(resident "${curl_call[@]}")"
row "memory (RSS), a wait (KiB)" "$(resident "$program" wait "${arguments[@]:1}")" ""
row "instructions, one call" "$(instructions "$program" "${arguments[@]}")" \
    "$(instructions "${curl_call[@]}")"
