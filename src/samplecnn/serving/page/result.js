// The result of a recording: what the page shows of it, and playback.

import { findEvents, isRejection, smoothed, smoothing } from "./events.js";
import { encodeWav, Problem } from "./sound.js";
import { clock, Timeline } from "./timeline.js";
import { showEvents, showTags } from "./views.js";

export const $ = id => document.getElementById(id);
const ROWS = 10, TAGS = 6;

export const state = {
  backend: null, model: null, recording: null, result: null, events: [], threshold: null, all: false, shown: [],
  recorder: null, live: null, work: null, audio: new Audio(), position: 0, plain: false,
};
export const timeline = new Timeline($("canvas-box"), $("picture"), $("cursor"), $("rows"));

export const size = bytes => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
// Of every class: as chosen on the page, else the model's; while listening, that of its operating point, if it has one.
export function thresholds(live = state.live !== null) {
  const point = live ? state.model.listening?.threshold : null;
  return state.model.thresholds.map(own => state.threshold ?? point ?? own);
}
export const say = text => ($("said").textContent = text);

export function fail(error) {
  if (error?.name === "AbortError") return;
  if (!(error instanceof Problem)) console.error(error);
  $("problem").textContent = error instanceof Problem ? error.message : `This page has failed: ${error.message}`;
  $("problem").hidden = false;
}

export function prepareAudio({ blob, sound }) {
  state.audio.pause();
  URL.revokeObjectURL(state.audio.src);
  if (sound) state.audio.src = URL.createObjectURL(blob);
  else state.audio.removeAttribute("src");
  state.plain = !sound;
  $("play").disabled = !sound;
}

export function showResult() {
  const { recording, result, model } = state;
  document.body.classList.add("filled");
  $("result").hidden = false;
  $("result").classList.remove("live");
  $("name").textContent = recording.name;
  const notes = [...(result.notes ?? [])];
  if (result.silent) notes.unshift("every sample is zero: the scores mean nothing");
  if (!recording.sound) notes.push("this browser cannot play this format");
  $("facts").textContent = [clock(result.seconds), size(recording.blob.size), `model ${model.name}`, ...notes].join(" · ");
  $("tags-title").textContent = "Whole recording";
  $("download-card").hidden = false;
  const box = $("canvas-box");
  box.setAttribute("aria-valuemax", result.seconds.toFixed(2));
  refresh();
  seek(0);
}

// What depends on the threshold: rows, marks and lists.
export function refresh() {
  const limits = thresholds(), own = state.threshold === null;
  $("threshold").value = own ? median(limits) : state.threshold;
  $("threshold-text").textContent = own ? "the model's" : state.threshold.toFixed(2);
  $("own").hidden = own;
  if (state.live) {
    state.live.setThresholds(limits);
    return;
  }
  const { result, model } = state;
  if (!result) return;
  state.events = result.silent ? [] : findEvents(smoothed(result.windows, smoothing(result.windows)), model.classes, limits);
  state.shown = loudest(result.windows, model.classes);
  const { seconds, windows } = result;
  const view = { seconds, from: 0, picture: state.recording.picture, windows, classes: model.classes };
  timeline.show({ ...view, shown: state.shown, events: state.events });
  listTags(result.scores);
  showEvents($("events"), $("no-events"), state.events, event => {
    seek(event.start);
    if (!$("play").disabled) state.audio.play();
  });
}

export function listTags(scores) {
  const count = state.model.classes.length;
  showTags($("tags"), state.model.classes, scores, thresholds(), state.all ? count : TAGS);
  $("all-tags").hidden = count <= TAGS;
  $("all-tags").textContent = state.all ? "Show the best" : `Show all ${count}`;
}

const median = values => [...values].sort((a, b) => a - b)[values.length >> 1];

// The classes that a picture has rows for: those that score highest anywhere in it.
export function loudest(windows, classes) {
  const best = classes.map((_, index) => windows.reduce((most, { scores }) => Math.max(most, scores[index]), 0));
  const rejected = index => Number(isRejection(classes[index])); // below the others
  const chosen = [...classes.keys()].sort((one, other) => best[other] - best[one]).slice(0, ROWS);
  return chosen.sort((one, other) => rejected(one) - rejected(other));
}

// Some files play but fail when they are sought in, such as FLAC near its end in Chromium: their samples play as WAV.
export function playPlain() {
  const { sound } = state.recording ?? {}, playing = !state.audio.paused;
  if (!sound || state.plain) return;
  state.plain = true;
  URL.revokeObjectURL(state.audio.src);
  state.audio.src = URL.createObjectURL(encodeWav(sound.samples, sound.rate));
  state.audio.currentTime = state.position;
  if (playing) togglePlay();
}

export function seek(seconds) {
  state.position = seconds;
  state.audio.currentTime = seconds;
  showPosition(seconds);
}

function showPosition(seconds) {
  const total = state.result?.seconds ?? 0, box = $("canvas-box");
  timeline.moveCursor(state.live ? null : seconds);
  $("clock").textContent = `${clock(seconds)} / ${clock(total)}`;
  box.setAttribute("aria-valuenow", seconds.toFixed(2));
  const here = state.events.filter(event => !event.near && event.start <= seconds && seconds < event.end);
  const heard = here.length ? `: ${here.map(event => event.label).join(", ")}` : "";
  box.setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(total)}${heard}`);
}

export function follow() {
  if (!state.live) showPosition(state.audio.currentTime);
  if (!state.audio.paused) requestAnimationFrame(follow);
}

export const togglePlay = () => {
  if ($("play").disabled) return;
  if (state.audio.paused) state.audio.play().catch(() => fail(new Problem("This browser cannot play this recording.")));
  else state.audio.pause();
};

export function bySliderKey(event) {
  if (!state.result || state.live || event.ctrlKey || event.altKey || event.metaKey) return;
  const at = state.audio.currentTime, total = state.result.seconds, step = event.shiftKey ? 0.1 : Math.max(1, total / 100);
  const targets = {
    ArrowRight: at + step, ArrowUp: at + step, ArrowLeft: at - step, ArrowDown: at - step, PageUp: at + 10 * step,
    PageDown: at - 10 * step, Home: 0, End: total,
  };
  if (event.key === " ") togglePlay();
  else if (event.key in targets) seek(Math.max(0, Math.min(total, targets[event.key])));
  else return;
  event.preventDefault();
}
