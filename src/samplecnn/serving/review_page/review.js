// The page of `samplecnn index review`: shows one event at a time, sends answers, shows what follows from them.

import { drawBins, drawSound } from "/charts.js";
import { parseWav, Player } from "/sound.js";

const $ = id => document.getElementById(id);
const TARGET = 50; // answers of a class
const PAST = { accept: "Accepted", reject: "Rejected", skip: "Skipped", relabel: "Relabelled" };

const page = { overview: null, current: null, events: [], state: null, busy: true, sound: null };
const sounds = new Map(); // event number -> promise of its sound
const player = new Player(() => ($("playhead").hidden = true));

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The program does not answer; start `samplecnn index review` again.");
  }
  if (response.ok) return response;
  const text = await response.text();
  let detail = text;
  try {
    detail = JSON.parse(text).detail;
  } catch { /* plain text */ }
  throw new Error(detail);
}

const askJson = async (path, body) => (await ask(path, body)).json();

function fetchSound(number) {
  if (!sounds.has(number)) {
    const found = ask(`/api/events/${number}/sound.wav`).then(async answer => parseWav(await answer.arrayBuffer()));
    found.catch(() => sounds.delete(number)); // asked again when it is shown
    sounds.set(number, found);
    if (sounds.size > 12) sounds.delete(sounds.keys().next().value);
  }
  return sounds.get(number);
}

const time = seconds => {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(2).padStart(5, "0")}`;
};

function say(text) {
  $("said").textContent = text;
}

function busy(is) {
  page.busy = is;
  const none = page.events.length === 0;
  for (const id of ["play", "accept", "reject", "skip"]) $(id).disabled = is || none;
  $("undo").disabled = is;
  $("relabel").hidden = none || page.overview.all_classes.length < 2;
}

function showEvent() {
  player.stop();
  $("playhead").hidden = true;
  page.sound = null;
  const event = page.events[0];
  $("sound").hidden = !event;
  $("problem").hidden = true;
  $("suggestions").replaceChildren();
  $("name").value = "";
  if (!event) {
    $("question").textContent = `No more events of ${page.current}`;
    $("facts").textContent = page.state.peaks ? "All have an answer. Choose another class." : "There are none here.";
    return;
  }
  $("question").textContent = `Is this ${event.class}?`;
  $("facts").textContent = `score ${event.score.toFixed(3)} · ${event.folder}/${event.file} · ${time(event.start)} to ${time(event.end)}`;
  event.suggestions.forEach((other, number) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const key = document.createElement("kbd"), score = document.createElement("small");
    key.textContent = number + 1;
    score.textContent = other.score.toFixed(2);
    button.append(key, ` ${other.class} `, score);
    button.addEventListener("click", () => answer("relabel", other.class));
    item.append(button);
    $("suggestions").append(item);
  });
  showSound(event);
  for (const next of page.events.slice(1)) fetchSound(next.event).catch(() => {});
}

async function showSound(event) {
  const canvas = $("picture");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  try {
    const sound = await fetchSound(event.event);
    if (page.events[0] !== event) return;
    page.sound = sound;
    draw();
    if ($("auto").checked && (navigator.userActivation?.hasBeenActive ?? true)) await play();
  } catch (error) {
    if (page.events[0] !== event) return;
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

function draw() {
  const event = page.events[0];
  if (event && page.sound) drawSound($("picture"), page.sound, event.start - event.from, event.end - event.from);
}

async function play() {
  if (!page.sound) return;
  const sound = page.sound, seconds = sound.samples.length / sound.rate;
  await player.play(sound);
  const move = () => {
    const at = player.position;
    if (at === null || page.sound !== sound) return;
    $("playhead").hidden = false;
    $("playhead").style.transform = `translateX(${(Math.min(at / seconds, 1) * $("picture").clientWidth).toFixed(1)}px)`;
    requestAnimationFrame(move);
  };
  requestAnimationFrame(move);
}

function showState() {
  const state = page.state, found = state.threshold;
  $("progress").value = Math.min(state.answers, TARGET);
  $("progress").setAttribute("aria-label", `${state.answers} answers; 20 to 50 are wanted`);
  const parts = ["accept", "reject", "relabel", "skip"].filter(kind => state[kind]);
  const counts = parts.map(kind => `${state[kind]} ${PAST[kind].toLowerCase()}`).join(", ");
  $("counts").textContent = `${state.answers} of ${state.peaks.toLocaleString("en")} events${counts ? `: ${counts}` : ""}`;
  $("threshold").classList.toggle("less", !found);
  $("threshold").textContent = found ? found.threshold.toFixed(3) : `None yet: ${state.lacks}`;
  const range = (low, high) => `${low.toFixed(2)} to ${high.toFixed(2)}`;
  const rows = !found ? [] : [
    ["its 95 % interval", range(found.low, found.high)],
    [found.met ? "precision" : "precision (goal not met)", found.precision.toFixed(2)],
    ["its 95 % interval", range(found.precision_low, found.precision_high)],
    ["recall", found.recall.toFixed(2)],
  ];
  $("estimate").replaceChildren(...rows.flatMap(([name, value]) => {
    const term = document.createElement("dt"), what = document.createElement("dd");
    term.textContent = name;
    what.textContent = value;
    return [term, what];
  }));
  $("calibration").textContent = "";
  if (state.calibration) {
    const logit = p => Math.log(p / (1 - p));
    const right = p => 100 / (1 + Math.exp(-(state.calibration.scale * logit(p) + state.calibration.shift)));
    $("calibration").textContent = `A score of 0.5 is right in ${right(0.5).toFixed(0)} %, of 0.9 in ${right(0.9).toFixed(0)} %.`;
  }
  drawBins($("bins"), state.bins, found ? found.threshold : null);
  for (const option of $("class").options) if (option.value === page.current) option.textContent = named(page.current, state.answers);
}

const named = (name, answers) => (answers ? `${name} (${answers})` : name);

function take(found) {
  page.state = found.state;
  page.events = found.events;
  page.current = found.state.class;
  $("class").value = page.current;
  document.title = `${page.current} · Review`;
  showState();
  showEvent();
}

async function work(action) {
  if (page.busy) return;
  busy(true);
  try {
    await action();
  } catch (error) {
    say(error.message);
  } finally {
    busy(false);
  }
}

const answer = (verdict, label) => work(async () => {
  const event = page.events[0];
  if (!event) return;
  const sent = { event: event.event, answer: verdict, ...(label === undefined ? {} : { label }) };
  take(await askJson("/api/answers", sent));
  say(`${PAST[verdict]}${label === undefined ? "" : ` as ${label}`}: ${event.file} at ${time(event.start)}.`);
});

const undo = () => work(async () => {
  const found = await askJson("/api/undo", {});
  take(found);
  say(`Taken back: ${PAST[found.undone.answer].toLowerCase()} ${found.undone.class}.`);
});

const choose = name => work(async () => {
  take(await askJson(`/api/class?class=${encodeURIComponent(name)}`));
  say("");
});

const step = by => {
  const names = page.overview.classes.map(each => each.class);
  choose(names[(names.indexOf(page.current) + by + names.length) % names.length]);
};

async function tryHead() {
  const button = $("head"), result = $("head-result");
  button.disabled = true;
  result.textContent = "Fitting…";
  try {
    const found = await askJson("/api/head", {});
    const lines = found.classes.map(each =>
      `${each.class}: log loss ${each.log_loss_before.toFixed(3)} before, ${each.log_loss.toFixed(3)} now (cross-validated over ${each.answers} answers).`);
    for (const [name, each] of Object.entries(found.thresholds)) {
      lines.push(`${name}: threshold ${each.threshold.toFixed(3)}, precision ${each.precision.toFixed(2)}, recall ${each.recall.toFixed(2)}.`);
    }
    for (const [name, lacks] of Object.entries(found.kept)) lines.push(`${name}: threshold as before (${lacks}).`);
    const last = document.createElement("p"), code = document.createElement("code");
    code.textContent = `samplecnn index review ${page.overview.index} --save MODEL_DIR`;
    last.append("Save it as a model: ", code);
    result.replaceChildren(...lines.map(line => Object.assign(document.createElement("p"), { textContent: line })), last);
  } catch (error) {
    result.textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

function byKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (event.target === $("name")) {
    if (event.key === "Escape") $("name").blur();
    return;
  }
  if (!$("keys").checked || event.target.matches?.("select")) return;
  const key = event.key.toLowerCase();
  if (key === " " && event.target.matches?.("button:focus-visible, input")) return; // it presses the button
  const actions = {
    " ": play, a: () => answer("accept"), r: () => answer("reject"), s: () => answer("skip"), u: undo,
    l: () => $("name").focus(), "[": () => step(-1), "]": () => step(1),
  };
  const number = "123456789".indexOf(key);
  const other = number >= 0 ? page.events[0]?.suggestions[number] : undefined;
  const action = other ? () => answer("relabel", other.class) : actions[key];
  if (!action) return;
  event.preventDefault();
  action();
}

async function begin() {
  document.addEventListener("keydown", byKey);
  document.addEventListener("click", event => {
    if (event.detail > 0) event.target.closest?.("button")?.blur(); // by mouse: Space plays, and does not press it again
  });
  $("play").addEventListener("click", play);
  for (const verdict of ["accept", "reject", "skip"]) $(verdict).addEventListener("click", () => answer(verdict));
  $("undo").addEventListener("click", undo);
  $("head").addEventListener("click", tryHead);
  $("class").addEventListener("change", event => choose(event.target.value));
  $("naming").addEventListener("submit", event => {
    event.preventDefault();
    const name = $("name").value.trim();
    if (!page.overview.all_classes.includes(name)) return say(name ? `${name} is no class of this model.` : "Name a class.");
    $("name").blur();
    if (name === page.current) answer("accept");
    else answer("relabel", name);
  });
  new ResizeObserver(draw).observe($("picture"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  try {
    page.overview = await askJson("/api/overview");
    $("index").textContent = `${page.overview.index} · ${page.overview.model}`;
    $("goal").textContent = `for ${page.overview.goal}`;
    const option = each => new Option(named(each.class, each.answers), each.class);
    $("class").replaceChildren(...page.overview.classes.map(option));
    $("classes").replaceChildren(...page.overview.all_classes.map(name => new Option(name)));
    page.busy = false;
    await choose(page.overview.classes[0].class);
  } catch (error) {
    $("question").textContent = "This page cannot be shown";
    $("facts").textContent = error.message;
  }
}

begin();
