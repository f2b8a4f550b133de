#!/bin/sh
# Measures how soon a change in xenstore ends a wait and how many requests are sent before that, and
# checks that a wait ends after a minute on a server that has no RackConnect role in xenstore. Takes
# about two minutes; the figures are meaningful only on an idle machine.
set -eu
cd "$(dirname "$0")/../.."
cargo test --test integration xenstore_wait -- --ignored --nocapture --test-threads 1
