// Inputs of both transports: speech in base64 with 100 ms per chunk, and the package's version.

import { readFileSync } from "node:fs";

const CHUNK_BYTES = 4_800;
const pcm = readFileSync(process.env.RELAY_SPEECH);
const count = Math.ceil(pcm.length / CHUNK_BYTES);
const starts = Array.from({ length: count }, (_, n) => n * CHUNK_BYTES);
export const speech = starts.map((at) => pcm.subarray(at, at + CHUNK_BYTES).toString("base64"));

const installed = new URL("node_modules/openai/package.json", import.meta.url);
export const { version } = JSON.parse(readFileSync(installed));
