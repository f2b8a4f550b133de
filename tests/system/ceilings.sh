#!/usr/bin/env bash
# What one call may cost: size of the program, instructions and system calls. The figures are the
# same from run to run, unlike times, so a call that has become more expensive fails here.
#
# Usage: ceilings.sh PROGRAM SIMULATED-API
# Needs valgrind and strace. Everything stays on loopback.
set -euo pipefail

# Raise one only together with the reason, in the commit that does.
max_size_bytes=2750000
max_instructions=4000000
max_system_calls=250

program=$(realpath -e "$1") api=$(realpath -e "$2")
directory=$(mktemp -d)
trap 'kill "$api_pid" 2>/dev/null; rm -rf "$directory"' EXIT
printf '[[step]]\nstatus = "DEPLOYED"\n' >"$directory/script.toml"
"$api" --listen 127.0.0.1:0 --ca-out "$directory/ca.pem" --script "$directory/script.toml" \
    >"$directory/listening" 2>/dev/null &
api_pid=$!
until [[ -s $directory/listening ]]; do sleep 0.1; done
endpoint=$(sed 's/^listening on //' "$directory/listening")
export RACKCONNECT_STATE_DIR="$directory/state"
call=("$program" status --endpoint "$endpoint" --ca-file "$directory/ca.pem")
# The first call creates the state directory.
[[ $("${call[@]}") == DEPLOYED ]]

instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "${call[@]}" 2>&1 >/dev/null |
        sed -n 's/.*Collected : *//p'
}
system_calls() {
    strace -f -qq -e signal=none -o "$directory/trace" "${call[@]}" >/dev/null
    # The first is the execve of the program itself.
    wc -l <"$directory/trace"
}

failed=0
compare() {
    local name=$1 figure=$2 ceiling=$3
    printf '%-28s %10d   (at most %d)\n' "$name" "$figure" "$ceiling"
    if ((figure > ceiling)); then failed=1; fi
}
compare "size of the program, bytes" "$(stat -c %s "$program")" "$max_size_bytes"
compare "instructions of one status" "$(instructions)" "$max_instructions"
compare "system calls of one status" "$(system_calls)" "$max_system_calls"
exit "$failed"
