# What tests/boot.sh runs inside the booted system, in front of a case's own lines: /out/result is what it finds.
exec >>/out/probe.log 2>&1
set -x
keep_journal() { journalctl -o short-monotonic --no-pager >/out/journal 2>&1; }
trap keep_journal EXIT
say() { echo "$*" >>/out/result; }
# say_if DESCRIPTION COMMAND...
say_if() {
    local what=$1
    shift
    if "$@"; then say "ok: $what"; else say "FAILED: $what"; fi
}
state() { systemctl show -p ActiveState --value "$1"; }
is_state() { say_if "$1 is $2" test "$(state "$1")" = "$2"; }
# until_true COMMAND...: within thirty seconds.
until_true() {
    local i
    for ((i = 0; i < 150; i++)); do
        "$@" && return 0
        sleep 0.2
    done
    return 1
}
is() { test "$(state "$1")" = "$2"; }
until_is() { until_true is "$1" "$2"; }
grep_journal() { journalctl -o short --no-pager | grep -v probe | grep -Eq -- "$1"; }
status_text() { systemctl show -p StatusText --value rackconnect-wait.service | grep -q "$1"; }
says_if_status() { say_if "systemctl shows what it waits for" until_true status_text DEPLOYING; }
# after UNIT UNIT: the first started after the second had ended.
after() {
    local app wait
    app=$(systemctl show -p ExecMainStartTimestampMonotonic --value "$1")
    wait=$(systemctl show -p ExecMainExitTimestampMonotonic --value "$2")
    test "$wait" -gt 0 && test "$app" -ge "$wait"
}
no_failed() { test -z "$(systemctl --failed --no-legend --plain | tee -a /out/failed)"; }
ended() {
    cloud-init status --long >/out/cloud-init 2>&1
    ! grep -Eq 'status: (running|not)' /out/cloud-init
}
