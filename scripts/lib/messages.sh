# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Messages of scripts, on standard error. Source it: `. scripts/lib/messages.sh`. With `quiet` set,
# steps are not told.

# Tells a step.
say() {
    [ -n "${quiet:-}" ] || printf '==> %s\n' "$*" >&2
}

# Ends the script with an error.
fail() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 1
}

# Ends the script with an error of its command line.
misuse() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 2
}

# Prints a number of the command line.
number() { # flag, value, smallest, largest
    case "${2:-}" in '' | *[!0-9]*) misuse "$1 takes a number" ;; esac
    # Longer ones are too large for the shell too.
    if [ "${#2}" -gt 9 ] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        misuse "$1 takes a number from $3 to $4"
    fi
    echo "$2"
}
