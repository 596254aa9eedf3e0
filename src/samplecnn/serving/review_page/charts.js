// The picture of a sound: waveform above, spectrogram below; and the bars of answers by score.

import { spectrogram } from "/spectrum.js";

const DECIBELS = 70; // shown below the loudest point
const WAVE = 0.22; // of the height

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function parts(text) {
  return [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16));
}

// Draws a sound with the event between `start` and `end`, all in seconds from the beginning of the sound.
export function drawSound(canvas, sound, start, end) {
  const scale = window.devicePixelRatio || 1;
  const width = (canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale)));
  const height = (canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale)));
  const context = canvas.getContext("2d");
  const ground = parts(colour("raised")), full = parts(colour("ink")), middle = parts(colour("blue"));
  const { samples, rate } = sound;
  const waveHeight = Math.round(height * WAVE);

  const columns = Math.min(width, 1000);
  const { values, bands, top } = spectrogram(samples, rate, columns);
  const image = new ImageData(columns, bands);
  for (let column = 0; column < columns; column++) {
    for (let band = 0; band < bands; band++) {
      const level = Math.max(0, Math.min(1, 1 + (values[column * bands + band] - top) / DECIBELS));
      const [low, high, share] = level < 0.6 ? [ground, middle, level / 0.6] : [middle, full, (level - 0.6) / 0.4];
      const at = 4 * ((bands - 1 - band) * columns + column);
      for (let i = 0; i < 3; i++) image.data[at + i] = low[i] + share * (high[i] - low[i]);
      image.data[at + 3] = 255;
    }
  }
  const buffer = new OffscreenCanvas(columns, bands);
  buffer.getContext("2d").putImageData(image, 0, 0);
  context.clearRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(buffer, 0, waveHeight, width, height - waveHeight);

  let loudest = 1e-4;
  for (const value of samples) loudest = Math.max(loudest, Math.abs(value));
  context.fillStyle = colour("blue");
  for (let x = 0; x < width; x++) {
    let low = 0, high = 0;
    const last = Math.ceil(((x + 1) * samples.length) / width);
    for (let i = Math.floor((x * samples.length) / width); i < last; i++) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    const reach = (0.46 * waveHeight) / loudest;
    context.fillRect(x, waveHeight / 2 - high * reach, 1, Math.max(1, (high - low) * reach));
  }

  const seconds = samples.length / rate;
  const left = Math.round((start / seconds) * width), right = Math.round((Math.min(end, seconds) / seconds) * width);
  context.fillStyle = colour("fade");
  context.fillRect(0, 0, left, height);
  context.fillRect(right, 0, width - right, height);
  context.fillStyle = colour("ink");
  const line = Math.max(1, Math.round(1.5 * scale));
  if (left > 0) context.fillRect(left - line, 0, line, height);
  if (right < width) context.fillRect(right, 0, line, height);

  context.font = `${11 * scale}px system-ui, sans-serif`;
  context.textBaseline = "top";
  label(context, `${(rate / 2000).toFixed(rate < 20000 ? 1 : 0)} kHz`, 4 * scale, waveHeight + 4 * scale, "left", scale);
  label(context, `${seconds.toFixed(2)} s`, width - 4 * scale, height - 17 * scale, "right", scale);
}

function label(context, text, x, y, align, scale) {
  const width = context.measureText(text).width + 6 * scale;
  context.fillStyle = colour("raised");
  context.globalAlpha = 0.8;
  context.fillRect(align === "left" ? x - 3 * scale : x - width + 3 * scale, y - 2 * scale, width, 16 * scale);
  context.globalAlpha = 1;
  context.fillStyle = colour("ink");
  context.textAlign = align;
  context.fillText(text, x, y);
}

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Stacked bars of right and wrong answers for each bin of scores, with the threshold as a line.
export function drawBins(svg, bins, threshold) {
  const width = 270, height = 120, base = 98, step = width / bins.length;
  const most = Math.max(4, ...bins.map(bin => bin.right + bin.wrong));
  const unit = (base - 14) / most;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  bins.forEach((bin, number) => {
    const x = number * step + 2;
    const right = bin.right * unit, wrong = bin.wrong * unit;
    if (bin.right) svg.append(element("rect", { class: "right", x, y: base - right, width: step - 4, height: right }));
    if (bin.wrong) {
      svg.append(element("rect", { class: "wrong", x, y: base - right - wrong, width: step - 4, height: wrong }));
    }
  });
  svg.append(element("line", { class: "axis", x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5 }));
  for (const [score, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    svg.append(element("text", { x: score * width, y: base + 16, "text-anchor": anchor }, String(score)));
  }
  if (threshold !== null) {
    svg.append(element("line", { class: "limit", x1: threshold * width, x2: threshold * width, y1: 4, y2: base }));
  }
  const said = bins.map((bin, i) => `${(i / bins.length).toFixed(1)}: ${bin.right} right, ${bin.wrong} wrong`);
  svg.setAttribute("aria-label", `Answers by score from ${said.join("; ")}`);
}
