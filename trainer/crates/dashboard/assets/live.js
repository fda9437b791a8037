// SPDX-License-Identifier: Apache-2.0
// The stream of the chain's events, which is taken up again whenever it breaks.

import { Failure, events, forgetParts, has, send, token, traffic } from "./api.js";

/** Shortest and longest pause before another try, in milliseconds. */
const PAUSES = { first: 500, longest: 30_000 };
/** Time without a sign of life after which a stream is broken: servers send one each 15 s. */
const SILENCE = 45_000;
/** Blocks by which an index is far behind. */
const FAR = 100;
/** Time without a block after which the node counts as away, in blocks. */
const STILL = 20;

/**
 * State of the connection, and the events: `block`, `phase`, `round`, `audit`, `penalty`, `node`
 * when the node begins or ceases to answer, `state` when the state changes, and `resumed` after a
 * break.
 *
 * States: `connecting`, `live`, `reconnecting`, `away` for a node that does not answer, `stuck` for
 * an index that cannot go on, `behind` for one that has much to read, `token`, and `none` for a
 * server without a chain.
 */
class Live extends EventTarget {
  state = "connecting";
  behind = 0;
  /** Reason why the index does not go on. */
  trouble = null;
  /** The reason that was told with the state. */
  #told = null;
  #stream = "connecting";
  /** Set when an answer says that the node does not answer. */
  #isAway = false;
  /** Set from an event that says the same, until one that takes it back. */
  #isSilent = false;
  #lastBlock = Date.now();
  #blockSeconds = 6;
  #pause = PAUSES.first;
  #wake = null;

  start() {
    this.#follow();
    setInterval(() => this.#judge(), 2_000);
    traffic.addEventListener("answer", ({ detail }) => this.#learn(detail));
    traffic.addEventListener("failure", ({ detail }) => this.#fail(detail));
    traffic.addEventListener("token", () => this.retry());
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.retry());
  }

  /** Tries again now. */
  retry() {
    this.#pause = PAUSES.first;
    this.#wake?.();
  }

  async #follow() {
    for (let first = true; ; first = false) {
      try {
        await this.#read(first);
      } catch (failure) {
        if (failure.kind === "token") this.#stream = "token";
        else if (failure.kind === "missing") this.#stream = "none";
        else this.#stream = "reconnecting";
      }
      this.#judge();
      await this.#rest();
    }
  }

  async #read(first) {
    if (!first) forgetParts();
    if (!(await has("chain"))) throw new Failure("missing", "This server follows no chain.");
    const ended = new AbortController();
    const response = await send("/chain-events", {
      accept: "text/event-stream",
      signal: ended.signal,
    });
    this.#stream = "live";
    this.#isAway = false;
    this.#isSilent = false;
    this.#lastBlock = Date.now();
    this.#pause = PAUSES.first;
    this.#judge();
    if (!first) this.#tell("resumed");
    let silence = setTimeout(() => ended.abort(), SILENCE);
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => ended.abort(), SILENCE);
    };
    try {
      for await (const { type, data } of events(response)) {
        alive();
        if (data !== "") this.#take(type, data);
      }
    } catch {
      // The connection broke: the next one says whether the server is there.
    } finally {
      clearTimeout(silence);
    }
    throw new Failure("away", "The stream ended.");
  }

  #take(type, data) {
    let detail;
    try {
      detail = JSON.parse(data);
    } catch {
      return;
    }
    if (type === "hello") {
      if (detail.trouble) this.trouble = detail.trouble;
      this.#learn(detail);
    }
    if (type === "block") {
      this.#lastBlock = Date.now();
      this.#isAway = false;
    }
    if (type === "node") this.#isAway = this.#isSilent = !detail.answers;
    this.#tell(type, detail);
    this.#judge();
  }

  #rest() {
    const wait = this.#pause * (0.75 + Math.random() / 2);
    this.#pause = Math.min(this.#pause * 2, PAUSES.longest);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #learn(answer) {
    if (answer?.as_of) {
      this.behind = answer.as_of.behind ?? 0;
      this.trouble = answer.as_of.trouble ?? null;
    }
    if (answer?.block_seconds) {
      // Only a node that answers knows it.
      this.#blockSeconds = answer.block_seconds;
      this.#isAway = this.#isSilent = false;
    }
    this.#judge();
  }

  #fail(failure) {
    if (failure.problem === "node-away") this.#isAway = true;
    if (failure.problem === "other-chain") this.trouble = failure.message;
    if (failure.kind === "token" && !token.get()) this.#stream = "token";
    this.#judge();
  }

  #judge() {
    const still = (Date.now() - this.#lastBlock) / 1000 > this.#blockSeconds * STILL;
    let state = this.#stream;
    const isAway = this.#isAway || this.#isSilent;
    // Blocks come by the index, so that one that is stuck has none of a node that makes some.
    if (state === "live" && isAway) state = "away";
    else if (state === "live" && this.trouble !== null) state = "stuck";
    else if (state === "live" && still) state = "away";
    else if (state === "live" && this.behind > FAR) state = "behind";
    else if (state === "reconnecting" && this.#isAway) state = "away";
    if (state === this.state && this.trouble === this.#told) return;
    this.state = state;
    this.#told = this.trouble;
    this.#tell("state", state);
  }

  #tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The connection of this page. */
export const live = new Live();
