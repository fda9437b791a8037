// SPDX-License-Identifier: Apache-2.0
// Requests to the server that this page came from.

const TOKEN = "pol-token";
/** Time after which a server counts as away, in milliseconds. */
const PATIENCE = 20_000;

/** Failure of a request: `away`, `token`, `missing`, `unready`, or `refused`. */
export class Failure extends Error {
  constructor(kind, message, problem = null) {
    super(message);
    this.kind = kind;
    // Last part of the URN of the problem, where the server names one.
    this.problem = problem;
  }
}

/** Tells others of answers and failures: `answer` with a body, `failure`, and `token`. */
export const traffic = new EventTarget();

const tell = (type, detail) => traffic.dispatchEvent(new CustomEvent(type, { detail }));

/** The token is kept for this tab alone, and until it is closed. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set(secret) {
    if (secret) sessionStorage.setItem(TOKEN, secret);
    else sessionStorage.removeItem(TOKEN);
    tell("token", secret);
  },
};

function kindOf(status) {
  if (status === 401 || status === 403) return "token";
  if (status === 404 || status === 405) return "missing";
  return status === 503 || status === 502 || status === 504 ? "unready" : "refused";
}

async function problem(response) {
  const text = await response.text().catch(() => "");
  let told = {};
  try {
    told = JSON.parse(text) ?? {};
  } catch {
    // An answer of something else than the server, such as a proxy.
  }
  const detail = told.detail ?? `The server answered ${response.status}.`;
  return new Failure(
    kindOf(response.status),
    detail,
    String(told.type ?? "")
      .split(":")
      .at(-1),
  );
}

/** Sends a request, and returns the response once its head is here. */
export async function send(path, options = {}) {
  const { body, accept = "application/json", signal = null } = options;
  const headers = { Accept: accept };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const waiting = new AbortController();
  const timer = setTimeout(() => waiting.abort(), options.patience ?? PATIENCE);
  const abort = () => waiting.abort();
  signal?.addEventListener("abort", abort);
  const request = {
    method: body === undefined ? "GET" : "POST",
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: waiting.signal,
    cache: "no-store",
    credentials: "omit",
  };
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    const stopped = signal?.aborted;
    const failure = new Failure(stopped ? "stopped" : "away", "The server does not answer.");
    if (!stopped) tell("failure", failure);
    throw failure;
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return response;
  const failure = await problem(response);
  tell("failure", failure);
  throw failure;
}

let parts = null;

/** Forgets which parts the server has, as after a restart. */
export function forgetParts() {
  parts = null;
}

/**
 * Returns `false` if the server lacks a part (`generation`, `chain`, `documents`, `train`, or
 * `local_training`), or all parts of a list.
 */
export async function has(part) {
  if (parts === null) {
    const asked = get("/endpoints").catch((failure) => {
      // A server that does not list its parts is asked for each.
      if (failure.kind === "missing") return {};
      forgetParts();
      throw failure;
    });
    parts = asked;
  }
  const there = await parts;
  return [part].flat().some((name) => there[name] !== false);
}

/** Returns the JSON of an endpoint. Parameters that are null are left out. */
export async function get(path, parameters = {}, signal = null) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined) query.set(name, value);
  }
  const text = query.toString();
  const response = await send(text ? `${path}?${text}` : path, { signal });
  const answer = await response.json().catch(() => {
    throw new Failure("away", "The answer was cut off.");
  });
  tell("answer", answer);
  return answer;
}

/** Returns the answer to a JSON body. */
export async function post(path, body) {
  return (await send(path, { body })).json();
}

/** Returns up to `most` items of an endpoint with pages, the newest last. */
export async function history(path, most, parameters = {}, signal = null) {
  const items = [];
  let after = null;
  do {
    const limit = Math.min(1000, most - items.length);
    const page = await get(path, { ...parameters, limit, after }, signal);
    items.push(...page.items);
    after = page.next;
  } while (after && items.length < most);
  return items.reverse();
}

/** Yields the events of a response of server-sent events. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value.replaceAll("\r\n", "\n");
      const parts = buffer.split("\n\n");
      buffer = parts.pop();
      for (const part of parts) yield parseEvent(part);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function parseEvent(text) {
  const event = { type: "message", data: "" };
  const data = [];
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") event.type = value;
    if (name === "data") data.push(value);
  }
  event.data = data.join("\n");
  return event;
}
