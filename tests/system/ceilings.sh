#!/usr/bin/env bash
# Checks limits on the cost of one call: program size, instructions and system calls. Unlike times,
# these figures hardly vary from run to run.
#
# Usage: ceilings.sh PROGRAM SIMULATED-API
# Needs valgrind and strace. All traffic stays on loopback.
set -euo pipefail

# If you raise a limit, give the reason in the commit message.
max_size_bytes=2500000
max_instructions=3000000
max_system_calls=95

program=$(realpath -e "$1") api=$(realpath -e "$2")
# Each directory on the path costs system calls, so $TMPDIR is not used.
directory=$(mktemp -d /tmp/ceilings.XXXXXX)
trap 'kill "$api_pid" 2>/dev/null; rm -rf "$directory"' EXIT
printf '[[step]]\nstatus = "DEPLOYED"\n' >"$directory/script.toml"
"$api" --listen 127.0.0.1:0 --ca-out "$directory/ca.pem" --script "$directory/script.toml" \
    >"$directory/listening" 2>/dev/null &
api_pid=$!
until [[ -s $directory/listening ]]; do sleep 0.1; done
endpoint=$(sed 's/^listening on //' "$directory/listening")
call=("$program" status --endpoint "$endpoint" --ca-file "$directory/ca.pem"
    --state-dir "$directory/state")
# The environment costs instructions, too.
measure() { env -i PATH="$PATH" "$@"; }
# The first call creates the state directory.
[[ $(measure "${call[@]}") == DEPLOYED ]]

instructions() {
    measure valgrind --tool=callgrind --callgrind-out-file=/dev/null "${call[@]}" 2>&1 >/dev/null |
        sed -n 's/.*Collected : *//p'
}
# The fewest of several calls: where data of the server arrives in pieces, a call waits and reads
# again. This includes the execve of the program itself.
system_calls() {
    for _ in {1..7}; do
        measure strace -f -qq -e signal=none -o "$directory/trace" "${call[@]}" >/dev/null
        wc -l <"$directory/trace"
    done | sort -n | head -1
}

failed=0
compare() {
    local name=$1 figure=$2 ceiling=$3
    printf '%-28s %10d   (limit %d)\n' "$name" "$figure" "$ceiling"
    if ((figure > ceiling)); then failed=1; fi
}
compare "program size, bytes" "$(stat -c %s "$program")" "$max_size_bytes"
compare "instructions, one status" "$(instructions)" "$max_instructions"
compare "system calls, one status" "$(system_calls)" "$max_system_calls"
exit "$failed"
