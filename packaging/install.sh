#!/bin/sh
# Installs from the archive, for systems with neither dpkg nor rpm; once more is an upgrade. DESTDIR=TREE installs into a tree.
# Starts nothing. To remove it: systemctl disable the four units, stop rackconnect-gateway.service, and delete what the archive
# has below usr.
set -e
umask 022
cd "$(dirname "$0")"
units="rackconnect-wait.service rackconnect-deployed.target rackconnect-hooks.service rackconnect-gateway.service"
[ -e "$DESTDIR/usr/bin/rackconnect" ] && units=
mkdir -p "$DESTDIR/etc/rackconnect-agent/deployed.d"
[ -e "$DESTDIR/etc/rackconnect-agent/config.toml" ] || cp etc/rackconnect-agent/config.toml "$DESTDIR/etc/rackconnect-agent/"
# -f: the program may be at work.
cp -Rf usr "$DESTDIR/"
[ -z "$DESTDIR" ] && command -v systemctl >/dev/null || exit 0
[ -z "$units" ] || systemctl preset $units
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemd-tmpfiles --create rackconnect-agent.conf
    systemctl try-restart rackconnect-gateway.service
fi
