// The page: takes a recording, shows what the backend says of it, and listens live. `samplecnn serve` and exported
// models give it different backends:
//   models: [{ name, about, classes, thresholds, listening, kind, sample_rate, window, licence }], limits: { bytes, seconds },
//   note, captureUrl, listens, formats: [[title, [[format, name]]]],
//   tag({ blob, name, sound, model, hop, signal, progress }) -> { seconds, scores, windows, silent, notes },
//   save(format, recording, model, hop, threshold) -> { blob, name }, listen(model, thresholds, { moment, fail })

import { Live } from "./live.js";
import {
  $, bySliderKey, fail, follow, listTags, loudest, playPlain, prepareAudio, refresh, say, seek, showResult, size, state,
  thresholds, timeline, togglePlay,
} from "./result.js";
import { decode, duration, encodeWav, joined, Microphone, Problem } from "./sound.js";
import { clock, soundPicture } from "./timeline.js";
import { make, saveBlob, showDownloads, showEvents } from "./views.js";

const COLUMNS = 1200;
const MOST_RECORDED = 600; // seconds
const STEPS = [1, 0.5, 0.25, 0.1]; // of a window

function busy(is) {
  $("work").hidden = !is;
  $("progress").removeAttribute("value");
  for (const id of ["choose", "record", "listen", "model"]) $(id).disabled = is;
}

// One piece of work at a time; a new one ends the one before.
async function work(action) {
  state.work?.abort();
  const controller = (state.work = new AbortController());
  $("problem").hidden = true;
  busy(true);
  try {
    await action(controller.signal);
  } catch (error) {
    if (state.work === controller) fail(error);
  } finally {
    if (state.work === controller) busy(false);
  }
}

async function take(blob, name) {
  stopLive();
  await work(async signal => {
    const { limits } = state.backend;
    if (blob.size === 0) throw new Problem(`${name} is empty.`);
    if (blob.size > limits.bytes) {
      throw new Problem(`${name} has ${size(blob.size)}; at most ${size(limits.bytes)} are taken here. For large files: samplecnn tag.`);
    }
    say(`Reading ${name}`);
    const seconds = await duration(blob);
    if (seconds > limits.seconds) {
      throw new Problem(`${name} lasts ${clock(seconds, 0)}; at most ${clock(limits.seconds, 0)} are taken here. For long files: samplecnn tag.`);
    }
    const sound = await decode(blob, state.model.sample_rate);
    signal.throwIfAborted();
    await tag({ blob, name, sound }, signal);
  });
}

async function tag(recording, signal) {
  const { backend, model } = state;
  say(`Tagging ${recording.name}`);
  const hop = hopOf(recording);
  const progress = done => ($("progress").value = done);
  let result;
  try {
    result = await backend.tag({ ...recording, model, hop, signal, progress });
  } catch (error) {
    if (error.status === 422 || error.status === 415) throw new Problem(`${recording.name}: ${error.message}.`);
    throw error;
  }
  signal.throwIfAborted();
  const same = state.recording?.blob === recording.blob;
  Object.assign(state, { recording, result, hop, all: false });
  const { sound } = recording;
  recording.picture = sound && soundPicture(sound.samples, sound.rate, Math.min(COLUMNS, sound.samples.length));
  if (!same) prepareAudio(recording);
  showResult();
  say(`Tagged ${recording.name}.`);
  if (!same) $("name").focus({ preventScroll: true });
}

function hopOf(recording) {
  const { window, sample_rate: rate } = state.model, chosen = Number($("hop").value);
  if (chosen) return Math.round(chosen * window);
  const samples = recording.sound?.samples.length ?? Infinity; // automatic: about 200 steps in a recording
  return Math.round(Math.max(window / 10, Math.min(window, samples / 200, 20 * rate)));
}

async function toggleRecording() {
  if (state.recorder) {
    const { microphone, blocks, timer } = state.recorder;
    state.recorder = null;
    clearInterval(timer);
    $("record-text").textContent = "Record";
    document.body.classList.remove("recording");
    await microphone.close();
    const blob = encodeWav(joined(blocks), microphone.rate), time = new Date().toTimeString().slice(0, 8);
    await take(blob, `recording-${time.replaceAll(":", "")}.wav`);
    return;
  }
  stopLive();
  $("problem").hidden = true;
  try {
    const blocks = [];
    const microphone = await Microphone.open(state.backend.captureUrl, block => blocks.push(block));
    const seconds = () => blocks.reduce((sum, block) => sum + block.length, 0) / microphone.rate;
    const timer = setInterval(() => {
      $("record-text").textContent = `Stop ${clock(seconds(), 0)}`;
      if (seconds() > Math.min(MOST_RECORDED, state.backend.limits.seconds)) toggleRecording();
    }, 250);
    state.recorder = { microphone, blocks, timer };
    $("record-text").textContent = "Stop";
    document.body.classList.add("recording");
    say("Recording.");
  } catch (error) {
    fail(error);
  }
}

function stopLive() {
  if (!state.live) return;
  state.live.stop();
  state.live = null;
  $("listen-text").textContent = "Listen live";
  document.body.classList.remove("listening");
  say("Stopped listening.");
}

async function toggleLive() {
  if (state.live) return stopLive();
  state.audio.pause();
  $("problem").hidden = true;
  const { model } = state;
  let shown = [], next = 0;
  const live = new Live(state.backend, model, thresholds(true), view => {
    if (state.live !== live) return;
    const now = performance.now();
    if (now >= next) {
      shown = loudest(view.windows, model.classes);
      next = now + 1500;
      if (view.scores) listTags(view.scores);
    }
    timeline.show({ ...view, classes: model.classes, shown });
    if (view.changed) showEvents($("events"), $("no-events"), view.events, null, "Nothing yet.");
  }, error => {
    if (state.live === live) stopLive();
    fail(error);
  });
  try {
    $("listen").disabled = true;
    await live.start();
  } catch (error) {
    live.stop();
    return fail(error);
  } finally {
    $("listen").disabled = false;
  }
  Object.assign(state, { live, result: null, recording: null });
  document.body.classList.add("filled", "listening");
  $("listen-text").textContent = "Stop listening";
  $("result").hidden = false;
  $("result").classList.add("live");
  $("name").textContent = "Listening";
  $("facts").textContent = `model ${model.name}`;
  $("tags-title").textContent = "Now";
  $("download-card").hidden = true;
  $("tags").replaceChildren();
  timeline.moveCursor(null);
  showEvents($("events"), $("no-events"), [], null, "Nothing yet.");
  say("Listening.");
}

async function save(format) {
  const { recording, model, hop, threshold, backend } = state;
  await work(async signal => {
    say(`Making ${format}`);
    const { blob, name } = await backend.save(format, recording, {
      model, hop, threshold, signal, result: state.result, events: state.events,
    });
    saveBlob(blob, name);
    say(`Saved ${name}.`);
  });
}

function chooseModel(name) {
  const { backend } = state;
  state.model = backend.models.find(model => model.name === name);
  Object.assign(state, { threshold: null, result: null }); // the scores are of another model
  $("about").textContent = [state.model.about, state.model.licence].filter(Boolean).join(" · ");
  const seconds = state.model.window / state.model.sample_rate;
  const option = share => new Option(`${Number((share * seconds).toPrecision(2))} s`, share);
  $("hop").replaceChildren(new Option("automatic", 0), ...STEPS.map(option));
  stopLive();
  refresh();
}

// After another model or step: the same recording again.
function again() {
  const { recording } = state;
  if (!recording) return;
  work(async signal => {
    if (recording.sound && recording.sound.rate !== state.model.sample_rate) {
      recording.sound = await decode(recording.blob, state.model.sample_rate);
    }
    await tag(recording, signal);
  });
}

function dropping() {
  let inside = 0;
  const mark = by => document.body.classList.toggle("dropping", (inside = Math.max(0, inside + by)) > 0);
  addEventListener("dragenter", () => mark(1));
  addEventListener("dragleave", () => mark(-1));
  addEventListener("dragover", event => event.preventDefault());
  addEventListener("drop", event => {
    event.preventDefault();
    mark(-inside);
    const [file] = event.dataTransfer.files;
    if (file && state.model && !state.recorder) take(file, file.name);
  });
}

export function start(backend) {
  state.backend = backend;
  const { models } = backend;
  $("model").replaceChildren(...models.map(model => make("option", { textContent: model.name, value: model.name })));
  $("choose-model").hidden = models.length < 2;
  $("note").textContent = backend.note;
  $("listen").hidden = !backend.listens;
  showDownloads($("downloads"), backend.formats, save);
  const on = (id, kind, action) => $(id).addEventListener(kind, action);
  on("model", "change", () => (chooseModel($("model").value), again()));
  on("hop", "change", again);
  on("choose", "click", () => $("file").click());
  on("file", "change", () => {
    const [file] = $("file").files;
    if (file) take(file, file.name);
    $("file").value = "";
  });
  on("record", "click", toggleRecording);
  on("listen", "click", toggleLive);
  on("cancel", "click", () => (state.work.abort(), busy(false), say("Cancelled.")));
  on("play", "click", togglePlay);
  on("all-tags", "click", () => {
    state.all = !state.all;
    const scores = state.live?.scores ?? state.result?.scores;
    if (scores) listTags(scores);
  });
  on("threshold", "input", () => ((state.threshold = Number($("threshold").value)), refresh()));
  on("own", "click", () => ((state.threshold = null), refresh()));
  on("canvas-box", "keydown", bySliderKey);
  on("canvas-box", "pointerdown", event => {
    if (!state.result || state.live) return;
    $("canvas-box").setPointerCapture(event.pointerId);
    seek(timeline.timeAt(event));
  });
  on("canvas-box", "pointermove", event => event.buttons && state.result && !state.live && seek(timeline.timeAt(event)));
  for (const kind of ["play", "pause", "ended"]) {
    state.audio.addEventListener(kind, () => ($("play-text").textContent = state.audio.paused ? "Play" : "Pause"));
  }
  state.audio.addEventListener("play", follow);
  state.audio.addEventListener("error", playPlain);
  new ResizeObserver(() => timeline.draw()).observe($("picture"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timeline.draw());
  dropping();
  chooseModel(models[0].name);
  document.body.classList.add("ready");
}
