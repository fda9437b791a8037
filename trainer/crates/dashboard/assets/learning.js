// SPDX-License-Identifier: Apache-2.0
// Learning: the loss of every head, the measures of the mind, and the updates of each round.

import { get, history } from "./api.js";
import { barChart, gauge, lineChart } from "./charts.js";
import { el } from "./dom.js";
import { expertsByDomain } from "./experts.js";
import {
  account,
  badge,
  compact,
  count,
  counted,
  decimal,
  duration,
  hash,
  percent,
  time,
  words,
} from "./format.js";
import { CHAIN, choice, facts, tiles } from "./page.js";

const ROUNDS = [
  ["100", "100"],
  ["1000", "1,000"],
  ["10000", "10,000"],
];
const outcomes = { valid: "good", invalid: "bad", withheld: "bad", tainted: "warn" };

/** Returns an outcome of an update as a badge. */
export const outcome = (name) => badge(words(name ?? "open"), outcomes[name] ?? "neutral");

export function learningPage(page) {
  let most = 1000;
  const loss = page.section({
    title: "Loss of every head",
    size: "wide",
    events: ["measured", "round"],
    ...CHAIN,
    about: "Measured by validators on text that nobody trains on.",
    tools: choice({
      label: "Number of rounds",
      values: ROUNDS,
      value: "1000",
      change: (value) => {
        most = Number(value);
        loss.refresh();
      },
    }),
    load: (signal) => history("/consciousness/history", most, {}, signal),
    show: losses,
  });
  page.section({
    title: "Measures of the mind",
    size: "wide",
    events: ["measured"],
    ...CHAIN,
    about:
      "Numbers measured of the newest head. They are mechanisms and metrics, and no evidence of " +
      "sentience. A model that lacks a part of the level has none.",
    load: (signal) => get("/consciousness", {}, signal),
    show: mind,
  });
  expertsByDomain(page);
  page.section({
    title: "Speed",
    events: ["round"],
    ...CHAIN,
    load: newestUpdates,
    show: speeds,
  });
  page.section({
    title: "Training on this machine",
    missing: { text: "This server does not share its metrics." },
    pause: 5_000,
    events: ["block"],
    load: (signal) => get("/metrics", {}, signal),
    show: machineFigures,
  });
  page.section({
    title: "Gradients of this trainer",
    size: "wide",
    needs: "train",
    missing: {
      text:
        "The chain records no norms of gradients: only the process that trains knows its own. A " +
        "trainer with --api shows them here:",
      command: "pol-trainer --key-file key.json --api",
    },
    pause: 5_000,
    events: ["block"],
    load: (signal) => get("/train/history", {}, signal),
    show: gradients,
  });
  rounds(page);
}

function losses(items) {
  if (items.length === 0) return el("p", { class: "empty" }, "No head has been measured yet.");
  const [first, last] = [items[0], items.at(-1)];
  const points = (name) =>
    items.filter((item) => item[name] !== null).map((item) => [item.round, item[name]]);
  const change = last.loss - first.loss;
  return [
    tiles([
      { name: "Loss", value: decimal(last.loss), note: "nats per token" },
      {
        name: "Perplexity",
        value: decimal(Math.exp(last.loss), 1),
        help: "e to the power of the loss",
      },
      {
        name: `Since round ${count(first.round)}`,
        value: `${change > 0 ? "+" : "−"}${decimal(Math.abs(change))}`,
        note: "nats per token",
      },
      { name: "Round", value: count(last.round), note: time(last.time) },
    ]),
    lineChart({
      title: "Loss by round",
      description:
        `Loss of the heads of rounds ${first.round} to ${last.round}, from ` +
        `${decimal(first.loss)} to ${decimal(last.loss)} nats per token.`,
      series: [{ name: "Loss", points: points("loss") }],
      x: { label: "round", format: count, least: 1 },
      y: { label: "nats per token" },
    }),
    lineChart({
      title: "Level and its parts by round",
      description: "Consciousness level, self-awareness, and reasoning of the heads, 0 to 1.",
      series: [
        ["Level", "level"],
        ["Self-awareness", "self_awareness"],
        ["Reasoning", "reasoning"],
        ["Introspection", "introspection"],
        ["Experts used", "utilisation"],
      ].map(([name, key]) => ({ name, points: points(key) })),
      x: { label: "round", format: count, least: 1 },
      y: { label: "0 to 1" },
      fromZero: true,
    }),
  ];
}

function mind({ definitions, latest }) {
  if (latest === null) return el("p", { class: "empty" }, "No head has been measured yet.");
  const isShare = ({ range }) => range && range[0] === 0 && range[1] === 1;
  const dial = ({ name, title, weight }) =>
    gauge({
      title,
      value: latest[name],
      text: decimal(latest[name], 2),
      help: weight === null || weight === undefined ? null : `${percent(weight, 0)} of the level`,
    });
  const rest = definitions.filter((definition) => !isShare(definition));
  const meaning = ({ title, definition, source }) => [
    el("dt", {}, title),
    el("dd", {}, definition, source ? el("span", { class: "muted small" }, ` ${source}`) : null),
  ];
  return [
    el("div", { class: "dials" }, definitions.filter(isShare).map(dial)),
    facts([
      ...rest.map(({ name, title, unit }) => [title, `${decimal(latest[name])} ${unit ?? ""}`]),
      ["Measured by", `${percent(latest.share)} of the stake, in round ${count(latest.round)}`],
    ]),
    el(
      "details",
      {},
      el("summary", {}, "Definitions and sources"),
      el("dl", { class: "definitions" }, definitions.map(meaning)),
    ),
  ];
}

/** Returns the newest round that ended, with the updates of its trainers. */
async function newestUpdates(signal) {
  const { items } = await get("/consensus/rounds", { limit: 1 }, signal);
  if (items.length === 0) return null;
  const [{ round }] = items;
  const updates = await get("/training-deltas", { round, limit: 100 }, signal);
  return { round, updates: updates.items.filter((update) => update.tokens_per_second !== null) };
}

function speeds(newest) {
  if (newest === null) return el("p", { class: "empty" }, "No round has ended yet.");
  const { round, updates } = newest;
  const sum = updates.reduce((total, update) => total + update.tokens_per_second, 0);
  const fastest = [...updates].sort((a, b) => b.tokens_per_second - a.tokens_per_second);
  return [
    tiles([
      { name: "Together", value: compact(sum), note: "tokens/s" },
      { name: "Trainers", value: count(updates.length), note: `in round ${count(round)}` },
    ]),
    barChart({
      title: `Speed in round ${count(round)}`,
      description: "Bars of the tokens per second that each trainer claims, the fastest first.",
      items: fastest.slice(0, 10).map((update) => ({
        label: update.account,
        shown: account(update.account),
        value: update.tokens_per_second,
        text: `${compact(update.tokens_per_second)}/s`,
      })),
      unit: "tokens/s",
      labels: "Trainer",
    }),
  ];
}

/** Returns figures of the metrics of this process, where it trains. */
function machineFigures({ metrics }) {
  const values = (name) =>
    metrics.find((metric) => metric.name === `pol_trainer_${name}`)?.values ?? [];
  const sum = (name) => {
    const known = values(name).filter(({ value }) => Number.isFinite(value));
    return known.length === 0 ? null : known.reduce((total, { value }) => total + value, 0);
  };
  if (sum("tokens_total") === null) {
    const text = "This process does not train. A trainer with --api shows its figures here.";
    return el("p", { class: "empty" }, text);
  }
  const [spans] = values("segment_duration_seconds");
  const updates = values("updates_total").filter(({ value }) => value > 0);
  return [
    tiles([
      { name: "Loss", value: decimal(sum("loss_nats")), note: "nats per token" },
      { name: "Trained on", value: compact(sum("tokens_total")), note: "tokens" },
      { name: "Segments", value: count(sum("segments_total")) },
      { name: "A segment takes", value: spans?.count ? duration(spans.sum / spans.count) : "–" },
    ]),
    el(
      "p",
      { class: "badges" },
      updates.map(({ labels, value }) => [
        outcome(labels.outcome),
        ` ${counted(value, "update")} `,
      ]),
    ),
  ];
}

/** Shows the norms of the gradients of a trainer, and of the updates that it made. */
function gradients({ definitions, segments, updates }) {
  const meaning = el(
    "details",
    {},
    el("summary", {}, "Definitions of the norms"),
    el(
      "dl",
      { class: "definitions" },
      definitions.map(({ name, definition }) => [
        el("dt", {}, words(name)),
        el("dd", {}, definition),
      ]),
    ),
  );
  if (segments.length === 0) {
    const text = "This process has trained no segment yet. It keeps the norms until it ends.";
    return [el("p", { class: "empty" }, text), meaning];
  }
  const last = segments.at(-1);
  const clipped = segments.reduce((sum, one) => sum + one.clipped_steps, 0);
  const steps = segments.reduce((sum, one) => sum + one.steps, 0);
  // Segments share the way from their round to the next one.
  const at = ({ round, segment, segments: all }) => round + (segment - 1) / Math.max(all, 1);
  const points = (key) => segments.map((one) => [at(one), one[key]]).sort((a, b) => a[0] - b[0]);
  return [
    tiles([
      { name: "Gradient", value: decimal(last.mean), note: "mean norm of the last segment" },
      { name: "Largest", value: decimal(last.largest), note: `clipped at ${decimal(last.limit)}` },
      {
        name: "Clipped",
        value: percent(clipped / (steps || 1)),
        note: `of ${counted(steps, "step")}`,
      },
      {
        name: "Last update",
        value: decimal(updates.at(-1)?.movement),
        note: "norm of its movement",
      },
    ]),
    lineChart({
      title: "Norm of the gradients by segment",
      description:
        `Mean and largest norm of the gradients of ${counted(segments.length, "segment")}, from ` +
        `${decimal(segments[0].mean)} to ${decimal(last.mean)} in the mean.`,
      series: [
        { name: "Mean", points: points("mean") },
        { name: "Largest", points: points("largest") },
        { name: "Limit", points: points("limit") },
      ],
      x: {
        label: "round",
        format: (value) => (Number.isInteger(value) ? count(value) : decimal(value, 2)),
        least: 1,
      },
      y: { label: "L2 norm" },
      fromZero: true,
    }),
    lineChart({
      title: "Norm of the movement of each update",
      description: `Norm of the movement of ${counted(updates.length, "update")} of this trainer.`,
      series: [{ name: "Movement", points: updates.map((one) => [one.round, one.movement]) }],
      x: { label: "round", format: count, least: 1 },
      y: { label: "L2 norm" },
      fromZero: true,
    }),
    el("p", { class: "muted small" }, "Measured by this process since it started. Not on chain."),
    meaning,
  ];
}

function rounds(page) {
  const asked = page.parameters.get("round");
  page.table({
    title: "Rounds",
    path: "/consensus/rounds",
    parameters: { round: asked },
    events: ["round"],
    ...CHAIN,
    empty: "No round has ended yet.",
    columns: [
      {
        title: "Round",
        number: true,
        cell: ({ round }) => el("a", { href: `/dashboard/learning?round=${round}` }, count(round)),
      },
      { title: "Ended", cell: ({ time: at }) => time(at) },
      { title: "Revealed", cell: ({ revealed }) => count(revealed), number: true },
      { title: "Included", cell: ({ included }) => count(included), number: true },
      {
        title: "Excised",
        cell: ({ excised }) => count(excised),
        number: true,
        help: "Updates of earlier rounds that an audit took out of the model",
      },
      { title: "Tokens", cell: ({ tokens }) => compact(tokens), number: true },
      { title: "Model", cell: ({ root }) => (root ? hash(root) : badge("void", "warn")) },
    ],
  });
  if (asked === null) {
    page.section({
      title: "Updates",
      size: "wide",
      load: async () => null,
      show: () =>
        el("p", { class: "empty" }, "Choose a round above to see the updates of its trainers."),
    });
    return;
  }
  page.table({
    title: `Updates of round ${asked}`,
    path: "/training-deltas",
    parameters: { round: asked },
    events: ["round", "settled", "audit"],
    ...CHAIN,
    empty: "No trainer leased shards in this round.",
    columns: updateColumns(),
  });
}

/** Columns of updates of trainers. */
export function updateColumns() {
  return [
    { title: "Trainer", cell: (update) => account(update.account) },
    { title: "Round", cell: ({ round }) => count(round), number: true },
    { title: "Tier", cell: ({ tier }) => words(tier) },
    {
      title: "Loss",
      cell: ({ first_loss: first, last_loss: last }) =>
        first === null ? "–" : `${decimal(first, 2)} → ${decimal(last, 2)}`,
      number: true,
      help: "Claimed loss of the first and the last segment, in nats per token",
    },
    { title: "Tokens/s", cell: ({ tokens_per_second: speed }) => compact(speed), number: true },
    { title: "Tokens", cell: ({ tokens }) => compact(tokens), number: true },
    {
      title: "Gain",
      cell: ({ gain }) => decimal(gain, 6),
      number: true,
      help: "Measured improvement on unassigned text, in nats per token",
    },
    {
      title: "Outcome",
      cell: (update) => outcome(update.settled ? (update.outcome ?? "no_show") : null),
    },
    {
      title: "Audit",
      cell: ({ audit }) =>
        audit === null ? "–" : el("a", { href: `/dashboard/audits?audit=${audit}` }, `#${audit}`),
    },
  ];
}
