// Turns with the npm package `openai` over `ws`, which connects only to wss.

import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { converse } from "./conversation.mjs";
import { speech, version } from "./given.mjs";

const { RELAY_KEY, RELAY_PERSONA, RELAY_URL } = process.env;

const client = new OpenAI({ baseURL: RELAY_URL, apiKey: RELAY_KEY });
const session = new OpenAIRealtimeWS({ model: RELAY_PERSONA }, client);
session.on("error", (error) => {
  throw error;
});
console.log(JSON.stringify({ version, ...(await converse(session, speech)) }));
