// WAV as the server sends it (mono, 16 bits), and a player for it.

export function parseWav(buffer) {
  const view = new DataView(buffer);
  const rate = view.getUint32(24, true);
  let at = 12;
  while (at + 8 <= view.byteLength) {
    const name = String.fromCharCode(...new Uint8Array(buffer, at, 4));
    const size = view.getUint32(at + 4, true);
    if (name === "data") {
      const count = Math.min(size, view.byteLength - at - 8) >> 1;
      const samples = new Float32Array(count);
      for (let i = 0; i < count; i++) samples[i] = view.getInt16(at + 8 + 2 * i, true) / 32768;
      return { rate, samples };
    }
    at += 8 + size + (size & 1);
  }
  throw new Error("the server sent no sound");
}

export class Player {
  constructor(onEnd) {
    this.onEnd = onEnd;
    this.context = null;
    this.source = null;
  }

  async play(sound) {
    this.stop();
    this.context ??= new AudioContext();
    if (this.context.state !== "running") await this.context.resume();
    const buffer = this.context.createBuffer(1, sound.samples.length, sound.rate);
    buffer.copyToChannel(sound.samples, 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    source.onended = () => {
      if (this.source === source) {
        this.source = null;
        this.onEnd();
      }
    };
    source.start();
    this.source = source;
    this.started = this.context.currentTime;
  }

  // Seconds since the start; null when nothing plays.
  get position() {
    return this.source ? this.context.currentTime - this.started : null;
  }

  stop() {
    const source = this.source;
    this.source = null;
    source?.stop();
  }
}
