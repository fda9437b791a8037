#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures the HTTP interface over an index of many rounds, beside streams of generated text.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/messages.sh

usage() {
    cat <<'USAGE'
usage: scripts/load-test.sh [--rounds N] [--postgres | --both] [--built] [--dir DIR] [LOAD...]

Makes an index of N rounds (default 100000: 18 million facts, 3.2 GB in SQLite), unless DIR has it
from an earlier run, and measures every query on it. Then sends mixed requests at a fixed rate to a
server of the index, beside streams of a random model, and prints the percentiles of each endpoint
as a table of Markdown. Fails if a 95th percentile is 50 ms or more. Run it on a machine with
nothing else to do.

  --rounds N     rounds of the index
  --postgres     keep the index on a PostgreSQL server of its own, which is started and ended
  --both         do all of it with SQLite and with PostgreSQL, and print one table of both
  --built        use the programs in $POL_BIN/examples, and build nothing
  --dir DIR      folder of the index, which is kept (default: a temporary one, removed)
  LOAD           --rate N (requests per second, 100), --seconds N (120), --clients N (8),
                 --streams N (4)
USAGE
}
rounds=100000 databases=(SQLite) built="" dir="" load=()
while [ $# -gt 0 ]; do
    case "$1" in
        --rounds) rounds="$(number "$1" "${2:-}" 1 10000000)"; shift 2 ;;
        --postgres) databases=(PostgreSQL); shift ;;
        --both) databases=(SQLite PostgreSQL); shift ;;
        --built) built=1; shift ;;
        --dir) dir="${2:?--dir takes a folder}"; shift 2 ;;
        --rate | --seconds | --clients | --streams)
            load+=("$1" "$(number "$1" "${2:-}" 0 1000000)"); shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; misuse "unknown option '$1'" ;;
    esac
done
. scripts/env.sh

fill="$POL_BIN/examples/load" measure="$POL_BIN/examples/http_load"
if [ -z "$built" ]; then
    say "building"
    ./scripts/build.sh --examples
fi
[ -x "$fill" ] && [ -x "$measure" ] || fail "$POL_BIN/examples lacks a program; leave out --built"

server="" programs="" tables="$(mktemp -d)"
stop() {
    trap - EXIT INT TERM
    [ -z "$server" ] || { kill -INT "$server" && wait "$server"; } 2>/dev/null || true
    [ -n "$dir" ] || rm -rf "$work"
    rm -rf "$tables"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -n "$dir" ]; then mkdir -p "$dir"; work="$(cd "$dir" && pwd)"; else work="$(mktemp -d)"; fi

# Starts the newest PostgreSQL that is installed, with a cluster in $work and no port.
start_postgres() {
    local as=()
    programs="$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null |
        sort -V | tail -n 1)"
    [ -n "$programs" ] || fail "PostgreSQL is missing: apt install postgresql"
    mkdir -p "$work/socket"
    if [ "$(id -u)" = 0 ]; then
        # The server does not run as root.
        as=(setpriv --reuid nobody --regid nogroup --clear-groups)
        chmod 711 "$work"
        chown nobody "$work/socket"
        [ -d "$work/cluster" ] || install -d -m 700 -o nobody "$work/cluster"
    fi
    [ -e "$work/cluster/PG_VERSION" ] || "${as[@]}" "$programs/initdb" --auth trust --username pol \
        --encoding UTF8 --locale C --no-sync --pgdata "$work/cluster" >"$work/initdb.log"
    "${as[@]}" "$programs/postgres" -D "$work/cluster" -k "$work/socket" -c listen_addresses= \
        -c fsync=off -c max_wal_size=2GB -c shared_buffers=512MB >"$work/postgres.log" 2>&1 &
    server=$!
    sql() { "$programs/psql" -h "$work/socket" -U pol -Atqc "$2" "$1"; }
    for ((i = 0; i < 120; i++)); do
        sql postgres 'SELECT 1' >/dev/null 2>&1 && break
        kill -0 "$server" 2>/dev/null ||
            fail "PostgreSQL does not start: $(cat "$work/postgres.log")"
        sleep 0.5
    done
    [ -n "$(sql postgres "SELECT 1 FROM pg_database WHERE datname = 'pol'")" ] ||
        sql postgres 'CREATE DATABASE pol'
}

# Prints the median and the 95th percentile of each endpoint with both databases, in milliseconds.
join_tables() {
    printf '\n| `GET` | SQLite, 50 %% | 95 %% | PostgreSQL, 50 %% | 95 %% |\n|---|---|---|---|---|\n'
    awk -F '|' '!/^\| (`\/|all )/ { next }
        NR == FNR { first[$2] = $4 "|" $5; next }
        $2 in first { print "|" $2 "|" first[$2] "|" $4 "|" $5 "|" }' "$@"
}

outcome=0
for name in "${databases[@]}"; do
    database="$work/index.db"
    if [ "$name" = PostgreSQL ]; then
        say "starting PostgreSQL"
        start_postgres
        database="postgres://pol@localhost/pol?host=$work/socket"
    fi
    say "$name: filling an index of $rounds rounds, and measuring its queries"
    "$fill" "$rounds" "$database" || outcome=1
    [ "$name" = SQLite ] || sql pol 'VACUUM ANALYZE'
    say "$name: measuring endpoints"
    "$measure" "$database" "${load[@]}" | tee "$tables/$name" || outcome=1
done
[ "${#databases[@]}" = 1 ] || join_tables "${databases[@]/#/$tables/}"
exit "$outcome"
