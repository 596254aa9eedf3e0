// Windows of a recording or of live sound, standardised and scored as samplecnn.Tagger does.

import { Detector } from "./detector.js";
import { Net } from "./net.js";
import { toInt16 } from "./sound.js";

const MIN_TAIL = 0.1; // share of a hop; a shorter rest of a recording is dropped
const CHECK_WINDOWS = 3;
const MOST_BEHIND = 0.5; // seconds that live sound may wait

export class Tagger {
  constructor(model, weights, options) {
    this.model = model;
    this.net = new Net(model.layers, weights, options);
    this.factor = Math.fround(1 / (32768 * model.std));
    this.offset = Math.fround(model.mean / model.std);
  }

  // Scores of the window of `samples` (from -1 to 1) that starts at `start`.
  score(samples, start = 0) {
    const { window } = this.model, wave = new Float32Array(window);
    for (let i = 0; i < window; i++) wave[i] = Math.fround(toInt16(samples[start + i]) * this.factor) - this.offset;
    return this.net.run(wave);
  }

  // First samples of the windows of a recording.
  starts(samples, hop) {
    const { window } = this.model, starts = [];
    for (let start = 0; start + window <= samples; start += hop) starts.push(start);
    if (starts.length === 0) return [0];
    const left = samples - (starts[starts.length - 1] + window);
    if (left > 0 && left >= MIN_TAIL * hop) starts.push(samples - window);
    return starts;
  }

  // Yields { start, end, scores, done } for each window; times in seconds, `done` as a share.
  *windows(samples, hop) {
    const { window, sample_rate: rate } = this.model;
    const whole = samples.length < window ? padded(samples, window, this.model.padding) : samples;
    const starts = this.starts(samples.length, hop);
    for (const [number, start] of starts.entries()) {
      const end = Math.min(start + window, samples.length) / rate;
      yield { start: start / rate, end, scores: this.score(whole, start), done: (number + 1) / starts.length };
    }
  }

  // The largest difference to the scores that samplecnn has computed for three windows: noise, a tone, silence.
  check() {
    const { check, classes, window } = this.model;
    let largest = 0;
    for (let number = 0; number < CHECK_WINDOWS; number++) {
      const scores = this.score(checkWindow(number, window));
      classes.forEach((_, i) => {
        const difference = Math.abs(scores[i] - check[number][i]);
        largest = difference <= largest ? largest : difference; // NaN too
      });
    }
    return largest;
  }
}

// As samplecnn.interop.html.check computes them: noise of a linear congruential generator, a tone, silence.
function checkWindow(number, window) {
  let state = 1;
  return Float32Array.from({ length: window }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return [state / 2 ** 32 - 0.5, 0.5 * Math.sin((Math.PI * i) / 10), 0][number];
  });
}

function padded(samples, window, padding) {
  const times = Math.floor(window / samples.length) + 1;
  return Float32Array.from({ length: window }, (_, i) => {
    if (padding === "zero") return i < samples.length ? samples[i] : 0;
    return samples[padding === "tile" ? i % samples.length : Math.floor(i / times)];
  });
}

// Scores live sound: a window every `hop`, and what a detector says of it.
export class Listener {
  constructor(tagger, thresholds) {
    this.tagger = tagger;
    const { window, sample_rate: rate } = tagger.model;
    this.hop = Math.max(Math.floor(window / 10), 1);
    this.detector = new Detector(tagger.model, thresholds, this.hop / rate);
    this.kept = new Float32Array(0); // from the start of the next window
    this.start = 0;
  }

  // Takes samples at the model's rate; returns { time, scores, heard } for each window that ends in them. Windows are
  // left out while sound comes faster than it is scored (`behind`: seconds for which these samples have waited).
  push(samples, behind = 0) {
    const { window, sample_rate: rate } = this.tagger.model, moments = [];
    const kept = new Float32Array(this.kept.length + samples.length);
    kept.set(this.kept);
    kept.set(samples, this.kept.length);
    this.kept = kept;
    let at = 0;
    while (at + window <= kept.length) {
      if (behind < MOST_BEHIND) {
        const scores = this.tagger.score(kept, at), time = (this.start + at + window) / rate;
        moments.push({ time, scores, heard: this.detector.step(scores, time) });
      }
      at += this.hop;
    }
    this.start += at;
    this.kept = kept.slice(at);
    return moments;
  }
}
