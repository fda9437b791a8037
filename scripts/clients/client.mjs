// SPDX-License-Identifier: Apache-2.0
// Asks a server of pol-trainer by the client of OpenAI, at the address and with the token given.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import process from "node:process";

const { default: OpenAI } = createRequire(`${process.cwd()}/`)("openai");
const [base, token] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: token, maxRetries: 0 });
const model = (await client.models.list()).data[0].id;

const asked = { model, messages: [{ role: "user", content: "Hi" }], max_tokens: 20, seed: 1 };
const chat = await client.chat.completions.create(asked);
let text = "";
for await (const part of await client.chat.completions.create({ ...asked, stream: true })) {
  text += part.choices[0]?.delta?.content ?? "";
}
assert.equal(text, chat.choices[0].message.content);

const first = await client.completions.create({ model, prompt: "Once", max_tokens: 9, seed: 2 });
assert.ok(first.usage.completion_tokens <= 9);

const schema = {
  type: "object",
  properties: { city: { type: "string", maxLength: 9 }, big: { type: "boolean" } },
  required: ["city", "big"],
  additionalProperties: false,
};
const formed = await client.chat.completions.create({
  ...asked,
  max_tokens: 200,
  response_format: { type: "json_schema", json_schema: { name: "city", schema, strict: true } },
});
assert.equal(typeof JSON.parse(formed.choices[0].message.content).big, "boolean");

const tools = [{ type: "function", function: { name: "visit", parameters: schema } }];
const chosen = { type: "function", function: { name: "visit" } };
const called = await client.chat.completions.create({
  ...asked,
  max_tokens: 200,
  tools,
  tool_choice: chosen,
});
const call = called.choices[0].message.tool_calls[0].function;
assert.equal(call.name, "visit");
assert.equal(typeof JSON.parse(call.arguments).city, "string");

const part = { ...asked, stream: true, stream_options: { include_usage: true }, logprobs: true };
let usage, tokens = 0;
for await (const event of await client.chat.completions.create(part)) {
  usage = event.usage ?? usage;
  tokens += event.choices[0]?.logprobs?.content.length ?? 0;
}
assert.ok(usage.completion_tokens >= tokens && tokens > 0);
assert.equal((await client.models.retrieve(model)).id, model);

const vector = (await client.embeddings.create({ model, input: "one" })).data[0].embedding;
assert.ok(Math.abs(vector.reduce((sum, value) => sum + value * value, 0) - 1) < 1e-4);

await assert.rejects(client.completions.create({ model: "other", prompt: "x" }), { status: 404 });
const stranger = new OpenAI({ baseURL: `${base}/v1`, apiKey: "pol_0", maxRetries: 0 });
await assert.rejects(stranger.models.list(), { status: 401 });

// A stream that is left does not trouble the next request.
const left = await client.chat.completions.create({ ...asked, max_tokens: 400, stream: true });
for await (const part of left) {
  if (part) break;
}
assert.ok((await client.models.list()).data.length);
console.log("openai for JavaScript: all answers as expected");
