#!/usr/bin/env bash
# Fuzzes every parser of untrusted bytes (fuzz/, src/fuzz.rs) with libFuzzer, each for SECONDS.
# An input that breaks a parser is saved in fuzz/artifacts. After fixing the parser, move the input
# to the corpus, which `cargo test` replays.
#
# Usage: fuzz.sh SECONDS [TARGET]...        (JOBS=2: number of targets that run at once)
# Prints a line when a target ends: executions, seconds, edges covered, inputs that cover something
# which the corpus does not, and failures.
#
# Needs g++ for libFuzzer, but no nightly compiler, because LLVM's own pass counts the coverage.
# There is no address sanitizer, because there is no unsafe code. With cargo-fuzz (nightly) the same
# targets run as `cargo fuzz run TARGET`.
set -euo pipefail
cd "$(dirname "$0")/../../fuzz"
seconds=${1:?fuzz.sh SECONDS [TARGET]...}
shift
command -v g++ >/dev/null || { echo "fuzz.sh: NOT RUN: it needs g++" >&2; exit 1; }
targets=("$@")
if ((!${#targets[@]})); then
    for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With an explicit --target, build scripts and macros are not instrumented.
triple=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=$flags cargo build --quiet --release --target "$triple" "${targets[@]/#/--bin=}"
programs=${CARGO_TARGET_DIR:-target}/$triple/release

logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true; rm -rf "$logs"' EXIT
run_target() {
    local target=$1 started=$SECONDS result=ok runs edges found failures
    # New inputs go to a temporary directory, so that the corpus in the repository stays small.
    mkdir -p "artifacts/$target" "$logs/found/$target"
    "$programs/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -print_final_stats=1 -artifact_prefix="artifacts/$target/" \
        "$logs/found/$target" "corpus/$target" >"$logs/$target" 2>&1 || result=FAILED
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target")
    found=$(sed -n 's/^stat::new_units_added: *//p' "$logs/$target")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$logs/$target" | tail -n 1)
    failures=$(find "artifacts/$target" -type f | wc -l)
    rmdir "artifacts/$target" 2>/dev/null || true
    if [[ $result == FAILED ]]; then
        grep -E 'panicked|SUMMARY|Test unit written|assertion' -A 2 "$logs/$target" |
            head -n 12 || true
    fi
    printf '%-18s %11s executions %5d s %6s edges %5s new inputs %3d failures  %s\n' "$target" \
        "${runs:-?}" $((SECONDS - started)) "${edges:-?}" "${found:-?}" "$failures" "$result"
    echo "${runs:-0} $result" >"$logs/$target.ended"
}
for target in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= ${JOBS:-2})); do wait -n || true; done
    run_target "$target" &
done
wait

failed=0 executions=0
for target in "${targets[@]}"; do
    read -r runs result <"$logs/$target.ended" || { runs=0 result=FAILED; }
    executions=$((executions + runs))
    [[ $result == ok ]] || failed=$((failed + 1))
done
printf 'fuzz.sh: %d targets, %d executions, %d failed\n' "${#targets[@]}" "$executions" "$failed"
((failed == 0))
