#!/usr/bin/env bash
# The packages: made twice and equal, clean under lintian and rpmlint, installed, upgraded and removed in trees; the units
# under systemd-analyze; the user-data under cloud-init's schema. What they do in a running system is in boot.sh.
#
# Usage: packages.sh [--built] [FOLDER]     where packaging/build.sh puts them (default: target/packages), or has put them
set -euo pipefail
cd "$(dirname "$0")/../.."
built=no
if [[ ${1:-} == --built ]]; then built=yes && shift; fi
out=$(realpath -m "${1:-target/packages}")
for tool in lintian rpmlint rpm dpkg-deb systemd-analyze cloud-init; do
    command -v "$tool" >/dev/null || { echo "packages.sh needs $tool" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
pass() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# --- Two builds, in two places, byte for byte.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
if [[ $built == no ]]; then packaging/build.sh "$out"; fi
mkdir "$work/elsewhere"
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - |
    (umask 077; tar -C "$work/elsewhere" --no-same-permissions -xf -)
(umask 077; cd "$work"; RUSTFLAGS=-Dwarnings TMPDIR=/dev/shm CARGO_TARGET_DIR=$work/target elsewhere/packaging/build.sh second >/dev/null)
diff -r "$out" "$work/second" || fail "two builds differ"
pass "two builds are equal byte for byte"
mkdir "$work/mine"
touch "$work/mine/precious"
if packaging/build.sh "$work/mine" 2>"$work/refusal" || [[ ! -e $work/mine/precious ]]; then fail "a folder with other things in it"; fi
grep -q 'has other things in it than packages' "$work/refusal" || fail "a folder with other things in it: $(cat "$work/refusal")"
pass "a folder with other things in it is refused"
(cd "$out" && sha256sum --quiet -c SHA256SUMS)
pass "the sums are right"
deb=$(echo "$out"/*.deb) rpm=$(echo "$out"/*.rpm) tar=$(echo "$out"/*.tar.gz)
python3 -c 'import json,sys; bom=json.load(open(sys.argv[1])); names=[c["name"] for c in bom["components"]]
assert {"rustls","ring","ureq"} <= set(names) and not {"proptest","simulated-api","tempfile"} & set(names), names' "$out"/*.cdx.json
pass "the SBOM names what is in the program, and not what tests it"

# --- The linters.
lintian --allow-root --fail-on warning "$deb" || fail lintian
pass lintian
rpmlint -r packaging/rpm/rpmlintrc "$rpm" >"$work/rpmlint" 2>&1 || { cat "$work/rpmlint"; fail rpmlint; }
pass rpmlint
[[ $(rpm -qp --qf '%{PAYLOADCOMPRESSOR}' "$rpm" 2>/dev/null) == gzip ]] || fail "CentOS 7 wants gzip"
pass "the payload of the .rpm is gzip"

# --- The .tar.gz and the .rpm into trees.
(umask 077; tar -C "$work" --no-same-permissions -xf "$tar")
for round in first second; do
    (umask 077; cd "$work"; DESTDIR=tree rackconnect-agent-*/install.sh)
    wrong=$(find "$work/tree" ! -type l ! -perm -0444 -o -type d ! -perm -0555)
    [[ -z $wrong ]] || fail "not for others to read: $wrong"
    "$work/tree/usr/bin/rackconnect" --version >/dev/null
    [[ $round == second ]] || echo '# mine' >>"$work/tree/etc/rackconnect-agent/config.toml"
    wants=$work/tree/etc/systemd/system/multi-user.target.wants
    if [[ $round == first ]]; then rm "$wants/rackconnect-wait.service"; fi
    [[ ! -e $wants/rackconnect-wait.service && -L $wants/rackconnect-deployed.target ]] || fail "what the archive's script enables"
done
grep -q '# mine' "$work/tree/etc/rackconnect-agent/config.toml" || fail "the archive's script overwrites the configuration"
pass "the archive's script installs, twice, and keeps the configuration"
root=$work/rpmroot
mkdir -p "$root"
rpm --root "$root" --initdb
rpm --root "$root" -i --nodeps --noscripts "$rpm"
echo '# mine' >>"$root/etc/rackconnect-agent/config.toml"
rpm --root "$root" -U --force --nodeps --noscripts "$rpm"
grep -q '# mine' "$root/etc/rackconnect-agent/config.toml" || fail "an upgrade overwrites the configuration"
echo '# mine' >"$root/etc/rackconnect-agent/deployed.d/10-mine"
rpm --root "$root" -e --noscripts rackconnect-agent
[[ ! -e $root/usr/bin/rackconnect && -e $root/etc/rackconnect-agent/deployed.d/10-mine ]] || fail "removal of the .rpm"
pass "the .rpm is installed, upgraded and removed, and keeps what is the user's"

# --- The units, and what the documents say of them.
grep '^[df] ' systemd/rackconnect-agent.conf | sed 's/  */ /g' >"$work/tmpfiles"
sed 's/  */ /g' docs/rate-limit.md | grep -Fx -f "$work/tmpfiles" | diff - "$work/tmpfiles" || fail "docs/rate-limit.md shows another tmpfiles.d"
pass "docs/rate-limit.md shows the tmpfiles.d that is shipped"
dpkg-deb -x "$deb" "$work/verify"
cp -a /usr/lib/systemd/system/. "$work/system" 2>/dev/null || cp -a /lib/systemd/system/. "$work/system"
cp -an "$work/system/." "$work/verify/usr/lib/systemd/system/"
mkdir -p "$work/verify/bin"
cp /bin/true "$work/verify/bin/mount"
cp /bin/true "$work/verify/bin/mkdir"
cp /bin/true "$work/verify/bin/umount"
verify() { systemd-analyze verify --man=no --root="$work/verify" "$1" 2>&1 | grep rackconnect || true; }
for unit in rackconnect-shared.service rackconnect-wait.service rackconnect-hooks.service rackconnect-gateway.service rackconnect-deployed.target; do
    said=$(verify "$unit")
    [[ -z $said ]] || fail "systemd-analyze verify $unit: $said"
done
printf '[Service]\nExecStart=/usr/bin/rackconnect\nNoSuchKey=1\n' >"$work/verify/usr/lib/systemd/system/rackconnect-wrong.service"
[[ -n $(verify rackconnect-wrong.service) ]] || fail "systemd-analyze verify finds nothing anywhere"
pass "systemd-analyze verify is silent"
for unit in wait:19 gateway:22; do
    systemd-analyze security --offline=true --threshold="${unit#*:}" "systemd/rackconnect-${unit%:*}.service" >"$work/security" ||
        { tail -1 "$work/security"; fail "systemd-analyze security ${unit%:*}"; }
    printf 'ok: %s\n' "$(tail -1 "$work/security")"
    passed=$((passed + 1))
done

# --- The user-data.
for file in packaging/cloud-init/*.yaml; do
    cloud-init schema --config-file "$file" >"$work/schema" 2>&1 || { cat "$work/schema"; fail "$file"; }
done
pass "every user-data is valid"
printf 'packages.sh: %d passed, 0 failed\n' "$passed"
