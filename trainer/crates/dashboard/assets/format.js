// SPDX-License-Identifier: Apache-2.0
// Numbers, times, and names as people read them.

import { announce, el, svg } from "./dom.js";

const LANGUAGE = "en";
const whole = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(LANGUAGE, { notation: "compact", maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto", style: "short" });
const exact = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "medium" });

/** Mark of a value that is not known. */
export const NONE = "–";

const known = (value) => value !== null && value !== undefined && Number.isFinite(Number(value));

/** Returns an integer with groups of digits. */
export const count = (value) => (known(value) ? whole.format(value) : NONE);

/** Returns a large number in a few characters. */
export const compact = (value) => (known(value) ? short.format(value) : NONE);

/** Returns a number with some digits after the point. */
export const decimal = (value, digits = 3) => (known(value) ? Number(value).toFixed(digits) : NONE);

/** Returns a share of 0 to 1 in per cent. */
export const percent = (value, digits = 1) =>
  known(value) ? `${(value * 100).toFixed(digits)} %` : NONE;

/** Returns the form of a noun for a number of things. `more` is a plural that is irregular. */
export const noun = (value, one, more = `${one}s`) => (Number(value) === 1 ? one : more);

/** Returns a number of things, such as `1 round` and `2 rounds`. */
export const counted = (value, one, more) => `${count(value)} ${noun(value, one, more)}`;

/** Unit of money, behind a space at which lines do not break. */
export const UNIT = "\u00a0POL";

/** Returns an amount of money as it is given, with its unit. */
export const amount = (value) => (value === null || value === undefined ? NONE : value + UNIT);

/** Returns words of a name with underscores. */
export const words = (name) => (name ? String(name).replaceAll("_", " ") : NONE);

/** Returns a text with a capital at its start. */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Returns a number of bytes with a unit. */
export function bytes(value) {
  if (!known(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = value < 1 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), units.length - 1);
  return `${(value / 1024 ** step).toFixed(step ? 1 : 0)} ${units[step]}`;
}

/** Returns a span of time in its two largest units. */
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  let rest = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ]) {
    const units = Math.floor(rest / size);
    rest -= units * size;
    if (units > 0 || (parts.length === 0 && unit === "s")) parts.push(`${units} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

function ago(moment) {
  const seconds = (moment - Date.now()) / 1000;
  for (const [unit, size] of [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ]) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return Math.abs(seconds) < 5 ? "now" : relative.format(Math.trunc(seconds), "second");
}

/** Returns a time relative to now; its title has the exact one. */
export function time(iso) {
  const moment = Date.parse(iso ?? "");
  if (Number.isNaN(moment)) return NONE;
  return el("time", { datetime: iso, title: exact.format(moment), "data-live": "" }, ago(moment));
}

/** Renews all relative times of the page. */
export function renewTimes() {
  for (const element of document.querySelectorAll("time[data-live]")) {
    const text = ago(Date.parse(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
  }
}

/** Returns a long name in a few characters. */
export function shorten(text, head = 6, tail = 4) {
  const name = String(text);
  return name.length > head + tail + 1 ? `${name.slice(0, head)}…${name.slice(-tail)}` : name;
}

/** Copies a text, or selects it where it is `shown`. Returns `false` if it is selected alone. */
async function copied(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS a page of another machine has no clipboard, but may have the way before it.
    getSelection().selectAllChildren(shown);
    return document.execCommand("copy");
  }
}

/** Returns a button that shows a long name in full and copies it. */
function copyButton(text, what, shown) {
  const copy = async () => {
    shown.textContent = text;
    button.parentElement.classList.add("full");
    if (!(await copied(text, shown))) {
      announce(`The browser does not allow to copy. The ${what} is selected: ${text}`);
      return;
    }
    announce(`${what} copied`);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  };
  const label = `Copy ${what} ${text}`;
  const icon = svg(
    "svg",
    { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" },
    svg("rect", { x: 5.5, y: 5.5, width: 8, height: 8, rx: 1.5 }),
    svg("path", { d: "M3 10.5H2.5V4A1.5 1.5 0 0 1 4 2.5h6.5V3" }),
  );
  const button = el(
    "button",
    { type: "button", class: "copy", "aria-label": label, onclick: copy },
    icon,
  );
  return button;
}

/** Returns a shortened account with a link to its page. */
export function account(address) {
  if (!address) return NONE;
  const href = `/dashboard/economy?account=${encodeURIComponent(address)}`;
  const link = el("a", { href, title: address, class: "mono" }, shorten(address));
  return el("span", { class: "name" }, link, copyButton(address, "account", link));
}

/** Returns a shortened hash or another long name. */
export function hash(text, href = null) {
  if (!text) return NONE;
  const name = shorten(text, 8, 4);
  const shown = href
    ? el("a", { href, title: text, class: "mono" }, name)
    : el("span", { title: text, class: "mono" }, name);
  return el("span", { class: "name" }, shown, copyButton(text, "hash", shown));
}

/** Returns a word on a coloured ground. The word itself carries the meaning. */
export const badge = (text, kind = "neutral") => el("span", { class: `badge ${kind}` }, text);
