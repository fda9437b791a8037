// SPDX-License-Identifier: Apache-2.0

// Drives a headless Chromium through the pages of a server, and fails where one is not as it has to
// be. usage: node browser.mjs URL MODE [--NAME VALUE]…; prints `done` at the end.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(path.join(process.env.POL_NODE_MODULES, "package.json"));
const { chromium } = require("playwright-core");

const [base, mode, ...rest] = process.argv.slice(2);
const options = {};
for (let at = 0; at < rest.length; at += 2) options[rest[at].replace(/^--/, "")] = rest[at + 1];

/** Longest wait for anything: machines of tests are slow, and their failures are not. */
const SOON = 60_000;
const PAGES = ["network", "learning", "data", "economy", "audits", "talk", "machine"];
/** Largest number of elements of a page, whatever the chain has. */
const MOST_ELEMENTS = 4_000;
const VIEWS = {
  light: { viewport: { width: 1280, height: 800 }, colorScheme: "light" },
  dark: { viewport: { width: 1280, height: 800 }, colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};
const executablePath = process.env.POL_CHROMIUM ?? "/usr/bin/chromium";
assert.ok(existsSync(executablePath), `${executablePath} is missing: run scripts/setup.sh`);

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const faults = [];

/** Opens a tab that notes every error. `expected` are messages that the test provokes. */
async function openTab(view, expected = null) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...VIEWS[view] });
  const page = await context.newPage();
  page.setDefaultTimeout(SOON);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !expected?.test(message.text())) {
      faults.push(`${page.url()}: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => faults.push(`${page.url()}: ${error.stack}`));
  return page;
}

async function visit(page, name) {
  await page.goto(`${base}/dashboard/${name}`);
  await settle(page);
}

/** Waits until no part of the page loads any more. */
async function settle(page) {
  await page.waitForSelector("main h1");
  await page.waitForFunction(
    () =>
      document.querySelector("main section") &&
      ![...document.querySelectorAll(".body .empty")].some((one) => one.textContent === "Loading…"),
  );
}

const state = (page, name) => page.waitForSelector(`#state[data-state="${name}"]`);

/** Checks what holds of every page. */
async function check(page, name) {
  const found = await page.evaluate(inspect);
  assert.deepEqual(found.faults, [], name);
  assert.ok(found.elements < MOST_ELEMENTS, `${name} has ${found.elements} elements`);
  assert.ok(found.width <= found.room, `${name} is ${found.width} wide in ${found.room}`);
}

/** Runs in the page: looks for names, captions, and contrast that are missing. */
function inspect() {
  const faults = [];
  const fault = (text, element) => faults.push(`${text}: ${element.outerHTML.slice(0, 200)}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  for (const table of all("table")) {
    if (!table.caption?.textContent) fault("no caption", table);
    if (!table.querySelector("tbody th[scope=row]")) fault("no heads of rows", table);
  }
  for (const cell of all("th")) if (!cell.scope) fault("no scope", cell);
  for (const image of all("svg[role=img]")) {
    if (!image.querySelector("title")?.textContent) fault("no title", image);
  }
  for (const control of all("input, select, textarea, button")) {
    const label = control.getAttribute("aria-label") ?? control.textContent;
    const named = label.trim() || [...(control.labels ?? [])].some((one) => one.textContent.trim());
    if (!named) fault("no name", control);
  }
  for (const text of all("[style]")) {
    // Styles are set by scripts, as custom properties and for what follows a pointer.
    if (!text.matches("i, .cursor")) fault("inline style", text);
  }
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (colour, ground) => {
    canvas.fillStyle = `rgb(${ground.join(" ")})`;
    canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const groundOf = (element) => {
    const chain = [];
    for (let one = element; one; one = one.parentElement) {
      chain.push(getComputedStyle(one).backgroundColor);
    }
    return chain.reverse().reduce((ground, colour) => paint(colour, ground), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || seen.has(element)) continue;
    seen.add(element);
    const style = getComputedStyle(element);
    const isOff = element.closest(
      ":disabled, .visually-hidden, .skip, noscript, title, desc, dialog, option",
    );
    if (isOff || !element.checkVisibility()) continue;
    const ground = groundOf(element);
    const isSvg = element.namespaceURI.endsWith("svg");
    const ink = paint(isSvg ? style.fill : style.color, ground);
    const [a, b] = [light(ink), light(ground)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 600);
    if (contrast < (isLarge ? 3 : 4.5)) fault(`contrast ${contrast.toFixed(2)}`, element);
  }
  for (const money of all(".tile .figure:has(small)")) {
    const { height } = money.getBoundingClientRect();
    if (height > 1.5 * parseFloat(getComputedStyle(money).lineHeight)) fault("an amount on several lines", money);
  }
  const things =
    "authorities|blocks|cores|documents|events|manifests|rewards|rounds|seats|segments|shards|" +
    "steps|tokens|trainers|updates|validators|values";
  const plural = new RegExp(`(?<![\\d.,/÷])1 (more )?(${things})\\b.*`);
  const wrong = document.body.innerText.match(plural);
  if (wrong) faults.push(`plural: ${wrong[0]}`);
  return {
    faults: faults.slice(0, 10),
    elements: document.querySelectorAll("*").length,
    width: document.documentElement.scrollWidth,
    room: innerWidth,
  };
}

/** Goes through a page by the keyboard alone. */
async function walkByKeyboard(page) {
  await visit(page, "network");
  await page.keyboard.press("Tab");
  const active = () =>
    page.evaluate(() => {
      const style = getComputedStyle(document.activeElement);
      const { tagName, textContent, id, className } = document.activeElement;
      return { tag: tagName, text: textContent.trim(), id, className, outline: style.outlineStyle };
    });
  assert.equal((await active()).className, "skip");
  await page.keyboard.press("Enter");
  assert.equal((await active()).id, "main");
  await page.reload();
  await settle(page);
  const stops = [];
  for (let stop = 0; stop < 30; stop += 1) {
    await page.keyboard.press("Tab");
    const now = await active();
    assert.notEqual(now.outline, "none", `no ring around ${JSON.stringify(now)}`);
    stops.push(now.text);
  }
  for (const title of ["Network", "Talk", "Machine", "Token"])
    assert.ok(stops.includes(title), title);
  await page.focus("nav.pages a[href$=learning]");
  await page.keyboard.press("Enter");
  await page.waitForSelector("h1:text-is('Learning')");
  assert.equal((await active()).text, "Learning");
  await settle(page);
  await page.waitForSelector(".chart svg[tabindex]");
  await page.focus(".chart svg[tabindex]");
  const readout = () => page.textContent(".readout");
  const last = await readout();
  await page.keyboard.press("ArrowLeft");
  assert.notEqual(await readout(), last);
  assert.match(await readout(), /round .+: Loss .+ nats per token/);
}

/** Looks at every page in every view. */
async function lookAtPages() {
  for (const view of Object.keys(VIEWS)) {
    const page = await openTab(view);
    for (const name of [...PAGES, ...deepPages()]) {
      await visit(page, name);
      if (view === "light") await openDetails(page);
      await check(page, `${name} in ${view}`);
    }
    await page.context().close();
  }
}

/** Opens all that is folded, at once, since figures that are new replace the old ones. */
async function openDetails(page) {
  const all = "main details:not([open]) > summary";
  await page.$$eval(all, (summaries) => summaries.forEach((one) => one.click()));
}

const deepPages = () =>
  options.deep?.split(" ") ?? [
    "learning?round=9990",
    "data?manifest=3",
    "data?shard=3/0",
    "data?document=plays",
    "data?passage=to%20be",
    "audits?audit=9998",
    "economy?account=5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY&round=9998",
  ];

const modes = {
  async pages() {
    await lookAtPages();
    const page = await openTab("light");
    await walkByKeyboard(page);
    await readLongLists(page);
    await visit(page, "data");
    await page.waitForSelector(".tile:has(dt:text-is('Leased')):has-text('48')");
    await page.waitForSelector(".tile:has(dt:text-is('Duplicates')):has-text('1,204')");
    await page.waitForSelector(".tile:has(dt:text-is('Duplicates')):has-text('2.9 % of 41,506')");
    const rules = "figure:has(figcaption:text-is('Dropped documents by rule'))";
    assert.equal(await page.textContent(`${rules} li >> nth=0`), "duplicate.near903 documents");
    await page.click(`${rules} summary`);
    await page.waitForSelector(`${rules} tbody th:text-is('gopher.symbols')`);
    await visit(page, "network");
    const peers = "section:has(h2:text-is('Peers'))";
    await page.waitForSelector(`${peers} figcaption:text('The ten slowest of 14 members')`);
    const latencies = await page.$$eval(`${peers} .bars .value`, textsOf);
    assert.ok(latencies.every((text) => /^\d+\.\d ms$/.test(text)), `${latencies}`);
    const numbers = latencies.map((text) => parseFloat(text));
    assert.deepEqual(numbers, [...numbers].sort((a, b) => b - a));
    await walkFromDocument(page, "plays");
    await readReward(page);
    await readHelp(page);
    await copyNames();
    await readNorms(page);
    await readExperts(page);
    if (options.hostile) await meetHostileText(page);
  },

  async talk() {
    const page = await openTab("light");
    await visit(page, "talk");
    await page.waitForSelector(".facts:has-text('round 10,000')");
    await setSampling(page);
    await page.check("label:has-text('Tools') input");
    await page.check("label:has-text('Receipt') input");
    await page.fill("textarea", "Tell me of the river.");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".answer:has-text('seed 812')");
    assert.match(await page.textContent(".answer .text"), /1\/6>> = 0\.5 .+<b>the clock<\/b>/);
    assert.ok(
      await page.$$eval(
        ".answer .token",
        (tokens) => new Set(tokens.map((one) => one.className)).size > 2,
      ),
    );
    await readTokens(page);
    assert.match(await page.textContent(".calls"), /calc: 1\/3 \+ 1\/6 = 0\.5/);
    await page.click(".receipt summary");
    const [file] = await Promise.all([
      page.waitForEvent("download"),
      page.click("text=Save receipt.json"),
    ]);
    await file.saveAs(path.join(options.out, file.suggestedFilename()));
    await reason(page);
    assert.equal(await page.$$eval(".tree .chosen", (steps) => steps.length), 3);
    assert.ok((await page.$$(".tree li")).length > 3);
    assert.equal(await page.$(".answer .bad"), null);
    await check(page, "talk with answers");
    await compare(page);
  },

  async empty() {
    const page = await openTab("light", /404/);
    for (const name of PAGES) {
      await visit(page, name);
      await check(page, name);
    }
    await visit(page, "learning");
    await page.waitForSelector("text=No head has been measured yet.");
    await page.waitForSelector(`${EXPERTS} :text('No model is loaded yet.')`);
    await visit(page, "economy");
    await page.waitForSelector("text=Nobody has lost a bond.");
    await visit(page, "data");
    await page.waitForSelector("text=No ingestion has ended here yet.");
  },

  async young() {
    for (const view of ["light", "phone"]) {
      const page = await openTab(view);
      for (const name of [...PAGES, "learning?round=1", "data?manifest=1", "audits?audit=1"]) {
        await visit(page, name);
        await openDetails(page);
        await check(page, `${name} of a young network in ${view}`);
      }
      await visit(page, "data");
      const quality = "section:has(h2:text-is('Quality')) svg";
      await page.waitForSelector(`${quality} .tick`);
      const upright = await page.$$eval(`${quality} .tick[text-anchor=end]`, textsOf);
      assert.deepEqual(upright, ["0", "1", "2"], "counts are whole");
      await visit(page, "learning");
      await page.waitForSelector(`${EXPERTS} :text('The model has no experts')`);
      await visit(page, "machine");
      await page.waitForSelector("text=Nothing has happened since this page was opened.");
      await visit(page, "network");
      await page.waitForSelector("text=Only members connect to each other.");
      await page.context().close();
    }
  },

  async library() {
    const page = await openTab("light");
    await visit(page, "machine");
    await page.waitForSelector("strong:text-is('server')");
    const training = "section:has(h2:text-is('Training'))";
    await page.waitForSelector(`${training} label:has-text('smollm2 → mine: running')`);
    await page.waitForSelector(`${training} .facts:has-text('12 of 96')`);
    assert.ok(await page.isEnabled(`${training} button:text-is('Cancel')`));
    assert.equal(await page.$("button:text-is('Pause')"), null);
    const events = "section:has(h2:text-is('Events of the training'))";
    await page.waitForSelector(`${events} li:has-text('Step 12 of 96, running.')`);
    await check(page, "a local epoch");
  },

  async silent() {
    const page = await openTab("light");
    // This page asks for nothing that needs the node.
    await visit(page, "audits");
    await state(page, "away");
    await page.waitForSelector("#banner:visible");
    await state(page, "live");
    await page.waitForSelector("#banner", { state: "hidden" });
  },

  async bare() {
    const page = await openTab("phone", /404/);
    for (const name of PAGES) {
      await visit(page, name);
      await check(page, name);
    }
    await state(page, "none");
    await visit(page, "network");
    await page.waitForSelector("pre:has-text('pol-trainer serve')");
    await visit(page, "learning");
    await page.waitForSelector(`${EXPERTS} pre:has-text('pol-trainer serve')`);
    await visit(page, "talk");
    await page.waitForSelector("pre:has-text('--model')");
    await visit(page, "data");
    await page.waitForSelector("section:has(h2:text-is('Text on this machine')) pre:has-text('--data')");
  },

  async behind() {
    const page = await openTab("light");
    await visit(page, "learning");
    await page.waitForSelector("#state:has-text('1,482 blocks behind')");
    await page.waitForSelector("#banner:visible");
    await check(page, "behind");
  },

  async stuck() {
    const page = await openTab("phone");
    await visit(page, "learning");
    await state(page, "stuck");
    await page.waitForSelector("#state:has-text('index stuck')");
    await page.waitForSelector("#banner:has-text('no longer has the state of block 12')");
    await check(page, "a stuck index");
  },

  async foreign() {
    const page = await openTab("light", /404|503/);
    await visit(page, "audits");
    await state(page, "stuck");
    await page.waitForSelector("#banner:has-text('the index of another chain')");
    await check(page, "the index of another chain");
  },

  async restart() {
    const page = await openTab("light", /401|ERR_|Failed to load resource/);
    await page.goto(`${base}/dashboard/learning`);
    if (options.token) {
      await page.fill("#secret", options.token);
      await page.keyboard.press("Enter");
      const kept = await page.evaluate(() => JSON.stringify(localStorage));
      assert.ok(!kept.includes("pol_"), kept);
    }
    await settle(page);
    await state(page, "live");
    if (options.token) await leaveTokenDialog(page);
    const before = await page.textContent("main .tile .figure");
    await exchange("stop the server");
    await state(page, "reconnecting");
    await page.waitForSelector("#banner:visible");
    // The figures of a made network stand still until the test changes them.
    if (!options.node) assert.equal(await page.textContent("main .tile .figure"), before);
    await exchange("start the server");
    await state(page, "live");
    if (options.node) {
      await loseNode(page);
      return;
    }
    await page.waitForFunction(
      (text) => document.querySelector("main .tile .figure").textContent !== text,
      before,
    );
    await page.waitForSelector("#banner", { state: "hidden" });
  },

  async network() {
    const page = await openTab("light");
    for (const name of PAGES) {
      await visit(page, name);
      await check(page, name);
      assert.deepEqual(await page.$$eval(".note:not([hidden])", textsOf), [], name);
      await LOOKS[name](page);
      await settle(page);
      await check(page, page.url());
    }
    await walkByKeyboard(page);
    await page.context().close();
    const phone = await openTab("phone");
    for (const name of PAGES) {
      await visit(phone, name);
      await check(phone, `${name} on a phone`);
    }
  },

  async trainer() {
    // The index of a trainer that started late may lack states of the past.
    const page = await openTab("light", /Failed to load resource/);
    await visit(page, "machine");
    await page.waitForSelector("strong:text-is('trainer')");
    await page.waitForSelector("button:text-is('Pause')");
    await visit(page, "learning");
    await page.waitForSelector("section:has(h2:text-is('Training on this machine')) .tile");
    await check(page, "a trainer");
    await readNorms(page);
    await visit(page, "network");
    await page.waitForSelector("section:has(h2:text-is('Peers')) .bars .value:has-text('ms')");
  },

  async experts() {
    // The index of this server begins with the page.
    const page = await openTab("light", /Failed to load resource/);
    await visit(page, "learning");
    // The server measures them once it serves the model.
    await page.waitForSelector(`${EXPERTS} tbody tr >> nth=1`);
    const heads = await page.$$eval(`${EXPERTS} thead th`, textsOf);
    assert.deepEqual(heads.slice(3), ["Expert 0", "Expert 1", "Expert 2", "Expert 3"]);
    const sums = (await sharesOf(page)).map(sumOf);
    assert.ok(sums.length > 1 && sums.every((sum) => Math.abs(sum - 100) < 1), `${sums}`);
    await page.check(`${EXPERTS} label:has-text('Source') input`, { force: true });
    await page.waitForSelector(`${EXPERTS} tbody th a[href*='source=']`);
    await check(page, "experts of a real network");
  },

  async slash() {
    const page = await openTab("light", /Failed to load resource/);
    await visit(page, "economy");
    // It comes while somebody watches, once an audit has found what the cheat did.
    const evidence = "section:has(h2:text-is('Slashes')) tbody td a:has-text('audit #')";
    await page.waitForSelector(evidence, { timeout: 400_000 });
    await check(page, "a slash");
    await follow(page, evidence, ".story .losses li:has-text('lost')");
    await page.waitForSelector(".story:has(.losses) .timeline li.bad");
    await check(page, "the story of a slash");
  },

  async screenshots() {
    for (const view of Object.keys(VIEWS)) {
      const page = await openTab(view);
      for (const name of [...PAGES, "audits?audit=9998", deepPages().at(-1)]) {
        await visit(page, name);
        if (name === "talk") await converse(page);
        await page.evaluate(() => scrollTo(0, 0));
        const file = name.replace(/\?(\w+).*/, "-$1");
        const clip = {
          x: 0,
          y: 0,
          width: VIEWS[view].viewport.width,
          height: view === "phone" ? 844 : 960,
        };
        await page.screenshot({
          path: path.join(options.out, `${file}-${view}.png`),
          clip,
          fullPage: true,
        });
        if (name === "learning") {
          // The panel is far below what the picture of the page shows.
          const panel = page.locator(EXPERTS);
          await panel.locator("tbody tr").first().waitFor();
          await panel.screenshot({ path: path.join(options.out, `learning-experts-${view}.png`) });
        }
      }
      await page.context().close();
    }
  },
};

/** Section with the experts of each domain. */
const EXPERTS = "section:has(h2:text-is('Experts by domain'))";

const textsOf = (all) => all.map((one) => one.textContent);

/** Follows a link, and waits for what it leads to. */
async function follow(page, link, target) {
  await page.click(link);
  await page.waitForSelector(target);
}

/** What each page has to show of a real network, by links from one thing to the next. */
const LOOKS = {
  async network(page) {
    await page.waitForSelector(".phases li");
    assert.ok((await page.$$("section:has(h2:text-is('Members')) tbody tr")).length > 2);
    assert.ok((await page.$$("section:has(h2:text-is('Latest blocks')) tbody tr")).length > 4);
  },
  async learning(page) {
    await page.waitForSelector(".chart polyline");
    // The model of this network has no experts, and the page does not make figures up.
    await page.waitForSelector(`${EXPERTS} :text('The model has no experts')`);
    // A model that predicts no losses of its own has few measures, and some of them are 0.
    const measured = await page.$$eval(".gauge .figure", textsOf);
    assert.ok(measured.some((text) => text !== "–"), `${measured}`);
    await follow(
      page,
      "section:has(h2:text-is('Rounds')) tbody th a",
      "h2:text('Updates of round')",
    );
  },
  async data(page) {
    await page.waitForSelector("svg rect.fill");
    if (options.documents) {
      const kept = "section:has(h2:text-is('Text on this machine')) .tile:has(dt:text-is('Kept'))";
      assert.notEqual(await page.textContent(`${kept} .figure`), "0");
    }
    await follow(page, "section:has(h2:text-is('Manifests')) tbody th a", ".lineage");
    await page.waitForSelector(".lineage a:text('Round')");
    if (options.documents) {
      await follow(page, ".lineage a:text('Shard')", "h2:text('Lineage of shard')");
      const document = "section:has(h2:text('Documents in shard')) tbody th a";
      await follow(page, document, "h2:text('Document 0x')");
    }
    await follow(page, ".lineage a:text('Source')", "h2:text('Lineage of source')");
  },
  async economy(page) {
    await follow(page, "section:has(h2:text-is('Latest rewards')) a:text-is('why')", ".formula");
    await page.waitForSelector("section:has(h2:text-is('Balance')) .tile");
  },
  async audits(page) {
    // The newest audits may be under way.
    await page.waitForSelector("tbody tr:has-text('ended')");
    await follow(page, "tbody tr:has-text('ended') a", ".story .timeline li");
  },
  async talk(page) {
    await page.selectOption("label:has-text('As') select", "text");
    await page.click("summary:text-is('Sampling')");
    await page.fill("label:has-text('Tokens') input", "12");
    await page.fill("textarea", "To be, or");
    await page.click("text=Send");
    await page.waitForSelector(".answer:has-text('seed')");
    assert.ok((await page.$$(".answer .token")).length > 0);
  },
  async machine(page) {
    await page.waitForSelector("strong:text-is('server')");
    await page.waitForSelector("section:has(h2:text-is('Metrics')) summary");
  },
};

/** Opens the dialog for the token, and leaves it without a change. */
async function leaveTokenDialog(page) {
  for (const way of ["Escape", "Cancel", "Nothing"]) {
    await page.click("#token-button");
    await page.waitForSelector("#token[open] #token-forget:visible");
    if (way === "Escape") {
      await page.keyboard.press("Escape");
    } else {
      if (way === "Nothing") {
        // Without a token there is nothing to use.
        await page.click("#token button.primary");
        assert.ok(await page.$("#token[open]"), "the dialog stays open");
      }
      await page.click("#token button:text-is('Cancel')");
    }
    await page.waitForSelector("#token", { state: "hidden" });
    const kept = await page.evaluate(() => sessionStorage.getItem("pol-token"));
    assert.equal(kept, options.token, way);
  }
}

/** Has the node stopped and started, with its pages open. */
async function loseNode(page) {
  await page.click("nav.pages a[href$=network]");
  await settle(page);
  await exchange("stop the node");
  await state(page, "away");
  await page.waitForSelector("#banner:visible");
  await exchange("start the node");
  await state(page, "live");
}

/** Sets the draws of models, so that they say what they expect to. */
async function setSampling(page) {
  await page.click("summary:text-is('Sampling')");
  await page.fill("label:has-text('Temperature') input", "0");
  await page.fill("label:has-text('Seed') input", "812");
}

/** Asks for a tree of steps. */
async function reason(page) {
  await page.fill("label:has-text('Temperature') input", "1");
  await page.selectOption("label:has-text('Reasoning') select", "tree");
  await page.fill("textarea", "What is 17 * 23?");
  await page.click("text=Send");
  await page.waitForSelector(".tree .chosen:has-text('391')");
  await page.waitForSelector(".answer:has(.chosen) footer:has-text('seed 812')");
  await page.selectOption("label:has-text('Reasoning') select", "");
  await page.fill("label:has-text('Temperature') input", "0");
}

/** Asks the newest model and an older one. */
async function askBoth(page, question) {
  const answers = await page.$$eval(".answers", (all) => all.length);
  await page.fill("textarea", question);
  await page.click("text=Send");
  const last = `.answers >> nth=${answers}`;
  for (const place of [0, 1]) {
    await page.waitForSelector(`${last} >> .answer:has-text('seed 812') >> nth=${place}`);
  }
  return page.$$eval(".answers:last-child .answer .text", textsOf);
}

/** Compares the newest model with an older one, also after a newer one has come. */
async function compare(page) {
  const asked = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/generate")) asked.push(request.postDataJSON());
  });
  const first = await page.textContent(".answer .text");
  await page.focus("label:has-text('Beside') select");
  for (const key of ["ArrowDown", "ArrowDown"]) await page.keyboard.press(key);
  const beside = () => page.$eval("label:has-text('Beside') select", ({ selectedOptions }) =>
    selectedOptions[0].textContent);
  assert.equal(await beside(), "round 5,000");
  const texts = await askBoth(page, "And then?");
  assert.match(texts[0], /the clock/);
  assert.match(texts[1], /^The the river/);
  for (const name of ["newest, round 10,000", "round 5,000"]) {
    await page.getByRole("article", { name: `Answer of ${name}`, exact: true }).last().waitFor();
  }
  await page.waitForSelector("#announcer:has-text('Answer of round 5,000: The the river')");
  const boxes = () =>
    page.$$eval(".answers:last-child .answer", (all) =>
      all.map((one) => one.getBoundingClientRect().toJSON()),
    );
  let [left, right] = await boxes();
  assert.ok(left.y === right.y && left.right <= right.x, "they stand beside each other");
  await check(page, "two models");
  await page.setViewportSize(VIEWS.phone.viewport);
  [left, right] = await boxes();
  assert.ok(left.x === right.x && left.bottom <= right.y, "one stands above the other");
  await check(page, "two models in a narrow window");
  await page.setViewportSize(VIEWS.light.viewport);
  // Each goes on with what it said itself. The older one was not asked before.
  await askBoth(page, "And later?");
  const said = asked.slice(-2).map(({ model, messages }) => [
    model?.split("@")[0],
    messages.filter(({ role }) => role === "assistant").map(({ content }) => content),
  ]);
  assert.deepEqual(said, [
    [undefined, [first, "391", texts[0]]],
    ["head", [first, "391", texts[1]]],
  ]);
  await exchange("replace the model");
  await page.waitForSelector("label:has-text('Model') option:text-is('newest, round 10,001')", {
    state: "attached",
  });
  assert.equal(await beside(), "round 5,000");
  await askBoth(page, "And now?");
  assert.ok(await page.isVisible(".answers:last-child :text-is('newest, round 10,001')"));
}

async function converse(page) {
  await setSampling(page);
  await page.check("label:has-text('Tools') input");
  await page.fill("textarea", "Tell me of the river.");
  await page.click("text=Send");
  await page.waitForSelector(".answer:has-text('seed 812')");
  await page.uncheck("label:has-text('Tools') input");
  await reason(page);
  await page.selectOption("label:has-text('Beside') select", { label: "round 5,000" });
  await askBoth(page, "Tell me of the river once more.");
}

/** Shows 10,000 rounds in charts, and goes through the pages of their tables. */
async function readLongLists(page) {
  await visit(page, "learning");
  await page.check("text=10,000", { force: true });
  await page.waitForSelector(".tile:has-text('Since round 1')");
  await page.click("summary:text('Figures as a table') >> nth=0");
  await page.waitForSelector("text=of 10,000");
  await check(page, "10,000 rounds");
  await visit(page, "economy");
  const rows = () => page.textContent("section:has(h2:text-is('Rounds')) tbody");
  const first = await rows();
  await page.click("section:has(h2:text-is('Rounds')) >> text=Next");
  await page.waitForSelector("section:has(h2:text-is('Rounds')) >> text=Page 2");
  assert.notEqual(await rows(), first);
  await page.click("section:has(h2:text-is('Rounds')) >> text=Previous");
  await page.waitForSelector("section:has(h2:text-is('Rounds')) >> text=Page 1");
}

/** Goes from a document over its manifest and a shard to a round, and back to a document. */
async function walkFromDocument(page, address) {
  await visit(page, "data");
  await page.selectOption("form.search select", "document");
  await page.fill("form.search input", address);
  await page.keyboard.press("Enter");
  const inShards = "tbody tr:has(td a[href*='shard=']) th a";
  await follow(page, `section:has(h2:text('Document ')) ${inShards}`, ".lineage");
  await check(page, "a document");
  await follow(page, ".facts a[href*='manifest=']", "h2:text('Lineage of manifest')");
  await follow(page, ".lineage a:text('Shard')", "h2:text('Lineage of shard')");
  const documents = "section:has(h2:text('Documents in shard')) tbody tr";
  await page.waitForSelector(documents);
  await check(page, "the documents of a shard");
  await follow(page, ".lineage a:text('Round')", "h2:text('Lineage of round')");
  await follow(page, ".lineage a:text('Shard')", documents);
  await follow(page, `${documents} th a`, "h2:text('Document 0x')");
  await page.waitForSelector(".lineage a:text('Source')");
}

/** Reads the figures of tokens without a pointer. */
async function readTokens(page) {
  await page.focus(".answer .tokens summary");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".answer .tokens caption:text-is('Tokens of the answer'):visible");
  const heads = await page.$$eval(".answer .tokens thead th", textsOf);
  assert.deepEqual(heads, ["Token", "Surprise in nats", "Probability", "Confidence"]);
  const rows = () =>
    page.$$eval(".answer .tokens tbody tr", (all) =>
      all.map(({ cells }) => [...cells].map((cell) => cell.textContent)),
    );
  const first = await rows();
  assert.equal(first.length, 10);
  for (const [token, surprise, ...shares] of first) {
    assert.match(token, /^".+"$/);
    assert.match(surprise, /^-?\d+\.\d\d$/);
    for (const share of shares) assert.match(share, /^\d+\.\d %$/);
  }
  await page.click(".answer .tokens button:text-is('Next')");
  assert.notDeepEqual(await rows(), first);
}

/** Reads what names of figures mean without a pointer. */
async function readHelp(page) {
  await visit(page, "network");
  const nakamoto = ".tile:has(dt:text-is('Nakamoto coefficient'))";
  await page.waitForSelector(`${nakamoto} :text('Fewest validators that together'):visible`);
  await visit(page, "economy");
  const rounds = "section:has(h2:text-is('Rounds'))";
  await page.waitForSelector(`${rounds} .help:text-is('Burned: what nobody earned.')`);
  const described = await page.$eval(`${rounds} table`, (table) =>
    document.getElementById(table.getAttribute("aria-describedby")).textContent,
  );
  assert.equal(described, "Burned: what nobody earned.");
}

/** Copies a name on a phone, whose browser has no clipboard for pages without TLS. */
async function copyNames() {
  const page = await openTab("phone");
  await visit(page, "network");
  await page.waitForSelector("section:has(h2:text-is('Members')) tbody .copy");
  const found = await page.$eval("section:has(h2:text-is('Members')) tbody .copy", (button) => {
    Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true });
    button.click();
    const { textContent: text } = button.parentElement;
    return {
      text,
      selected: String(getSelection()),
      label: button.getAttribute("aria-label"),
      isWide: document.documentElement.scrollWidth > innerWidth,
    };
  });
  assert.match(found.text, /^5\w{47}$/);
  assert.deepEqual(found, {
    text: found.text,
    selected: found.text,
    label: `Copy account ${found.text}`,
    isWide: false,
  });
  await page.context().close();
}

/** Reads when a reward that waits can be claimed, and how its parts follow from weights. */
async function readReward(page) {
  const address = deepPages().at(-1);
  const tile = ".tile:has(dt:text-is('State'))";
  await visit(page, address);
  await page.waitForSelector(`${tile}:has-text('escrow')`);
  await page.waitForSelector(`${tile}:has-text('claimable from round 10,002')`);
  const formulas = await page.$$eval(".parts > li", (parts) =>
    parts.map((part) => part.querySelector(".formula")?.textContent.replaceAll("\u00a0", " ") ?? ""),
  );
  assert.deepEqual(formulas, [
    "1234000 ÷ 4321000 × 24.1 POL = 6.88125 POL",
    "1 ÷ 10 × 9.375 POL = 0.9375 POL",
    // Nothing is divided by a sum of 0.
    "",
  ]);
  await visit(page, address.replace("round=9998", "round=9990"));
  await page.waitForSelector(`${tile}:has-text('claimable since round 9,994')`);
}

/** Looks at the norms of a trainer's gradients, and at their definitions. */
async function readNorms(page) {
  await visit(page, "learning");
  const norms = "section:has(h2:text-is('Gradients of this trainer'))";
  await page.waitForSelector(`${norms} .chart polyline`);
  const figures = await page.$$eval(`${norms} .tile .figure`, textsOf);
  assert.ok(Number(figures[0]) > 0, `${figures}`);
  await page.click(`${norms} summary:text-is('Definitions of the norms')`);
  await page.waitForSelector(`${norms} dt:text-is('mean'):visible`);
  // New figures replace the old ones, and leave open what is open.
  const drawn = await page.$(`${norms} .chart`);
  if (options.hostile) await page.waitForFunction((one) => !one.isConnected, drawn);
  assert.ok(await page.isVisible(`${norms} dt:text-is('mean')`));
  await check(page, "norms of gradients");
}

const sumOf = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

/** Returns the shares of each row of the table of experts, in per cent. */
const sharesOf = (page) =>
  page.$$eval(`${EXPERTS} tbody tr`, (rows) =>
    rows.map((row) =>
      [...row.querySelectorAll(".share")].map((one) => parseFloat(one.textContent)),
    ),
  );

/** Reads the experts by kind, by provider, and by source, in all blocks and in one. */
async function readExperts(page) {
  await visit(page, "learning");
  await page.waitForSelector(`${EXPERTS} tbody th:text-is('web')`);
  const heads = await page.$$eval(`${EXPERTS} thead th`, textsOf);
  assert.deepEqual([heads.slice(0, 3), heads.length, heads.at(-1)], [
    ["Kind", "Tokens", "Loss"],
    12,
    "Others",
  ]);
  const names = () => page.$$eval(`${EXPERTS} tbody th`, textsOf);
  assert.deepEqual(await names(), ["All", "pretrained", "dataset", "web", "synthetic"]);
  const mean = await sharesOf(page);
  assert.ok(mean.map(sumOf).every((sum) => Math.abs(sum - 100) < 1), `${mean.map(sumOf)}`);
  await page.selectOption(`${EXPERTS} select`, "5");
  await page.waitForFunction(
    (before) => parseFloat(document.querySelector("td .share").textContent) !== before,
    mean[0][0],
  );
  const last = (await sharesOf(page)).map(sumOf);
  assert.ok(last.every((sum) => Math.abs(sum - 100) < 1), `${last}`);
  assert.equal(await page.$eval(`${EXPERTS} select`, ({ value }) => value), "5");
  await page.check(`${EXPERTS} label:has-text('Provider') input`, { force: true });
  await page.waitForSelector(`${EXPERTS} tbody th a[href*='account=']`);
  assert.equal((await names()).length, 4);
  await page.check(`${EXPERTS} label:has-text('Source') input`, { force: true });
  await page.waitForSelector(`${EXPERTS} tbody th a[href*='source=']`);
  assert.equal((await names()).length, 7);
  if (options.hostile) {
    const addresses = await page.$$eval(`${EXPERTS} .address`, textsOf);
    assert.ok(addresses.includes(options.hostile), addresses.join("\n"));
  }
  await openDetails(page);
  await check(page, "experts by source");
}

async function meetHostileText(page) {
  await visit(page, "data");
  const shown = await page.$$eval(".address", (all) => all.map((one) => one.textContent));
  // Sources are listed newest first.
  await visit(page, "data?source=3");
  shown.push(...(await page.$$eval(".address", (all) => all.map((one) => one.textContent))));
  assert.ok(shown.includes(options.hostile), shown.join("\n"));
  assert.equal(await page.$("main img"), null);
  assert.match(await page.title(), /POL$/);
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Says a line, and waits for one. */
async function exchange(text) {
  console.log(text);
  await lines.next();
}

try {
  await modes[mode]();
  assert.deepEqual(faults, [], "errors in the console");
  console.log("done");
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
  process.exit();
}
