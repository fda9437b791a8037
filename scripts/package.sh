#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes packages of programs that are built: a tarball that runs from any folder, two Debian
# packages, a bill of materials, and checksums.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/messages.sh

bin="" out=dist compression=6
while [ $# -gt 0 ]; do
    case "$1" in
        --bin) bin="${2:?--bin takes a folder}"; shift 2 ;;
        --out) out="${2:?--out takes a folder}"; shift 2 ;;
        --fast) compression=1; shift ;;
        -h | --help)
            cat <<'USAGE'
usage: scripts/package.sh [--bin DIR] [--out DIR] [--fast]

Packages pol-node and pol-trainer, which must be built, with libtorch and the libraries that it
needs. The result runs on x86-64 Linux with glibc of the version that it prints, or a later one,
without a compiler or a network. scripts/package-check.sh tries it on a bare system.

  --bin DIR   folder of the programs (those of the profile `production` if there are any, otherwise
              those of `release`)
  --out DIR   folder for the packages (dist)
  --fast      compress little, for trials
USAGE
            exit 0 ;;
        *) misuse "unknown option '$1'" ;;
    esac
done

. scripts/env.sh
for tool in patchelf dpkg-deb strip; do
    command -v "$tool" >/dev/null || fail "$tool is missing; install it with: apt-get install patchelf dpkg binutils"
done
if [ -z "$bin" ]; then
    bin="$CARGO_TARGET_DIR/production"
    [ -x "$bin/pol-trainer" ] || bin="$POL_BIN"
fi
for program in pol-node pol-trainer; do
    [ -x "$bin/$program" ] || fail "$bin/$program is missing; build it, as docs/release.md says"
done

version="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
name="pol-$version-x86_64-linux"
# The time of the commit, so that the same programs make the same packages.
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH
mkdir -p "$out"
out="$(cd "$out" && pwd)"
work="$(mktemp -d "$out/.package.XXXXXX")"
trap 'rm -rf "$work"' EXIT
tree="$work/$name"

# --- programs and their libraries
say "collecting the programs of $bin and their libraries"
mkdir -p "$tree"/{bin,lib,share/doc/pol,share/pol/chain-specs,share/man/man1}
install -m 755 "$bin/pol-node" "$bin/pol-trainer" "$tree/bin/"
# Everything but the C library, which belongs to the system.
system='linux-vdso|ld-linux-x86-64|lib(c|m|dl|rt|util|pthread|resolv)'
ldd "$bin/pol-node" "$bin/pol-trainer" | awk '/=> \// {print $1, $3}' | sort -u |
    grep -vE "^($system)\.so" | while read -r soname path; do
    install -m 644 "$path" "$tree/lib/$soname"
done
if ldd "$bin/pol-trainer" | grep -q 'not found'; then
    fail "libraries of pol-trainer are missing; run scripts/setup.sh"
fi
strip --strip-unneeded "$tree"/bin/*
# shellcheck disable=SC2016 # The loader replaces $ORIGIN.
patchelf --set-rpath '$ORIGIN/../lib' "$tree"/bin/*
for library in "$tree"/lib/*; do
    # shellcheck disable=SC2016
    patchelf --set-rpath '$ORIGIN' "$library"
done
glibc="$(for file in "$tree"/bin/* "$tree"/lib/*; do readelf -V "$file"; done 2>/dev/null |
    grep -oE 'GLIBC_[0-9]+\.[0-9]+' | sort -uV | tail -n 1 | cut -d_ -f2)"

# --- documentation, completions, manual pages, chain specifications
say "making completions, manual pages, and chain specifications"
node="$tree/bin/pol-node"
bash="$tree/share/bash-completion/completions" zsh="$tree/share/zsh/site-functions"
fish="$tree/share/fish/vendor_completions.d"
mkdir -p "$bash" "$zsh" "$fish"
for program in pol-node pol-trainer; do
    "$tree/bin/$program" completions bash >"$bash/$program"
    "$tree/bin/$program" completions zsh >"$zsh/_$program"
    "$tree/bin/$program" completions fish >"$fish/$program.fish"
    "$tree/bin/$program" man --out "$tree/share/man/man1"
done
for chain in dev local; do
    "$node" build-spec --chain "$chain" --raw --disable-default-bootnode \
        >"$tree/share/pol/chain-specs/$chain.json" 2>"$work/spec.log" ||
        { cat "$work/spec.log" >&2; fail "no specification of the chain $chain"; }
done
install -m 644 README.md LICENSE CHANGELOG.md "$tree/share/doc/pol/"
python3 scripts/package-sbom.py --libraries "$tree/lib" --version "$version" >"$tree/share/doc/pol/sbom.cdx.json"
cp -r deploy/systemd "$tree/share/pol/"
find "$tree" -type f -not -path '*/bin/*' -exec chmod 644 {} +
find "$tree" -type d -exec chmod 755 {} +
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# --- tarball
say "packing $name.tar.gz"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$name" |
    gzip -n "-$compression" >"$out/$name.tar.gz"

# --- Debian packages: programs and libraries are in /usr/lib/pol, and /usr/bin has links to them
size_of() { du -sk "$1" | cut -f1; }
deb() { # package, description; the content is in $work/package
    local package="$1" description="$2" folder="$work/$1"
    mkdir -p "$folder/DEBIAN"
    cat >"$folder/DEBIAN/control" <<CONTROL
Package: $package
Version: $version
Architecture: amd64
Maintainer: The POL developers <pol@localhost>
Section: net
Priority: optional
Depends: libc6 (>= $glibc)
Recommends: ca-certificates
Installed-Size: $(size_of "$folder")
Homepage: $(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)
Description: $description
 Part of POL, a chain on which people who do not trust each other train one language model together
 and are paid for learning that was verified.
CONTROL
    (cd "$folder" && find etc -type f -printf '/%p\n' | sort >DEBIAN/conffiles)
    cat >"$folder/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
SCRIPT
    sed "s/@PACKAGE@/$package/" >"$folder/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ -d /run/systemd/system ] && [ "$1" = remove ]; then
    for unit in $(dpkg -L @PACKAGE@ | sed -n 's,^/usr/lib/systemd/system/,,p'); do
        systemctl disable --now "$unit" || true
    done
fi
SCRIPT
    cp "$folder/DEBIAN/postinst" "$folder/DEBIAN/postrm"
    chmod 755 "$folder"/DEBIAN/{postinst,prerm,postrm}
    find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zgzip "-z$compression" --build "$folder" "$out/${package}_${version}_amd64.deb" >/dev/null
}
unit() { # package, units...
    local folder="$work/$1" unit; shift
    install -d "$folder/usr/lib/systemd/system" "$folder/etc/pol"
    for unit in "$@"; do
        install -m 644 "deploy/systemd/$unit.service" "$folder/usr/lib/systemd/system/"
        install -m 644 "deploy/systemd/$unit.env" "$folder/etc/pol/"
    done
}
program() { # package, program
    local folder="$work/$1"
    install -d "$folder/usr/bin" "$folder/usr/lib/pol/bin" "$folder/usr/lib/pol/lib" "$folder/usr/share/doc/$1"
    install -m 755 "$tree/bin/$2" "$folder/usr/lib/pol/bin/"
    ln -s "../lib/pol/bin/$2" "$folder/usr/bin/$2"
    install -m 644 LICENSE "$folder/usr/share/doc/$1/copyright"
    install -m 644 "$tree/share/doc/pol/sbom.cdx.json" "$folder/usr/share/doc/$1/"
    local share="$folder/usr/share"
    install -d "$share"/{man/man1,bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
    install -m 644 "$tree/share/man/man1/$2"*.1 "$share/man/man1/"
    gzip -n9 "$share"/man/man1/*
    install -m 644 "$bash/$2" "$share/bash-completion/completions/"
    install -m 644 "$zsh/_$2" "$share/zsh/vendor-completions/"
    install -m 644 "$fish/$2.fish" "$share/fish/vendor_completions.d/"
}
say "building the Debian packages"
program pol-node pol-node
unit pol-node pol-node
# pol-node needs no library but libgcc_s, which every Debian system has, so neither package depends
# on the other.
install -d "$work/pol-node/usr/share/pol"
cp -r "$tree/share/pol/chain-specs" "$work/pol-node/usr/share/pol/"
rm -rf "$work/pol-node/usr/lib/pol/lib"
patchelf --remove-rpath "$work/pol-node/usr/lib/pol/bin/pol-node"
program pol-trainer pol-trainer
unit pol-trainer pol-trainer pol-validator pol-api
install -m 644 "$tree"/lib/* "$work/pol-trainer/usr/lib/pol/lib/"
deb pol-node "Node of the POL chain"
deb pol-trainer "Trainer, validator, and HTTP API of the POL network"

cp "$tree/share/doc/pol/sbom.cdx.json" "$out/pol-$version.cdx.json"
(cd "$out" && sha256sum "$name.tar.gz" ./*_"${version}"_amd64.deb "pol-$version.cdx.json" | sed 's, \./, ,' >SHA256SUMS)
say "packages for glibc $glibc or later are in $out"
cat "$out/SHA256SUMS"
