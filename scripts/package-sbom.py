#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a bill of materials of the packages in CycloneDX 1.5.

It lists the crates that pol-node and pol-trainer are built from, with their licences and the
checksums of Cargo.lock, and the libraries that are packaged beside them.
"""
import argparse
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import uuid

PROGRAMS = ("pol-node", "pol-trainer")
# Packaged libraries, by the start of their names.
LIBRARIES = {
    "libtorch_cpu": ("libtorch", "POL_TORCH_VERSION", "BSD-3-Clause"),
    "libc10": ("libtorch", "POL_TORCH_VERSION", "BSD-3-Clause"),
    "libcudart": ("nvidia-cuda-runtime", None, "LicenseRef-NVIDIA-CUDA-EULA"),
    "libcupti": ("nvidia-cuda-cupti", None, "LicenseRef-NVIDIA-CUDA-EULA"),
    "libgomp": ("libgomp", None, "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "libstdc++": ("libstdc++", None, "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "libgcc_s": ("libgcc", None, "GPL-3.0-or-later WITH GCC-exception-3.1"),
}


def crates():
    """Names, versions and licences of the crates that are compiled for the programs."""
    command = ["cargo", "tree", "--locked", "--edges", "normal,build", "--prefix", "none",
               "--target", "x86_64-unknown-linux-gnu", "--format", "{p}\t{l}"]
    for program in PROGRAMS:
        command += ["--package", program]
    environment = {k: v for k, v in os.environ.items() if k != "RUSTC_WORKSPACE_WRAPPER"}
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if found.returncode:
        raise SystemExit("package-sbom: cargo does not list the crates; its reason is above")
    entry = r"(\S+) v(\S+)[^\t\n]*\t([^\n]*?)(?: \(\*\))?(?:\n|$)"
    return sorted(set(re.findall(entry, found.stdout)))


def checksums():
    """Checksums of Cargo.lock, by name and version."""
    lock = pathlib.Path("Cargo.lock").read_text()
    entry = r'name = "(.*)"\nversion = "(.*)"\nsource = .*\nchecksum = "(.*)"'
    return {(name, version): digest for name, version, digest in re.findall(entry, lock)}


def licence(expression):
    return [{"expression": expression.replace("/", " OR ")}] if expression else []


def crate(name, version, expression, digests):
    purl = f"pkg:cargo/{name}@{version}"
    component = {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl,
                 "licenses": licence(expression)}
    if digest := digests.get((name, version)):
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return component


def library(path):
    known = next((value for start, value in LIBRARIES.items() if path.name.startswith(start)), None)
    if known is None:
        raise SystemExit(f"package-sbom: {path.name} is packaged, and its licence is not listed here")
    origin, variable, expression = known
    component = {"type": "library", "name": path.name, "group": origin, "bom-ref": f"file:{path.name}",
                 "licenses": licence(expression),
                 "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]}
    if variable:
        component["version"] = os.environ[variable]
    return component


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libraries", type=pathlib.Path, required=True)
    parser.add_argument("--version", required=True)
    options = parser.parse_args()
    digests = checksums()
    components = [crate(*found, digests) for found in crates()]
    components += [library(path) for path in sorted(options.libraries.iterdir())]
    content = json.dumps(components, sort_keys=True)
    time = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    print(json.dumps({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        # The same content has the same number.
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, content).urn,
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                     "component": {"type": "application", "name": "pol", "version": options.version,
                                   "bom-ref": "pol", "licenses": licence("Apache-2.0")}},
        "components": components,
    }, indent=1))


main()
