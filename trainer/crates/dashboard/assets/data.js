// SPDX-License-Identifier: Apache-2.0
// Data: its sources and quality, how much of it was trained on, and where each part went.

import { get } from "./api.js";
import { barChart, histogram } from "./charts.js";
import { documentsOfShard, findDocuments, ingestedText } from "./documents.js";
import { el, go } from "./dom.js";
import {
  account,
  badge,
  compact,
  count,
  counted,
  decimal,
  hash,
  noun,
  percent,
  time,
  words,
} from "./format.js";
import { outcome } from "./learning.js";
import { CHAIN, tiles } from "./page.js";
import { table } from "./table.js";

/** Kinds of names by which data is found, with examples. */
const KINDS = [
  ["shard", "Shard", "manifest/shard, such as 3/17"],
  ["manifest", "Manifest", "number, such as 3"],
  ["source", "Source", "number, such as 1"],
  ["round", "Round", "number, such as 12"],
  ["hash", "Hash", "0x… of a manifest's content or documents, or of a model"],
  ["document", "Document", "hash of its raw bytes or text, or part of its address or title"],
  ["passage", "Passage", "words of the text of a document, such as a sentence"],
];

const place = (kind, name) => `/dashboard/data?${kind}=${encodeURIComponent(name)}`;
const link = (kind, name, text = name) => el("a", { href: place(kind, name) }, String(text));

export function dataPage(page) {
  const asked = KINDS.find(([kind]) => page.parameters.has(kind));
  if (asked) {
    const [kind, name] = [asked[0], page.parameters.get(asked[0])];
    page.add(search(kind, name));
    if (kind === "document" || kind === "passage") findDocuments(page, kind, name, columns);
    else walk(page, kind, name);
    if (kind === "shard") documentsOfShard(page, name);
    return;
  }
  overview(page);
  ingestedText(page);
  page.add(search("shard", ""));
  page.table({
    title: "Manifests",
    path: "/data/manifests",
    events: ["round"],
    ...CHAIN,
    empty: "Nobody has registered data yet.",
    columns: manifestColumns(),
  });
  page.table({
    title: "Sources",
    path: "/data/sources",
    events: ["round"],
    ...CHAIN,
    empty: "Nobody has registered a source yet.",
    columns: sourceColumns(),
  });
}

function overview(page) {
  const load = (signal) => get("/data", {}, signal);
  page.section({
    title: "Consumption",
    size: "wide",
    events: ["round"],
    ...CHAIN,
    about: "Each shard is trained on once. Those of refused or withdrawn data are never.",
    load,
    show: consumption,
  });
  page.section({
    title: "Mix of sources",
    events: ["round"],
    ...CHAIN,
    load,
    show: ({ mix }) =>
      barChart({
        title: "Tokens by kind of source",
        description: "Bars of the tokens of each kind of source that trainers may lease.",
        items: mix.map(({ kind, tokens, manifests }, number) => ({
          label: words(kind ?? "not admitted"),
          value: tokens,
          text:
            `${compact(tokens)} ${noun(tokens, "token")}, ` + counted(manifests, "manifest"),
          kind: number,
        })),
        unit: "tokens",
        labels: "Kind",
      }),
  });
  page.section({
    title: "Quality",
    events: ["round"],
    ...CHAIN,
    about: "Estimates of the providers, from 0 to 1.",
    load,
    show: ({ quality }) =>
      histogram({
        title: "Manifests by quality",
        description: "Number of manifests in each of ten ranges of quality.",
        bins: quality.map(({ from, to, manifests }) => ({ from, to, value: manifests })),
        x: { label: "quality" },
        y: { label: "manifests", format: count, least: 1 },
      }),
  });
}

function consumption({ manifests, sources, mix, held_out: heldOut, free_shards: free }) {
  const sum = (name) => mix.reduce((total, entry) => total + (entry[name] ?? 0), 0);
  const [shards, consumed, leased] = [sum("shards"), sum("consumed"), sum("leased")];
  const stages = Object.entries(manifests).filter(([, number]) => number > 0);
  return [
    tiles([
      {
        name: "Shards trained on",
        value: count(consumed),
        note: `of ${count(shards)}, ${percent(consumed / (shards || 1))}`,
      },
      { name: "Free to lease", value: count(free), note: noun(free, "shard") },
      {
        name: "Leased",
        value: count(leased),
        note: noun(leased, "shard"),
        help: "Shards of leases, and of updates that audits have not settled yet",
      },
      { name: "Tokens offered", value: compact(sum("tokens")) },
      {
        name: "Sources",
        value: count(sources.present),
        note: `${count(sources.withdrawn)} withdrawn`,
      },
      {
        name: "Held out",
        value: count(heldOut),
        note: `${noun(heldOut, "manifest")}, to measure with`,
      },
    ]),
    barChart({
      title: "Shards trained on, by kind",
      description: "Bars of the share of the shards of each kind of source that were trained on.",
      items: mix.map((entry, number) => ({
        label: words(entry.kind ?? "not admitted"),
        value: entry.shards ? entry.consumed / entry.shards : 0,
        text: `${count(entry.consumed)} of ${count(entry.shards)}`,
        kind: number,
      })),
      unit: "share",
      labels: "Kind",
      most: 1,
    }),
    el(
      "p",
      { class: "badges" },
      "Manifests: ",
      stages.map(([stage, number]) => badge(`${count(number)} ${words(stage)}`)),
    ),
  ];
}

function manifestColumns() {
  return [
    { title: "Manifest", cell: ({ manifest }) => link("manifest", manifest) },
    { title: "Source", cell: ({ source }) => link("source", source) },
    { title: "Kind", cell: ({ kind }) => words(kind) },
    {
      title: "Stage",
      cell: ({ stage, held_out: heldOut }) => [
        badge(words(stage)),
        heldOut ? badge("held out") : null,
      ],
    },
    { title: "Shards", cell: ({ shards }) => count(shards), number: true },
    { title: "Tokens", cell: (one) => compact(one.shards * one.shard_tokens), number: true },
    { title: "Quality", cell: ({ quality }) => decimal(quality, 2), number: true },
    { title: "Made by", cell: ({ activity }) => words(activity) },
    { title: "Content", cell: ({ content }) => hash(content, place("hash", content)) },
    { title: "Changed", cell: ({ time: at }) => time(at) },
  ];
}

function sourceColumns() {
  return [
    { title: "Source", cell: ({ source }) => link("source", source) },
    { title: "Address", cell: ({ address }) => el("span", { class: "address" }, address) },
    { title: "Licence", cell: ({ licence }) => licence || "–" },
    { title: "Provider", cell: ({ owner }) => account(owner) },
    {
      title: "State",
      cell: ({ withdrawn }) => (withdrawn ? badge("withdrawn", "warn") : badge("present", "good")),
    },
    { title: "Since", cell: ({ time: at }) => time(at) },
  ];
}

/** Returns the search for a part of the data. */
function search(kind, name) {
  const hint = el("p", { class: "muted small", id: "search-hint" });
  const tell = () => {
    hint.textContent = KINDS.find(([key]) => key === select.value)[2];
  };
  const select = el(
    "select",
    { name: "kind", "aria-label": "Kind of name", onchange: tell },
    KINDS.map(([key, title]) => el("option", { value: key, selected: key === kind }, title)),
  );
  const input = el("input", {
    name: "name",
    value: name,
    required: true,
    maxlength: 400,
    "aria-label": "Name",
    "aria-describedby": "search-hint",
    autocomplete: "off",
    spellcheck: "false",
  });
  const form = el(
    "form",
    {
      class: "search",
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        go(place(select.value, input.value.trim()));
      },
    },
    select,
    input,
    el("button", { class: "primary" }, "Follow"),
  );
  tell();
  return el(
    "section",
    { class: "card wide", "aria-labelledby": "search-title" },
    el("header", {}, el("h2", { id: "search-title" }, "Follow data")),
    el(
      "p",
      { class: "about" },
      "From a source to its shards, the rounds that trained on them, and the models that learned " +
        "from them, and back. Documents and passages are found in the data of this machine.",
    ),
    form,
    hint,
  );
}

/** Shows the lineage of a part of the data, in both directions. */
function walk(page, kind, name) {
  let trail = [null];
  const turn = (change) => () => {
    change();
    section.refresh();
  };
  const section = page.section({
    title: `Lineage of ${kind} ${name}`,
    size: "wide",
    events: ["round", "settled"],
    ...CHAIN,
    load: (signal) => get("/data-lineage", { [kind]: name, after: trail.at(-1) }, signal),
    show: (found) =>
      found.found === null
        ? el("p", { class: "empty" }, "The index knows nothing by this name.")
        : [columns(found), shardTable(found.shards), manifestTable(found), pager(found.next)],
  });
  const pager = (next) =>
    el(
      "nav",
      { class: "pager", "aria-label": "Pages of the lineage" },
      el(
        "button",
        { type: "button", disabled: trail.length === 1, onclick: turn(() => trail.pop()) },
        "Previous",
      ),
      el("span", { class: "muted" }, `Page ${trail.length}`),
      el(
        "button",
        { type: "button", disabled: !next, onclick: turn(() => trail.push(next)) },
        "Next",
      ),
    );
}

function columns({ sources, manifests, shards, heads }) {
  const stop = (title, items, more) =>
    el(
      "li",
      {},
      el("h3", {}, title),
      items.length === 0 ? el("p", { class: "muted" }, "none") : el("ul", {}, items.slice(0, 6)),
      items.length > 6
        ? el("p", { class: "muted small" }, `and ${count(items.length - 6)} more ${more}`)
        : null,
    );
  const source = (one) =>
    el(
      "li",
      {},
      link("source", one.source, `Source ${one.source}`),
      el("span", { class: "muted small address" }, one.address),
    );
  const manifest = (one) =>
    el(
      "li",
      {},
      link("manifest", one.manifest, `Manifest ${one.manifest}`),
      el(
        "span",
        { class: "muted small" },
        `${words(one.kind)}, ${count(one.consumed)} of ${counted(one.shards, "shard")} used`,
      ),
    );
  const shard = (one) =>
    el(
      "li",
      {},
      link("shard", `${one.manifest}/${one.shard}`, `Shard ${one.manifest}/${one.shard}`),
      el("span", { class: "muted small" }, "effect ", decimal(one.delta, 6), " nats"),
    );
  const head = (one) =>
    el(
      "li",
      {},
      link("round", one.round, `Round ${one.round}`),
      el("span", { class: "muted small" }, one.root ? hash(one.root) : "void"),
    );
  return el(
    "ol",
    { class: "lineage", "aria-label": "From sources to models" },
    stop("Sources", sources.map(source), "sources"),
    stop("Manifests", manifests.map(manifest), "manifests"),
    stop("Shards", shards.map(shard), "below"),
    stop("Heads", heads.map(head), "heads"),
  );
}

function shardTable(shards) {
  if (shards.length === 0) return null;
  return table({
    caption: "Uses of shards",
    rows: shards,
    columns: [
      {
        title: "Shard",
        cell: (one) => link("shard", `${one.manifest}/${one.shard}`),
      },
      { title: "Round", cell: ({ round }) => link("round", round), number: true },
      { title: "Trainer", cell: (one) => account(one.account) },
      {
        title: "Effect",
        cell: ({ delta }) => decimal(delta, 6),
        number: true,
        help: "Improvement of the model on the shard, in nats per token",
      },
      { title: "Update", cell: (one) => outcome(one.outcome) },
      {
        title: "Audit",
        cell: ({ audit }) =>
          audit === null ? "–" : el("a", { href: `/dashboard/audits?audit=${audit}` }, `#${audit}`),
      },
      { title: "Head", cell: ({ head }) => hash(head, head ? place("hash", head) : null) },
      { title: "When", cell: ({ time: at }) => time(at) },
    ],
  });
}

function manifestTable({ manifests }) {
  const many = manifests.filter(({ parents, children }) => parents.length + children.length > 0);
  if (many.length === 0) return null;
  const list = (names) =>
    names.length === 0 ? "none" : names.map((name) => [link("manifest", name), " "]);
  return table({
    caption: "Manifests made from others",
    rows: many,
    columns: [
      { title: "Manifest", cell: ({ manifest }) => link("manifest", manifest) },
      { title: "Made from", cell: ({ parents }) => list(parents) },
      { title: "Others made from it", cell: ({ children }) => list(children) },
    ],
  });
}
