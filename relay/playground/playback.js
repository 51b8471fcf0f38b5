// @ts-check
// Sound output: plays the audio of items, and reports the heard part of each item.

import { milliseconds, samplesOf } from "./pcm.js";

/** @typedef {{itemId: string, heardMs: number}} CutOff an item, and the length of its heard part */

export class Playback {
  /** @type {Map<string, number>} samples received, by item */
  #received = new Map();
  /** @type {Set<string>} items that are no longer played */
  #silenced = new Set();
  /** @type {((heard: Map<string, number>) => void)[]} */
  #flushes = [];

  /**
   * @param {AudioContext} context with the worklet's module added
   * @param {(samples: number, playing: boolean) => void} onProgress receives the number of samples heard in all
   */
  constructor(context, onProgress) {
    this.context = context;
    this.onProgress = onProgress;
    this.node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0 });
    this.node.port.onmessage = ({ data }) => this.#report(data);
    this.node.connect(context.destination);
  }

  /** Play more of an item, after the samples that wait. @param {string} itemId @param {string} base64 */
  add(itemId, base64) {
    if (this.#silenced.has(itemId)) return;
    const samples = samplesOf(base64);
    this.#received.set(itemId, (this.#received.get(itemId) ?? 0) + samples.length);
    this.node.port.postMessage({ itemId, samples, at: 0 }, [samples.buffer]);
  }

  /**
   * Stop at once, and play no more of the current items.
   * @param {string | null} arriving an item that may receive more audio
   * @returns {Promise<CutOff[]>} the items that were not played to their end
   */
  async stop(arriving) {
    const stopped = [...this.#received].filter(([itemId]) => !this.#silenced.has(itemId));
    for (const [itemId] of stopped) this.#silenced.add(itemId);
    this.node.port.postMessage("flush");
    const heard = await new Promise((resolve) => this.#flushes.push(resolve));
    return stopped
      .map(([itemId, received]) => ({ itemId, received, heard: heard.get(itemId) ?? 0 }))
      .filter((item) => item.itemId === arriving || item.heard < item.received)
      .map((item) => ({ itemId: item.itemId, heardMs: this.#heardMs(item.heard) }));
  }

  close() {
    this.node.port.onmessage = null;
    this.node.port.postMessage("close");
    this.node.disconnect();
    this.#flushes.forEach((resolve) => resolve(new Map()));
  }

  /** Subtract the samples that left the worklet but have not reached the loudspeaker yet. @param {number} samples */
  #heardMs(samples) {
    const latencyMs = (this.context.outputLatency || 0) * 1000;
    return Math.max(0, Math.floor(milliseconds(samples) - latencyMs));
  }

  /** @param {{type: string, heard: Map<string, number>, playing: boolean}} report */
  #report({ type, heard, playing }) {
    if (type === "flushed") this.#flushes.shift()?.(heard);
    const samples = [...heard.values()].reduce((sum, count) => sum + count, 0);
    this.onProgress(samples, playing);
  }
}
