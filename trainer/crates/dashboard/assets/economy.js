// SPDX-License-Identifier: Apache-2.0
// Economy: what was minted, who earned what for which work, and what was taken from whom.

import { Failure, get, history } from "./api.js";
import { barChart, lineChart } from "./charts.js";
import { el, go } from "./dom.js";
import {
  account,
  amount,
  badge,
  capital,
  compact,
  count,
  counted,
  decimal,
  percent,
  shorten,
  time,
  words,
} from "./format.js";
import { updateColumns } from "./learning.js";
import { CHAIN, facts, tiles } from "./page.js";
import { table } from "./table.js";

const SOURCES = ["training", "seats", "data", "undivided"];
const STATES = {
  claimed: "good",
  unclaimed: "neutral",
  forfeited: "bad",
  expired: "warn",
  unsettled: "warn",
};
/** Words before the first round in which a reward that waits can be claimed. */
const CLAIMS = {
  unsettled: "claimable from round",
  escrow: "claimable from round",
  claimable: "claimable since round",
};

export function economyPage(page) {
  const owner = page.parameters.get("account");
  if (owner) {
    accountPage(page, owner, page.parameters.get("round"));
    return;
  }
  page.add(search(""));
  overview(page);
  page.table({
    title: "Rounds",
    path: "/rewards/rounds",
    events: ["round", "settled"],
    ...CHAIN,
    empty: "Nothing was minted yet.",
    columns: roundColumns(),
  });
  page.table({
    title: "Slashes",
    path: "/penalties",
    events: ["penalty"],
    ...CHAIN,
    about: "Parts of bonds that were lost, with the audit that is the evidence.",
    empty: "Nobody has lost a bond.",
    columns: penaltyColumns(),
  });
  page.table({
    title: "Latest rewards",
    path: "/rewards",
    events: ["settled"],
    ...CHAIN,
    empty: "No round is settled yet.",
    columns: rewardColumns(true),
  });
}

function search(value) {
  const input = el("input", {
    "aria-label": "Account",
    value,
    required: true,
    maxlength: 80,
    placeholder: "Address of an account",
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
        go(`/dashboard/economy?account=${encodeURIComponent(input.value.trim())}`);
      },
    },
    input,
    el("button", { class: "primary" }, "Show"),
  );
  return el(
    "section",
    { class: "card wide", "aria-labelledby": "account-title" },
    el("header", {}, el("h2", { id: "account-title" }, "Account")),
    el("p", { class: "about" }, "What an account has, what it earned, and why."),
    form,
  );
}

function overview(page) {
  page.section({
    title: "Emission",
    size: "wide",
    events: ["round", "settled"],
    ...CHAIN,
    about: "Each round mints rewards into escrow. They are shared when its audits are settled.",
    load: async (signal) => [
      await orNull(get("/rewards/totals", {}, signal)),
      await history("/rewards/rounds", 1000, {}, signal),
    ],
    show: emission,
  });
  page.section({
    title: "Earned by account",
    size: "wide",
    events: ["settled"],
    ...CHAIN,
    load: (signal) => get("/rewards/earners", { rounds: 100 }, signal),
    show: earners,
  });
}

/** Returns `null` for figures that do not exist before the first emission. */
async function orNull(answer) {
  try {
    return await answer;
  } catch (failure) {
    if (failure instanceof Failure && failure.kind === "missing") return null;
    throw failure;
  }
}

function emission([totals, rounds]) {
  const points = (part) => rounds.map(({ round, emitted }) => [round, Number(emitted[part])]);
  const parts = ["trainers", "validators", "providers", "treasury"];
  return [
    totals === null
      ? null
      : tiles([
          { name: "Minted", value: amount(totals.emitted) },
          { name: "Seized from bonds", value: amount(totals.seized) },
          { name: "Paid", value: amount(totals.paid) },
          { name: "In escrow", value: amount(totals.waiting), note: "waits for claims" },
          { name: "Burned", value: amount(totals.burned) },
        ]),
    lineChart({
      title: "Emission by round",
      description: "POL minted by each round, by the group that it is for.",
      series: parts.map((part) => ({ name: capital(part), points: points(part) })),
      x: { label: "round", format: count, least: 1 },
      y: { label: "POL" },
      fromZero: true,
    }),
  ];
}

function earners({ items, rounds }) {
  if (rounds === null) return el("p", { class: "empty" }, "No round is settled yet.");
  const shown = items.slice(0, 10);
  const columns = SOURCES.filter((source) => items.some((item) => item[source] !== "0"));
  return [
    barChart({
      title: `Most earned in rounds ${count(rounds.from)} to ${count(rounds.to)}`,
      description: "Bars of what the ten accounts that earned most were given.",
      items: shown.map((item) => ({
        label: item.account,
        shown: account(item.account),
        value: Number(item.total),
        text: amount(item.total),
      })),
      unit: "POL",
      labels: "Account",
    }),
    items.length === 0
      ? null
      : el(
          "details",
          {},
          el("summary", {}, "By work"),
          table({
            caption: `Earned by work, the first ${count(shown.length)} of ${count(items.length)}`,
            rows: shown,
            columns: [
              { title: "Account", cell: (item) => account(item.account) },
              ...columns.map((source) => ({
                title: capital(source),
                cell: (item) => amount(item[source]),
                number: true,
              })),
              { title: "Total", cell: ({ total }) => amount(total), number: true },
            ],
          }),
        ),
  ];
}

function roundColumns() {
  const part = (name) => ({
    title: capital(name),
    number: true,
    cell: ({ emitted }) => amount(emitted[name]),
  });
  return [
    {
      title: "Round",
      number: true,
      cell: ({ round }) => el("a", { href: `/dashboard/learning?round=${round}` }, count(round)),
    },
    { title: "Minted", cell: ({ emitted }) => amount(emitted.total), number: true },
    part("trainers"),
    part("validators"),
    part("providers"),
    part("treasury"),
    {
      title: "State",
      cell: ({ settled }) =>
        settled === null
          ? badge("audits open")
          : badge(
              settled.improved ? "improved the model" : "no gain",
              settled.improved ? "good" : "warn",
            ),
    },
    {
      title: "Burned",
      cell: ({ settled }) => amount(settled?.unearned),
      number: true,
      help: "What nobody earned",
    },
    { title: "When", cell: ({ time: at }) => time(at) },
  ];
}

/** Columns of penalties. */
export function penaltyColumns() {
  return [
    { title: "Account", cell: (penalty) => account(penalty.account) },
    { title: "Amount", cell: (penalty) => amount(penalty.amount), number: true },
    { title: "Reason", cell: ({ cause }) => words(cause) },
    { title: "Round", cell: ({ round }) => count(round), number: true },
    {
      title: "Evidence",
      cell: ({ audit }) =>
        audit === null
          ? "–"
          : el("a", { href: `/dashboard/audits?audit=${audit}` }, `audit #${audit}`),
    },
    { title: "Went to", cell: ({ seized }) => (seized ? "rewards" : "burned") },
    { title: "When", cell: ({ time: at }) => time(at) },
  ];
}

function rewardColumns(withAccount) {
  const why = ({ account: owner, round }) =>
    el(
      "a",
      {
        href: `/dashboard/economy?account=${encodeURIComponent(owner)}&round=${round}`,
      },
      "why",
    );
  return [
    { title: "Round", cell: ({ round }) => count(round), number: true },
    withAccount ? { title: "Account", cell: (reward) => account(reward.account) } : null,
    { title: "For", cell: ({ source }) => words(source) },
    {
      title: "Share",
      cell: ({ weight, weights }) =>
        weights === null || weights === "0" ? "–" : percent(Number(weight) / Number(weights)),
      number: true,
    },
    { title: "Amount", cell: (reward) => amount(reward.amount), number: true },
    { title: "State", cell: ({ state }) => badge(words(state), STATES[state]) },
    { title: "Settled", cell: ({ time: at }) => time(at) },
    { title: "Explanation", cell: why },
  ].filter(Boolean);
}

/** Shows an account, and with a round the explanation of its reward. */
function accountPage(page, owner, round) {
  page.add(search(owner));
  if (round !== null) {
    page.section({
      title: `Reward of round ${round}`,
      size: "wide",
      events: ["settled"],
      ...CHAIN,
      about: "What was measured, the weight and the share that follow, and what is held back.",
      load: (signal) => get("/rewards/explanation", { account: owner, round }, signal),
      show: explanation,
    });
  }
  page.section({
    title: "Balance",
    events: ["settled", "penalty", "round"],
    ...CHAIN,
    load: (signal) => get("/wallet", { account: owner }, signal),
    show: balance,
  });
  page.section({
    title: "Earned and held back",
    events: ["settled", "penalty"],
    ...CHAIN,
    load: (signal) => get("/wallet", { account: owner }, signal),
    show: earned,
  });
  page.table({
    title: "Rewards",
    path: "/rewards",
    parameters: { account: owner },
    events: ["settled"],
    ...CHAIN,
    empty: "This account has no settled reward.",
    columns: rewardColumns(false),
  });
  page.table({
    title: "Updates",
    path: "/training-deltas",
    parameters: { account: owner },
    events: ["round", "settled"],
    ...CHAIN,
    empty: "This account has trained nothing.",
    columns: updateColumns().slice(1),
  });
  page.table({
    title: "Transactions",
    path: "/wallet/history",
    parameters: { account: owner },
    events: ["round"],
    ...CHAIN,
    empty: "Nothing happened to this account yet.",
    columns: movementColumns(),
  });
  page.table({
    title: "Slashes",
    path: "/penalties",
    parameters: { account: owner },
    events: ["penalty"],
    ...CHAIN,
    empty: "This account has lost nothing.",
    columns: penaltyColumns().slice(1),
  });
}

function movementColumns() {
  const call = ({ extrinsic }) =>
    extrinsic === null
      ? "by the chain"
      : [
          `${words(extrinsic.pallet)}: ${words(extrinsic.call)} `,
          extrinsic.failure ? badge(`failed: ${extrinsic.failure}`, "bad") : null,
        ];
  return [
    { title: "When", cell: ({ time: at }) => time(at) },
    { title: "Change", cell: ({ kind }) => words(kind) },
    { title: "Amount", cell: (movement) => amount(movement.amount), number: true },
    { title: "Other account", cell: ({ other }) => account(other) },
    { title: "Call", cell: call },
    { title: "Fee", cell: ({ extrinsic }) => amount(extrinsic?.fee), number: true },
    { title: "Block", cell: ({ block }) => count(block), number: true },
  ];
}

function balance(wallet) {
  const { member } = wallet;
  const state = member && [
    member.bonded ? null : badge("bond too small", "warn"),
    member.chilled ? badge("inactive", "warn") : null,
    member.absent ? badge("absent", "bad") : null,
  ];
  return [
    wallet.live
      ? null
      : el("p", { class: "note" }, "The node is away: these balances are those of the index."),
    tiles([
      { name: "Transferable", value: amount(wallet.transferable) },
      { name: "Free", value: amount(wallet.free) },
      { name: "Held", value: amount(wallet.held) },
    ]),
    facts([
      ["Account", account(wallet.account)],
      ["Role", member ? [member.role, " ", state] : "no member"],
      ["Bond", amount(member?.bond)],
      ["Stake in quorums", amount(member?.stake)],
      ...(wallet.holds ?? []).map((hold) => [
        `Held for ${words(hold.reason)}`,
        amount(hold.amount),
      ]),
    ]),
  ];
}

function earned(wallet) {
  const waiting = wallet.escrow ?? [];
  return [
    barChart({
      title: "Earned so far, by work",
      description: "Bars of the rewards of this account for each kind of work.",
      items: wallet.earned.map((entry, number) => ({
        label: words(entry.source),
        value: Number(entry.amount),
        text: `${amount(entry.amount)} in ${counted(entry.rewards, "reward")}`,
        kind: number,
      })),
      unit: "POL",
      labels: "Work",
    }),
    facts([
      ["Slashed", amount(wallet.slashed)],
      ["Rounds in escrow", count(waiting.length)],
    ]),
    waiting.length === 0
      ? null
      : table({
          caption: "Escrow, the next rounds first",
          rows: waiting.slice(0, 10),
          columns: [
            {
              title: "Round",
              number: true,
              cell: ({ round }) => count(round),
            },
            {
              title: "Amount",
              number: true,
              cell: (entry) =>
                entry.amount === null ? "known when it is settled" : amount(entry.amount),
            },
            {
              title: "Claimable from round",
              number: true,
              cell: ({ from_round: from }) => count(from),
            },
          ],
        }),
  ];
}

const product = ({ weight, weights, pool, amount: share }) =>
  `${weight} ÷ ${weights} × ${amount(pool)} = ${amount(share)}`;

/** Returns `false` for a part without weights by which something is divided. */
const hasFormula = ({ weights }) => Number(weights ?? 0) !== 0;

/** Returns the explanation of a reward as a sum of parts. */
function explanation(reward) {
  const part = (one) =>
    el(
      "li",
      {},
      el(
        "h3",
        {},
        capital(words(one.source)),
        " ",
        el("span", { class: "figure" }, amount(one.amount)),
      ),
      el("p", {}, one.sentence),
      hasFormula(one) ? el("p", { class: "formula" }, product(one)) : null,
      facts(
        Object.entries(one.measured).map(([name, value]) => [
          capital(words(name)),
          measured(name, value),
        ]),
      ),
    );
  return [
    tiles([
      { name: "Total", value: amount(reward.total) },
      { name: "Paid", value: amount(reward.paid) },
      {
        name: "State",
        value: words(reward.state),
        // Only the node tells the round.
        note:
          reward.state in CLAIMS && reward.from_round !== null
            ? `${CLAIMS[reward.state]} ${count(reward.from_round)}`
            : null,
      },
      { name: "Explained by", value: reward.source === "node" ? "the node" : "the index" },
    ]),
    reward.text.map((sentence) => el("p", {}, sentence)),
    reward.parts.length === 0
      ? null
      : barChart({
          title: "Parts of the reward",
          description: "Bars of the parts, which add up to the total.",
          items: reward.parts.map((one, number) => ({
            label: words(one.source),
            value: Number(one.amount ?? 0),
            text: amount(one.amount),
            kind: number,
          })),
          unit: "POL",
          labels: "Work",
        }),
    el("ol", { class: "parts" }, reward.parts.map(part)),
    reward.parts.length < 2 || reward.total === null
      ? null
      : el(
          "p",
          { class: "formula" },
          `${reward.parts.map((one) => one.amount).join(" + ")} = ${amount(reward.total)}`,
        ),
    reward.held_back.length === 0
      ? null
      : el(
          "div",
          { class: "held" },
          el("h3", {}, "Held back"),
          el(
            "ul",
            {},
            reward.held_back.map((sentence) => el("li", {}, sentence)),
          ),
        ),
  ];
}

function measured(name, value) {
  if (name === "audits") {
    return value.map((id) => [el("a", { href: `/dashboard/audits?audit=${id}` }, `#${id}`), " "]);
  }
  if (name === "tokens") return compact(value);
  if (["score", "gain", "effect"].includes(name)) return `${decimal(value, 6)} nats per token`;
  if (typeof value === "number") return Number.isInteger(value) ? count(value) : decimal(value, 6);
  return typeof value === "string" ? words(value) : shorten(JSON.stringify(value), 60, 10);
}
