// The SDK for JavaScript: for each line of JSON on standard input a line of what came of it, as python_sync.py.

import { createInterface } from "node:readline";
import Anthropic from "@anthropic-ai/sdk";

const TOOL_RESULT = "21 degrees and sunny";

const textOf = (message) =>
  message.content
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("");

const asMessage = (message) => ({
  text: textOf(message),
  stop_reason: message.stop_reason,
  usage: message.usage,
  request_id: message._request_id,
});

const asError = (error) => ({
  error: error.constructor.name,
  status: error.status ?? null,
  type: error.error?.error?.type ?? null,
  message: error.error?.error?.message ?? null,
  shown: error.message,
  request_id: error.requestID ?? null,
});

const ACTIONS = {
  create: async (client, body) => asMessage(await client.messages.create(body)),

  stream: async (client, body) => {
    let text = "";
    const events = client.messages.stream(body).on("text", (piece) => (text += piece));
    const final = await events.finalMessage();
    if (text !== textOf(final)) throw new Error(`${text} is not ${textOf(final)}`);
    return { ...asMessage(final), request_id: events.request_id };
  },

  stream_raw: async (client, body) => {
    const types = [];
    for await (const event of await client.messages.create({ ...body, stream: true })) types.push(event.type);
    return { types };
  },

  tool: async (client, body) => {
    const first = await client.messages.create(body);
    const { id, name, input } = first.content.find((block) => block.type === "tool_use");
    const result = { type: "tool_result", tool_use_id: id, content: TOOL_RESULT };
    const messages = [
      ...body.messages,
      { role: "assistant", content: first.content },
      { role: "user", content: [result] },
    ];
    const second = await client.messages.create({ ...body, messages });
    return { tool: { id, name, input }, first: asMessage(first), ...asMessage(second) };
  },

  count_tokens: async (client, body) => ({
    input_tokens: (await client.messages.countTokens(body)).input_tokens,
  }),

  models: async (client, body) => {
    const ids = [];
    for await (const model of client.models.list(body)) ids.push(model.id);
    return { ids };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { action, client, body } = JSON.parse(line);
  const sdk = new Anthropic({
    baseURL: client.base_url,
    apiKey: client.api_key,
    authToken: client.auth_token,
    maxRetries: client.max_retries,
  });
  let answer;
  try {
    answer = await ACTIONS[action](sdk, body);
  } catch (error) {
    if (!(error instanceof Anthropic.APIError)) throw error;
    answer = asError(error);
  }
  console.log(JSON.stringify(answer));
}
