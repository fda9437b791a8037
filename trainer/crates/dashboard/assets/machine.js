// SPDX-License-Identifier: Apache-2.0
// Machine: this process, its machine, and the training that it takes part in.

import { events, get, has, post, send } from "./api.js";
import { gauge } from "./charts.js";
import { announce, el } from "./dom.js";
import {
  account,
  badge,
  bytes,
  compact,
  count,
  counted,
  decimal,
  duration,
  hash,
  noun,
  percent,
  time,
  words,
} from "./format.js";
import { facts, tiles } from "./page.js";
import { localTable } from "./table.js";

/** Sections of the training, for the network or of the models of a library. */
const TRAINING = {
  needs: ["train", "local_training"],
  missing: {
    text:
      "This process does not train. A server with --library shows its local epochs here, and a " +
      "trainer with --api its progress:",
    command: "pol-trainer --key-file key.json --api",
  },
};
/** Roles whose names are not words for people. */
const ROLES = { api: "server" };
/** Kernels, as people read them. */
const KERNELS = {
  exact: "exact: the same bits on every processor",
  native: "native: what the environment gives",
};
/** Events that the progress shows already. */
const QUIET = new Set(["state", "plan", "segment"]);
/** Pauses before the events of the training are asked for again, in milliseconds. */
const PAUSES = { first: 1_000, longest: 30_000 };

export function machinePage(page) {
  page.section({
    title: "Process",
    size: "wide",
    missing: { text: "This server tells nothing about its machine." },
    events: ["block"],
    pause: 5_000,
    load: (signal) => get("/machine", {}, signal),
    show: process,
  });
  const training = page.section({
    title: "Training",
    size: "wide",
    ...TRAINING,
    events: ["block"],
    pause: 3_000,
    load: (signal) => get("/train", {}, signal),
    show: (train) => show(train, training),
  });
  story(page, training);
  page.section({
    title: "Metrics",
    size: "wide",
    missing: { text: "This server does not share its metrics." },
    pause: 15_000,
    load: (signal) => get("/metrics", {}, signal),
    show: metrics,
  });
}

function process(machine) {
  const { memory, disk, processor, gpus } = machine;
  const share = (part, size) => (size && part !== null ? part / size : null);
  const used = memory.available_bytes === null ? null : memory.size_bytes - memory.available_bytes;
  // Only processes that compute for a network have these.
  const trainer = [
    machine.tier ? ["Tier", words(machine.tier)] : null,
    machine.workers ? ["Threads", `${count(machine.workers)} that compute`] : null,
  ].filter(Boolean);
  const vectors = processor.avx512 ? ", AVX-512" : processor.avx2 ? ", AVX2" : "";
  return [
    el(
      "p",
      { class: "headline" },
      el("strong", {}, ROLES[machine.role] ?? words(machine.role)),
      " ",
      badge(words(machine.activity.kind), "good"),
      " ",
      machine.activity.sentence,
    ),
    el(
      "div",
      { class: "split" },
      el(
        "div",
        { class: "dials" },
        gauge({
          title: "Memory",
          value: share(used, memory.size_bytes),
          text: percent(share(used, memory.size_bytes), 0),
          help:
            `${bytes(used)} of ${bytes(memory.size_bytes)} used, ` +
            `${bytes(memory.resident_bytes)} by this process`,
        }),
        disk
          ? gauge({
              title: "Disk of the state",
              value: share(disk.size_bytes - disk.free_bytes, disk.size_bytes),
              text: percent(share(disk.size_bytes - disk.free_bytes, disk.size_bytes), 0),
              help: `${bytes(disk.free_bytes)} of ${bytes(disk.size_bytes)} free`,
            })
          : null,
      ),
      facts([
        ...trainer,
        ["Account", machine.account ? account(machine.account) : "none: it signs nothing"],
        ["Processor", `${processor.name}, ${counted(processor.cores, "core")}${vectors}`],
        ["GPUs", gpus.length === 0 ? "none" : gpus.join(", ")],
        ["Kernels", KERNELS[machine.numerics] ?? words(machine.numerics)],
        ["Version", machine.version],
        ["Started", time(machine.started)],
        ["Up for", duration(machine.uptime_seconds)],
        ["Genesis of the chain", machine.genesis ? hash(machine.genesis) : "no chain"],
      ]),
    ),
  ];
}

function show(train, section) {
  const act = (body) => async () => {
    try {
      await post("/train", body);
      announce(`The trainer was told to ${body.action}.`);
    } catch (failure) {
      announce(failure.message);
      problem.textContent = failure.message;
    }
    section.refresh();
  };
  const problem = el("p", { class: "bad", role: "alert" });
  const button = (text, body, isOff) =>
    el("button", { type: "button", disabled: isOff, onclick: act(body) }, text);
  if (!train.trains) {
    const text = train.local
      ? "This process trains models of its library, and none for the network."
      : "No local epoch has begun yet. POST /train with a text, a model, and a name starts one.";
    return [el("p", { class: "empty" }, text), local(train.local, button), problem];
  }
  const isIn = (...states) => states.includes(train.state);
  return [
    el(
      "p",
      { class: "headline" },
      badge(words(train.state), isIn("running") ? "good" : "warn"),
      " ",
      train.sentence,
    ),
    progress(train.progress),
    el(
      "p",
      { class: "muted" },
      train.rounds_left === null
        ? "Takes part until it is stopped."
        : `${counted(train.rounds_left, "more round")}.`,
    ),
    el(
      "div",
      { class: "row" },
      button("Pause", { action: "pause" }, !isIn("running")),
      button("Resume", { action: "resume" }, !isIn("paused")),
      button("Join one round", { action: "join", rounds: 1 }, isIn("stopping")),
      button("Stop after this lease", { action: "stop" }, isIn("stopping", "stopped")),
    ),
    problem,
    local(train.local, button),
  ];
}

function progress(now) {
  if (now === null) return el("p", { class: "empty" }, "No lease is under way.");
  return [
    el(
      "label",
      { class: "progress" },
      `Segment ${count(now.segment)} of ${count(now.segments)}, ` + percent(now.share, 0),
      el("progress", { max: 1, value: now.share }),
    ),
    tiles([
      { name: "Round", value: count(now.round), note: counted(now.shards, "shard") },
      { name: "Steps", value: count(now.steps), note: `of ${count(now.steps_total)}` },
      { name: "Loss", value: decimal(now.loss), note: "nats per token" },
      { name: "Speed", value: compact(now.tokens_per_second), note: "tokens/s" },
      { name: "Gradient", value: decimal(now.gradient?.mean), note: "mean L2 norm" },
    ]),
  ];
}

function local(epoch, button) {
  if (!epoch) return null;
  return el(
    "div",
    {},
    el("h3", {}, "Local epoch"),
    el(
      "label",
      { class: "progress" },
      `${epoch.model} → ${epoch.out}: ${words(epoch.state)}`,
      el("progress", { max: 1, value: epoch.share }),
    ),
    facts([
      ["Step", `${count(epoch.step)} of ${count(epoch.steps)}`],
      ["Loss", decimal(epoch.loss)],
      ["Model", hash(epoch.root)],
      ["Error", epoch.error ?? "none"],
    ]),
    button("Cancel", { action: "cancel" }, epoch.state !== "running"),
  );
}

/** Shows the events of the training as they come. */
function story(page, training) {
  const nothing = el("p", { class: "empty" }, "Nothing has happened since this page was opened.");
  const log = el("ol", { class: "timeline", hidden: true });
  const section = page.section({
    title: "Events of the training",
    size: "wide",
    ...TRAINING,
    load: async () => null,
    show: () => [nothing, log],
  });
  const tell = (event) => {
    training.due();
    if (QUIET.has(event.event)) return;
    log.prepend(
      el(
        "li",
        {},
        el(
          "p",
          {},
          el("b", {}, words(event.event)),
          " ",
          el("span", { class: "muted small" }, time(new Date().toISOString())),
        ),
        el("p", {}, sentence(event)),
      ),
    );
    [nothing.hidden, log.hidden] = [true, false];
    while (log.children.length > 50) log.lastChild.remove();
    section.due();
  };
  listen(page.signal, tell);
}

async function listen(signal, tell) {
  let pause = PAUSES.first;
  while (!signal.aborted) {
    try {
      if (!(await has(TRAINING.needs))) return;
      const response = await send("/train/events", { accept: "text/event-stream", signal });
      pause = PAUSES.first;
      for await (const { data } of events(response)) if (data !== "") tell(JSON.parse(data));
    } catch (failure) {
      if (failure.kind === "missing" || failure.kind === "token") return;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, PAUSES.longest);
  }
}

function sentence(event) {
  switch (event.event) {
    case "lease":
      return `Leased ${counted(event.shards, "shard")} for round ${count(event.round)}.`;
    case "commit":
      return `Committed to the update of round ${count(event.round)}.`;
    case "reveal":
      return `Revealed the update of round ${count(event.round)}.`;
    case "outcome":
      return event.sentence;
    case "settled":
      return `Settled the update of round ${count(event.round)}: ${words(event.outcome)}.`;
    case "reward":
      return `Received ${event.amount} for round ${count(event.round)}.`;
    case "local":
      return `Step ${count(event.step)} of ${count(event.steps)}, ${words(event.state)}.`;
    case "missed":
      return `Missed ${counted(event.events, "event")}.`;
    default:
      return words(event.event);
  }
}

function metrics({ metrics: all }) {
  const rows = all.flatMap(({ name, help, values }) =>
    values.map((entry) => ({ name, help, ...entry })),
  );
  const labels = (entry) =>
    Object.entries(entry.labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(", ");
  const value = (entry) =>
    entry.value !== undefined
      ? compact(entry.value)
      : `${compact(entry.count)} of sum ${compact(entry.sum)}`;
  return el(
    "details",
    {},
    el("summary", {}, counted(rows.length, "value")),
    localTable({
      caption: "Metrics of this process",
      rows,
      columns: [
        {
          title: "Name",
          cell: ({ name }) => el("span", { class: "mono" }, name),
        },
        { title: "Meaning", cell: ({ help }) => el("span", { class: "prose" }, help) },
        { title: "Labels", cell: (entry) => labels(entry) || "none" },
        { title: "Value", cell: value, number: true },
      ],
    }),
  );
}
