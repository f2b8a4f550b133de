#!/usr/bin/env bash
# Runs the Ansible role and the inventory with ansible-core: the linters, the inventory against the
# simulated cloud, and the role on this machine, in an overlay that is gone afterwards.
#
# Usage: ansible.sh --fetch
#        ansible.sh PACKAGES INVENTORY SIMULATED-API SIMULATED-CLOUD
# --fetch installs ansible-core and the linters into target/ansible. PACKAGES is a directory made by
# packaging/build.sh, INVENTORY the program by the name rackconnect-inventory. Needs root, dnf and
# rpmbuild.
set -euo pipefail
cd "$(dirname "$0")/../.."
source=$PWD
tools=$source/target/ansible
wanted=(ansible-core==2.19.14 ansible-lint==26.10.1 yamllint==1.38.0)
if [[ $(cat "$tools/wanted" 2>/dev/null) != "${wanted[*]}" ]]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" --quiet --disable-pip-version-check install "${wanted[@]}"
    echo "${wanted[*]}" >"$tools/wanted"
fi
if [[ ${1:-} == --fetch ]]; then exit; fi
packages=$(realpath "$1") inventory=$(realpath -s "$2")
api=$(realpath "$3") cloud=$(realpath "$4")

work=$(mktemp -d)
pids=()
tidy() {
    kill "${pids[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap tidy EXIT
passed=0
pass() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
# start FILE COMMAND...: runs a simulator in the background until it has written a line to FILE.
start() {
    local file=$1
    shift
    "$@" >"$file" 2>"$file.log" &
    pids+=($!)
    until [[ -s $file ]]; do sleep 0.05; done
}
export PATH=$tools/bin:$PATH HOME=$work LC_ALL=C.UTF-8
export ANSIBLE_HOME=$work/ansible ANSIBLE_NOCOLOR=1 ANSIBLE_LOCALHOST_WARNING=False
export ANSIBLE_ROLES_PATH=$source/packaging/ansible/roles

# --- Lint.
(cd packaging/ansible && yamllint --strict . && ansible-lint --offline -q --nocolor) ||
    fail "the linters"
pass "yamllint, and ansible-lint with the profile production"

# --- The inventory, and the commands of docs/ansible.md.
start "$work/identity" "$cloud"
RAX_IDENTITY_URL=$(cat "$work/identity")
export RAX_IDENTITY_URL RAX_USERNAME=jsmith RAX_API_KEY=k3y-of-jsmith
ansible-inventory -i "$inventory" --list >"$work/list"
python3 - "$work/list" <<'PYTHON' || fail "ansible-inventory --list: $(cat "$work/list")"
import json, sys
inventory = json.load(open(sys.argv[1]))
assert inventory["region_dfw"]["hosts"] == ["web1", "web2"], inventory
assert "web1" in inventory["rackconnect_deployed"]["hosts"], inventory
variables = inventory["_meta"]["hostvars"]
assert len(variables) == 6 and variables["web1"]["ansible_host"] == "203.0.113.2", variables
assert variables["web1"]["rackconnect"]["status"] == "DEPLOYED", variables
PYTHON
pass "ansible-inventory --list shows the servers of the account"
mkdir "$work/bin"
ln -s "$inventory" "$work/bin/rackconnect-inventory"
sed -n '/^ansible/p' docs/ansible.md >"$work/commands"
[[ $(wc -l <"$work/commands") == 2 ]] || fail "commands in docs/ansible.md: $(cat "$work/commands")"
PATH=$work/bin:$PATH bash -e "$work/commands" >"$work/shown" ||
    fail "the commands of docs/ansible.md"
for text in '--@region_dfw:' 'hosts (1)' db1; do
    grep -q -F -- "$text" "$work/shown" || fail "no $text in what they show: $(cat "$work/shown")"
done
pass "the commands of docs/ansible.md run"

# --- Metadata that is a template does nothing.
rackconnect=$(dirname "$inventory")/rackconnect
web1=$("$rackconnect" cloud facts web1 | grep -o '"id":"[^"]*"' | cut -d '"' -f 4)
template="{{ lookup('pipe', 'touch $work/executed') }}"
"$rackconnect" cloud api PUT servers "/servers/$web1/metadata/note" --region dfw \
    --data "{\"meta\": {\"note\": \"$template\"}}" >/dev/null
ansible -i "$inventory" web1 -c local -m debug -a 'msg={{ rackconnect.metadata.note }}' \
    >"$work/shown" 2>&1 || fail "the metadata of a server: $(cat "$work/shown")"
if [[ -e $work/executed ]] || ! grep -q -F "$template" "$work/shown"; then
    fail "a template in the metadata of a server was run: $(cat "$work/shown")"
fi
pass "a template in the metadata of a server is not run"

# --- Two APIs: one server is DEPLOYED at the second request, the deployment of the other FAILED.
cat >"$work/deployed.toml" <<'TOML'
[[step]]
status = "DEPLOYING"
requests = 1
[[step]]
status = "DEPLOYED"
gateway = "10.182.127.198"
TOML
cat >"$work/failed.toml" <<'TOML'
[[step]]
status = "FAILED"
TOML
for name in deployed failed; do
    start "$work/$name" "$api" --script "$work/$name.toml" --ca-out "$work/$name.pem"
done
endpoint() { sed 's/^listening on //' "$work/$1"; }

# --- The play of docs/ansible.md, with this package and the first API.
cp "$packages"/rackconnect-agent_*_amd64.deb "$packages"/rackconnect-agent-*.tar.gz "$work/"
deb=$(basename "$work"/*.deb) archive=$(basename "$work"/*.tar.gz)
cat >"$work/hosts" <<'INI'
server ansible_connection=local ansible_python_interpreter=/usr/bin/python3
INI
python3 - "$deb" "$(endpoint deployed)" "$work/deployed.pem" >"$work/page.yml" <<'PYTHON'
import re, sys
deb, endpoint, ca_file = sys.argv[1:]
page = open("docs/ansible.md").read()
[play] = re.findall(r"<!-- run by tests/system/ansible.sh -->\n```yaml\n(.*?)```", page, re.S)
play, packages = re.subn(r"rackconnect-agent_\S*\.deb", deb, play)
more = f"\\1region: dfw\n\\1endpoint: {endpoint}\n\\1ca_file: {ca_file}\n\\1wait_interval: 3s\n"
play, regions = re.subn(r"( +)region: dfw\n", more, play)
assert (packages, regions) == (1, 1), play
print(play)
PYTHON

# --- What else the role does.
cat >"$work/more.yml" <<YAML
- hosts: all
  gather_facts: false
  tasks:
    - name: FAILED fails the play, with the exit code
      block:
        - ansible.builtin.include_role: {name: rackconnect, tasks_from: install}
          vars:
            rackconnect_settings:
              endpoint: "$(endpoint failed)"
              ca_file: "$work/failed.pem"
              wait_interval: 3s
        - ansible.builtin.include_role: {name: rackconnect, tasks_from: wait}
        - ansible.builtin.meta: end_play
      rescue:
        - ansible.builtin.assert:
            that: [rackconnect_wait.rc == 4, rackconnect_wait.stdout == 'FAILED']
    - ansible.builtin.include_role: {name: rackconnect, tasks_from: wait}
      vars: {rackconnect_wait_ok_if: [failed, unprocessable]}
    - ansible.builtin.assert: {that: [rackconnect_status == 'FAILED']}
    - name: Settings that the program refuses replace nothing
      block:
        - ansible.builtin.include_role: {name: rackconnect, tasks_from: install}
          vars: {rackconnect_settings: {wait_interval: 1s}}
        - ansible.builtin.meta: end_play
      rescue:
        - ansible.builtin.command: grep 'wait_interval = "3s"' /etc/rackconnect-agent/config.toml
    - ansible.builtin.apt: {name: rackconnect-agent, state: absent, purge: true}
    - ansible.builtin.include_role: {name: rackconnect, tasks_from: install}
      vars: {rackconnect_package: "$archive"}
    - ansible.builtin.command: rackconnect --version
    - ansible.builtin.debug: {msg: the end of the play}
YAML

# in_an_overlay SCRIPT: runs a shell script as root, with nothing of this environment. This machine's
# files are below an overlay, so what the script changes is gone afterwards, and so are its processes.
mkdir "$work/overlay"
in_an_overlay() {
    unshare --mount --propagation private --pid --fork --kill-child bash -ec '
        overlay=$1 work=$2 source=$3 script=$4 root=$1/root
        mount -t tmpfs tmpfs "$overlay"
        mkdir "$overlay"/{upper,work,root}
        mount -t overlay overlay \
            -o "lowerdir=/,upperdir=$overlay/upper,workdir=$overlay/work" "$root"
        mount -t proc proc "$root/proc"
        for directory in /sys /dev "$work" "$source"; do
            mkdir -p "$root$directory"
            mount --rbind "$directory" "$root$directory"
        done
        # HOME is what passwd(5) says, since asynchronous tasks with become use that.
        exec env -i HOME=/root PATH="$PATH" LC_ALL="$LC_ALL" ANSIBLE_NOCOLOR=1 ANSIBLE_PIPELINING=1 \
            ANSIBLE_ROLES_PATH="$ANSIBLE_ROLES_PATH" \
            chroot "$root" bash -ec "$script"
    ' bash "$work/overlay" "$work" "$source" "$1"
}
in_an_overlay "cd $work"'
    play() { ansible-playbook -i hosts -e rackconnect_wait_timeout=2m "$@"; }
    play page.yml
    echo "== again"
    play page.yml
    echo "== more"
    play more.yml
' >"$work/played" 2>&1 || { cat "$work/played"; fail "the plays"; }
sed '/^== again/,$d' "$work/played" >"$work/first"
sed -n '/^== again/,/^== more/p' "$work/played" >"$work/again"
grep -q '"msg": "DEPLOYED, gateway 10.182.127.198"' "$work/first" ||
    { cat "$work/first"; fail "the play of docs/ansible.md shows something else"; }
pass "the play of docs/ansible.md installs the .deb, waits and gathers facts"
grep -q 'changed=0 ' "$work/again" ||
    { cat "$work/again"; fail "the second run changes something"; }
pass "a second run changes nothing"
grep -q 'the end of the play' "$work/played" || { cat "$work/played"; fail "the other tasks"; }
pass "FAILED fails the play unless it is allowed, wrong settings are refused, the .tar.gz installs"

# --- The .rpm. With the names of Rocky Linux, Ansible takes this system for one of Red Hat's, and
# uses dnf; Debian's dnf and rpm are the same programs. Another package is what provides /bin/sh.
cp "$packages"/rackconnect-agent-*.rpm "$work/"
cat >"$work/base.spec" <<'SPEC'
Name: base
Version: 1
Release: 1
Summary: What the packages of a system provide
License: MIT
BuildArch: noarch
Provides: /bin/sh
%description
%files
SPEC
rpmbuild --quiet -bb --define "_rpmdir $work" --define '_rpmfilename base.rpm' "$work/base.spec"
cat >"$work/rpm.yml" <<YAML
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: rackconnect, tasks_from: install}
      vars:
        rackconnect_package: "$(basename "$work"/rackconnect-agent-*.rpm)"
        rackconnect_settings: {region: dfw}
YAML
in_an_overlay "cd $work"'
    printf "ID=rocky\nNAME=\"Rocky Linux\"\nVERSION_ID=9.4\nID_LIKE=\"rhel fedora\"\n" >/etc/os-release
    echo "Rocky Linux release 9.4 (Blue Onyx)" >/etc/redhat-release
    rm -f /etc/debian_version
    rpm -i --force-debian base.rpm
    ansible-playbook -i hosts rpm.yml
    rpm -q rackconnect-agent
    rackconnect --version
    grep dfw /etc/rackconnect-agent/config.toml
    echo "== again"
    ansible-playbook -i hosts rpm.yml
' >"$work/played" 2>&1 || { cat "$work/played"; fail "the .rpm"; }
sed '1,/^== again/d' "$work/played" | grep -q 'changed=0 ' ||
    { cat "$work/played"; fail "the second installation of the .rpm changes something"; }
pass "the .rpm is installed by dnf, and a second run changes nothing"
printf 'ansible.sh: %d passed, 0 failed\n' "$passed"
