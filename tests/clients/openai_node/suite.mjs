// openai-node: what apps written in JavaScript and TypeScript use.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { Cases, env, versionOf } from "./cases.mjs";

const cases = new Cases("openai-node", versionOf("openai"));
const client = new OpenAI({ baseURL: env.BASE_URL, apiKey: env.API_KEY, maxRetries: 0, timeout: 30_000 });
const user = (content) => [{ role: "user", content }];
const adder = {
  type: "function",
  function: {
    name: "add",
    description: "Add two numbers",
    parameters: {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer" } },
      required: ["a", "b"],
      additionalProperties: false,
    },
  },
};

cases.eachModel("chat: a plain reply", async (model) => {
  const reply = await client.chat.completions.create({ model, messages: user("Hello there") });

  assert.equal(reply.choices[0].message.content, "You said: Hello there");
  assert.equal(reply.choices[0].finish_reason, "stop");
  assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
  assert.ok(reply._request_id);
});

cases.eachModel("stream: pieces that add up, and usage when asked for", async (model) => {
  const stream = await client.chat.completions.create({
    model,
    messages: user("Count to 20"),
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);

  const text = chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
  assert.deepEqual(text.trim().split(/\s+/), Array.from({ length: 20 }, (_, n) => String(n + 1)));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
});

cases.eachModel("stream: the helper gathers the whole", async (model) => {
  const stream = client.chat.completions.stream({ model, messages: user("Hello there") });
  let pieces = "";
  stream.on("content", (delta) => (pieces += delta));

  assert.equal(await stream.finalContent(), "You said: Hello there");
  assert.equal(pieces, "You said: Hello there");
});

cases.eachModel("stream: a client that leaves is let go", async (model) => {
  const stream = await client.chat.completions.create({ model, messages: user("Count to 20"), stream: true });
  for await (const _ of stream) break;

  const after = await client.chat.completions.create({ model, messages: user("Hello") });
  assert.equal(after.choices[0].message.content, "You said: Hello");
});

cases.eachModel("tools: a call, its result, and the answer", async (model) => {
  const messages = user("Add 3 and 4");
  const first = await client.chat.completions.create({ model, messages, tools: [adder] });
  const [call] = first.choices[0].message.tool_calls;

  assert.equal(first.choices[0].finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(call.function.arguments), { a: 3, b: 4 });

  const answer = { role: "tool", tool_call_id: call.id, content: "7" };
  const second = await client.chat.completions.create({
    model,
    messages: [...messages, first.choices[0].message, answer],
    tools: [adder],
  });
  assert.match(second.choices[0].message.content, /7/);
});

cases.eachModel("tools: the helper runs them until there is an answer", async (model) => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model,
    messages: user("Add 3 and 4"),
    tools: [
      {
        ...adder,
        function: { ...adder.function, parse: JSON.parse, function: ({ a, b }) => (asked.push([a, b]), String(a + b)) },
      },
    ],
  });

  assert.match(await runner.finalContent(), /7/);
  assert.deepEqual(asked, [[3, 4]]);
});

cases.eachModel("tools: forced by name, and forbidden", async (model) => {
  const tool_choice = { type: "function", function: { name: "add" } };
  const forced = await client.chat.completions.create({ model, messages: user("Hi 1 2"), tools: [adder], tool_choice });
  const none = await client.chat.completions.create({
    model,
    messages: user("Add 3 and 4"),
    tools: [adder],
    tool_choice: "none",
  });

  assert.equal(forced.choices[0].message.tool_calls[0].function.name, "add");
  assert.ok(!none.choices[0].message.tool_calls?.length);
});

cases.eachModel("formats: parsed by a schema", async (model) => {
  const Person = z.object({ name: z.string(), age: z.number() });
  const reply = await client.chat.completions.parse({
    model,
    messages: user("Ann is 30 years old."),
    response_format: zodResponseFormat(Person, "person"),
  });

  assert.equal(typeof reply.choices[0].message.parsed.name, "string");
  assert.equal(typeof reply.choices[0].message.parsed.age, "number");
});

cases.case("chat: n, logprobs, seed and stop", async () => {
  const reply = await client.chat.completions.create({
    model: env.MODEL,
    messages: user("Hello there"),
    n: 2,
    seed: 7,
    stop: ["never"],
    logprobs: true,
    top_logprobs: 2,
  });

  assert.equal(reply.choices.length, 2);
  assert.equal(reply.choices[0].logprobs.content[0].top_logprobs.length, 2);
});

cases.case("errors: a wrong key, an unknown model, a wrong field", async () => {
  const stranger = new OpenAI({ baseURL: env.BASE_URL, apiKey: "sk-nobody", maxRetries: 0 });
  const ask = (who, body) => who.chat.completions.create({ model: env.MODEL, messages: user("Hi"), ...body });

  await assert.rejects(ask(stranger, {}), OpenAI.AuthenticationError);
  await assert.rejects(ask(client, { model: "no-such-model" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
  await assert.rejects(ask(client, { temperature: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
});

cases.case("errors: a rate limit", async () => {
  const limited = new OpenAI({ baseURL: env.BASE_URL, apiKey: env.LIMITED_API_KEY, maxRetries: 0 });
  const ask = () => limited.chat.completions.create({ model: env.MODEL, messages: user("Hi") });

  await assert.rejects(async () => { await ask(); await ask(); }, (e) => e instanceof OpenAI.RateLimitError && e.headers.get("retry-after") > 0);
});

cases.case("errors: a stream that the provider breaks off is not taken for whole", async () => {
  const stream = await client.chat.completions.create({ model: env.MODEL, messages: user("[cut] Count to 9"), stream: true });

  await assert.rejects(async () => { for await (const _ of stream); }, OpenAI.APIError);
});

cases.case("completions: whole and as a stream", async () => {
  const body = { model: env.COMPLETION_MODEL, prompt: "Hello there", max_tokens: 20 };
  const whole = await client.completions.create(body);
  let text = "";
  for await (const chunk of await client.completions.create({ ...body, stream: true })) text += chunk.choices[0]?.text ?? "";

  assert.equal(text, whole.choices[0].text);
  assert.ok(text);
});

cases.case("embeddings: base64 underneath, numbers for the app, and as many as were asked for", async () => {
  const plain = await client.embeddings.create({ model: env.EMBEDDING_MODEL, input: ["a", "b"] });
  const floats = await client.embeddings.create({ model: env.EMBEDDING_MODEL, input: ["a", "b"], encoding_format: "float" });
  const short = await client.embeddings.create({ model: env.EMBEDDING_MODEL, input: "a", dimensions: 8 });

  assert.equal(plain.data.length, 2);
  assert.equal(plain.data[1].embedding.length, floats.data[1].embedding.length);
  assert.ok(Math.abs(plain.data[1].embedding[0] - floats.data[1].embedding[0]) < 1e-6);
  assert.equal(short.data[0].embedding.length, 8);
});

cases.case("moderations: a verdict", async () => {
  const reply = await client.moderations.create({ model: env.MODERATION_MODEL, input: "I will attack you" });

  assert.equal(typeof reply.results[0].flagged, "boolean");
});

cases.case("models: a list, and one of them", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);

  assert.ok(ids.includes(env.MODEL));
  assert.equal((await client.models.retrieve(env.MODEL)).object, "model");
});

cases.eachModel("responses: a plain reply", async (model) => {
  const reply = await client.responses.create({ model, input: "Hello there" });

  assert.equal(reply.output_text, "You said: Hello there");
  assert.equal(reply.status, "completed");
});

cases.eachModel("responses: a stream whose events end in the whole", async (model) => {
  const stream = client.responses.stream({ model, input: "Hello there" });
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  const whole = await stream.finalResponse();

  assert.equal(kinds[0], "response.created");
  assert.equal(kinds.at(-1), "response.completed");
  assert.equal(whole.output_text, "You said: Hello there");
});

cases.eachModel("responses: a tool's round trip", async (model) => {
  const tools = [{ type: "function", name: "add", parameters: adder.function.parameters, strict: true }];
  const input = user("Add 3 and 4");
  const first = await client.responses.create({ model, input, tools });
  const call = first.output.find((item) => item.type === "function_call");
  const output = { type: "function_call_output", call_id: call.call_id, output: "7" };
  const second = await client.responses.create({ model, input: [...input, ...first.output, output], tools });

  assert.deepEqual(JSON.parse(call.arguments), { a: 3, b: 4 });
  assert.match(second.output_text, /7/);
});

cases.case("responses: what nobody kept cannot be gone on with", async () => {
  const ask = client.responses.create({ model: env.MODEL, input: "And then?", previous_response_id: "resp_1" });

  await assert.rejects(ask, (e) => e instanceof OpenAI.BadRequestError && e.param === "previous_response_id");
});

cases.case("batches: a file, its batch, and the answers", async () => {
  const body = { model: env.MODEL, messages: user("Hello there") };
  const line = { custom_id: "one", method: "POST", url: "/v1/chat/completions", body };
  const file = await client.files.create({ file: await toFile(Buffer.from(JSON.stringify(line)), "in.jsonl"), purpose: "batch" });
  let batch = await client.batches.create({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
  while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    batch = await client.batches.retrieve(batch.id);
  }
  const answers = await (await client.files.content(batch.output_file_id)).text();

  assert.equal(batch.status, "completed");
  assert.match(answers, /You said: Hello there/);
});

await cases.main();
