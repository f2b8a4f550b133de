#!/bin/sh
# The Ansible local fact, the Facter external fact and the Ohai plugin of packaging/, each called by its own program
# (Debian's, installed where it is missing), against the simulated xenstore.
set -eu
cd "$(dirname "$0")/../.."
for tool in facter ohai ansible-core; do
    dpkg -s $tool >/dev/null 2>&1 || apt-get install -y --no-install-recommends $tool >/dev/null ||
        { echo "NOT RUN: no $tool here" >&2; exit 1; }
done
cargo build --quiet -p simulated-xenstore -p rackconnect-agent
target=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)
folder=$(mktemp -d)
store=
trap 'kill $store 2>/dev/null || true; rm -rf "$folder"' EXIT
export XENSTORED_PATH="$folder/xs" PATH="$target:$PATH"
"$target/simulated-xenstore" --path "$XENSTORED_PATH" --set vm-data/provider_data/provider=Rackspace \
    --set 'vm-data/provider_data/roles=["rackconnect:v3-DFW"]' --set vm-data/provider_data/region=DFW >"$folder/out" &
store=$!
while ! grep -q XENSTORED_PATH "$folder/out"; do kill -0 $store; sleep 0.05; done

# has NAME TEXT: the region and the version are in it (with a v3 server nothing is asked of the network).
has() {
    echo "$2" | tr -d ' \n' | grep -Eq '"rackconnect_version":\{("source":"xenstore",)?"value":"v3"' ||
        { echo "FAIL: $1: $2" >&2; exit 1; }
    echo "ok: $1"
}

mkdir "$folder/ansible"
cp packaging/ansible/rackconnect.fact "$folder/ansible/"
has Ansible "$(ansible localhost -c local -m setup -a "fact_path=$folder/ansible filter=ansible_local" 2>/dev/null)"
mkdir "$folder/facter"
cp packaging/facter/rackconnect.sh "$folder/facter/"
has Facter "$(facter --json --external-dir "$folder/facter" rackconnect)"
mkdir "$folder/ohai"
cp packaging/ohai/rackconnect.rb "$folder/ohai/"
has Ohai "$(ohai -d "$folder/ohai" rackconnect)"
