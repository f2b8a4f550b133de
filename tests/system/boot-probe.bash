# Runs inside the system that tests/system/boot.sh boots. boot.sh appends the commands of a test
# case. The results are written to /out/result.
exec >>/out/probe.log 2>&1
set -x
keep_journal() { journalctl -o short-monotonic --no-pager >/out/journal 2>&1; }
trap keep_journal EXIT
report() { echo "$*" >>/out/result; }
# check DESCRIPTION COMMAND...: reports whether the command succeeds.
check() {
    local description=$1
    shift
    if "$@"; then report "ok: $description"; else report "FAILED: $description"; fi
}
# property UNIT NAME
property() { systemctl show -p "$2" --value "$1"; }
state() { property "$1" ActiveState; }
check_state() { check "$1 is $2" test "$(state "$1")" = "$2"; }
# eventually COMMAND...: waits up to a minute for the command to succeed.
eventually() {
    local i
    for ((i = 0; i < 300; i++)); do
        "$@" && return 0
        sleep 0.2
    done
    return 1
}
is() { test "$(state "$1")" = "$2"; }
# becomes UNIT STATE: waits up to a minute.
becomes() { eventually is "$1" "$2"; }
grep_journal() { journalctl -o short --no-pager | grep -v probe | grep -Eq -- "$1"; }
status_text() { property rackconnect-wait.service StatusText | grep -q "$1"; }
check_status_text() { check "systemctl shows the status" eventually status_text DEPLOYING; }
# starts_after UNIT1 UNIT2: UNIT1 was started after UNIT2 had ended.
starts_after() {
    local start end
    start=$(property "$1" ExecMainStartTimestampMonotonic)
    end=$(property "$2" ExecMainExitTimestampMonotonic)
    test "$end" -gt 0 && test "$start" -ge "$end"
}
is_disabled() { test "$(systemctl is-enabled "$1")" = disabled; }
no_failed_units() { test -z "$(systemctl --failed --no-legend --plain | tee -a /out/failed)"; }
cloud_init_ended() {
    cloud-init status --long >/out/cloud-init 2>&1
    ! grep -Eq 'status: (running|not)' /out/cloud-init
}
not() { ! "$@"; }

# check_wait_failed STATUS: the wait fails with this exit code or signal, and the units that require
# it do not start.
check_wait_failed() {
    check "the wait fails" becomes rackconnect-wait.service failed
    check "with status $1" test "$(property rackconnect-wait.service ExecMainStatus)" = "$1"
    check_state rackconnect-deployed.target inactive
    check_state app.service inactive
    check "multi-user.target is reached" becomes multi-user.target active
}
check_retry() {
    check "systemctl start runs the wait again" systemctl start rackconnect-deployed.target
    check "the application starts" becomes app.service active
}
# grep_journal_since_mark PATTERN: searches only the entries since mark_time.
mark_time() { sleep 1; since=$(date +%s); }
grep_journal_since_mark() {
    journalctl --no-pager -o cat --since "@$since" | grep -Eq -- "$1"
}

# The gateway.
gateway_is_default() { ip route get 203.0.113.9 | grep -q "via 10.182.127.198"; }
check_state_directory_modes() {
    test "$(cd /run/rackconnect-agent && stat -c %a . shared shared/budget status.json | xargs)" = \
        "755 755 666 644"
}
has_one_default_route() { test "$(ip route show default | wc -l)" = 1; }
check_gateway_set() {
    check "the gateway is set at boot" eventually gateway_is_default
    check "gateway keep is running" becomes rackconnect-gateway.service active
    check "the state directory has the right modes" check_state_directory_modes
}
# check_restored_after DESCRIPTION COMMAND...: the command removes the gateway, and gateway keep
# restores it.
check_restored_after() {
    local description=$1
    shift
    systemctl stop rackconnect-gateway.service
    check "stopping gateway keep leaves the route" gateway_is_default
    check "$description" "$@"
    check "$description: without gateway keep, the gateway is lost" \
        eventually not gateway_is_default
    systemctl start rackconnect-gateway.service
    check "gateway keep sets the gateway again" eventually gateway_is_default
    check "$description" "$@"
    check "$description: gateway keep restores the gateway" eventually gateway_is_default
    # networkd adds its own route after ours. If several routes have the same metric, the kernel may
    # use any of them.
    check "no other default route is left" eventually has_one_default_route
    sleep 2
    check "the gateway is still set" gateway_is_default
    check_state rackconnect-gateway.service active
    check "the route through ServiceNet's router is unchanged" \
        sh -c 'ip route get 10.190.0.5 | grep -q "via 10.182.0.1"'
    ip route >>/out/routes
}

# The packages.
stamp=/var/lib/rackconnect-agent/hooks/%2fetc%2frackconnect-agent%2fdeployed%2ed%2f10-first
main_pid() { property "$1" MainPID; }
start_time() { property "$1" ExecMainStartTimestampMonotonic; }
check_installed() {
    local unit
    for unit in rackconnect-{wait,hooks}.service rackconnect-deployed.target; do
        check "$unit is enabled" test "$(systemctl is-enabled $unit)" = enabled
    done
    check "rackconnect-gateway.service is disabled" is_disabled rackconnect-gateway.service
}
start_application() {
    systemctl start --no-block app.service
    check "the application is running" becomes app.service active
    check "gateway keep is running" systemctl enable --now rackconnect-gateway.service
    check "the hook has run" eventually test -e "$stamp"
    app_pid=$(main_pid app.service)
    wait_start=$(start_time rackconnect-wait.service)
    keep_pid=$(main_pid rackconnect-gateway.service)
}
# check_same_application WHEN
check_same_application() {
    check_state app.service active
    check "$1: the application was not restarted" test "$(main_pid app.service)" = "$app_pid"
}
keep_was_restarted() { test "$(main_pid rackconnect-gateway.service)" -gt "$keep_pid"; }
check_upgraded() {
    check_same_application "after the upgrade"
    check_state rackconnect-deployed.target active
    check_state rackconnect-wait.service active
    check "the wait was not restarted" \
        test "$(start_time rackconnect-wait.service)" = "$wait_start"
    check "gateway keep was restarted" eventually keep_was_restarted
    check "the configuration is unchanged" \
        grep -q '^wait_interval = "3s"' /etc/rackconnect-agent/config.toml
    check "a disabled unit is still disabled" is_disabled rackconnect-hooks.service
}
check_removed() {
    check_same_application "after the removal"
    check "gateway keep is stopped" not systemctl is-active --quiet rackconnect-gateway.service
    check "no unit is left enabled" test -z "$(find /etc/systemd/system -name 'rackconnect-*' \
        ! -name rackconnect-deployed.target.wants)"
}
check_no_traces() {
    find / -xdev \( -path /proc -o -path /out -o -path /var/log -o -path /run/systemd \
        -o -path /sys -o -path '/var/tmp/systemd-private-*' \) -prune -o -iname '*rackconnect*' \
        ! -path '*/rackconnect-deployed.target.wants' -print >/out/traces
    check "no files are left" test ! -s /out/traces
}
