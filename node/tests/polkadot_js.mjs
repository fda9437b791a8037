// Connects to the node at the address given, checks its metadata, transfers from //Alice to //Bob, and asks for the
// learning network. Fails with an assertion.
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
const free = async (account) => (await api.query.system.account(account.address)).data.free.toBigInt();
const [aliceBefore, bobBefore] = [await free(alice), await free(bob)];

const transfer = api.tx.balances.transferKeepAlive(bob.address, AMOUNT);
const { partialFee } = await transfer.paymentInfo(alice);
assert.ok(partialFee.toBigInt() > 0n, "a transfer should cost something");
const events = await new Promise((resolve, reject) => {
  transfer
    .signAndSend(alice, ({ status, events, dispatchError }) => {
      if (dispatchError) reject(new Error(`the transfer failed: ${dispatchError}`));
      if (status.isInvalid || status.isDropped || status.isUsurped) reject(new Error(`the transfer is ${status.type}`));
      if (status.isFinalized) resolve(events.map(({ event }) => event));
    })
    .catch(reject);
});
const transferred = events.find((event) => api.events.balances.Transfer.is(event));
assert.ok(transferred, "there should be a Transfer event");
assert.equal(transferred.data.to.toString(), bob.address);
assert.equal(transferred.data.amount.toBigInt(), AMOUNT);
assert.equal((await free(bob)) - bobBefore, AMOUNT);
// Alice is the only author, so the fee comes back to her.
assert.equal(aliceBefore - (await free(alice)), AMOUNT);

const overview = (await api.rpc.pol.overview()).toJSON();
assert.equal(overview.round.number, 0);
assert.equal(overview.round.phase, "idle");
assert.equal(overview.head, null);
assert.equal(overview.recipeHash, null);
assert.equal(overview.validatorStake, "0");
assert.ok(overview.now > 0 && overview.config.train > overview.config.join);

// What the Apps UI shows is derived from Polkadot's pallets wherever their names are found.
const { currentIndex } = await api.derive.session.indexes();
assert.equal(currentIndex.toNumber(), 0);
assert.equal((await api.derive.chain.getHeader(await api.rpc.chain.getFinalizedHead())).author.toString(), alice.address);

const raw = new WsProvider(process.argv[2]);
await raw.isReady;
const members = await raw.send("pol_members", []);
assert.deepEqual(
  members.map(({ account, role, bond }) => ({ account, role, bond })),
  [{ account: alice.address, role: "authority", bond: (10_000n * POL).toString() }],
);
assert.deepEqual(await raw.send("pol_members", [alice.address]), [], "there is nobody after the only member");
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
assert.equal(await raw.send("pol_shown", [0, alice.address]), null);
assert.equal(await raw.send("pol_auditedLease", [0, alice.address]), null);
assert.deepEqual(await raw.send("pol_rewards", [alice.address]), []);
assert.equal(await raw.send("pol_shard", [0, 0]), null);
assert.deepEqual(await raw.send("pol_books", []), { emitted: "0", seized: "0", paid: "0", burned: "0", waiting: "0" });
const standing = await raw.send("pol_standing", [alice.address]);
assert.deepEqual([standing.nonce, standing.carry, standing.flagged], [0, `0x${"00".repeat(32)}`, false]);
const audits = await raw.send("pol_auditConfig", []);
assert.ok(audits.moreSeats > audits.seats && audits.escrow > 0);

await assert.rejects(raw.send("pol_roundRecord", ["seven"]), /-32602/, "a wrong parameter should be named as such");
await assert.rejects(raw.send("pol_overview", [`0x${"11".repeat(32)}`]), /7001/, "an unknown block should be named as such");
await assert.rejects(raw.send("author_rotateKeys", []), /unsafe/i, "unsafe methods should be refused");

clearTimeout(limit);
await raw.disconnect();
await api.disconnect();
