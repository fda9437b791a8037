// SPDX-License-Identifier: Apache-2.0
// Audits: each case as a story, from the draw of its seats to the verdict.

import { get } from "./api.js";
import { el } from "./dom.js";
import { account, amount, badge, count, counted, decimal, time, words } from "./format.js";
import { outcome } from "./learning.js";
import { CHAIN, facts, tiles } from "./page.js";
import { table } from "./table.js";

/** Steps of an audit, in words for people. */
const STORY = {
  drawn: () => "Seats and segments were drawn from later blocks and a pulse of the beacon.",
  shown: () => "The trainer showed the states from which the drawn segments start.",
  replayed: () => "A validator trained the segments again, and committed to its findings:",
  opened: () => "The trainer opened the ends of the segments.",
  revealed: () => "A validator revealed its findings:",
  undecided: () => "The seats did not agree. A second draw decides.",
  settled: ({ outcome: verdict }) => `The update was settled: ${words(verdict)}.`,
  seat_failed: () => "A validator was silent or wrong in its seat:",
  fined: ({ amount: fine }) => `Part of a bond was seized: ${amount(fine)}, from`,
  ended: () => "The last update of the audit was settled.",
};
const MARKS = { settled: "good", seat_failed: "bad", fined: "bad", undecided: "warn" };

const place = (id) => `/dashboard/audits?audit=${id}`;

export function auditsPage(page) {
  const id = page.parameters.get("audit");
  if (id === null) {
    list(page);
    return;
  }
  page.section({
    title: `Audit #${id}`,
    size: "wide",
    events: ["audit", "settled", "penalty", "block"],
    pause: 5_000,
    needs: "chain",
    missing: { text: "The index knows no audit by this number. It may be still to come." },
    load: (signal) => get(`/audits/${encodeURIComponent(id)}`, {}, signal),
    show: story,
  });
  list(page);
}

function list(page) {
  page.table({
    title: "All audits",
    path: "/audits",
    events: ["audit", "settled"],
    ...CHAIN,
    about:
      "The updates of a round are audited together. Validators in drawn seats train drawn " +
      "segments again and compare the results.",
    empty: "Nothing was audited yet.",
    columns: [
      {
        title: "Audit",
        cell: ({ audit }) => el("a", { href: place(audit) }, `#${audit}`),
      },
      { title: "Round", cell: ({ round }) => count(round), number: true },
      { title: "Draw", cell: ({ draw }) => (draw === 0 ? "first" : "second") },
      { title: "Updates", cell: ({ cases }) => count(cases), number: true },
      { title: "Settled", cell: ({ settled }) => count(settled), number: true },
      {
        title: "State",
        cell: ({ state }) => badge(state, state === "ended" ? "good" : "neutral"),
      },
      { title: "Drawn", cell: ({ time: at }) => time(at) },
    ],
  });
}

function story({ audit, state, draws, stories, steps, truncated }) {
  const first = draws[0];
  return [
    tiles([
      { name: "State", value: state },
      {
        name: "Round",
        value: count(first?.round),
        note: draws.length > 1 ? "drawn twice" : null,
      },
      { name: "Updates", value: count(stories.length) },
      { name: "Drawn", value: time(first?.time) },
    ]),
    truncated ? el("p", { class: "note" }, "This audit has too many steps to show all.") : null,
    el("div", { class: "stories" }, stories.map(one)),
    steps.length === 0
      ? null
      : el(
          "details",
          {},
          el("summary", {}, `Steps of audit #${audit} as a whole`),
          timeline(steps),
        ),
  ];
}

function one(told) {
  const seats = table({
    caption: "Seats",
    rows: told.seats,
    empty: "No seats are known.",
    columns: [
      { title: "Validator", cell: ({ validator }) => account(validator) },
      { title: "Replayed", cell: ({ replayed }) => yes(replayed) },
      { title: "Revealed", cell: ({ revealed }) => yes(revealed) },
      {
        title: "Seat",
        cell: ({ failed }) => (failed ? badge("failed", "bad") : badge("kept", "good")),
      },
    ],
  });
  const lost = told.penalties.map((penalty) =>
    el(
      "li",
      {},
      account(penalty.account),
      " lost ",
      el("strong", {}, amount(penalty.amount)),
      penalty.seized ? ", which goes to rewards" : "",
    ),
  );
  return el(
    "article",
    { class: "story" },
    el("header", {}, el("h3", {}, "Update of ", account(told.trainer)), outcome(told.outcome)),
    facts([
      ["Score", told.score === null ? "–" : `${decimal(told.score, 6)} nats per token`],
      [
        "Gain on unassigned text",
        told.gain === null ? "–" : `${decimal(told.gain, 6)} nats per token`,
      ],
    ]),
    timeline(told.steps),
    lost.length === 0 ? null : el("ul", { class: "losses" }, lost),
    el("details", {}, el("summary", {}, counted(told.seats.length, "seat")), seats),
  );
}

const yes = (value) => (value ? "yes" : "not yet");

function timeline(steps) {
  const mark = ({ kind, outcome: verdict }) =>
    kind === "settled" && verdict !== "valid" ? "bad" : (MARKS[kind] ?? null);
  const step = (entry) =>
    el(
      "li",
      { class: mark(entry) },
      el(
        "p",
        {},
        el("b", {}, words(entry.kind)),
        " ",
        el("span", { class: "muted small" }, time(entry.time), `, block ${count(entry.block)}`),
      ),
      el(
        "p",
        {},
        (STORY[entry.kind] ?? (() => words(entry.kind)))(entry),
        " ",
        entry.account ? account(entry.account) : null,
      ),
    );
  return el("ol", { class: "timeline" }, steps.slice(0, 200).map(step));
}
