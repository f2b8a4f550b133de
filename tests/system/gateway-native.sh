#!/usr/bin/env bash
# Installs the output of `gateway show --as` and loads it with netplan, ifupdown and
# systemd-networkd. Each of them must set the gateway as the only default route. Debian has no
# program that reads sysconfig files, so a shell reads those, as Red Hat's network scripts do.
#
# Usage: gateway-native.sh PROGRAM SIMULATED-API
# Needs root, ip, unshare, netplan, ifup and /usr/lib/systemd/systemd-networkd. Runs in its own
# mount, network and PID namespaces and takes ten seconds. Prints NOT RUN for a missing program, and
# then fails if RACKCONNECT_REQUIRE_NATIVE is set.
set -euo pipefail

networkd=/usr/lib/systemd/systemd-networkd
if [[ -z ${IN_NAMESPACE-} ]]; then
    program=$(realpath "$1") api=$(realpath "$2")
    exec env IN_NAMESPACE=1 PROGRAM="$program" API="$api" \
        unshare --mount --net --pid --mount-proc --fork --kill-child -- "$0"
fi

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
mount --make-rprivate /
passed=0 missing=0
gateway=10.182.127.198

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    ip route >&2
    cat "$directory/log" >&2 2>/dev/null || true
    exit 1
}
pass() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }
have() {
    command -v "$1" >/dev/null && return
    missing=$((missing + 1))
    printf '*** NOT RUN: %s is not installed ***\n' "$1"
    return 1
}

# Hide the machine's own files in the directories that these programs read and write.
for path in /run /etc/network /etc/systemd/network; do
    if [[ -d $path ]]; then mount -t tmpfs -o mode=755 tmpfs "$path"; fi
done
mkdir -p /run/network /run/systemd/network
if [[ -d /etc/network ]]; then mkdir /etc/network/if-{pre-up,up,down,post-down}.d; fi
# networkd waits for udev unless it runs in a container, which it recognises by a read-only /sys.
mount -t sysfs sysfs /sys
mount -o remount,ro /sys

ip link set lo up
# The interfaces of a server, without addresses.
create_interfaces() {
    ip link del eth0 2>/dev/null || true
    ip link del eth1 2>/dev/null || true
    ip link add eth0 type veth peer name public
    ip link add eth1 type veth peer name service
    for link in public service eth0 eth1; do ip link set "$link" up; done
}
# The addresses and routes of a server that does not use RackConnect.
configure_interfaces() {
    ip address add 198.51.100.7/24 dev eth0
    ip address add 10.182.21.219/17 dev eth1
    ip route add 10.176.0.0/12 via 10.182.0.1 dev eth1
    ip route add 10.208.0.0/12 via 10.182.0.1 dev eth1
    ip route add default via 198.51.100.1 dev eth0
}
show() {
    RACKCONNECT_ENDPOINT=https://127.0.0.1:8443 RACKCONNECT_CA_FILE="$directory/ca.pem" \
        RACKCONNECT_STATE_DIR="$directory/state" XENSTORED_PATH=/nonexistent \
        "$PROGRAM" gateway show --as "$1"
}
# The gateway is the only default route, and everything else that was configured is unchanged.
check_routes() {
    local default network
    default=$(ip -o route show default)
    [[ $(wc -l <<<"$default") == 1 ]] || fail "$1: more than one default route"
    [[ $default == "default via $gateway dev eth1 "* ]] || fail "$1: wrong default route"
    [[ $(ip -o address show dev eth1) == *" 10.182.21.219/17 "* ]] ||
        fail "$1: the address of eth1 is missing"
    for network in 10.176.0.0/12 10.208.0.0/12; do
        [[ $(ip route show "$network") == *"via 10.182.0.1 dev eth1"* ]] ||
            fail "$1: the route to $network is missing"
    done
    pass "$1: $default"
}
# wait_until DESCRIPTION COMMAND...: waits up to 20 s for the command to succeed.
wait_until() {
    local description=$1 i
    shift
    for ((i = 0; i < 200; i++)); do
        "$@" && return
        sleep 0.1
    done
    fail "timed out: $description"
}

cat >"$directory/script.toml" <<TOML
limit = 1000000
[[step]]
status = "DEPLOYED"
gateway = "$gateway"
TOML
"$API" --listen 127.0.0.1:8443 --ca-out "$directory/ca.pem" --script "$directory/script.toml" \
    >"$directory/listening" 2>/dev/null &
wait_until "the simulated API listens" test -s "$directory/listening"

create_interfaces
configure_interfaces
for manager in networkd netplan ifupdown sysconfig; do
    show "$manager" >"$directory/$manager"
    advice=$(grep -c '^# eth0 has or had a default route' "$directory/$manager" || true)
    [[ $advice == 1 ]] || fail "the output for $manager does not mention eth0's default route"
done

# --- netplan with networkd: the existing configuration without eth0's default route (the last line
# of the output asks for its removal), and the output beside it.
write_netplan_base() {
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
    mkdir -p "$directory/root/etc/netplan"
    write_netplan_base "$directory/root/etc/netplan/50-cloud-init.yaml"
    install -m 600 "$directory/netplan" "$directory/root/etc/netplan/90-rackconnect.yaml"
    netplan generate --root-dir "$directory/root" >"$directory/log" 2>&1 || fail "netplan generate"
    ! grep -qi warning "$directory/log" || fail "netplan printed a warning"
    generated=$directory/root/run/systemd/network/10-netplan-eth1.network
    grep -q "^Gateway=$gateway$" "$generated" ||
        fail "netplan did not generate the gateway: $(<"$generated")"
    grep -q '^Address=10.182.21.219/17$' "$generated" ||
        fail "netplan did not generate the address: $(<"$generated")"
    [[ $(grep -c '^\[Route\]$' "$generated") == 3 ]] ||
        fail "netplan did not generate three routes: $(<"$generated")"
    pass "netplan generate accepts the output beside an existing configuration"
fi

# --- systemd-networkd, with its own files and with those that netplan generated.
run_networkd() {
    create_interfaces
    rm -rf /run/systemd/netif
    install -d -o systemd-network /run/systemd/netif{,/links,/leases,/lldp}
    SYSTEMD_LOG_LEVEL=debug "$networkd" >"$directory/log" 2>&1 &
    pid=$!
    wait_until "networkd sets the routes of eth1" grep -q '^eth1: Routes set' "$directory/log"
}
stop_networkd() {
    kill "$pid"
    wait "$pid" || true
}
if have "$networkd"; then
    printf '[Match]\nName=eth0\n[Network]\nAddress=198.51.100.7/24\n' \
        >/etc/systemd/network/10-eth0.network
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
    # Start with the original configuration, which has the default route on eth0. While networkd is
    # running, the output names the drop-in directory of the interface's .network file.
    echo 'Gateway=198.51.100.1' >>/etc/systemd/network/10-eth0.network
    run_networkd
    wait_until "networkd sets the routes of eth0" grep -q '^eth0: Routes set' "$directory/log"
    show networkd >"$directory/networkd"
    stop_networkd
    drop_in=/etc/systemd/network/20-eth1.network.d/rackconnect.conf
    [[ $(head -1 "$directory/networkd") == "# $drop_in "* ]] ||
        fail "the output does not name $drop_in: $(<"$directory/networkd")"
    mkdir "${drop_in%/*}"
    cp "$directory/networkd" "$drop_in"
    sed -i /Gateway=/d /etc/systemd/network/10-eth0.network
    run_networkd
    check_routes "systemd-networkd"
    stop_networkd
    if [[ -d $directory/root/run/systemd/network ]]; then
        rm -r /etc/systemd/network/*
        cp "$directory"/root/run/systemd/network/* /run/systemd/network/
        chmod 644 /run/systemd/network/*
        run_networkd
        check_routes "netplan through systemd-networkd"
        stop_networkd
        rm -r /run/systemd/network/*
    fi
fi

# --- ifupdown: the output replaces the head of eth1's stanza; the other lines remain.
if have ifup; then
    {
        printf 'auto eth0\niface eth0 inet static\n'
        printf '    address 198.51.100.7\n    netmask 255.255.255.0\nauto eth1\n'
        cat "$directory/ifupdown"
        for network in 10.176.0.0/12 10.208.0.0/12; do
            printf '    up ip route add %s via 10.182.0.1 dev eth1\n' "$network"
        done
    } >/etc/network/interfaces
    ifquery eth1 >"$directory/log" 2>&1 || fail "ifquery"
    grep -q "^gateway: $gateway$" "$directory/log" || fail "ifquery: no gateway"
    create_interfaces
    for link in eth0 eth1; do
        ip link set "$link" down
        ifup "$link" >"$directory/log" 2>&1 || fail "ifup $link"
    done
    check_routes "ifupdown"
fi

# --- sysconfig.
(
    eval "$(grep -v GATEWAYDEV "$directory/sysconfig")"
    [[ $DEFROUTE == yes && $GATEWAY == "$gateway" ]]
) || fail "sysconfig: a shell does not read the expected values"
pass "sysconfig can be read by a shell (Red Hat's own scripts are not tested)"

if ((missing)) && [[ -n ${RACKCONNECT_REQUIRE_NATIVE-} ]]; then
    fail "programs missing: $missing"
fi
printf 'gateway-native.sh: %d passed, 0 failed\n' "$passed"
