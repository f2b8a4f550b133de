#!/bin/sh
# Runs the Ansible local fact, the Facter external fact and the Ohai plugin of packaging/ with
# Ansible, Facter and Ohai themselves, against the simulated xenstore. Installs Debian's packages of
# these programs if they are missing.
set -eu
cd "$(dirname "$0")/../.."
for tool in facter ohai ansible-core; do
    dpkg -s $tool >/dev/null 2>&1 || apt-get install -y --no-install-recommends $tool >/dev/null ||
        { echo "NOT RUN: no $tool here" >&2; exit 1; }
done
# All of the workspace, as `cargo test` builds it: a part of it has other features, and would be
# compiled once more.
cargo build --quiet --examples --bins
target=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)
directory=$(mktemp -d)
store=
trap 'kill $store 2>/dev/null || true; rm -rf "$directory"' EXIT
export XENSTORED_PATH="$directory/xs" PATH="$target:$PATH"
# RackConnect v3, so that no request is sent.
"$target/simulated-xenstore" --path "$XENSTORED_PATH" \
    --set vm-data/provider_data/provider=Rackspace \
    --set 'vm-data/provider_data/roles=["rackconnect:v3-DFW"]' \
    --set vm-data/provider_data/region=DFW >"$directory/out" &
store=$!
while ! grep -q XENSTORED_PATH "$directory/out"; do kill -0 $store; sleep 0.05; done

# check_version NAME FACTS: the facts contain the RackConnect version from xenstore.
check_version() {
    expected='"rackconnect_version":\{("source":"xenstore",)?"value":"v3"'
    echo "$2" | tr -d ' \n' | grep -Eq "$expected" || { echo "FAIL: $1: $2" >&2; exit 1; }
    echo "ok: $1"
}

mkdir "$directory/ansible"
cp packaging/ansible/rackconnect.fact "$directory/ansible/"
ansible_arguments="fact_path=$directory/ansible filter=ansible_local"
check_version Ansible \
    "$(ansible localhost -c local -m setup -a "$ansible_arguments" 2>/dev/null)"
mkdir "$directory/facter"
cp packaging/facter/rackconnect.sh "$directory/facter/"
check_version Facter "$(facter --json --external-dir "$directory/facter" rackconnect)"
mkdir "$directory/ohai"
cp packaging/ohai/rackconnect.rb "$directory/ohai/"
check_version Ohai "$(ohai -d "$directory/ohai" rackconnect)"
