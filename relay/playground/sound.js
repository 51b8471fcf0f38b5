// @ts-check
// The page's one audio context, at the API's own rate: the browser resamples, both ways.

import { SAMPLES_PER_SECOND } from "./pcm.js";

const WORKLETS = ["capture-worklet.js", "playback-worklet.js"];

/** @type {Promise<AudioContext> | null} */
let opening = null;

/**
 * Return the context, made at the first call; browsers want that to be a press of a button.
 * @returns {Promise<AudioContext>}
 * @throws {DOMException} SecurityError: the page's address is no secure one
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
