#!/bin/sh
# Facter external fact: /etc/puppetlabs/facter/facts.d/rackconnect.sh (or /etc/facter/facts.d), mode 0755. Seen as the
# structured fact "rackconnect", for example rackconnect.status.value. Asks the API; add --no-api to send it no request.
# It always prints an object and exits 0, also where the program is missing.
facts=$(rackconnect -q facts 2>/dev/null)
code=$?
case $facts in
    {*) printf '{"rackconnect":%s}\n' "$facts" ;;
    *) printf '{"rackconnect":{"reason":"rackconnect facts printed no object (exit code %s)"}}\n' "$code" ;;
esac
exit 0
