#!/usr/bin/env bash
# Builds all packages from a checkout: rackconnect-agent for servers (.deb, .rpm, .tar.gz) and
# rackconnect-cloud for workstations and CI (.tar.gz), whose program also has the cloud commands;
# an SBOM of each, and SHA256SUMS.
#
# Usage: packaging/build.sh [DIRECTORY]     (default: target/packages)
# Needs cargo, gcc, python3, dpkg-deb and rpmbuild.
#
# The build is reproducible: the same commit and compiler give identical packages, wherever the
# checkout is. All timestamps are SOURCE_DATE_EPOCH (by default the time of the commit), and local
# paths are removed from the program.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
# These would override the flags below and those in .cargo/config.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
out=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/.."
source=$PWD
out=${out:-$source/target/packages}
if [[ -n $(ls -A "$out" 2>/dev/null) && ! -e $out/SHA256SUMS ]]; then
    echo "packaging/build.sh: $out contains files other than packages:" \
        "choose an empty or a new directory" >&2
    exit 1
fi
target=x86_64-unknown-linux-musl
name=rackconnect-agent
cloud=rackconnect-cloud
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# shellcheck source=packaging/metadata
. packaging/metadata
maintainer="$maintainer <$contact>"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

# List all missing prerequisites at once, before building anything.
missing=()
for tool in cargo gcc python3 dpkg-deb rpmbuild; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
# Without this target, rustc fails with E0463 ("can't find crate for `core`").
libraries=$(rustc --print target-libdir --target "$target" 2>/dev/null || true)
if [[ ! -d $libraries ]]; then
    missing+=("Rust's $target target (rustup target add $target)")
fi
if ((${#missing[@]})); then
    printf 'packaging/build.sh: missing: %s\n' "${missing[@]}" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Packages are moved to $out only when all of them have been built.
made=$work/made
mkdir "$made"

cargo_home=${CARGO_HOME:-$HOME/.cargo}
remap="'--remap-path-prefix=$source=/src','--remap-path-prefix=$cargo_home=/cargo'"
# Without -O2, the program is 49 KB smaller, but a key exchange takes 11 % more instructions on
# processors without ADX (Intel's before Broadwell, AMD's before Zen), which execute ring's C.
cflags="-O2 -fpeel-loops -ffile-prefix-map=$cargo_home=/cargo"
# build NAME [FEATURE OPTION...]: builds $work/NAME/rackconnect, its SBOM and its licences.
build() {
    local package=$1
    shift
    CFLAGS=$cflags \
        cargo build --release --target x86_64-unknown-linux-musl --locked -p rackconnect-agent \
        --config "target.$target.rustflags=[$remap]" "$@"
    install -D -m 0755 "${CARGO_TARGET_DIR:-$source/target}/$target/release/rackconnect" \
        "$work/$package/rackconnect"
    python3 packaging/contents.py "$target" "$SOURCE_DATE_EPOCH" \
        "$made/$package-$version.cdx.json" "$work/$package/licenses" \
        "$work/$package/rackconnect" "$package" "$@"
}
# Both programs use the same builds of the libraries: the second build compiles little and links.
build "$cloud"
build "$name" --no-default-features
program=$work/$name/rackconnect

# --- The files that all packages install.
tree=$work/tree
# put SOURCE DESTINATION [MODE]
put() { install -D -m "${3:-0644}" "$1" "$tree/$2"; }
# put_output DESTINATION COMMAND...: installs the output of a command.
put_output() {
    local destination=$1
    shift
    "$@" >"$work/output"
    put "$work/output" "$destination"
}
doc=usr/share/doc/$name
put "$program" usr/bin/rackconnect 0755
for unit in systemd/*.service systemd/*.target; do
    put "$unit" "usr/lib/systemd/system/${unit##*/}"
done
put systemd/80-$name.preset usr/lib/systemd/system-preset/80-$name.preset
put systemd/$name.conf usr/lib/tmpfiles.d/$name.conf
put packaging/config.toml etc/$name/config.toml
install -d "$tree/etc/$name/deployed.d"
# put_generated PROGRAM PREFIX: installs the manual page and the completions of a program.
put_generated() {
    put_output "$2/share/man/man1/rackconnect.1" "$1" man
    put_output "$2/share/bash-completion/completions/rackconnect" "$1" completions bash
    put_output "$2/share/zsh/site-functions/_rackconnect" "$1" completions zsh
    put_output "$2/share/fish/vendor_completions.d/rackconnect.fish" "$1" completions fish
    gzip -9n "$tree/$2/share/man/man1/rackconnect.1"
}
put_generated "$program" usr
for page in README.md SECURITY.md CONTRIBUTING.md docs/*.md docs/pictures/*.svg; do
    put "$page" "$doc/$page"
done
put packaging/MIGRATION.md "$doc/MIGRATION.md"
# The only link of the pages to a file whose place in the packages differs from the checkout.
sed -i 's|(\.\./packaging/MIGRATION\.md)|(../MIGRATION.md)|' "$tree/$doc/docs/boot.md"
put CHANGELOG.md "$doc/changelog"
put "$work/$name/licenses" "$doc/third-party-licenses"
for file in packaging/cloud-init/*.yaml; do
    put "$file" "$doc/examples/cloud-init/${file##*/}"
done
for file in packaging/ansible/rackconnect.fact packaging/facter/* packaging/ohai/*; do
    put "$file" "$doc/examples/${file#packaging/}"
done
gzip -9n "$tree/$doc/changelog" "$tree/$doc/third-party-licenses"
set_times() { find "$1" -print0 | xargs -0r touch --no-dereference --date="@$SOURCE_DATE_EPOCH"; }
set_times "$tree"
# pack DIRECTORY: makes an archive of $work/DIRECTORY.
pack() {
    set_times "$work/$1"
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$1" |
        gzip -9n >"$made/$1.tar.gz"
}

# --- .tar.gz
archive=$name-$version-x86_64
cp -a "$tree" "$work/$archive"
install -m 0644 LICENSE-MIT LICENSE-APACHE "$work/$archive/"
install -m 0755 packaging/install.sh "$work/$archive/"
pack "$archive"

# --- .rpm
cp -a "$tree" "$work/rpm"
install -m 0644 LICENSE-MIT LICENSE-APACHE "$work/rpm/$doc/"
set_times "$work/rpm"
day=$(date -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')
printf '* %s %s - %s-1\n- See /%s/changelog.gz.\n' \
    "$day" "$maintainer" "$version" "$doc" >"$work/rpm-changelog"
rpmbuild -bb --quiet --target x86_64 --define "_topdir $work/rpmbuild" --define "_rpmdir $work" \
    --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
    --define "tree $work/rpm" --define "maintainer $maintainer" --define "homepage $homepage" \
    --define "version_ $version" --define "changelog_ $work/rpm-changelog" packaging/rpm/$name.spec
mv "$work/$name-$version-1.x86_64.rpm" "$made/"

# --- .deb
deb=$work/deb
cp -a "$tree" "$deb"
mkdir -p "$deb/usr/share/zsh/vendor-completions" "$deb/DEBIAN" "$deb/usr/share/lintian/overrides"
mv "$deb/usr/share/zsh/site-functions/_rackconnect" "$deb/usr/share/zsh/vendor-completions/"
rmdir "$deb/usr/share/zsh/site-functions"
install -m 0644 packaging/deb/copyright "$deb/$doc/copyright"
install -m 0644 packaging/deb/lintian-overrides "$deb/usr/share/lintian/overrides/$name"
printf '%s (%s-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
    "$name" "$version" "$maintainer" "$(date -R -d "@$SOURCE_DATE_EPOCH")" |
    gzip -9n >"$deb/$doc/changelog.Debian.gz"
install -m 0755 packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$deb/DEBIAN/"
echo "/etc/$name/config.toml" >"$deb/DEBIAN/conffiles"
(cd "$deb" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$deb/DEBIAN/md5sums"
# Computed as dpkg-gencontrol does, so that the result does not depend on the file system.
size=$(find "$deb" -path "$deb/DEBIAN" -prune -o -printf '%y %s\n' |
    awk '{ size += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print size }')
sed -e "s/@DEB_VERSION@/$version-1/; s/@SIZE@/$size/" \
    -e "s|@MAINTAINER@|$maintainer|; s|@HOMEPAGE@|$homepage|" \
    packaging/deb/control >"$deb/DEBIAN/control"
chmod 0644 "$deb"/DEBIAN/{control,conffiles,md5sums}
set_times "$deb"
dpkg-deb --root-owner-group -Zxz --build "$deb" "$made/${name}_$version-1_amd64.deb" >/dev/null

# --- rackconnect-cloud, to be unpacked into /usr/local or ~/.local
archive=$cloud-$version-x86_64
tree=$work/$archive
doc=share/doc/$cloud
put "$work/$cloud/rackconnect" bin/rackconnect 0755
ln -s rackconnect "$tree/bin/rackconnect-inventory"
put_generated "$work/$cloud/rackconnect" .
for file in LICENSE-MIT LICENSE-APACHE SECURITY.md docs/cloud.md docs/ansible.md; do
    put "$file" "$doc/${file##*/}"
done
put CHANGELOG.md "$doc/changelog"
put "$work/$cloud/licenses" "$doc/third-party-licenses"
gzip -9n "$tree/$doc/changelog" "$tree/$doc/third-party-licenses"
mkdir "$tree/share/ansible"
cp -RL packaging/ansible/roles packaging/ansible/site.yml "$tree/share/ansible/"
chmod -R u=rwX,go=rX "$tree/share/ansible"
pack "$archive"

(cd "$made" && sha256sum -- * >"$work/SHA256SUMS")
mkdir -p "$out"
rm -f "$out/$name"[-_]*.{deb,rpm,tar.gz,cdx.json} "$out/$cloud"-*.{tar.gz,cdx.json}
mv "$work/SHA256SUMS" "$made"/* "$out/"
ls -l "$out"
