#!/usr/bin/env bash
# Boots real systemd (Debian's, in systemd-nspawn) with the package installed by dpkg, and real cloud-init; ServiceNet and
# the public network are network namespaces, the API and xenstore are simulated. Needs root, some minutes, and a network to
# fetch Debian from at the first time (kept in ${XDG_CACHE_HOME:-~/.cache}/rackconnect-agent).
#
# Usage: boot.sh PACKAGE.deb SIMULATED-API SIMULATED-XENSTORE [CASE]...      (SUITES="bookworm bullseye")
set -euo pipefail
((EUID == 0)) || { echo "boot.sh: NOT RUN: it needs root" >&2; exit 1; }
package=$(realpath "$1") api=$(realpath "$2") xenstore=$(realpath "$3")
shift 3
only=("$@")
suites=${SUITES:-bookworm bullseye}
here=$(realpath "$(dirname "$0")/..")
for tool in systemd-nspawn mmdebstrap ip dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "boot.sh needs $tool" >&2; exit 1; }
done

work=$(mktemp -d)
net=rc$$
mounts=()
helpers=()
tidy() {
    local pid mount
    for pid in "${helpers[@]}"; do kill "$pid" 2>/dev/null || true; done
    ip netns del "$net-guest" 2>/dev/null || true
    ip netns del "$net-world" 2>/dev/null || true
    for mount in "${mounts[@]}"; do umount -l "$mount" 2>/dev/null || true; done
    rm -rf --one-file-system "$work"
}
trap tidy EXIT
passed=0 failed=0

# --- The network. eth0 is public, eth1 is ServiceNet; the API is beyond ServiceNet's router, 10.182.0.1.
network() {
    ip netns add "$net-guest"
    ip netns add "$net-world"
    ip -n "$net-guest" link add eth1 type veth peer name sn netns "$net-world"
    ip -n "$net-guest" link add eth0 type veth peer name pub netns "$net-world"
    ip -n "$net-guest" link set lo up
    ip -n "$net-guest" addr add 198.51.100.10/24 dev eth0
    ip -n "$net-guest" addr add 10.182.21.219/17 dev eth1
    ip -n "$net-world" link set lo up
    ip -n "$net-world" addr add 10.190.0.5/32 dev lo
    ip -n "$net-world" addr add 203.0.113.9/32 dev lo
    ip -n "$net-world" addr add 10.182.0.1/17 dev sn
    ip -n "$net-world" addr add 10.182.127.198/17 dev sn
    ip -n "$net-world" addr add 198.51.100.1/24 dev pub
    ip -n "$net-world" link set sn up
    ip -n "$net-world" link set pub up
    ip -n "$net-guest" link set eth0 up
    ip -n "$net-guest" link set eth1 up
    ip -n "$net-guest" route add 10.176.0.0/12 via 10.182.0.1 dev eth1
    ip -n "$net-guest" route add default via 198.51.100.1 dev eth0
}
no_network() { ip netns del "$net-guest" && ip netns del "$net-world"; }

# --- The tree of a suite, with the package in it.
tree() {
    local suite=$1 cache=${XDG_CACHE_HOME:-$HOME/.cache}/rackconnect-agent
    local tar=$cache/root-$suite-1.tar
    if [[ ! -s $tar ]]; then
        mkdir -p "$cache"
        mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,udev,dbus,iproute2,iputils-ping,ca-certificates,cloud-init,netbase,kmod \
            "$suite" "$tar.new.tar" || { rm -f "$tar.new.tar"; echo "boot.sh: NOT RUN: $suite cannot be fetched" >&2; exit 1; }
        mv "$tar.new.tar" "$tar"
    fi
    base=$work/$suite
    mkdir "$base"
    tar -C "$base" -xf "$tar" --exclude='./dev/*'
    : >"$base/etc/machine-id"
    cp "$package" "$base/tmp/package.deb"
    (cd "$base" && find . -xdev | sort) >"$work/before"
    chroot "$base" dpkg -i /tmp/package.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; exit 1; }
    cat >"$base/etc/systemd/system/probe.service" <<'UNIT'
[Unit]
Description=The test's own eyes
[Service]
ExecStart=/bin/bash /out/probe
ExecStopPost=/bin/systemctl poweroff --no-block
UNIT
    ln -s ../probe.service "$base/etc/systemd/system/multi-user.target.wants/probe.service"
    # systemd-nspawn binds a boot id of its own over the kernel's, which the sandbox of a unit does not have. On a real server
    # there is one for all.
    mkdir -p "$base/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=volatile\n' >"$base/etc/systemd/journald.conf.d/test.conf"
    cat >"$base/etc/systemd/system/boot-id.service" <<'UNIT'
[Unit]
DefaultDependencies=no
Before=sysinit.target rackconnect-wait.service
[Service]
Type=oneshot
ExecStart=-/bin/umount /proc/sys/kernel/random/boot_id
ExecStart=-/bin/umount /proc/sys/kernel/random/boot_id
UNIT
    mkdir -p "$base/etc/systemd/system/sysinit.target.wants"
    ln -s ../boot-id.service "$base/etc/systemd/system/sysinit.target.wants/boot-id.service"
    # A user's service, as the README says.
    cat >"$base/etc/systemd/system/app.service" <<'UNIT'
[Unit]
Requires=rackconnect-deployed.target
After=rackconnect-deployed.target
[Service]
ExecStart=/bin/sh -c 'cat /run/rackconnect-agent/status.json >/out/app; echo app-is-up; exec sleep 100000'
[Install]
WantedBy=rackconnect-deployed.target
UNIT
    chroot "$base" systemctl enable app.service >/dev/null 2>&1
    # Not needed, and slow or loud in a container.
    for unit in systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer systemd-resolved.service networking.service \
        systemd-udev-settle.service e2scrub_all.timer e2scrub_reap.service systemd-timesyncd.service; do
        ln -sf /dev/null "$base/etc/systemd/system/$unit"
    done
    touch "$base/etc/cloud/cloud-init.disabled"
}

# --- A case: `begin`, changes to "$root", `boot`, more boots, `finish`.
begin() {
    name=$1
    root=$work/case/root out=$work/case/out
    mkdir -p "$work/case"
    mount -t tmpfs tmpfs "$work/case"
    mkdir -p "$root" "$out" "$work/case/upper" "$work/case/work" "$work/case/xenstored"
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/case/upper,workdir=$work/case/work" "$root"
    mounts=("$root" "$work/case")
    network
    helpers=()
    started=$SECONDS
    printf '10.190.0.5 dfw.api.rackconnect.rackspace.com\n127.0.0.1 localhost\n' >"$root/etc/hosts"
    printf 'ca_file = "/etc/rackconnect-agent/ca.pem"\nwait_interval = "3s"\n' >>"$root/etc/rackconnect-agent/config.toml"
}
# The simulated API plays the script of standard input; its CA is the guest's.
api() {
    cat >"$work/case/api.toml"
    ip netns exec "$net-world" "$api" --listen 10.190.0.5:443 --ca-out "$root/etc/rackconnect-agent/ca.pem" \
        --script "$work/case/api.toml" --log "$work/case/requests" >"$work/case/listening" 2>"$work/case/api.err" &
    helpers+=($!)
    until [[ -s $work/case/listening ]]; do
        kill -0 $! 2>/dev/null || { cat "$work/case/api.err"; exit 1; }
        sleep 0.05
    done
}
# xenstore is a socket at its usual place. A RackConnect v2 server in DFW, or what is given.
store() {
    local values=("$@")
    if ((!$#)); then
        values=('vm-data/provider_data/provider=Rackspace' 'vm-data/provider_data/region=DFW'
            'vm-data/provider_data/roles=["rack_connect"]')
    fi
    local arguments=() value
    for value in "${values[@]}"; do arguments+=(--set "$value"); done
    if [[ -p /dev/stdin || -f /dev/stdin ]]; then cat >"$work/case/store.toml"; else : >"$work/case/store.toml"; fi
    "$xenstore" --path "$work/case/xenstored/socket" --script "$work/case/store.toml" "${arguments[@]}" >/dev/null 2>&1 &
    helpers+=($!)
    until [[ -S $work/case/xenstored/socket ]]; do sleep 0.05; done
}
hook() { cat >"$root/etc/rackconnect-agent/deployed.d/$1" && chmod 0755 "$root/etc/rackconnect-agent/deployed.d/$1"; }
# Boots; standard input is what the probe does. Arguments go to the kernel's command line.
boot() {
    cat "$here/tests/boot-probe.bash" - >"$out/probe"
    echo 'echo "END" >>/out/result' >>"$out/probe"
    : >"$out/result"
    : >"$root/etc/machine-id"
    echo "${machine_id:-5f0c6e1d4f5a4d0e9d6c0b1a2f3e4d5c}" >"$root/etc/machine-id"
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout 90 systemd-nspawn --quiet -D "$root" --boot \
        --network-namespace-path="/run/netns/$net-guest" --bind="$out:/out" --bind="$work/case/xenstored:/run/xenstored" \
        --capability=CAP_NET_ADMIN --console=read-only --register=no --keep-unit --machine="$net" -- "$@" </dev/null >"$work/case/console" 2>&1 || true
    cp "$out/result" "$work/case/result"
    local line
    while read -r line; do
        case $line in
        ok:*) passed=$((passed + 1)) ;;
        FAILED:*)
            failed=$((failed + 1))
            printf '%s: %s\n' "$name" "$line"
            ;;
        esac
    done <"$out/result"
    if ! grep -qx END "$out/result"; then
        failed=$((failed + 1))
        printf '%s: FAILED: the boot did not come to its end\n' "$name"
        tail -n 5 "$out/probe.log"
    fi
}
# check DESCRIPTION COMMAND...: on the outside.
check() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s: FAILED: %s\n' "$name" "$what"
    fi
}
finish() {
    local pid mount
    if ((failed > ${failed_before:-0})) && [[ -s $out/journal ]]; then
        grep -E 'rackconnect|app|probe|hook|10-|20-' "$out/journal" | tail -n 60
    fi
    failed_before=$failed
    for pid in "${helpers[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    helpers=()
    no_network
    for mount in "${mounts[@]}"; do umount "$mount" || umount -l "$mount"; done
    mounts=()
    printf '%s %s: %ds\n' "$suite" "$name" $((SECONDS - started))
}

# --- The cases.
deploying() {
    store 'vm-data/provider_data/provider=Rackspace' 'vm-data/provider_data/region=DFW' \
        'vm-data/user-metadata/rackconnect_automation_status="DEPLOYING"' <<'TOML'
[[change]]
after = 10.5
set = { "vm-data/user-metadata/rackconnect_automation_status" = '"DEPLOYED"' }
TOML
    api <<'TOML'
[[step]]
lasts = "9s"
status = "DEPLOYING"
tasks = [{ name = "Add user", status = "DEPLOYING" }]
[[step]]
status = "DEPLOYED"
gateway = "10.182.127.198"
TOML
    hook 10-first <<'SH'
#!/bin/sh
echo "hook says $RACKCONNECT_STATUS in $RACKCONNECT_REGION"
echo x >>/var/hook-ran
SH
    rm -f "$root/etc/cloud/cloud-init.disabled"
    seed '#cloud-config' ''
    boot <<'SH'
say_if "the wait is still at work when multi-user.target is reached" until_is multi-user.target active
is_state rackconnect-wait.service activating
is_state app.service inactive
says_if_status
say_if "cloud-init's final stage ends while the API says DEPLOYING" until_is cloud-final.service active
is_state rackconnect-wait.service activating
say_if "the target is reached" until_is rackconnect-deployed.target active
say_if "the application is up" until_is app.service active
say_if "the hooks are through" until_is rackconnect-hooks.service active
say_if "the application saw DEPLOYED" grep -q '"status":"DEPLOYED"' /out/app
say_if "the hook's output is in the journal under its name" until_true grep_journal "10-first.*hook says DEPLOYED in dfw"
say_if "the application came after the deployment" after app.service rackconnect-wait.service
say_if "the gateway's keeper is off" test "$(systemctl is-enabled rackconnect-gateway.service)" = disabled
say_if "no unit has failed" no_failed
SH
    check "the region came from xenstore, and the API was asked" test -s "$work/case/requests"
    boot <<'SH'
say_if "second boot: the target" until_is rackconnect-deployed.target active
say_if "second boot: the hooks" until_is rackconnect-hooks.service active
say_if "second boot: the hook ran once" test "$(wc -l </var/hook-ran)" = 1
SH
    seed '#cloud-config' '' i-rebuilt
    boot <<'SH'
say_if "after a rebuild: the hooks" until_is rackconnect-hooks.service active
say_if "after a rebuild: the hook ran again" test "$(wc -l </var/hook-ran)" = 2
SH
}

failed() {
    store
    api <<'TOML'
[[step]]
requests = 2
status = "FAILED"
tasks = [{ name = "Add user", status = "FAILED" }]
[[step]]
status = "DEPLOYED"
TOML
    boot <<'SH'
say_if "the wait fails" until_is rackconnect-wait.service failed
say_if "with exit code 4" test "$(systemctl show -P ExecMainStatus rackconnect-wait.service 2>/dev/null || systemctl show -p ExecMainStatus --value rackconnect-wait.service)" = 4
say_if "multi-user.target is reached" until_is multi-user.target active
is_state rackconnect-deployed.target inactive
is_state app.service inactive
is_state rackconnect-hooks.service inactive
say_if "systemctl start tries again" systemctl start rackconnect-deployed.target
is_state rackconnect-deployed.target active
say_if "and what follows the target starts" until_is app.service active
SH
}

timeout_() {
    store
    echo 'wait_timeout = "5s"' >>"$root/etc/rackconnect-agent/config.toml"
    api <<'TOML'
[[step]]
status = "DEPLOYING"
TOML
    boot <<'SH'
say_if "the wait fails" until_is rackconnect-wait.service failed
say_if "with exit code 124" test "$(systemctl show -p ExecMainStatus --value rackconnect-wait.service)" = 124
is_state rackconnect-deployed.target inactive
is_state app.service inactive
say_if "multi-user.target is reached" until_is multi-user.target active
SH
}

unprocessable() {
    store
    api <<'TOML'
[[step]]
status = "UNPROCESSABLE"
TOML
    hook 10-first <<'SH'
#!/bin/sh
echo "$RACKCONNECT_STATUS" >/out/hook
SH
    boot <<'SH'
say_if "the target is reached" until_is rackconnect-deployed.target active
say_if "the hooks run" until_is rackconnect-hooks.service active
say_if "and see the word" test "$(cat /out/hook)" = UNPROCESSABLE
SH
}

no_rackconnect() {
    store 'vm-data/provider_data/provider=Elsewhere' 'vm-data/provider_data/region=DFW'
    api </dev/null
    hook 10-first <<'SH'
#!/bin/sh
echo "$RACKCONNECT_STATUS" >/out/hook
SH
    boot <<'SH'
say_if "the target is reached" until_is rackconnect-deployed.target active
say_if "the hooks run" until_is rackconnect-hooks.service active
say_if "and see the word" test "$(cat /out/hook)" = NOT-RACKCONNECT
SH
}

outages() { # DNS down, then the API down, then certificates from the future, then the network rebuilt.
    store
    : >"$root/etc/hosts"
    api <<'TOML'
[[step]]
handshakes = 2
fault = "cert-not-yet-valid"
[[step]]
lasts = "8s"
status = "DEPLOYING"
[[step]]
status = "DEPLOYED"
TOML
    ip -n "$net-world" addr del 10.190.0.5/32 dev lo
    (
        until [[ -e $out/api-up ]]; do sleep 0.1; done
        ip -n "$net-world" addr add 10.190.0.5/32 dev lo
    ) &
    helpers+=($!)
    boot <<'SH'
say_if "it waits without DNS" until_true grep_journal "look up|cannot find|no address|resolve"
echo '10.190.0.5 dfw.api.rackconnect.rackspace.com' >/etc/hosts
touch /out/api-up
say_if "it waits while certificates are from the future" until_true grep_journal "not valid before"
say_if "it hears DEPLOYING" until_true grep_journal "DEPLOYING"
ip link set eth1 down; ip addr flush dev eth1; sleep 1
ip addr add 10.182.21.219/17 dev eth1; ip link set eth1 up; ip route add 10.176.0.0/12 via 10.182.0.1 dev eth1
say_if "it outlasts the network that is rebuilt" until_is rackconnect-deployed.target active
SH
}

killed() {
    store
    api <<'TOML'
[[step]]
lasts = "6s"
status = "DEPLOYING"
[[step]]
status = "DEPLOYED"
TOML
    boot <<'SH'
say_if "it waits" until_true grep_journal DEPLOYING
systemctl kill -s KILL rackconnect-wait.service
say_if "killed, it has failed" until_is rackconnect-wait.service failed
is_state rackconnect-deployed.target inactive
is_state app.service inactive
say_if "systemctl start tries again" systemctl start rackconnect-deployed.target
say_if "and what follows the target starts" until_is app.service active
SH
}

switches() {
    store
    api <<'TOML'
[[step]]
status = "DEPLOYED"
gateway = "10.182.127.198"
TOML
    hook 10-first <<'SH'
#!/bin/sh
touch /out/hook
SH
    chroot "$root" systemctl enable rackconnect-gateway.service >/dev/null 2>&1
    local disabled='
say_if "multi-user.target is reached" until_is multi-user.target active
sleep 1
is_state rackconnect-wait.service inactive
is_state rackconnect-deployed.target inactive
is_state rackconnect-hooks.service inactive
is_state rackconnect-gateway.service inactive
is_state app.service inactive
say_if "no hook ran" test ! -e /out/hook
say_if "the route is left alone" test "$(ip route show default)" = "default via 198.51.100.1 dev eth0 "
systemctl start rackconnect-deployed.target 2>/dev/null && echo "FAILED: systemctl start does not refuse" >>/out/result
say_if "a command typed by hand is not bound" test "$(rackconnect status)" = DEPLOYED'
    boot rackconnect=disabled <<<"$disabled"
    touch "$root/etc/rackconnect-agent/disabled"
    boot <<<"$disabled"
}

gateway() { # set at boot, kept through networkd's restart and through a rewrite like nova-agent's
    store
    api <<'TOML'
[[step]]
status = "DEPLOYED"
gateway = "10.182.127.198"
TOML
    printf '[Match]\nName=eth0\n[Network]\nAddress=198.51.100.10/24\nGateway=198.51.100.1\n' >"$root/etc/systemd/network/eth0.network"
    printf '[Match]\nName=eth1\n[Network]\nAddress=10.182.21.219/17\n[Route]\nDestination=10.176.0.0/12\nGateway=10.182.0.1\n' \
        >"$root/etc/systemd/network/eth1.network"
    chroot "$root" systemctl enable systemd-networkd.service rackconnect-gateway.service >/dev/null 2>&1
    boot <<'SH'
kept() { ip route get 203.0.113.9 | grep -q "via 10.182.127.198"; }
say_if "the gateway is set at boot" until_true kept
say_if "the keeper is up" until_is rackconnect-gateway.service active
say_if "networkd is up" until_is systemd-networkd.service active
systemctl restart systemd-networkd
sleep 2
say_if "it outlasts a restart of networkd" until_true kept
for device in eth0 eth1; do ip link set $device down; ip addr flush dev $device; done
ip addr add 198.51.100.10/24 dev eth0; ip addr add 10.182.21.219/17 dev eth1
ip link set eth0 up; ip link set eth1 up
ip route replace 10.176.0.0/12 via 10.182.0.1 dev eth1
ip route replace default via 198.51.100.1 dev eth0
say_if "it outlasts a rewrite of the network" until_true kept
say_if "ServiceNet's router is untouched" sh -c 'ip route get 10.190.0.5 | grep -q "via 10.182.0.1"'
systemctl stop rackconnect-gateway.service
say_if "stopped, the route stays" kept
SH
}

packages() {
    store
    api <<'TOML'
[[step]]
status = "DEPLOYED"
TOML
    dpkg-deb -R "$package" "$work/case/new"
    sed -i 's/^Version: .*/Version: 99.0-1/' "$work/case/new/DEBIAN/control"
    echo '# a new default' >>"$work/case/new/etc/rackconnect-agent/config.toml"
    dpkg-deb --root-owner-group -Zgzip -b "$work/case/new" "$out/new.deb" >/dev/null
    boot <<'SH'
say_if "the application is up" until_is app.service active
pid=$(systemctl show -p MainPID --value app.service)
same() { is_state app.service active; say_if "$1: the application is the same" test "$(systemctl show -p MainPID --value app.service)" = "$pid"; }
systemctl disable rackconnect-hooks.service
say_if "an upgrade" dpkg --force-confold -i /out/new.deb
same "after the upgrade"
say_if "the configuration is kept" grep -q '^wait_interval = "3s"' /etc/rackconnect-agent/config.toml
say_if "and so is the administrator's choice" test "$(systemctl is-enabled rackconnect-hooks.service)" = disabled
is_state rackconnect-deployed.target active
say_if "a removal" dpkg -r rackconnect-agent
same "after the removal"
say_if "the configuration outlasts it" test -e /etc/rackconnect-agent/config.toml
say_if "nothing is left enabled" test ! -e /etc/systemd/system/multi-user.target.wants/rackconnect-wait.service
say_if "installed again" dpkg -i /out/new.deb
say_if "all is enabled again" test "$(systemctl is-enabled rackconnect-hooks.service)" = enabled
same "after the new installation"
say_if "a purge" dpkg -P rackconnect-agent
same "after the purge"
rm -f /etc/rackconnect-agent/ca.pem
rmdir /etc/rackconnect-agent/deployed.d /etc/rackconnect-agent 2>/dev/null
say_if "a purge leaves no trace" test -z "$(find / -xdev -path /proc -prune -o -path /out -prune -o -path /var/log -prune -o -path /run/systemd -prune -o -path /sys -prune -o -path '/var/tmp/systemd-private-*' -prune -o -iname '*rackconnect*' ! -path '*/app.service*' ! -path '/etc/systemd/system/rackconnect-deployed.target.wants*' -print | tee /out/traces)"
SH
    if [[ -s $out/traces ]]; then cat "$out/traces"; fi
}

# seed USER-DATA EXTRA [INSTANCE-ID]: cloud-init's NoCloud datasource.
seed() {
    local folder=$root/var/lib/cloud/seed/nocloud
    mkdir -p "$folder"
    printf 'instance-id: %s\n' "${3:-i-first}" >"$folder/meta-data"
    printf '%s\n' "$1" >"$folder/user-data"
    [[ -z $2 ]] || printf '%s\n' "$2" >>"$folder/user-data"
    mkdir -p "$root/etc/cloud/cloud.cfg.d"
    printf 'datasource_list: [NoCloud, None]\nlocale: C.UTF-8\nssh_deletekeys: false\nssh_genkeytypes: []\nnetwork: {config: disabled}\napt: {preserve_sources_list: true}\n' \
        >"$root/etc/cloud/cloud.cfg.d/99-test.cfg"
}

cloud_init() {
    store
    api <<'TOML'
[[step]]
status = "DEPLOYED"
gateway = "10.182.127.198"
TOML
    rm -f "$root/etc/cloud/cloud-init.disabled"
    seed "$(cat "$user_data")" ''
    boot <<SH
say_if "cloud-init comes to its end" until_true ended
say_if "status: done" grep -q 'status: done' /out/cloud-init
say_if "no unit has failed" no_failed
source <(cat <<'CHECKS'
$(sed -n 's/^# Test: //p' "$user_data")
CHECKS
)
SH
}

run() {
    local case=$1
    if ((${#only[@]})) && [[ " ${only[*]} " != *" $case "* ]]; then return; fi
    begin "$case"
    "$2"
    finish
}

for suite in $suites; do
    tree "$suite"
    run deploying deploying
    run packages packages
    run failed failed
    if [[ $suite == bookworm || ${#only[@]} -gt 0 ]]; then
        run timeout timeout_
        run unprocessable unprocessable
        run no-rackconnect no_rackconnect
        run outages outages
        run killed killed
        run switches switches
        run gateway gateway
    fi
    for user_data in "$here"/packaging/cloud-init/*.yaml; do
        if [[ $suite == bookworm ]]; then run "cloud-init/$(basename "$user_data" .yaml)" cloud_init; fi
    done
    rm -rf --one-file-system "$base"
done
printf 'boot.sh: %d passed, %d failed, in %ds\n' "$passed" "$failed" "$SECONDS"
((failed == 0 && passed > 0))
