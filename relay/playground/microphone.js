// @ts-check
// Sound in: the microphone, through the browser's own resampler, as PCM of 24 kHz.

/** Room for a voice from silence (0) to full scale (1). */
const QUIETEST_DECIBEL = -60;

/**
 * @typedef {object} Wishes
 * @property {boolean} raw leave the voice as it is: neither echo nor noise is taken out
 * @property {(pcm: ArrayBuffer, level: number) => void} onPiece 20 ms, and how loud it is, from 0 to 1
 * @property {() => void} onGone it was unplugged, or taken away
 */

export class Microphone {
  /**
   * Ask for the microphone; the page's user may refuse.
   * @param {AudioContext} context with the worklet's module added
   * @param {Wishes} wishes
   * @returns {Promise<Microphone>}
   * @throws {DOMException} it is refused, missing or busy
   */
  static async open(context, wishes) {
    const clean = !wishes.raw;
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: clean, noiseSuppression: clean, autoGainControl: clean },
    });
    try {
      return new Microphone(context, stream, wishes);
    } catch (error) {
      stop(stream);
      throw error;
    }
  }

  /** @param {AudioContext} context @param {MediaStream} stream @param {Wishes} wishes */
  constructor(context, stream, { onPiece, onGone }) {
    this.stream = stream;
    this.source = context.createMediaStreamSource(stream);
    this.node = new AudioWorkletNode(context, "capture", { channelCount: 1, channelCountMode: "explicit" });
    this.node.port.onmessage = ({ data }) => onPiece(data, levelOf(data));
    // It says nothing, but a node that leads nowhere may not be run.
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

/** Return how loud it is, from 0 to 1, as the ear counts. @param {ArrayBuffer} pcm */
function levelOf(pcm) {
  const samples = new Int16Array(pcm);
  const power = samples.reduce((sum, sample) => sum + (sample / 0x8000) ** 2, 0) / samples.length;
  const decibel = 10 * Math.log10(power || 1e-12);
  return Math.min(1, Math.max(0, 1 - decibel / QUIETEST_DECIBEL));
}
