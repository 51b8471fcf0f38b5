// Turns with the npm package `@openai/agents`: a `RealtimeSession` over a WebSocket of Node, and
// a tool that it runs.

import { readFileSync } from "node:fs";
import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents/realtime";
import { z } from "zod";

const CHUNK_BYTES = 4_800;
const { RELAY_KEY, RELAY_PERSONA, RELAY_SPEECH, RELAY_URL } = process.env;
const installed = new URL("node_modules/@openai/agents/package.json", import.meta.url);
const { version } = JSON.parse(readFileSync(installed));
const saw = { version, answers: [], audio_bytes: 0, called: [] };

const goForward = tool({
  name: "go_forward",
  description: "Drive on.",
  parameters: z.object({ meters: z.number().int() }),
  execute: async (given) => {
    saw.called.push(["go_forward", given]);
    return JSON.stringify({ stopped_at: "the blue door" });
  },
});
const agent = new RealtimeAgent({
  name: "pirate",
  instructions: "You are a pirate.",
  tools: [goForward],
});
const session = new RealtimeSession(agent, { transport: "websocket" });

session.on("audio", ({ data }) => (saw.audio_bytes += data.byteLength));
session.transport.on("response.output_audio_transcript.done", (event) => {
  saw.answers.push(event.transcript);
});

// Resolves at the end of a response that contains a message.
const answered = () =>
  new Promise((resolve, reject) => {
    session.once("error", ({ error }) => reject(error));
    const listen = ({ response }) => {
      if (response.output[0].type !== "message") return;
      session.transport.off("response.done", listen);
      resolve();
    };
    session.transport.on("response.done", listen);
  });

const url = `${RELAY_URL.replace("http", "ws")}/realtime?persona=${RELAY_PERSONA}`;
await session.connect({ url, apiKey: RELAY_KEY });

const first = answered();
session.sendMessage("Hello");
await first;

const second = answered();
const pcm = readFileSync(RELAY_SPEECH);
for (let start = 0; start < pcm.length; start += CHUNK_BYTES) {
  const chunk = pcm.subarray(start, start + CHUNK_BYTES);
  session.sendAudio(chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + chunk.byteLength));
}
await second;

session.close();
console.log(JSON.stringify(saw));
