// The picture of a recording: waveform, spectrogram and taggram over one time axis.

import { isRejection, windowBounds } from "./events.js";
import { spectrogram } from "./spectrum.js";

const DECIBELS = 72; // shown below the loudest point
export const LAYOUT = { wave: 64, spectrogram: 132, row: 24, gap: 8, axis: 24 }; // CSS pixels
const MOST_BANDS = 256;

const parts = hex => [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16));

export const clock = (seconds, digits = 1) => {
  const rounded = Math.round(seconds * 10 ** digits) / 10 ** digits, minutes = Math.floor(rounded / 60);
  const rest = (rounded - 60 * minutes).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
};

// 256 colours from the background through blue to that of text, as pixels of little-endian ImageData.
function spectrumPalette(paint) {
  const [ground, middle, full] = [parts(paint.raised), parts(paint.blue), parts(paint.ink)];
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const [one, other, share] = i < 153 ? [ground, middle, i / 153] : [middle, full, (i - 153) / 102];
    const [red, green, blue] = one.map((value, channel) => Math.round(value + share * (other[channel] - value)));
    return (255 << 24) | (blue << 16) | (green << 8) | red;
  });
}

// What is drawn of a sound: lowest and highest sample and the power in bands, for each of `columns` points of time.
export function soundPicture(samples, rate, columns) {
  const low = new Float32Array(columns), high = new Float32Array(columns);
  for (let column = 0; column < columns; column++) {
    const last = Math.ceil(((column + 1) * samples.length) / columns);
    for (let i = Math.floor((column * samples.length) / columns); i < last; i++) {
      if (samples[i] < low[column]) low[column] = samples[i];
      else if (samples[i] > high[column]) high[column] = samples[i];
    }
  }
  const { values, bands, top } = spectrogram(samples, rate, columns);
  const merged = Math.max(1, bands / MOST_BANDS);
  if (merged === 1) return { low, high, values, bands, top, rate };
  const fewer = new Float32Array(columns * MOST_BANDS).fill(-Infinity);
  values.forEach((value, i) => {
    const at = Math.floor(i / bands) * MOST_BANDS + Math.floor((i % bands) / merged);
    if (value > fewer[at]) fewer[at] = value;
  });
  return { low, high, values: fewer, bands: MOST_BANDS, top, rate };
}

// The same of live sound, column by column; the oldest leave on the left.
export class LivePicture {
  constructor(rate, columns, seconds) {
    Object.assign(this, { rate, columns, low: new Float32Array(columns), high: new Float32Array(columns), top: -30 });
    this.size = rate * seconds / columns;
    this.recent = new Float32Array(Math.ceil(rate * 0.05));
    this.values = null;
    this.pending = [];
    this.waiting = 0;
    this.ends = 0; // samples that are drawn
  }

  push(block) {
    this.pending.push(block);
    this.waiting += block.length;
    while (this.waiting >= this.size + 1) this.column(Math.floor(this.ends + this.size) - Math.floor(this.ends));
  }

  column(count) {
    const all = new Float32Array(this.waiting);
    let at = 0;
    for (const block of this.pending) all.set(block, at), (at += block.length);
    const part = all.subarray(0, count);
    this.pending = [all.slice(count)];
    this.waiting -= count;
    this.ends += this.size;
    const recent = new Float32Array(this.recent.length), kept = Math.max(recent.length - count, 0);
    recent.set(this.recent.subarray(this.recent.length - kept));
    recent.set(part.subarray(part.length - (recent.length - kept)), kept);
    this.recent = recent;
    const found = soundPicture(recent, this.rate, 1);
    this.values ??= new Float32Array(this.columns * found.bands).fill(-120);
    this.bands = found.bands;
    for (const [values, width] of [[this.low, 1], [this.high, 1], [this.values, this.bands]]) values.copyWithin(0, width);
    this.low[this.columns - 1] = Math.min(0, ...part);
    this.high[this.columns - 1] = Math.max(0, ...part);
    this.values.set(found.values, (this.columns - 1) * this.bands);
    this.top = Math.max(found.top, this.top - 0.05);
  }
}

export class Timeline {
  constructor(box, canvas, cursor, rows) {
    Object.assign(this, { box, canvas, cursor, rows, view: null });
  }

  // `view`: { seconds, from, picture or null, windows, classes, shown (indices of classes), events }.
  show(view) {
    this.view = view;
    const top = view.picture ? LAYOUT.wave + LAYOUT.spectrogram + 2 * LAYOUT.gap : 0;
    this.tops = { wave: 0, spectrogram: LAYOUT.wave + LAYOUT.gap, rows: top };
    this.height = top + view.shown.length * LAYOUT.row + LAYOUT.axis;
    this.canvas.style.height = `${this.height}px`;
    this.label();
    this.draw();
  }

  label() {
    const { picture, shown, classes } = this.view, key = `${Boolean(picture)} ${picture?.rate} ${shown}`;
    if (this.labelled === key + classes) return;
    this.labelled = key + classes;
    const label = (text, top, height, kind) => {
      const element = document.createElement("span");
      Object.assign(element, { textContent: text, title: text, className: kind });
      element.style.top = `${top}px`;
      element.style.height = `${height}px`;
      return element;
    };
    const labels = shown.map((index, i) => label(classes[index], this.tops.rows + i * LAYOUT.row, LAYOUT.row,
      isRejection(classes[index]) ? "row rejection" : "row"));
    if (picture) {
      const khz = (picture.rate / 2000).toFixed(picture.rate < 20000 ? 1 : 0).replace(".0", "");
      labels.unshift(label(`${khz} kHz`, this.tops.spectrogram, 18, "axis"),
        label("0", this.tops.spectrogram + LAYOUT.spectrogram - 18, 18, "axis"));
    }
    this.rows.replaceChildren(...labels);
  }

  draw() {
    const { view, canvas } = this;
    if (!view || canvas.clientWidth === 0) return;
    const scale = window.devicePixelRatio || 1, width = canvas.clientWidth;
    const pixels = [Math.round(width * scale), Math.round(this.height * scale)];
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, this.height);
    const style = getComputedStyle(document.documentElement);
    const names = ["raised", "blue", "ink", "orange", "muted", "line"];
    const paint = Object.fromEntries(names.map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
    if (view.picture) {
      this.drawWave(context, width, paint);
      this.drawSpectrogram(context, width, paint);
    }
    this.drawTaggram(context, width, paint);
    this.drawAxis(context, width, paint);
  }

  drawWave(context, width, paint) {
    const { low, high } = this.view.picture, middle = LAYOUT.wave / 2;
    let loudest = 1e-3;
    for (let i = 0; i < low.length; i++) loudest = Math.max(loudest, -low[i], high[i]);
    context.fillStyle = paint.blue;
    const step = width / low.length, reach = (0.94 * middle) / loudest;
    for (let i = 0; i < low.length; i++) {
      const top = middle - high[i] * reach;
      context.fillRect(i * step, top, step, Math.max(1, (high[i] - low[i]) * reach));
    }
  }

  drawSpectrogram(context, width, paint) {
    const { values, bands, top, low } = this.view.picture;
    context.fillStyle = paint.raised;
    context.fillRect(0, this.tops.spectrogram, width, LAYOUT.spectrogram);
    if (!values) return;
    const columns = low.length, image = new ImageData(columns, bands), pixels = new Uint32Array(image.data.buffer);
    const palette = spectrumPalette(paint), scale = 255 / DECIBELS, floor = top - DECIBELS;
    for (let column = 0; column < columns; column++) {
      for (let band = 0, from = column * bands, to = (bands - 1) * columns + column; band < bands; band++, to -= columns) {
        const level = (values[from + band] - floor) * scale;
        pixels[to] = palette[level > 255 ? 255 : level > 0 ? level | 0 : 0];
      }
    }
    const buffer = new OffscreenCanvas(columns, bands);
    buffer.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(buffer, 0, this.tops.spectrogram, width, LAYOUT.spectrogram);
  }

  x(seconds, width) {
    return Math.max(0, Math.min(1, (seconds - this.view.from) / this.view.seconds)) * width;
  }

  drawTaggram(context, width, paint) {
    const { windows, shown, events, classes } = this.view;
    const bounds = windows.length ? windowBounds(windows) : [];
    const tall = LAYOUT.row - 4;
    shown.forEach((index, row) => {
      const top = this.tops.rows + row * LAYOUT.row + 2;
      context.fillStyle = paint.raised;
      context.fillRect(0, top, width, tall);
      context.fillStyle = paint.blue;
      windows.forEach(({ scores }, i) => {
        const left = this.x(bounds[i], width), right = this.x(bounds[i + 1], width);
        context.globalAlpha = Math.max(0, Math.min(1, scores[index])) ** 0.8;
        if (right > left) context.fillRect(left, top, right - left + 0.3, tall);
      });
      context.globalAlpha = 1;
      for (const event of events) {
        if (event.label !== classes[index]) continue;
        const left = this.x(event.start, width), right = this.x(event.end, width);
        context.fillStyle = paint.orange;
        if (!event.near) context.fillRect(left, top + tall - 3, right - left, 3);
        else for (let x = left; x < right; x += 6) context.fillRect(x, top + tall - 2, Math.min(3, right - x), 2);
      }
    });
  }

  drawAxis(context, width, paint) {
    const { seconds, from } = this.view, top = this.height - LAYOUT.axis;
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 3600];
    const step = steps.find(each => (each / seconds) * width >= 64) ?? 7200;
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "top";
    for (let time = Math.ceil(from / step) * step; time <= from + seconds + 1e-9; time += step) {
      if (time < -1e-9) continue;
      const x = this.x(time, width), text = clock(time, step < 1 ? 1 : 0);
      context.fillStyle = paint.line;
      context.fillRect(Math.min(x, width - 1), top, 1, 5);
      context.fillStyle = paint.muted;
      const wide = context.measureText(text).width;
      context.fillText(text, Math.max(0, Math.min(x - wide / 2, width - wide)), top + 8);
    }
  }

  moveCursor(seconds) {
    this.cursor.hidden = seconds === null;
    if (seconds !== null) {
      this.cursor.style.height = `${this.height - LAYOUT.axis}px`;
      this.cursor.style.transform = `translateX(${this.x(seconds, this.canvas.clientWidth).toFixed(1)}px)`;
    }
  }

  // The time under a pointer.
  timeAt(event) {
    const { left, width } = this.canvas.getBoundingClientRect();
    return this.view.from + Math.max(0, Math.min(1, (event.clientX - left) / width)) * this.view.seconds;
  }
}
