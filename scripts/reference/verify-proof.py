#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Verifies a proof of `pol-trainer data prove` without any code of this project.

usage: scripts/reference/verify-proof.py [--node URL] [--document FILE|HASH] [--json] PROOF

PROOF is the file. --node is the address of a node's RPC, which may begin with ws:// too; by default
it is POL_NODE, or http://127.0.0.1:9944. --document is the document that the proof has to be about:
a file with its raw bytes, or their BLAKE3. A row of a table is a document of its own, so give its
hash. --json prints an object.

The last line is PROVED, with where the document is, or NOT PROVED with the reason. The exit code is
0 for a proof that holds, 1 for one that does not or a node that cannot be asked, and 2 for a
mistake in the command line.

It needs Python 3.9 and nothing else. All that it believes is what the node says about the state of
the last final block: ask your own node, or several. It reads two entries of the state:

    Lineage.ManifestOfContent[content hash]    the id of the manifest that was admitted with it
    Lineage.Manifests[id]                      the manifest

The manifest has the root of a tree over the records of all documents that its provider read, and
the root of a tree over its shards. The leaves of the first tree are sorted by the BLAKE3 of the
documents. The proof opens all leaves of a document and the two around them, so that none is left
out, and the leaves of the shards with the document's tokens.
"""

import argparse
import hashlib
import json
import os
import struct
import sys
import urllib.error
import urllib.request

FORMAT = "pol/document-proof/1"
MAX_PROOF_BYTES = 16 << 20
MAX_ANSWER_BYTES = 1 << 20
MAX_COPIES = 64
MAX_SHARDS = 4096
MAX_DOCUMENTS = 1 << 24
# Order of the variants of a manifest's status in its encoding.
STATUSES = ["proposed", "admitted", "paused", "retired", "consumed"]


class NotProved(Exception):
    """Reason why nothing is proved."""


def require(holds, reason):
    if not holds:
        raise NotProved(reason)


# --- BLAKE3, by its specification (github.com/BLAKE3-team/BLAKE3-specs), for hashes of 32 bytes

IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
# Columns and diagonals of the state that a round mixes.
MIXED = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
WORD = 0xFFFFFFFF


def compress(chaining, block, counter, length, flags):
    """Returns the chaining value behind a block of 64 bytes, of which `length` are of the input."""
    v = [*chaining, *IV[:4], counter & WORD, counter >> 32, length, flags]
    words = struct.unpack("<16I", block)
    for _ in range(7):
        for pair, (a, b, c, d) in enumerate(MIXED):
            for word, (right, further) in ((2 * pair, (16, 12)), (2 * pair + 1, (8, 7))):
                v[a] = (v[a] + v[b] + words[word]) & WORD
                x = v[d] ^ v[a]
                v[d] = (x >> right | x << (32 - right)) & WORD
                v[c] = (v[c] + v[d]) & WORD
                x = v[b] ^ v[c]
                v[b] = (x >> further | x << (32 - further)) & WORD
        words = [words[at] for at in PERMUTATION]
    return tuple(low ^ high for low, high in zip(v[:8], v[8:]))


def chunk_value(chunk, counter, last_flags):
    """Returns the chaining value of a chunk of at most 1,024 bytes."""
    value = IV
    starts = range(0, max(len(chunk), 1), 64)
    for start in starts:
        block = chunk[start : start + 64]
        flags = CHUNK_START if start == 0 else 0
        if start == starts[-1]:
            flags |= CHUNK_END | last_flags
        value = compress(value, block.ljust(64, b"\0"), counter, len(block), flags)
    return value


def tree_value(data, counter, last_flags):
    """Returns the chaining value of a subtree that begins at chunk number `counter`."""
    if len(data) <= 1024:
        return chunk_value(data, counter, last_flags)
    # The left side is the largest power of two of whole chunks that leaves something to the right.
    chunks = 1 << (((len(data) - 1) // 1024).bit_length() - 1)
    left = tree_value(data[: chunks * 1024], counter, 0)
    right = tree_value(data[chunks * 1024 :], counter + chunks, 0)
    return compress(IV, struct.pack("<16I", *left, *right), 0, 64, PARENT | last_flags)


def blake3(data):
    return struct.pack("<8I", *tree_value(bytes(data), 0, ROOT))


# --- hashes of storage keys: XXH64 of short names and BLAKE2b

PRIMES = (
    0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
LONG = 0xFFFFFFFFFFFFFFFF


def rotate(value, bits):
    return (value << bits | value >> (64 - bits)) & LONG


def xxh64(data, seed):
    """Returns the XXH64 of less than 32 bytes: longer names have another start."""
    if len(data) >= 32:
        raise ValueError("a name is too long")
    one, two, three, four, five = PRIMES
    value, at = (seed + five + len(data)) & LONG, 0
    for at in range(0, len(data) - 7, 8):
        lane = rotate(int.from_bytes(data[at : at + 8], "little") * two & LONG, 31) * one & LONG
        value = (rotate(value ^ lane, 27) * one + four) & LONG
    at = len(data) // 8 * 8
    if len(data) - at >= 4:
        lane = int.from_bytes(data[at : at + 4], "little") * one & LONG
        value = (rotate(value ^ lane, 23) * two + three) & LONG
        at += 4
    for byte in data[at:]:
        value = rotate(value ^ (byte * five & LONG), 11) * one & LONG
    value = (value ^ value >> 33) * two & LONG
    value = (value ^ value >> 29) * three & LONG
    return value ^ value >> 32


def twox(data, words):
    return b"".join(xxh64(data, seed).to_bytes(8, "little") for seed in range(words))


def storage_key(item, hashed):
    return "0x" + (twox(b"Lineage", 2) + twox(item, 2) + hashed).hex()


def blake2_256(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def check_hashes():
    """Fails if the hashes above are not those of their specifications, by published examples."""
    counting = bytes(at % 251 for at in range(2049))
    examples = [
        (blake3(b"abc"), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        (blake3(counting), "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"),
        # The prefix of the accounts of every chain of Substrate: System.Account.
        (twox(b"System", 2), "26aa394eea5630e07c48ae0c9558cef7"),
        (twox(b"Account", 2), "b99d880ec681799c0cf30e8886371da9"),
    ]
    for found, expected in examples:
        if found.hex() != expected:
            sys.exit(f"verify-proof: this Python computes {found.hex()}, not {expected}")


# --- what the chain says

class Node:
    """RPC of a node, by HTTP."""

    def __init__(self, url):
        scheme, rest = url.split("://", 1) if "://" in url else ("http", url)
        self.url = {"ws": "http", "wss": "https"}.get(scheme, scheme) + "://" + rest

    def ask(self, method, *parameters):
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        headers = {"content-type": "application/json"}
        body = json.dumps(request).encode()
        try:
            request = urllib.request.Request(self.url, body, headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer = json.loads(answer.read(MAX_ANSWER_BYTES))
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise NotProved(f"the node at {self.url} does not answer: {error}") from error
        require(isinstance(answer, dict) and "result" in answer, f"the node answers: {answer}")
        return answer["result"]

    def entry(self, item, hashed, block):
        """Returns an entry of the state of a block, or None."""
        value = self.ask("state_getStorage", storage_key(item, hashed), block)
        return None if value is None else bytes.fromhex(value.removeprefix("0x"))


class Scale:
    """Reader of SCALE: integers are little-endian, and lists begin with their compact length."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, length):
        require(self.at + length <= len(self.data), "the node's manifest is too short")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, length):
        return int.from_bytes(self.bytes(length), "little")

    def length(self):
        """Returns the length of a list. Those of a manifest have one or two bytes."""
        first = self.number(1)
        if first & 3 == 0:
            return first >> 2
        require(first & 3 == 1, "the node's manifest has a list that is too long")
        return (first | self.number(1) << 8) >> 2


def read_manifest(data):
    """Returns a manifest: pol_primitives::data::Manifest, up to its status."""
    scale = Scale(data)
    manifest = {
        "owner": scale.bytes(32),
        "source": scale.number(4),
        "shards_root": scale.bytes(32),
        "content_hash": scale.bytes(32),
        "tokenizer": scale.bytes(32),
        "shards": scale.number(4),
        "shard_tokens": scale.number(4),
        "parents": [scale.number(4) for _ in range(scale.length())],
        "quality": scale.number(4),
        "held_out": scale.number(1) == 1,
        "activity": scale.number(1),
        "tool": scale.bytes(scale.length()),
        "version": scale.bytes(scale.length()),
        "configuration": scale.bytes(32),
    }
    manifest["documents"] = (scale.bytes(32), scale.number(4)) if scale.number(1) else None
    manifest["status"] = STATUSES[scale.number(1)]
    return manifest


def find_manifest(node, content_hash):
    """Returns the id and the record of the manifest that the chain admitted with a content hash."""
    block = node.ask("chain_getFinalizedHead")
    blake2_128 = hashlib.blake2b(content_hash, digest_size=16).digest()
    found = node.entry(b"ManifestOfContent", blake2_128 + content_hash, block)
    require(found is not None, f"the chain has admitted no manifest 0x{content_hash.hex()}")
    manifest = node.entry(b"Manifests", twox(found, 1) + found, block)
    number = int.from_bytes(found, "little")
    require(manifest is not None, f"manifest {number} is not kept any more; ask an archive")
    return number, read_manifest(manifest)


# --- trees

def merkle_holds(root, count, index, leaf, path):
    """Tells whether `leaf` is number `index` of the `count` leaves below `root`."""
    if not 0 <= index < count:
        return False
    path, node, width = list(path), blake2_256(b"\0" + leaf), count
    while width > 1:
        # A node without a neighbour moves up unchanged.
        if index ^ 1 < width:
            if not path:
                return False
            other = path.pop(0)
            node = blake2_256(b"\1" + (other + node if index & 1 else node + other))
        index, width = index >> 1, (width + 1) // 2
    return not path and blake2_256(b"\2" + struct.pack("<I", count) + node) == root


def hash_of(text):
    require(isinstance(text, str), "a hash of the proof is no text")
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    require(len(value) == 32, f"{text!r} in the proof is no hash")
    return value


def number_of(value):
    is_number = isinstance(value, int) and not isinstance(value, bool)
    require(is_number and 0 <= value < 1 << 64, f"{value!r} in the proof is no number")
    return value


def opened(entry, key, record_hash):
    """Returns a leaf of the tree of documents: index, key, hash of the record, and path."""
    return number_of(entry["index"]), key, record_hash, [hash_of(it) for it in entry["path"]]


def encode_record(record):
    """Returns the bytes that the hash of a record is of: JSON without spaces, in the same order."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def check_leaves(proof, document, documents):
    """Checks that the records of the proof are all that the tree has of the document."""
    root, count = documents
    require(1 <= count <= MAX_DOCUMENTS, "the tree of documents has an impossible size")
    require(len(proof["records"]) <= MAX_COPIES, "it has too many records")
    neighbour = lambda entry: opened(
        entry, hash_of(entry["leaf"]["key"]), hash_of(entry["leaf"]["record"])
    )
    own = [
        opened(entry, hash_of(entry["record"]["raw"]), blake3(encode_record(entry["record"])))
        for entry in proof["records"]
    ]
    before = [neighbour(proof["before"])] if proof["before"] else []
    after = [neighbour(proof["after"])] if proof["after"] else []
    leaves = before + own + after
    require(leaves, "it opens no leaf of the tree of documents")
    for index, key, record, path in leaves:
        leaf = blake3(b"pol/document/1" + key + record)
        require(
            merkle_holds(root, count, index, leaf, path),
            f"leaf {index} is not in the tree of documents that the chain knows",
        )
    for one, following in zip(leaves, leaves[1:]):
        is_next = one[0] + 1 == following[0] and one[1:3] <= following[1:3]
        require(is_next, "its leaves are no neighbours in the order of the tree")
    require(all(leaf[1] == document for leaf in own), "a record is of another document")
    is_first = before[0][1] < document if before else leaves[0][0] == 0
    is_last = after[0][1] > document if after else leaves[-1][0] + 1 == count
    require(is_first and is_last, "it does not open all leaves of the document")


def shards_of(proof, manifest):
    """Returns the shards with tokens of the records."""
    side, shards = "held_out" if manifest["held_out"] else "train", set()
    require(manifest["shard_tokens"] > 0, "the manifest has shards without tokens")
    for entry in proof["records"]:
        place = entry["record"].get("place")
        if not place or place["side"] != side:
            continue
        start, tokens = number_of(place["start"]), number_of(place["tokens"])
        if tokens == 0:
            continue
        first = start // manifest["shard_tokens"]
        last = (start + tokens - 1) // manifest["shard_tokens"]
        # Tokens at the end of the text fill no shard.
        end = min(last + 1, manifest["shards"])
        require(len(shards) + max(end - first, 0) <= MAX_SHARDS, "it is about too many shards")
        shards.update(range(first, end))
    return sorted(shards)


def verify(proof, node, wanted):
    """Returns what a proof shows. `wanted` is the document that it has to be about, if any."""
    require(proof.get("format") == FORMAT, f"its format is {proof.get('format')}, not {FORMAT}")
    document, content_hash = hash_of(proof["document"]), hash_of(proof["manifest"])
    require(wanted in (None, document), f"it is about another document, 0x{document.hex()}")
    number, manifest = find_manifest(node, content_hash)
    require(manifest["content_hash"] == content_hash, "the chain names another manifest")
    require(manifest["documents"], "the chain knows no documents of the manifest")
    check_leaves(proof, document, manifest["documents"])
    shards = shards_of(proof, manifest)
    require(
        [entry["index"] for entry in proof["shards"]] == shards,
        "its shards are not those of the records",
    )
    for entry in proof["shards"]:
        path = [hash_of(it) for it in entry["path"]]
        require(
            merkle_holds(
                manifest["shards_root"], manifest["shards"], entry["index"],
                hash_of(entry["hash"]), path,
            ),
            f"shard {entry['index']} is not in the manifest",
        )
    records = [entry["record"] for entry in proof["records"]]
    return {
        "proved": True,
        "document": "0x" + document.hex(),
        "manifest": number,
        "status": manifest["status"],
        "presence": "in" if shards else "left out" if records else "not in",
        "shards": shards,
        "records": records,
    }


def read_proof(path):
    with open(path, "rb") as file:
        data = file.read(MAX_PROOF_BYTES + 1)
    require(len(data) <= MAX_PROOF_BYTES, "it is too long")
    try:
        proof = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotProved(f"it is no JSON: {error}") from error
    require(isinstance(proof, dict), "it is no object")
    return proof


def wanted_document(name):
    """Returns the hash that `name` is, or that of the file with this name."""
    if name is None:
        return None
    try:
        value = bytes.fromhex(name.removeprefix("0x"))
        if len(value) == 32:
            return value
    except ValueError:
        pass
    with open(name, "rb") as file:
        return blake3(file.read())


def describe_shards(shards):
    """Returns ascending numbers with runs of them as their ends."""
    runs = []
    for shard in shards:
        if runs and runs[-1][-1] + 1 == shard:
            runs[-1] = (runs[-1][0], shard)
        else:
            runs.append((shard,))
    return ", ".join(" to ".join(map(str, run)) for run in runs)


def main():
    usage, description = __doc__.split("usage: ")[1].split("\n", 1)
    parser = argparse.ArgumentParser(
        usage=usage, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proof")
    parser.add_argument("--node", default=os.environ.get("POL_NODE") or "http://127.0.0.1:9944")
    parser.add_argument("--document")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    check_hashes()
    try:
        wanted, proof = wanted_document(options.document), read_proof(options.proof)
        # POL_NODE may name several.
        shown = verify(proof, Node(options.node.split(",")[0]), wanted)
    except OSError as error:
        sys.exit(f"verify-proof: {error}")
    except NotProved as error:
        shown = {"proved": False, "reason": str(error)}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # A field that is missing or of another type makes it no proof.
        shown = {"proved": False, "reason": f"it is malformed: {error!r}"}
    if options.json:
        print(json.dumps(shown))
    elif shown["proved"]:
        for record in shown["records"]:
            print(" › ".join([record["origin"]["location"], *record["origin"].get("part", [])]))
        manifest = f"manifest {shown['manifest']}, which is {shown['status']}"
        where = {
            "in": f"is in shards {describe_shards(shown['shards'])} of {manifest}",
            "left out": f"was read for {manifest}, and none of its tokens is in a shard",
            "not in": f"is not among the documents that were read for {manifest}",
        }
        print(f"PROVED: document {shown['document']} {where[shown['presence']]}")
    else:
        print(f"NOT PROVED: {shown['reason']}")
    sys.exit(0 if shown["proved"] else 1)


if __name__ == "__main__":
    main()
