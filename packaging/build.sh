#!/usr/bin/env bash
# Makes all packages from a checkout: .deb, .rpm, .tar.gz, the SBOM, and SHA256SUMS beside them.
#
# Usage: packaging/build.sh [FOLDER]     (default: target/packages)
#
# Two builds from the same commit by the same compiler are equal byte for byte, wherever the checkout is: all times are
# SOURCE_DATE_EPOCH (the commit's), and the compiler is told to forget the paths. Needs cargo, gcc, python3, dpkg-deb, rpmbuild.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
# They would replace what is said below and in .cargo/config.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
out=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/.."
source=$PWD
out=${out:-$source/target/packages}
if [[ -n $(ls -A "$out" 2>/dev/null) && ! -e $out/SHA256SUMS ]]; then
    echo "packaging/build.sh: $out has other things in it than packages: name a folder that is empty or not there" >&2
    exit 1
fi
target=x86_64-unknown-linux-musl
name=rackconnect-agent
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# shellcheck source=packaging/metadata
. packaging/metadata
maintainer="$maintainer <$contact>"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

# Everything that is missing is named at once, before anything is built.
missing=()
for tool in cargo gcc python3 dpkg-deb rpmbuild; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
# Without the target rustc ends in E0463 ("can't find crate for `core`").
libraries=$(rustc --print target-libdir --target "$target" 2>/dev/null || true)
if [[ ! -d $libraries ]]; then
    missing+=("Rust's $target target (rustup target add $target)")
fi
if ((${#missing[@]})); then
    printf 'packaging/build.sh: missing: %s\n' "${missing[@]}" >&2
    exit 1
fi

forget="'--remap-path-prefix=$source=/src','--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo'"
CFLAGS="-ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build --locked --release -p rackconnect-agent --no-default-features --target "$target" --config "target.$target.rustflags=[$forget]"
program=${CARGO_TARGET_DIR:-$source/target}/$target/release/rackconnect

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What a build that fails has made by then is nobody's.
made=$work/made
mkdir "$made"
python3 packaging/contents.py "$target" "$SOURCE_DATE_EPOCH" "$made/$name-$version.cdx.json" "$work/licenses" "$program"

# --- What all of them install.
tree=$work/tree
put() { install -D -m "${3:-0644}" "$1" "$tree/$2"; }
doc=usr/share/doc/$name
put "$program" usr/bin/rackconnect 0755
for unit in systemd/*.service systemd/*.target; do put "$unit" "usr/lib/systemd/system/${unit##*/}"; done
put systemd/80-$name.preset usr/lib/systemd/system-preset/80-$name.preset
put systemd/$name.conf usr/lib/tmpfiles.d/$name.conf
put packaging/config.toml etc/$name/config.toml
install -d "$tree/etc/$name/deployed.d"
"$program" man >"$work/man"
put "$work/man" usr/share/man/man1/rackconnect.1
"$program" completions bash >"$work/bash" && put "$work/bash" usr/share/bash-completion/completions/rackconnect
"$program" completions zsh >"$work/zsh" && put "$work/zsh" usr/share/zsh/site-functions/_rackconnect
"$program" completions fish >"$work/fish" && put "$work/fish" usr/share/fish/vendor_completions.d/rackconnect.fish
put README.md "$doc/README.md"
put SECURITY.md "$doc/SECURITY.md"
for page in docs/*.md; do put "$page" "$doc/docs/${page##*/}"; done
put packaging/MIGRATION.md "$doc/MIGRATION.md"
put CHANGELOG.md "$doc/changelog"
put "$work/licenses" "$doc/third-party-licenses"
for file in packaging/cloud-init/*.yaml; do put "$file" "$doc/examples/cloud-init/${file##*/}"; done
for folder in ansible facter ohai; do
    for file in packaging/$folder/*; do
        if [[ -f $file ]]; then put "$file" "$doc/examples/$folder/${file##*/}"; fi
    done
done
gzip -9n "$tree/usr/share/man/man1/rackconnect.1" "$tree/$doc/changelog" "$tree/$doc/third-party-licenses"
settle() { find "$1" -print0 | xargs -0r touch --no-dereference --date="@$SOURCE_DATE_EPOCH"; }
settle "$tree"

# --- .tar.gz
folder=$name-$version-x86_64
cp -a "$tree" "$work/$folder"
install -m 0644 LICENSE-MIT LICENSE-APACHE "$work/$folder/"
install -m 0755 packaging/install.sh "$work/$folder/"
settle "$work/$folder"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$folder" | gzip -9n >"$made/$folder.tar.gz"

# --- .rpm
cp -a "$tree" "$work/rpm"
install -m 0644 LICENSE-MIT LICENSE-APACHE "$work/rpm/$doc/"
settle "$work/rpm"
day=$(date -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')
printf '* %s %s - %s-1\n- See /%s/changelog.gz.\n' \
    "$day" "$maintainer" "$version" "$doc" >"$work/rpm-changelog"
rpmbuild -bb --quiet --target x86_64 --define "_topdir $work/rpmbuild" --define "_rpmdir $work" \
    --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' --define "tree $work/rpm" \
    --define "maintainer $maintainer" --define "homepage $homepage" \
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
    "$name" "$version" "$maintainer" "$(date -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$deb/$doc/changelog.Debian.gz"
install -m 0755 packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$deb/DEBIAN/"
echo "/etc/$name/config.toml" >"$deb/DEBIAN/conffiles"
(cd "$deb" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$deb/DEBIAN/md5sums"
# As dpkg-gencontrol counts, so that it does not depend on the file system.
size=$(find "$deb" -path "$deb/DEBIAN" -prune -o -printf '%y %s\n' | awk '{ size += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print size }')
sed "s/@DEB_VERSION@/$version-1/; s/@SIZE@/$size/; s|@MAINTAINER@|$maintainer|; s|@HOMEPAGE@|$homepage|" packaging/deb/control >"$deb/DEBIAN/control"
chmod 0644 "$deb"/DEBIAN/{control,conffiles,md5sums}
settle "$deb"
dpkg-deb --root-owner-group -Zxz --build "$deb" "$made/${name}_$version-1_amd64.deb" >/dev/null

(cd "$made" && sha256sum -- * >"$work/SHA256SUMS")
mkdir -p "$out"
rm -f "$out/$name"[-_]*.{deb,rpm,tar.gz,cdx.json}
mv "$work/SHA256SUMS" "$made"/* "$out/"
ls -l "$out"
