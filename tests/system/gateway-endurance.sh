#!/bin/sh
# A hundred runs of gateway set and rollback beside a monitor of route events and a loop of look-ups, and a hundred SIGKILLs
# at all steps of gateway set, after each of which the routing must be whole within two seconds; and a hundred of it and of its
# guard, after which the next command heals. Half a minute.
# Usage: tests/system/gateway-endurance.sh [RUNS]
set -eu
cd "$(dirname "$0")/../.."
RACKCONNECT_ENDURANCE="${1:-100}" RACKCONNECT_REQUIRE_NAMESPACES=1 \
    cargo test --test gateway -- endurance:: --nocapture --test-threads 1
