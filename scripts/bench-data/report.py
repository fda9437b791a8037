# SPDX-License-Identifier: Apache-2.0
"""Prints the figures of the benchmark as a table, or as JSON.

usage: report.py FOLDER [--json]
"""

import json
import pathlib
import sys

STAGES = [
    "read", "extract", "language", "filter", "decontaminate", "deduplicate", "score", "tokenise"]
# Those that follow each other from the corpus to shards.
CHAIN = ["filter", "deduplicate", "score", "tokenise"]


def read(path):
    """Returns the records of a run by stage, and its largest resident memory."""
    if not path.exists():
        return {}, None
    records = [json.loads(line) for line in path.read_text().splitlines()]
    peak = next((record["peak_bytes"] for record in records if "peak_bytes" in record), None)
    return {record["stage"]: record for record in records if "stage" in record}, peak


def speed(size, record):
    return size / 1e6 / max(record["cpu_seconds"], 1e-9)


def main():
    folder = pathlib.Path(sys.argv[1])
    ours, _ = read(folder / "pol-stages.jsonl")
    whole, our_peak = read(folder / "pol-whole.jsonl")
    theirs, their_peak = read(folder / "datatrove.jsonl")
    different = [name for name in STAGES if theirs and any(
        ours[name][what] != theirs[name][what] for what in ("documents", "bytes"))]
    if different:
        sys.exit(f"the programs read different documents in: {', '.join(different)}")
    size = whole["whole"]["bytes"]
    rows = [(name, speed(ours[name]["bytes"], ours[name]),
             speed(theirs[name]["bytes"], theirs[name]) if theirs else None) for name in STAGES]
    sums = [sum(run[name]["cpu_seconds"] for name in CHAIN) if run else None
            for run in (ours, theirs)]
    ours_after, theirs_after = [size / 1e6 / total if total else None for total in sums]
    rows.append((", ".join(CHAIN), ours_after, theirs_after))
    rows.append(("all in one call", speed(size, whole["whole"]), theirs_after))
    if "--json" in sys.argv:
        print(json.dumps({
            "bytes": size,
            "megabytes_per_core_second": {
                name: {"pol": one, "datatrove": other} for name, one, other in rows},
            "documents_read_by_stage": {name: ours[name]["documents"] for name in STAGES},
            "bytes_read_by_stage": {name: ours[name]["bytes"] for name in STAGES},
            "peak_bytes": {"pol": our_peak, "datatrove": their_peak},
        }, indent=2))
        return
    print(f"{size / 1e6:.1f} MB of text, MB a second of processor time\n")
    print("| stage | this program | datatrove | ratio | documents read | MB of text |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, one, other in rows:
        ratio = f"{one / other:.1f}" if other else ""
        amount = ours.get(name) or whole["whole"]
        print(f"| {name} | {one:.2f} | {other or 0:.2f} | {ratio} | {amount['documents']} "
              f"| {amount['bytes'] / 1e6:.1f} |")
    print(f"\nlargest resident memory: {our_peak / 1e6:.0f} MB"
          + (f", datatrove {their_peak / 1e6:.0f} MB" if their_peak else ""))


if __name__ == "__main__":
    main()
