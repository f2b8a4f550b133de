# What tests/system/boot.sh runs inside the booted system, in front of a case's own lines: /out/result is what it finds.
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
# until_true COMMAND...: within a minute.
until_true() {
    local i
    for ((i = 0; i < 300; i++)); do
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
not() { ! "$@"; }

# The wait: its exit code or signal, and what does not start then.
wait_fails() {
    say_if "the wait fails" until_is rackconnect-wait.service failed
    say_if "with $1" test "$(systemctl show -p ExecMainStatus --value rackconnect-wait.service)" = "$1"
    is_state rackconnect-deployed.target inactive
    is_state app.service inactive
    say_if "multi-user.target is reached" until_is multi-user.target active
}
tries_again() {
    say_if "systemctl start tries again" systemctl start rackconnect-deployed.target
    say_if "and what follows the target starts" until_is app.service active
}
# What a unit's journal says from here on.
since_now() { sleep 1; since=$(date +%s); }
grep_since() { journalctl --no-pager -o cat --since "@$since" | grep -Eq -- "$1"; }

# The gateway.
kept() { ip route get 203.0.113.9 | grep -q "via 10.182.127.198"; }
gateway_is_set() {
    say_if "the gateway is set at boot" until_true kept
    say_if "the keeper is up" until_is rackconnect-gateway.service active
    say_if "what is for all to read can be read" test "$(cd /run/rackconnect-agent && stat -c %a . shared shared/budget status.json | xargs)" = "755 755 666 644"
}
# lost_and_kept WHAT COMMAND...
lost_and_kept() {
    local what=$1
    shift
    systemctl stop rackconnect-gateway.service
    say_if "stopped, the keeper leaves the route" kept
    say_if "$what" "$@"
    say_if "it loses the gateway" until_true not kept
    systemctl start rackconnect-gateway.service
    say_if "which the keeper sets again" until_true kept
    say_if "$what" "$@"
    say_if "the keeper outlasts it" until_true kept
    # networkd puts its own route behind; of several at one metric the kernel takes now this one, now that one.
    say_if "no other default route is left" until_true sh -c 'test "$(ip route show default | wc -l)" = 1'
    sleep 2
    say_if "and goes on" kept
    is_state rackconnect-gateway.service active
    say_if "ServiceNet's router is untouched" sh -c 'ip route get 10.190.0.5 | grep -q "via 10.182.0.1"'
    ip route >>/out/routes
}

# The packages.
stamp=/var/lib/rackconnect-agent/hooks/%2fetc%2frackconnect-agent%2fdeployed%2ed%2f10-first
main_pid() { systemctl show -p MainPID --value "$1"; }
started() { systemctl show -p ExecMainStartTimestampMonotonic --value "$1"; }
installed() {
    local unit
    for unit in rackconnect-{wait,hooks}.service rackconnect-deployed.target; do
        say_if "$unit is enabled" test "$(systemctl is-enabled $unit)" = enabled
    done
    say_if "the gateway's keeper is not" test "$(systemctl is-enabled rackconnect-gateway.service)" = disabled
}
with_an_application() {
    systemctl start --no-block app.service
    say_if "the application is up" until_is app.service active
    say_if "the keeper is up" systemctl enable --now rackconnect-gateway.service
    say_if "the hook is done" until_true test -e "$stamp"
    pid=$(main_pid app.service) waited=$(started rackconnect-wait.service) keeper=$(main_pid rackconnect-gateway.service)
}
same() {
    is_state app.service active
    say_if "$1: the application is the same" test "$(main_pid app.service)" = "$pid"
}
upgraded() {
    same "after the upgrade"
    is_state rackconnect-deployed.target active
    is_state rackconnect-wait.service active
    say_if "nobody has waited again" test "$(started rackconnect-wait.service)" = "$waited"
    say_if "the keeper alone is another" until_true sh -c "test \"\$(systemctl show -p MainPID --value rackconnect-gateway.service)\" -gt $keeper"
    say_if "the configuration is kept" grep -q '^wait_interval = "3s"' /etc/rackconnect-agent/config.toml
    say_if "and so is the administrator's choice" test "$(systemctl is-enabled rackconnect-hooks.service)" = disabled
}
removed() {
    same "after the removal"
    say_if "the keeper is stopped" not systemctl is-active --quiet rackconnect-gateway.service
    say_if "nothing is left enabled" test -z "$(find /etc/systemd/system -name 'rackconnect-*' ! -name rackconnect-deployed.target.wants)"
}
no_trace() {
    find / -xdev \( -path /proc -o -path /out -o -path /var/log -o -path /run/systemd -o -path /sys -o -path '/var/tmp/systemd-private-*' \) \
        -prune -o -iname '*rackconnect*' ! -path '*/rackconnect-deployed.target.wants' -print >/out/traces
    say_if "no trace is left" test ! -s /out/traces
}
