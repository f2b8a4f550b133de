#!/bin/sh
# Facter external fact: /etc/puppetlabs/facter/facts.d/rackconnect.sh (or /etc/facter/facts.d), mode 0755. Seen as the
# structured fact "rackconnect", for example rackconnect.status.value. Asks the API; add --no-api to ask nothing of the network.
facts=$(rackconnect -q facts) || exit
printf '{"rackconnect":%s}\n' "$facts"
