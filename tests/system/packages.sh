#!/usr/bin/env bash
# Tests the packages: the build is reproducible, lintian and rpmlint are silent, and the packages
# can be installed, upgraded and removed in directory trees. Checks the units with systemd-analyze
# and the user data with cloud-init's schema. boot.sh tests the packages in a running system.
#
# Usage: packages.sh [--built] [DIRECTORY]
# Builds the packages in DIRECTORY (default: target/packages). With --built they are already there.
set -euo pipefail
cd "$(dirname "$0")/../.."
built=no
if [[ ${1:-} == --built ]]; then built=yes && shift; fi
out=$(realpath -m "${1:-target/packages}")
for tool in lintian rpmlint rpm dpkg-deb readelf systemd-analyze cloud-init; do
    command -v "$tool" >/dev/null || { echo "packages.sh needs $tool" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
pass() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# --- Two builds in different directories give the same bytes.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
if [[ $built == no ]]; then packaging/build.sh "$out"; fi
mkdir "$work/elsewhere"
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - |
    (umask 077; tar -C "$work/elsewhere" --no-same-permissions -xf -)
(
    umask 077
    cd "$work"
    export RUSTFLAGS=-Dwarnings TMPDIR=/dev/shm CARGO_TARGET_DIR=$work/target
    elsewhere/packaging/build.sh second >/dev/null
)
diff -r "$out" "$work/second" || fail "two builds differ"
pass "two builds are identical"
mkdir "$work/other"
touch "$work/other/file"
if packaging/build.sh "$work/other" 2>"$work/refusal" || [[ ! -e $work/other/file ]]; then
    fail "build.sh accepts a directory that contains other files"
fi
grep -q 'contains files other than packages' "$work/refusal" ||
    fail "build.sh refuses a directory for another reason: $(cat "$work/refusal")"
pass "build.sh refuses a directory that contains other files"
(cd "$out" && sha256sum --quiet -c SHA256SUMS)
pass "the checksums are correct"
deb=$(echo "$out"/*.deb) rpm=$(echo "$out"/*.rpm) tar=$(echo "$out"/rackconnect-agent-*.tar.gz)
python3 - "$out"/rackconnect-{agent,cloud}-*.cdx.json <<'PYTHON'
import json, sys
for path in sys.argv[1:]:
    sbom = json.load(open(path))
    names = {component["name"] for component in sbom["components"]}
    assert {"rustls", "ring", "ureq"} <= names, names
    assert not {"proptest", "regex", "simulated-api", "tempfile"} & names, names
    is_cloud = sbom["metadata"]["component"]["name"] == "rackconnect-cloud"
    assert ("regex-lite" in names) == is_cloud, names
PYTHON
pass "the SBOMs list the libraries of each program and no test dependencies"

# --- Lint.
lintian --allow-root --fail-on warning "$deb" || fail lintian
pass lintian
rpmlint -r packaging/rpm/rpmlintrc "$rpm" >"$work/rpmlint" 2>&1 ||
    { cat "$work/rpmlint"; fail rpmlint; }
pass rpmlint
[[ $(rpm -qp --qf '%{PAYLOADCOMPRESSOR}' "$rpm" 2>/dev/null) == gzip ]] ||
    fail "the payload of the .rpm is not gzip, which CentOS 7 needs"
pass "the payload of the .rpm is gzip"

# --- Install the .tar.gz and the .rpm into directory trees.
(umask 077; tar -C "$work" --no-same-permissions -xf "$tar")
for round in first second; do
    (umask 077; cd "$work"; export DESTDIR=tree; rackconnect-agent-*/install.sh)
    wrong=$(find "$work/tree" ! -type l ! -perm -0444 -o -type d ! -perm -0555)
    [[ -z $wrong ]] || fail "other users cannot read: $wrong"
    "$work/tree/usr/bin/rackconnect" --version >/dev/null
    [[ $round == second ]] || echo '# mine' >>"$work/tree/etc/rackconnect-agent/config.toml"
    wants=$work/tree/etc/systemd/system/multi-user.target.wants
    if [[ $round == first ]]; then rm "$wants/rackconnect-wait.service"; fi
    [[ ! -e $wants/rackconnect-wait.service && -L $wants/rackconnect-deployed.target ]] ||
        fail "install.sh, $round run: wrong units are enabled"
done
grep -q '# mine' "$work/tree/etc/rackconnect-agent/config.toml" ||
    fail "install.sh overwrites the configuration"
pass "install.sh installs and upgrades, and keeps the configuration"
root=$work/rpmroot
mkdir -p "$root"
rpm --root "$root" --initdb
rpm --root "$root" -i --nodeps --noscripts "$rpm"
echo '# mine' >>"$root/etc/rackconnect-agent/config.toml"
rpm --root "$root" -U --force --nodeps --noscripts "$rpm"
grep -q '# mine' "$root/etc/rackconnect-agent/config.toml" ||
    fail "upgrading the .rpm overwrites the configuration"
echo '# mine' >"$root/etc/rackconnect-agent/deployed.d/10-mine"
rpm --root "$root" -e --noscripts rackconnect-agent
[[ ! -e $root/usr/bin/rackconnect && -e $root/etc/rackconnect-agent/deployed.d/10-mine ]] ||
    fail "removing the .rpm leaves the program or deletes a user's file"
pass "the .rpm can be installed, upgraded and removed, and keeps the user's files"

# --- A purge failed while another user kept the shared file open.
cat >"$work/purge.sh" <<'SH'
set -e
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
shared=/run/rackconnect-agent/shared
mkdir -p $shared
mount -t tmpfs -o size=64k none $shared
: >$shared/budget
setpriv --reuid 65534 --clear-groups sleep 60 <$shared/budget &
! umount $shared 2>/dev/null || exit 2
sh packaging/deb/postrm purge
kill $!
[ ! -e /run/rackconnect-agent ]
SH
unshare --mount sh "$work/purge.sh" || fail "a purge while the shared file is open"
pass "a purge removes the shared file although another user has it open"

# --- Unpack rackconnect-cloud into a home directory.
local=$work/local
mkdir "$local"
(
    umask 077
    tar -C "$local" --no-same-permissions --strip-components=1 -xf "$out"/rackconnect-cloud-*.tar.gz
)
"$local/bin/rackconnect" cloud --help >/dev/null
said=$(HOME=$work "$local/bin/rackconnect-inventory" --list 2>&1 || true)
[[ $said == *'no credentials'* ]] || fail "rackconnect-inventory of the archive: $said"
if readelf -l "$local/bin/rackconnect" | grep -q INTERP; then
    fail "the program of rackconnect-cloud is not static"
fi
gzip -dc "$local/share/man/man1/rackconnect.1.gz" >"$work/man"
completions=(bash-completion/completions/rackconnect zsh/site-functions/_rackconnect)
for file in "$work/man" "${completions[@]/#/$local/share/}"; do
    grep -q 'cloud servers' "$file" || fail "$file does not describe the cloud commands"
done
grep -q servers "$local/share/fish/vendor_completions.d/rackconnect.fish" ||
    fail "the fish completions do not have the cloud commands"
[[ -f $local/share/ansible/roles/rackconnect/files/rackconnect.fact ]] ||
    fail "rackconnect-cloud does not have the Ansible role"
[[ -z $(find "$local/share" -type l) ]] || fail "rackconnect-cloud has links that lead out of it"
pass "rackconnect-cloud can be unpacked, and has the inventory, manual, completions and role"

# --- The units, and their copies in the documentation.
grep '^[df] ' systemd/rackconnect-agent.conf | sed 's/  */ /g' >"$work/tmpfiles"
sed 's/  */ /g' docs/rate-limit.md | grep -Fx -f "$work/tmpfiles" | diff - "$work/tmpfiles" ||
    fail "docs/rate-limit.md does not show the tmpfiles.d file of the packages"
pass "docs/rate-limit.md shows the tmpfiles.d file of the packages"
dpkg-deb -x "$deb" "$work/verify"
while IFS=: read -r page link; do
    link=${link#'('} link=${link%%[#)]*}
    [[ -z $link || -e ${page%/*}/$link ]] || fail "$page: no file for the link $link"
done < <(grep -roP --include='*.md' '\]\K\((?!https?:)[^)]*\)' \
    "$work/verify/usr/share/doc/rackconnect-agent")
pass "the links of the installed pages lead to files"
cp -a /usr/lib/systemd/system/. "$work/system" 2>/dev/null ||
    cp -a /lib/systemd/system/. "$work/system"
cp -an "$work/system/." "$work/verify/usr/lib/systemd/system/"
mkdir -p "$work/verify/bin"
cp /bin/true "$work/verify/bin/mount"
cp /bin/true "$work/verify/bin/mkdir"
cp /bin/true "$work/verify/bin/umount"
verify() {
    systemd-analyze verify --man=no --root="$work/verify" "$1" 2>&1 | grep rackconnect || true
}
for unit in rackconnect-{shared,wait,hooks,gateway}.service rackconnect-deployed.target; do
    warnings=$(verify "$unit")
    [[ -z $warnings ]] || fail "systemd-analyze verify $unit: $warnings"
done
printf '[Service]\nExecStart=/usr/bin/rackconnect\nNoSuchKey=1\n' \
    >"$work/verify/usr/lib/systemd/system/rackconnect-wrong.service"
[[ -n $(verify rackconnect-wrong.service) ]] ||
    fail "systemd-analyze verify does not report an unknown key"
pass "systemd-analyze verify is silent"
for unit in wait:19 gateway:22; do
    systemd-analyze security --offline=true --threshold="${unit#*:}" \
        "systemd/rackconnect-${unit%:*}.service" >"$work/security" ||
        { tail -1 "$work/security"; fail "systemd-analyze security ${unit%:*}"; }
    pass "$(tail -1 "$work/security")"
done

# --- The user data.
for file in packaging/cloud-init/*.yaml; do
    cloud-init schema --config-file "$file" >"$work/schema" 2>&1 ||
        { cat "$work/schema"; fail "$file"; }
done
pass "the user data files are valid"
printf 'packages.sh: %d passed, 0 failed\n' "$passed"
