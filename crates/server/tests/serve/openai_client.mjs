// OpenAI's JavaScript client against two brigades: node openai_client.mjs OPEN_URL STRICT_URL

import assert from "node:assert/strict";
import OpenAI from "openai";

const [openUrl, strictUrl] = process.argv.slice(2).map((url) => url + "/v1");
const WORDS = "It is sunny in Paris today.";

const client = (baseURL, apiKey = "none") => new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 20_000 });

const ask = (of, { text = "How is the weather?", ...rest } = {}) =>
  of.chat.completions.create({ model: "clerk", messages: [{ role: "user", content: text }], ...rest });

async function refused(kind, status, code, of, rest) {
  const error = await ask(of, rest).then(
    () => assert.fail(`no ${kind.name} for ${JSON.stringify(rest)}`),
    (error) => error,
  );
  assert.equal(error.constructor, kind, String(error));
  assert.deepEqual([error.status, error.code], [status, code], String(error));
  return error;
}

const clerk = client(openUrl);

const models = [];
for await (const model of clerk.models.list()) models.push(model.id);
assert.deepEqual(models, ["clerk", "pauper"]);
assert.equal((await clerk.models.retrieve("clerk")).id, "clerk");

const answer = await ask(clerk);
assert.equal(answer.choices[0].message.content, WORDS);
assert.equal(answer.choices[0].finish_reason, "stop");
assert.equal(answer.usage.total_tokens, 150);

const chunks = [];
for await (const chunk of await ask(clerk, { stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
assert.equal(text, WORDS);
const last = chunks.pop();
assert.deepEqual([last.choices, last.usage.completion_tokens], [[], 30]);
assert(chunks.every((chunk) => chunk.usage === null));
assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");

const { data, response } = await ask(clerk).withResponse();
assert(response.headers.get("x-trace-id").length === 8 && data.id.startsWith("chatcmpl-"));

const empty = await refused(OpenAI.BadRequestError, 400, "invalid_request", clerk, { messages: [] });
assert.equal(empty.param, "messages");
await refused(OpenAI.BadRequestError, 400, "unsupported_parameter", clerk, { functions: [{ name: "x" }] });
await refused(OpenAI.AuthenticationError, 401, "invalid_api_key", client(strictUrl));
await refused(OpenAI.APIError, 402, "budget_exhausted", clerk, { model: "pauper" });
await refused(OpenAI.PermissionDeniedError, 403, "scope_missing", client(strictUrl, "brg_reader"));
await refused(OpenAI.NotFoundError, 404, "model_not_found", clerk, { model: "nobody" });
await refused(OpenAI.RateLimitError, 429, "too_many_runs", client(strictUrl, "brg_runner"));
await refused(OpenAI.InternalServerError, 503, "provider_overloaded", clerk, { text: "Be down." });

let said = "";
await assert.rejects(async () => {
  for await (const chunk of await ask(clerk, { text: "Break.", stream: true })) said += chunk.choices[0].delta.content ?? "";
}, OpenAI.APIError);
assert(said && said !== WORDS, said);
