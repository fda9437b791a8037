// SPDX-License-Identifier: Apache-2.0

// Makes the fixtures of pol-keystore with the libraries of wallets, into the folder that is named.
// usage: POL_NODE_MODULES=… node scripts/reference/keystores.mjs trainer/crates/keystore/tests/fixtures
import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";
import path from "node:path";

const require = createRequire(path.join(process.env.POL_NODE_MODULES, "package.json"));
const { Keyring } = require("@polkadot/keyring");
const { stringToU8a, u8aConcat } = require("@polkadot/util");
const crypto = require("@polkadot/util-crypto");

// The seed of a phrase that everybody knows, and a password with a letter outside ASCII.
const PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
const PASSWORD = "correct hörse";
// The costs that wallets wrote until 2025. Those of today take longer to decode in a debug build.
const OLDER = { N: 1 << 15, p: 1, r: 8 };

const folder = process.argv[2];
await crypto.cryptoWaitReady();
const write = (name, value) =>
  writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(value, null, 2)}\n`);
const pair = (type, uri) =>
  new Keyring({ type }).addFromUri(uri, { name: `${type} of a wallet`, whenCreated: 1700000000000 });

const wallet = pair("sr25519", `${PHRASE}//fixture/soft`);
write("sr25519", wallet.toJson(PASSWORD));
write("plain", wallet.toJson());
for (const type of ["ed25519", "ecdsa"]) write(type, pair(type, PHRASE).toJson(PASSWORD));
write("ethereum", pair("ethereum", `${PHRASE}/m/44'/60'/0'/0/0`).toJson(PASSWORD));

const salt = new Uint8Array(32).fill(7);
const { password } = crypto.scryptEncode(stringToU8a(PASSWORD), salt, OLDER);
const { encrypted, nonce } = crypto.naclEncrypt(
  wallet.encodePkcs8(), password.subarray(0, 32), new Uint8Array(24).fill(9),
);
const encoded = u8aConcat(crypto.scryptToU8a(salt, OLDER), nonce, encrypted);
const document = crypto.jsonEncryptFormat(encoded, ["pkcs8", "sr25519"], true);
write("older", { ...document, address: wallet.address, meta: wallet.meta });
write("batch", crypto.jsonEncrypt(stringToU8a("[]"), ["batch-pkcs8"], PASSWORD));
console.log(wallet.address);
