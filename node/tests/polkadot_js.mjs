// SPDX-License-Identifier: Apache-2.0

// Connects to the node at the given address, checks its metadata, transfers from //Alice to //Bob,
// and queries the learning network. Fails with an assertion.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.POL_NODE_MODULES, "package.json"));
const { ApiPromise, Keyring, WsProvider } = require("@polkadot/api");
const { cryptoWaitReady } = require("@polkadot/util-crypto");

const POL = 1_000_000_000_000n;
const AMOUNT = 42n * POL;
const LIMIT_MS = 120_000;

const limit = setTimeout(() => {
  console.error(`no answer within ${LIMIT_MS / 1000} s`);
  process.exit(1);
}, LIMIT_MS);

await cryptoWaitReady();
const rpc = { pol: { overview: { description: "The network", params: [], type: "Json" } } };
const api = await ApiPromise.create({ provider: new WsProvider(process.argv[2]), rpc });

for (const pallet of ["proofOfLearning", "polStaking", "lineage", "rewards"]) {
  assert.ok(api.tx[pallet], `metadata should have calls of ${pallet}`);
  assert.ok(api.query[pallet], `metadata should have storage of ${pallet}`);
}
assert.deepEqual(api.registry.chainTokens, ["POL"]);
assert.deepEqual(api.registry.chainDecimals, [12]);
assert.equal(api.registry.chainSS58, 42);

const keyring = new Keyring({ type: "sr25519" });
const [alice, bob] = ["//Alice", "//Bob"].map((uri) => keyring.addFromUri(uri));
const free = async ({ address }) => (await api.query.system.account(address)).data.free.toBigInt();
const [aliceBefore, bobBefore] = [await free(alice), await free(bob)];

const transfer = api.tx.balances.transferKeepAlive(bob.address, AMOUNT);
const { partialFee } = await transfer.paymentInfo(alice);
assert.ok(partialFee.toBigInt() > 0n, "a transfer should cost something");
const events = await new Promise((resolve, reject) => {
  transfer
    .signAndSend(alice, ({ status, events, dispatchError }) => {
      if (dispatchError) reject(new Error(`the transfer failed: ${dispatchError}`));
      if (status.isInvalid || status.isDropped || status.isUsurped) {
        reject(new Error(`the transfer is ${status.type}`));
      }
      if (status.isFinalized) resolve(events.map(({ event }) => event));
    })
    .catch(reject);
});
const transferred = events.find((event) => api.events.balances.Transfer.is(event));
assert.ok(transferred, "there should be a Transfer event");
assert.equal(transferred.data.to.toString(), bob.address);
assert.equal(transferred.data.amount.toBigInt(), AMOUNT);
assert.equal((await free(bob)) - bobBefore, AMOUNT);
// Alice is the only author, so she receives a fifth of her fee. The rest is burned.
const { actualFee, tip } = events.find((event) =>
  api.events.transactionPayment.TransactionFeePaid.is(event),
).data;
const fee = actualFee.toBigInt();
assert.ok(fee > 0n && tip.toBigInt() === 0n);
assert.equal(aliceBefore - (await free(alice)), AMOUNT + fee - fee / 5n);

const overview = (await api.rpc.pol.overview()).toJSON();
assert.equal(overview.round.number, 0);
assert.equal(overview.round.phase, "idle");
assert.equal(overview.head, null);
assert.equal(overview.recipeHash, null);
assert.equal(overview.validatorStake, "0");
assert.ok(overview.now > 0 && overview.config.train > overview.config.join);

// The Apps UI derives its data from Polkadot's pallets, if it finds their names.
const { currentIndex } = await api.derive.session.indexes();
assert.equal(currentIndex.toNumber(), 0);
const header = await api.derive.chain.getHeader(await api.rpc.chain.getFinalizedHead());
assert.equal(header.author.toString(), alice.address);

const raw = new WsProvider(process.argv[2]);
await raw.isReady;
const members = await raw.send("pol_members", []);
assert.deepEqual(
  members.map(({ account, role, bond }) => ({ account, role, bond })),
  [{ account: alice.address, role: "authority", bond: (10_000n * POL).toString() }],
);
const rest = await raw.send("pol_members", [alice.address]);
assert.deepEqual(rest, [], "no member should follow the only one");
assert.equal(await raw.send("pol_head", []), null);
assert.equal(await raw.send("pol_recipe", []), null);
assert.equal(await raw.send("pol_roundRecord", [7]), null);
assert.equal(await raw.send("pol_lease", [alice.address]), null);
assert.equal(await raw.send("pol_manifest", [0]), null);
for (const method of ["pol_submissions", "pol_history", "pol_updates"]) {
  assert.deepEqual(await raw.send(method, [0]), [], method);
}
assert.equal(await raw.send("pol_recipeByHash", [`0x${"11".repeat(32)}`]), null);
assert.deepEqual(await raw.send("pol_excisions", []), []);
assert.deepEqual(await raw.send("pol_audits", []), []);
assert.equal(await raw.send("pol_auditResponse", [0, alice.address]), null);
assert.equal(await raw.send("pol_auditedLease", [0, alice.address]), null);
assert.deepEqual(await raw.send("pol_rewards", [alice.address]), []);
const explained = await raw.send("pol_explain", [alice.address, 7]);
assert.deepEqual([explained.account, explained.state], [alice.address, "future"]);
assert.deepEqual([explained.amount, explained.parts.length], [null, 3]);
assert.equal(await raw.send("pol_shard", [0, 0]), null);
const books = { emitted: "0", seized: "0", paid: "0", burned: "0", waiting: "0" };
assert.deepEqual(await raw.send("pol_ledger", []), books);
const standing = await raw.send("pol_standing", [alice.address]);
const { nonce, carry, flagged, lapses } = standing;
assert.deepEqual([nonce, carry, flagged, lapses], [0, `0x${"00".repeat(32)}`, false, 0]);
const audits = await raw.send("pol_auditConfig", []);
assert.ok(audits.moreSeats > audits.seats && audits.escrow > 0);

const rejects = (method, parameters, error, message) =>
  assert.rejects(raw.send(method, parameters), error, message);
const unknown = `0x${"11".repeat(32)}`;
await rejects("pol_roundRecord", ["seven"], /-32602/, "invalid parameters should have their code");
await rejects("pol_overview", [unknown], /7001/, "an unknown block should have its code");
await rejects("author_rotateKeys", [], /unsafe/i, "unsafe methods should be rejected");

clearTimeout(limit);
await raw.disconnect();
await api.disconnect();
