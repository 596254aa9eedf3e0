// Sound in the browser: decoding, WAV, resampling of a stream, and the microphone.

// A message for people; anything else that is thrown is a mistake of this page.
export class Problem extends Error {}

// A recording as mono at `rate`: { samples, rate }, or null where this browser cannot decode it.
export async function decode(blob, rate) {
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await blob.arrayBuffer());
  } catch {
    return null;
  }
  const samples = buffer.getChannelData(0);
  for (let channel = 1; channel < buffer.numberOfChannels; channel++) {
    const other = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) samples[i] += other[i];
  }
  if (buffer.numberOfChannels > 1) for (let i = 0; i < samples.length; i++) samples[i] /= buffer.numberOfChannels;
  return { samples, rate };
}

// Seconds of a recording from its header, without decoding it; null where that is not possible.
export function duration(blob) {
  return new Promise(resolve => {
    const url = URL.createObjectURL(blob), element = new Audio();
    const done = seconds => {
      clearTimeout(timer);
      element.removeAttribute("src");
      URL.revokeObjectURL(url);
      resolve(seconds);
    };
    const timer = setTimeout(() => done(null), 5000);
    element.preload = "metadata";
    element.onloadedmetadata = () => done(Number.isFinite(element.duration) ? element.duration : null);
    element.onerror = () => done(null);
    element.src = url;
  });
}

export const toInt16 = value => {
  const scaled = value * 32768, rounded = Math.round(scaled);
  const even = rounded - scaled === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded; // ties to even, as NumPy
  return Math.max(-32768, Math.min(32767, even));
};

// Mono WAV of 16 bits.
export function encodeWav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, toInt16(value), true));
  return new Blob([view], { type: "audio/wav" });
}

export function joined(blocks) {
  const all = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    all.set(block, at);
    at += block.length;
  }
  return all;
}

const ZERO_CROSSINGS = 24; // of the filter on each side; the stopband lies about 90 dB down
const CUTOFF = 0.93; // of half the lower rate

// Converts a stream of blocks from one rate to another, by a windowed sinc whose phases are computed once.
export class Resampler {
  constructor(from, to) {
    const divisor = (a, b) => (b ? divisor(b, a % b) : a), common = divisor(from, to);
    this.up = to / common;
    this.down = from / common;
    const band = CUTOFF * Math.min(1, to / from); // of half the input's rate
    this.half = Math.ceil(ZERO_CROSSINGS / band);
    this.filters = new Map(); // phase -> Float32Array [2 * half]
    this.band = band;
    this.input = new Float32Array(this.half - 1); // silence before the first sample
    this.phase = 0;
  }

  filter(phase) {
    if (!this.filters.has(phase)) {
      const taps = Float32Array.from({ length: 2 * this.half }, (_, i) => {
        const x = i - (this.half - 1) - phase / this.up, angle = Math.PI * x;
        const window = 0.42 + 0.5 * Math.cos(angle / this.half) + 0.08 * Math.cos((2 * angle) / this.half); // Blackman
        return x === 0 ? this.band : (Math.sin(this.band * angle) / angle) * window;
      });
      this.filters.set(phase, taps);
    }
    return this.filters.get(phase);
  }

  push(block) {
    if (this.up === this.down) return block;
    const input = joined([this.input, block]), out = [];
    let at = 0;
    while (at + 2 * this.half <= input.length) {
      const taps = this.filter(this.phase);
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += input[at + i] * taps[i];
      out.push(sum);
      this.phase += this.down;
      at += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.input = input.slice(at);
    return Float32Array.from(out);
  }
}

const REFUSED = {
  NotAllowedError: "The microphone was refused. Allow it for this page in the browser's address bar, then try again.",
  NotFoundError: "There is no microphone here. Connect one, or choose a file.",
  NotReadableError: "The microphone cannot be opened; another program may hold it.",
};

// The microphone as blocks of samples, mono, at the rate of the device.
export class Microphone {
  // `captureUrl`: of capture.js; `onBlock(samples)` gets Float32Arrays.
  static async open(captureUrl, onBlock) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Problem(
        "Browsers give the microphone only to pages on this machine (http://localhost) or over https. Choose a file instead.");
    }
    let stream;
    try {
      const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new Problem(REFUSED[error.name] ?? `The microphone cannot be opened (${error.message}).`);
    }
    const context = new AudioContext();
    try {
      await context.resume();
      await context.audioWorklet.addModule(captureUrl);
      const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
      node.port.onmessage = event => onBlock(event.data);
      context.createMediaStreamSource(stream).connect(node);
      return new Microphone(stream, context);
    } catch (error) {
      stream.getTracks().forEach(track => track.stop());
      context.close();
      throw error;
    }
  }

  constructor(stream, context) {
    this.stream = stream;
    this.context = context;
    this.rate = context.sampleRate;
  }

  close() {
    this.stream.getTracks().forEach(track => track.stop());
    return this.context.close();
  }
}
