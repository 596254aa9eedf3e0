// The forward pass of a folded network: what `samplecnn.inference.numpy_engine` computes, in float32.
//
// Values between layers are [time, features], with features padded to a multiple of 8 and zero frames before and after,
// so that a convolution is one product whose rows overlap.

import { Kernel, PANEL } from "./kernel.js";
import { fft } from "./spectrum.js";

const FLOOR = 1e-5; // added to the power of log-mel frames (samplecnn.models.logmel.FLOOR)
const padded = count => Math.ceil(count / PANEL) * PANEL;
const sigmoid = x => 1 / (1 + Math.exp(-x));

export class Net {
  // `description`: of the layers, from samplecnn.interop.html.graph; `weights`: Float32Array that it has places in.
  constructor(description, weights, options = {}) {
    this.about = description;
    this.weights = weights;
    this.kernel = new Kernel(options);
    this.margin = 0; // zero frames around all values
    const { first, stem, stages, tail } = description;
    if (first.width) this.pack(first, 1);
    for (const stage of [stem, ...stages, tail]) {
      if (!stage) continue;
      stage.convs.forEach(conv => this.pack(conv, padded(conv.channels)));
      if (stage.shortcut) this.pack(stage.shortcut, stage === stem ? 1 : padded(stage.shortcut.channels));
    }
    this.start = this.kernel.size;
  }

  pack(conv, channels) {
    const { weights, kernel } = this;
    const { width, features } = conv, columns = padded(features);
    conv.k = width * channels;
    conv.columns = columns;
    conv.w = kernel.reserve(conv.k * columns);
    conv.b = kernel.reserve(columns);
    for (let tap = 0; tap < width; tap++) {
      for (let channel = 0; channel < conv.channels; channel++) {
        for (let feature = 0; feature < features; feature++) {
          const panel = feature - (feature % PANEL);
          const place = panel * conv.k + (tap * channels + channel) * PANEL + (feature - panel);
          kernel.values[conv.w + place] = weights[conv.weight + (tap * conv.channels + channel) * features + feature];
        }
      }
    }
    for (let feature = 0; feature < features; feature++) kernel.values[conv.b + feature] = weights[conv.bias + feature];
    this.margin = Math.max(this.margin, conv.before, conv.after);
  }

  // Probabilities, Float32Array [classes], of a standardised window.
  run(wave) {
    const { first, stem, stages, tail, levels } = this.about;
    this.kernel.size = this.start;
    let x;
    if (first.width) {
      const source = this.frames(wave, first);
      x = this.convolve(source, first, true);
      if (stem) x = this.join(this.path(stem, x), this.convolve(source, stem.shortcut, false), stem);
    } else {
      x = this.logmel(wave, first);
    }
    const outputs = [x];
    for (const stage of stages) outputs.push((x = this.stage(stage, x)));
    if (tail) outputs[outputs.length - 1] = this.stage(tail, x);
    return this.classify(outputs.slice(-levels));
  }

  allocate(time, features) {
    const channels = padded(features), edge = this.margin * channels;
    const place = this.kernel.reserve(time * channels + 2 * edge);
    const at = place + edge;
    this.kernel.values.fill(0, place, at);
    this.kernel.values.fill(0, at + time * channels, at + time * channels + edge);
    return { at, time, channels, features };
  }

  // The waveform as frames of one value, padded as the first convolution needs it.
  frames(wave, first) {
    const [before, after] = this.about.pads;
    const length = before + wave.length + after, at = this.kernel.reserve(length);
    this.kernel.values.fill(0, at, at + length);
    this.kernel.values.set(after < 0 ? wave.subarray(0, wave.length + after) : wave, at + before);
    return { at, time: length, channels: 1, features: 1 };
  }

  convolve(x, conv, relu) {
    const out = this.allocate(Math.floor(x.time / conv.stride), conv.features);
    const from = x.at - conv.before * x.channels, low = relu ? 0 : -Infinity;
    this.kernel.product(
      from, conv.stride * x.channels, out.time, conv.k, conv.w, conv.columns, conv.b, low, out.at, out.channels);
    return out;
  }

  path(stage, x) {
    for (const conv of stage.convs) x = this.convolve(x, conv, conv.relu);
    return x;
  }

  stage(stage, x) {
    const path = this.path(stage, x);
    if (stage.residual) return this.join(path, stage.shortcut ? this.convolve(x, stage.shortcut, false) : x, stage);
    const pooled = this.pool(path, stage.pool);
    return stage.squeeze ? this.excite(pooled, stage.squeeze) : pooled;
  }

  join(path, shortcut, stage) {
    if (stage.squeeze) this.excite(path, stage.squeeze);
    const { values } = this.kernel, count = path.time * path.channels;
    for (let i = 0, a = path.at, b = shortcut.at; i < count; i++, a++, b++) values[a] = Math.max(values[a] + values[b], 0);
    return this.pool(path, stage.pool);
  }

  pool(x, size) {
    if (size === 1) return x;
    const out = this.allocate(Math.floor(x.time / size), x.features), { values } = this.kernel, { channels } = x;
    for (let step = 0, to = out.at; step < out.time; step++) {
      for (let channel = 0; channel < channels; channel++, to++) {
        let from = x.at + step * size * channels + channel, largest = values[from];
        for (let i = 1; i < size; i++) {
          from += channels;
          if (values[from] > largest) largest = values[from];
        }
        values[to] = largest;
      }
    }
    return out;
  }

  excite(x, squeeze) {
    const { values } = this.kernel, { channels, features, time } = x, mean = new Float64Array(features);
    for (let step = 0; step < time; step++) {
      for (let i = 0, at = x.at + step * channels; i < features; i++) mean[i] += values[at + i];
    }
    const hidden = this.dense(mean.map(sum => sum / time), squeeze.ex0).map(value => Math.max(value, 0));
    const factors = this.dense(hidden, squeeze.ex1).map(sigmoid);
    for (let step = 0; step < time; step++) {
      for (let i = 0, at = x.at + step * channels; i < features; i++) values[at + i] *= factors[i];
    }
    return x;
  }

  dense(x, { weight, bias, inputs, outputs }) {
    const y = new Float64Array(outputs);
    for (let row = 0; row < outputs; row++) {
      let sum = this.weights[bias + row];
      for (let i = 0, at = weight + row * inputs; i < inputs; i++) sum += x[i] * this.weights[at + i];
      y[row] = sum;
    }
    return y;
  }

  classify(levels) {
    const { values } = this.kernel, { head, logit, softmax } = this.about;
    const largest = levels.flatMap(({ at, time, channels, features }) => {
      const found = values.slice(at, at + features);
      for (let step = 1; step < time; step++) {
        for (let i = 0; i < features; i++) found[i] = Math.max(found[i], values[at + step * channels + i]);
      }
      return [...found];
    });
    const logits = this.dense(this.dense(largest, head).map(value => Math.max(value, 0)), logit);
    if (!softmax) return Float32Array.from(logits, sigmoid);
    const top = Math.max(...logits), powers = logits.map(value => Math.exp(value - top));
    const total = powers.reduce((sum, value) => sum + value, 0);
    return Float32Array.from(powers, value => value / total);
  }

  // Log-mel frames as samplecnn.models.logmel computes them, and the batch norm behind them.
  logmel(wave, { frame, hop, bands, hann, filters, scale, shift }) {
    const [before, after] = this.about.pads, { weights } = this, bins = frame / 2 + 1;
    const time = Math.floor((before + wave.length + after - frame) / hop) + 1;
    const out = this.allocate(time, bands), re = new Float64Array(frame), im = new Float64Array(frame);
    const { values } = this.kernel;
    for (let step = 0; step < time; step++) {
      const at = step * hop - before;
      for (let i = 0; i < frame; i++) re[i] = (wave[at + i] || 0) * weights[hann + i];
      im.fill(0);
      fft(re, im);
      for (let bin = 0; bin < bins; bin++) re[bin] = re[bin] ** 2 + im[bin] ** 2;
      for (let band = 0; band < bands; band++) {
        let power = FLOOR;
        for (let bin = 0, row = filters + band * bins; bin < bins; bin++) power += re[bin] * weights[row + bin];
        values[out.at + step * out.channels + band] = Math.log(power) * weights[scale + band] + weights[shift + band];
      }
    }
    for (let band = bands; band < out.channels; band++) {
      for (let step = 0; step < time; step++) values[out.at + step * out.channels + band] = 0;
    }
    return out;
  }
}
