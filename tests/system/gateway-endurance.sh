#!/bin/sh
# Runs `gateway set` and `gateway rollback` RUNS times (default: 100) while it monitors route events
# and looks routes up. Kills `gateway set` RUNS times at every step: the routes must be restored
# within two seconds each time. Kills `gateway set` together with its guard RUNS times: the next
# command must restore the routes. A hundred runs take half a minute.
#
# Usage: tests/system/gateway-endurance.sh [RUNS]
set -eu
cd "$(dirname "$0")/../.."
RACKCONNECT_ENDURANCE="${1:-100}" RACKCONNECT_REQUIRE_NAMESPACES=1 \
    cargo test --test gateway -- endurance:: --nocapture --test-threads 1
