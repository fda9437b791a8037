# SPDX-License-Identifier: Apache-2.0
"""Prints time and memory of an ingestion, and fails if it took more memory than it may.

usage: memory.py NAME BYTES MEGABYTES RECORDS
"""

import json
import pathlib
import sys


def main(name, size, most, path):
    records = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    whole = next(record for record in records if record.get("stage") == "whole")
    peak = next(record["peak_bytes"] for record in records if "peak_bytes" in record)
    print(f"{name}: {int(size) / 1e6:.0f} MB of text, {whole['documents']} documents, "
          f"{whole['wall_seconds']:.1f} s, {whole['cpu_seconds']:.1f} s of processor time, "
          f"largest resident memory {peak / 1e6:.0f} MB of {most} MB")
    if peak > int(most) * 1_000_000:
        sys.exit(f"bench-data: {name} took more memory than {most} MB")


if __name__ == "__main__":
    main(*sys.argv[1:5])
