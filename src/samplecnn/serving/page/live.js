// Live listening: sound of the microphone goes to the backend, and a rolling picture shows what it says.

import { Microphone, Resampler } from "./sound.js";
import { LivePicture } from "./timeline.js";

const SECONDS = 15, COLUMNS = 600;
const KEPT = 100; // events

export class Live {
  // `show(view)` is called for every picture: { seconds, from, picture, windows, events, scores, level }.
  constructor(backend, model, thresholds, show, fail) {
    Object.assign(this, { backend, model, thresholds, show, fail, windows: [], events: [], scores: null, changed: false });
  }

  async start() {
    const rate = this.model.sample_rate;
    this.picture = new LivePicture(rate, COLUMNS, SECONDS);
    this.session = await this.backend.listen(this.model, this.thresholds, {
      moment: moment => this.take(moment), fail: error => this.fail(error),
    });
    this.seconds = 0;
    let resampler = null;
    try {
      this.microphone = await Microphone.open(this.backend.captureUrl, block => {
        resampler ??= new Resampler(this.microphone.rate, rate);
        const samples = resampler.push(block);
        this.seconds += samples.length / rate;
        this.picture.push(samples);
        this.session.push(samples);
      });
    } catch (error) {
      this.session.close();
      throw error;
    }
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const draw = () => { // a slow machine draws less often
      const begun = performance.now();
      this.draw();
      this.timer = setTimeout(draw, Math.max(calm ? 500 : 80, 4 * (performance.now() - begun)));
    };
    draw();
  }

  // { time, scores?, heard: [{ type, label, score, threshold, start, end }] }; times in seconds since the start. A score
  // is drawn about the centre of its window, where the sound is that it is of.
  take({ time, scores, heard }) {
    const half = this.model.window / this.model.sample_rate / 2;
    if (scores) {
      const before = this.windows[this.windows.length - 1], hop = 2 * half / 10;
      const start = before ? Math.max(before.end, time - half - 3 * hop) : time - half - hop;
      this.windows.push({ start, end: time - half, scores });
      this.windows = this.windows.filter(window => window.end > time - SECONDS - 1);
      this.scores = scores;
    }
    for (const each of heard) {
      if (each.type === "end") { // from the first window above the threshold to the last
        const event = this.events.find(event => event.label === each.label && !event.near);
        if (event) Object.assign(event, { start: each.start - 1.1 * half, end: each.end - 0.9 * half, score: each.score });
      } else {
        const centre = (each.start + each.end) / 2;
        this.events.unshift({ ...each, start: centre - half / 4, end: centre + half / 4, near: each.type === "near" });
        this.events.length = Math.min(this.events.length, KEPT);
      }
      this.changed = true;
    }
  }

  draw() {
    const from = this.seconds - SECONDS;
    const { picture, windows, events, scores, changed } = this;
    this.changed = false;
    this.show({ seconds: SECONDS, from, picture, windows, events, scores, changed });
  }

  setThresholds(thresholds) {
    this.thresholds = thresholds;
    this.session?.setThresholds(thresholds);
  }

  stop() {
    clearTimeout(this.timer);
    this.microphone?.close();
    this.session?.close();
  }
}
