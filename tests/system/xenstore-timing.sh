#!/bin/sh
# How soon a change in xenstore ends a wait, how few questions are asked before it, and the minute of silence after which a
# server is said to be none of RackConnect's. About two minutes; the numbers need a machine that is not busy.
set -eu
cd "$(dirname "$0")/../.."
cargo test --test integration xenstore_wait -- --ignored --nocapture --test-threads 1
