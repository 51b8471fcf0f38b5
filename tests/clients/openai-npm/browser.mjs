// Turns with the npm package `openai` in a page, over the browser's own WebSocket.

import OpenAI from "openai";
import { build } from "esbuild";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { speech, version } from "./given.mjs";

const { RELAY_CHROMIUM, RELAY_KEY, RELAY_ORIGIN, RELAY_PERSONA, RELAY_URL } = process.env;
const QUIET_FLAGS = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-sync",
  "--no-first-run",
];

const module = fileURLToPath(new URL("page.mjs", import.meta.url));
const bundle = await build({ entryPoints: [module], bundle: true, write: false });
// The page needs a server here: Chromium blocks pages from elsewhere that connect to loopback.
const server = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end());
server.listen(new URL(RELAY_ORIGIN).port, "127.0.0.1");

// Like a backend, create a credential for the page that is bound to the persona.
const backend = new OpenAI({ baseURL: RELAY_URL, apiKey: RELAY_KEY });
const bound = { session: { type: "realtime", model: RELAY_PERSONA } };
const { value: key } = await backend.realtime.clientSecrets.create(bound);

const browser = await chromium.launch({ executablePath: RELAY_CHROMIUM, args: QUIET_FLAGS });
try {
  // Chromium does not know the issuer of the relay's certificate.
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  await page.goto(RELAY_ORIGIN);
  await page.addScriptTag({ content: bundle.outputFiles[0].text });
  const given = { url: RELAY_URL, key, speech };
  const saw = await page.evaluate((given) => talk(given), given);
  console.log(JSON.stringify({ version, ...saw }));
} finally {
  await browser.close();
  server.close();
}
