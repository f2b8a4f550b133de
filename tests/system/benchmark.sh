#!/usr/bin/env bash
# What one call costs, beside curl in the same run: figures to quote as ratios, never a test.
#
# Usage: benchmark.sh PROGRAM SIMULATED-API [CALLS]
# Needs curl, GNU time (/usr/bin/time) and valgrind. Everything stays on loopback.
set -euo pipefail

program=$(realpath "$1") api=$(realpath "$2") calls=${3:-50}
folder=$(mktemp -d)
trap 'kill "$api_pid" 2>/dev/null; rm -rf "$folder"' EXIT
printf 'limit = 1000000\n[[step]]\nstatus = "DEPLOYED"\n' >"$folder/script.toml"
"$api" --listen 127.0.0.1:0 --ca-out "$folder/ca.pem" --script "$folder/script.toml" >"$folder/listening" 2>/dev/null &
api_pid=$!
until [[ -s $folder/listening ]]; do sleep 0.1; done
endpoint=$(sed 's/^listening on //' "$folder/listening")

arguments=(status --endpoint "$endpoint" --ca-file "$folder/ca.pem")
curls() { curl -s --cacert "$folder/ca.pem" "$endpoint/v1/automation_status"; }

milliseconds() {
    local begin end i
    begin=$(date +%s%N)
    for ((i = 0; i < calls; i++)); do "$@" >/dev/null; done
    end=$(date +%s%N)
    echo $(((end - begin) / 1000 / calls))
}
resident() { /usr/bin/time -f %M "$@" 2>&1 >/dev/null | tail -n 1; }
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 >/dev/null | sed -n 's/.*Collected : *//p'
}

# Each call with a budget of its own: thirty a minute would be all that can be measured.
mkdir "$folder/state"
calls_made=0
one() {
    calls_made=$((calls_made + 1))
    RACKCONNECT_STATE_DIR="$folder/state/$calls_made" "$program" "${arguments[@]}"
}
export RACKCONNECT_STATE_DIR="$folder/state/few"
one >/dev/null
curls >/dev/null
printf '%-34s %12s %12s\n' "" rackconnect curl
printf '%-34s %12s %12s\n' "size of the program (bytes)" "$(stat -c %s "$program")" "$(stat -Lc %s "$(command -v curl)") + libraries"
# In turn, thrice: the machine's speed drifts.
for round in 1 2 3; do
    printf '%-34s %12s %12s\n' "one call, round $round (µs)" "$(milliseconds one)" "$(milliseconds curls)"
done
printf '%-34s %12s %12s\n' "resident, one call (KiB)" "$(resident "$program" "${arguments[@]}")" \
    "$(resident curl -s --cacert "$folder/ca.pem" "$endpoint/v1/automation_status")"
printf '%-34s %12s\n' "resident, a wait (KiB)" "$(resident "$program" wait "${arguments[@]:1}")"
printf '%-34s %12s %12s\n' "instructions, one call" "$(instructions "$program" "${arguments[@]}")" \
    "$(instructions curl -s --cacert "$folder/ca.pem" "$endpoint/v1/automation_status")"
