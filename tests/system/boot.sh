#!/usr/bin/env bash
# Boots real systemd (Debian's, in systemd-nspawn) with the package installed by dpkg, and real cloud-init; ServiceNet and
# the public network are network namespaces, the API and xenstore are simulated. Needs root, some minutes, and a network to
# fetch Debian from at the first time (kept in ${XDG_CACHE_HOME:-~/.cache}/rackconnect-agent).
#
# Usage: boot.sh --fetch
#        boot.sh PACKAGES SIMULATED-API SIMULATED-XENSTORE [CASE]...
# Environment: SUITES="bookworm bullseye", JOBS=4 (cases at once, each in a network of its own: they mostly wait).
# PACKAGES is where packaging/build.sh has put them. --fetch only makes the trees of Debian.
set -euo pipefail
((EUID == 0)) || { echo "boot.sh: NOT RUN: it needs root" >&2; exit 1; }
suites=${SUITES:-bookworm bullseye} jobs=${JOBS:-4}
# The tree of a suite as an archive, kept between runs.
archive() { echo "${XDG_CACHE_HOME:-$HOME/.cache}/rackconnect-agent/root-$1-2.tar"; }
fetch() {
    local suite=$1 tar
    tar=$(archive "$suite")
    [[ -s $tar ]] && return
    mkdir -p "$(dirname "$tar")"
    local systemd=systemd,systemd-sysv,udev,dbus,kmod,netbase networks=iproute2,iputils-ping,net-tools,ifupdown,network-manager
    mmdebstrap --quiet --variant=minbase --include="$systemd,$networks,ca-certificates,cloud-init,rpm" "$suite" "$tar.new.tar" ||
        { rm -f "$tar.new.tar"; echo "boot.sh: NOT RUN: $suite cannot be fetched" >&2; exit 1; }
    mv "$tar.new.tar" "$tar"
}
if [[ ${1:-} == --fetch ]]; then
    for suite in $suites; do fetch "$suite"; done
    exit
fi
for program in "$2" "$3"; do [[ -x $program ]] || { echo "boot.sh: no program $program" >&2; exit 1; }; done
packages=$(realpath "$1") api=$(realpath "$2") xenstore=$(realpath "$3")
package=$(echo "$packages"/*.deb)
shift 3
only=("$@")
here=$(realpath "$(dirname "$0")/../..")
for tool in systemd-nspawn mmdebstrap ip dpkg-deb rpmbuild; do
    command -v "$tool" >/dev/null || { echo "boot.sh needs $tool" >&2; exit 1; }
done

work=$(mktemp -d)
# In memory, where there is enough of it: the trees are of tens of thousands of files.
if (($(awk '/MemAvailable/ { print $2 }' /proc/meminfo) > 6000000)); then mount -t tmpfs -o mode=755 tmpfs "$work"; fi
# The process that made the folder removes it, when no case is left in it.
tidy() {
    local pid
    for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done
    wait || true
    for group in $(cgroups); do find "$group" -depth -path "*/rc$$-*" -type d -exec rmdir {} + 2>/dev/null || true; done
    if mountpoint -q "$work"; then umount -l "$work"; fi
    rm -rf --one-file-system "$work"
}
trap tidy EXIT
# The directories of this process's cgroups that systemd uses: cgroup2 and, beside it, the named hierarchy.
cgroups() {
    local mount
    mount=$(findmnt -rn -o TARGET -t cgroup2 | head -n 1)
    if [[ -n $mount ]]; then echo "$mount$(sed -n 's/^0:://p' /proc/$$/cgroup)"; fi
    mount=/sys/fs/cgroup/systemd
    if [[ -d $mount ]]; then echo "$mount$(sed -n 's/^[0-9]*:name=systemd://p' /proc/$$/cgroup)"; fi
}
# Systemds that run at once need cgroups of their own, or each ends the other's units.
own_cgroup() {
    local group
    for group in $(cgroups); do
        mkdir "$group/rc$$-$BASHPID"
        echo "$BASHPID" >"$group/rc$$-$BASHPID/cgroup.procs"
    done
}

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
# The guest's own manager sets them.
no_addresses() { ip -n "$net-guest" addr flush dev eth0 && ip -n "$net-guest" addr flush dev eth1; }

# --- The tree of a suite, with the package in it.
tree() {
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
        NetworkManager.service NetworkManager-wait-online.service systemd-udev-settle.service e2scrub_all.timer e2scrub_reap.service \
        systemd-timesyncd.service; do
        ln -sf /dev/null "$base/etc/systemd/system/$unit"
    done
    touch "$base/etc/cloud/cloud-init.disabled"
}

# --- A case, in a process of its own: `begin`, changes to "$root", `boot`, more boots, `finish`.
begin() {
    name=$1 net=rc$BASHPID case=$work/case-$BASHPID
    root=$case/root out=$case/out
    helpers=() mounts=() passed=0 failed=0
    trap tidy_case EXIT
    trap 'exit 143' TERM
    own_cgroup
    mkdir "$case"
    mount -t tmpfs tmpfs "$case"
    mounts=("$case")
    mkdir -p "$root" "$out" "$case/upper" "$case/work" "$case/xenstored"
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$case/upper,workdir=$case/work" "$root"
    mounts=("$root" "$case")
    network
    started=$SECONDS
    printf '10.190.0.5 dfw.api.rackconnect.rackspace.com\n127.0.0.1 localhost\n' >"$root/etc/hosts"
    printf 'ca_file = "/etc/rackconnect-agent/ca.pem"\nwait_interval = "3s"\n' >>"$root/etc/rackconnect-agent/config.toml"
}
# The simulated API plays the script of standard input; its CA is the guest's.
api() {
    cat >"$case/api.toml"
    ip netns exec "$net-world" "$api" --listen 10.190.0.5:443 --ca-out "$root/etc/rackconnect-agent/ca.pem" \
        --script "$case/api.toml" --log "$case/requests" >"$case/listening" 2>"$case/api.err" &
    helpers+=($!)
    until [[ -s $case/listening ]]; do
        kill -0 $! 2>/dev/null || { cat "$case/api.err"; exit 1; }
        sleep 0.05
    done
}
api_says() { api <<<"$(printf '[[step]]\nstatus = "%s"\ngateway = "10.182.127.198"' "$1")"; }
# xenstore is a socket at its usual place, or with --pty a pseudo-terminal in place of the kernel's device (which one process
# at a time can use). A RackConnect v2 server in DFW, or what is given.
store() {
    local values=() arguments=(--path "$case/xenstored/socket") value
    bind=(--bind="$case/xenstored:/run/xenstored")
    if [[ ${1:-} == --pty ]]; then arguments+=(--pty) && shift; fi
    values=("$@")
    if ((!$#)); then
        values=('vm-data/provider_data/provider=Rackspace' 'vm-data/provider_data/region=DFW'
            'vm-data/provider_data/roles=["rack_connect"]')
    fi
    for value in "${values[@]}"; do arguments+=(--set "$value"); done
    if [[ -p /dev/stdin || -f /dev/stdin ]]; then cat >"$case/store.toml"; else : >"$case/store.toml"; fi
    "$xenstore" --script "$case/store.toml" "${arguments[@]}" >/dev/null 2>&1 &
    helpers+=($!)
    until [[ -e $case/xenstored/socket ]]; do
        kill -0 $! 2>/dev/null || { echo "the simulated xenstore does not start"; exit 1; }
        sleep 0.05
    done
    if [[ -c $case/xenstored/socket ]]; then bind=(--bind="$(realpath "$case/xenstored/socket"):/dev/xen/xenbus"); fi
}
# enable UNIT...: for the next boot, masked (see above) or not.
enable() {
    local unit
    for unit in "$@"; do
        if [[ -L $root/etc/systemd/system/$unit ]]; then rm "$root/etc/systemd/system/$unit"; fi
    done
    chroot "$root" systemctl enable "$@" >"$case/enable" 2>&1 || { cat "$case/enable"; exit 1; }
}
# hook NAME COMMANDS
hook() {
    printf '#!/bin/sh\n%s\n' "$2" >"$root/etc/rackconnect-agent/deployed.d/$1"
    chmod 0755 "$root/etc/rackconnect-agent/deployed.d/$1"
}
# Boots; standard input is what the probe does. Arguments go to the kernel's command line. systemd needs bpf(2) for DevicePolicy=.
boot() {
    cat "$here/tests/system/boot-probe.bash" - >"$out/probe"
    echo 'say END' >>"$out/probe"
    : >"$out/result"
    echo 5f0c6e1d4f5a4d0e9d6c0b1a2f3e4d5c >"$root/etc/machine-id"
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout 120 systemd-nspawn --quiet -D "$root" --boot \
        --network-namespace-path="/run/netns/$net-guest" --bind="$out:/out" "${bind[@]}" --system-call-filter=bpf \
        --capability=CAP_NET_ADMIN --console=read-only --register=no --keep-unit --machine="$net" -- "$@" </dev/null >"$case/console" 2>&1 || true
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
        tail -n 5 "$out/probe.log" || tail -n 5 "$case/console"
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
    if ((failed)) && [[ -s $out/journal ]]; then
        grep -E 'rackconnect|app|probe|hook|10-|20-' "$out/journal" | tail -n 60
    fi
    printf '%s %s: %ds\n' "$suite" "$name" $((SECONDS - started))
    echo "$passed $failed" >"$work/counts-$BASHPID"
}
tidy_case() {
    local pid mount
    for pid in "${helpers[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    ip netns del "$net-guest" 2>/dev/null || true
    ip netns del "$net-world" 2>/dev/null || true
    for mount in "${mounts[@]}"; do umount "$mount" 2>/dev/null || umount -l "$mount" || true; done
}

# --- The cases.
deploying() {
    store 'vm-data/provider_data/provider=Rackspace' 'vm-data/provider_data/region=DFW' \
        'vm-data/user-metadata/rackconnect_automation_status="DEPLOYING"' <<'TOML'
[[change]]
after = 26.5
set = { "vm-data/user-metadata/rackconnect_automation_status" = '"DEPLOYED"' }
TOML
    api <<'TOML'
[[step]]
lasts = "25s"
status = "DEPLOYING"
tasks = [{ name = "Add user", status = "DEPLOYING" }]
[[step]]
status = "DEPLOYED"
gateway = "10.182.127.198"
TOML
    hook 10-first 'echo "hook says $RACKCONNECT_STATUS in $RACKCONNECT_REGION"; echo x >>/var/hook-ran'
    seed '#cloud-config' i-first
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
shared=/run/rackconnect-agent/shared
say_if "what all users can write is in a file system of its own" mountpoint -q $shared
say_if "which is small" test "$(df --output=size -k $shared | tail -n 1)" -le 64
say_if "the wait, in its sandbox, has used the file in it" test "$(stat -c %a:%u $shared/budget)" = 666:0
as_another="setpriv --reuid=2001 --regid=2001 --clear-groups rackconnect"
say_if "another user shares the rate limit" test "$($as_another status --region dfw 2>&1)" = DEPLOYED
SH
    check "the region came from xenstore, and the API was asked" test -s "$case/requests"
    local ran='say_if "$what: the hooks are through" until_is rackconnect-hooks.service active
say_if "$what: the hook ran $times times so far" test "$(wc -l </var/hook-ran)" = $times'
    boot <<<"what='second boot' times=1; $ran"
    # A server that was made from this one's image: the disk is the same, and the instance another.
    seed '#cloud-config' i-second
    boot <<<"what='another server of the same image' times=2; $ran"
    # A rebuild: the instance and its id stay (Nova's "rebuild" does so), and the disk is new, that is without stamps.
    rm -rf "$root/var/lib/rackconnect-agent" "$root"/var/lib/cloud/{instance,instances,data,sem}
    boot <<<"what='a rebuilt server' times=3; $ran"
}

xenbus() { # the device, through the sandbox of the wait
    store --pty
    api_says DEPLOYED
    hook 10-first 'echo "hook says $RACKCONNECT_STATUS in $RACKCONNECT_REGION"'
    boot <<'SH'
say_if "the wait has the region from the device" until_is rackconnect-wait.service active
say_if "so have the hooks" until_true grep_journal "10-first.*hook says DEPLOYED in dfw"
# A pseudo-terminal passes any DevicePolicy=. xenbus is a "misc" device, and so is fuse: it says nothing, but it is opened, or not.
umount /dev/xen/xenbus && rm /dev/xen/xenbus && mknod -m 0600 /dev/xen/xenbus c 10 229
try() { systemctl daemon-reload; systemctl restart --no-block "$1"; until_true grep_since "$2"; }
for unit in rackconnect-wait.service rackconnect-gateway.service; do
    since_now
    say_if "$unit may open the device" try $unit 'xenbus\) does not work'
    mkdir -p /run/systemd/system/$unit.d
    printf '[Service]\nDeviceAllow=\n' >/run/systemd/system/$unit.d/none.conf
    since_now
    say_if "$unit could not if it were not allowed" try $unit 'xenbus\) can be read only by root'
    systemctl stop $unit
done
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
    hook 10-daemon 'sleep 1000 & echo $! >/out/daemon'
    hook 20-fails 'exit 1'
    boot <<'SH'
wait_fails 4
is_state rackconnect-hooks.service inactive
tries_again
say_if "a hook that fails is a unit that fails" until_is rackconnect-hooks.service failed
say_if "what another hook has left running stays" test -d "/proc/$(cat /out/daemon)"
SH
}

timeout_() {
    store
    echo 'wait_timeout = "5s"' >>"$root/etc/rackconnect-agent/config.toml"
    api_says DEPLOYING
    boot <<<'wait_fails 124'
}

# A server with nothing to wait for.
nothing() {
    hook 10-first 'echo "$RACKCONNECT_STATUS" >/out/hook'
    boot <<SH
say_if "the target is reached" until_is rackconnect-deployed.target active
say_if "the hooks run" until_is rackconnect-hooks.service active
say_if "and see the word" test "\$(cat /out/hook)" = $1
SH
}
unprocessable() { store && api_says UNPROCESSABLE && nothing UNPROCESSABLE; }
no_rackconnect() { store 'vm-data/provider_data/provider=Elsewhere' && api </dev/null && nothing NOT-RACKCONNECT; }

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
say_if "it waits without DNS" until_true grep_journal "name lookup for|cannot look up"
echo '10.190.0.5 dfw.api.rackconnect.rackspace.com' >/etc/hosts
say_if "it waits while the API is down" until_true grep_journal "cannot connect"
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
wait_fails 9
tries_again
SH
}

switches() {
    store
    api_says DEPLOYED
    hook 10-first 'touch /out/hook'
    enable rackconnect-gateway.service
    local disabled='
say_if "multi-user.target is reached" until_is multi-user.target active
sleep 1
for unit in rackconnect-{wait,hooks,gateway}.service rackconnect-deployed.target app.service; do is_state $unit inactive; done
say_if "no hook ran" test ! -e /out/hook
say_if "the route is left alone" test "$(ip route show default)" = "default via 198.51.100.1 dev eth0 "
say_if "systemctl start refuses" not systemctl start rackconnect-deployed.target
say_if "a command typed by hand is not bound" test "$(rackconnect status)" = DEPLOYED'
    boot rackconnect=disabled <<<"$disabled"
    touch "$root/etc/rackconnect-agent/disabled"
    boot <<<"$disabled"
}

# The gateway, set at boot and kept whatever the network's own manager does. lost_and_kept shows first that it is lost then.
gateway_networkd() {
    store
    api_says DEPLOYED
    no_addresses
    printf '[Match]\nName=eth0\n[Network]\nAddress=198.51.100.10/24\nGateway=198.51.100.1\n' >"$root/etc/systemd/network/eth0.network"
    printf '[Match]\nName=eth1\n[Network]\nAddress=10.182.21.219/17\n[Route]\nDestination=10.176.0.0/12\nGateway=10.182.0.1\n' \
        >"$root/etc/systemd/network/eth1.network"
    enable systemd-networkd-wait-online.service systemd-networkd.service rackconnect-gateway.service
    boot <<'SH'
gateway_is_set
say_if "networkd is up" until_is systemd-networkd.service active
again() { systemctl restart systemd-networkd && networkctl reconfigure eth0 eth1; }
lost_and_kept "a restart of networkd" again
SH
}

gateway_ifupdown() {
    store
    api_says DEPLOYED
    no_addresses
    enable networking.service rackconnect-gateway.service
    # What nova-agent writes from xenstore, and what it does then (its novaagent/libs/debian.py): no gateway for eth1.
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
gateway_is_set
say_if "networking.service is up" until_is networking.service active
lost_and_kept "a restart of networking" systemctl restart networking
resetnetwork() {
    local device
    cp /out/interfaces /etc/network/interfaces
    for device in eth1 eth0; do
        ifdown $device && ip addr flush dev $device && sleep 1 && ifup $device || break
    done
    # Where the keeper was faster, "ip route add default" of eth0 has said that there is one, and ifup that it failed.
    ip address show eth0 | grep -q 198.51.100.10
}
lost_and_kept "nova-agent's rewrite" resetnetwork
SH
}

gateway_networkmanager() {
    store
    api_says DEPLOYED
    no_addresses
    enable NetworkManager-wait-online.service NetworkManager.service rackconnect-gateway.service
    local profile=$root/etc/NetworkManager/system-connections
    printf '[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=manual\naddress1=198.51.100.10/24,198.51.100.1\n' \
        >"$profile/eth0.nmconnection"
    printf '[connection]\nid=eth1\ntype=ethernet\ninterface-name=eth1\n[ipv4]\nmethod=manual\naddress1=10.182.21.219/17\nroute1=10.176.0.0/12,10.182.0.1\n' \
        >"$profile/eth1.nmconnection"
    chmod 0600 "$profile"/*
    boot <<'SH'
gateway_is_set
say_if "NetworkManager is up" until_is NetworkManager.service active
say_if "and has the interfaces" until_true sh -c 'test "$(nmcli -g GENERAL.STATE device show eth1)" = "100 (connected)"'
again() { systemctl restart NetworkManager && nmcli connection up eth0 && nmcli connection up eth1; }
lost_and_kept "a restart of NetworkManager" again
SH
}

# A keeper that does not even know the region holds up no boot.
gateway_unknown() {
    store 'vm-data/provider_data/provider=Rackspace'
    api_says DEPLOYED
    enable rackconnect-gateway.service
    boot <<'SH'
say_if "multi-user.target is reached" until_is multi-user.target active
say_if "the keeper is at work" until_true sh -c 'test "$(systemctl show -p SubState --value rackconnect-gateway.service)" = running'
say_if "the route is left alone" test "$(ip route show default)" = "default via 198.51.100.1 dev eth0 "
SH
}

# A .deb and a .rpm of a later version.
newer() {
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
    printf '* Thu Jan 01 2026 nobody <nobody@localhost> - %s-1\n- New.\n' "$version" >"$case/changelog"
    rpmbuild -bb --quiet --target x86_64 --define "_topdir $case/rpmbuild" --define "_rpmdir $out" \
        --define '_build_name_fmt new.rpm' --define "tree $tree" --define "version_ $version" \
        --define "maintainer nobody <nobody@localhost>" --define "homepage https://localhost/" \
        --define "changelog_ $case/changelog" "$here/packaging/rpm/rackconnect-agent.spec" >/dev/null
}

packages_deb() {
    store
    api_says DEPLOYED
    newer
    hook 10-first :
    boot <<'SH'
with_an_application
systemctl disable rackconnect-hooks.service
say_if "an upgrade" dpkg --force-confold -i /out/new.deb
upgraded
for script in "prerm remove" "postinst abort-remove"; do say_if "$script" /var/lib/dpkg/info/rackconnect-agent.$script; done
say_if "an aborted removal keeps the keeper" systemctl is-enabled --quiet rackconnect-gateway.service
say_if "and starts it again" until_is rackconnect-gateway.service active
say_if "and what was disabled" test "$(systemctl is-enabled rackconnect-hooks.service)" = disabled
for unit in rackconnect-wait.service rackconnect-deployed.target; do say_if "$unit, too" systemctl is-enabled --quiet $unit; done
say_if "a removal" dpkg -r rackconnect-agent
removed
say_if "the configuration outlasts it" test -e /etc/rackconnect-agent/config.toml
say_if "installed again" dpkg -i /out/new.deb
installed
same "after the new installation"
say_if "what is known of the hooks outlasts both" test -e "$stamp"
rm /etc/rackconnect-agent/ca.pem /etc/rackconnect-agent/deployed.d/10-first
say_if "a purge" dpkg -P rackconnect-agent
same "after the purge"
no_trace
SH
    if [[ -s $out/traces ]]; then cat "$out/traces"; fi
}

packages_rpm() { # and the archive's script
    store
    api_says DEPLOYED
    newer
    mkdir "$out/archive"
    tar -C "$out/archive" --strip-components=1 -xf "$packages"/*.tar.gz
    cp "$root/etc/rackconnect-agent/ca.pem" "$out/"
    chroot "$root" dpkg -P rackconnect-agent >/dev/null 2>&1
    boot <<'SH'
# What rpm and its scriptlets say, but for Debian's own two lines. Its exit code tells nothing of the scriptlets.
rpm_() { rpm --nodeps "$@" 2>&1 | grep -Ev '^rpm: (RPM should not|However assuming)' >/out/rpm; test ! -s /out/rpm; }
configure() { cp /out/ca.pem /etc/rackconnect-agent/; printf 'ca_file = "/etc/rackconnect-agent/ca.pem"\nwait_interval = "3s"\n' >>/etc/rackconnect-agent/config.toml; }
rpm --initdb
say_if "installed, and the scriptlets say nothing" rpm_ -i /out/old.rpm
installed
for unit in rackconnect-{wait,hooks,gateway}.service rackconnect-deployed.target; do is_state $unit inactive; done
say_if "the state directory is there" test -d /run/rackconnect-agent
configure
printf '#!/bin/sh\n' >/etc/rackconnect-agent/deployed.d/10-first
chmod 0755 /etc/rackconnect-agent/deployed.d/10-first
with_an_application
systemctl disable rackconnect-hooks.service
say_if "an upgrade, and the scriptlets say nothing" rpm_ -U /out/new.rpm
upgraded
cp /etc/rackconnect-agent/config.toml /out/config
rm /etc/rackconnect-agent/ca.pem /etc/rackconnect-agent/deployed.d/10-first
say_if "a removal, and the scriptlets say nothing but what they kept" not rpm_ -e rackconnect-agent
say_if "which is the configuration" test "$(cat /out/rpm)" = "warning: /etc/rackconnect-agent/config.toml saved as /etc/rackconnect-agent/config.toml.rpmsave"
say_if "as it was" cmp /out/config /etc/rackconnect-agent/config.toml.rpmsave
removed
say_if "what is known of the hooks outlasts it" test -e "$stamp"
rm -r /etc/rackconnect-agent/config.toml.rpmsave /var/lib/rackconnect-agent
rmdir /etc/rackconnect-agent
no_trace

say_if "the archive's script" /out/archive/install.sh
installed
same "after it"
configure
systemctl disable rackconnect-hooks.service
systemctl start rackconnect-gateway.service
keeper=$(main_pid rackconnect-gateway.service)
say_if "the archive's script once more, the program in use" /out/archive/install.sh
upgraded
SH
    if [[ -s $out/traces ]]; then cat "$out/traces"; fi
}

# seed USER-DATA INSTANCE-ID: cloud-init, with its NoCloud datasource.
seed() {
    local folder=$root/var/lib/cloud/seed/nocloud
    mkdir -p "$folder" "$root/etc/cloud/cloud.cfg.d"
    printf 'instance-id: %s\n' "$2" >"$folder/meta-data"
    printf '%s\n' "$1" >"$folder/user-data"
    rm -f "$root/etc/cloud/cloud-init.disabled"
    printf 'datasource_list: [NoCloud, None]\nlocale: C.UTF-8\nssh_deletekeys: false\nssh_genkeytypes: []\nnetwork: {config: disabled}\napt: {preserve_sources_list: true}\n' \
        >"$root/etc/cloud/cloud.cfg.d/99-test.cfg"
}

# The user-data of that name, and what comes of it.
cloud_init() {
    local effect
    case $name in
    */gateway) effect='say_if "the gateway is set" until_true kept; say_if "the keeper is enabled" systemctl is-enabled rackconnect-gateway.service' ;;
    */hooks) effect='say_if "the hook ran" until_true test -e /var/lib/hook-ran; say_if "under its name" until_true grep_journal "10-hello.*DEPLOYED"' ;;
    */wait-in-the-background) effect='say_if "the unit runs after the deployment" until_is after-deployment.service active; is_state rackconnect-deployed.target active' ;;
    */wait-then-go-on) effect='say_if "the lines after the wait ran" grep -q DEPLOYED /var/lib/after-deployment' ;;
    *) effect='say "FAILED: boot.sh does not know what comes of it"' ;;
    esac
    store
    api_says DEPLOYED
    seed "$(cat "$here/packaging/$name.yaml")" i-first
    boot <<SH
say_if "cloud-init comes to its end" until_true ended
say_if "status: done" grep -q 'status: done' /out/cloud-init
say_if "no unit has failed" no_failed
$effect
SH
    # Where nothing answers, it holds up no boot.
    ip -n "$net-world" link set sn down
    seed "$(cat "$here/packaging/$name.yaml")" i-second
    local waits=
    if [[ $name == */wait-then-go-on ]]; then waits='say_if "but its last stage does" until_is cloud-final.service activating'; fi
    boot <<SH
say_if "the boot does not wait for an API that does not answer" until_is multi-user.target active
$waits
SH
}

# run CASE [FUNCTION]: the function of that name, in which _ stands for -; no more than $jobs at once.
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
for suite in $suites; do tree "$suite"; done
for suite in $suites; do
    base=$work/$suite
    for case in deploying xenbus packages-deb packages-rpm failed gateway-{ifupdown,networkd,networkmanager}; do run "$case"; done
    if [[ $suite == bookworm || ${#only[@]} -gt 0 ]]; then
        run timeout timeout_
        for case in unprocessable no-rackconnect outages killed switches gateway-unknown; do run "$case"; done
    fi
    for user_data in "$here"/packaging/cloud-init/*.yaml; do
        if [[ $suite == bookworm || ${#only[@]} -gt 0 ]]; then run "cloud-init/$(basename "$user_data" .yaml)" cloud_init; fi
    done
done
wait
passed=0 failed=0 ended_cases=0
for counts in "$work"/counts-*; do
    read -r case_passed case_failed <"$counts"
    passed=$((passed + case_passed)) failed=$((failed + case_failed)) ended_cases=$((ended_cases + 1))
done
if ((ended_cases != started_cases)); then echo "boot.sh: $((started_cases - ended_cases)) cases ended before their time"; fi
printf 'boot.sh: %d passed, %d failed, in %ds\n' "$passed" "$failed" "$SECONDS"
((failed == 0 && passed > 0 && ended_cases == started_cases))
