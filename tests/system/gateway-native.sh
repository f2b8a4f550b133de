#!/usr/bin/env bash
# What "gateway show --as" prints, put in place, and read by the real programs: netplan, ifupdown and systemd-networkd, each of
# which must end with the gateway as the one default route of the server. Of sysconfig there is no program on Debian: the lines
# are read by a shell, as Red Hat's network scripts read them.
#
# Usage: gateway-native.sh PROGRAM SIMULATED-API
# As root; needs ip, unshare, netplan, ifup and /usr/lib/systemd/systemd-networkd. Makes its own mount, network and process
# namespace. A program that is not there is NOT RUN, and that fails where RACKCONNECT_REQUIRE_NATIVE is set. Ten seconds.
set -euo pipefail

networkd=/usr/lib/systemd/systemd-networkd
if [[ -z ${IN_NAMESPACE-} ]]; then
    program=$(realpath "$1") api=$(realpath "$2")
    exec env IN_NAMESPACE=1 PROGRAM="$program" API="$api" \
        unshare --mount --net --pid --mount-proc --fork --kill-child -- "$0"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mount --make-rprivate /
passed=0 missing=0
gateway=10.182.127.198

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    ip route >&2
    cat "$folder/log" >&2 2>/dev/null || true
    exit 1
}
pass() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }
have() {
    command -v "$1" >/dev/null && return
    missing=$((missing + 1))
    printf '*** NOT RUN: %s, which is not there ***\n' "$1"
    return 1
}

# Nothing of the machine's own: these programs read and write there.
for path in /run /etc/network /etc/systemd/network; do
    if [[ -d $path ]]; then mount -t tmpfs -o mode=755 tmpfs "$path"; fi
done
mkdir -p /run/network /run/systemd/network
if [[ -d /etc/network ]]; then mkdir /etc/network/if-{pre-up,up,down,post-down}.d; fi
# networkd asks udev for interfaces, unless it is in a container, where this cannot be written.
mount -t sysfs sysfs /sys
mount -o remount,ro /sys

ip link set lo up
# The server as it is without RackConnect, and what it is connected to.
server() {
    ip link del eth0 2>/dev/null || true
    ip link del eth1 2>/dev/null || true
    ip link add eth0 type veth peer name public
    ip link add eth1 type veth peer name service
    for link in public service eth0 eth1; do ip link set "$link" up; done
}
configured() {
    ip address add 198.51.100.7/24 dev eth0
    ip address add 10.182.21.219/17 dev eth1
    ip route add 10.176.0.0/12 via 10.182.0.1 dev eth1
    ip route add 10.208.0.0/12 via 10.182.0.1 dev eth1
    ip route add default via "${1-198.51.100.1}" dev "${2-eth0}"
}
show() {
    RACKCONNECT_ENDPOINT=https://127.0.0.1:8443 RACKCONNECT_CA_FILE="$folder/ca.pem" XENSTORED_PATH=/nonexistent \
        RACKCONNECT_STATE_DIR="$folder/state" "$PROGRAM" gateway show --as "$1"
}
# The gateway is the one default route, and everything else that was configured is there.
set_right() {
    [[ $(ip -o route show default | wc -l) == 1 ]] || fail "$1: not one default route"
    [[ $(ip -o route show default) == "default via $gateway dev eth1 "* ]] || fail "$1: the default route is another"
    [[ $(ip -o address show dev eth1) == *" 10.182.21.219/17 "* ]] || fail "$1: the address is lost"
    for network in 10.176.0.0/12 10.208.0.0/12; do
        [[ $(ip route show "$network") == *"via 10.182.0.1 dev eth1"* ]] || fail "$1: the route to $network is lost"
    done
    pass "$1: $(ip -o route show default)"
}
# until DESCRIPTION COMMAND...: the command succeeds within 20 s.
until_so() {
    local what=$1 i
    shift
    for ((i = 0; i < 200; i++)); do
        "$@" && return
        sleep 0.1
    done
    fail "never: $what"
}

cat >"$folder/script.toml" <<TOML
limit = 1000000
[[step]]
status = "DEPLOYED"
gateway = "$gateway"
TOML
"$API" --listen 127.0.0.1:8443 --ca-out "$folder/ca.pem" --script "$folder/script.toml" >"$folder/listening" 2>/dev/null &
until_so "the simulated API listens" test -s "$folder/listening"

server
configured
for manager in networkd netplan ifupdown sysconfig; do show "$manager" >"$folder/$manager"; done
advice=$(grep -c '^# eth0 has or had a default route' "$folder"/{networkd,netplan,ifupdown,sysconfig} | grep -c ':1$')
[[ $advice == 4 ]] || fail "eth0's default route is not named by all four"

# --- netplan, for networkd: what is configured already, without the default route of eth0 as the last line says, and this.
base_of_netplan() {
    cat >"$1" <<'YAML'
network:
  version: 2
  ethernets:
    eth0:
      addresses: [198.51.100.7/24]
    eth1:
      addresses: [10.182.21.219/17]
      routes:
        - {to: 10.176.0.0/12, via: 10.182.0.1}
        - {to: 10.208.0.0/12, via: 10.182.0.1}
YAML
    chmod 600 "$1"
}
if have netplan; then
    mkdir -p "$folder/root/etc/netplan"
    base_of_netplan "$folder/root/etc/netplan/50-cloud-init.yaml"
    install -m 600 "$folder/netplan" "$folder/root/etc/netplan/90-rackconnect.yaml"
    netplan generate --root-dir "$folder/root" >"$folder/log" 2>&1 || fail "netplan generate"
    ! grep -qi warning "$folder/log" || fail "netplan warns"
    made=$folder/root/run/systemd/network/10-netplan-eth1.network
    grep -q "^Gateway=$gateway$" "$made" || fail "netplan made no gateway of it: $(<"$made")"
    grep -q '^Address=10.182.21.219/17$' "$made" || fail "netplan lost the address: $(<"$made")"
    [[ $(grep -c '^\[Route\]$' "$made") == 3 ]] || fail "netplan lost a route: $(<"$made")"
    pass "netplan generate takes it, beside what is there"
fi

# --- systemd-networkd, with its own files, and with those that netplan made.
run_networkd() {
    server
    rm -rf /run/systemd/netif
    install -d -o systemd-network /run/systemd/netif{,/links,/leases,/lldp}
    SYSTEMD_LOG_LEVEL=debug "$networkd" >"$folder/log" 2>&1 &
    pid=$!
    until_so "networkd has set the routes" grep -q '^eth1: Routes set' "$folder/log"
}
stop_networkd() {
    kill "$pid"
    wait "$pid" || true
}
if have "$networkd"; then
    printf '[Match]\nName=eth0\n[Network]\nAddress=198.51.100.7/24\n' >/etc/systemd/network/10-eth0.network
    cat >/etc/systemd/network/20-eth1.network <<'INI'
[Match]
Name=eth1
[Network]
Address=10.182.21.219/17
[Route]
Destination=10.176.0.0/12
Gateway=10.182.0.1
[Route]
Destination=10.208.0.0/12
Gateway=10.182.0.1
INI
    # As it is told before, with the default route on eth0; where networkd runs, its file is known and named.
    echo 'Gateway=198.51.100.1' >>/etc/systemd/network/10-eth0.network
    run_networkd
    until_so "networkd has set the public route" grep -q '^eth0: Routes set' "$folder/log"
    show networkd >"$folder/networkd"
    stop_networkd
    place=/etc/systemd/network/20-eth1.network.d/rackconnect.conf
    [[ $(head -1 "$folder/networkd") == "# $place "* ]] || fail "networkd's file is not named: $(<"$folder/networkd")"
    mkdir "${place%/*}"
    cp "$folder/networkd" "$place"
    sed -i /Gateway=/d /etc/systemd/network/10-eth0.network
    run_networkd
    set_right "systemd-networkd"
    stop_networkd
    if [[ -d $folder/root/run/systemd/network ]]; then
        rm -r /etc/systemd/network/*
        cp "$folder"/root/run/systemd/network/* /run/systemd/network/
        chmod 644 /run/systemd/network/*
        run_networkd
        set_right "netplan through systemd-networkd"
        stop_networkd
        rm -r /run/systemd/network/*
    fi
fi

# --- ifupdown: the stanza of eth1 is replaced; its other lines stay.
if have ifup; then
    {
        printf 'auto eth0\niface eth0 inet static\n    address 198.51.100.7\n    netmask 255.255.255.0\nauto eth1\n'
        cat "$folder/ifupdown"
        for network in 10.176.0.0/12 10.208.0.0/12; do printf '    up ip route add %s via 10.182.0.1 dev eth1\n' "$network"; done
    } >/etc/network/interfaces
    ifquery eth1 >"$folder/log" 2>&1 || fail "ifquery"
    grep -q "^gateway: $gateway$" "$folder/log" || fail "ifquery: no gateway"
    server
    for link in eth0 eth1; do
        ip link set "$link" down
        ifup "$link" >"$folder/log" 2>&1 || fail "ifup $link"
    done
    set_right "ifupdown"
fi

# --- sysconfig.
(
    eval "$(grep -v GATEWAYDEV "$folder/sysconfig")"
    [[ $DEFROUTE == yes && $GATEWAY == "$gateway" ]]
) || fail "sysconfig: not what a shell reads"
pass "sysconfig is a shell's assignments (Red Hat's scripts themselves: not run)"

if ((missing)) && [[ -n ${RACKCONNECT_REQUIRE_NATIVE-} ]]; then fail "$missing programs are missing"; fi
printf 'gateway-native.sh: %d passed, 0 failed\n' "$passed"
