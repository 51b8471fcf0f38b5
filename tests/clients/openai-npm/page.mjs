// The script in the page of `browser.mjs`.

import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { converse } from "./conversation.mjs";

globalThis.talk = async ({ url, key, speech }) => {
  const client = new OpenAI({ baseURL: url, apiKey: key, dangerouslyAllowBrowser: true });
  const session = new OpenAIRealtimeWebSocket({ model: "gpt-realtime" }, client);
  const failed = new Promise((_, reject) => session.on("error", reject));
  return Promise.race([failed, converse(session, speech)]);
};
