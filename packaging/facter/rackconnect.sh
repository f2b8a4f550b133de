#!/bin/sh
# Facter external fact. Install it as /etc/puppetlabs/facter/facts.d/rackconnect.sh (or in
# /etc/facter/facts.d) with mode 0755. It provides the structured fact "rackconnect", for example
# rackconnect.status.value. It asks the API; add --no-api to send no request.
# It always prints an object and exits 0, even if the program is missing.
facts=$(rackconnect -q facts 2>/dev/null)
code=$?
case $facts in
    {*) printf '{"rackconnect":%s}\n' "$facts" ;;
    *)
        printf '{"rackconnect":{"reason":"%s"}}\n' \
            "rackconnect facts printed no object (exit code $code)"
        ;;
esac
exit 0
