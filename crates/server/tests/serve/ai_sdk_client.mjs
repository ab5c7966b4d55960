// Vercel's AI SDK against a brigade, by Responses, which it speaks by default: node ai_sdk_client.mjs OPEN_URL

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const WORDS = "It is sunny in Paris today.";
const brigade = createOpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none" });
const model = brigade("clerk");
const ask = (prompt, more) => ({ model, prompt, maxRetries: 0, ...more });

const answer = await generateText(ask("How is the weather?", { system: "Be brief." }));
assert.deepEqual([answer.text, answer.finishReason, answer.usage.totalTokens], [WORDS, "stop", 150]);

let text = "";
for await (const piece of streamText(ask("How is the weather?")).textStream) text += piece;
assert.equal(text, WORDS);

// The SDK refers to what was said by its ids, or sends it again.
for (const store of [true, false]) {
  const options = { providerOptions: { openai: { store } } };
  const first = await generateText(ask("Hello.", options));
  const messages = [{ role: "user", content: "Hello." }, ...first.response.messages, { role: "user", content: "And now?" }];
  const second = await generateText({ model, messages, maxRetries: 0, ...options });
  assert.equal(second.text, WORDS);
}

// The SDK runs its own tools, and sends their results with the next request.
const parameters = { type: "object", properties: { place: { type: "string" } }, required: ["place"] };
const seen = [];
const look = tool({
  description: "Looks.",
  inputSchema: jsonSchema(parameters),
  execute: async ({ place }) => (seen.push(place), "Sunny."),
});
for (const store of [true, false]) {
  const options = { tools: { look }, stopWhen: stepCountIs(3), providerOptions: { openai: { store } } };
  assert.equal((await generateText(ask("Use a tool.", options))).text, WORDS);
  let told = "";
  for await (const piece of streamText(ask("Use a tool.", options)).textStream) told += piece;
  assert.equal(told, WORDS);
}
assert.deepEqual(seen, ["Paris", "Paris", "Paris", "Paris"]);

const spent = await generateText({ ...ask("Hello."), model: brigade("pauper") }).then(
  () => assert.fail("a spent budget is an error"),
  (error) => error,
);
assert(APICallError.isInstance(spent), String(spent));
assert.equal(spent.statusCode, 429);

let failure;
const broken = streamText({ ...ask("Break."), onError: ({ error }) => (failure = error) });
await broken.consumeStream();
assert(failure, "a stream that breaks off must not look whole");
