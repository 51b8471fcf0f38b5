// @ts-check
// Audio as the API carries it: 16-bit little-endian PCM, one channel, in base64.

export const SAMPLES_PER_SECOND = 24000;
const BYTES_PER_SAMPLE = 2;

/** @param {ArrayBuffer} pcm @returns {string} */
export function toBase64(pcm) {
  return btoa(String.fromCharCode(...new Uint8Array(pcm)));
}

/** Return the samples between -1 and 1. @param {string} base64 @returns {Float32Array} */
export function samplesOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const samples = new Float32Array(Math.floor(bytes.length / BYTES_PER_SAMPLE));
  return samples.map((_, at) => view.getInt16(at * BYTES_PER_SAMPLE, true) / 0x8000);
}

/** Return the number of bytes that this base64 encodes. @param {string} base64 */
export function byteCount(base64) {
  const padding = base64.endsWith("==") ? 2 : Number(base64.endsWith("="));
  return (base64.length / 4) * 3 - padding;
}

/** @param {number} samples */
export function milliseconds(samples) {
  return Math.floor((samples / SAMPLES_PER_SECOND) * 1000);
}

/** @param {number} bytes */
export function millisecondsOfBytes(bytes) {
  return milliseconds(bytes / BYTES_PER_SAMPLE);
}
