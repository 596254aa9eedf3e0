// The backend of the page that `samplecnn serve` shows: everything is computed by the server.

import { smoothing } from "./events.js";
import { encodeWav, Problem, toInt16 } from "./sound.js";

const GROUPS = [
  ["Tables", [["csv", "CSV"], ["csv-long", "CSV, one score a row"], ["json", "JSON"], ["jsonl", "JSON lines"], ["parquet", "Parquet"], ["table", "Text"]]],
  ["Labels", [["audacity", "Audacity"], ["raven", "Raven"], ["kaleidoscope", "Kaleidoscope"], ["textgrid", "Praat TextGrid"], ["dcase", "DCASE"], ["jams", "JAMS"]]],
  ["Subtitles", [["vtt", "WebVTT"], ["srt", "SubRip"]]],
];
const OF_WINDOWS = new Set(["csv", "csv-long", "json", "jsonl", "parquet"]); // labels and subtitles are of events

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is `samplecnn serve` still running? Start it again and reload this page.");
  }
  if (response.ok) return response;
  let detail = "";
  try {
    detail = (await response.json()).detail;
  } catch { /* no problem details */ }
  const problem = new Problem(detail || `The server answers ${response.status} ${response.statusText}.`);
  problem.status = response.status;
  throw problem;
}

const query = values => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined));

// Sends a recording. Formats that the server cannot decode but this browser can, such as WebM, are sent again as WAV.
async function send({ blob, name, sound }, asked, signal) {
  const post = body => ask(`v1/tag?${query({ ...asked, name })}`, {
    method: "POST", body, signal, headers: { "Content-Type": body.type || "application/octet-stream" },
  });
  try {
    return await post(blob.slice(0, blob.size, blob.type.startsWith("audio/") ? blob.type : "application/octet-stream"));
  } catch (error) {
    if (!sound || ![415, 422].includes(error.status) || blob.type === "audio/wav") throw error;
    return post(encodeWav(sound.samples, sound.rate));
  }
}

class Server {
  constructor({ models, formats, limits }) {
    Object.assign(this, { models, limits, listens: true, captureUrl: "capture.js" });
    this.formats = GROUPS.map(([title, all]) => [title, all.filter(([format]) => formats.includes(format))])
      .filter(([, all]) => all.length > 0);
    const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
    this.note = here ? "Sound goes to the server on this machine, and is not kept." : "Sound goes to this server, and is not kept.";
  }

  async tag({ blob, name, sound, model, hop, signal }) {
    const asked = { model: model.name, over_time: true, hop: hop / model.sample_rate };
    const found = await (await send({ blob, name, sound }, asked, signal)).json();
    const scores = tags => Float32Array.from(model.classes, label => tags[label]);
    const windows = found.over_time.map(({ start, end, tags }) => ({ start, end, scores: scores(tags) }));
    return { seconds: found.seconds, silent: found.silent, notes: found.notes, scores: scores(found.tags), windows };
  }

  async save(format, recording, { model, hop, threshold, signal, result }) {
    const asked = { model: model.name, hop: hop / model.sample_rate, format };
    if (OF_WINDOWS.has(format)) {
      asked.over_time = true;
    } else if (format !== "table") {
      Object.assign(asked, { events: true, threshold, smooth: smoothing(result.windows), smoothing: "mean" });
    }
    const response = await send(recording, asked, signal);
    const given = /filename\*=UTF-8''([^;]+)/.exec(response.headers.get("Content-Disposition") ?? "");
    return { blob: await response.blob(), name: given ? decodeURIComponent(given[1]) : `${recording.name}.${format}` };
  }

  // Sound goes out as 16 bits, little-endian; messages come back as JSON.
  listen(model, thresholds, { moment, fail }) {
    const asked = query({ model: model.name, rate: model.sample_rate, scores: true, near: true, ends: true });
    model.classes.forEach((label, i) => asked.append("class_threshold", `${label}=${thresholds[i]}`));
    const address = new URL(`v1/listen?${asked}`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    const session = {
      push(samples) {
        if (socket.readyState === WebSocket.OPEN) socket.send(Int16Array.from(samples, toInt16));
      },
      setThresholds(given) {
        const named = Object.fromEntries(model.classes.map((label, i) => [label, given[i]]));
        if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ thresholds: named }));
      },
      close: () => socket.close(1000),
    };
    return new Promise((resolve, reject) => {
      let opened = false, reason = "";
      socket.onopen = () => {
        opened = true;
        resolve(session);
      };
      socket.onclose = event => {
        if (event.code === 1000) return;
        if (opened) fail(new Problem(reason || "The server has ended the connection. Is `samplecnn serve` still running?"));
        else reject(new Problem("No connection for live sound: the server listens to others already, or has ended. Try again later."));
      };
      socket.onmessage = event => {
        const said = JSON.parse(event.data);
        if (said.type === "problem") reason = said.detail;
        else if (said.type === "scores") moment({ time: said.time, scores: model.classes.map(label => said.scores[label]), heard: [] });
        else if (["event", "near", "end"].includes(said.type)) moment({ time: said.time, scores: null, heard: [said] });
      };
    });
  }
}

export async function openServer() {
  return new Server(await (await ask("v1/models")).json());
}
