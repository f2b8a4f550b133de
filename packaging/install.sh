#!/bin/sh
# Installs or upgrades rackconnect-agent from the archive, on systems without dpkg and rpm.
# DESTDIR=TREE installs into a directory tree. The script starts rackconnect-shared.service and no
# other unit; on an upgrade it also restarts rackconnect-gateway.service if that is running.
#
# To uninstall: disable the five units below with systemctl, stop rackconnect-gateway.service and
# rackconnect-shared.service, and delete the files that the archive has under usr.
set -e
umask 022
case $DESTDIR in '' | /*) ;; *) DESTDIR=$PWD/$DESTDIR ;; esac
cd "$(dirname "$0")"
# The archive may have been unpacked under a stricter umask.
chmod -R u=rwX,go=rX usr etc
units="rackconnect-shared.service rackconnect-wait.service rackconnect-deployed.target"
units="$units rackconnect-hooks.service rackconnect-gateway.service"
# The program is installed last. If it exists, this is an upgrade: leave the administrator's choice
# of enabled units alone.
[ ! -e "$DESTDIR/usr/bin/rackconnect" ] || units=
config=$DESTDIR/etc/rackconnect-agent
mkdir -p "$config/deployed.d" "$DESTDIR/usr/bin"
[ -e "$config/config.toml" ] || cp etc/rackconnect-agent/config.toml "$config/"
cp -Rf usr/lib usr/share "$DESTDIR/usr/"
if [ -n "$units" ] && command -v systemctl >/dev/null; then
    systemctl ${DESTDIR:+--root="$DESTDIR"} preset $units
fi
# -f replaces the program even while it is running.
cp -f usr/bin/rackconnect "$DESTDIR/usr/bin/"
[ -z "$DESTDIR" ] && [ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemd-tmpfiles --create rackconnect-agent.conf
systemctl start rackconnect-shared.service ||
    echo "rackconnect-shared.service failed: only root's processes share the rate limit" >&2
systemctl --no-block try-restart rackconnect-gateway.service
