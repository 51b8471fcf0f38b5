// Plays samples in the order of arrival, and counts the played samples of each item.

const REPORT_SAMPLES = 2048;

class Playback extends AudioWorkletProcessor {
  /** @type {{itemId: string, samples: Float32Array, at: number}[]} */
  queue = [];
  /** @type {Map<string, number>} samples heard, by item */
  heard = new Map();
  unreported = 0;
  isClosed = false;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.receive(data);
  }

  receive(message) {
    if (message === "close") this.isClosed = true;
    else if (message === "flush") this.flush();
    else this.queue.push(message);
  }

  process(_inputs, [[output]]) {
    let filled = 0;
    while (filled < output.length && this.queue.length) filled += this.play(output, filled);
    this.unreported += filled;
    const isDrained = filled > 0 && !this.queue.length;
    if (this.unreported >= REPORT_SAMPLES || isDrained) this.report("progress");
    return !this.isClosed;
  }

  /** Copy samples of the first chunk into the output, from `filled` on; return their number. */
  play(output, filled) {
    const chunk = this.queue[0];
    const part = chunk.samples.subarray(chunk.at, chunk.at + output.length - filled);
    output.set(part, filled);
    chunk.at += part.length;
    if (chunk.at === chunk.samples.length) this.queue.shift();
    this.heard.set(chunk.itemId, (this.heard.get(chunk.itemId) ?? 0) + part.length);
    return part.length;
  }

  flush() {
    this.queue = [];
    this.report("flushed");
  }

  report(type) {
    this.unreported = 0;
    this.port.postMessage({ type, heard: this.heard, playing: this.queue.length > 0 });
  }
}

registerProcessor("playback", Playback);
