// SPDX-License-Identifier: Apache-2.0
// Talk: a conversation with the served model, with its surprise at each token, the tools it called,
// its steps of reasoning, and a receipt.

import { Failure, events, get, send } from "./api.js";
import { announce, el } from "./dom.js";
import { compact, count, decimal, hash, noun, percent, time } from "./format.js";
import { facts } from "./page.js";
import { ReasoningTree } from "./reasoning.js";

const NO_MODEL = {
  text: "This server has no model. Serve the one at the head of the chain, or an imported one:",
  command: "pol-trainer serve --node ws://127.0.0.1:9944\npol-trainer serve --model smollm2",
};
/** Steps of the shading, and the surprise in nats at which the last one begins. */
const SHADES = { steps: 5, most: 5 };
/** Time in which the first token has to come, in milliseconds: prompts may wait for a place. */
const PATIENCE = 120_000;

export function talkPage(page) {
  let talk = null;
  page.section({
    title: "Model",
    size: "wide",
    needs: "generation",
    missing: NO_MODEL,
    events: ["round"],
    load: async (signal) => {
      const { served } = await get("/pretrained-models", {}, signal);
      if (!served) throw new Failure("missing", "No model is loaded.");
      return served;
    },
    show: (model) => {
      if (talk === null) {
        talk = new Talk(model);
        page.add(talk.element);
        page.signal.addEventListener("abort", () => talk.stop());
      }
      return card(model);
    },
  });
}

const card = (model) =>
  facts([
    ["Name", `${model.name}, ${compact(model.parameters)} parameters`],
    ["Root", hash(model.root)],
    ["Decoder", model.decoder],
    ["Context", `${count(model.context)} tokens`],
    ["Served", time(model.since)],
  ]);

const numberInput = (value, min, max, step) =>
  el("input", { type: "number", value, min, max, step, inputmode: "decimal" });

const select = (pairs, value) =>
  el(
    "select",
    {},
    pairs.map(([key, text]) => el("option", { value: key, selected: key === value }, text)),
  );

/** A conversation with a model. */
class Talk {
  #controls = new Map();
  #messages = [];
  #running = null;
  #log = el("ol", { class: "log", "aria-label": "Conversation" });
  #send = el("button", { class: "primary" }, "Send");
  #stop = el("button", { type: "button", disabled: true, onclick: () => this.stop() }, "Stop");
  #form;

  constructor(model) {
    this.#form = this.#build(model);
    const header = el("header", {}, el("h2", { id: "talk-title" }, "Conversation"), legend());
    this.element = el(
      "section",
      { class: "card wide chat", "aria-labelledby": "talk-title" },
      header,
      this.#log,
      this.#form,
    );
  }

  /** Ends the answer under way, which frees the place of the request. */
  stop() {
    this.#running?.abort();
  }

  #field(name, label, control) {
    this.#controls.set(name, control);
    return el("label", {}, el("span", {}, label), control);
  }

  #build(model) {
    const onkeydown = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit();
    };
    const text = el("textarea", {
      rows: 3,
      required: true,
      maxlength: 100_000,
      "aria-label": "Message",
      placeholder: "Write to the model. Enter sends, Shift+Enter starts a new line.",
      onkeydown,
    });
    this.#controls.set("text", text);
    const modes = [
      ["chat", "message to answer"],
      ["text", "text to continue"],
    ];
    const orders = [
      ["", "none"],
      ["chain", "step by step"],
      ["tree", "tree of steps"],
    ];
    const box = () => el("input", { type: "checkbox" });
    const seed = numberInput("", 0, 4294967295, 1);
    seed.placeholder = "random";
    const onsubmit = (event) => {
      event.preventDefault();
      this.#ask();
    };
    return el(
      "form",
      { class: "talk", onsubmit },
      text,
      el(
        "div",
        { class: "row" },
        this.#field("mode", "As", select(modes, model.chat ? "chat" : "text")),
        this.#field("reason", "Reasoning", select(orders, "")),
        this.#field("tools", "Tools", box()),
        model.receipts ? this.#field("receipt", "Receipt", box()) : null,
        this.#send,
        this.#stop,
        el("button", { type: "button", onclick: () => this.#clear() }, "Start anew"),
      ),
      el(
        "details",
        {},
        el("summary", {}, "Sampling"),
        el(
          "div",
          { class: "row" },
          this.#field("temperature", "Temperature", numberInput(0.7, 0, 5, 0.1)),
          this.#field("top_p", "Top p", numberInput(0.95, 0.05, 1, 0.05)),
          this.#field("max_tokens", "Tokens", numberInput(256, 1, 4096, 1)),
          this.#field("sensitivity", "Sensitivity to surprise", numberInput(0, 0, 1, 0.1)),
          this.#field("seed", "Seed", seed),
        ),
      ),
    );
  }

  #clear() {
    this.stop();
    this.#messages = [];
    this.#log.replaceChildren();
    this.#controls.get("text").focus();
  }

  #request(text) {
    const value = (name) => this.#controls.get(name)?.value ?? "";
    const isOn = (name) => this.#controls.get(name)?.checked === true;
    const number = (name) => (value(name) === "" ? undefined : Number(value(name)));
    const isChat = value("mode") === "chat";
    // Steps of reasoning have a budget in the place of a length.
    const length = value("reason") === "" ? "max_tokens" : "budget";
    return {
      prompt: isChat ? undefined : text,
      messages: isChat ? [...this.#messages, { role: "user", content: text }] : undefined,
      reason: value("reason") || undefined,
      tools: isOn("tools"),
      receipt: isOn("receipt") && value("reason") === "" ? true : undefined,
      temperature: number("temperature"),
      top_p: number("top_p"),
      [length]: number("max_tokens"),
      sensitivity: number("sensitivity"),
      seed: number("seed"),
      stream: true,
    };
  }

  async #ask() {
    const field = this.#controls.get("text");
    const text = field.value;
    if (this.#running || text.trim() === "") return;
    const body = this.#request(text);
    const answer = new Answer(text);
    this.#log.append(answer.question, answer.element);
    field.value = "";
    const running = new AbortController();
    this.#begin(running);
    answer.element.scrollIntoView({ block: "nearest" });
    try {
      const options = { body, accept: "text/event-stream", patience: PATIENCE };
      const response = await send("/generate", { ...options, signal: running.signal });
      for await (const { type, data } of events(response)) {
        if (data !== "") answer.take(type, JSON.parse(data));
      }
      answer.end();
      if (body.messages && answer.text !== null && !running.signal.aborted) {
        this.#messages = [...body.messages, { role: "assistant", content: answer.text }];
      }
    } catch (failure) {
      answer.fail(running.signal.aborted ? "Stopped." : failure.message);
    } finally {
      this.#begin(null);
    }
  }

  #begin(running) {
    this.#running = running;
    this.#send.disabled = running !== null;
    this.#stop.disabled = running === null;
  }
}

function legend() {
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

/** Answer that grows while its events arrive. */
class Answer {
  #text = el("p", { class: "text" });
  #calls = el("ul", { class: "calls" });
  #tree = new ReasoningTree();
  #foot = el("footer", {}, el("span", { class: "muted" }, "writing…"));
  #tokens = 0;
  #hasEnded = false;
  /** The whole text, once it is here. */
  text = null;

  constructor(prompt) {
    this.question = el("li", { class: "question" }, el("p", { class: "text" }, prompt));
    this.element = el(
      "li",
      { class: "answer" },
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
      ...receipt(done.receipt),
    );
    announce(`Answer: ${this.#text.textContent}`);
  }

  end() {
    if (!this.#hasEnded) this.fail("The answer was cut off.");
  }

  fail(message) {
    this.#hasEnded = true;
    this.#foot.replaceChildren(el("span", { class: "bad" }, message));
    announce(message);
  }
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
