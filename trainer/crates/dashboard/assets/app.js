// SPDX-License-Identifier: Apache-2.0
// The frame of all pages: navigation, the state of the connection, the theme, and the token.

import { token, traffic } from "./api.js";
import { announce, el, go } from "./dom.js";
import { count, renewTimes } from "./format.js";
import { live } from "./live.js";
import { Page } from "./page.js";
import { auditsPage } from "./audits.js";
import { dataPage } from "./data.js";
import { economyPage } from "./economy.js";
import { learningPage } from "./learning.js";
import { machinePage } from "./machine.js";
import { networkPage } from "./network.js";
import { talkPage } from "./talk.js";

const PAGES = {
  network: ["Network", networkPage],
  learning: ["Learning", learningPage],
  data: ["Data", dataPage],
  economy: ["Economy", economyPage],
  audits: ["Audits", auditsPage],
  talk: ["Talk", talkPage],
  machine: ["Machine", machinePage],
};

const STATES = {
  connecting: "connecting",
  live: "live",
  reconnecting: "reconnecting",
  away: "node away",
  stuck: "index stuck",
  behind: "index behind",
  token: "token needed",
  none: "no chain",
};

/** Explanations of states in which figures are old. The server has the one of `stuck`. */
const BANNERS = {
  reconnecting:
    "The server does not answer. These are the last figures; it is asked again and again.",
  away: "The node does not answer, or makes no blocks. These are the last figures.",
  behind: "The index still reads the past of the chain. Figures end with its last block.",
};

const byId = (id) => document.getElementById(id);
let current = null;

/** Opens the page of the present address. */
function open(isFirst) {
  const name = location.pathname.split("/")[2] ?? "network";
  const [title, build] = PAGES[name] ?? PAGES.network;
  current?.end();
  const main = byId("main");
  const heading = el("h1", { tabindex: -1 }, title);
  const body = el("div", { class: "cards" });
  main.replaceChildren(heading, body);
  document.title = `${title} · POL`;
  const pages = document.querySelector("nav.pages");
  for (const link of pages.querySelectorAll("a")) {
    const isCurrent = link.pathname === `/dashboard/${name}`;
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    // On a phone the names of the pages do not fit beside each other.
    if (isCurrent) pages.scrollLeft = link.offsetLeft - pages.clientWidth / 2;
  }
  current = new Page(body, new URLSearchParams(location.search));
  build(current);
  if (isFirst) return;
  scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

function followLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='/dashboard']");
    const isPlain = !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0;
    if (!link || !isPlain || event.defaultPrevented) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
  addEventListener("popstate", () => open(false));
}

function showState() {
  const badge = byId("state");
  const { state, behind, trouble } = live;
  badge.dataset.state = state;
  const text = state === "behind" ? `index ${count(behind)} blocks behind` : STATES[state];
  badge.querySelector("span").textContent = text;
  const banner = byId("banner");
  banner.textContent =
    state === "stuck"
      ? `There are no newer figures, since the index cannot follow the chain: ${trouble}.`
      : (BANNERS[state] ?? "");
  banner.hidden = banner.textContent === "";
  announce(`Connection: ${text}`);
}

function chooseTheme() {
  const select = byId("theme");
  select.value = document.documentElement.dataset.theme ?? "system";
  select.addEventListener("change", () => {
    if (select.value === "system") {
      localStorage.removeItem("pol-theme");
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem("pol-theme", select.value);
      document.documentElement.dataset.theme = select.value;
    }
  });
}

function askForToken() {
  const dialog = byId("token");
  const [input, reason] = [byId("secret"), byId("token-reason")];
  const forget = byId("token-forget");
  const ask = (text) => {
    if (dialog.open) return;
    reason.textContent = text;
    input.value = "";
    forget.hidden = token.get() === null;
    // A dialog that is left by Escape keeps the choice of the time before.
    dialog.returnValue = "";
    dialog.showModal();
  };
  let [isDeclined, isNeeded] = [false, false];
  traffic.addEventListener("failure", ({ detail }) => {
    if (detail.kind !== "token") return;
    isNeeded = true;
    if (!isDeclined) ask(detail.message);
  });
  byId("token-button").addEventListener("click", () => {
    if (token.get()) ask("This tab has a token. Another one takes its place.");
    else if (isNeeded) ask("This server needs a token.");
    else ask("This server has answered without a token so far. Some of its parts may need one.");
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "use" && dialog.returnValue !== "forget") {
      isDeclined = true;
      return;
    }
    isDeclined = false;
    token.set(dialog.returnValue === "use" ? input.value.trim() : null);
    input.value = "";
    open(false);
  });
}

live.addEventListener("state", showState);
chooseTheme();
askForToken();
followLinks();
open(true);
live.start();
setInterval(renewTimes, 5_000);
