// SPDX-License-Identifier: Apache-2.0
// An answer of a model that grows while its events arrive: tokens with their surprise, calls of
// tools, steps of reasoning, and a receipt.

import { el } from "./dom.js";
import { compact, count, decimal, hash, noun, percent } from "./format.js";
import { facts } from "./page.js";
import { ReasoningTree } from "./reasoning.js";
import { localTable } from "./table.js";

/** Steps of the shading, and the surprise in nats at which the last one begins. */
const SHADES = { steps: 5, most: 5 };

/** Returns the legend of the shades. */
export function legend() {
  const shades = Array.from({ length: SHADES.steps + 1 }, (_, number) =>
    el("i", { class: `shade u${number}`, "aria-hidden": "true" }),
  );
  return el("p", { class: "shades" }, "Surprise: none ", shades, ` ${SHADES.most} nats or more`);
}

/** Returns the shade of a surprise, from 0 to the last one. */
function shade(surprise) {
  const share = Math.max(0, surprise) / SHADES.most;
  return Math.min(SHADES.steps, Math.round(share * SHADES.steps));
}

/** Answer of a model. `name` tells it from others, or is null where there are none. */
export class Answer {
  #text = el("p", { class: "text" });
  #calls = el("ul", { class: "calls" });
  #tree = new ReasoningTree();
  #foot = el("footer", {}, el("span", { class: "muted" }, "writing…"));
  #tokens = 0;
  /** Tokens with what the model expected of them. */
  #insights = [];
  #hasEnded = false;
  /** The whole text, once it is here. */
  text = null;
  /** The text or the failure. */
  spoken = "";

  constructor(name) {
    this.element = el(
      "article",
      { class: "answer", "aria-label": name === null ? "Answer" : `Answer of ${name}` },
      name === null ? null : el("p", { class: "muted small" }, name),
      this.#tree.element,
      this.#text,
      this.#calls,
      this.#foot,
    );
  }

  take(type, data) {
    if (type === "text") this.#write(data);
    if (type === "step") this.#tree.add(data);
    if (type === "done") this.#finish(data);
    if (type === "error") this.fail(data.detail ?? "The model failed.");
  }

  #write({ text, insights = [], calls = [] }) {
    // Tokens of a stream spell its text, except where a character has several of them.
    const spelled = insights.map((insight) => insight.text).join("");
    if (spelled === text) for (const insight of insights) this.#token(insight.text, insight);
    else this.#token(text, insights.at(-1));
    for (const { asked, result, error } of calls) {
      this.#calls.append(
        el(
          "li",
          {},
          el("b", {}, "tool"),
          " ",
          el("code", {}, asked),
          " = ",
          error === undefined ? el("code", {}, result) : el("span", { class: "bad" }, error),
        ),
      );
    }
  }

  #token(text, insight) {
    if (text === "") return;
    this.#tokens += 1;
    if (!insight) {
      this.#text.append(text);
      return;
    }
    this.#insights.push({ text, insight });
    const { surprise, confidence, log_probability: log } = insight;
    const title =
      `surprise ${decimal(surprise, 2)} nats, probability ${percent(Math.exp(log))}, ` +
      `confidence ${percent(confidence)}`;
    this.#text.append(el("span", { class: `token u${shade(surprise)}`, title }, text));
  }

  #finish(done) {
    this.#hasEnded = true;
    const affect = done.affect
      ? `valence ${decimal(done.affect.valence, 2)}, arousal ${decimal(done.affect.arousal, 2)}`
      : null;
    if (done.reasoned) {
      this.#tree.choose(done.reasoned.path);
      this.#text.append(done.reasoned.answer || "No answer within the budget.");
    }
    this.text = done.text ?? done.reasoned?.answer ?? null;
    const tokens = done.tokens ?? done.reasoned?.tokens ?? this.#tokens;
    const ends =
      typeof done.finish === "string" ? done.finish : done.finish ? "stop string" : "answer";
    this.#foot.replaceChildren(
      el(
        "span",
        { class: "muted" },
        [`${compact(tokens)} ${noun(tokens, "token")}`, `end: ${ends}`, `seed ${done.seed}`, affect]
          .filter(Boolean)
          .join(" · "),
      ),
      ...figures(this.#insights),
      ...receipt(done.receipt),
    );
    this.spoken = this.#text.textContent;
  }

  end() {
    if (!this.#hasEnded) this.fail("The answer was cut off.");
  }

  fail(message) {
    this.#hasEnded = true;
    this.#foot.replaceChildren(el("span", { class: "bad" }, message));
    this.spoken = message;
  }

  /** Returns what a screen reader says of the answer. */
  tell() {
    return `${this.element.ariaLabel}: ${this.spoken}`;
  }
}

/** Returns a table of the figures that tokens have as their titles. */
function figures(tokens) {
  if (tokens.length === 0) return [];
  const column = (title, cell) => ({ title, cell: ({ insight }) => cell(insight), number: true });
  return [
    el(
      "details",
      { class: "tokens" },
      el("summary", {}, "Surprise of each token"),
      localTable({
        caption: "Tokens of the answer",
        rows: tokens,
        columns: [
          // Quotes show spaces, and escapes the ends of lines.
          { title: "Token", cell: ({ text }) => el("code", {}, JSON.stringify(text)) },
          column("Surprise in nats", ({ surprise }) => decimal(surprise, 2)),
          column("Probability", ({ log_probability: log }) => percent(Math.exp(log))),
          column("Confidence", ({ confidence }) => percent(confidence)),
        ],
      }),
    ),
  ];
}

/** Returns the receipt of an answer, as a file and in words. */
function receipt(value) {
  if (!value) return [];
  const { generator, terms, tokens } = value.receipt;
  if (!Number.isSafeInteger(terms.seed)) {
    return [el("p", { class: "bad" }, "The seed of this receipt is too large for a browser.")];
  }
  const save = () => {
    const file = new Blob([JSON.stringify(value, null, 1)], { type: "application/json" });
    const link = el("a", { href: URL.createObjectURL(file), download: "receipt.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  return [
    el(
      "details",
      { class: "receipt" },
      el("summary", {}, "Receipt"),
      facts([
        ["Signed by", hash(value.account)],
        ["Model", hash(generator.model)],
        ["Chain", hash(generator.chain)],
        ["Prompt", hash(value.receipt.prompt)],
        ["Output", hash(value.receipt.output)],
        ["Tokens and seed", `${count(tokens)}, ${terms.seed}`],
      ]),
      el(
        "p",
        { class: "small" },
        "Anybody can generate the text again and compare it: ",
        el("code", {}, "pol-trainer verify-receipt receipt.json"),
      ),
      el("button", { type: "button", onclick: save }, "Save receipt.json"),
    ),
  ];
}
