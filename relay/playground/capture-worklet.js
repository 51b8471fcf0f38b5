// Converts the microphone's sound to 16-bit PCM, in pieces of 20 ms.

const PIECE_SAMPLES = 480;

class Capture extends AudioWorkletProcessor {
  piece = new DataView(new ArrayBuffer(PIECE_SAMPLES * 2));
  filled = 0;
  isClosed = false;

  constructor() {
    super();
    this.port.onmessage = () => (this.isClosed = true);
  }

  process([[channel]]) {
    // The microphone has no channel until it starts.
    for (const sample of channel ?? []) this.add(sample);
    return !this.isClosed;
  }

  add(sample) {
    const clipped = Math.max(-1, Math.min(1, sample));
    this.piece.setInt16(this.filled++ * 2, Math.round(clipped * 0x7fff), true);
    if (this.filled < PIECE_SAMPLES) return;
    this.port.postMessage(this.piece.buffer.slice(0));
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
