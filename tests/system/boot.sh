#!/usr/bin/env bash
# Boots Debian with systemd and cloud-init in systemd-nspawn, with the package installed. Network
# namespaces stand in for ServiceNet and the public network; the API and xenstore are simulated.
# Needs root and takes some minutes. The first run downloads Debian and keeps it in
# ${XDG_CACHE_HOME:-~/.cache}/rackconnect-agent.
#
# Usage: boot.sh --fetch
#        boot.sh PACKAGES SIMULATED-API SIMULATED-XENSTORE [CASE]...
# Environment: SUITES="bookworm bullseye", JOBS=4 (number of cases that run at once; they mostly
# wait, and each has its own network). PACKAGES is the output directory of packaging/build.sh.
# --fetch only downloads Debian.
set -euo pipefail
((EUID == 0)) || { echo "boot.sh: NOT RUN: it needs root" >&2; exit 1; }
suites=${SUITES:-bookworm bullseye} jobs=${JOBS:-4}
# The archive with the root directory of a suite, which is kept between runs.
archive() { echo "${XDG_CACHE_HOME:-$HOME/.cache}/rackconnect-agent/root-$1-2.tar"; }
fetch() {
    local suite=$1 tar
    tar=$(archive "$suite")
    [[ -s $tar ]] && return
    mkdir -p "$(dirname "$tar")"
    local include=systemd,systemd-sysv,udev,dbus,kmod,netbase,ca-certificates,cloud-init,rpm
    include+=,iproute2,iputils-ping,net-tools,ifupdown,network-manager
    mmdebstrap --quiet --variant=minbase --include="$include" "$suite" "$tar.new.tar" || {
        rm -f "$tar.new.tar"
        echo "boot.sh: NOT RUN: $suite cannot be downloaded" >&2
        exit 1
    }
    mv "$tar.new.tar" "$tar"
}
if [[ ${1:-} == --fetch ]]; then
    for suite in $suites; do fetch "$suite"; done
    exit
fi
for program in "$2" "$3"; do
    [[ -x $program ]] || { echo "boot.sh: $program is not executable" >&2; exit 1; }
done
packages=$(realpath "$1") api=$(realpath "$2") xenstore=$(realpath "$3")
package=$(echo "$packages"/*.deb)
shift 3
only=("$@")
here=$(realpath "$(dirname "$0")/../..")
for tool in systemd-nspawn mmdebstrap ip dpkg-deb rpmbuild; do
    command -v "$tool" >/dev/null || { echo "boot.sh needs $tool" >&2; exit 1; }
done

work=$(mktemp -d)
# The root directories have tens of thousands of files. Keep them in memory if there is enough.
if (($(awk '/MemAvailable/ { print $2 }' /proc/meminfo) > 6000000)); then
    mount -t tmpfs -o mode=755 tmpfs "$work"
fi
# Runs in the main process only, after all cases have ended.
cleanup() {
    local pid
    for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done
    wait || true
    for group in $(cgroups); do
        find "$group" -depth -path "*/rc$$-*" -type d -exec rmdir {} + 2>/dev/null || true
    done
    if mountpoint -q "$work"; then umount -l "$work"; fi
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
# The directories of this process's cgroups that systemd uses: cgroup2 and the named hierarchy.
cgroups() {
    local mount
    mount=$(findmnt -rn -o TARGET -t cgroup2 | head -n 1)
    if [[ -n $mount ]]; then echo "$mount$(sed -n 's/^0:://p' /proc/$$/cgroup)"; fi
    mount=/sys/fs/cgroup/systemd
    if [[ -d $mount ]]; then echo "$mount$(sed -n 's/^[0-9]*:name=systemd://p' /proc/$$/cgroup)"; fi
}
# Each systemd needs its own cgroup. Otherwise systemds that run at once stop each other's units.
enter_own_cgroup() {
    local group
    for group in $(cgroups); do
        mkdir "$group/rc$$-$BASHPID"
        echo "$BASHPID" >"$group/rc$$-$BASHPID/cgroup.procs"
    done
}

# --- The network. eth0 is public, eth1 is ServiceNet; the API is behind ServiceNet's router,
# 10.182.0.1.
create_network() {
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
# For guests whose network manager sets the addresses.
flush_addresses() {
    ip -n "$net-guest" addr flush dev eth0 && ip -n "$net-guest" addr flush dev eth1
}

# --- The root directory of a suite, with the package installed.
create_base() {
    local suite=$1
    fetch "$suite"
    base=$work/$suite
    mkdir "$base"
    tar -C "$base" -xf "$(archive "$suite")" --exclude='./dev/*'
    : >"$base/etc/machine-id"
    cp "$package" "$base/tmp/package.deb"
    chroot "$base" dpkg -i /tmp/package.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; exit 1; }
    cat >"$base/etc/systemd/system/probe.service" <<'UNIT'
[Unit]
Description=Commands of the test case
[Service]
ExecStart=/bin/bash /out/probe
ExecStopPost=/bin/systemctl poweroff --no-block
UNIT
    ln -s ../probe.service "$base/etc/systemd/system/multi-user.target.wants/probe.service"
    # systemd-nspawn mounts its own boot ID over the kernel's, but the sandbox of a unit shows the
    # kernel's. Unmount it, because a real server has only one boot ID.
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
    # A user's service, set up as the README describes.
    cat >"$base/etc/systemd/system/app.service" <<'UNIT'
[Unit]
Requires=rackconnect-deployed.target
After=rackconnect-deployed.target
[Service]
ExecStartPre=-/bin/sh -c 'cat /run/rackconnect-agent/status.json >/out/app'
ExecStart=/bin/sh -c 'echo app-is-up; exec sleep 100000'
[Install]
WantedBy=rackconnect-deployed.target
UNIT
    chroot "$base" systemctl enable app.service >/dev/null 2>&1
    # Mask units that are not needed, and that are slow or log errors in a container.
    for unit in systemd-networkd-wait-online.service systemd-resolved.service networking.service \
        NetworkManager.service NetworkManager-wait-online.service systemd-udev-settle.service \
        systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer \
        e2scrub_all.timer e2scrub_reap.service; do
        ln -sf /dev/null "$base/etc/systemd/system/$unit"
    done
    touch "$base/etc/cloud/cloud-init.disabled"
}

# --- Each case runs in its own process: `begin`, changes to "$root", one or more `boot`, `finish`.
begin() {
    name=$1 net=rc$BASHPID case=$work/case-$BASHPID
    root=$case/root out=$case/out
    helpers=() mounts=() passed=0 failed=0
    trap cleanup_case EXIT
    trap 'exit 143' TERM
    enter_own_cgroup
    mkdir "$case"
    mount -t tmpfs tmpfs "$case"
    mounts=("$case")
    mkdir -p "$root" "$out" "$case/upper" "$case/work" "$case/xenstored"
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$case/upper,workdir=$case/work" "$root"
    mounts=("$root" "$case")
    create_network
    started=$SECONDS
    printf '10.190.0.5 dfw.api.rackconnect.rackspace.com\n127.0.0.1 localhost\n' >"$root/etc/hosts"
    printf 'ca_file = "/etc/rackconnect-agent/ca.pem"\nwait_interval = "3s"\n' \
        >>"$root/etc/rackconnect-agent/config.toml"
}
# Starts the simulated API with the script on standard input. The guest trusts its CA.
start_api() {
    cat >"$case/api.toml"
    ip netns exec "$net-world" "$api" --listen 10.190.0.5:443 \
        --ca-out "$root/etc/rackconnect-agent/ca.pem" --script "$case/api.toml" \
        --log "$case/requests" >"$case/listening" 2>"$case/api.err" &
    helpers+=($!)
    until [[ -s $case/listening ]]; do
        kill -0 $! 2>/dev/null || { cat "$case/api.err"; exit 1; }
        sleep 0.05
    done
}
# api_answers STATUS: starts the simulated API, which always returns this status and a gateway.
api_answers() {
    printf '[[step]]\nstatus = "%s"\ngateway = "10.182.127.198"\n' "$1" >"$case/answer.toml"
    start_api <"$case/answer.toml"
}
# start_xenstore [--pty] [KEY=VALUE]...: starts the simulated xenstore as a socket. With --pty it is
# a pseudo-terminal in place of the kernel's device, which one process at a time can use. The
# default content is that of a RackConnect v2 server in DFW. Standard input may be a script.
start_xenstore() {
    local values=() arguments=(--path "$case/xenstored/socket") value
    bind=(--bind="$case/xenstored:/run/xenstored")
    if [[ ${1:-} == --pty ]]; then arguments+=(--pty) && shift; fi
    values=("$@")
    if ((!$#)); then
        values=('vm-data/provider_data/provider=Rackspace' 'vm-data/provider_data/region=DFW'
            'vm-data/provider_data/roles=["rack_connect"]')
    fi
    for value in "${values[@]}"; do arguments+=(--set "$value"); done
    : >"$case/xenstore.toml"
    if [[ -p /dev/stdin || -f /dev/stdin ]]; then cat >"$case/xenstore.toml"; fi
    "$xenstore" --script "$case/xenstore.toml" "${arguments[@]}" >/dev/null 2>&1 &
    helpers+=($!)
    until [[ -e $case/xenstored/socket ]]; do
        kill -0 $! 2>/dev/null || { echo "the simulated xenstore does not start"; exit 1; }
        sleep 0.05
    done
    if [[ -c $case/xenstored/socket ]]; then
        bind=(--bind="$(realpath "$case/xenstored/socket"):/dev/xen/xenbus")
    fi
}
# enable UNIT...: enables units for the next boot, and unmasks those that create_base has masked.
enable() {
    local unit
    for unit in "$@"; do
        if [[ -L $root/etc/systemd/system/$unit ]]; then rm "$root/etc/systemd/system/$unit"; fi
    done
    chroot "$root" systemctl enable "$@" >"$case/enable" 2>&1 || { cat "$case/enable"; exit 1; }
}
# add_hook NAME COMMANDS
add_hook() {
    printf '#!/bin/sh\n%s\n' "$2" >"$root/etc/rackconnect-agent/deployed.d/$1"
    chmod 0755 "$root/etc/rackconnect-agent/deployed.d/$1"
}
# Boots the guest and counts the results of the commands on standard input, which run in it after
# boot-probe.bash. Arguments are added to the kernel's command line. systemd needs bpf(2) for
# DevicePolicy=.
boot() {
    cat "$here/tests/system/boot-probe.bash" - >"$out/probe"
    echo 'report END' >>"$out/probe"
    : >"$out/result"
    echo 5f0c6e1d4f5a4d0e9d6c0b1a2f3e4d5c >"$root/etc/machine-id"
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout 120 systemd-nspawn --quiet -D "$root" --boot \
        --network-namespace-path="/run/netns/$net-guest" --bind="$out:/out" "${bind[@]}" \
        --system-call-filter=bpf --capability=CAP_NET_ADMIN --console=read-only --register=no \
        --keep-unit --machine="$net" -- "$@" </dev/null >"$case/console" 2>&1 || true
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
        printf '%s: FAILED: the commands in the guest did not finish\n' "$name"
        tail -n 5 "$out/probe.log" || tail -n 5 "$case/console"
    fi
}
# check DESCRIPTION COMMAND...: like `check` of boot-probe.bash, but on the host.
check() {
    local description=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s: FAILED: %s\n' "$name" "$description"
    fi
}
finish() {
    if ((failed)) && [[ -s $out/journal ]]; then
        grep -E 'rackconnect|app|probe|hook|10-|20-' "$out/journal" | tail -n 60
    fi
    printf '%s %s: %ds\n' "$suite" "$name" $((SECONDS - started))
    echo "$passed $failed" >"$work/counts-$BASHPID"
}
cleanup_case() {
    local pid mount
    for pid in "${helpers[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    ip netns del "$net-guest" 2>/dev/null || true
    ip netns del "$net-world" 2>/dev/null || true
    for mount in "${mounts[@]}"; do umount "$mount" 2>/dev/null || umount -l "$mount" || true; done
}

# --- The cases.
deploying() {
    start_xenstore 'vm-data/provider_data/provider=Rackspace' 'vm-data/provider_data/region=DFW' \
        'vm-data/user-metadata/rackconnect_automation_status="DEPLOYING"' <<'TOML'
[[change]]
after = 26.5
set = { "vm-data/user-metadata/rackconnect_automation_status" = '"DEPLOYED"' }
TOML
    start_api <<'TOML'
[[step]]
lasts = "25s"
status = "DEPLOYING"
tasks = [{ name = "Add user", status = "DEPLOYING" }]
[[step]]
status = "DEPLOYED"
gateway = "10.182.127.198"
TOML
    add_hook 10-first 'echo "hook says $RACKCONNECT_STATUS in $RACKCONNECT_REGION"
echo x >>/var/hook-ran'
    seed_cloud_init '#cloud-config' i-first
    boot <<'SH'
check "multi-user.target is reached" becomes multi-user.target active
check_state rackconnect-wait.service activating
check_state app.service inactive
check_status_text
check "cloud-init's final stage ends during DEPLOYING" becomes cloud-final.service active
check_state rackconnect-wait.service activating
check "the target is reached" becomes rackconnect-deployed.target active
check "the application is running" becomes app.service active
check "the hooks have run" becomes rackconnect-hooks.service active
check "the application saw DEPLOYED" grep -q '"status":"DEPLOYED"' /out/app
check "the journal has the hook's output under its name" \
    eventually grep_journal "10-first.*hook says DEPLOYED in dfw"
check "the application started after the wait" starts_after app.service rackconnect-wait.service
check "rackconnect-gateway.service is disabled" is_disabled rackconnect-gateway.service
check "no unit has failed" no_failed_units
shared=/run/rackconnect-agent/shared
check "the shared file is in its own file system" mountpoint -q $shared
check "which is small" test "$(df --output=size -k $shared | tail -n 1)" -le 64
check "the sandboxed wait uses the shared file" test "$(stat -c %a:%u $shared/budget)" = 666:0
as_another="setpriv --reuid=2001 --regid=2001 --clear-groups rackconnect"
check "another user shares the rate limit" test "$($as_another status --region dfw 2>&1)" = DEPLOYED
SH
    check "the region came from xenstore, and requests were sent" test -s "$case/requests"
    local check_hook_runs='
check "$boot: the hooks have run" becomes rackconnect-hooks.service active
check "$boot: the hook has run $times times" test "$(wc -l </var/hook-ran)" = $times'
    boot <<<"boot='second boot' times=1; $check_hook_runs"
    # Another server created from this server's image has the same disk but another instance ID.
    seed_cloud_init '#cloud-config' i-second
    boot <<<"boot='another server of the same image' times=2; $check_hook_runs"
    # Nova's "rebuild" keeps the instance and its ID and replaces the disk, so there are no stamps.
    rm -rf "$root/var/lib/rackconnect-agent" "$root"/var/lib/cloud/{instance,instances,data,sem}
    boot <<<"boot='a rebuilt server' times=3; $check_hook_runs"
}

# The sandboxed wait reads the xenbus device.
xenbus() {
    start_xenstore --pty
    api_answers DEPLOYED
    add_hook 10-first 'echo "hook says $RACKCONNECT_STATUS in $RACKCONNECT_REGION"'
    boot <<'SH'
check "the wait reads the region from the device" becomes rackconnect-wait.service active
check "so do the hooks" eventually grep_journal "10-first.*hook says DEPLOYED in dfw"
# DevicePolicy= does not restrict pseudo-terminals. xenbus is a "misc" device, and so is fuse, which
# takes its place here: it gives no answer, but opening it is allowed or denied as for xenbus.
umount /dev/xen/xenbus && rm /dev/xen/xenbus && mknod -m 0600 /dev/xen/xenbus c 10 229
restart_and_grep() {
    systemctl daemon-reload
    systemctl restart --no-block "$1"
    eventually grep_journal_since_mark "$2"
}
for unit in rackconnect-wait.service rackconnect-gateway.service; do
    mark_time
    check "$unit may open the device" restart_and_grep $unit 'xenbus\) does not work'
    mkdir -p /run/systemd/system/$unit.d
    printf '[Service]\nDeviceAllow=\n' >/run/systemd/system/$unit.d/none.conf
    mark_time
    check "$unit cannot open the device without DeviceAllow=" \
        restart_and_grep $unit 'xenbus\) can be read only by root'
    systemctl stop $unit
done
SH
}

failed() {
    start_xenstore
    start_api <<'TOML'
[[step]]
requests = 2
status = "FAILED"
tasks = [{ name = "Add user", status = "FAILED" }]
[[step]]
status = "DEPLOYED"
TOML
    add_hook 10-daemon 'sleep 1000 & echo $! >/out/daemon'
    add_hook 20-fails 'exit 1'
    boot <<'SH'
check_wait_failed 4
check_state rackconnect-hooks.service inactive
check_retry
check "a hook that fails makes the unit fail" becomes rackconnect-hooks.service failed
check "a daemon started by another hook keeps running" test -d "/proc/$(cat /out/daemon)"
SH
}

timeout_() {
    start_xenstore
    echo 'wait_timeout = "5s"' >>"$root/etc/rackconnect-agent/config.toml"
    api_answers DEPLOYING
    boot <<<'check_wait_failed 124'
}

# check_nothing_to_wait_for WORD: on a server that has nothing to wait for, the target is reached.
check_nothing_to_wait_for() {
    add_hook 10-first 'echo "$RACKCONNECT_STATUS" >/out/hook'
    boot <<SH
check "the target is reached" becomes rackconnect-deployed.target active
check "the hooks have run" becomes rackconnect-hooks.service active
check "with the status $1" test "\$(cat /out/hook)" = $1
SH
}
unprocessable() {
    start_xenstore
    api_answers UNPROCESSABLE
    check_nothing_to_wait_for UNPROCESSABLE
}
no_rackconnect() {
    start_xenstore 'vm-data/provider_data/provider=Elsewhere'
    start_api </dev/null
    check_nothing_to_wait_for NOT-RACKCONNECT
}

# DNS is down, then the API is down, then its certificate is not valid yet, then the network is
# reconfigured.
outages() {
    start_xenstore
    : >"$root/etc/hosts"
    start_api <<'TOML'
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
check "the wait continues without DNS" eventually grep_journal "name lookup for|cannot look up"
echo '10.190.0.5 dfw.api.rackconnect.rackspace.com' >/etc/hosts
check "the wait continues while the API is down" eventually grep_journal "cannot connect"
touch /out/api-up
check "the wait continues while the certificate is not valid yet" \
    eventually grep_journal "not valid before"
check "the wait gets DEPLOYING" eventually grep_journal "DEPLOYING"
ip link set eth1 down
ip addr flush dev eth1
sleep 1
ip addr add 10.182.21.219/17 dev eth1
ip link set eth1 up
ip route add 10.176.0.0/12 via 10.182.0.1 dev eth1
check "the wait continues after the network was down" becomes rackconnect-deployed.target active
SH
}

killed() {
    start_xenstore
    start_api <<'TOML'
[[step]]
lasts = "6s"
status = "DEPLOYING"
[[step]]
status = "DEPLOYED"
TOML
    boot <<'SH'
check "the wait gets DEPLOYING" eventually grep_journal DEPLOYING
systemctl kill -s KILL rackconnect-wait.service
check_wait_failed 9
check_retry
SH
}

switches() {
    start_xenstore
    api_answers DEPLOYED
    add_hook 10-first 'touch /out/hook'
    enable rackconnect-gateway.service
    local disabled='
check "multi-user.target is reached" becomes multi-user.target active
sleep 1
for unit in rackconnect-{wait,hooks,gateway}.service rackconnect-deployed.target app.service; do
    check_state $unit inactive
done
check "no hook ran" test ! -e /out/hook
check "the route is unchanged" \
    test "$(ip route show default)" = "default via 198.51.100.1 dev eth0 "
check "systemctl start fails" not systemctl start rackconnect-deployed.target
check "rackconnect still works on the command line" test "$(rackconnect status)" = DEPLOYED'
    boot rackconnect=disabled <<<"$disabled"
    touch "$root/etc/rackconnect-agent/disabled"
    boot <<<"$disabled"
}

# `gateway keep` sets the gateway at boot and restores it when the network manager removes it.
# check_restored_after also shows that the gateway is lost without it.
gateway_networkd() {
    start_xenstore
    api_answers DEPLOYED
    flush_addresses
    printf '[Match]\nName=eth0\n[Network]\nAddress=198.51.100.10/24\nGateway=198.51.100.1\n' \
        >"$root/etc/systemd/network/eth0.network"
    {
        printf '[Match]\nName=eth1\n[Network]\nAddress=10.182.21.219/17\n'
        printf '[Route]\nDestination=10.176.0.0/12\nGateway=10.182.0.1\n'
    } >"$root/etc/systemd/network/eth1.network"
    enable systemd-networkd-wait-online.service systemd-networkd.service rackconnect-gateway.service
    boot <<'SH'
check_gateway_set
check "networkd is running" becomes systemd-networkd.service active
restart_networkd() { systemctl restart systemd-networkd && networkctl reconfigure eth0 eth1; }
check_restored_after "networkd restarts" restart_networkd
SH
}

gateway_ifupdown() {
    start_xenstore
    api_answers DEPLOYED
    flush_addresses
    enable networking.service rackconnect-gateway.service
    # The file that nova-agent writes from xenstore. It has no gateway for eth1. resetnetwork below
    # does what nova-agent does next (see its novaagent/libs/debian.py).
    cat >"$out/interfaces" <<'FILE'
# The loopback network interface
auto lo
iface lo inet loopback

# Label public

auto eth0
iface eth0 inet static
	address 198.51.100.10
	netmask 255.255.255.0
	gateway 198.51.100.1

# Label private

auto eth1
iface eth1 inet static
	address 10.182.21.219
	netmask 255.255.128.0
	post-up route add -net 10.176.0.0 netmask 255.240.0.0 gw 10.182.0.1 || true
	post-down route add -net 10.176.0.0 netmask 255.240.0.0 gw 10.182.0.1 || true
FILE
    cp "$out/interfaces" "$root/etc/network/interfaces"
    boot <<'SH'
check_gateway_set
check "networking.service is active" becomes networking.service active
check_restored_after "networking.service restarts" systemctl restart networking
resetnetwork() {
    local device
    cp /out/interfaces /etc/network/interfaces
    for device in eth1 eth0; do
        ifdown $device && ip addr flush dev $device && sleep 1 && ifup $device || break
    done
    # ifup fails if `gateway keep` has already set a default route, because eth0's own "ip route add
    # default" then fails. Check only the address.
    ip address show eth0 | grep -q 198.51.100.10
}
check_restored_after "nova-agent resets the network" resetnetwork
SH
}

gateway_networkmanager() {
    start_xenstore
    api_answers DEPLOYED
    flush_addresses
    enable NetworkManager-wait-online.service NetworkManager.service rackconnect-gateway.service
    local profiles=$root/etc/NetworkManager/system-connections
    {
        printf '[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n'
        printf '[ipv4]\nmethod=manual\naddress1=198.51.100.10/24,198.51.100.1\n'
    } >"$profiles/eth0.nmconnection"
    {
        printf '[connection]\nid=eth1\ntype=ethernet\ninterface-name=eth1\n'
        printf '[ipv4]\nmethod=manual\naddress1=10.182.21.219/17\n'
        printf 'route1=10.176.0.0/12,10.182.0.1\n'
    } >"$profiles/eth1.nmconnection"
    chmod 0600 "$profiles"/*
    boot <<'SH'
check_gateway_set
check "NetworkManager is running" becomes NetworkManager.service active
is_connected() { test "$(nmcli -g GENERAL.STATE device show eth1)" = "100 (connected)"; }
check "NetworkManager has connected eth1" eventually is_connected
restart_networkmanager() {
    systemctl restart NetworkManager && nmcli connection up eth0 && nmcli connection up eth1
}
check_restored_after "NetworkManager restarts" restart_networkmanager
SH
}

# `gateway keep` does not delay the boot even if it does not know the region.
gateway_unknown() {
    start_xenstore 'vm-data/provider_data/provider=Rackspace'
    api_answers DEPLOYED
    enable rackconnect-gateway.service
    boot <<'SH'
check "multi-user.target is reached" becomes multi-user.target active
keep_is_running() { test "$(property rackconnect-gateway.service SubState)" = running; }
check "gateway keep is running" eventually keep_is_running
check "the route is unchanged" \
    test "$(ip route show default)" = "default via 198.51.100.1 dev eth0 "
SH
}

# Builds a .deb and a .rpm of a later version.
build_newer_packages() {
    local tree=$case/new version=99.0
    dpkg-deb -R "$package" "$tree"
    sed -i "s/^Version: .*/Version: $version-1/" "$tree/DEBIAN/control"
    echo '# a new default' >>"$tree/etc/rackconnect-agent/config.toml"
    dpkg-deb --root-owner-group -Zgzip -b "$tree" "$out/new.deb" >/dev/null
    cp "$packages"/*.rpm "$out/old.rpm"
    tree=$case/rpm
    rpm --root "$tree" --initdb 2>/dev/null
    rpm --root "$tree" -i --nodeps --noscripts "$out/old.rpm" 2>/dev/null
    find "$tree" -mindepth 1 -maxdepth 1 ! -name usr ! -name etc -exec rm -rf {} +
    printf '* Thu Jan 01 2026 nobody <nobody@localhost> - %s-1\n- New.\n' "$version" \
        >"$case/changelog"
    rpmbuild -bb --quiet --target x86_64 --define "_topdir $case/rpmbuild" --define "_rpmdir $out" \
        --define '_build_name_fmt new.rpm' --define "tree $tree" --define "version_ $version" \
        --define "maintainer nobody <nobody@localhost>" --define "homepage https://localhost/" \
        --define "changelog_ $case/changelog" \
        "$here/packaging/rpm/rackconnect-agent.spec" >/dev/null
}

packages_deb() {
    start_xenstore
    api_answers DEPLOYED
    build_newer_packages
    add_hook 10-first :
    boot <<'SH'
start_application
systemctl disable rackconnect-hooks.service
check "upgrade" dpkg --force-confold -i /out/new.deb
check_upgraded
for script in "prerm remove" "postinst abort-remove"; do
    check "$script" /var/lib/dpkg/info/rackconnect-agent.$script
done
for unit in rackconnect-{gateway,wait}.service rackconnect-deployed.target; do
    check "aborted removal: $unit is still enabled" systemctl is-enabled --quiet $unit
done
check "aborted removal: gateway keep runs again" becomes rackconnect-gateway.service active
check "aborted removal: a disabled unit is still disabled" is_disabled rackconnect-hooks.service
check "removal" dpkg -r rackconnect-agent
check_removed
check "the configuration is still there" test -e /etc/rackconnect-agent/config.toml
check "second installation" dpkg -i /out/new.deb
check_installed
check_same_application "after the second installation"
check "the record of finished hooks is still there" test -e "$stamp"
rm /etc/rackconnect-agent/ca.pem /etc/rackconnect-agent/deployed.d/10-first
check "purge" dpkg -P rackconnect-agent
check_same_application "after the purge"
check_no_traces
SH
    if [[ -s $out/traces ]]; then cat "$out/traces"; fi
}

# The .rpm, then install.sh of the .tar.gz.
packages_rpm() {
    start_xenstore
    api_answers DEPLOYED
    build_newer_packages
    mkdir "$out/archive"
    tar -C "$out/archive" --strip-components=1 -xf "$packages"/rackconnect-agent-*.tar.gz
    cp "$root/etc/rackconnect-agent/ca.pem" "$out/"
    chroot "$root" dpkg -P rackconnect-agent >/dev/null 2>&1
    boot <<'SH'
# Succeeds if rpm and the scriptlets print nothing, except for two lines of Debian's rpm. The exit
# code of rpm does not reflect that of the scriptlets.
quiet_rpm() {
    rpm --nodeps "$@" 2>&1 | grep -Ev '^rpm: (RPM should not|However assuming)' >/out/rpm
    test ! -s /out/rpm
}
configure() {
    cp /out/ca.pem /etc/rackconnect-agent/
    printf 'ca_file = "/etc/rackconnect-agent/ca.pem"\nwait_interval = "3s"\n' \
        >>/etc/rackconnect-agent/config.toml
}
rpm --initdb
check "installation, without output of the scriptlets" quiet_rpm -i /out/old.rpm
check_installed
for unit in rackconnect-{wait,hooks,gateway}.service rackconnect-deployed.target; do
    check_state $unit inactive
done
check "the state directory exists" test -d /run/rackconnect-agent
configure
printf '#!/bin/sh\n' >/etc/rackconnect-agent/deployed.d/10-first
chmod 0755 /etc/rackconnect-agent/deployed.d/10-first
start_application
systemctl disable rackconnect-hooks.service
check "upgrade, without output of the scriptlets" quiet_rpm -U /out/new.rpm
check_upgraded
cp /etc/rackconnect-agent/config.toml /out/config
rm /etc/rackconnect-agent/ca.pem /etc/rackconnect-agent/deployed.d/10-first
check "removal, with a warning" not quiet_rpm -e rackconnect-agent
config=/etc/rackconnect-agent/config.toml
check "the warning says that the configuration is kept" \
    test "$(cat /out/rpm)" = "warning: $config saved as $config.rpmsave"
check "the configuration is unchanged" cmp /out/config $config.rpmsave
check_removed
check "the record of finished hooks is still there" test -e "$stamp"
rm -r $config.rpmsave /var/lib/rackconnect-agent
rmdir /etc/rackconnect-agent
check_no_traces

check "install.sh" /out/archive/install.sh
check_installed
check_same_application "after install.sh"
configure
systemctl disable rackconnect-hooks.service
systemctl start rackconnect-gateway.service
keep_pid=$(main_pid rackconnect-gateway.service)
check "install.sh upgrades while the program is running" /out/archive/install.sh
check_upgraded
SH
    if [[ -s $out/traces ]]; then cat "$out/traces"; fi
}

# seed_cloud_init USER-DATA INSTANCE-ID: enables cloud-init with the NoCloud datasource.
seed_cloud_init() {
    local seed=$root/var/lib/cloud/seed/nocloud
    mkdir -p "$seed" "$root/etc/cloud/cloud.cfg.d"
    printf 'instance-id: %s\n' "$2" >"$seed/meta-data"
    printf '%s\n' "$1" >"$seed/user-data"
    rm -f "$root/etc/cloud/cloud-init.disabled"
    cat >"$root/etc/cloud/cloud.cfg.d/99-test.cfg" <<'YAML'
datasource_list: [NoCloud, None]
locale: C.UTF-8
ssh_deletekeys: false
ssh_genkeytypes: []
network: {config: disabled}
apt: {preserve_sources_list: true}
YAML
}

# Boots with a user data file of packaging/cloud-init and checks its effect.
cloud_init() {
    local effect
    case $name in
    */gateway)
        effect='check "the gateway is set" eventually gateway_is_default
check "gateway keep is enabled" systemctl is-enabled rackconnect-gateway.service'
        ;;
    */hooks)
        effect='check "the hook ran" eventually test -e /var/lib/hook-ran
check "the journal has its output under its name" eventually grep_journal "10-hello.*DEPLOYED"'
        ;;
    */wait-in-the-background)
        effect='check "the unit runs after the deployment" becomes after-deployment.service active
check_state rackconnect-deployed.target active'
        ;;
    */wait-then-go-on)
        effect='check "the command ran" grep -q DEPLOYED /var/lib/after-deployment'
        ;;
    *) effect='report "FAILED: boot.sh has no checks for this user data"' ;;
    esac
    start_xenstore
    api_answers DEPLOYED
    seed_cloud_init "$(cat "$here/packaging/$name.yaml")" i-first
    boot <<SH
check "cloud-init ends" eventually cloud_init_ended
check "with status: done" grep -q 'status: done' /out/cloud-init
check "no unit has failed" no_failed_units
$effect
SH
    # An API that does not answer must not delay the boot.
    ip -n "$net-world" link set sn down
    seed_cloud_init "$(cat "$here/packaging/$name.yaml")" i-second
    local check_final_stage=
    if [[ $name == */wait-then-go-on ]]; then
        check_final_stage='check "the final stage waits" becomes cloud-final.service activating'
    fi
    boot <<SH
check "the boot does not wait for the API" becomes multi-user.target active
$check_final_stage
SH
}

# run CASE [FUNCTION]: runs a case in the background, at most $jobs at once. The default function is
# the name of the case with - replaced by _.
run() {
    if ((${#only[@]})) && [[ " ${only[*]} " != *" $1 "* ]]; then return; fi
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
    started_cases=$((started_cases + 1))
    (
        begin "$1"
        "${2:-${1//-/_}}" </dev/null
        finish
    ) &
}

started_cases=0
all_suites=(deploying xenbus packages-deb packages-rpm failed
    gateway-{ifupdown,networkd,networkmanager})
bookworm_only=(unprocessable no-rackconnect outages killed switches gateway-unknown)
for suite in $suites; do create_base "$suite"; done
for suite in $suites; do
    base=$work/$suite
    for case in "${all_suites[@]}"; do run "$case"; done
    if [[ $suite == bookworm || ${#only[@]} -gt 0 ]]; then
        run timeout timeout_
        for case in "${bookworm_only[@]}"; do run "$case"; done
        for user_data in "$here"/packaging/cloud-init/*.yaml; do
            run "cloud-init/$(basename "$user_data" .yaml)" cloud_init
        done
    fi
done
wait
passed=0 failed=0 ended_cases=0
for counts in "$work"/counts-*; do
    read -r case_passed case_failed <"$counts"
    passed=$((passed + case_passed)) failed=$((failed + case_failed))
    ended_cases=$((ended_cases + 1))
done
if ((ended_cases != started_cases)); then
    echo "boot.sh: $((started_cases - ended_cases)) cases did not finish"
fi
printf 'boot.sh: %d passed, %d failed, in %ds\n' "$passed" "$failed" "$SECONDS"
((failed == 0 && passed > 0 && ended_cases == started_cases))
