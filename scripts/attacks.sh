#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Attacks a network on this machine in every way that docs/attacks lists, and checks the results.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/messages.sh

only="" rounds=2 out="" flags=() segments=0
usage() {
    cat <<'USAGE'
usage: scripts/attacks.sh [--only NAME,… | --without-audits] [--rounds N] [--out DIR] [--json]
                          [--loopback] [--segments N]

Sets up what is missing, builds, then runs one pol-node, honest pol-trainer processes, and the
attackers. It prints a table of all scenarios with what was done and required, and stops everything
it started. The exit code is 0 only if every requirement was met. All of it takes about half an hour
on two cores.

  --only NAME,…   families or single scenarios to try, by their names in docs/attacks, such as
                  sybils,late-states; a number is a family's place in the list; without it, all
  --without-audits
                  try the attacks that audits find on a network whose audits look at nothing, and
                  require that at least ten succeed
  --rounds N      leases that each attacker takes, and rounds that a network with failing links goes
                  through (2)
  --out DIR       write DIR/attacks.json and the logs of every process there
  --json          print JSON and no table
  --loopback      run sites as plain processes on loopback, even where the machine allows network
                  namespaces; where it does not, this is so without the option
  --segments N    also train N honest segments and replay each one on other instructions, which must
                  give the same bits (0: leave it out; 10000 takes some minutes)

Reading the table: attempts are updates, calls or draws; sampled are those where an audit looked at
something false; detected are those that were found or refused; false positives are honest updates
that were condemned meanwhile.

Forks over 200 rounds, in two and a half hours, with the state after each round in
out/logs-sites/forks.jsonl:
  scripts/attacks.sh --only parted-authorities --rounds 200 --out out

Seats of authorities bought by bonds, over four sessions, in three quarters of an hour:
  scripts/attacks.sh --only bought-seats
USAGE
}
while [ $# -gt 0 ]; do
    case "$1" in
        --only) only="${2:?--only takes names, such as sybils,late-states}"; shift 2 ;;
        --rounds) rounds="$(number "$1" "${2:-}" 1 1000)"; shift 2 ;;
        --out) out="${2:?--out takes a folder}"; shift 2 ;;
        --segments) segments="$(number "$1" "${2:-}" 0 1000000)"; shift 2 ;;
        --json) quiet=1 flags+=("$1"); shift ;;
        --loopback | --without-audits) flags+=("$1"); shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; misuse "unknown option '$1'" ;;
    esac
done

./scripts/setup.sh --no-tests
. scripts/env.sh
say "building (about 25 minutes the first time on two cores, later seconds)"
./scripts/build.sh

arguments=(--rounds "$rounds" "${flags[@]}")
[ -z "$only" ] || arguments+=(--only "$only")
[ -z "$out" ] || arguments+=(--out "$out")
# The program starts and stops every process of the network itself, also when it is interrupted.
status=0
"$POL_BIN/pol-attacks" "${arguments[@]}" || status=$?
if [ "$segments" -gt 0 ]; then
    say "training and replaying $segments honest segments"
    # The widest vectors against those that most processors have.
    sets=()
    ! grep -qsw avx512f /proc/cpuinfo || sets=(avx-512 avx2)
    cargo run --release --locked --quiet -p pol-engine --example honest_segments -- "$segments" \
        "${sets[@]}" || status=1
fi
exit "$status"
