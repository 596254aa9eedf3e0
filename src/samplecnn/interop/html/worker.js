// The worker of an exported page: holds the model and computes, so that the page stays responsive.

import { Listener, Tagger } from "./tagger.js";

let tagger = null, listener = null, cancelled = 0;

const kinds = {
  open({ model, weights }) {
    tagger = new Tagger(model, weights);
    self.postMessage({ kind: "open", difference: tagger.check(), simd: tagger.net.kernel.simd });
  },

  async tag({ id, samples, hop }) {
    const windows = [];
    let last = performance.now();
    for (const window of tagger.windows(samples, hop)) {
      windows.push({ start: window.start, end: window.end, scores: window.scores });
      if (performance.now() - last < 50) continue;
      self.postMessage({ kind: "progress", id, done: window.done });
      await new Promise(resolve => setTimeout(resolve)); // for messages that cancel
      if (cancelled >= id) return;
      last = performance.now();
    }
    self.postMessage({ kind: "tag", id, windows });
  },

  cancel({ id }) {
    cancelled = id;
  },

  listen({ thresholds }) {
    listener = new Listener(tagger, thresholds);
  },

  thresholds({ thresholds }) {
    if (listener) listener.detector.thresholds = thresholds;
  },

  sound({ samples, sent }) {
    for (const moment of listener.push(samples, (Date.now() - sent) / 1000)) self.postMessage({ kind: "moment", ...moment });
  },
};

self.onmessage = event => kinds[event.data.kind](event.data);
