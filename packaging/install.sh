#!/bin/sh
# Installs from the archive, for systems with neither dpkg nor rpm. DESTDIR=TREE installs into a tree. Starts nothing.
set -e
cd "$(dirname "$0")"
mkdir -p "$DESTDIR/etc/rackconnect-agent/deployed.d"
[ -e "$DESTDIR/etc/rackconnect-agent/config.toml" ] || cp etc/rackconnect-agent/config.toml "$DESTDIR/etc/rackconnect-agent/"
cp -R usr "$DESTDIR/"
[ -z "$DESTDIR" ] && command -v systemctl >/dev/null || exit 0
systemctl preset rackconnect-wait.service rackconnect-deployed.target rackconnect-hooks.service rackconnect-gateway.service
if [ -d /run/systemd/system ]; then systemd-tmpfiles --create rackconnect-agent.conf; fi
