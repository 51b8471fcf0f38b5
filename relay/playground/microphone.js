// @ts-check
// Sound input: the microphone as 24 kHz PCM. The browser resamples it.

/** This level is shown as 0, full scale (0 dB) as 1. */
const QUIETEST_DECIBEL = -60;

/**
 * @typedef {object} Options
 * @property {boolean} raw do not remove echo and noise, and do not adjust the volume
 * @property {(pcm: ArrayBuffer, level: number) => void} onPiece receives 20 ms of sound, and its level from 0 to 1
 * @property {() => void} onGone the microphone was unplugged, or the browser took it back
 */

export class Microphone {
  /**
   * Request the microphone; the user may refuse.
   * @param {AudioContext} context with the worklet's module added
   * @param {Options} options
   * @returns {Promise<Microphone>}
   * @throws {DOMException} it is refused, missing or busy
   */
  static async open(context, options) {
    const clean = !options.raw;
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: clean, noiseSuppression: clean, autoGainControl: clean },
    });
    try {
      return new Microphone(context, stream, options);
    } catch (error) {
      stop(stream);
      throw error;
    }
  }

  /** @param {AudioContext} context @param {MediaStream} stream @param {Options} options */
  constructor(context, stream, { onPiece, onGone }) {
    this.stream = stream;
    this.source = context.createMediaStreamSource(stream);
    this.node = new AudioWorkletNode(context, "capture", { channelCount: 1, channelCountMode: "explicit" });
    this.node.port.onmessage = ({ data }) => onPiece(data, levelOf(data));
    // The node has no output, but a browser may not run a node without a destination.
    this.source.connect(this.node).connect(context.destination);
    stream.getAudioTracks()[0].onended = onGone;
  }

  close() {
    this.node.port.onmessage = null;
    this.node.port.postMessage("close");
    this.source.disconnect();
    this.node.disconnect();
    stop(this.stream);
  }
}

/** @param {MediaStream} stream */
function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/** Return the level from 0 to 1, on a decibel scale. @param {ArrayBuffer} pcm */
function levelOf(pcm) {
  const samples = new Int16Array(pcm);
  const power = samples.reduce((sum, sample) => sum + (sample / 0x8000) ** 2, 0) / samples.length;
  const decibel = 10 * Math.log10(power || 1e-12);
  return Math.min(1, Math.max(0, 1 - decibel / QUIETEST_DECIBEL));
}
