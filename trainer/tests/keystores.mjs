// SPDX-License-Identifier: Apache-2.0

// Reads the key file that pol-trainer wrote as a wallet does, and writes one of a wallet's own.
// usage: node keystores.mjs FILE ADDRESS PASSWORD OUT; prints the address of the key in OUT
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const require = createRequire(path.join(process.env.POL_NODE_MODULES, "package.json"));
const { Keyring } = require("@polkadot/keyring");
const { cryptoWaitReady, signatureVerify } = require("@polkadot/util-crypto");

const [file, address, password, out] = process.argv.slice(2);
await cryptoWaitReady();
const keyring = new Keyring({ type: "sr25519" });

const ours = keyring.addFromJson(JSON.parse(readFileSync(file, "utf8")));
assert.equal(ours.address, address);
assert.equal(ours.meta.name, path.basename(file, ".json"));
assert.throws(() => ours.unlock("another password"), /Unable to decode/);
ours.unlock(password);
assert.ok(signatureVerify("message", ours.sign("message"), address).isValid);

const theirs = keyring.addFromUri("//Wallet//soft/path", { name: "of a wallet" });
writeFileSync(out, JSON.stringify(theirs.toJson(password)));
console.log(theirs.address);
