// SPDX-License-Identifier: Apache-2.0
// Talk: a conversation with the newest model, with an older one, or with both beside each other.

import { Answer, legend } from "./answer.js";
import { Failure, events, get, send } from "./api.js";
import { announce, el } from "./dom.js";
import { compact, count, hash, time } from "./format.js";
import { facts } from "./page.js";

const NO_MODEL = {
  text: "This server has no model. Serve the one at the head of the chain, or an imported one:",
  command: "pol-trainer serve --node ws://127.0.0.1:9944\npol-trainer serve --model smollm2",
};
/** Names of the newest model, whichever that is, and of none in place of a second one. */
const NEWEST = "";
const NONE = "none";
/** Number of seeds that browsers can write. */
const SEEDS = 2 ** 32;
/** Time in which the first token has to come, in milliseconds: prompts may wait for a place. */
const PATIENCE = 120_000;

export function talkPage(page) {
  let talk = null;
  page.section({
    title: "Model",
    size: "wide",
    needs: "generation",
    missing: NO_MODEL,
    events: ["round", "block"],
    // A newer head is served some seconds after its round.
    pause: 10_000,
    load: async (signal) => {
      const { served, older } = await get("/pretrained-models", {}, signal);
      if (!served) throw new Failure("missing", "No model is loaded.");
      return { served, older };
    },
    show: ({ served, older }) => {
      if (talk === null) {
        talk = new Talk(served);
        page.add(talk.element);
        page.signal.addEventListener("abort", () => talk.stop());
      }
      talk.offer(served, older);
      return card(served, older);
    },
  });
}

/** Returns the name of a model among those of a server. */
const nameOf = ({ round, id }) =>
  round === null ? `model ${id.split("@").at(-1)}` : `round ${count(round)}`;

function card(model, older) {
  const known = [
    ["Name", `${model.name}, ${compact(model.parameters)} parameters`],
    ["Root", hash(model.root)],
    ["Decoder", model.decoder],
    ["Context", `${count(model.context)} tokens`],
    ["Served", time(model.since)],
  ];
  if (model.round !== null) known.push(["Head of", nameOf(model)]);
  if (older.length > 0) {
    return facts([...known, ["Older models", older.map(nameOf).join(", ")]]);
  }
  const hint = el(
    "p",
    { class: "muted small" },
    "A server with ",
    el("code", {}, "--older 2"),
    " keeps models that newer ones replaced, to talk with them too.",
  );
  return [facts(known), hint];
}

const numberInput = (value, min, max, step) =>
  el("input", { type: "number", value, min, max, step, inputmode: "decimal" });

const select = (pairs, value) =>
  el(
    "select",
    {},
    pairs.map(([key, text]) => el("option", { value: key, selected: key === value }, text)),
  );

/** A conversation with one model or two. */
class Talk {
  #controls = new Map();
  /** Models by their keys, with their names. */
  #models = new Map();
  /** Questions, each with the answers by the keys of models. */
  #turns = [];
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

  /** Ends the answers under way, which frees the places of the requests. */
  stop() {
    this.#running?.abort();
  }

  /** Offers the models that the server has now. */
  offer(newest, older) {
    const models = [[NEWEST, `newest, ${nameOf(newest)}`]];
    for (const model of older) models.push([model.id, nameOf(model)]);
    this.#models = new Map(models);
    this.#choose("model", models, "The model that you chose is no longer kept.");
    this.#choose("beside", [[NONE, "no other"], ...models], "The other model is no longer kept.");
    for (const name of ["model", "beside"]) {
      this.#controls.get(name).parentElement.hidden = older.length === 0;
    }
  }

  /** Offers `pairs` of keys and texts. A choice that is still there stays. */
  #choose(name, pairs, lost) {
    const control = this.#controls.get(name);
    const shown = [...control.options].map(({ value, text }) => [value, text]);
    // A list that is open would close.
    if (JSON.stringify(shown) === JSON.stringify(pairs)) return;
    const { value } = control;
    const isThere = pairs.some(([key]) => key === value);
    if (shown.length > 0 && !isThere) announce(lost);
    control.replaceChildren(...pairs.map(([key, text]) => el("option", { value: key }, text)));
    control.value = isThere ? value : pairs[0][0];
  }

  /** Returns the keys of the models that are asked. */
  #asked() {
    const [model, beside] = ["model", "beside"].map((name) => this.#controls.get(name).value);
    return beside === NONE || beside === model ? [model] : [model, beside];
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
        this.#field("model", "Model", el("select", {})),
        this.#field("beside", "Beside", el("select", {})),
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
    this.#turns = [];
    this.#log.replaceChildren();
    this.#controls.get("text").focus();
  }

  /** Returns the conversation so far, as the model with this key had it. */
  #messages(key) {
    return this.#turns.flatMap(({ question, answers }) => [
      { role: "user", content: question },
      // A model that was not asked takes the answer of another one for its own.
      { role: "assistant", content: answers.get(key) ?? answers.values().next().value },
    ]);
  }

  #request(key, text, seed) {
    const value = (name) => this.#controls.get(name)?.value ?? "";
    const isOn = (name) => this.#controls.get(name)?.checked === true;
    const number = (name) => (value(name) === "" ? undefined : Number(value(name)));
    const isChat = value("mode") === "chat";
    // Steps of reasoning have a budget in the place of a length.
    const length = value("reason") === "" ? "max_tokens" : "budget";
    return {
      model: key === NEWEST ? undefined : key,
      prompt: isChat ? undefined : text,
      messages: isChat ? [...this.#messages(key), { role: "user", content: text }] : undefined,
      reason: value("reason") || undefined,
      tools: isOn("tools"),
      receipt: isOn("receipt") && value("reason") === "" ? true : undefined,
      temperature: number("temperature"),
      top_p: number("top_p"),
      [length]: number("max_tokens"),
      sensitivity: number("sensitivity"),
      seed: number("seed") ?? seed,
      stream: true,
    };
  }

  async #ask() {
    const field = this.#controls.get("text");
    const question = field.value;
    if (this.#running || question.trim() === "") return;
    const keys = this.#asked();
    // Two models draw alike, so that they differ by what they learned.
    const seed = keys.length > 1 ? Math.floor(Math.random() * SEEDS) : undefined;
    const asked = keys.map((key) => {
      const answer = new Answer(this.#models.size > 1 ? this.#models.get(key) : null);
      return { key, answer, body: this.#request(key, question, seed) };
    });
    const elements = asked.map(({ answer }) => answer.element);
    this.#log.append(
      el("li", { class: "question" }, el("p", { class: "text" }, question)),
      el("li", { class: "answers" }, elements),
    );
    field.value = "";
    const running = new AbortController();
    this.#begin(running);
    elements[0].scrollIntoView({ block: "nearest" });
    await Promise.all(asked.map(({ answer, body }) => hear(answer, body, running.signal)));
    const heard = asked.filter(({ body, answer }) => body.messages && answer.text !== null);
    if (heard.length > 0 && !running.signal.aborted) {
      const answers = new Map(heard.map(({ key, answer }) => [key, answer.text]));
      this.#turns.push({ question, answers });
    }
    announce(asked.map(({ answer }) => answer.tell()).join(" "));
    this.#begin(null);
  }

  #begin(running) {
    this.#running = running;
    this.#send.disabled = running !== null;
    this.#stop.disabled = running === null;
  }
}

/** Fills an answer with the events of a request. */
async function hear(answer, body, signal) {
  try {
    const options = { body, accept: "text/event-stream", patience: PATIENCE, signal };
    const response = await send("/generate", options);
    for await (const { type, data } of events(response)) {
      if (data !== "") answer.take(type, JSON.parse(data));
    }
    answer.end();
  } catch (failure) {
    answer.fail(signal.aborted ? "Stopped." : failure.message);
  }
}
