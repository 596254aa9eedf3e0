// The backend of an exported page: the model is in the page, and a worker of this browser computes.

import { start } from "./app.js";
import { Problem } from "./sound.js";

const MOST_DIFFERENCE = 1e-4; // as samplecnn.interop.html.check
const text = id => document.getElementById(id).textContent;

function bytes(base64) {
  const decoded = atob(base64), all = new Uint8Array(decoded.length);
  for (let i = 0; i < all.length; i++) all[i] = decoded.charCodeAt(i);
  return all.buffer;
}

const codeUrl = id => URL.createObjectURL(new Blob([text(id)], { type: "text/javascript" }));
const digits = value => Number(value.toFixed(6));
const csvCell = value => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

const WRITERS = {
  json: ({ recording, result, events, model }) => JSON.stringify({
    path: recording.name, model: model.name, seconds: digits(result.seconds), classes: model.classes,
    tags: Object.fromEntries(model.classes.map((label, i) => [label, digits(result.scores[i])])),
    over_time: result.windows.map(({ start, end, scores }) => ({ start: digits(start), end: digits(end), scores: [...scores].map(digits) })),
    events: events.filter(event => !event.near).map(({ start, end, label, score }) => ({
      start: digits(start), end: digits(end), label, score: digits(score),
    })),
  }, null, 1),
  csv: ({ recording, result, model }) => [
    ["path", "start", "end", ...model.classes],
    ...result.windows.map(({ start, end, scores }) => [recording.name, digits(start), digits(end), ...[...scores].map(digits)]),
  ].map(row => row.map(cell => csvCell(String(cell))).join(",") + "\n").join(""),
  audacity: ({ events }) => events.filter(event => !event.near)
    .map(({ start, end, label, score }) => `${start.toFixed(6)}\t${end.toFixed(6)}\t${label} ${score.toFixed(2)}\n`).join(""),
};
const SUFFIXES = { json: ".json", csv: ".csv", audacity: ".txt" };

class Offline {
  constructor(model) {
    this.models = [model];
    this.limits = { bytes: 200e6, seconds: 1800 };
    this.note = "Sound stays in this page: the model is inside it, and it needs no network.";
    this.listens = true;
    this.captureUrl = `data:text/javascript,${encodeURIComponent(text("capture"))}`; // a file:// page may not load a worklet from blob:
    this.formats = [["", [["csv", "CSV"], ["json", "JSON"], ["audacity", "Audacity labels"]]]];
    this.worker = new Worker(codeUrl("worker"));
    this.worker.onmessage = event => this.receive(event.data);
    this.waiting = new Map(); // work by number -> { resolve, progress }
    this.count = 0;
  }

  // Gives the worker the model, and compares what it computes with what samplecnn has computed.
  open(weights) {
    return new Promise((resolve, reject) => {
      this.opened = ({ difference, simd }) => {
        document.documentElement.dataset.difference = difference;
        document.documentElement.dataset.simd = simd;
        if (difference <= MOST_DIFFERENCE) return resolve(this);
        reject(new Problem(`This browser computes scores that differ by ${difference} from samplecnn's. Try another browser.`));
      };
      this.worker.onerror = event => reject(new Problem(`The model cannot run in this browser (${event.message}).`));
      const [model] = this.models;
      this.worker.postMessage({ kind: "open", model, weights: new Float32Array(weights) });
    });
  }

  receive(said) {
    if (said.kind === "open") this.opened(said);
    else if (said.kind === "moment") this.moment?.(said);
    else if (said.kind === "progress") this.waiting.get(said.id)?.progress(said.done);
    else {
      this.waiting.get(said.id)?.resolve(said.windows);
      this.waiting.delete(said.id);
    }
  }

  async tag({ name, sound, model, hop, signal, progress }) {
    if (!sound) throw new Problem(`${name} is no recording that this browser can decode; convert it to WAV.`);
    const id = ++this.count;
    const windows = await new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, progress });
      signal.addEventListener("abort", () => {
        this.worker.postMessage({ kind: "cancel", id });
        reject(signal.reason);
      });
      this.worker.postMessage({ kind: "tag", id, samples: sound.samples, hop });
    });
    const scores = Float32Array.from(model.classes, (_, i) =>
      windows.reduce((sum, window) => sum + window.scores[i], 0) / windows.length);
    const silent = sound.samples.every(value => value === 0);
    return { seconds: sound.samples.length / sound.rate, scores, windows, silent, notes: [] };
  }

  async save(format, recording, given) {
    const name = recording.name.replace(/\.[^.]*$/, "") + SUFFIXES[format];
    return { blob: new Blob([WRITERS[format]({ recording, ...given })], { type: "text/plain" }), name };
  }

  listen(model, thresholds, { moment }) {
    this.moment = moment;
    this.worker.postMessage({ kind: "listen", thresholds });
    return {
      push: samples => this.worker.postMessage({ kind: "sound", samples, sent: Date.now() }),
      setThresholds: given => this.worker.postMessage({ kind: "thresholds", thresholds: given }),
      close: () => (this.moment = null),
    };
  }
}

new Offline(JSON.parse(text("model-data"))).open(bytes(text("weights"))).then(start, error => {
  const problem = document.getElementById("problem");
  problem.textContent = error.message;
  problem.hidden = false;
});
