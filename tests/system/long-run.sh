#!/usr/bin/env bash
# Runs waits for a long time and checks that memory, descriptors and threads do not grow.
#
# Usage: long-run.sh compressed|real [--program FILE]
# compressed: one minute at the shortest interval, with an API that answers, fails and stalls.
# real: twenty minutes at the default interval.
# Builds the program and the simulated API; needs nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
case ${1:-} in
compressed) seconds=60 every=2 interval=3s ;;
real) seconds=1200 every=15 interval=5s ;;
*) sed -n '2,7s/^# //p' "$0" >&2; exit 2 ;;
esac
program=target/debug/rackconnect
if [[ ${2:-} == --program ]]; then program=$(realpath "$3"); fi
# All of the workspace, as `cargo test` builds it: a part of it has other features, and would be
# compiled once more.
cargo build --quiet --examples --bins

work=$(mktemp -d)
cleanup() {
    local pid
    for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done
    wait || true
    rm -rf "$work"
}
trap cleanup EXIT

# Requests succeed and fail in turn. The last step never ends, and neither do the waits.
{
    echo 'limit = 1000000'
    for ((i = 0; i < seconds / 20; i++)); do
        for fault in '' http-500 stall-head cut reset html close-after drip; do
            printf '[[step]]\nrequests = 1\nstatus = "DEPLOYING"\n'
            if [[ -n $fault ]]; then printf 'fault = "%s"\n' "$fault"; fi
        done
    done
    printf '[[step]]\nstatus = "DEPLOYING"\n'
} >"$work/script.toml"
target/debug/simulated-api --listen 127.0.0.1:0 --ca-out "$work/ca.pem" \
    --script "$work/script.toml" --log "$work/requests" >"$work/listening" 2>/dev/null &
until [[ -s $work/listening ]]; do sleep 0.1; done

export RACKCONNECT_CA_FILE=$work/ca.pem RACKCONNECT_STATE_DIR=$work/state
export XENSTORED_PATH=/nonexistent
RACKCONNECT_ENDPOINT=$(sed 's/^listening on //' "$work/listening")
export RACKCONNECT_ENDPOINT
# Two waits: one becomes the leader, the other its follower.
pids=()
for ((i = 0; i < 2; i++)); do
    "$program" wait --interval $interval --request-timeout 2s --timeout 0 \
        >/dev/null 2>"$work/stderr-$i" &
    pids+=($!)
done

# sample PID: prints resident memory (KiB), descriptors and threads.
sample() {
    local resident threads
    resident=$(awk '/^VmRSS:/ { print $2 }' "/proc/$1/status")
    threads=$(awk '/^Threads:/ { print $2 }' "/proc/$1/status")
    echo "$resident $(ls "/proc/$1/fd" | wc -l) $threads"
}
# Take no samples while the program is still starting.
sleep $((seconds / 6))
end=$((SECONDS + seconds - seconds / 6))
while ((SECONDS < end)); do
    for pid in "${pids[@]}"; do
        sample "$pid" >>"$work/samples-$pid" || {
            echo "FAILED: a wait ended early"
            cat "$work"/stderr-*
            exit 1
        }
    done
    sleep $every
done

failed=0
for pid in "${pids[@]}"; do
    # Compare the maximum of the last quarter with that of the first.
    awk -v kib=256 '
        { for (i = 1; i <= 3; i++) value[NR, i] = $i }
        END {
            quarter = int(NR / 4)
            for (n = 1; n <= NR; n++) for (i = 1; i <= 3; i++) {
                if (n <= quarter && value[n, i] > first[i]) first[i] = value[n, i]
                if (n > NR - quarter && value[n, i] > last[i]) last[i] = value[n, i]
            }
            printf "%d samples: ", NR
            printf "resident %d to %d KiB, descriptors %d to %d, threads %d to %d\n", \
                first[1], last[1], first[2], last[2], first[3], last[3]
            exit !(NR >= 8 && last[1] <= first[1] + kib && last[2] <= first[2] + 1 && \
                last[3] <= first[3])
        }' "$work/samples-$pid" || failed=$((failed + 1))
done
printf 'long-run.sh: %s, %d requests, %d of %d waits grew\n' \
    "$1" "$(wc -l <"$work/requests")" "$failed" "${#pids[@]}"
((failed == 0))
