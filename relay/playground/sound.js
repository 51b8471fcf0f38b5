// @ts-check
// The single audio context of the page, at the API's rate. The browser resamples in both directions.

import { SAMPLES_PER_SECOND } from "./pcm.js";

const WORKLETS = ["capture-worklet.js", "playback-worklet.js"];

/** @type {Promise<AudioContext> | null} */
let opening = null;

/**
 * Return the context. The first call creates it; browsers require that a user action causes this call.
 * @returns {Promise<AudioContext>}
 * @throws {DOMException} SecurityError: the page's address is not a secure one
 */
export async function openSound() {
  if (!window.isSecureContext) throw new DOMException("This page is not a secure context.", "SecurityError");
  opening ??= create();
  const context = await opening;
  await context.resume();
  return context;
}

async function create() {
  const context = new AudioContext({ sampleRate: SAMPLES_PER_SECOND, latencyHint: "interactive" });
  await Promise.all(WORKLETS.map((name) => context.audioWorklet.addModule(new URL(name, import.meta.url))));
  return context;
}
