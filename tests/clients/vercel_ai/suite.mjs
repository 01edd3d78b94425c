// Vercel's AI SDK, with its providers for OpenAI (chat and responses), look-alikes of it, and Anthropic.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { Cases, env, versionOf } from "./cases.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const cases = new Cases("Vercel AI SDK", versionOf("ai"));
const settings = { baseURL: env.BASE_URL, apiKey: env.API_KEY };
const openai = createOpenAI(settings);
const compatible = createOpenAICompatible({
  name: "weighbridge",
  includeUsage: true,
  supportsStructuredOutputs: true,
  ...settings,
});
const anthropic = createAnthropic(settings);
const providers = {
  "openai-compatible": (model) => compatible(model),
  "openai chat": (model) => openai.chat(model),
  "openai responses": (model) => openai.responses(model),
  anthropic: (model) => anthropic(model),
};
const maxRetries = 0;
const add = tool({
  description: "Add two numbers",
  inputSchema: z.object({ a: z.number().int(), b: z.number().int() }),
  execute: async ({ a, b }) => a + b,
});

for (const [name, provider] of Object.entries(providers)) {
  cases.eachModel(`${name}: a text`, async (model) => {
    const { text, usage, finishReason } = await generateText({ model: provider(model), prompt: "Hello there", maxRetries });

    assert.equal(text, "You said: Hello there");
    assert.equal(finishReason, "stop");
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  });

  cases.eachModel(`${name}: a stream`, async (model) => {
    const result = streamText({ model: provider(model), prompt: "Count to 20", maxRetries, onError: () => {} });
    let text = "";
    for await (const piece of result.textStream) text += piece;

    assert.equal(text.trim().split(/\s+/).length, 20);
    assert.equal(await result.finishReason, "stop");
    assert.ok((await result.usage).outputTokens > 0);
  });

  cases.eachModel(`${name}: tools, step by step`, async (model) => {
    const { text, steps } = await generateText({
      model: provider(model),
      prompt: "Add 3 and 4",
      tools: { add },
      stopWhen: stepCountIs(3),
      maxRetries,
    });

    assert.deepEqual(steps[0].toolCalls[0].input, { a: 3, b: 4 });
    assert.match(text, /7/);
  });

  cases.eachModel(`${name}: tools in a stream`, async (model) => {
    const result = streamText({
      model: provider(model),
      prompt: "Add 3 and 4",
      tools: { add },
      stopWhen: stepCountIs(3),
      maxRetries,
      onError: () => {},
    });
    await result.consumeStream();

    assert.match(await result.text, /7/);
  });

  cases.eachModel(`${name}: an object by a schema`, async (model) => {
    const { output } = await generateText({
      model: provider(model),
      prompt: "Ann is 30 years old.",
      output: Output.object({ schema: z.object({ name: z.string(), age: z.number() }) }),
      maxRetries,
    });

    assert.equal(typeof output.name, "string");
    assert.equal(typeof output.age, "number");
  });

  cases.case(`${name}: a wrong key is told as such`, async () => {
    const wrong = { ...settings, apiKey: "sk-nobody" };
    const model = {
      "openai-compatible": () => createOpenAICompatible({ name: "weighbridge", ...wrong })(env.MODEL),
      "openai chat": () => createOpenAI(wrong).chat(env.MODEL),
      "openai responses": () => createOpenAI(wrong).responses(env.MODEL),
      anthropic: () => createAnthropic(wrong)(env.MODEL),
    }[name]();

    await assert.rejects(generateText({ model, prompt: "Hi", maxRetries }), (e) => e.statusCode === 401 && !e.isRetryable);
  });

  cases.case(`${name}: a stream that breaks off is not taken for whole`, async () => {
    const errors = [];
    const result = streamText({
      model: provider(env.MODEL),
      prompt: "[cut] Count to 9",
      maxRetries,
      onError: ({ error }) => errors.push(error),
    });
    await result.consumeStream();

    assert.ok(errors.length >= 1);
  });
}

cases.case("openai: embeddings", async () => {
  const { embeddings, usage } = await embedMany({ model: openai.embedding(env.EMBEDDING_MODEL), values: ["a", "b"], maxRetries });

  assert.equal(embeddings.length, 2);
  assert.ok(usage.tokens > 0);
});

await cases.main();
