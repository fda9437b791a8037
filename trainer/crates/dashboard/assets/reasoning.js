// SPDX-License-Identifier: Apache-2.0
// Steps of reasoning as a tree that grows while the model searches.

import { el } from "./dom.js";
import { decimal } from "./format.js";

/** Tree of steps, each of which names the step before it. */
export class ReasoningTree {
  #lists = new Map();
  #items = new Map();

  constructor() {
    const root = el("ul", {});
    this.#lists.set(null, root);
    this.element = el(
      "div",
      { class: "tree", hidden: true },
      el(
        "p",
        { class: "muted small" },
        "Steps of reasoning. Values are in nats; higher is better.",
      ),
      root,
    );
  }

  /** Adds a step below the step before it. */
  add({ id, parent, text, value }) {
    this.element.hidden = false;
    const below = el("ul", {});
    const item = el(
      "li",
      {},
      el("span", { class: "step" }, text.trim() || "…"),
      " ",
      el("span", { class: "muted small" }, decimal(value, 2)),
      below,
    );
    this.#items.set(id, item);
    this.#lists.set(id, below);
    (this.#lists.get(parent ?? null) ?? this.#lists.get(null)).append(item);
  }

  /** Marks the steps of the best path. */
  choose(path) {
    for (const { id } of path) this.#items.get(id)?.classList.add("chosen");
  }
}
