// SPDX-License-Identifier: Apache-2.0
// A page of sections. Each reads its figures, and shows them again when they may have changed.

import { Failure, has } from "./api.js";
import { el, replace, unique } from "./dom.js";
import { UNIT } from "./format.js";
import { live } from "./live.js";
import { PagedTable } from "./table.js";

/** Longest time between two looks at the figures of a section, in milliseconds. */
const LONGEST = 60_000;
/** Events after which everything may be different. */
const ALWAYS = ["resumed", "reorganised", "skipped"];

/** Part of a page with figures that may change. */
class Section {
  #options;
  #signal;
  #last = null;
  #isBusy = false;
  #isDue = false;
  #isAsked = false;
  #read = 0;

  constructor(options, signal) {
    this.#options = options;
    this.#signal = signal;
    const name = unique("section");
    this.body = el("div", { class: "body" }, el("p", { class: "empty" }, "Loading…"));
    this.note = el("p", { class: "note", role: "status", hidden: true });
    this.element = el(
      "section",
      { class: `card ${options.size ?? ""}`, "aria-labelledby": name },
      el("header", {}, el("h2", { id: name }, options.title), options.tools ?? null),
      options.about ? el("p", { class: "about" }, options.about) : null,
      this.note,
      this.body,
    );
    const due = () => this.due();
    for (const type of [...ALWAYS, ...(options.events ?? [])]) {
      live.addEventListener(type, due, { signal });
    }
    const timer = setInterval(
      () => Date.now() - this.#read > (options.longest ?? LONGEST) && this.due(),
      5_000,
    );
    signal.addEventListener("abort", () => clearInterval(timer));
    document.addEventListener("visibilitychange", () => this.#isDue && this.due(), { signal });
    this.refresh();
  }

  /** Asks for another look, as soon as the pause after the last one is over. */
  due() {
    if (this.#isDue && !document.hidden && !this.#isBusy) return this.refresh();
    if (this.#isDue) return undefined;
    this.#isDue = true;
    const wait = Math.max(0, this.#read + (this.#options.pause ?? 2_000) - Date.now());
    return setTimeout(() => this.#isDue && !document.hidden && this.refresh(), wait);
  }

  /** Reads the figures, and shows them if they are new. */
  async refresh() {
    if (this.#signal.aborted) return;
    // What is read now may be old already, so it is read once more.
    this.#isAsked = this.#isBusy;
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#isDue = false;
    try {
      const { needs, load } = this.#options;
      if (needs && !(await has(needs))) throw new Failure("missing", "This server lacks the part.");
      const data = await load(this.#signal);
      this.#tell("");
      const text = JSON.stringify(data ?? null);
      if (text !== this.#last) {
        this.#last = text;
        replace(this.body, this.#options.show(data));
      }
    } catch (failure) {
      this.#fail(failure);
    } finally {
      this.#isBusy = false;
      this.#read = Date.now();
      if (this.#isAsked) this.refresh();
    }
  }

  #fail(failure) {
    if (this.#signal.aborted || failure.kind === "stopped") return;
    if (failure.kind === undefined) {
      // A fault of the page: the rest of it goes on.
      console.error(failure);
      this.#tell("This part of the page failed. Reload it, or report what the console says.");
      return;
    }
    if (failure.kind === "missing" && this.#options.missing) {
      this.#last = null;
      this.#tell("");
      replace(this.body, missing(this.#options.missing));
      return;
    }
    const isShown = this.#last !== null;
    this.#tell(isShown ? `${failure.message} These are the last figures.` : failure.message);
    if (!isShown) replace(this.body, []);
  }

  #tell(text) {
    this.note.hidden = text === "";
    if (this.note.textContent !== text) this.note.textContent = text;
  }
}

/** Options of a section that shows the chain or its past. */
export const CHAIN = {
  needs: "chain",
  missing: {
    text: "This server does not follow a chain. Start one that does:",
    command: "pol-trainer serve --no-model --node ws://127.0.0.1:9944",
  },
};

/** Returns the explanation of a part that this server does not have. */
export function missing({ text, command }) {
  return [el("p", {}, text), command ? el("pre", {}, el("code", {}, command)) : null];
}

/** A page, until another one is opened. */
export class Page {
  #ended = new AbortController();

  constructor(root, parameters) {
    this.root = root;
    this.parameters = parameters;
    this.signal = this.#ended.signal;
  }

  /** Adds anything. */
  add(...elements) {
    this.root.append(...elements);
  }

  /** Adds a section. `show` returns the elements for what `load` read. */
  section(options) {
    const section = new Section(options, this.signal);
    this.root.append(section.element);
    return section;
  }

  /** Adds a section with the table of an endpoint with pages. */
  table(options) {
    const rows = new PagedTable({ ...options, caption: options.title, isTitled: true });
    const load = async () => {
      await rows.refresh();
      return null;
    };
    return this.section({ size: "wide", ...options, load, show: () => rows.element });
  }

  /** Ends all that the page does. */
  end() {
    this.#ended.abort();
  }
}

/** Characters of an amount that fit a narrow tile. */
const SHORT_AMOUNT = 8;

/**
 * Returns tiles of one figure each. A tile has a `name`, a `value`, and maybe a `note` about the
 * value and a `help` about the name.
 */
export function tiles(items) {
  const isMoney = (value) => typeof value === "string" && value.endsWith(UNIT);
  const figure = (value) =>
    isMoney(value) ? [value.slice(0, -UNIT.length), el("small", {}, UNIT)] : value;
  // Amounts are exact, so that some are long. They stay on one line.
  const kind = (value) => {
    if (!isMoney(value)) return "tile";
    return value.length - UNIT.length > SHORT_AMOUNT ? "tile money long" : "tile money";
  };
  const tile = ({ name, value, note = null, help = null }) =>
    el(
      "div",
      { class: kind(value) },
      el("dt", {}, name),
      el(
        "dd",
        {},
        el("span", { class: "figure" }, figure(value)),
        note === null ? null : el("span", { class: "muted" }, note),
        help === null ? null : el("span", { class: "muted" }, help),
      ),
    );
  return el("dl", { class: "tiles" }, items.map(tile));
}

/** Returns a list of names and values. */
export function facts(items) {
  const entry = ([name, value]) => [el("dt", {}, name), el("dd", {}, value)];
  return el("dl", { class: "facts" }, items.map(entry));
}

/** Returns a choice of one of a few values. */
export function choice({ label, values, value, change }) {
  const name = unique("choice");
  const option = ([key, text]) => {
    const input = el("input", {
      type: "radio",
      name,
      value: key,
      checked: key === value,
      onchange: () => change(key),
    });
    return el("label", {}, input, el("span", {}, text));
  };
  return el(
    "fieldset",
    { class: "choice" },
    el("legend", { class: "visually-hidden" }, label),
    values.map(option),
  );
}
