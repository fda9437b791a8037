// SPDX-License-Identifier: Apache-2.0
// Elements, made without markup, so that text of strangers stays text.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined),
  );
  return element;
}

/** Returns an element. Names of attributes that begin with `on` are listeners. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Returns an element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

let names = 0;

/** Returns a name for an element that others refer to. */
export function unique(prefix) {
  names += 1;
  return `${prefix}-${names}`;
}

/**
 * Replaces the content of an element, gives the focus back to what had it, and opens what was open.
 */
export function replace(parent, ...children) {
  const active = document.activeElement;
  const held = parent.contains(active) && active !== parent ? mark(active) : null;
  const opened = [...parent.querySelectorAll("details[open]")].map(titleOf);
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child !== null));
  for (const details of parent.querySelectorAll("details")) {
    if (opened.includes(titleOf(details))) details.open = true;
  }
  if (held === null) return;
  const same = [...parent.querySelectorAll(held.tag)].find((one) => mark(one).text === held.text);
  same?.focus({ preventScroll: true });
}

/** Returns the title of an element that opens, with that of its chart or story. */
const titleOf = (details) =>
  (details.closest("figure, article")?.querySelector("figcaption, h3")?.textContent ?? "") +
  (details.querySelector("summary")?.textContent ?? "");

function mark(element) {
  const label = element.getAttribute("aria-label") ?? element.textContent;
  return { tag: element.tagName.toLowerCase(), text: element.id || label };
}

/** Opens the page at an address of the dashboard. */
export function go(href) {
  if (href !== location.pathname + location.search) history.pushState(null, "", href);
  dispatchEvent(new PopStateEvent("popstate"));
}

const announcer = () => document.getElementById("announcer");
let announcing;

/** Has screen readers say something, once nothing newer came for a moment. */
export function announce(text) {
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    announcer().textContent = text;
  }, 400);
}
