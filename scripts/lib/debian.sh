# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Minimal systems to try packages on. A script sources it after messages.sh and env.sh, and runs as
# root.

# Prints the archive of a minimal Debian or Ubuntu, which is made once.
minimal_system() { # release, address of its archive or nothing, arguments of debootstrap...
    local suite="$1" mirror="$2" base="$POL_CACHE/chroot-$1.tar" scratch script
    shift 2
    if [ ! -f "$base" ]; then
        command -v debootstrap >/dev/null ||
            fail "debootstrap is missing; install it with: apt-get install debootstrap"
        say "making a minimal $suite, once (a minute or two)"
        if [ -z "$mirror" ]; then
            # shellcheck disable=SC2016 # apt replaces the field.
            mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
                grep -v security | head -n 1)"
        fi
        mkdir -p "$POL_CACHE"
        scratch="$(mktemp -d "$POL_CACHE/.chroot.XXXXXX")"
        # Releases that are younger than debootstrap are made as the others.
        script="/usr/share/debootstrap/scripts/$suite"
        [ -e "$script" ] || case "$mirror" in
            *ubuntu*) script="${script%/*}/gutsy" ;;
            *) script="${script%/*}/sid" ;;
        esac
        debootstrap "$@" --variant=minbase "$suite" "$scratch" "$mirror" "$script" \
            >"$scratch.log" 2>&1 ||
            { tail -n 5 "$scratch.log" >&2; rm -rf "$scratch" "$scratch.log"; fail "debootstrap failed"; }
        tar -C "$scratch" -cf "$base.part" . && mv "$base.part" "$base"
        rm -rf "$scratch" "$scratch.log"
    fi
    echo "$base"
}
