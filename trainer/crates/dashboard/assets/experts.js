// SPDX-License-Identifier: Apache-2.0
// Experts of the served model that the network's text goes to, by domain.

import { get } from "./api.js";
import { el, svg } from "./dom.js";
import { account, count, counted, decimal, percent, words } from "./format.js";
import { choice, facts } from "./page.js";
import { localTable } from "./table.js";

/** Largest number of experts with a column of their own. */
const COLUMNS = 8;
const DIVISIONS = [
  ["kind", "Kind"],
  ["provider", "Provider"],
  ["source", "Source"],
];

/** Adds the section to a page. */
export function expertsByDomain(page) {
  const asked = { by: "kind", block: null };
  const section = page.section({
    title: "Experts by domain",
    size: "wide",
    needs: "generation",
    missing: {
      text:
        "The chain records how evenly experts are used, and not by which text. A server that has " +
        "the newest model reads samples of the network's text with it:",
      command: "pol-trainer serve",
    },
    about: "The experts that the routers of the newest model choose for text of each domain.",
    tools: choice({
      label: "Domains",
      values: DIVISIONS,
      value: asked.by,
      change: (value) => {
        asked.by = value;
        section.refresh();
      },
    }),
    pause: 10_000,
    events: ["block"],
    load: (signal) => read(asked, signal),
    show: (used) => shown(used, asked, () => section.refresh()),
  });
}

/** Reads the figures. A newer model may lack the block that was chosen. */
async function read(asked, signal) {
  try {
    return { by: asked.by, ...(await get("/experts", asked, signal)) };
  } catch (failure) {
    if (failure.kind !== "refused" || asked.block === null) throw failure;
    asked.block = null;
    return read(asked, signal);
  }
}

function shown(used, asked, refresh) {
  if (used.state !== "measured") return el("p", { class: "empty" }, used.sentence);
  const known = [
    ["Model", used.round === null ? used.model : `round ${count(used.round)}`],
    ["Experts", `${count(used.experts)} in each of ${counted(used.blocks, "block")}`],
  ];
  if (used.unread > 0) known.push(["Not served", counted(used.unread, "sample")]);
  return [
    facts(known),
    el("div", { class: "row" }, el("label", {}, "Block", blocks(used, asked, refresh))),
    localTable({
      caption: "Share of each expert in the choices for the text of a domain",
      columns: columns(used),
      // What all text has in common stands before the domains.
      rows: [{ ...used.all, isAll: true }, ...used.domains],
    }),
    el("p", { class: "muted small" }, used.sentence),
    el(
      "details",
      {},
      el("summary", {}, "Definition of a share"),
      el("p", {}, used.definition),
      el("p", {}, "Experts are numbered as rewrites of the model number them."),
    ),
  ];
}

function blocks(used, asked, refresh) {
  const change = ({ target }) => {
    asked.block = target.value === "" ? null : Number(target.value);
    refresh();
  };
  const option = (value, text) =>
    el("option", { value: value ?? "", selected: value === used.block }, text);
  return el(
    "select",
    { onchange: change },
    option(null, "mean of all"),
    Array.from({ length: used.blocks }, (_, block) => option(block, String(block))),
  );
}

function columns({ by, all, experts }) {
  const numbers = [...all.shares.keys()];
  const most = numbers.sort((a, b) => all.shares[b] - all.shares[a] || a - b).slice(0, COLUMNS);
  const own = most.sort((a, b) => a - b);
  const others = ({ shares }) =>
    shares.reduce((sum, share, expert) => (own.includes(expert) ? sum : sum + share), 0);
  const columnOf = (title, share, help = null) => ({
    title,
    cell: (domain) => shareOf(share(domain)),
    number: true,
    help,
  });
  const title = DIVISIONS.find(([key]) => key === by)[1];
  const shares = own.map((expert) =>
    columnOf(`Expert ${expert}`, (domain) => domain.shares[expert]),
  );
  if (experts > own.length) {
    const help = `The other ${counted(experts - own.length, "expert")}, which get less text`;
    shares.push(columnOf("Others", others, help));
  }
  const address = {
    title: "Address",
    cell: (domain) => el("span", { class: "address" }, domain.address ?? ""),
  };
  return [
    { title, cell: (domain) => (domain.isAll ? "All" : nameOf(by, domain)) },
    ...(by === "source" ? [address] : []),
    { title: "Tokens", cell: ({ tokens }) => count(tokens), number: true },
    {
      title: "Loss",
      cell: ({ loss }) => decimal(loss, 2),
      number: true,
      help: "Nats per token, on text from which the model may have learned",
    },
    ...shares,
  ];
}

function nameOf(by, { kind, provider, source }) {
  if (by === "kind") return words(kind);
  if (by === "provider") return account(provider);
  return el("a", { href: `/dashboard/data?source=${source}` }, String(source));
}

/** Returns a share as a bar with its figure. */
function shareOf(share) {
  const bar = svg(
    "svg",
    { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 100, height: 10 }),
    svg("rect", { class: "fill s0", width: 100 * share, height: 10 }),
  );
  return el("span", { class: "share" }, percent(share), bar);
}
