// SPDX-License-Identifier: Apache-2.0
// Documents in the data on the machine of the server, and where each of them went.

import { get } from "./api.js";
import { barChart } from "./charts.js";
import { el } from "./dom.js";
import { badge, bytes, count, counted, hash, noun, percent } from "./format.js";
import { facts, tiles } from "./page.js";
import { localTable } from "./table.js";

/** Shards of a document whose walk to the heads is shown. */
const WALKED = 6;
/** Bars of a chart. */
const LISTED = 10;
const HASH = /^(0x)?[0-9a-f]{64}$/i;
const OPTIONS = {
  size: "wide",
  needs: "documents",
  missing: {
    text:
      "This server has no records of documents. They are on the machine of the provider of the " +
      "data. Start a server there with its folder:",
    command: "pol-trainer serve --no-model --node ws://127.0.0.1:9944 --data DIR",
  },
};

const place = (kind, name) => `/dashboard/data?${kind}=${encodeURIComponent(name)}`;
const shardName = (document, index) => `${document.manifest}/${index}`;

/** Shows the documents with a hash, with words in their address, or with a passage. */
export function findDocuments(page, kind, name, columns) {
  const parameter = kind === "passage" ? "passage" : HASH.test(name) ? "hash" : "address";
  page.section({
    ...OPTIONS,
    title: kind === "passage" ? "Documents with the passage" : `Document ${name}`,
    // A search reads all records, and those of a folder seldom change.
    longest: Infinity,
    load: async (signal) => {
      const found = await get("/documents", { [parameter]: name }, signal);
      const walk = found.items.length === 1 ? await lineage(found.items[0], signal) : null;
      return { ...found, walk };
    },
    show: (found) => [
      summary(found),
      found.items.length === 1
        ? one(found.items[0], found.walk, columns)
        : list(found.items, "Documents that were found"),
    ],
  });
}

/** Shows the documents that have tokens in a shard. */
export function documentsOfShard(page, shard) {
  page.section({
    ...OPTIONS,
    title: `Documents in shard ${shard}`,
    longest: Infinity,
    load: (signal) => get("/documents", { shard }, signal),
    show: (found) => [summary(found), list(found.items, `Documents in shard ${shard}`)],
  });
}

/** Shows what the ingestion on the machine of the server kept, and what it dropped. */
export function ingestedText(page) {
  page.section({
    ...OPTIONS,
    title: "Text on this machine",
    about:
      "What the rules kept of the documents here. The chain knows no documents, so nobody counts " +
      "the duplicates of a whole network.",
    load: (signal) => get("/documents/summary", {}, signal),
    show: kept,
  });
}

function kept({ folders, train, held_out: heldOut, duplicates, dropped, refused, ...rest }) {
  if (folders === 0) return el("p", { class: "empty" }, "No ingestion has ended here yet.");
  const documents = train.documents + heldOut.documents;
  const all = dropped.reduce((sum, one) => sum + one.documents, documents);
  const twice = duplicates.exact + duplicates.near;
  const languages = rest.languages.slice(0, LISTED);
  return [
    tiles([
      {
        name: "Kept",
        value: count(documents),
        note: `${noun(documents, "document")}, ${bytes(train.bytes + heldOut.bytes)}`,
      },
      {
        name: "Duplicates",
        value: count(twice),
        note: `${percent(twice / (all || 1))} of ${counted(all, "document")}`,
        help: "Documents that were dropped since another one has their text",
      },
      { name: "Exact", value: count(duplicates.exact), note: "with the same text" },
      { name: "Near", value: count(duplicates.near), note: "with nearly the same text" },
      { name: "Mean quality", value: percent(rest.mean_quality) },
      { name: "Unreadable", value: count(refused), note: "no text" },
    ]),
    dropped.length === 0
      ? el("p", { class: "muted" }, "No rule has dropped a document.")
      : barChart({
          title: "Dropped documents by rule",
          description: "Bars of the documents that each rule dropped, the most first.",
          items: dropped.slice(0, LISTED).map(({ rule, documents: number }) => ({
            label: rule,
            value: number,
            text: counted(number, "document"),
          })),
          unit: "documents",
          labels: "Rule",
        }),
    languages.length === 0
      ? null
      : barChart({
          title: "Text by language",
          description: "Bars of the text that remains in each language, the most first.",
          items: languages.map(({ language, bytes: size }) => ({
            label: language,
            value: size,
            text: bytes(size),
          })),
          unit: "bytes",
          labels: "Language",
        }),
  ];
}

/** Returns where the shards of a document went, as far as the index knows. */
async function lineage(document, signal) {
  const walk = { sources: [], manifests: [], shards: [], heads: [] };
  if (document.manifest === null) return walk;
  const keys = { sources: "source", manifests: "manifest", heads: "round" };
  for (const index of document.shards.slice(0, WALKED)) {
    const found = await get("/data-lineage", { shard: shardName(document, index) }, signal);
    walk.shards.push(...found.shards);
    for (const [list, key] of Object.entries(keys)) {
      const isNew = (item) => walk[list].every((known) => known[key] !== item[key]);
      walk[list].push(...found[list].filter(isNew));
    }
  }
  return walk;
}

function summary({ items, documents, complete }) {
  const text = `${count(items.length)} of ${counted(documents, "document")} on this machine.`;
  const rest =
    "The search ended early, at 50 documents or after eight seconds. A hash, or more words, " +
    "finds the others.";
  return el("p", { class: "muted" }, complete ? text : `${text} ${rest}`);
}

function state(document) {
  if (document.dropped_by !== null) return badge(`dropped by ${document.dropped_by}`, "warn");
  if (document.tokens === null) return badge("in no shard");
  return document.held_out ? badge("held out") : badge("in shards", "good");
}

/** Returns links to the shards of a document, or the reason why there are none. */
function shards(document, most) {
  if (document.shards.length === 0) return "none";
  if (document.manifest === null) {
    return `${count(document.shards.length)}, of a manifest that the index does not know`;
  }
  const link = (index) => {
    const name = shardName(document, index);
    return [el("a", { href: place("shard", name) }, name), " "];
  };
  const rest = document.shards.length - most;
  return [document.shards.slice(0, most).map(link), rest > 0 ? `and ${count(rest)} more` : null];
}

function one(document, walk, columns) {
  const quality = document.quality === null ? null : ["Quality", percent(document.quality)];
  const known = [
    ["Source", document.source],
    ["Address", el("span", { class: "address" }, document.address)],
    ["Part", document.part ?? "the whole"],
    ["State", state(document)],
    ["Raw bytes", hash(document.raw)],
    ["Clean text", [hash(document.text), ` ${bytes(document.bytes)}`]],
    ["Tokens", count(document.tokens)],
    ["Language", document.language ?? "not known"],
    ["Licence", document.licence ?? "none stated"],
    quality,
    document.survivor === null
      ? null
      : ["Like", hash(document.survivor, place("document", document.survivor))],
    [
      "Manifest",
      document.manifest === null
        ? "not known to the index"
        : el("a", { href: place("manifest", document.manifest) }, String(document.manifest)),
    ],
    ["Shards", shards(document, document.shards.length)],
  ];
  const isWalked = document.manifest !== null && document.shards.length > 0;
  const more =
    document.shards.length > WALKED
      ? el("p", { class: "muted small" }, `The walk is that of its first ${WALKED} shards.`)
      : null;
  return [facts(known.filter(Boolean)), isWalked ? [columns(walk), more] : null];
}

function list(items, caption) {
  return localTable({
    caption,
    rows: items,
    empty: "No document on this machine is like that.",
    columns: [
      {
        title: "Document",
        cell: (one) =>
          el("a", { href: place("document", one.raw), class: "address" }, one.address || one.raw),
      },
      { title: "Part", cell: ({ part }) => part ?? "–" },
      { title: "Source", cell: ({ source }) => source },
      { title: "State", cell: state },
      { title: "Shards", cell: (one) => shards(one, 3) },
      { title: "Text", cell: (one) => bytes(one.bytes), number: true },
      { title: "Licence", cell: ({ licence }) => licence ?? "–" },
    ],
  });
}
