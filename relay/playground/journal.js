// @ts-check
// The events of this page as they went over the wire: the last few hundred, without their audio.

import { byteCount, millisecondsOfBytes } from "./pcm.js";

/** @typedef {import("./connection.js").Event} Event */

/**
 * @typedef {object} Line
 * @property {"sent" | "received"} direction
 * @property {Date} at
 * @property {string} type
 * @property {number} count of events that this line stands for
 * @property {number} audioMs in these events
 * @property {string} text the event, or the last of them, as JSON
 */

const MAX_LINES = 500;
const AUDIO = new Set(["input_audio_buffer.append", "response.output_audio.delta"]);

export class Journal {
  /** @type {Line[]} */
  #lines = [];

  /**
   * Write an event down; audio that follows on audio joins its line, or it would fill the journal.
   * @param {"sent" | "received"} direction
   * @param {Event} event
   */
  write(direction, event) {
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

  /** Return the lines that contain every word, in order. @param {string} words */
  find(words) {
    const wanted = words.toLowerCase().split(/\s+/);
    const fits = (/** @type {Line} */ line) => wanted.every((word) => line.text.toLowerCase().includes(word));
    return this.#lines.filter(fits);
  }

  /** Return the line of this type in the run of audio at the end. @param {string} type */
  #running(type) {
    const afterRun = this.#lines.findLastIndex((line) => !AUDIO.has(line.type)) + 1;
    return this.#lines.slice(afterRun).find((line) => line.type === type);
  }
}

/** @param {Event} event */
function withoutAudio(event) {
  const told = (/** @type {string} */ base64) => `(${byteCount(base64)} bytes)`;
  const hide = (/** @type {string} */ key, /** @type {unknown} */ value) =>
    key === "audio" && typeof value === "string" ? told(value) : value;
  const shown = JSON.parse(JSON.stringify(event, hide));
  return AUDIO.has(event.type) && event.delta ? { ...shown, delta: told(event.delta) } : shown;
}
