// @ts-check
// The last few hundred events that this page sent and received, without their audio.

import { byteCount, millisecondsOfBytes } from "./pcm.js";

/** @typedef {import("./connection.js").Event} Event */

/**
 * @typedef {object} Line
 * @property {"sent" | "received"} direction
 * @property {Date} at
 * @property {string} type
 * @property {number} count of events in this line
 * @property {number} audioMs the length of their audio
 * @property {string} text the last of these events, as JSON
 */

const MAX_LINES = 500;
const AUDIO = new Set(["input_audio_buffer.append", "response.output_audio.delta"]);

export class Journal {
  /** @type {Line[]} */
  #lines = [];

  /**
   * Record an event. Consecutive audio events share a line, because they would fill the journal.
   * @param {"sent" | "received"} direction
   * @param {Event} event
   */
  record(direction, event) {
    const audioMs = AUDIO.has(event.type) ? millisecondsOfBytes(byteCount(event.delta ?? event.audio)) : 0;
    const running = AUDIO.has(event.type) ? this.#running(event.type) : undefined;
    const text = JSON.stringify(withoutAudio(event), null, 2);
    if (running) {
      Object.assign(running, { text, count: running.count + 1, audioMs: running.audioMs + audioMs });
      return;
    }
    const { type } = event;
    this.#lines.push({ direction, at: new Date(), type, count: 1, audioMs, text });
    if (this.#lines.length > MAX_LINES) this.#lines.shift();
  }

  /** Return the lines that contain every word, oldest first. @param {string} words */
  find(words) {
    const wanted = words.toLowerCase().split(/\s+/);
    const fits = (/** @type {Line} */ line) => wanted.every((word) => line.text.toLowerCase().includes(word));
    return this.#lines.filter(fits);
  }

  /** Return the line of this type among the audio lines at the end. @param {string} type */
  #running(type) {
    const afterRun = this.#lines.findLastIndex((line) => !AUDIO.has(line.type)) + 1;
    return this.#lines.slice(afterRun).find((line) => line.type === type);
  }
}

/** @param {Event} event */
function withoutAudio(event) {
  const lengthOf = (/** @type {string} */ base64) => `(${byteCount(base64)} bytes)`;
  const hide = (/** @type {string} */ key, /** @type {unknown} */ value) =>
    key === "audio" && typeof value === "string" ? lengthOf(value) : value;
  const shown = JSON.parse(JSON.stringify(event, hide));
  return AUDIO.has(event.type) && event.delta ? { ...shown, delta: lengthOf(event.delta) } : shown;
}
