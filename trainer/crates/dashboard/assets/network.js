// SPDX-License-Identifier: Apache-2.0
// Network: the clock of the round, blocks and finality, stake, members, and peers.

import { get } from "./api.js";
import { barChart } from "./charts.js";
import { el } from "./dom.js";
import {
  account,
  amount,
  badge,
  compact,
  count,
  counted,
  decimal,
  duration,
  hash,
  noun,
  percent,
  time,
} from "./format.js";
import { CHAIN, facts, tiles } from "./page.js";

const WORK = {
  idle: "The network waits for data, a recipe, or the next round.",
  train: "Trainers join, lease shards, train, and commit to their updates.",
  reveal: "Trainers open their commitments, and validators fetch the updates.",
  hold: "Validators report the updates that they hold.",
  attest: "Validators agree on the next model.",
};

export function networkPage(page) {
  page.section({
    title: "Round clock",
    size: "wide",
    longest: 10_000,
    events: ["block", "phase", "round"],
    ...CHAIN,
    load: (signal) => get("/consensus", {}, signal),
    show: (consensus) => [clock(consensus), summary(consensus)],
  });
  page.section({
    title: "Stake",
    events: ["round"],
    ...CHAIN,
    about: "Active bonds of validators, which count in every quorum.",
    load: async (signal) => [
      (await get("/consensus", {}, signal)).stake,
      (await get("/consensus/members", { limit: 1000 }, signal)).items,
    ],
    show: ([stake, members]) => stakeOf(stake, members),
  });
  page.section({
    title: "Block production",
    events: ["round"],
    ...CHAIN,
    about: "Authors of the last blocks.",
    load: (signal) => get("/consensus/authors", { window: 1000 }, signal),
    show: production,
  });
  page.table({
    title: "Members",
    path: "/consensus/members",
    events: ["round", "penalty"],
    ...CHAIN,
    empty: "Nobody has a bond yet.",
    columns: memberColumns(),
  });
  page.table({
    title: "Latest blocks",
    path: "/consensus/blocks",
    size: "wide",
    pageSize: 8,
    events: ["block"],
    ...CHAIN,
    columns: [
      { title: "Block", cell: ({ number }) => count(number), number: true },
      { title: "Age", cell: ({ time: at }) => time(at) },
      { title: "Author", cell: ({ author }) => account(author) },
      { title: "Extrinsics", cell: ({ extrinsics }) => count(extrinsics), number: true },
      { title: "Hash", cell: ({ hash: name }) => hash(name) },
    ],
  });
  page.section({
    title: "Peers",
    size: "wide",
    events: ["round"],
    ...CHAIN,
    load: (signal) => get("/peers", { limit: 1000 }, signal),
    show: peers,
  });
}

/** Returns the phases of a round as a bar, with how far the present one is. */
function clock({ clock: round, block_seconds: seconds }) {
  const past = round.now - round.phase_since;
  const left = round.deadline === null ? null : Math.max(0, round.deadline - round.now);
  const at = round.phases.findIndex(({ phase }) => phase === round.phase);
  const step = ({ phase, blocks }, number) => {
    const state = number < at ? "done" : number === at ? "now" : "next";
    const share = state === "done" ? 1 : state === "now" ? Math.min(past / (blocks || 1), 1) : 0;
    const fill = el("i", { "aria-hidden": "true" });
    fill.style.setProperty("--share", share);
    const words = `at most ${count(blocks)} blocks`;
    return el(
      "li",
      { class: state, "aria-current": state === "now" ? "step" : null, title: words },
      fill,
      el("b", {}, phase),
      el("span", { class: "muted small" }, `≤ ${duration(blocks * seconds)}`),
    );
  };
  const rest =
    left === null
      ? "This phase has no deadline."
      : `At most ${duration(left * seconds)} left (${counted(left, "block")}).`;
  return el(
    "div",
    { class: "clock" },
    el(
      "p",
      { class: "headline" },
      `Round ${count(round.round)}: `,
      el("strong", {}, round.phase),
      round.attempt > 0 ? badge(`attempt ${round.attempt + 1}`, "warn") : null,
    ),
    el("ol", { class: "phases", "aria-label": "Phases of the round" }, round.phases.map(step)),
    el(
      "p",
      {},
      `${WORK[round.phase] ?? ""} ${rest} Updates: ${count(round.due)} due, ` +
        `${count(round.committed)} committed, ${count(round.revealed)} revealed.`,
    ),
  );
}

function summary(consensus) {
  const { best, final, head, chain, block_seconds: seconds, members } = consensus;
  return [
    tiles([
      { name: "Best block", value: count(best.number), note: time(best.time) },
      {
        name: "Final block",
        value: count(final.number),
        note: `${count(best.number - final.number)} behind`,
      },
      {
        name: head ? "Head of round" : "Head",
        value: head ? count(head.round) : "none yet",
        note: head
          ? `${compact(head.tokens)} ${noun(head.tokens, "token")} trained on`
          : "waiting for a recipe",
      },
      { name: "Free shards", value: count(consensus.free_shards), note: "to lease" },
      { name: "Trainers", value: count(members?.trainers) },
      {
        name: "Validators",
        value: count(members?.validators),
        note: counted(members?.authorities, "authority", "authorities"),
      },
    ]),
    facts([
      ["Chain", `${chain.name}, runtime ${chain.spec_version}, a block each ${duration(seconds)}`],
      ["Genesis", hash(chain.genesis)],
      ["Model", hash(head?.root)],
      ["Recipe", hash(consensus.recipe)],
    ]),
  ];
}

function stakeOf(stake, members) {
  const holders = members
    .filter((member) => member.stake !== null)
    .sort((a, b) => Number(b.stake) - Number(a.stake));
  const shown = holders.slice(0, 10).map((member) => ({
    label: member.account,
    shown: account(member.account),
    value: Number(member.stake),
    text: amount(member.stake),
  }));
  return [
    tiles([
      {
        name: "Total",
        value: amount(stake.total),
        note: counted(stake.validators, "validator"),
      },
      {
        name: "Gini coefficient",
        value: decimal(stake.gini, 2),
        help: "0 if all stakes are alike, near 1 if one validator has everything",
      },
      {
        name: "Nakamoto coefficient",
        value: count(stake.nakamoto),
        help: "Fewest validators that together have more than a third of the stake",
      },
    ]),
    barChart({
      title: holders.length > 10 ? `The ten largest of ${count(holders.length)} stakes` : "Stakes",
      description: "Bars of the stake of each validator, the largest first.",
      items: shown,
      unit: "stake",
      labels: "Validator",
    }),
  ];
}

function production({ items, window }) {
  const each = window.blocks > 1 ? window.seconds / (window.blocks - 1) : null;
  return [
    tiles([
      { name: "Blocks", value: count(window.blocks), note: `in ${duration(window.seconds)}` },
      { name: "Block time", value: each === null ? "–" : `${decimal(each, 1)} s` },
      { name: "Authors", value: count(items.length) },
    ]),
    barChart({
      title:
        items.length > 10
          ? `The ten busiest of ${count(items.length)} authors`
          : "Blocks by author",
      description: "Bars of the number of blocks of each author, the most first.",
      items: items.slice(0, 10).map((item) => ({
        label: item.account,
        shown: account(item.account),
        value: item.blocks,
        text: `${count(item.blocks)} (${percent(item.blocks / window.blocks)})`,
      })),
      unit: "blocks",
      labels: "Author",
    }),
  ];
}

function memberColumns() {
  const flags = ({ bonded, chilled, absent }) => [
    bonded ? null : badge("bond too small", "warn"),
    chilled ? badge("inactive", "warn") : null,
    absent ? badge("absent", "bad") : null,
    bonded && !chilled && !absent ? badge("active", "good") : null,
  ];
  const reached = ({ endpoint }) =>
    endpoint
      ? [el("span", { class: "mono" }, endpoint.addresses.join(", ")), " ", hash(endpoint.id)]
      : "–";
  return [
    { title: "Account", cell: (member) => account(member.account) },
    { title: "Role", cell: ({ role }) => role ?? "left" },
    { title: "Bond", cell: ({ bond }) => amount(bond), number: true },
    { title: "Stake", cell: ({ stake }) => amount(stake), number: true },
    { title: "State", cell: flags },
    { title: "Endpoint", cell: reached },
    { title: "Since", cell: ({ time: at }) => time(at) },
  ];
}

/** Returns the latencies of members that this process connected to lately. */
function latencies(members) {
  const known = members
    .filter(({ latency_ms: latency }) => latency !== null)
    .sort((a, b) => b.latency_ms - a.latency_ms);
  if (known.length === 0) {
    const text =
      "Only members connect to each other. A trainer, validator, or provider with --api shows " +
      "the latencies of those that it connected to within the last hour.";
    return el("p", { class: "muted" }, text);
  }
  return barChart({
    title:
      known.length > 10
        ? `The ten slowest of ${counted(known.length, "member")} that answered this one`
        : "Latency of the members that answered this one",
    description: "Bars of the round-trip time of the last connection to each, the slowest first.",
    items: known.slice(0, 10).map((member) => ({
      label: member.account,
      shown: account(member.account),
      value: member.latency_ms,
      text: `${decimal(member.latency_ms, 1)} ms`,
    })),
    unit: "ms",
    labels: "Member",
  });
}

function peers({ node, members }) {
  const rows = node?.listed ?? [];
  const ends = members.filter(({ endpoint }) => endpoint);
  return [
    node === null
      ? el("p", {}, "The node does not answer.")
      : tiles([
          {
            name: "Peers of the node",
            value: count(node.peers),
            note: node.syncing ? "syncing" : "in sync",
          },
          {
            name: "Latency of the node",
            value: node.latency_ms === null ? "–" : `${decimal(node.latency_ms, 1)} ms`,
          },
          { name: "Members with an endpoint", value: count(ends.length) },
        ]),
    latencies(ends),
    node
      ? facts([
          ["Node", `${node.version} at ${node.hosts.join(", ")}`],
          ["Identity", hash(node.peer_id)],
        ])
      : null,
    node && node.listed === null
      ? el("p", { class: "muted" }, "The node lists its peers to --rpc-methods unsafe alone.")
      : rows.length > 0
        ? el(
            "ul",
            { class: "plain" },
            rows
              .slice(0, 20)
              .map((peer) =>
                el("li", {}, hash(peer.id), ` ${peer.roles}, block ${count(peer.best)}`),
              ),
          )
        : null,
  ];
}
