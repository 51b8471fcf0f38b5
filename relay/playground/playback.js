// @ts-check
// Sound out: plays the audio of items, and tells how much of each was heard.

import { milliseconds, samplesOf } from "./pcm.js";

/** @typedef {{itemId: string, heardMs: number}} CutOff an item, and how much of it was heard */

export class Playback {
  /** @type {Map<string, number>} samples received, by item */
  #received = new Map();
  /** @type {Set<string>} items that are not to be played any further */
  #silenced = new Set();
  /** @type {((heard: Map<string, number>) => void)[]} */
  #flushes = [];

  /**
   * @param {AudioContext} context with the worklet's module added
   * @param {(samples: number, playing: boolean) => void} onProgress samples heard in all
   */
  constructor(context, onProgress) {
    this.context = context;
    this.onProgress = onProgress;
    this.node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0 });
    this.node.port.onmessage = ({ data }) => this.#report(data);
    this.node.connect(context.destination);
  }

  /** Play more of an item, after what waits. @param {string} itemId @param {string} base64 */
  add(itemId, base64) {
    if (this.#silenced.has(itemId)) return;
    const samples = samplesOf(base64);
    this.#received.set(itemId, (this.#received.get(itemId) ?? 0) + samples.length);
    this.node.port.postMessage({ itemId, samples, at: 0 }, [samples.buffer]);
  }

  /**
   * Stop at once, and play nothing more of these items.
   * @param {string | null} arriving an item of which more may come
   * @returns {Promise<CutOff[]>} the items that were not heard to their end
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

  /** What left the worklet is still on its way to the ear for a moment. @param {number} samples */
  #heardMs(samples) {
    const onTheWayMs = (this.context.outputLatency || 0) * 1000;
    return Math.max(0, Math.floor(milliseconds(samples) - onTheWayMs));
  }

  /** @param {{type: string, heard: Map<string, number>, playing: boolean}} report */
  #report({ type, heard, playing }) {
    if (type === "flushed") this.#flushes.shift()?.(heard);
    const samples = [...heard.values()].reduce((sum, count) => sum + count, 0);
    this.onProgress(samples, playing);
  }
}
