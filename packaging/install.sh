#!/bin/sh
# Installs from the archive, for systems with neither dpkg nor rpm; once more is an upgrade. DESTDIR=TREE installs into a tree.
# Starts the small file system alone. To remove it: systemctl disable the five units, stop rackconnect-gateway.service and
# rackconnect-shared.service, and delete what the archive has below usr.
set -e
umask 022
case $DESTDIR in '' | /*) ;; *) DESTDIR=$PWD/$DESTDIR ;; esac
cd "$(dirname "$0")"
# Whoever unpacked it may have a stricter umask.
chmod -R u=rwX,go=rX usr etc
units="rackconnect-shared.service rackconnect-wait.service rackconnect-deployed.target rackconnect-hooks.service rackconnect-gateway.service"
# The program comes last: where it is, the rest was done before, and what is enabled is the administrator's choice.
[ ! -e "$DESTDIR/usr/bin/rackconnect" ] || units=
mkdir -p "$DESTDIR/etc/rackconnect-agent/deployed.d" "$DESTDIR/usr/bin"
[ -e "$DESTDIR/etc/rackconnect-agent/config.toml" ] || cp etc/rackconnect-agent/config.toml "$DESTDIR/etc/rackconnect-agent/"
cp -Rf usr/lib usr/share "$DESTDIR/usr/"
if [ -n "$units" ] && command -v systemctl >/dev/null; then systemctl ${DESTDIR:+--root="$DESTDIR"} preset $units; fi
# -f: it may be at work.
cp -f usr/bin/rackconnect "$DESTDIR/usr/bin/"
[ -z "$DESTDIR" ] && [ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemd-tmpfiles --create rackconnect-agent.conf
systemctl start rackconnect-shared.service || echo "other users share no rate limit" >&2
systemctl --no-block try-restart rackconnect-gateway.service
