// SPDX-License-Identifier: Apache-2.0
// Tables. A long list is read and shown in pages, so that a page of the browser stays small.

import { get } from "./api.js";
import { announce, el, replace, unique } from "./dom.js";
import { count } from "./format.js";

const ROWS = 10;

/** Returns a text about the columns that are not clear by their titles, or `null`. */
function explain(columns) {
  const texts = columns
    .filter(({ help }) => help)
    .map(({ title, help }) => `${title}: ${help.charAt(0).toLowerCase()}${help.slice(1)}.`);
  return texts.length === 0 ? null : texts.join(" ");
}

/**
 * Returns a table. A column has a `title`, a function `cell` of a row, and maybe `number: true` for
 * figures and a `help` about the title, which is shown below. The first one names the rows.
 */
export function table({ caption, isTitled = false, columns, rows, empty = "Nothing here yet." }) {
  if (rows.length === 0) return el("p", { class: "empty" }, empty);
  const kind = (column) => (column.number ? "number" : null);
  const headings = columns.map((column) =>
    el("th", { scope: "col", class: kind(column) }, column.title),
  );
  const line = (row) =>
    el(
      "tr",
      {},
      columns.map((column, number) =>
        number === 0
          ? el("th", { scope: "row", class: kind(column) }, column.cell(row))
          : el("td", { class: kind(column) }, column.cell(row)),
      ),
    );
  const name = unique("caption");
  const help = explain(columns);
  const about = help === null ? null : unique("help");
  const scroll = el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": name },
    el(
      "table",
      { "aria-describedby": about },
      // A heading above the table says the same.
      el("caption", { id: name, class: isTitled ? "visually-hidden" : null }, caption),
      el("thead", {}, el("tr", {}, headings)),
      el("tbody", {}, rows.map(line)),
    ),
  );
  if (help === null) return scroll;
  return el("div", {}, scroll, el("p", { class: "help", id: about }, help));
}

function pager({ back, forth, text }) {
  const button = (label, action) =>
    el("button", { type: "button", onclick: action, disabled: action === null }, label);
  return el(
    "nav",
    { class: "pager", "aria-label": "Pages of the table" },
    button("Previous", back),
    el("span", { class: "muted" }, text),
    button("Next", forth),
  );
}

/** Returns a table of rows that are here, in pages. */
export function localTable(options) {
  const { rows } = options;
  const box = el("div");
  let start = 0;
  const turn = (to) => {
    start = to;
    draw();
    announce(`Rows ${start + 1} to ${Math.min(start + ROWS, rows.length)} of ${rows.length}`);
  };
  const draw = () => {
    const end = Math.min(start + ROWS, rows.length);
    const shown = table({ ...options, rows: rows.slice(start, end) });
    const pages = pager({
      back: start > 0 ? () => turn(start - ROWS) : null,
      forth: end < rows.length ? () => turn(end) : null,
      text: `${count(start + 1)}–${count(end)} of ${count(rows.length)}`,
    });
    replace(box, shown, rows.length > ROWS ? pages : null);
  };
  draw();
  return box;
}

/** Table of an endpoint with pages. */
export class PagedTable {
  /** Positions of the pages so far; the last one is shown. */
  #pages = [null];
  #last = "";
  #options;

  constructor(options) {
    this.#options = options;
    this.element = el("div", {}, el("p", { class: "empty" }, "Loading…"));
  }

  /** Shows what the endpoint has now. */
  async refresh() {
    const { path, parameters = {}, pageSize: size = ROWS } = this.#options;
    const after = this.#pages.at(-1);
    const page = await get(path, { ...parameters, limit: size, after });
    // A table that has not changed is left alone, with its selection and its place.
    const content = JSON.stringify([page.items, page.next, this.#pages.length]);
    if (content === this.#last) return;
    this.#last = content;
    this.#draw(page);
  }

  async #turn(change) {
    change();
    try {
      await this.refresh();
      announce(`Page ${this.#pages.length} of ${this.#options.caption}`);
    } catch (failure) {
      announce(failure.message);
    }
  }

  #draw(page) {
    const isFirst = this.#pages.length === 1;
    const pages = pager({
      back: isFirst ? null : () => this.#turn(() => this.#pages.pop()),
      forth: page.next ? () => this.#turn(() => this.#pages.push(page.next)) : null,
      text: `Page ${this.#pages.length}`,
    });
    const shown = table({ ...this.#options, rows: page.items });
    replace(this.element, shown, isFirst && !page.next ? null : pages);
  }
}
